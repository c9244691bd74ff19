using System.Text.Json.Nodes;
using Lect.Text;

namespace Lect.Studio;

/// <summary>What <c>lect improve</c> does.</summary>
public sealed record ImproveOptions
{
    /// <summary>The model that the votes are to make better.</summary>
    public required string Model { get; init; }
    /// <summary>Where the votes are.</summary>
    public required string Db { get; init; }
    /// <summary>The better model's folder.</summary>
    public required string Out { get; init; }
    /// <summary><c>dpo</c>, or <c>ppo</c> against the reward model of the votes. <value>dpo</value></summary>
    public string Method { get; init; } = "dpo";
    /// <summary>Settings of the recipe, as <c>--set</c> has them.</summary>
    public IReadOnlyList<string> Sets { get; init; } = [];
    /// <summary>auto, cpu, cuda, cuda:N or mps.</summary>
    public string Device { get; init; } = "auto";
}

/// <summary>How a candidate fared on votes that nothing learned from.</summary>
/// <param name="HeldOut">Votes.</param>
/// <param name="Agrees">The share in which the candidate moved towards what was preferred: log(p_new / p_old) is higher for the chosen answer; one half where both are the same.</param>
/// <param name="Interval">Wilson's of 95 %.</param>
/// <param name="RewardAccuracy">How often the reward model prefers what was preferred.</param>
public sealed record Improvement(int HeldOut, double Agrees, (double Low, double High) Interval, double RewardAccuracy)
{
    /// <summary>Better than chance, beyond doubt.</summary>
    public bool HasWon => Interval.Low > 0.5;
}

/// <summary>The circle: votes, a reward model, a policy that learns from them, and a judgement by votes that neither saw.</summary>
public static class Improve
{
    /// <summary>Held-out votes that a judgement needs.</summary>
    public const int LeastHeldOut = 50;
    private const double HeldOutShare = 0.3;

    /// <summary>Trains a candidate, and puts it into the folder if it has won.</summary>
    /// <param name="options">What.</param>
    /// <param name="report">Told each line of metrics.</param>
    /// <param name="note">Told what happens.</param>
    /// <param name="stop">Stops; said again, it goes on.</param>
    /// <exception cref="InvalidDataException">There are too few votes, or something given cannot be used.</exception>
    public static async Task<Improvement> Run(ImproveOptions options, Action<TrainEvent>? report = null, Action<string>? note = null, CancellationToken stop = default)
    {
        if (options.Method is not ("dpo" or "ppo")) throw new InvalidDataException($"Found --method {options.Method}. Expected dpo or ppo.");
        if (Path.GetFullPath(options.Out) == Path.GetFullPath(options.Model) || File.Exists(Path.Combine(options.Out, "config.json"))) throw new InvalidDataException($"Found a model in {options.Out}. Expected a new folder: the old model stays as it is.");
        string At(string name) => Path.Combine(options.Out, name);
        var (learned, held) = await Begin(options);
        note?.Invoke($"{learned} votes to learn from, {held} held out");

        var config = new AlignConfig { Model = new() { Path = options.Model }, Data = new() { Path = At("votes.jsonl"), Validation = 0.1 }, Train = new() { Device = options.Device, Epochs = 3, BatchSize = Math.Clamp(learned / 8, 1, 16), EvalEvery = 20, CheckpointEvery = 50, MaxLength = null } };
        Train(config with { Recipe = "reward" }, "reward", []);
        var candidate = config with { Recipe = options.Method, Model = config.Model with { Reward = options.Method == "ppo" ? [At("reward")] : null } };
        if (options.Method == "ppo") candidate = candidate with { Rollout = new() { Batch = 32, MaxNewTokens = 48 }, Train = candidate.Train with { BatchSize = 16, Epochs = null, Steps = 80 } };
        else candidate = candidate with { Train = candidate.Train with { Lr = 5e-5 } };
        Train(candidate, "candidate", options.Sets);

        var found = Judge(options, At("candidate"), At("reward"), At("held-out.jsonl"), note);
        if (found.HasWon && Lect.Models.Lora.IsAt(At("candidate"))) ModelConversion.Run(options.Model, options.Out, adapters: [At("candidate")]);
        else if (found.HasWon) ModelConversion.Run(At("candidate"), options.Out);
        return found;

        void Train(AlignConfig run, string name, IReadOnlyList<string> sets)
        {
            note?.Invoke(RunFolder.IsAt(At(name)) ? $"going on with {At(name)}" : $"{run.Recipe}: {At(name)}");
            var file = At(name + ".yaml");
            if (!RunFolder.IsAt(At(name))) File.WriteAllText(file, RunFile.Write(run));
            run = RunFolder.IsAt(At(name)) ? RunFolder.SettingsOf<AlignConfig>(At(name), []) : RunFile.Load<AlignConfig>(file, sets);
            Alignment.Run(run, At(name), report, note, stop);
        }
    }

    // What was asked and the votes that it is about stay as they were at the beginning: a candidate that is judged again on other votes until it wins has not won.
    private static async Task<(int Learned, int HeldOut)> Begin(ImproveOptions options)
    {
        string At(string name) => Path.Combine(options.Out, name);
        var asked = new JsonObject { ["model"] = Path.GetFullPath(options.Model), ["method"] = options.Method, ["sets"] = new JsonArray([.. options.Sets.Select(s => (JsonNode)s)]) }.ToJsonString();
        if (File.Exists(At("improve.json")))
        {
            if (await File.ReadAllTextAsync(At("improve.json")) != asked) throw new InvalidDataException($"Found {options.Out} begun with another model, method or settings. Expected the same, or another --out.");
            return (File.ReadLines(At("votes.jsonl")).Count(), File.ReadLines(At("held-out.jsonl")).Count());
        }
        // By the prompt's hash, so that a prompt is on one side only.
        var rows = (await StudioStore.Open(options.Db).Votes()).Select(v => (v.Prompt, Row: Votes.Row(v, ties: false))).Where(v => v.Row is not null).ToList();
        var held = rows.Where(r => SdkCorpus.IsKept(r.Prompt, HeldOutShare)).ToList();
        var learned = rows.Except(held).ToList();
        if (held.Count < LeastHeldOut) throw new InvalidDataException($"Found {rows.Count} votes with a preference, of which {held.Count} are held out (three in ten, by their prompts). Expected {LeastHeldOut} held out: about {Math.Ceiling((LeastHeldOut - held.Count) / HeldOutShare):0} more votes, on other prompts, are missing.");
        if (learned.Count == 0) throw new InvalidDataException($"Found {held.Count} votes, all on prompts that are held out. Expected votes on more prompts.");
        Directory.CreateDirectory(options.Out);
        await File.WriteAllLinesAsync(At("votes.jsonl"), learned.Select(r => r.Row!.ToJsonString()));
        await File.WriteAllLinesAsync(At("held-out.jsonl"), held.Select(r => r.Row!.ToJsonString()));
        await File.WriteAllTextAsync(At("improve.json"), asked);
        return (learned.Count, held.Count);
    }

    private static Improvement Judge(ImproveOptions options, string candidate, string reward, string heldOut, Action<string>? note)
    {
        var comparisons = Rows.Read(heldOut).SelectMany(new ChatData(heldOut).Comparisons).ToList();
        List<double> Preferences(string folder, string? adapter = null)
        {
            using var model = LanguageModel.Load(folder, options.Device, adapters: adapter is null ? null : [adapter]);
            return comparisons.ConvertAll(c => model.Preference(c));
        }
        var (before, after) = (Preferences(options.Model), Lect.Models.Lora.IsAt(candidate) ? Preferences(options.Model, candidate) : Preferences(candidate));
        var right = before.Zip(after, (b, a) => a > b ? 1.0 : a == b ? 0.5 : 0).ToList();
        using var scorer = RewardScorer.Load(reward, options.Device);
        return new(right.Count, right.Average(), PreferenceStatistics.Wilson(right.Sum(), right.Count), scorer.Evaluate(comparisons, note).Accuracy);
    }
}
