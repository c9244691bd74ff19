using System.CommandLine;
using System.Text.Json.Nodes;

namespace Lect;

/// <summary>lect translate: sources to targets.</summary>
internal static class TranslateCommand
{
    public static Command Create()
    {
        var (modelOption, device) = (Screen.Model(), Screen.Device());
        var beams = new Option<int>("--beams") { Description = "Hypotheses of beam search; 1: greedy", DefaultValueFactory = _ => 4 };
        var penalty = new Option<double>("--length-penalty") { Description = "Exponent of the length that scores are divided by", DefaultValueFactory = _ => 1 };
        var early = new Option<bool>("--early-stopping") { Description = "Stop at as many finished hypotheses as beams" };
        var most = new Option<int>("--max-new-tokens") { Description = "Tokens at most", DefaultValueFactory = _ => 128 };
        var batch = new Option<int>("--batch-size") { Description = "Lines read and answered together", DefaultValueFactory = _ => 1 };
        var command = new Command("translate", "Translate with an encoder-decoder. Example: lect translate --model runs/de-en \"ein mann sitzt auf einer bank\"") { modelOption, device, beams, penalty, early, most, batch };
        var lines = new JsonLines(command, "text");
        command.SetAction(int (parsed) =>
        {
            using var translator = Translator.Load(parsed.GetValue(modelOption)!, parsed.GetValue(device)!);
            var size = parsed.GetValue(batch);
            if (size < 1 || parsed.GetValue(most) < 1) throw new InvalidDataException($"Found --batch-size {size} and --max-new-tokens {parsed.GetValue(most)}. Expected at least 1.");
            var options = new TranslationOptions { Beams = parsed.GetValue(beams), LengthPenalty = parsed.GetValue(penalty), EarlyStopping = parsed.GetValue(early), MaxNewTokens = parsed.GetValue(most), BatchSize = size };
            return lines.Run(parsed, size, batch =>
            {
                var translations = translator.Translate([.. batch.Select(l => JsonLines.Ids(l.Json, "text", translator.Encode))], options);
                return [.. translations.Zip(batch, (t, line) => JsonLines.Echo(line.Json, new() { ["ids"] = JsonLines.Array(t.Ids), ["text"] = t.Text, ["score"] = t.Score }))];
            }, Show);
        });
        return command;
    }

    private static string Show(JsonObject answer) => (string)answer["text"]! is { Length: > 0 } text ? text : answer["ids"]!.ToJsonString();
}
