using System.CommandLine;
using System.Text.Encodings.Web;
using System.Text.Json;

namespace Lect;

/// <summary>lect train gpt: the verbs that train, one recipe each.</summary>
internal static class TrainCommands
{
    private static readonly JsonSerializerOptions s_compact = new() { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

    public static Command Create() => new("train", "Train a model from nothing, or go on with one")
    {
        Recipe<PretrainGptConfig>("gpt", "Generative pre-training of a decoder. Example: lect train gpt -c configs/gpt/sdk-small.yaml --out runs/gpt", PretrainGpt.Run),
    };

    /// <summary>Runs a recipe in a folder: settings, folder, what to tell of metrics and of the rest, when to stop.</summary>
    private delegate RunState Runner<TConfig>(TConfig config, string folder, Action<TrainEvent>? report, Action<string>? note, CancellationToken stop);

    private static Command Recipe<TConfig>(string name, string description, Runner<TConfig> run) where TConfig : IRecipeConfig, new()
    {
        var config = new Option<string>("--config", "-c") { Description = "Run file (YAML); without one every key has its default" };
        var output = new Option<string>("--out") { Description = "Folder of the run", Required = true };
        var sets = Screen.Sets();
        var resume = new Option<bool>("--resume") { Description = "Go on with the run in --out from its last checkpoint" };
        var json = new Option<bool>("--json") { Description = "Lines of metrics on standard output" };
        var command = new Command(name, description) { config, output, sets, resume, json };
        command.SetAction(int (parsed) =>
        {
            var folder = parsed.GetValue(output)!;
            var settings = Settings<TConfig>(parsed.GetValue(config), folder, parsed.GetValue(sets) ?? [], parsed.GetValue(resume));
            using var stop = new StopSignals();
            using var progress = new Progress();
            var done = run(settings, folder, e =>
            {
                if (parsed.GetValue(json)) Console.Out.WriteLine(e.Metrics.ToJsonString(s_compact));
                progress.Show(e);
            }, progress.Note, stop.Token);
            progress.Note(Summary(done, folder));
            return 0;
        });
        return command;
    }

    private static TConfig Settings<TConfig>(string? config, string folder, string[] sets, bool resume) where TConfig : IRecipeConfig, new()
    {
        if (!resume) return RunFolder.IsOccupied(folder) ? throw RunFolder.Occupied(folder) : RunFile.Load<TConfig>(Screen.ConfigFile(config), sets);
        return RunFolder.IsAt(folder) || config is null ? RunFolder.SettingsOf<TConfig>(folder, sets) : RunFile.Load<TConfig>(Screen.ConfigFile(config), sets);
    }

    private static string Summary(RunState state, string folder) => $"done: {state.Step} steps, {state.Tokens:N0} tokens; "
        + (state.BestStep >= 0 ? FormattableString.Invariant($"best validation loss {state.Best:0.0000} at step {state.BestStep}; ") : "") + $"model in {folder}\nNext: lect generate --model {folder} --temperature 0.8 \"The \"";
}
