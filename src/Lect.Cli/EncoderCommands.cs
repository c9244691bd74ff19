using System.CommandLine;
using System.Globalization;
using System.Text.Json.Nodes;

namespace Lect;

/// <summary>lect fill-mask, next-sentence, choose, answer, tag: what BERT's heads are for.</summary>
internal static class EncoderCommands
{
    private static Option<string> Pair(string description) => new("--pair") { Description = description };

    public static Command FillMask()
    {
        var (modelOption, device) = (Screen.Model(), Screen.Device());
        var topK = new Option<int>("--top-k") { Description = "Tokens of each place", DefaultValueFactory = _ => 5 };
        var mask = new Option<int?>("--mask-id") { Description = "Id of the mask token where the folder has no tokenizer" };
        var command = new Command("fill-mask", "What masked tokens could be. Example: lect fill-mask --model runs/bert \"the man [MASK] to the store\"") { modelOption, device, topK, mask };
        var lines = new JsonLines(command, "text");
        command.SetAction(int (parsed) =>
        {
            using var model = MaskedLanguageModel.Load(parsed.GetValue(modelOption)!, parsed.GetValue(device)!);
            return lines.Run(parsed, (line, _) =>
            {
                var row = JsonLines.Row(line, (text, pair) => pair is null ? model.EncodeMasked(text) : model.Encode(text, pair));
                var found = model.Fill(row, parsed.GetValue(topK), line["positions"] is JsonArray places ? JsonLines.Numbers(places, "positions") : null, parsed.GetValue(mask));
                return JsonLines.Echo(line, new() { ["predictions"] = new JsonArray([.. found.Select(place => (JsonNode)new JsonArray([.. place.Select(g => (JsonNode)new JsonObject { ["id"] = g.Id, ["token"] = g.Token, ["prob"] = g.Probability })]))]) });
            }, answer => string.Join('\n', answer["predictions"]!.AsArray().Select(place => string.Join("  ", place!.AsArray().Select(g => string.Create(CultureInfo.InvariantCulture, $"{g!["token"] ?? g["id"]} {(double)g["prob"]!:0.000}"))))));
        });
        return command;
    }

    public static Command NextSentence()
    {
        var (modelOption, device, batch) = (Screen.Model(), Screen.Device(), Screen.BatchSize());
        var pair = Pair("The second text");
        var command = new Command("next-sentence", "Whether a text follows another. Example: lect next-sentence --model runs/bert \"The man went to the store.\" --pair \"He bought milk.\"") { modelOption, device, pair, batch };
        var lines = new JsonLines(command, "text");
        command.SetAction(int (parsed) =>
        {
            using var model = NextSentenceModel.Load(parsed.GetValue(modelOption)!, parsed.GetValue(device)!);
            return lines.Run(parsed, parsed.GetValue(batch), batch =>
            {
                var found = model.IsNext([.. batch.Select(l => JsonLines.Row(l.Json, (text, second) => model.Encode(text, second ?? parsed.GetValue(pair) ?? throw new InvalidDataException("found no \"text_pair\". Expected two texts."))))]);
                return [.. found.Zip(batch, (p, line) => JsonLines.Echo(line.Json, new() { ["is_next"] = p }))];
            }, answer => string.Create(CultureInfo.InvariantCulture, $"{(double)answer["is_next"]!:0.000}"));
        });
        return command;
    }

    public static Command Choose()
    {
        var (modelOption, device) = (Screen.Model(), Screen.Device());
        var truncate = Screen.Truncate();
        var choices = new Option<string[]>("--choices") { Description = "What could follow", AllowMultipleArgumentsPerToken = true };
        var command = new Command("choose", "Which of several texts follows. Example: lect choose --model runs/swag \"She opened the door and\" --choices \"went in.\" \"ate it.\"") { modelOption, device, choices, truncate };
        var lines = new JsonLines(command, "prompt");
        command.SetAction(int (parsed) =>
        {
            using var model = ChoiceModel.Load(parsed.GetValue(modelOption)!, parsed.GetValue(device)!);
            return lines.Run(parsed, (line, _) =>
            {
                var scores = model.Choose(Rows(model, line, parsed.GetValue(choices) ?? [], parsed.GetValue(truncate)));
                return JsonLines.Echo(line, new() { ["choice"] = Array.IndexOf(scores, scores.Max()), ["scores"] = JsonLines.Array(scores) });
            }, answer => string.Create(CultureInfo.InvariantCulture, $"{answer["choice"]}  ({string.Join("  ", answer["scores"]!.AsArray().Select(s => string.Create(CultureInfo.InvariantCulture, $"{(double)s!:0.000}")))})"));
        });
        return command;
    }

    private static EncoderRow[] Rows(ChoiceModel model, JsonObject line, string[] given, bool truncate)
    {
        static int[] Ints(JsonNode? list, string name) => list is JsonArray row ? JsonLines.Numbers(row, name) : throw new InvalidDataException($"found {list?.ToJsonString() ?? "null"} in \"{name}\". Expected lists of whole numbers.");
        if (line["choice_ids"] is JsonArray ids)
        {
            var types = line["choice_token_type_ids"] as JsonArray;
            if (types is not null && types.Count != ids.Count) throw new InvalidDataException($"found {types.Count} \"choice_token_type_ids\" for {ids.Count} \"choice_ids\". Expected as many.");
            return [.. ids.Select((row, i) => new EncoderRow(Ints(row, "choice_ids"), types is null ? null : Ints(types[i], "choice_token_type_ids")))];
        }
        var prompt = (string?)line["prompt"] ?? throw new InvalidDataException("found neither \"prompt\" nor \"choice_ids\".");
        var texts = line["choices"] is JsonArray list ? JsonLines.Texts(list, "choices") : given;
        return [.. texts.Select(c => model.Encode(prompt, c, truncate))];
    }

    public static Command Answer()
    {
        var (modelOption, device) = (Screen.Model(), Screen.Device());
        var context = new Option<string?>("--context") { Description = "The text in which the answer stands" };
        var best = new Option<int>("--n-best") { Description = "Answers, best first", DefaultValueFactory = _ => 1 };
        var none = new Option<bool>("--no-answer") { Description = "There may be none (SQuAD 2): then the answer is empty" };
        var length = new Option<int>("--max-length") { Description = "Tokens of a window; longer contexts come in several", DefaultValueFactory = _ => 384 };
        var stride = new Option<int>("--stride") { Description = "Tokens that two windows share", DefaultValueFactory = _ => 128 };
        var command = new Command("answer", "Find an answer in a text. Example: lect answer --model runs/squad \"Who wrote it?\" --context \"It was written by Ada Lovelace in 1843.\"") { modelOption, device, context, best, none, length, stride };
        var lines = new JsonLines(command, "question");
        command.SetAction(int (parsed) =>
        {
            using var model = AnswerModel.Load(parsed.GetValue(modelOption)!, parsed.GetValue(device)!);
            return lines.Run(parsed, (line, _) =>
            {
                if (line["ids"] is not null) return JsonLines.Echo(line, Json(model.Answer(JsonLines.Row(line, (text, pair) => model.Encode(text, pair)))));
                var question = (string?)line["question"] ?? throw new InvalidDataException("found neither \"question\" nor \"ids\".");
                var text = (string?)line["context"] ?? parsed.GetValue(context) ?? throw new InvalidDataException("found no \"context\". Expected the text in which the answer stands (--context).");
                var answers = model.Answer(question, text, parsed.GetValue(best), parsed.GetValue(none), parsed.GetValue(length), parsed.GetValue(stride));
                var first = Json(answers[0]);
                if (answers.Count > 1) first["others"] = new JsonArray([.. answers.Skip(1).Select(a => (JsonNode)Json(a))]);
                return JsonLines.Echo(line, first);
            }, answer => string.Join('\n', new[] { answer }.Concat((answer["others"] as JsonArray ?? []).Select(o => o!.AsObject())).Select(a => string.Create(CultureInfo.InvariantCulture, $"{(double)a["score"]!:0.000}  {((string)a["answer"]! is { Length: > 0 } said ? said : "(no answer)")}"))));
        });
        return command;
    }

    private static JsonObject Json(Answer a) => new() { ["answer"] = a.Text, ["start"] = a.Start, ["end"] = a.End, ["score"] = a.Probability };

    public static Command Tag()
    {
        var (modelOption, device) = (Screen.Model(), Screen.Device());
        var command = new Command("tag", "Name the words of a text. Example: lect tag --model runs/ner \"Ada Lovelace lived in London.\"") { modelOption, device };
        var lines = new JsonLines(command, "text");
        command.SetAction(int (parsed) =>
        {
            using var model = TagModel.Load(parsed.GetValue(modelOption)!, parsed.GetValue(device)!);
            return lines.Run(parsed, (line, _) => JsonLines.Echo(line, Tagged(model, line)), answer => string.Join('\n', answer["entities"]!.AsArray().Select(e => string.Create(CultureInfo.InvariantCulture, $"{(string)e!["type"]!,-8} {(double)e["score"]!:0.000}  {e["text"]}"))));
        });
        return command;
    }

    private static JsonObject Tagged(TagModel model, JsonObject line)
    {
        IReadOnlyList<string> tags;
        IReadOnlyList<TextEntity> entities;
        if (line["ids"] is not null)
        {
            var row = JsonLines.Row(line, (text, pair) => model.Encode(text, pair));
            (tags, var scores) = model.Tokens(row);
            entities = TagModel.Entities(tags, scores, (first, last) => (first, last + 1, model.Tokenizer?.Decode(row.Ids[first..(last + 1)]) ?? ""));
        }
        else if (line["words"] is JsonArray list)
        {
            var words = JsonLines.Texts(list, "words");
            (tags, var scores) = model.Tag(words);
            entities = TagModel.Entities(tags, scores, (first, last) => (first, last + 1, string.Join(' ', words.Skip(first).Take(last - first + 1))));
        }
        else
        {
            var text = (string?)line["text"] ?? throw new InvalidDataException("found neither \"text\", \"words\" nor \"ids\".");
            (tags, entities) = model.Tag(text, TagModel.Split(text));
        }
        return new() { ["entities"] = new JsonArray([.. entities.Select(e => (JsonNode)new JsonObject { ["type"] = e.Type, ["start"] = e.Start, ["end"] = e.End, ["text"] = e.Text, ["score"] = e.Score })]), ["tags"] = JsonLines.Array(tags) };
    }
}
