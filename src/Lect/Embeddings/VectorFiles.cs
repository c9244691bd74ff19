using System.Buffers.Text;
using System.Globalization;
using System.IO.Compression;
using System.Runtime.InteropServices;
using System.Text;
using Lect.Models;
using Lect.Text;

namespace Lect;

/// <summary>Layouts of word vectors in files.</summary>
public enum VectorFormat
{
    /// <summary>word2vec.c -binary 1: a line "words dimension"; then of each word its name, a space, float32 little-endian, a newline (which gensim and GoogleNews leave out).</summary>
    Binary,
    /// <summary>word2vec.c -binary 0, fastText's .vec, gensim: the same line; then a line a word, numbers between spaces.</summary>
    Text,
    /// <summary>GloVe: a line a word, without the first one.</summary>
    GloVe,
}

/// <summary>Reads and writes word vectors. Files ending in .gz (to read: .zst too) are compressed.</summary>
public static class VectorFiles
{
    /// <summary>The file of a run's folder.</summary>
    public const string Vectors = "vectors.bin";
    internal const string Vocabulary = "vocab.txt", NgramFile = "subwords.safetensors";

    /// <summary>Reads vectors; the layout is found from the content.</summary>
    /// <param name="path">A file, or the folder of a run of <c>lect train word2vec|glove</c>.</param>
    /// <param name="warn">Told of duplicates and of words that are no UTF-8.</param>
    /// <param name="map">Whether an uncompressed binary file stays on disk, mapped into memory; null: where it would take more than a quarter of the memory.</param>
    /// <exception cref="InvalidDataException">The file is damaged, cut, holds NaN or infinity, or is of no layout known; the message says where.</exception>
    public static WordVectors Read(string path, Action<string>? warn = null, bool? map = null)
    {
        if (Directory.Exists(path)) return ReadFolder(path, warn, map);
        if (!File.Exists(path)) throw new InvalidDataException($"Found no file {path}. Expected word vectors (word2vec's text or binary, GloVe's text, fastText's .vec), or the folder of a run.");
        try
        {
            var layout = FormatOf(path);
            if (layout == VectorFormat.Binary && !IsCompressed(path) && (map ?? new FileInfo(path).Length > GC.GetGCMemoryInfo().TotalAvailableMemoryBytes / 4)) return MappedRows.Open(path, warn);
            using var reader = new ByteReader(path);
            return layout switch
            {
                VectorFormat.Binary => ReadBinary(reader, path, warn),
                VectorFormat.Text => ReadText(reader, path, Header(reader.Line() ?? "", path), warn),
                _ => ReadText(reader, path, header: null, warn),
            };
        }
        catch (Exception e) when (e is not InvalidDataException && DataFiles.IsDamage(e)) { throw new InvalidDataException($"{path} is damaged or cut short: {e.Message}", e); }
    }

    private static bool IsCompressed(string path) => Path.GetExtension(path).ToLowerInvariant() is ".gz" or ".zst";

    private static WordVectors ReadFolder(string folder, Action<string>? warn, bool? map)
    {
        var file = Path.Combine(folder, Vectors);
        if (!File.Exists(file)) throw new InvalidDataException($"Found no {Vectors} in {folder}. Expected the folder of a run of lect train word2vec or glove, or a file of word vectors.");
        var read = Read(file, warn, map);
        read.Counts = Counts(Path.Combine(folder, Vocabulary), read.Words);
        var ngrams = Path.Combine(folder, NgramFile);
        if (File.Exists(ngrams)) ReadNgrams(read, SafeTensorsFile.Open(ngrams));
        return read;
    }

    private static void ReadNgrams(WordVectors vectors, SafeTensorsFile file)
    {
        int Number(string key) => file.Metadata?.TryGetValue(key, out var text) == true && int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out var n) && n > 0 ? n
            : throw new InvalidDataException($"{file.Path}: found no whole number '{key}' in its metadata. Expected what lect train word2vec writes.");
        var bucket = Number("bucket");
        if (!file.Tensors.TryGetValue("ngrams", out var info) || info.Dtype != "F32" || info.Shape is not [var rows, var width] || rows != bucket || width != vectors.Dimension)
            throw new InvalidDataException($"{file.Path}: found no tensor 'ngrams' of F32 [{bucket}, {vectors.Dimension}]. Expected what lect train word2vec writes.");
        using var tensor = file.Load("ngrams");
        var matrix = new Matrix<float>(rows, (int)width);
        for (var i = 0; i < bucket; i++) Row(tensor, i).CopyTo(matrix.Row(i));
        vectors.Subwords = new([], Number("minn"), Number("maxn"), bucket);   // only words that have no row are asked for
        vectors.NgramRows = matrix;
    }

    // A view of one row: a tensor's bytes are no span where there are more than two billion.
    private static Span<float> Row(TorchSharp.torch.Tensor tensor, long row)
    {
        using var view = tensor[row];
        return MemoryMarshal.Cast<byte, float>(view.bytes);
    }

    internal static void WriteNgrams(string path, Matrix<float> matrix, long firstRow, Subwords subwords)
    {
        using var tensor = TorchSharp.torch.empty([subwords.Bucket, matrix.Width]);
        for (var i = 0; i < subwords.Bucket; i++) matrix.Row(firstRow + i).CopyTo(Row(tensor, i));
        string Text(int n) => n.ToString(CultureInfo.InvariantCulture);
        SafeTensorsFile.Write(path, [("ngrams", tensor)], new Dictionary<string, string> { ["minn"] = Text(subwords.Minn), ["maxn"] = Text(subwords.Maxn), ["bucket"] = Text(subwords.Bucket) });
    }

    private static List<long>? Counts(string path, IReadOnlyList<string> words)
    {
        if (!File.Exists(path)) return null;
        var known = new Dictionary<string, long>(StringComparer.Ordinal);
        foreach (var line in File.ReadLines(path))
            if (line.LastIndexOf(' ') is > 0 and var at && long.TryParse(line.AsSpan(at + 1), NumberStyles.None, CultureInfo.InvariantCulture, out var count)) known.TryAdd(line[..at], count);
        return [.. words.Select(w => known.GetValueOrDefault(w))];
    }

    /// <summary>Which layout a file has: a first line of two whole numbers, and numbers in letters or not behind the first word.</summary>
    /// <exception cref="InvalidDataException">The file is empty.</exception>
    public static VectorFormat FormatOf(string path)
    {
        using var stream = DataFiles.Open(path);
        var start = new byte[8192];
        var length = stream.ReadAtLeast(start, start.Length, throwOnEndOfStream: false);
        if (length == 0) throw new InvalidDataException($"{path} is empty. Expected word vectors.");
        if (start.AsSpan(0, length).StartsWith("\uFEFF"u8)) (start, length) = (start[3..], length - 3);
        var end = start.AsSpan(0, length).IndexOf((byte)'\n');
        if (end < 0) end = length;
        var fields = Encoding.UTF8.GetString(start, 0, end).Trim().Split(' ', StringSplitOptions.RemoveEmptyEntries);
        if (fields.Length != 2 || !fields.All(f => long.TryParse(f, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out _))) return VectorFormat.GloVe;
        // The bytes of a float may be spaces and ends of lines: text is what has as many fields as told, or nothing but letters where the floats would be.
        var row = start.AsSpan(Math.Min(length, end + 1), Math.Max(0, length - end - 1));
        row = row[(row.IndexOf((byte)' ') + 1)..];
        var line = row.IndexOf((byte)'\n') is >= 0 and var stop ? row[..stop] : row;
        var dimension = long.Parse(fields[1], NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture);
        if (IsPrintable(line) && Encoding.ASCII.GetString(line).Split((char[]?)null, StringSplitOptions.RemoveEmptyEntries).Length == dimension) return VectorFormat.Text;
        return IsPrintable(row[..(int)Math.Clamp(4 * dimension, 0, row.Length)]) ? VectorFormat.Text : VectorFormat.Binary;
    }

    private static bool IsPrintable(ReadOnlySpan<byte> bytes)
    {
        foreach (var b in bytes) if (b is not ((>= (byte)' ' and <= (byte)'~') or (byte)'\t' or (byte)'\r' or (byte)'\n')) return false;
        return true;
    }

    private static (long Words, int Dimension) Header(string line, string path)
    {
        var fields = line.Trim().Split(' ', StringSplitOptions.RemoveEmptyEntries);
        if (fields.Length == 2 && long.TryParse(fields[0], NumberStyles.None, CultureInfo.InvariantCulture, out var words) && int.TryParse(fields[1], NumberStyles.None, CultureInfo.InvariantCulture, out var dimension) && words is > 0 and <= int.MaxValue && dimension is > 0 and <= 1 << 20) return (words, dimension);
        throw new InvalidDataException($"{path}, line 1: found '{line}'. Expected the number of words and the dimension, both above 0.");
    }

    // A header must not make us take memory that the file cannot fill.
    private static void CheckLength(string path, (long Words, int Dimension) header, int bytesANumber)
    {
        if (IsCompressed(path)) return;
        var (least, length) = (header.Words * (1 + (long)header.Dimension * bytesANumber), new FileInfo(path).Length);
        if (least > length) throw new InvalidDataException($"{path}: found {length} bytes for {header.Words} words of {header.Dimension} numbers. Expected at least {least}: the file is cut short, or its first line is wrong.");
    }

    private static WordVectors ReadBinary(ByteReader reader, string path, Action<string>? warn)
    {
        var header = Header(reader.Line() ?? "", path);
        CheckLength(path, header, 4);
        var rows = new RowList(header.Dimension, path, warn);
        for (long i = 0; i < header.Words; i++)
        {
            var word = reader.WordBeforeSpace();
            if (word is null) throw new InvalidDataException($"{path}: found {i} words. Expected {header.Words} by its first line: the file is cut short.");
            var row = rows.Next();
            if (!reader.Fill(MemoryMarshal.AsBytes(row))) throw new InvalidDataException($"{path}: found the end of the file inside the vector of word {i + 1} of {header.Words}, '{Text(word)}'. The file is cut short.");
            rows.Add(word, $"word {i + 1}");
        }
        while (reader.Peek() is '\n' or '\r') reader.Skip();
        if (reader.Peek() >= 0) throw new InvalidDataException($"{path}: found more bytes behind the {header.Words} words of its first line. Expected its end.");
        return rows.Done();
    }

    private static void CheckFinite(ReadOnlySpan<float> row, string word, string path, string where)
    {
        var bad = row.IndexOfAnyExceptInRange(float.MinValue, float.MaxValue);
        if (bad >= 0) throw new InvalidDataException($"{path}, {where} ('{word}'): found {row[bad].ToString(CultureInfo.InvariantCulture)} as number {bad + 1}. Expected finite numbers.");
    }

    private static string Text(ReadOnlySpan<byte> bytes) => Encoding.UTF8.GetString(bytes);

    private static WordVectors ReadText(ByteReader reader, string path, (long Words, int Dimension)? header, Action<string>? warn)
    {
        if (header is { } told) CheckLength(path, told, 2);
        RowList? rows = header is { } h ? new(h.Dimension, path, warn) : null;
        long line = header is null ? 0 : 1, count = 0;
        for (ReadOnlySpan<byte> text; reader.Line(out text);)
        {
            line++;
            text = text.TrimEnd("\r \t"u8);
            if (text.IsEmpty)
            {
                if (reader.Peek() < 0) break;
                throw new InvalidDataException($"{path}, line {line}: found an empty line. Expected a word and its numbers.");
            }
            if (header is { } limit && ++count > limit.Words) throw new InvalidDataException($"{path}, line {line}: found more than the {limit.Words} words of its first line.");
            rows ??= new(FieldsBehindWord(text, path), path, warn);
            ParseRow(text, rows, path, line, mayHaveSpaces: header is null);
        }
        if (rows is null || rows.Count == 0) throw new InvalidDataException($"{path}: found no vectors. Expected lines of a word and its numbers.");
        if (header is { } expected && count < expected.Words) throw new InvalidDataException($"{path}: found {count} words. Expected {expected.Words} by its first line: the file is cut short, or its first line is wrong.");
        return rows.Done();
    }

    // GloVe's files say nowhere how long a vector is: all fields of the first line but the word.
    private static int FieldsBehindWord(ReadOnlySpan<byte> line, string path)
    {
        const int Most = 1 << 20;
        var numbers = 0;
        for (var rest = line; rest.LastIndexOf((byte)' ') is > 0 and var space && IsNumber(rest[(space + 1)..]); rest = rest[..space].TrimEnd((byte)' ')) numbers++;
        return numbers is > 0 and <= Most ? numbers : throw new InvalidDataException($"{path}, line 1: found '{(line.Length > 60 ? Text(line[..60]) + "…" : Text(line))}'. Expected the number of words and the dimension (word2vec), or a word and its numbers between spaces (GloVe).");
    }

    private static bool IsNumber(ReadOnlySpan<byte> field) => Utf8Parser.TryParse(field, out double _, out var used) && used == field.Length;

    private static void ParseRow(ReadOnlySpan<byte> line, RowList rows, string path, long number, bool mayHaveSpaces)
    {
        // From the end: the last fields are the numbers, the rest the word, which may hold anything but (with a first line) spaces.
        var row = rows.Next();
        var rest = line;
        for (var d = row.Length - 1; d >= 0; d--)
        {
            var space = rest.LastIndexOf((byte)' ');
            if (space <= 0) throw new InvalidDataException($"{path}, line {number}: found {row.Length - 1 - d} numbers behind '{Text(rest)}'. Expected {row.Length}.");
            var field = rest[(space + 1)..];
            if (!Utf8Parser.TryParse(field, out row[d], out var used) || used != field.Length) throw new InvalidDataException($"{path}, line {number}: found '{Text(field)}'. Expected a number (number {d + 1} of {row.Length}).");
            rest = rest[..space].TrimEnd((byte)' ');
        }
        // GloVe's 840B file has words such as ". . ."; none of them ends in a number, which would be one too many.
        if (rest.LastIndexOf((byte)' ') is >= 0 and var last && (!mayHaveSpaces || IsNumber(rest[(last + 1)..]))) throw new InvalidDataException($"{path}, line {number}: found more than {row.Length} numbers behind '{Text(rest[..rest.IndexOf((byte)' ')])}'. Expected {row.Length}.");
        rows.Add(rest, $"line {number}");
    }

    /// <summary>Rows as they are read: memory grows with what is there, not with what a header says.</summary>
    private sealed class RowList(int dimension, string path, Action<string>? warn)
    {
        private readonly int rowsABlock = Math.Max(1, (1 << 20) / dimension);
        private readonly List<float[]> blocks = [];
        private readonly List<string> words = [];
        private readonly HashSet<string> seen = new(StringComparer.Ordinal);

        public int Count => words.Count;

        public Span<float> Next()
        {
            if (words.Count == blocks.Count * rowsABlock) blocks.Add(new float[rowsABlock * dimension]);
            return blocks[^1].AsSpan(words.Count % rowsABlock * dimension, dimension);
        }

        public void Add(ReadOnlySpan<byte> word, string where)
        {
            var row = Next();
            var text = Text(word);
            CheckFinite(row, text, path, where);
            if (text.Contains('�', StringComparison.Ordinal) && word.IndexOf("�"u8) < 0) warn?.Invoke($"{path}, {where}: the word '{text}' is no UTF-8; U+FFFD stands for its bad bytes.");
            if (seen.Add(text)) words.Add(text);
            else warn?.Invoke($"{path}, {where}: the word '{text}' stands twice; the first is kept.");
        }

        public WordVectors Done()
        {
            var rows = new OwnRows(words.Count, dimension);
            for (var i = 0; i < words.Count; i++)
            {
                blocks[i / rowsABlock].AsSpan(i % rowsABlock * dimension, dimension).CopyTo(rows[i]);
                if ((i + 1) % rowsABlock == 0) blocks[i / rowsABlock] = [];   // not both at once
            }
            return new([.. words], rows);
        }
    }

    /// <summary>A binary file that stays on disk: only the places of its vectors are in memory.</summary>
    private sealed unsafe class MappedRows : IVectorRows
    {
        private readonly MappedFile file;
        private readonly byte* start;
        private readonly List<long> places = [];

        private MappedRows(string path, int width)
        {
            (Width, file) = (width, new(path));
            start = file.Start;
        }

        public int Width { get; }

        public ReadOnlySpan<float> this[int row] => new(start + places[row], Width);   // not aligned: x64 and arm64 do not mind

        public static WordVectors Open(string path, Action<string>? warn)
        {
            var length = new FileInfo(path).Length;
            (long Words, int Dimension) header;
            long at;
            using (var reader = new ByteReader(path))
            {
                header = Header(reader.Line() ?? "", path);
                at = reader.Position;
            }
            CheckLength(path, header, 4);
            var rows = new MappedRows(path, header.Dimension);
            try
            {
                var (words, seen) = (new List<string>(), new HashSet<string>(StringComparer.Ordinal));
                for (long i = 0; i < header.Words; i++)
                {
                    while (at < length && rows.start[at] is (byte)'\n' or (byte)'\r') at++;
                    var space = at;
                    while (space < length && rows.start[space] != ' ') space++;
                    if (space + 1 + 4L * header.Dimension > length) throw new InvalidDataException($"{path}: found {i} whole words. Expected {header.Words} by its first line: the file is cut short.");
                    var word = Text(new ReadOnlySpan<byte>(rows.start + at, (int)Math.Min(space - at, 1 << 16)));
                    var vector = new ReadOnlySpan<float>(rows.start + space + 1, header.Dimension);
                    CheckFinite(vector, word, path, $"word {i + 1}");
                    if (seen.Add(word))
                    {
                        words.Add(word);
                        rows.places.Add(space + 1);
                    }
                    else warn?.Invoke($"{path}, word {i + 1}: the word '{word}' stands twice; the first is kept.");
                    at = space + 1 + 4L * header.Dimension;
                }
                while (at < length && rows.start[at] is (byte)'\n' or (byte)'\r') at++;
                if (at < length) throw new InvalidDataException($"{path}: found more bytes behind the {header.Words} words of its first line. Expected its end.");
                return new([.. words], rows);
            }
            catch
            {
                rows.Dispose();
                throw;
            }
        }

        public void Dispose() => file.Dispose();
    }

    /// <summary>Writes vectors.</summary>
    /// <param name="vectors">What to write.</param>
    /// <param name="path">The file; replaced when it is whole. Ending in .gz: compressed.</param>
    /// <param name="format">Layout. Numbers in text are the shortest that read back as they were.</param>
    /// <exception cref="InvalidDataException">A word that the layout cannot hold.</exception>
    public static void Write(WordVectors vectors, string path, VectorFormat format = VectorFormat.Binary)
    {
        ArgumentNullException.ThrowIfNull(vectors);
        var temporary = path + ".tmp";
        try
        {
            using (Stream file = new FileStream(temporary, FileMode.Create, FileAccess.Write, FileShare.None, 1 << 20), stream = path.EndsWith(".gz", StringComparison.OrdinalIgnoreCase) ? new GZipStream(file, CompressionLevel.Fastest) : file)
                WriteTo(vectors, stream, format);
            File.Move(temporary, path, overwrite: true);
        }
        finally { File.Delete(temporary); }
    }

    private static void WriteTo(WordVectors vectors, Stream stream, VectorFormat format)
    {
        if (format != VectorFormat.GloVe) stream.Write(Encoding.UTF8.GetBytes(FormattableString.Invariant($"{vectors.Words.Count} {vectors.Dimension}\n")));
        var number = new byte[32];
        for (var i = 0; i < vectors.Words.Count; i++)
        {
            var word = vectors.Words[i];
            if (word.Length == 0 || word.Contains('\n', StringComparison.Ordinal) || (format != VectorFormat.GloVe && word.Contains(' ', StringComparison.Ordinal))) throw new InvalidDataException($"Found the word '{word}', which this layout cannot hold: it separates by spaces and newlines. Expected words without them.");
            stream.Write(Encoding.UTF8.GetBytes(word));
            if (format == VectorFormat.Binary)
            {
                stream.WriteByte((byte)' ');
                stream.Write(MemoryMarshal.AsBytes(vectors[i]));
            }
            else
            {
                foreach (var x in vectors[i])
                {
                    stream.WriteByte((byte)' ');
                    x.TryFormat(number, out var written, provider: CultureInfo.InvariantCulture);
                    stream.Write(number, 0, written);
                }
            }
            stream.WriteByte((byte)'\n');
        }
    }

    /// <summary>Bytes of a file, by lines and words.</summary>
    private sealed class ByteReader(string path) : IDisposable
    {
        private const int LongestLine = 1 << 28;

        private readonly Stream stream = DataFiles.Open(path);
        private byte[] buffer = new byte[1 << 18];
        private int start, end;
        private bool isDone;

        public long Position { get; private set; }

        private bool More()
        {
            if (isDone) return false;
            if (start > 0)
            {
                buffer.AsSpan(start..end).CopyTo(buffer);
                (end, start) = (end - start, 0);
            }
            if (end == buffer.Length)
            {
                if (end >= LongestLine) throw new InvalidDataException($"{path}: found a line or word of more than {LongestLine >> 20} MB. Expected word vectors.");
                Array.Resize(ref buffer, buffer.Length * 2);
            }
            var read = stream.Read(buffer, end, buffer.Length - end);
            isDone = read == 0;
            if (Position == 0 && end == 0 && buffer.AsSpan(0, read).StartsWith("\uFEFF"u8)) start = 3;
            end += read;
            return read > 0;
        }

        /// <summary>The next line without its newline; false at the end. Valid until the next call.</summary>
        public bool Line(out ReadOnlySpan<byte> line)
        {
            var looked = 0;
            while (true)
            {
                var at = buffer.AsSpan(start + looked, end - start - looked).IndexOf((byte)'\n');
                if (at >= 0)
                {
                    line = buffer.AsSpan(start, looked + at);
                    Take(looked + at + 1);
                    return true;
                }
                looked = end - start;
                if (More()) continue;
                line = buffer.AsSpan(start, looked);
                Take(looked);
                return !line.IsEmpty;
            }
        }

        public string? Line() => Line(out var line) ? Text(line) : null;

        /// <summary>The next word of a binary file: up to the space, newlines before it left out; null: the file ends.</summary>
        public byte[]? WordBeforeSpace()
        {
            while (Peek() is '\n' or '\r') Skip();
            for (var length = 0; ; length++)
            {
                if (start + length == end && !More()) return null;
                if (buffer[start + length] != ' ') continue;
                var word = buffer[start..(start + length)];
                Take(length + 1);
                return word;
            }
        }

        public bool Fill(Span<byte> into)
        {
            while (!into.IsEmpty)
            {
                if (start == end && !More()) return false;
                var n = Math.Min(into.Length, end - start);
                buffer.AsSpan(start, n).CopyTo(into);
                Take(n);
                into = into[n..];
            }
            return true;
        }

        public int Peek() => start < end || More() ? buffer[start] : -1;

        public void Skip() => Take(1);

        private void Take(int n)
        {
            start += n;
            Position += n;
        }

        public void Dispose() => stream.Dispose();
    }
}
