using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;

namespace Lect.Text;

/// <summary>Data files as rows, read as they are asked for: one JSON object each, columns and types as in the file.</summary>
public static class Rows
{
    /// <summary>
    /// The rows of a file, folder or glob: .jsonl (one object a line), .json (one array of objects), .csv and .tsv (a header, then
    /// one row a record; all values are text), .parquet, .txt and, by name, .md (one row a line, column <c>text</c>); each also .gz or .zst.
    /// </summary>
    /// <param name="path">A file, a folder or a pattern.</param>
    /// <param name="format">The ending without dot, where the files' names do not tell.</param>
    /// <exception cref="InvalidDataException">Nothing there, or a row that cannot be read; the message names file and line.</exception>
    public static IEnumerable<JsonObject> Read(string path, string? format = null) => DataFiles.Find(path, format).SelectMany(file => (format is null ? DataFiles.Ending(file) : "." + format) switch
    {
        ".jsonl" => JsonLines(file),
        ".json" => JsonArray(file),
        ".txt" or ".md" => Lines(file).Select(l => new JsonObject { ["text"] = l.Text }),
        ".csv" => DelimitedRows.Quoted(file),
        ".tsv" => DelimitedRows.Tabs(file),
        ".parquet" => ParquetRows.Read(file),
        var other => throw new InvalidDataException($"{file}: found the ending '{other}'. Lect reads .txt, .md, .jsonl, .json, .csv, .tsv and .parquet (each also .gz or .zst); data.format tells it where the name does not."),
    });

    private static IEnumerable<JsonObject> JsonLines(string file)
    {
        foreach (var (number, line) in Lines(file))
            if (!string.IsNullOrWhiteSpace(line)) yield return Parse(file, number, line);
    }

    private static JsonObject Parse(string file, long number, string line)
    {
        try { return Checked(JsonNode.Parse(line)) ?? throw new InvalidDataException($"{file}, line {number}: found {Shorten(line)}. Expected a JSON object, {{\"column\": value, …}}."); }
        catch (JsonException e) { throw new InvalidDataException($"{file}, line {number}: found {Shorten(line)}, which is no JSON. Expected one object a line. ({e.Message})", e); }
        catch (Exception e) when (e is InvalidOperationException or ArgumentException) { throw new InvalidDataException($"{file}, line {number}: found {Shorten(line)}, which holds text that is no Unicode or a key twice.", e); }
    }

    /// <summary>An object whose columns and texts are decoded at once, so that a bad escape or a doubled key is found at its line, not later; null: it is none.</summary>
    /// <exception cref="ArgumentException">A key twice.</exception>
    /// <exception cref="InvalidOperationException">Text that is no Unicode.</exception>
    public static JsonObject? Checked(JsonNode? node)
    {
        if (node is not JsonObject row) return null;
        foreach (var (_, value) in row) _ = value?.ToJsonString();
        return row;
    }

    private static string Shorten(string line) => line.Length <= 60 ? line : line[..60] + "…";

    private static IEnumerable<JsonObject> JsonArray(string file)
    {
        JsonNode? json;
        using (var stream = DataFiles.Open(file))
        {
            try { json = JsonNode.Parse(stream); }
            catch (JsonException e) { throw new InvalidDataException($"{file} is no readable JSON: {e.Message}", e); }
            catch (Exception e) when (DataFiles.IsDamage(e)) { throw new InvalidDataException($"{file} is damaged or cut short: {e.Message}", e); }
        }
        if (json is not System.Text.Json.Nodes.JsonArray array) throw new InvalidDataException($"{file}: found {json?.GetValueKind().ToString() ?? "null"}. Expected an array of objects (or one object a line, in a .jsonl file).");
        for (var i = 0; i < array.Count; i++) yield return Entry(file, array, i);
    }

    private static JsonObject Entry(string file, JsonArray array, int i)
    {
        try { return Checked(array[i]) ?? throw new InvalidDataException($"{file}: entry {i} of the array is no object."); }
        catch (Exception e) when (e is InvalidOperationException or ArgumentException) { throw new InvalidDataException($"{file}: entry {i} of the array holds text that is no Unicode or a key twice.", e); }
    }

    /// <summary>The lines of a file, numbered from 1. A line ends at LF or CRLF only; bytes that are no UTF-8 are refused with their line.</summary>
    /// <exception cref="InvalidDataException">Bytes that are no UTF-8, or a damaged archive.</exception>
    public static IEnumerable<(long Number, string Text)> Lines(string file)
    {
        using var stream = DataFiles.Open(file);
        var utf8 = new UTF8Encoding(false, throwOnInvalidBytes: true);
        var buffer = new byte[1 << 16];
        var line = new MemoryStream();
        long number = 1;
        for (int count; (count = ReadSome(stream, buffer, file)) > 0;)
            for (int at = 0, end; at < count; at = end)
            {
                var feed = buffer.AsSpan(at, count - at).IndexOf((byte)'\n');
                end = feed < 0 ? count : at + feed + 1;
                line.Write(buffer, at, end - at - (feed < 0 ? 0 : 1));
                if (feed < 0) continue;
                yield return (number, Decode(utf8, line, file, number));
                number++;
                line.SetLength(0);
            }
        if (line.Length > 0) yield return (number, Decode(utf8, line, file, number));
    }

    private static int ReadSome(Stream stream, byte[] buffer, string file)
    {
        try { return stream.Read(buffer); }
        catch (Exception e) when (DataFiles.IsDamage(e)) { throw new InvalidDataException($"{file} is damaged or cut short: {e.Message}", e); }
    }

    private static string Decode(UTF8Encoding utf8, MemoryStream line, string file, long number)
    {
        var bytes = line.GetBuffer().AsSpan(0, (int)line.Length);
        if (number == 1 && bytes.StartsWith("\uFEFF"u8)) bytes = bytes[3..];
        if (bytes.EndsWith("\r"u8)) bytes = bytes[..^1];
        try { return utf8.GetString(bytes); }
        catch (DecoderFallbackException e) { throw new InvalidDataException($"{file}, line {number}: found bytes that are no UTF-8. Convert the file to UTF-8.", e); }
    }
}
