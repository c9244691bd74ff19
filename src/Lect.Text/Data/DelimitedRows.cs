using System.Text;
using System.Text.Json.Nodes;
using Sylvan.Data.Csv;

namespace Lect.Text;

/// <summary>Tables as text: a header line with the columns' names, then records with as many fields; every value is a string.</summary>
internal static class DelimitedRows
{
    /// <summary>RFC 4180: fields may stand in quotes (doubled inside), which may hold line ends. The header tells the delimiter: comma, semicolon, tab or bar.</summary>
    public static IEnumerable<JsonObject> Quoted(string file)
    {
        using var text = new StreamReader(DataFiles.Open(file), new UTF8Encoding(false, throwOnInvalidBytes: true));
        long line = 1;
        using var csv = Try(file, line, () => CsvDataReader.Create(text, new CsvDataReaderOptions { HasHeaders = true, Comment = '\0', MaxBufferSize = 1 << 30 }));
        var columns = Columns(file, [.. Enumerable.Range(0, csv.FieldCount).Select(csv.GetName)]);
        for (line += columns.Sum(LineEnds) + 1; Try(file, line, csv.Read);)
        {
            if (csv.RowFieldCount == 1 && columns.Length > 1 && csv.GetString(0).Length == 0) { line++; continue; }   // a blank line
            if (csv.RowFieldCount != columns.Length) throw WrongCount(file, line, csv.RowFieldCount, columns.Length);
            var row = new JsonObject();
            for (var i = 0; i < columns.Length; i++) row.Add(columns[i], csv.GetString(i));
            line += columns.Sum(c => LineEnds((string)row[c]!)) + 1;
            yield return row;
        }
    }

    /// <summary>
    /// Fields between tabs. GLUE's files know no quoting and hold single quotes; others quote as .csv does: those whose header begins
    /// with a quote, or whose records only then have as many fields as the header.
    /// </summary>
    public static IEnumerable<JsonObject> Tabs(string file) => IsQuoted(file) ? Quoted(file) : Plain(file);

    private static bool IsQuoted(string file)
    {
        string? header = null;
        foreach (var (_, text) in Rows.Lines(file))
        {
            if ((header ??= text).StartsWith('"')) return true;
            if (text.Length > 0 && text.AsSpan().Count('\t') != header.AsSpan().Count('\t')) return header.Length > 0 && text.Contains('"', StringComparison.Ordinal);
        }
        return false;
    }

    private static IEnumerable<JsonObject> Plain(string file)
    {
        string[]? columns = null;
        foreach (var (number, text) in Rows.Lines(file))
        {
            if (columns is null) { columns = Columns(file, text.Split('\t')); continue; }
            if (text.Length == 0) continue;
            var fields = text.Split('\t');
            if (fields.Length != columns.Length) throw WrongCount(file, number, fields.Length, columns.Length);
            yield return new(columns.Zip(fields, (c, f) => KeyValuePair.Create(c, (JsonNode?)JsonValue.Create(f))));
        }
        if (columns is null) throw NoHeader(file);
    }

    private static T Try<T>(string file, long line, Func<T> read)
    {
        try { return read(); }
        catch (CsvMissingHeadersException e) { throw NoHeader(file, e); }
        catch (CsvFormatException e) { throw new InvalidDataException($"{file}, record that begins in line {line}: {e.Message} Expected fields as RFC 4180 has them: a quote inside quotes is doubled.", e); }
        catch (DecoderFallbackException e) { throw new InvalidDataException($"{file}, near line {line}: found bytes that are no UTF-8. Convert the file to UTF-8.", e); }
        catch (Exception e) when (DataFiles.IsDamage(e)) { throw new InvalidDataException($"{file} is damaged or cut short: {e.Message}", e); }
    }

    private static InvalidDataException NoHeader(string file, Exception? cause = null) => new($"{file}: found no header line. Expected the columns' names in the first line.", cause);

    private static InvalidDataException WrongCount(string file, long line, int found, int expected) => new($"{file}, line {line}: found {found} fields. Expected {expected}, as many as the header has columns.");

    private static string[] Columns(string file, string[] names)
    {
        if (names.GroupBy(n => n, StringComparer.Ordinal).FirstOrDefault(g => g.Count() > 1) is { } twice) throw new InvalidDataException($"{file}, line 1: found the column '{twice.Key}' twice. Expected each name once.");
        return names;
    }

    private static int LineEnds(string text) => text.AsSpan().Count('\n');
}
