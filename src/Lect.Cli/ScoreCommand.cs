using System.CommandLine;
using System.Globalization;
using System.Text.Json.Nodes;
using Lect.Models;

namespace Lect;

/// <summary>lect score: log-probabilities of given texts.</summary>
internal static class ScoreCommand
{
    public static Command Create()
    {
        var modelOption = Screen.Model();
        var device = Screen.Device();
        var dtype = Screen.Dtype();
        var context = Screen.Context();
        var adapter = Screen.Adapter();
        var mask = new Option<int?>("--mask-id") { Description = "Id of the mask token of a masked model without tokenizer" };
        var command = new Command("score", "Log-probability of each token of a text; masked models: each token masked in turn. Example: lect score --model gpt2 \"The cat sat on the mat\"") { modelOption, adapter, device, dtype, context, mask };
        var lines = new JsonLines(command, "text");
        command.SetAction(int (parsed) =>
        {
            var isDecoder = !Translator.IsAt(parsed.GetValue(modelOption)!) && !ModelFolder.IsEncoder(parsed.GetValue(modelOption)!);
            foreach (var (name, isGiven) in new[] { ("--context", parsed.GetValue(context) is not null), ("--adapter", parsed.GetValue(adapter) is { Length: > 0 }), ("--dtype", parsed.GetValue(dtype) != "fp32") })
                if (isGiven && !isDecoder) throw new InvalidDataException($"Found {name}. Expected it with a decoder.");
            if (Translator.IsAt(parsed.GetValue(modelOption)!))
            {
                using var translator = Translator.Load(parsed.GetValue(modelOption)!, parsed.GetValue(device)!);
                return lines.Run(parsed, (line, _) => Answer(translator, line), Show);
            }
            if (ModelFolder.IsEncoder(parsed.GetValue(modelOption)!))
            {
                using var masked = MaskedLanguageModel.Load(parsed.GetValue(modelOption)!, parsed.GetValue(device)!);
                return lines.Run(parsed, (line, _) => Answer(line, masked.Score(JsonLines.Row(line, (text, pair) => masked.Encode(text, pair)), parsed.GetValue(mask))), Show);
            }
            if (parsed.GetValue(mask) is not null) throw new InvalidDataException("Found --mask-id with a decoder. Expected it with a masked model.");
            using var model = LanguageModel.Load(parsed.GetValue(modelOption)!, parsed.GetValue(device)!, parsed.GetValue(context), parsed.GetValue(adapter), parsed.GetValue(dtype)!);
            return lines.Run(parsed, (line, _) => Answer(model, line), Show);
        });
        return command;
    }

    private static string Show(JsonObject answer) => string.Create(CultureInfo.InvariantCulture, $"{(double)answer["total"]!:0.0000} nats over {answer["ids"]!.AsArray().Count} tokens");

    private static JsonObject Answer(LanguageModel model, JsonObject line) => Answer(line, model.Score(JsonLines.Ids(line, "text", model.Encode)));

    // A pair: "source" and "target", or their ids.
    private static JsonObject Answer(Translator translator, JsonObject line)
    {
        int[] Ids(string key, Func<string, int[]> encode) => line[key + "_ids"] is JsonArray ids ? JsonLines.Numbers(ids, key + "_ids") : line[key] is JsonValue text ? encode((string)text!)
            : throw new InvalidDataException($"found neither \"{key}\" nor \"{key}_ids\". Expected both sides of a pair.");
        return Answer(line, translator.Score(Ids("source", translator.Encode), Ids("target", translator.EncodeTarget)));
    }

    private static JsonObject Answer(JsonObject line, Scored scored) => JsonLines.Echo(line, new() { ["ids"] = JsonLines.Array(scored.Ids), ["logprobs"] = JsonLines.Array(scored.LogProbs), ["total"] = scored.Total });
}
