using System.CommandLine;
using System.Globalization;
using System.Text.Json.Nodes;
using Lect.Text;

namespace Lect;

/// <summary>lect tokenizer train|encode|decode|show.</summary>
internal static class TokenizerCommands
{
    public static Command Create() => new("tokenizer", "Train and use tokenizers") { Train(), Encode(), Decode(), Show() };

    private static Option<string> TokenizerOption() => new("--tokenizer") { Description = "tokenizer.json, a folder that holds one, vocab.json beside merges.txt, or a .tiktoken file", Required = true };

    private static Command Encode()
    {
        var command = new Command("encode", "Text to ids. Example: lect tokenizer encode --tokenizer my-model \"Hello world\"");
        var tokenizerOption = TokenizerOption();
        command.Add(tokenizerOption);
        var lines = new JsonLines(command, "text");
        command.SetAction(int (parsed) =>
        {
            var tokenizer = Tokenizer.Load(parsed.GetValue(tokenizerOption)!);
            return lines.Run(parsed, (line, _) => Encoded(tokenizer, line), o => string.Join(' ', o["ids"]!.AsArray().Zip(o["tokens"]!.AsArray(), (id, token) => $"{id}:{token}")));
        });
        return command;
    }

    private static JsonObject Encoded(Tokenizer tokenizer, JsonObject line)
    {
        var found = tokenizer.Encode((string?)line["text"] ?? throw new InvalidDataException("found no \"text\"."), (string?)line["text_pair"]);
        return JsonLines.Echo(line, new()
        {
            ["ids"] = JsonLines.Array(found.Ids),
            ["tokens"] = JsonLines.Array(found.Tokens),
            ["offsets"] = new JsonArray([.. found.Offsets.Select(o => new JsonArray(o.Start, o.End))]),
            ["special_tokens_mask"] = JsonLines.Array(found.SpecialTokensMask),
        });
    }

    private static Command Decode()
    {
        var command = new Command("decode", "Ids to text. Example: echo '{\"ids\":[15496,995]}' | lect tokenizer decode --tokenizer gpt2");
        var tokenizerOption = TokenizerOption();
        var skipSpecial = new Option<bool>("--skip-special-tokens") { Description = "Leave special tokens out" };
        command.Add(tokenizerOption);
        command.Add(skipSpecial);
        var lines = new JsonLines(command, "ids");
        command.SetAction(int (parsed) =>
        {
            var tokenizer = Tokenizer.Load(parsed.GetValue(tokenizerOption)!);
            int[] Ids(JsonObject line) => JsonLines.Ids(line, "ids", text => [.. text.Split([' ', ','], StringSplitOptions.RemoveEmptyEntries).Select(id => int.TryParse(id, CultureInfo.InvariantCulture, out var n) ? n : throw new InvalidDataException($"found '{id}'. Expected ids: whole numbers between blanks or commas."))]);
            return lines.Run(parsed, (line, _) => JsonLines.Echo(line, new() { ["text"] = tokenizer.Decode(Ids(line), parsed.GetValue(skipSpecial)) }), o => (string)o["text"]!);
        });
        return command;
    }

    private static Command Show()
    {
        var command = new Command("show", "What a tokenizer consists of. Example: lect tokenizer show --tokenizer my-model");
        var tokenizerOption = TokenizerOption();
        command.Add(tokenizerOption);
        command.SetAction(int (parsed) =>
        {
            var tokenizer = Tokenizer.Load(parsed.GetValue(tokenizerOption)!);
            Console.WriteLine($"{tokenizer.VocabularySize} tokens, {tokenizer.MergeCount} merges, {(tokenizer.IsByteLevel ? "byte level" : "word or character level")}");
            foreach (var token in tokenizer.AddedTokens) Console.WriteLine($"  {token.Id}  {token.Content}{(token.Special ? "  special" : "")}");
            return 0;
        });
        return command;
    }

    private static Command Train()
    {
        var command = new Command("train", "Learn a vocabulary. Example: lect tokenizer train --size 8000 --out my-tokenizer");
        var input = new Option<string[]>("--input") { Description = "Files, folders or globs: text (a document a line), or rows (.jsonl, .json, .csv, .tsv, .parquet), each also .gz or .zst; by default the documentation of the .NET SDK (its training split)", AllowMultipleArgumentsPerToken = true };
        var column = new Option<string>("--column") { Description = "Column of rows with the text", DefaultValueFactory = _ => "text" };
        var size = new Option<int?>("--size") { Description = "Number of tokens (8000; char: as many as there are characters)" };
        var kind = new Option<string>("--kind") { Description = "bpe (bytes), wordpiece (lower case), unigram, char or word", DefaultValueFactory = _ => "bpe" };
        var output = new Option<string>("--out") { Description = "Folder to write", Required = true };
        foreach (var option in (Option[])[input, column, size, kind, output]) command.Add(option);
        command.SetAction(int (parsed) =>
        {
            var folder = parsed.GetValue(output)!;
            Screen.RequireRoom(folder);
            var corpus = parsed.GetValue(input) is { Length: > 0 } ? null : SdkCorpus.Splits();
            var texts = corpus is null ? parsed.GetValue(input)!.SelectMany(path => Texts(path, parsed.GetValue(column)!)) : corpus[CorpusSplit.Train].Select(t => t.Text + "\n");
            var tokenizer = new TokenizerConfig { Kind = parsed.GetValue(kind), Size = parsed.GetValue(size) }.Validate().Train(texts);
            tokenizer.Save(folder);
            Report(tokenizer, folder, heldOut: corpus is null ? null : [.. corpus[CorpusSplit.Validation]]);
            return 0;
        });
        return command;
    }

    // A file whose name tells nothing is text.
    private static IEnumerable<string> Texts(string path, string column) => DataFiles.Find(path).SelectMany(file => DataFiles.Ending(file) is ".jsonl" or ".json" or ".csv" or ".tsv" or ".parquet"
        ? Rows.Read(file).Select(row => row[column] is JsonValue value && value.TryGetValue<string>(out var text) ? text : throw new InvalidDataException($"{file}: found a row with {string.Join(", ", row.Select(c => c.Key))} and no text in '{column}'. Expected one: name its column with --column."))
        : Rows.Lines(file).Select(line => line.Text + "\n"));

    private static void Report(Tokenizer tokenizer, string folder, IReadOnlyList<SdkText>? heldOut)
    {
        Console.WriteLine($"{tokenizer.VocabularySize} tokens in {folder}");
        if (heldOut is not null)
        {
            var (tokens, bytes) = (heldOut.Sum(t => (long)tokenizer.EncodeIds(t.Text).Length), heldOut.Sum(t => (long)System.Text.Encoding.UTF8.GetByteCount(t.Text)));
            Console.WriteLine($"{(double)bytes / tokens:0.00} bytes a token on {heldOut.Count} texts of the SDK's documentation that it did not see");
            var sample = heldOut[0].Text.Length > 120 ? heldOut[0].Text[..120] : heldOut[0].Text;
            Console.WriteLine("e.g. " + string.Join('|', tokenizer.EncodeIds(sample).Select(id => tokenizer.Decode([id]))));
        }
        Console.WriteLine($"Next: lect tokenizer encode --tokenizer {folder} \"What does String.Trim do?\"");
    }
}
