// The decoder's history as one experiment: every architecture on the same data with the same budget.
using System.Text.Json.Nodes;
using Lect.Models;
using Lect.Text;

namespace Lect;

/// <summary>Where a run stood at an evaluation.</summary>
/// <param name="Tokens">Read so far.</param>
/// <param name="Seconds">Of training so far, without evaluations.</param>
/// <param name="Loss">Validation loss, nats.</param>
public sealed record EvolutionPoint(long Tokens, double Seconds, double Loss);

/// <summary>The runs of one architecture that differ in their seeds alone.</summary>
/// <param name="Name">As <c>model.architecture</c> has it.</param>
/// <param name="Parameters">How many.</param>
/// <param name="Curves">A row a seed, a point an evaluation.</param>
public sealed record EvolutionRuns(string Name, long Parameters, IReadOnlyList<IReadOnlyList<EvolutionPoint>> Curves)
{
    /// <summary>Mean of the final losses.</summary>
    public double Mean => Curves.Average(c => c[^1].Loss);

    /// <summary>Half of the mean's 95 % interval at an evaluation, by Student's t; NaN with one seed.</summary>
    /// <param name="at">Which evaluation; ^1 is the last.</param>
    public double HalfInterval(Index at)
    {
        if (Curves.Count < 2) return double.NaN;
        return s_student[Math.Min(Curves.Count - 2, s_student.Length - 1)] * Correlations.Deviation([.. Curves.Select(c => c[at].Loss)]) / Math.Sqrt(Curves.Count);
    }

    // The 97.5 % points of Student's t for 1, 2, … degrees of freedom.
    private static readonly double[] s_student = [12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262];
}

/// <summary>Trains each architecture of configs/gpt/evolution with several seeds, and draws validation loss against tokens and against seconds.</summary>
public static class Evolution
{
    /// <summary>Runs what is not done yet; a folder for each architecture and seed.</summary>
    /// <param name="presets">Run files by architecture, in the order of the history.</param>
    /// <param name="seeds">How many; 1, 2, ….</param>
    /// <param name="folder">Where the runs are; evolution.json and evolution.html are written there.</param>
    /// <param name="sets">Pairs such as <c>train.steps=100</c> for all of them.</param>
    /// <param name="report">Told each line of metrics.</param>
    /// <param name="note">Told what happens besides.</param>
    /// <param name="stop">Stops after the step in work, with a checkpoint.</param>
    public static IReadOnlyList<EvolutionRuns> Run(IReadOnlyList<string> presets, int seeds, string folder, IReadOnlyList<string> sets, Action<TrainEvent>? report = null, Action<string>? note = null, CancellationToken stop = default)
    {
        if (seeds < 1) throw new InvalidDataException($"Found --seeds {seeds}. Expected at least 1.");
        // Runs that are compared have the same settings, whenever they were begun.
        var (settings, wanted) = (Path.Combine(folder, "settings.txt"), string.Join('\n', sets));
        if (File.Exists(settings) && File.ReadAllText(settings) != wanted) throw new InvalidDataException($"Found --set {string.Join(' ', sets)} and runs in {folder} that were begun with --set {File.ReadAllText(settings).Replace('\n', ' ')}. Expected the same: give them, or another folder (--out).");
        Directory.CreateDirectory(folder);
        ModelFolder.WriteText(settings, wanted);
        var all = new List<EvolutionRuns>();
        string? data = null;   // the first run learns the vocabulary and cuts the text; the others read what it wrote
        foreach (var preset in presets)
        {
            var name = Path.GetFileNameWithoutExtension(preset);
            var curves = new List<IReadOnlyList<EvolutionPoint>>();
            for (var seed = 1; seed <= seeds; seed++)
            {
                var run = Path.Combine(folder, $"{name}-{seed}");
                var config = RunFolder.IsAt(run) ? RunFolder.SettingsOf<PretrainGptConfig>(run, []) : RunFile.Load<PretrainGptConfig>(preset, [.. sets, $"seed={seed}"]);
                if (data is not null && !RunFolder.IsAt(run)) config = config with { Data = new() { Path = data }, Tokenizer = new() { Path = Path.Combine(folder, $"{Path.GetFileNameWithoutExtension(presets[0])}-1") } };
                note?.Invoke($"{name}, seed {seed} of {seeds}");
                PretrainGpt.Run(config, run, report, note, stop);
                data ??= config.Data.Path is { } path && TokenFolder.IsAt(path) ? path : Path.Combine(run, "data");
                curves.Add(Curve(run));
            }
            all.Add(new(name, ModelSummary.Of(Path.Combine(folder, $"{name}-1")).Parameters, curves));
        }
        var points = all.Min(r => r.Curves.Min(c => c.Count));
        if (all.Any(r => r.Curves.Any(c => c.Count != points))) throw new InvalidDataException($"Found runs with different numbers of evaluations in {folder}. Expected as many in each: remove the folders of those that are different.");
        ModelFolder.WriteText(Path.Combine(folder, "evolution.json"), Json(all).ToJsonString(new() { WriteIndented = true }) + "\n");
        ModelFolder.WriteText(Path.Combine(folder, "evolution.html"), HtmlPage.Fill("evolution", "The evolution of GPT", Json(all)));
        return all;
    }

    private static List<EvolutionPoint> Curve(string run)
    {
        var (points, tokens, seconds) = (new List<EvolutionPoint>(), 0L, 0.0);
        foreach (var line in RunFolder.ReadMetrics(run))
        {
            if (line["tokens_per_second"] is { } speed) (seconds, tokens) = (seconds + (((long)line["tokens"]! - tokens) / (double)speed), (long)line["tokens"]!);
            if (line["val_loss"] is { } loss) points.Add(new(tokens, seconds, (double)loss));
        }
        return points.Count > 0 ? points : throw new InvalidDataException($"Found no evaluations in {run}. Expected train.eval_every above 0.");
    }

    private static JsonObject Json(List<EvolutionRuns> all) => new()
    {
        ["runs"] = new JsonArray([.. all.Select(r => (JsonNode)new JsonObject
        {
            ["name"] = r.Name,
            ["parameters"] = r.Parameters,
            ["seeds"] = r.Curves.Count,
            ["points"] = new JsonArray([.. Enumerable.Range(0, r.Curves[0].Count).Select(i => (JsonNode)new JsonObject
            {
                ["tokens"] = r.Curves[0][i].Tokens,
                ["seconds"] = r.Curves.Average(c => c[i].Seconds),
                ["loss"] = r.Curves.Average(c => c[i].Loss),
                ["half"] = double.IsNaN(r.HalfInterval(i)) ? null : r.HalfInterval(i),
                ["each"] = new JsonArray([.. r.Curves.Select(c => (JsonNode)c[i].Loss)]),
            })]),
        })]),
    };
}
