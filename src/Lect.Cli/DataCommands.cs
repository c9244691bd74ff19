using System.CommandLine;
using System.Globalization;
using System.Text.Json.Nodes;
using Lect.Text;

namespace Lect;

/// <summary>lect data list|show|prepare.</summary>
internal static class DataCommands
{
    public static Command Create() => new("data", "Look at data, and prepare them for training") { List(), Show(), Prepare() };

    private static Command List()
    {
        var json = new Option<bool>("--json") { Description = "JSON lines on standard output" };
        var command = new Command("list", "What is on this machine without any download: the SDK corpus. Example: lect data list") { json };
        command.SetAction(int (parsed) =>
        {
            var splits = SdkCorpus.Splits();
            foreach (var split in Enum.GetValues<CorpusSplit>())
            {
                var texts = splits[split].ToList();
                var row = new JsonObject { ["source"] = "sdk", ["split"] = split.ToString().ToLowerInvariant(), ["texts"] = texts.Count, ["words"] = texts.Sum(t => t.Text.Split((char[]?)null, StringSplitOptions.RemoveEmptyEntries).LongLength), ["bytes"] = texts.Sum(t => (long)System.Text.Encoding.UTF8.GetByteCount(t.Text)) };
                Console.WriteLine(parsed.GetValue(json) ? Screen.OneLine(row) : string.Create(CultureInfo.InvariantCulture, $"sdk  {(string)row["split"]!,-10}  {(int)row["texts"]!,7:N0} texts  {(long)row["words"]!,9:N0} words  {(long)row["bytes"]!,9:N0} bytes"));
            }
            if (parsed.GetValue(json)) return 0;
            Console.WriteLine($"{SdkCorpus.Members().Count.ToString("N0", CultureInfo.InvariantCulture)} documented elements of members, in {DataCache.Folder}");
            Console.WriteLine("Own data come by path: lect data show FILE, lect train gpt --set data.path=FILE");
            return 0;
        });
        return command;
    }

    private static Command Show()
    {
        var path = new Argument<string>("path") { Description = "A file, folder or glob: .txt, .jsonl, .json, .csv, .tsv, .parquet, each also .gz or .zst" };
        var rows = new Option<int?>("--rows") { Description = "Rows to show; all by default" };
        var format = new Option<string?>("--format") { Description = "The ending without dot, where the name does not tell" };
        var json = new Option<bool>("--json") { Description = "JSON lines on standard output (they are in any case)" };
        var command = new Command("show", "The rows as they are read. Example: lect data show train.jsonl --rows 3") { path, rows, format, json };
        command.SetAction(int (parsed) =>
        {
            if (parsed.GetValue(rows) < 0) throw new InvalidDataException($"Found --rows {parsed.GetValue(rows)}. Expected 0 or more.");
            using var output = new StreamWriter(Console.OpenStandardOutput(), new System.Text.UTF8Encoding(false));
            foreach (var row in Rows.Read(parsed.GetValue(path)!, parsed.GetValue(format)).Take(parsed.GetValue(rows) ?? int.MaxValue))
            {
                output.WriteLine(Screen.OneLine(row));
                if (Screen.HasLostReader()) return 1;
            }
            return 0;
        });
        return command;
    }

    private static Command Prepare()
    {
        var input = new Option<string?>("--input") { Description = "A file, folder or glob; by default the SDK's documentation" };
        var tokenizer = new Option<string?>("--tokenizer") { Description = "A tokenizer.json or a folder with one; by default one is learned" };
        var size = new Option<int?>("--size") { Description = "Tokens of a learned one (8000)" };
        var validation = new Option<double?>("--validation") { Description = "Share kept for validation (0.05)" };
        var column = new Option<string>("--column") { Description = "Column with the text", DefaultValueFactory = _ => "text" };
        var output = new Option<string>("--out") { Description = "Folder to write", Required = true };
        var command = new Command("prepare", "Text to memory-mapped token ids (nanoGPT's layout), once for many runs. Example: lect data prepare --input corpus/ --out tokens") { input, tokenizer, size, validation, column, output };
        command.SetAction(int (parsed) =>
        {
            var folder = parsed.GetValue(output)!;
            if (TokenFolder.IsAt(folder)) throw new InvalidDataException($"Found prepared data in {folder}. Expected a new folder: choose another --out, or remove it.");
            Screen.RequireRoom(folder);
            if (parsed.GetValue(input) is null && parsed.GetResult(column) is { Implicit: false }) throw new InvalidDataException("Found --column without --input. Expected both: the SDK's documentation has no columns.");
            var data = new TextDataConfig { Path = parsed.GetValue(input), Validation = parsed.GetValue(validation), Columns = new() { ["text"] = parsed.GetValue(column)! } };
            var tokens = TextData.Prepare(data, new() { Path = parsed.GetValue(tokenizer), Size = parsed.GetValue(size) }, folder, Console.Error.WriteLine);
            foreach (var split in Enum.GetValues<CorpusSplit>())
                if (tokens.Count(split) is { Tokens: > 0 } count) Console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{split.ToString().ToLowerInvariant(),-10}  {count.Documents,9:N0} documents  {count.Tokens,12:N0} tokens  {(double)count.Bytes / count.Tokens:0.00} bytes a token"));
            Console.WriteLine($"Next: lect train gpt --set data.path={folder} train.steps=1000 --out runs/gpt");
            return 0;
        });
        return command;
    }
}
