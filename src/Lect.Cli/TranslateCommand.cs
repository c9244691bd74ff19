using System.CommandLine;
using System.Text.Json.Nodes;
using Lect.Models;

namespace Lect;

/// <summary>lect translate: sources to targets.</summary>
internal static class TranslateCommand
{
    public static Command Create()
    {
        var (modelOption, device) = (Screen.Model(), Screen.Device());
        var beams = new Option<int?>("--beams") { Description = "Hypotheses of beam search; 1: greedy. By default 4, or what generation_config.json says" };
        var penalty = new Option<double?>("--length-penalty") { Description = "Exponent of the length that scores are divided by" };
        var gnmt = new Option<bool>("--gnmt") { Description = "Divide by ((5 + length) / 6)^penalty instead of length^penalty" };
        var coverage = new Option<double?>("--coverage-penalty") { Description = "How much a translation that leaves out parts of the source is put back" };
        var early = new Option<bool>("--early-stopping") { Description = "Stop at as many finished hypotheses as beams" };
        var most = new Option<int?>("--max-new-tokens") { Description = "Tokens at most" };
        var best = new Option<int>("--n-best") { Description = "Translations of each text, best first", DefaultValueFactory = _ => 1 };
        var keep = new Option<bool>("--keep-unknown") { Description = "Let the model's token for unknown words stand (it leaves no text), instead of copying the word from the source" };
        var attention = new Option<bool>("--attention") { Description = "With --json: how much each token attends to each source token" };
        var batch = Screen.BatchSize();
        var command = new Command("translate", "Translate with an encoder-decoder. Example: lect translate --model runs/de-en \"ein mann sitzt auf einer bank\"") { modelOption, device, beams, penalty, gnmt, coverage, early, most, best, keep, attention, batch };
        var lines = new JsonLines(command, "text");
        command.SetAction(int (parsed) =>
        {
            using var translator = Translator.Load(parsed.GetValue(modelOption)!, parsed.GetValue(device)!);
            var defaults = translator.Defaults;
            var options = (defaults with
            {
                Beams = parsed.GetValue(beams) ?? defaults.Beams,
                LengthPenalty = parsed.GetValue(penalty) ?? defaults.LengthPenalty,
                Gnmt = parsed.GetValue(gnmt),
                CoveragePenalty = parsed.GetValue(coverage) ?? 0,
                Stop = parsed.GetValue(early) ? BeamStop.AtOnce : defaults.Stop,
                MaxNewTokens = parsed.GetValue(most) ?? defaults.MaxNewTokens,
                Best = parsed.GetValue(best),
                CopyUnknown = !parsed.GetValue(keep),
                WithAttention = parsed.GetValue(attention),
                BatchSize = parsed.GetValue(batch),
            }).Validate();
            return lines.Run(parsed, options.BatchSize, batch =>
            {
                var translations = translator.Translate([.. batch.Select(l => JsonLines.Ids(l.Json, "text", translator.Encode))], options, [.. batch.Select(l => l.Json["ids"] is null ? (string?)l.Json["text"] : null)]);
                return [.. translations.Zip(batch, (t, line) => JsonLines.Echo(line.Json, Answer(t)))];
            }, answer => Show(answer, translator.TargetTokenizer is not null));
        });
        return command;
    }

    private static JsonObject Answer(Translation t)
    {
        var answer = new JsonObject { ["ids"] = JsonLines.Array(t.Ids), ["text"] = t.Text, ["score"] = t.Score };
        if (t.Attention is { } rows) answer["attention"] = new JsonArray([.. rows.Select(r => (JsonNode)JsonLines.Array(r))]);
        if (t.Others.Count > 0) answer["others"] = new JsonArray([.. t.Others.Select(o => (JsonNode)Answer(o))]);
        return answer;
    }

    // Without a tokenizer there are ids only.
    private static string Show(JsonObject answer, bool hasText)
    {
        var text = hasText ? (string)answer["text"]! : answer["ids"]!.ToJsonString();
        return answer["others"] is JsonArray others ? string.Join('\n', new[] { answer }.Concat(others.Select(o => o!.AsObject())).Select(a => string.Create(System.Globalization.CultureInfo.InvariantCulture, $"{(double)a["score"]!:0.0000}  {a["text"]}"))) : text;
    }
}
