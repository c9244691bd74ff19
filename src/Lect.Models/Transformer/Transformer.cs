// The Transformer: Vaswani, Shazeer, Parmar, Uszkoreit, Jones, Gomez, Kaiser, Polosukhin 2017, "Attention Is All You Need".
// Shapes: B rows, S source positions, T target positions, C width (d_model), H heads, d = C / H, F inner width, V vocabulary. Masks: true = may attend.
using System.Text.Json.Nodes;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace Lect.Models;

/// <summary>config.json of the encoder-decoder Transformer (model_type <c>lect_transformer</c>).</summary>
public sealed record TransformerConfig
{
    /// <summary>V: one vocabulary and one matrix for source, target and output (section 3.4).</summary>
    public int VocabSize { get; init; }
    /// <summary>C. <value>512, table 3 (base)</value></summary>
    public int DModel { get; init; } = 512;
    /// <summary>H. <value>8, table 3</value></summary>
    public int Heads { get; init; } = 8;
    /// <summary>Layers of the encoder. <value>6, table 3</value></summary>
    public int EncoderLayers { get; init; } = 6;
    /// <summary>Layers of the decoder. <value>6, table 3</value></summary>
    public int DecoderLayers { get; init; } = 6;
    /// <summary>F. <value>2048, table 3</value></summary>
    public int Ff { get; init; } = 2048;
    /// <summary><c>relu</c> (equation 2), <c>gelu</c> (erf) or <c>silu</c>. <value>relu</value></summary>
    public string Activation { get; init; } = "relu";
    /// <summary>Normalizes the input of each sub-layer (pre-norm) instead of its sum with the input (post-norm, as the paper).</summary>
    public bool NormFirst { get; init; }
    /// <summary><c>layer_norm</c>, or <c>batch_norm</c> to see why sequences want the former: statistics over all valid positions of the batch.</summary>
    public string Norm { get; init; } = "layer_norm";
    /// <summary>Added to the variance. <value>1e-5</value></summary>
    public double NormEps { get; init; } = 1e-5;
    /// <summary><c>paper</c> (sines and cosines in turn, section 3.5) or <c>marian</c> (sines, then cosines).</summary>
    public string Positions { get; init; } = "paper";
    /// <summary>Dropout of embeddings, attention's output and inner layers. <value>0.1, table 3</value></summary>
    public double Dropout { get; init; } = 0.1;
    /// <summary>Positions at most. <value>512</value></summary>
    public int MaxPositions { get; init; } = 512;
    /// <summary>Id of padding.</summary>
    public int PadTokenId { get; init; }
    /// <summary>Id that begins a target.</summary>
    public int BosTokenId { get; init; } = 1;
    /// <summary>Id that ends a source and a target.</summary>
    public int EosTokenId { get; init; } = 2;

    /// <summary>Checks what the constructor relies on; reports all faults together.</summary>
    /// <exception cref="InvalidDataException">A value that cannot be honoured.</exception>
    public TransformerConfig Validate()
    {
        var faults = new List<string>();
        if (new[] { VocabSize, DModel, Heads, EncoderLayers, DecoderLayers, Ff, MaxPositions }.Min() < 1) faults.Add("found a size below 1");
        else if (DModel % Heads != 0) faults.Add($"d_model = {DModel} is no multiple of heads = {Heads}");
        if (Activation is not ("relu" or "gelu" or "silu")) faults.Add($"activation = '{Activation}': expected relu, gelu or silu");
        if (Norm is not ("layer_norm" or "batch_norm")) faults.Add($"norm = '{Norm}': expected layer_norm or batch_norm");
        if (Positions is not ("paper" or "marian")) faults.Add($"positions = '{Positions}': expected paper or marian");
        if (Dropout is < 0 or >= 1) faults.Add(FormattableString.Invariant($"dropout = {Dropout}: expected at least 0 and less than 1"));
        return faults.Count == 0 ? this : throw new InvalidDataException("The Transformer's configuration cannot be honoured: " + string.Join("; ", faults) + ".");
    }
}

/// <summary>The encoder-decoder Transformer for translation. Keys are those of torch.nn.Transformer, which has a norm behind each stack in post-norm too.</summary>
public sealed class TransformerSeq2Seq : EncoderDecoder
{
    private readonly Embedding embedding;
    private readonly TransformerStacks transformer;
    private readonly Tensor positions_PC;

    /// <param name="config">Sizes.</param>
    /// <param name="device">Where.</param>
    public TransformerSeq2Seq(TransformerConfig config, Device? device = null) : base("TransformerSeq2Seq")
    {
        Config = config.Validate();
        embedding = nn.Embedding(config.VocabSize, config.DModel, device: device ?? CPU);
        transformer = new(config, device ?? CPU);
        RegisterComponents();
        this.OwnParameters();
        // Behind the registration, which would take it for a buffer of the checkpoint.
        using (NewDisposeScope()) positions_PC = (config.Positions == "paper" ? SinusoidalPositions.Paper(config.MaxPositions, config.DModel) : SinusoidalPositions.Marian(config.MaxPositions, config.DModel)).to(device ?? CPU).DetachFromDisposeScope();
    }

    /// <summary>Its configuration.</summary>
    public TransformerConfig Config { get; }
    /// <inheritdoc/>
    public override long SourceVocabularySize => Config.VocabSize;
    /// <inheritdoc/>
    public override long TargetVocabularySize => Config.VocabSize;
    /// <inheritdoc/>
    public override long ContextLength => Config.MaxPositions;
    /// <inheritdoc/>
    public override int PadId => Config.PadTokenId;
    /// <inheritdoc/>
    public override int BosId => Config.BosTokenId;
    /// <inheritdoc/>
    public override int EosId => Config.EosTokenId;
    /// <inheritdoc/>
    public override JsonObject ConfigJson => ModelConfig.Write(Config, "lect_transformer", "TransformerSeq2Seq");
    /// <inheritdoc/>
    public override Tensor HeadWeight => embedding.weight!;
    /// <inheritdoc/>
    public override Tensor? HeadBias => null;

    /// <summary>Matrices by Glorot's uniform rule (each of q, k and v for itself), embeddings N(0, 1/C), biases 0, norms 1.</summary>
    public override void Initialize(long seed)
    {
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        using var generator = Seeds.Generator(seed, "init");
        foreach (var (key, parameter) in named_parameters())
        {
            if (parameter.dim() == 1) parameter.fill_(key.EndsWith("weight", StringComparison.Ordinal) ? 1 : 0);
            else if (key.StartsWith("embedding", StringComparison.Ordinal)) parameter.normal_(0, 1 / Math.Sqrt(Config.DModel), generator);
            else
                foreach (var part in parameter.split(key.Contains("in_proj", StringComparison.Ordinal) ? Config.DModel : parameter.shape[0], 0))
                {
                    var bound = Math.Sqrt(6.0 / (part.shape[0] + part.shape[1]));
                    part.uniform_(-bound, bound, generator);
                }
        }
    }

    /// <inheritdoc/>
    public override DecoderState Encode(Tensor source_BS, IActivationSink? sink = null)
    {
        if (source_BS.shape[1] > Config.MaxPositions) throw new InvalidDataException($"Found a source of {source_BS.shape[1]} tokens. Expected at most {Config.MaxPositions}, the model's positions.");
        var state = new DecoderState();
        using var scope = NewDisposeScope();
        var real_BS = source_BS.ne(Config.PadTokenId);
        state["real"] = real_BS;
        state["source"] = transformer.encoder.forward(Embed(source_BS, 0), real_BS, sink, Compute);
        return state;
    }

    /// <inheritdoc/>
    public override Tensor Decode(DecoderState state, Tensor target_BT, IActivationSink? attention = null)
    {
        if (state.Length + target_BT.shape[1] > Config.MaxPositions) throw new InvalidDataException($"Found a target of more than {Config.MaxPositions} tokens, the model's positions.");
        using var scope = NewDisposeScope();
        var hidden_BTC = transformer.decoder.forward(Embed(target_BT, state.Length), target_BT.ne(Config.PadTokenId), state, attention, Compute);
        state.Length += target_BT.shape[1];
        return hidden_BTC.MoveToOuterDisposeScope();
    }

    // Section 3.4: times sqrt(C); section 3.5: plus positions.
    internal Tensor Embed(Tensor ids_BT, long past)
    {
        return this.Drop(EmbeddingLookup.Of(embedding.weight!, ids_BT) * Math.Sqrt(Config.DModel) + positions_PC.narrow(0, past, ids_BT.shape[1]), Config.Dropout);
    }

    /// <inheritdoc/>
    protected override void Dispose(bool disposing)
    {
        if (disposing) positions_PC.Dispose();
        base.Dispose(disposing);
    }
}

/// <summary>PE(p, 2i) = sin(p / 10000^(2i/C)), PE(p, 2i+1) = cos of the same (section 3.5).</summary>
public static class SinusoidalPositions
{
    /// <summary>PE(position, column), sines and cosines in turn.</summary>
    public static double At(long position, long column, long width)
    {
        var angle = position * Math.Pow(10_000, -2.0 * (column / 2) / width);
        return column % 2 == 0 ? Math.Sin(angle) : Math.Cos(angle);
    }

    /// <summary>Sines and cosines in turn, [positions, width]; an odd width ends with a sine.</summary>
    public static Tensor Paper(long positions, long width) => Table(positions, width, c => c);

    /// <summary>Sines in the first half, cosines in the second (Marian, Hugging Face's sinusoidal embeddings).</summary>
    public static Tensor Marian(long positions, long width) => Table(positions, width, c => c < (width + 1) / 2 ? 2 * c : 2 * (c - (width + 1) / 2) + 1);

    // In double, then rounded; the paper's columns in another order.
    private static Tensor Table(long positions, long width, Func<long, long> column)
    {
        var values = new float[positions * width];
        for (long p = 0; p < positions; p++)
            for (long c = 0; c < width; c++) values[p * width + c] = (float)At(p, column(c), width);
        return tensor(values, positions, width);
    }
}

/// <summary>Both stacks.</summary>
internal sealed class TransformerStacks : nn.Module
{
    internal readonly TransformerEncoderStack encoder;
    internal readonly TransformerDecoderStack decoder;

    public TransformerStacks(TransformerConfig config, Device device) : base("Transformer")
    {
        encoder = new(config, device);
        decoder = new(config, device);
        RegisterComponents();
    }
}

/// <summary>Figure 1, left.</summary>
internal sealed class TransformerEncoderStack : nn.Module
{
    private readonly ModuleList<TransformerEncoderBlock> layers;
    private readonly SequenceNorm norm;

    public TransformerEncoderStack(TransformerConfig config, Device device) : base("TransformerEncoder")
    {
        layers = new([.. Enumerable.Range(0, config.EncoderLayers).Select(i => new TransformerEncoderBlock(config, i, device))]);
        norm = new(config, device);
        RegisterComponents();
    }

    public Tensor forward(Tensor x_BSC, Tensor real_BS, IActivationSink? sink, ComputeType compute)
    {
        var mask = real_BS.unsqueeze(1).unsqueeze(1);
        foreach (var layer in layers) x_BSC = layer.forward(x_BSC, real_BS, mask, sink, compute);
        return norm.forward(x_BSC, real_BS);
    }
}

/// <summary>Figure 1, right.</summary>
internal sealed class TransformerDecoderStack : nn.Module
{
    private readonly ModuleList<TransformerDecoderBlock> layers;
    private readonly SequenceNorm norm;

    public TransformerDecoderStack(TransformerConfig config, Device device) : base("TransformerDecoder")
    {
        layers = new([.. Enumerable.Range(0, config.DecoderLayers).Select(i => new TransformerDecoderBlock(config, i, device))]);
        norm = new(config, device);
        RegisterComponents();
    }

    public Tensor forward(Tensor x_BTC, Tensor real_BT, DecoderState state, IActivationSink? sink, ComputeType compute)
    {
        foreach (var layer in layers) x_BTC = layer.forward(x_BTC, real_BT, state, sink, compute);
        return norm.forward(x_BTC, real_BT);
    }
}

/// <summary>A sub-layer's place in the residual stream: norm(x + f(x)) as the paper, or x + f(norm(x)).</summary>
internal abstract class TransformerBlock(TransformerConfig config, string name) : nn.Module(name)
{
    protected Tensor Residual(Tensor x_BTC, SequenceNorm norm, Tensor real_BT, ComputeType compute, Func<Tensor, Tensor> f) =>
        config.NormFirst ? this.AddDropped(x_BTC, f(norm.forward(x_BTC, real_BT, compute)), config.Dropout) : norm.OfSum(x_BTC, f(x_BTC), config.Dropout, real_BT);

    // Equation 2.
    protected Tensor FeedForward(Tensor x, Linear linear1, Linear linear2, ComputeType compute)
    {
        var inner = Projection.OutIn(x, linear1.weight!, linear1.bias, compute);
        return Projection.OutIn(this.Drop(Activations.Of(config.Activation)!(inner), config.Dropout), linear2.weight!, linear2.bias, compute);
    }
}

internal sealed class TransformerEncoderBlock : TransformerBlock
{
    private readonly MultiHeadAttention self_attn;
    private readonly Linear linear1, linear2;
    private readonly SequenceNorm norm1, norm2;
    private readonly int layer;

    public TransformerEncoderBlock(TransformerConfig config, int layer, Device device) : base(config, "TransformerEncoderLayer")
    {
        this.layer = layer;
        self_attn = new(config, device);
        (linear1, linear2) = (nn.Linear(config.DModel, config.Ff, device: device), nn.Linear(config.Ff, config.DModel, device: device));
        (norm1, norm2) = (new(config, device), new(config, device));
        RegisterComponents();
    }

    public Tensor forward(Tensor x_BSC, Tensor real_BS, Tensor mask, IActivationSink? sink, ComputeType compute)
    {
        x_BSC = Residual(x_BSC, norm1, real_BS, compute, x =>
        {
            var (q, k, v) = self_attn.QueriesKeysValues(x, compute);
            return self_attn.Attend(q, k, v, mask, sink is null ? null : p => sink.Attention(layer, p), compute);
        });
        return Residual(x_BSC, norm2, real_BS, compute, x => FeedForward(x, linear1, linear2, compute));
    }
}

internal sealed class TransformerDecoderBlock : TransformerBlock
{
    private readonly MultiHeadAttention self_attn, multihead_attn;
    private readonly Linear linear1, linear2;
    private readonly SequenceNorm norm1, norm2, norm3;
    private readonly int layer;

    public TransformerDecoderBlock(TransformerConfig config, int layer, Device device) : base(config, "TransformerDecoderLayer")
    {
        this.layer = layer;
        (self_attn, multihead_attn) = (new(config, device), new(config, device));
        (linear1, linear2) = (nn.Linear(config.DModel, config.Ff, device: device), nn.Linear(config.Ff, config.DModel, device: device));
        (norm1, norm2, norm3) = (new(config, device), new(config, device), new(config, device));
        RegisterComponents();
    }

    public Tensor forward(Tensor x_BTC, Tensor real_BT, DecoderState state, IActivationSink? sink, ComputeType compute)
    {
        x_BTC = Residual(x_BTC, norm1, real_BT, compute, x =>
        {
            var (queries, keys, values) = self_attn.QueriesKeysValues(x, compute);
            (keys, values) = state.Extend(layer, keys, values, keep: !training);
            // Targets are padded behind their end, which a causal mask hides from what counts.
            return self_attn.Attend(queries, keys, values, null, sink is null ? null : p => sink.Attention(layer, p), compute);
        });
        x_BTC = Residual(x_BTC, norm2, real_BT, compute, x =>
        {
            var (keys, values) = state.OfSource(layer, () => multihead_attn.KeysValues(state["source"], compute));
            return multihead_attn.Attend(multihead_attn.Queries(x, compute), keys, values, state["real"].unsqueeze(1).unsqueeze(1), sink is null ? null : p => sink.Attention(-1 - layer, p), compute);
        });
        return Residual(x_BTC, norm3, real_BT, compute, x => FeedForward(x, linear1, linear2, compute));
    }
}

/// <summary>Multi-head attention (section 3.2.2) with the queries', keys' and values' projections in one matrix, as torch keeps it.</summary>
internal sealed class MultiHeadAttention : nn.Module
{
    private readonly Parameter in_proj_weight, in_proj_bias;
    private readonly Linear out_proj;
    private readonly int width, heads;

    public MultiHeadAttention(TransformerConfig config, Device device) : base("MultiheadAttention")
    {
        (width, heads) = (config.DModel, config.Heads);
        in_proj_weight = new(zeros(3 * width, width, device: device));
        in_proj_bias = new(zeros(3 * width, device: device));
        out_proj = nn.Linear(width, width, device: device);
        RegisterComponents();
    }

    public (Tensor Q, Tensor K, Tensor V) QueriesKeysValues(Tensor x_BTC, ComputeType compute)
    {
        var parts = Split(Projection.OutIn(x_BTC, in_proj_weight, in_proj_bias, compute), 3);
        return (parts[0], parts[1], parts[2]);
    }

    public Tensor Queries(Tensor x_BTC, ComputeType compute) => Split(Projection.OutIn(x_BTC, in_proj_weight.narrow(0, 0, width), in_proj_bias.narrow(0, 0, width), compute), 1)[0];

    public (Tensor K, Tensor V) KeysValues(Tensor x_BSC, ComputeType compute)
    {
        var parts = Split(Projection.OutIn(x_BSC, in_proj_weight.narrow(0, width, 2 * width), in_proj_bias.narrow(0, width, 2 * width), compute), 2);
        return (parts[0], parts[1]);
    }

    // [B, T, n C] to n times [B, H, T, d].
    private Tensor[] Split(Tensor x, int n) => x.view(x.shape[0], x.shape[1], n, heads, width / heads).permute(2, 0, 3, 1, 4).unbind(0);

    public Tensor Attend(Tensor q, Tensor k, Tensor v, Tensor? mask, Action<Tensor>? watch, ComputeType compute)
    {
        var y_BHTd = Attention.ScaledDotProduct(q, k, v, mask, 1 / Math.Sqrt(width / heads), 0, watch);
        return Projection.OutIn(Attention.Merge(y_BHTd), out_proj.weight!, out_proj.bias, compute);
    }
}
