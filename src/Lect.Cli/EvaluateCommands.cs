using System.CommandLine;
using System.Globalization;
using System.Text.Json.Nodes;
using Lect.Text;

namespace Lect;

/// <summary>lect evaluate perplexity: figures of models and of their answers.</summary>
internal static class EvaluateCommands
{
    public static Command Create() => new("evaluate", "Measure a model, or answers that were given") { PerplexityCommand() };

    private static Command PerplexityCommand()
    {
        var modelOption = Screen.Model();
        var device = Screen.Device();
        var file = new Option<string?>("--file") { Description = "Text, JSONL, CSV or Parquet (column text); by default the test split of the SDK's documentation" };
        var stride = new Option<int?>("--stride") { Description = "Tokens that each window predicts anew, those before being context; by default windows do not overlap" };
        var json = Screen.Json();
        var command = new Command("perplexity", "How well a decoder predicts a text. Example: lect evaluate perplexity --model gpt2 --file book.txt") { modelOption, device, file, stride, json };
        command.SetAction(int (parsed) =>
        {
            using var model = LanguageModel.Load(parsed.GetValue(modelOption)!, parsed.GetValue(device)!);
            var found = Perplexity.Of(model, Texts(parsed.GetValue(file)), parsed.GetValue(stride));
            Screen.Figures(parsed.GetValue(json), [.. found.Figures().Select(f => (f.Name, (JsonNode)f.Value)), ("tokens", found.Tokens)]);
            return 0;
        });
        return command;
    }

    // A long text file comes in pieces, which belong together.
    private static IEnumerable<string> Texts(string? file) => file is null
        ? SdkCorpus.Splits()[CorpusSplit.Test].Select(t => t.Text)
        : Documents.Read(new() { Path = file, Validation = 0 }).Aggregate(new List<(System.Text.StringBuilder Text, bool IsEnd)>(), (all, d) =>
        {
            if (all.Count == 0 || all[^1].IsEnd) all.Add((new(), false));
            all[^1] = (all[^1].Text.Append(d.Text), d.IsEnd);
            return all;
        }).Select(t => t.Text.ToString());
}
