using System.CommandLine;
using System.Globalization;
using System.Text.Json.Nodes;

namespace Lect;

/// <summary>lect nearest, analogy, embed, map: what word vectors are for.</summary>
internal static class VectorCommands
{
    internal static Option<string> Vectors() => new("--vectors") { Description = "Word vectors: a file (word2vec text or binary, GloVe, fastText .vec, also .gz) or the folder of a run", Required = true };

    internal static WordVectors Read(string path) => VectorFiles.Read(path, warning => Console.Error.WriteLine("lect: " + warning));

    private static Option<int> TopK() => new("--top-k") { Description = "How many words", DefaultValueFactory = _ => 10 };

    private static Option<int> Restrict() => new("--restrict") { Description = "Look among the first N words only; 0: all" };

    public static Command Nearest()
    {
        var (vectorsOption, topK, restrict) = (Vectors(), TopK(), Restrict());
        var command = new Command("nearest", "The words nearest to a word. Example: lect nearest --vectors runs/words string") { vectorsOption, topK, restrict };
        var lines = new JsonLines(command, "word");
        command.SetAction(int (parsed) =>
        {
            using var vectors = Read(parsed.GetValue(vectorsOption)!);
            return lines.Run(parsed, (line, _) => Answer(line, vectors.Nearest(Text(line, "word"), parsed.GetValue(topK), parsed.GetValue(restrict))), Show);
        });
        return command;
    }

    public static Command Analogy()
    {
        var (vectorsOption, topK, restrict) = (Vectors(), TopK(), Restrict());
        var method = new Option<string>("--method") { Description = "add (3CosAdd) or mul (3CosMul)", DefaultValueFactory = _ => "add" };
        method.AcceptOnlyFromAmong("add", "mul");
        var command = new Command("analogy", "a is to b as c is to what. Example: lect analogy --vectors runs/words \"man king woman\"") { vectorsOption, topK, restrict, method };
        var lines = new JsonLines(command, "words");
        command.SetAction(int (parsed) =>
        {
            using var vectors = Read(parsed.GetValue(vectorsOption)!);
            return lines.Run(parsed, (line, _) =>
            {
                var (a, b, c) = Three(line);
                return Answer(line, parsed.GetValue(method) == "mul" ? vectors.AnalogyByMultiplication(a, b, c, parsed.GetValue(topK), parsed.GetValue(restrict)) : vectors.Analogy(a, b, c, parsed.GetValue(topK), parsed.GetValue(restrict)));
            }, Show);
        });
        return command;
    }

    private static (string A, string B, string C) Three(JsonObject line)
    {
        if (line["words"] is null) return (Text(line, "a"), Text(line, "b"), Text(line, "c"));
        var words = Text(line, "words").Split((char[]?)null, StringSplitOptions.RemoveEmptyEntries);
        return words.Length == 3 ? (words[0], words[1], words[2]) : throw new InvalidDataException($"found {words.Length} words. Expected three: a b c.");
    }

    private static string Text(JsonObject line, string key) => line[key] is JsonValue value && value.GetValueKind() == System.Text.Json.JsonValueKind.String ? (string)value! : throw new InvalidDataException($"found no text \"{key}\".");

    private static JsonObject Answer(JsonObject line, IReadOnlyList<Neighbour> found) =>
        JsonLines.Echo(line, new() { ["words"] = new JsonArray([.. found.Select(n => new JsonObject { ["word"] = n.Word, ["similarity"] = n.Similarity })]) });

    private static string Show(JsonObject answer) => string.Join('\n', answer["words"]!.AsArray().Select(n => string.Create(CultureInfo.InvariantCulture, $"{(float)n!["similarity"]!,7:0.0000}  {(string)n["word"]!}")));

    public static Command Embed()
    {
        var vectorsOption = new Option<string?>("--vectors") { Description = Vectors().Description };
        var modelOption = new Option<string?>("--model") { Description = "Model folder of an encoder instead: the mean of its final activations" };
        var sif = new Option<bool>("--sif") { Description = "Weigh the words of a text: the more frequent, the less (smooth inverse frequency)" };
        var (device, truncate, batch) = (Screen.Device(), Screen.Truncate(), Screen.BatchSize());
        var command = new Command("embed", "The vector of a word or of a text. Example: lect embed --vectors runs/words \"returns the number of items\"") { vectorsOption, modelOption, sif, device, truncate, batch };
        var lines = new JsonLines(command, "text");
        command.SetAction(int (parsed) =>
        {
            if (parsed.GetValue(vectorsOption) is null == parsed.GetValue(modelOption) is null) throw new InvalidDataException("Found neither or both of --vectors and --model. Expected one of them.");
            if (parsed.GetValue(modelOption) is { } folder)
            {
                if (parsed.GetValue(sif)) throw new InvalidDataException("Found --sif with --model. Expected it with --vectors.");
                using var model = TextEmbedder.Load(folder, parsed.GetValue(device)!);
                return lines.Run(parsed, parsed.GetValue(batch), batch =>
                {
                    var found = model.Embed([.. batch.Select(l => JsonLines.Row(l.Json, (text, pair) => model.Encode(text, pair, parsed.GetValue(truncate))))]);
                    return [.. found.Zip(batch, (vector, line) => JsonLines.Echo(line.Json, new() { ["embedding"] = JsonLines.Array(vector) }))];
                }, ShowVector);
            }
            if (new Option[] { device, truncate, batch }.FirstOrDefault(o => parsed.GetResult(o) is { Implicit: false }) is { } other) throw new InvalidDataException($"Found {other.Name} with --vectors. Expected it with --model.");
            using var vectors = Read(parsed.GetValue(vectorsOption)!);
            return lines.Run(parsed, (line, _) => JsonLines.Echo(line, new() { ["embedding"] = JsonLines.Array(line["word"] is null ? vectors.Embed(Text(line, "text"), parsed.GetValue(sif)) : vectors.Vector(Text(line, "word"))) }), ShowVector);
        });
        return command;
    }

    private static string ShowVector(JsonObject answer) => string.Join(' ', answer["embedding"]!.AsArray().Select(x => ((float)x!).ToString("0.######", CultureInfo.InvariantCulture)));

    public static Command Map()
    {
        var vectorsOption = Vectors();
        var output = new Option<string>("--out") { Description = "The page", DefaultValueFactory = _ => "map.html" };
        var words = new Option<int>("--words") { Description = "The first N words", DefaultValueFactory = _ => 1000 };
        var only = new Option<string[]>("--only") { Description = "These words instead", AllowMultipleArgumentsPerToken = true };
        var perplexity = new Option<double>("--perplexity") { Description = "Neighbours that count for each word in t-SNE, about", DefaultValueFactory = _ => 30 };
        var command = new Command("map", "A page with words in the plane (PCA and t-SNE), to search and hover. Example: lect map --vectors runs/words --out map.html") { vectorsOption, output, words, only, perplexity };
        command.SetAction(int (parsed) =>
        {
            var path = parsed.GetValue(vectorsOption)!;
            using var vectors = Read(path);
            using var stop = new StopSignals("stopping");
            using var progress = new Progress();
            if (parsed.GetValue(perplexity) is not (>= 1 and <= 1000)) throw new InvalidDataException($"Found --perplexity {parsed.GetValue(perplexity)}. Expected 1 to 1000.");
            if (Path.GetDirectoryName(Path.GetFullPath(parsed.GetValue(output)!)) is { } place && !Directory.Exists(place)) throw new InvalidDataException($"Found no folder {place} for --out.");
            string[] chosen = parsed.GetValue(only) is { Length: > 0 } given ? given : [.. vectors.Words.Where(w => w != WordVocabulary.SentenceEnd).Take(parsed.GetValue(words))];
            progress.Note($"placing {chosen.Length:N0} words");
            var map = VectorMap.Of(vectors, chosen, parsed.GetValue(perplexity), stop: stop.Token);
            File.WriteAllText(parsed.GetValue(output)!, map.Page($"Words of {Path.GetFileName(Path.TrimEndingDirectorySeparator(path))}", vectors.Nearest(chosen, 8)));
            progress.Note($"done: {parsed.GetValue(output)}");
            return 0;
        });
        return command;
    }
}
