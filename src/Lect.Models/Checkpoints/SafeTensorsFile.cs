using System.Buffers;
using System.Buffers.Binary;
using System.Globalization;
using System.Text;
using System.Text.Json;
using TorchSharp;
using static TorchSharp.torch;

namespace Lect.Models;

/// <summary>What the header of a safetensors file says of one tensor.</summary>
/// <param name="Dtype">F32, BF16, …, as written.</param>
/// <param name="Shape">Sizes; empty for a scalar.</param>
/// <param name="Offset">Where its bytes begin, from the start of the file.</param>
/// <param name="Length">How many bytes.</param>
public sealed record SafeTensorInfo(string Dtype, long[] Shape, long Offset, long Length);

/// <summary>
/// A safetensors file: 8 bytes header length (little endian), a JSON header, raw tensors. The header is checked whole before
/// anything is read: no allocation by a number in it, no overlap, no hole, nothing behind the last tensor.
/// </summary>
/// <remarks>Format: huggingface/safetensors README, "Format". Instances are immutable and safe to use from many threads.</remarks>
public sealed class SafeTensorsFile
{
    private const long LargestHeader = 100_000_000;

    private static readonly Dictionary<string, (int Bits, ScalarType? Type)> s_dtypes = new(StringComparer.Ordinal)
    {
        ["BOOL"] = (8, ScalarType.Bool),
        ["U8"] = (8, ScalarType.Byte),
        ["I8"] = (8, ScalarType.Int8),
        ["F8_E5M2"] = (8, null),
        ["F8_E4M3"] = (8, null),
        ["F8_E8M0"] = (8, null),
        ["I16"] = (16, ScalarType.Int16),
        ["U16"] = (16, null),
        ["F16"] = (16, ScalarType.Float16),
        ["BF16"] = (16, ScalarType.BFloat16),
        ["I32"] = (32, ScalarType.Int32),
        ["U32"] = (32, null),
        ["F32"] = (32, ScalarType.Float32),
        ["C64"] = (64, ScalarType.ComplexFloat32),
        ["F64"] = (64, ScalarType.Float64),
        ["I64"] = (64, ScalarType.Int64),
        ["U64"] = (64, null),
    };

    private readonly Dictionary<string, SafeTensorInfo> tensors = new(StringComparer.Ordinal);
    private Dictionary<string, string>? metadata;

    private SafeTensorsFile(string path) => Path = path;

    /// <summary>The file.</summary>
    public string Path { get; }

    /// <summary>Name to what the header says.</summary>
    public IReadOnlyDictionary<string, SafeTensorInfo> Tensors => tensors;

    /// <summary>The <c>__metadata__</c> entry; null where there is none.</summary>
    public IReadOnlyDictionary<string, string>? Metadata => metadata;

    /// <summary>Reads and checks the header.</summary>
    /// <exception cref="InvalidDataException">The file breaks the format; the message names file and fault.</exception>
    public static SafeTensorsFile Open(string path)
    {
        var file = new SafeTensorsFile(path);
        try { file.ReadHeader(); }
        catch (Exception e) when (e is JsonException or FormatException or OverflowException or InvalidOperationException or DecoderFallbackException) { throw file.Bad(e.Message, e); }
        return file;
    }

    private InvalidDataException Bad(string fault, Exception? cause = null) => new($"{Path} is no readable safetensors file: {fault} Expected a file as Hugging Face's safetensors writes it; if it was downloaded, it may be cut short.", cause);

    private void ReadHeader()
    {
        using var stream = File.OpenRead(Path);
        Span<byte> first = stackalloc byte[8];
        if (stream.ReadAtLeast(first, 8, throwOnEndOfStream: false) < 8) throw Bad($"found {stream.Length} bytes, fewer than the 8 of the header's length.");
        var length = BinaryPrimitives.ReadUInt64LittleEndian(first);
        if (length > LargestHeader) throw Bad($"found a header of {length} bytes, more than the {LargestHeader} allowed.");
        if ((long)length > stream.Length - 8) throw Bad($"found a header of {length} bytes in a file of {stream.Length}.");
        var header = new byte[length];
        stream.ReadExactly(header);
        if (!header.AsSpan().TrimStart(" \t\r\n"u8).StartsWith("{"u8)) throw Bad("the header does not begin with '{'.");
        Parse(header, dataStart: 8 + (long)length);
        CheckLayout(8 + (long)length, stream.Length);
    }

    private void Parse(byte[] header, long dataStart)
    {
        var reader = new Utf8JsonReader(header, new JsonReaderOptions { MaxDepth = 8 });
        reader.Read();
        var hasMetadata = false;
        while (reader.Read() && reader.TokenType == JsonTokenType.PropertyName)
        {
            var name = Name(ref reader);
            reader.Read();
            if (name == "__metadata__" && !hasMetadata && !LooksLikeTensor(reader)) { hasMetadata = true; ParseMetadata(ref reader); }
            else if (!tensors.TryAdd(name, ParseTensor(ref reader, name, dataStart))) throw Bad($"the tensor '{name}' is listed twice.");
        }
        if (reader.Read()) throw Bad("found text behind the header's closing brace.");
    }

    // A lone surrogate written as an escape has no UTF-8: refused here, since a name must survive writing.
    private static string Name(ref Utf8JsonReader reader) => reader.GetString()!;

    // A tensor may be called __metadata__ too; then its entry holds a shape.
    private static bool LooksLikeTensor(Utf8JsonReader entry)
    {
        if (entry.TokenType != JsonTokenType.StartObject) return false;
        while (entry.Read() && entry.TokenType == JsonTokenType.PropertyName)
        {
            var isShape = entry.ValueTextEquals("shape"u8);
            entry.Read();
            if (isShape && entry.TokenType == JsonTokenType.StartArray) return true;
            entry.Skip();
        }
        return false;
    }

    private void ParseMetadata(ref Utf8JsonReader reader)
    {
        if (reader.TokenType != JsonTokenType.StartObject) throw Bad("__metadata__ is no object.");
        metadata = new(StringComparer.Ordinal);
        while (reader.Read() && reader.TokenType == JsonTokenType.PropertyName)
        {
            var key = Name(ref reader);
            reader.Read();
            metadata[key] = reader.TokenType == JsonTokenType.String ? reader.GetString()! : throw Bad($"the value of '{key}' in __metadata__ is no string.");
        }
    }

    private SafeTensorInfo ParseTensor(ref Utf8JsonReader reader, string name, long dataStart)
    {
        if (reader.TokenType != JsonTokenType.StartObject) throw Bad($"the entry of '{name}' is no object.");
        string? dtype = null;
        long[]? shape = null, offsets = null;
        while (reader.Read() && reader.TokenType == JsonTokenType.PropertyName)
        {
            var field = reader.GetString();
            reader.Read();
            switch (field)
            {
                case "dtype" when dtype is null: dtype = reader.TokenType == JsonTokenType.String ? reader.GetString() : throw Bad($"the dtype of '{name}' is no string."); break;
                case "shape" when shape is null: shape = Numbers(ref reader, name, field); break;
                case "data_offsets" when offsets is null: offsets = Numbers(ref reader, name, field); break;
                case "dtype" or "shape" or "data_offsets": throw Bad($"'{name}' has the field {field} twice.");
                default: reader.Skip(); break;
            }
        }
        if (dtype is null || shape is null || offsets is null) throw Bad($"'{name}' lacks dtype, shape or data_offsets.");
        if (!s_dtypes.TryGetValue(dtype, out var known)) throw Bad($"'{name}' has the unknown dtype '{dtype}'.");
        if (offsets.Length != 2 || offsets[0] > offsets[1]) throw Bad($"'{name}' has the data_offsets [{string.Join(", ", offsets)}], not a begin and an end.");
        var bits = shape.Aggregate((UInt128)(uint)known.Bits, (product, size) => checked((UInt128)(ulong)(product * (ulong)size)));
        if (bits / 8 != (ulong)(offsets[1] - offsets[0])) throw Bad($"'{name}' of shape [{string.Join(", ", shape)}] and dtype {dtype} needs {bits / 8} bytes, but data_offsets give {offsets[1] - offsets[0]}.");
        return new(dtype, shape, checked(dataStart + offsets[0]), offsets[1] - offsets[0]);
    }

    private long[] Numbers(ref Utf8JsonReader reader, string name, string field)
    {
        if (reader.TokenType != JsonTokenType.StartArray) throw Bad($"{field} of '{name}' is no list.");
        var numbers = new List<long>();
        while (reader.Read() && reader.TokenType != JsonTokenType.EndArray)
            numbers.Add(reader.TokenType == JsonTokenType.Number && reader.TryGetInt64(out var n) && n >= 0 ? n
                : throw Bad($"{field} of '{name}' holds {Encoding.UTF8.GetString(reader.HasValueSequence ? reader.ValueSequence.ToArray() : reader.ValueSpan)}, not a whole number from 0 to 2^63."));
        return [.. numbers];
    }

    private void CheckLayout(long dataStart, long fileLength)
    {
        var at = dataStart;
        foreach (var (name, info) in tensors.OrderBy(t => t.Value.Offset).ThenBy(t => t.Value.Length))
        {
            if (info.Offset + info.Length > fileLength) throw Bad($"'{name}' ends at byte {info.Offset + info.Length} of a file of {fileLength}.");
            if (info.Offset != at) throw Bad(info.Offset < at ? $"'{name}' overlaps another tensor." : $"there is a hole of {info.Offset - at} bytes before '{name}'.");
            at = info.Offset + info.Length;
        }
        if (at != fileLength) throw Bad($"found {fileLength - at} bytes behind the last tensor.");
    }

    /// <summary>The raw bytes of a tensor.</summary>
    public byte[] ReadBytes(string name)
    {
        var info = tensors[name];
        var bytes = new byte[info.Length];
        using var stream = File.OpenRead(Path);
        stream.Position = info.Offset;
        stream.ReadExactly(bytes);
        return bytes;
    }

    /// <summary>
    /// A tensor, mapped from the file without a copy where its place allows (offset a multiple of the element size). Writes to it
    /// never reach the file. The caller owns it.
    /// </summary>
    /// <exception cref="NotSupportedException">libtorch has no such dtype here (8-bit floats, unsigned integers).</exception>
    public Tensor Load(string name)
    {
        var info = tensors[name];
        var (bits, type) = s_dtypes[info.Dtype];
        if (type is not { } dtype) throw new NotSupportedException($"'{name}' in {Path} has the dtype {info.Dtype}, which TorchSharp cannot hold.");
        var size = bits / 8;
        var count = info.Length / size;
        if (count == 0) return zeros(info.Shape, dtype: dtype);
        if (info.Offset % size != 0)
        {
            var copy = empty(info.Shape, dtype: dtype);
            ReadBytes(name).CopyTo(copy.bytes);
            return copy;
        }
        using var scope = NewDisposeScope();
        var map = from_file(Path, shared: false, size: (info.Offset + info.Length) / size, dtype: dtype);
        return map.narrow(0, info.Offset / size, count).view(info.Shape).MoveToOuterDisposeScope();
    }

    /// <summary>
    /// Writes a file: to a temporary name beside it, flushed to the disk, then renamed, so that a crash leaves the old file or the new one.
    /// Tensors are ordered by falling element size and name, as Hugging Face's library does.
    /// </summary>
    public static void Write(string path, IEnumerable<(string Name, Tensor Tensor)> tensors, IReadOnlyDictionary<string, string>? metadata = null)
    {
        var ordered = tensors.Select(t => (t.Name, t.Tensor, Dtype: DtypeName(t.Tensor.dtype))).OrderByDescending(t => s_dtypes[t.Dtype].Bits).ThenBy(t => t.Name, StringComparer.Ordinal).ToList();
        var temporary = path + ".tmp";
        using (var stream = new FileStream(temporary, FileMode.Create, FileAccess.Write, FileShare.None, 1 << 20))
        {
            var header = Header(ordered, metadata);
            Span<byte> length = stackalloc byte[8];
            BinaryPrimitives.WriteUInt64LittleEndian(length, (ulong)header.Length);
            stream.Write(length);
            stream.Write(header);
            foreach (var (_, tensor, _) in ordered) WriteBytes(stream, tensor);
            stream.Flush(flushToDisk: true);
        }
        File.Move(temporary, path, overwrite: true);
    }

    private static string DtypeName(ScalarType type) => s_dtypes.First(d => d.Value.Type == type).Key;

    private static byte[] Header(List<(string Name, Tensor Tensor, string Dtype)> tensors, IReadOnlyDictionary<string, string>? metadata)
    {
        var buffer = new ArrayBufferWriter<byte>();
        using (var json = new Utf8JsonWriter(buffer))
        {
            json.WriteStartObject();
            json.WriteStartObject("__metadata__");
            foreach (var (key, value) in metadata ?? new Dictionary<string, string> { ["format"] = "pt" }) json.WriteString(key, value);
            json.WriteEndObject();
            long at = 0;
            foreach (var (name, tensor, dtype) in tensors)
            {
                json.WriteStartObject(name);
                json.WriteString("dtype", dtype);
                json.WriteStartArray("shape");
                foreach (var size in tensor.shape) json.WriteNumberValue(size);
                json.WriteEndArray();
                json.WriteStartArray("data_offsets");
                json.WriteNumberValue(at);
                json.WriteNumberValue(at += tensor.numel() * (s_dtypes[dtype].Bits / 8));
                json.WriteEndArray();
                json.WriteEndObject();
            }
            json.WriteEndObject();
        }
        var padded = new byte[(buffer.WrittenCount + 7) / 8 * 8];
        buffer.WrittenSpan.CopyTo(padded);
        padded.AsSpan(buffer.WrittenCount).Fill((byte)' ');
        return padded;
    }

    private static void WriteBytes(FileStream stream, Tensor tensor)
    {
        if (tensor.numel() == 0) return;
        const long Rows = 1 << 26;   // in pieces: a span holds at most 2 GB
        using var scope = NewDisposeScope();
        var flat = tensor.detach().cpu().contiguous().view(-1);
        for (long at = 0; at < flat.numel(); at += Rows) stream.Write(flat.narrow(0, at, Math.Min(Rows, flat.numel() - at)).bytes);
    }

    /// <summary>Bytes of one element of a dtype as this format names it.</summary>
    public static int ElementSize(string dtype) => s_dtypes[dtype].Bits / 8;

    /// <inheritdoc/>
    public override string ToString() => string.Create(CultureInfo.InvariantCulture, $"{Path}: {tensors.Count} tensors");
}
