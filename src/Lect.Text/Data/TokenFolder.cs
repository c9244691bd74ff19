using System.IO.MemoryMappedFiles;
using System.Runtime.InteropServices;
using System.Text;
using System.Text.Json;

namespace Lect.Text;

/// <summary>A split of a <see cref="TokenFolder"/>.</summary>
/// <param name="Documents">Documents in it.</param>
/// <param name="Tokens">Ids in its file, with one end-of-text id a document where the tokenizer has one.</param>
/// <param name="Bytes">UTF-8 bytes of its text: what bits per byte are counted over.</param>
public sealed record TokenCount(long Documents, long Tokens, long Bytes);

/// <summary>
/// Text as token ids on the disk, made once and memory-mapped: <c>train.bin</c> and <c>validation.bin</c> (and <c>test.bin</c>) hold the ids of all documents
/// one after the other and nothing else, little endian, two bytes each where the vocabulary allows, else four (nanoGPT's layout).
/// </summary>
public sealed class TokenFolder
{
    private const string Description = "tokens.json";

    private sealed record Meta(int VocabularySize, int BytesAToken, int? EndOfText, Dictionary<string, TokenCount> Splits);

    private readonly Meta meta;

    private TokenFolder(string path, Meta meta) => (Path, this.meta) = (path, meta);

    /// <summary>The folder.</summary>
    public string Path { get; }

    /// <summary>The vocabulary that the ids are from.</summary>
    public int VocabularySize => meta.VocabularySize;

    /// <summary>Documents, tokens and bytes of a split; zeros where there is none.</summary>
    public TokenCount Count(CorpusSplit split) => meta.Splits.GetValueOrDefault(Name(split)) ?? new(0, 0, 0);

    /// <summary>Whether a folder holds prepared tokens.</summary>
    public static bool IsAt(string path) => File.Exists(System.IO.Path.Combine(path, Description));

    /// <summary>Opens what <see cref="Write"/> made.</summary>
    /// <exception cref="InvalidDataException">Nothing there, or files that do not fit their description.</exception>
    public static TokenFolder Open(string path)
    {
        var file = System.IO.Path.Combine(path, Description);
        if (!File.Exists(file)) throw new InvalidDataException($"Found no {file}. Expected a folder that 'lect data prepare' made.");
        Meta found;
        try { found = JsonSerializer.Deserialize<Meta>(File.ReadAllText(file))!; }
        catch (JsonException e) { throw new InvalidDataException($"{file} is no readable description of tokens: {e.Message} Prepare the data again.", e); }
        foreach (var (split, count) in found.Splits)
        {
            var (bin, expected) = (System.IO.Path.Combine(path, split + ".bin"), count.Tokens * found.BytesAToken);
            var length = File.Exists(bin) ? new FileInfo(bin).Length : -1;
            if (length != expected) throw new InvalidDataException($"Found {(length < 0 ? "no " + bin : $"{length} bytes in {bin}")}. Expected {expected} bytes ({count.Tokens} tokens) by {Description}. Prepare the data again.");
        }
        return new(path, found);
    }

    /// <summary>Encodes documents on all cores and writes them in their order; the folder is complete only when its description is there.</summary>
    /// <param name="path">The folder.</param>
    /// <param name="documents">Texts and their splits.</param>
    /// <param name="tokenizer">Encodes them; no special tokens but its end of text behind each document.</param>
    /// <param name="source">What the documents are called in messages.</param>
    public static TokenFolder Write(string path, IEnumerable<Document> documents, Tokenizer tokenizer, string source = "these documents")
    {
        Directory.CreateDirectory(path);
        var (size, end) = (tokenizer.VocabularySize <= ushort.MaxValue + 1 ? 2 : 4, tokenizer.EndOfText);
        var (files, counts) = (new Dictionary<string, FileStream>(), new Dictionary<string, TokenCount>());
        try
        {
            foreach (var chunk in Chunks(documents))
            {
                var encoded = new byte[chunk.Length][];
                InParallel.For(chunk.Length, i => encoded[i] = Encode(chunk[i], tokenizer, end, size));
                for (var i = 0; i < chunk.Length; i++)
                {
                    var (name, length) = (Name(chunk[i].Split), Encoding.UTF8.GetByteCount(chunk[i].Text));
                    if (!files.TryGetValue(name, out var file)) files[name] = file = new FileStream(System.IO.Path.Combine(path, name + ".bin"), FileMode.Create, FileAccess.Write, FileShare.None, 1 << 20);
                    file.Write(encoded[i]);
                    var count = counts.GetValueOrDefault(name) ?? new(0, 0, 0);
                    counts[name] = new(count.Documents + (chunk[i].IsEnd ? 1 : 0), count.Tokens + encoded[i].Length / size, count.Bytes + length);
                }
            }
            foreach (var file in files.Values) file.Flush(flushToDisk: true);
        }
        finally { foreach (var file in files.Values) file.Dispose(); }
        if (counts.GetValueOrDefault(Name(CorpusSplit.Train)) is null or { Tokens: 0 }) throw new InvalidDataException($"Found no text to train on in {source}. Expected at least one document that is not empty and not kept for validation.");
        var written = new Meta(tokenizer.VocabularySize, size, end, counts);
        var temporary = System.IO.Path.Combine(path, Description + ".tmp");
        File.WriteAllText(temporary, JsonSerializer.Serialize(written) + "\n");
        File.Move(temporary, System.IO.Path.Combine(path, Description), overwrite: true);
        return new(path, written);
    }

    // Some thousand documents or some megabytes at a time, whichever comes first.
    private static IEnumerable<Document[]> Chunks(IEnumerable<Document> documents)
    {
        var (chunk, length) = (new List<Document>(), 0L);
        foreach (var document in documents)
        {
            chunk.Add(document);
            if (chunk.Count < 4096 && (length += document.Text.Length) < 1 << 24) continue;
            yield return [.. chunk];
            chunk.Clear();
            length = 0;
        }
        if (chunk.Count > 0) yield return [.. chunk];
    }

    private static byte[] Encode(Document document, Tokenizer tokenizer, int? end, int size)
    {
        var ids = new List<int>(document.Text.Length / 3 + 4);
        tokenizer.EncodeIds(document.Text, ids);
        if (document.IsEnd && end is { } id) ids.Add(id);
        if (size == 4) return MemoryMarshal.AsBytes(CollectionsMarshal.AsSpan(ids)).ToArray();
        var bytes = new byte[ids.Count * 2];
        var narrow = MemoryMarshal.Cast<byte, ushort>(bytes.AsSpan());
        for (var i = 0; i < narrow.Length; i++) narrow[i] = (ushort)ids[i];
        return bytes;
    }

    private static string Name(CorpusSplit split) => split switch { CorpusSplit.Train => "train", CorpusSplit.Validation => "validation", _ => "test" };

    /// <summary>The ids of a split, mapped from its file.</summary>
    public TokenIds Ids(CorpusSplit split) => TokenIds.Map(System.IO.Path.Combine(Path, Name(split) + ".bin"), Count(split).Tokens, meta.BytesAToken);
}

/// <summary>Token ids, mapped from a file or in memory. Safe to read from many threads.</summary>
public sealed unsafe class TokenIds : IDisposable
{
    private readonly MemoryMappedFile? file;
    private readonly MemoryMappedViewAccessor? view;
    private readonly byte* start;
    private readonly int size;
    private readonly int[] held = [];

    private TokenIds(string path, long count, int size)
    {
        (Count, this.size) = (count, size);
        if (count == 0) return;
        file = MemoryMappedFile.CreateFromFile(path, FileMode.Open, null, 0, MemoryMappedFileAccess.Read);
        view = file.CreateViewAccessor(0, count * size, MemoryMappedFileAccess.Read);
        view.SafeMemoryMappedViewHandle.AcquirePointer(ref start);
    }

    /// <summary>Ids of a file, mapped.</summary>
    /// <param name="path">Little-endian numbers and nothing else.</param>
    /// <param name="count">How many there are.</param>
    /// <param name="bytesAToken">2 or 4.</param>
    public static TokenIds Map(string path, long count, int bytesAToken) => new(path, count, bytesAToken);

    /// <summary>Ids in memory.</summary>
    public TokenIds(int[] ids) => (held, Count) = (ids, ids.Length);

    /// <summary>How many.</summary>
    public long Count { get; }

    /// <summary>Copies ids from a place on.</summary>
    /// <exception cref="ArgumentOutOfRangeException">Not all of them are there.</exception>
    public void Read(long at, Span<long> into)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(at);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(at + into.Length, Count, nameof(at));
        for (var i = 0; i < into.Length; i++) into[i] = view is null ? held[at + i] : size == 2 ? ((ushort*)start)[at + i] : ((int*)start)[at + i];
    }

    /// <summary>Copies ids from a place on.</summary>
    /// <exception cref="ArgumentOutOfRangeException">Not all of them are there.</exception>
    public void Read(long at, Span<int> into)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(at);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(at + into.Length, Count, nameof(at));
        if (size == 2 && view is not null) for (var i = 0; i < into.Length; i++) into[i] = ((ushort*)start)[at + i];
        else (view is null ? held.AsSpan((int)at, into.Length) : new ReadOnlySpan<int>((int*)start + at, into.Length)).CopyTo(into);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        if (view is null) return;
        view.SafeMemoryMappedViewHandle.ReleasePointer();
        view.Dispose();
        file!.Dispose();
    }
}
