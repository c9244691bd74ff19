using System.Buffers.Binary;
using System.Text.Json.Nodes;
using TorchSharp;
using static TorchSharp.torch;

namespace Lect.Models;

/// <summary>The checkpoints of llama2.c (Karpathy 2023; export.py's versions 0 and 1, fp32): a header of sizes, then the weights without names.</summary>
public static class Llama2C
{
    private const uint Magic = 0x616b3432;   // "ak42", version 1; version 0 has none
    private const int HeaderV0 = 28, HeaderV1 = 256;

    private sealed record Header(int Width, int Inner, int Layers, int Heads, int KeyHeads, int Vocabulary, int Context, bool Tied, int Version, int Bytes)
    {
        public int Head => Width / Heads;
        public int KeyWidth => Head * KeyHeads;
    }

    /// <summary>Reads a checkpoint as a Llama.</summary>
    /// <param name="path">A .bin file.</param>
    /// <exception cref="InvalidDataException">No such file, a header that cannot be, or a file that is shorter or longer than the header says.</exception>
    public static Llama Load(string path)
    {
        TorchNative.Load();
        if (!File.Exists(path)) throw new InvalidDataException($"Found no file {path}. Expected a .bin of llama2.c.");
        using var stream = File.OpenRead(path);
        var header = Read(stream, path);
        var model = new Llama(new()
        {
            VocabSize = header.Vocabulary,
            HiddenSize = header.Width,
            IntermediateSize = header.Inner,
            NumHiddenLayers = header.Layers,
            NumAttentionHeads = header.Heads,
            NumKeyValueHeads = header.KeyHeads,
            HeadDim = header.Head,
            MaxPositionEmbeddings = header.Context,
            RmsNormEps = 1e-5,
            TieWordEmbeddings = header.Tied,
            PadTokenId = null,
        });
        try
        {
            Fill(model, header, stream, path);
            model.eval();
            return model;
        }
        catch { model.Dispose(); throw; }
    }

    private static Header Read(Stream stream, string path)
    {
        var bytes = new byte[HeaderV1];
        var read = stream.ReadAtLeast(bytes, bytes.Length, throwOnEndOfStream: false);
        int Number(int at) => BinaryPrimitives.ReadInt32LittleEndian(bytes.AsSpan(at));
        if (read < HeaderV1) throw new InvalidDataException($"{path}: found {read} bytes. Expected a .bin of llama2.c.");
        var isNew = (uint)Number(0) == Magic;
        if (isNew && Number(4) != 1) throw new InvalidDataException($"{path}: found version {Number(4)} of llama2.c's format. Expected 0 or 1: this one is quantized.");
        var (first, tied) = isNew ? (8, bytes[36] != 0) : (0, Number(20) > 0);   // version 0 tells an output layer of its own by a negative vocabulary
        var header = new Header(Number(first), Number(first + 4), Number(first + 8), Number(first + 12), Number(first + 16), Math.Abs(Number(first + 20)), Number(first + 24), tied, isNew ? 1 : 0, isNew ? HeaderV1 : HeaderV0);
        if (new[] { header.Width, header.Inner, header.Layers, header.Heads, header.KeyHeads, header.Vocabulary, header.Context }.Min() < 1 || header.Width % header.Heads != 0 || header.Head % 2 != 0 || header.Heads % header.KeyHeads != 0)
            throw new InvalidDataException($"{path}: found the sizes {header.Width}, {header.Inner}, {header.Layers}, {header.Heads}, {header.KeyHeads}, {header.Vocabulary}, {header.Context} in its header. Expected those of a llama2.c model (width, inner width, layers, heads, key heads, vocabulary, context).");
        long floats = 2L * header.Layers * header.Width + header.Width + (long)header.Vocabulary * header.Width * (header.Tied ? 1 : 2) + (long)header.Layers * (2L * header.Width * header.Width + 2L * header.Width * header.KeyWidth + 3L * header.Width * header.Inner) + (isNew ? 0 : (long)header.Context * header.Head);
        if (stream.Length != header.Bytes + 4 * floats) throw new InvalidDataException($"{path}: found {stream.Length} bytes. Expected {header.Bytes + 4 * floats} by its header: the file is cut short, or no fp32 model of llama2.c.");
        stream.Position = header.Bytes;
        return header;
    }

    // Version 0 has all layers' weights of a kind behind each other, version 1 the norms first.
    private static void Fill(Llama model, Header h, Stream stream, string path)
    {
        using var noGrad = no_grad();
        var parameters = model.named_parameters().ToDictionary(p => p.name, p => (Tensor)p.parameter, StringComparer.Ordinal);
        void Read(string key, int heads = 0)
        {
            using var scope = NewDisposeScope();
            var into = parameters[key];
            var values = new float[into.numel()];
            stream.ReadExactly(System.Runtime.InteropServices.MemoryMarshal.AsBytes(values.AsSpan()));
            var read = tensor(values).view(into.shape);
            // Its rotary positions turn neighbours, Hugging Face's the two halves of a head.
            if (heads > 0) read = read.view(heads, into.shape[0] / heads / 2, 2, into.shape[1]).transpose(1, 2).reshape(into.shape);
            into.copy_(read);
        }
        void Each(string part, int heads = 0) { for (var layer = 0; layer < h.Layers; layer++) Read($"model.layers.{layer}.{part}.weight", heads); }
        if (h.Version == 1) { Each("input_layernorm"); Each("post_attention_layernorm"); Read("model.norm.weight"); }
        Read("model.embed_tokens.weight");
        if (h.Version == 0) Each("input_layernorm");
        Each("self_attn.q_proj", h.Heads);
        Each("self_attn.k_proj", h.KeyHeads);
        Each("self_attn.v_proj");
        Each("self_attn.o_proj");
        if (h.Version == 0) Each("post_attention_layernorm");
        Each("mlp.gate_proj");
        Each("mlp.down_proj");
        Each("mlp.up_proj");
        if (h.Version == 0) { Read("model.norm.weight"); stream.Position += 4L * h.Context * h.Head; }   // and tables of rotary positions
        if (!h.Tied) Read("lm_head.weight");
        if (stream.Position != stream.Length) throw new InvalidDataException($"{path}: found bytes behind the last weight.");
    }
}
