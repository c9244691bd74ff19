using System.CommandLine;
using System.Globalization;
using System.Text.Json.Nodes;

namespace Lect;

/// <summary>lect classify: labels of texts.</summary>
internal static class ClassifyCommand
{
    public static Command Create()
    {
        var modelOption = Screen.Model();
        var device = Screen.Device();
        var command = new Command("classify", "Put a label on a text. Example: lect classify --model my-classifier \"What a film!\"") { modelOption, device };
        var lines = new JsonLines(command, "text");
        command.SetAction(int (parsed) =>
        {
            using var model = TextClassifier.Load(parsed.GetValue(modelOption)!, parsed.GetValue(device)!);
            return lines.Run(parsed, (line, _) => Answer(model, line), Show);
        });
        return command;
    }

    private static JsonObject Answer(TextClassifier model, JsonObject line)
    {
        var found = model.Classify(JsonLines.Ids(line, "text", text => model.Encode(text, (string?)line["text_pair"])));
        var answer = found.Label is null ? new JsonObject { ["score"] = found.Logits[0] }
            : new() { ["label"] = found.Label, ["scores"] = new JsonObject(found.Scores.Select(s => KeyValuePair.Create(s.Label, (JsonNode?)s.Probability))) };
        answer["logits"] = JsonLines.Array(found.Logits);
        return JsonLines.Echo(line, answer);
    }

    private static string Show(JsonObject answer) => answer["scores"] is JsonObject scores
        ? string.Join("  ", scores.OrderByDescending(s => (double)s.Value!).Select(s => string.Create(CultureInfo.InvariantCulture, $"{s.Key} {(double)s.Value!:0.000}")))
        : ((double)answer["score"]!).ToString("0.0000", CultureInfo.InvariantCulture);
}
