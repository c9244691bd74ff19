using System.CommandLine;
using System.Globalization;
using System.Text.Json.Nodes;

namespace Lect;

/// <summary>lect score: log-probabilities of given texts.</summary>
internal static class ScoreCommand
{
    public static Command Create()
    {
        var modelOption = Screen.Model();
        var device = Screen.Device();
        var command = new Command("score", "Log-probability of each token of a text. Example: lect score --model gpt2 \"The cat sat on the mat\"") { modelOption, device };
        var lines = new JsonLines(command, "text");
        command.SetAction(int (parsed) =>
        {
            using var model = LanguageModel.Load(parsed.GetValue(modelOption)!, parsed.GetValue(device)!);
            return lines.Run(parsed, (line, _) => Answer(model, line), o => string.Create(CultureInfo.InvariantCulture, $"{(double)o["total"]!:0.0000} nats over {o["ids"]!.AsArray().Count} tokens"));
        });
        return command;
    }

    private static JsonObject Answer(LanguageModel model, JsonObject line)
    {
        var scored = model.Score(JsonLines.Ids(line, "text", model.Encode));
        return JsonLines.Echo(line, new() { ["ids"] = JsonLines.Array(scored.Ids), ["logprobs"] = JsonLines.Array(scored.LogProbs), ["total"] = scored.Total });
    }
}
