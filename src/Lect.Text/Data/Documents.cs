using System.Text;
using System.Text.Json;

namespace Lect.Text;

/// <summary>A stretch of text to model.</summary>
/// <param name="Split">Where it belongs.</param>
/// <param name="Text">The text.</param>
/// <param name="IsEnd">Whether a document ends with it; long files come in several pieces.</param>
public readonly record struct Document(CorpusSplit Split, string Text, bool IsEnd = true);

/// <summary>Where the documents of a language model come from.</summary>
public sealed record DocumentSource
{
    /// <summary>A file, folder or glob; null: the SDK corpus with its own splits.</summary>
    public string? Path { get; init; }
    /// <summary>A file, folder or glob to validate on; then <see cref="Path"/> is for training alone.</summary>
    public string? ValidationPath { get; init; }
    /// <summary>The share kept for validation where there is no <see cref="ValidationPath"/>.</summary>
    public double Validation { get; init; } = 0.05;
    /// <summary><c>hash</c>: a document's split by the hash of its text; <c>tail</c>: the last share of each text file or of the rows (nanoGPT). Null: tail for plain text, which has no documents, else hash.</summary>
    public string? Split { get; init; }
    /// <summary>The format (an ending without dot) where the file's name does not tell.</summary>
    public string? Format { get; init; }
    /// <summary>The column with the text, in files that have columns.</summary>
    public string TextColumn { get; init; } = "text";
}

/// <summary>Documents of files and of the SDK corpus, read as they are asked for.</summary>
public static class Documents
{
    private const int PieceLength = 1 << 22;   // characters of a text file in memory at a time

    /// <summary>All documents, in the order of files and rows.</summary>
    /// <exception cref="InvalidDataException">Nothing there, or something that cannot be read; the message names file and line.</exception>
    public static IEnumerable<Document> Read(DocumentSource source)
    {
        if (source.Path is null) return SdkCorpus.Texts().Select(t => new Document(SdkCorpus.SplitOf(t.Text), t.Text));
        var (format, column) = (source.Format, source.TextColumn);
        if (source.ValidationPath is { } validation)
            return Whole(source.Path, format, column, CorpusSplit.Train).Concat(Whole(validation, format, column, CorpusSplit.Validation));
        return DataFiles.Find(source.Path, format).SelectMany(file => (source.Split ?? (IsText(file, format) ? "tail" : "hash"), IsText(file, format)) switch
        {
            ("hash", _) => Rows.Read(file, format).Select(row => Text(row, column, file)).Select(t => new Document(ByHash(t, source.Validation), t)),
            ("tail", true) => Pieces(file, source.Validation),
            ("tail", false) => TailOfRows(file, format, column, source.Validation),
            var (other, _) => throw new InvalidDataException($"Found data.split = '{other}'. Expected hash or tail."),
        });
    }

    private static bool IsText(string file, string? format) => (format ?? DataFiles.Ending(file).TrimStart('.')) is "txt" or "md" or "";

    private static IEnumerable<Document> Whole(string path, string? format, string column, CorpusSplit split) => DataFiles.Find(path, format).SelectMany(file => IsText(file, format)
        ? Pieces(file, validation: 0).Select(p => p with { Split = split })
        : Rows.Read(file, format).Select(row => new Document(split, Text(row, column, file))));

    private static string Text(System.Text.Json.Nodes.JsonObject row, string column, string file) => row[column] is { } value && value.GetValueKind() == JsonValueKind.String ? (string)value!
        : throw new InvalidDataException($"{file}: found a row with the columns {string.Join(", ", row.Select(c => c.Key))} and no text in '{column}'. Expected one: name it with data.columns.text (--set data.columns.text=NAME).");

    private static CorpusSplit ByHash(string text, double validation) => SdkCorpus.IsKept(text, validation) ? CorpusSplit.Validation : CorpusSplit.Train;

    private static IEnumerable<Document> TailOfRows(string file, string? format, string column, double validation)
    {
        var first = Rows.Read(file, format).LongCount() * (1 - validation);
        return Rows.Read(file, format).Select((row, i) => new Document(i < first ? CorpusSplit.Train : CorpusSplit.Validation, Text(row, column, file)));
    }

    // A text file as one document, cut at line ends where that is possible; the last share of its characters is for validation.
    private static IEnumerable<Document> Pieces(string file, double validation)
    {
        var length = Characters(file).Sum(p => (long)p.Length);
        long at = 0, cut = (long)(length * (1 - validation));
        foreach (var piece in Characters(file))
        {
            var text = piece.ToString();
            var train = (int)Math.Clamp(cut - at, 0, text.Length);
            if (train > 0 && train < text.Length && char.IsLowSurrogate(text[train])) train++;
            at += text.Length;
            if (train > 0) yield return new(CorpusSplit.Train, text[..train], at >= cut);
            if (train < text.Length) yield return new(CorpusSplit.Validation, text[train..], at == length);
        }
    }

    private static IEnumerable<ReadOnlyMemory<char>> Characters(string file)
    {
        using var reader = new StreamReader(DataFiles.Open(file), new UTF8Encoding(false, throwOnInvalidBytes: true));
        var buffer = new char[PieceLength];
        for (int held = 0, read; (read = ReadSome(reader, buffer, held, file)) + held > 0;)
        {
            var count = held + read;
            var end = read == 0 ? count : buffer.AsSpan(0, count).LastIndexOf('\n') + 1;
            if (end == 0) end = char.IsHighSurrogate(buffer[count - 1]) && count > 1 ? count - 1 : count;
            yield return buffer.AsMemory(0, end);
            buffer.AsSpan(end, count - end).CopyTo(buffer);
            held = count - end;
        }
    }

    private static int ReadSome(StreamReader reader, char[] buffer, int held, string file)
    {
        try { return reader.ReadBlock(buffer, held, buffer.Length - held); }
        catch (DecoderFallbackException e) { throw new InvalidDataException($"{file}: found bytes that are no UTF-8. Convert the file to UTF-8.", e); }
        catch (Exception e) when (DataFiles.IsDamage(e)) { throw new InvalidDataException($"{file} is damaged or cut short: {e.Message}", e); }
    }
}
