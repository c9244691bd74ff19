using System.CommandLine;
using System.Globalization;
using System.Text.Json.Nodes;

namespace Lect;

/// <summary>lect classify: labels of texts.</summary>
internal static class ClassifyCommand
{
    public static Command Create()
    {
        var (modelOption, adapter, device, batch) = (Screen.Model(), Screen.Adapter(), Screen.Device(), Screen.BatchSize());
        var truncate = Screen.Truncate();
        var pair = new Option<string?>("--pair") { Description = "The second text, for a model of pairs" };
        var command = new Command("classify", "Put a label on a text. Example: lect classify --model my-classifier \"What a film!\"") { modelOption, adapter, device, pair, truncate, batch };
        var lines = new JsonLines(command, "text");
        command.SetAction(int (parsed) =>
        {
            using var model = TextClassifier.Load(parsed.GetValue(modelOption)!, parsed.GetValue(device)!, parsed.GetValue(adapter));
            return lines.Run(parsed, parsed.GetValue(batch), batch =>
            {
                var found = model.Classify([.. batch.Select(l => JsonLines.Row(l.Json, (text, second) => model.Encode(text, second ?? parsed.GetValue(pair), parsed.GetValue(truncate))))]);
                return [.. found.Zip(batch, (f, line) => Answer(f, line.Json))];
            }, Show);
        });
        return command;
    }

    private static JsonObject Answer(Classified found, JsonObject line)
    {
        var answer = found.Label is null ? new JsonObject { ["score"] = found.Logits[0] }
            : new() { ["label"] = found.Label, ["scores"] = new JsonObject(found.Scores.Select(s => KeyValuePair.Create(s.Label, (JsonNode?)s.Probability))) };
        answer["logits"] = JsonLines.Array(found.Logits);
        return JsonLines.Echo(line, answer);
    }

    private static string Show(JsonObject answer) => answer["scores"] is JsonObject scores
        ? string.Join("  ", scores.OrderByDescending(s => (double)s.Value!).Select(s => string.Create(CultureInfo.InvariantCulture, $"{s.Key} {(double)s.Value!:0.000}")))
        : ((double)answer["score"]!).ToString("0.0000", CultureInfo.InvariantCulture);
}
