// Recurrent encoder-decoders: Cho et al. 2014 (EMNLP), Sutskever et al. 2014 (NIPS), Bahdanau et al. 2015 (ICLR), Luong et al. 2015 (EMNLP).
// Shapes: B rows, S source positions, T target positions, E embedding, H encoder width (2H where it reads both ways), D decoder width, A attention width, V vocabulary.
using System.Text.Json.Nodes;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace Lect.Models;

/// <summary>config.json of a recurrent encoder-decoder (model_type <c>lect_rnn</c>).</summary>
public sealed record RnnConfig
{
    /// <summary>
    /// <c>bahdanau</c>: GRU read both ways, additive attention, maxout output; <c>fixed_context</c>: the same without attention (Cho); <c>sutskever</c>: stacked, the source read backwards, states handed over;
    /// <c>luong_general</c>, <c>luong_dot</c>: stacked, multiplicative attention, input feeding.
    /// </summary>
    public string Kind { get; init; } = "bahdanau";
    /// <summary><c>gru</c> or <c>lstm</c>; the two of Bahdanau's kind are GRU. <value>lstm</value></summary>
    public string Cell { get; init; } = "lstm";
    /// <summary>Tokens of the source side.</summary>
    public int SourceVocabSize { get; init; }
    /// <summary>Tokens of the target side.</summary>
    public int TargetVocabSize { get; init; }
    /// <summary>E. <value>256</value></summary>
    public int Embed { get; init; } = 256;
    /// <summary>H; the width of both sides where the layers are stacked. <value>512</value></summary>
    public int Hidden { get; init; } = 512;
    /// <summary>D of Bahdanau's kind. <value>512</value></summary>
    public int DecoderHidden { get; init; } = 512;
    /// <summary>A of Bahdanau's kind. <value>512</value></summary>
    public int Attention { get; init; } = 512;
    /// <summary>Maxout units of Bahdanau's kind. <value>256</value></summary>
    public int Maxout { get; init; } = 256;
    /// <summary>Layers of the stacked kinds. <value>2</value></summary>
    public int Layers { get; init; } = 2;
    /// <summary>Which state Bahdanau's output layer reads: <c>s</c>, the new one (equation 4), or <c>s_prev</c>, the one before (appendix A.2.2). <value>s</value></summary>
    public string Readout { get; init; } = "s";
    /// <summary>Dropout of embeddings and of what goes into the output layer.</summary>
    public double Dropout { get; init; }
    /// <summary>The longest source or target. <value>512</value></summary>
    public int MaxPositions { get; init; } = 512;
    /// <summary>Id of padding.</summary>
    public int PadTokenId { get; init; }
    /// <summary>Id that begins a target.</summary>
    public int BosTokenId { get; init; } = 1;
    /// <summary>Id that ends a source and a target.</summary>
    public int EosTokenId { get; init; } = 2;

    internal bool IsStacked => Kind is "sutskever" or "luong_general" or "luong_dot";

    internal bool HasAttention => Kind is "bahdanau" or "luong_general" or "luong_dot";

    /// <summary>Checks what the constructor relies on; reports all faults together.</summary>
    /// <exception cref="InvalidDataException">A value that cannot be honoured.</exception>
    public RnnConfig Validate()
    {
        var faults = new List<string>();
        if (Kind is not ("bahdanau" or "fixed_context" or "sutskever" or "luong_general" or "luong_dot")) faults.Add($"kind = '{Kind}': expected bahdanau, fixed_context, sutskever, luong_general or luong_dot");
        if (Cell is not ("gru" or "lstm")) faults.Add($"cell = '{Cell}': expected gru or lstm");
        if (Readout is not ("s" or "s_prev")) faults.Add($"readout = '{Readout}': expected s or s_prev");
        if (new[] { SourceVocabSize, TargetVocabSize, Embed, Hidden, DecoderHidden, Attention, Maxout, Layers, MaxPositions }.Min() < 1) faults.Add("found a size below 1");
        if (Dropout is < 0 or >= 1) faults.Add(FormattableString.Invariant($"dropout = {Dropout}: expected at least 0 and less than 1"));
        return faults.Count == 0 ? this : throw new InvalidDataException("The recurrent model's configuration cannot be honoured: " + string.Join("; ", faults) + ".");
    }
}

/// <summary>A recurrent encoder-decoder.</summary>
public sealed class RnnSeq2Seq : EncoderDecoder
{
    private readonly RnnEncoder encoder;
    private readonly RnnDecoder decoder;
    private readonly Linear? @out;   // of Sutskever's kind, whose decoder is nothing but its layers

    /// <param name="config">Kind and sizes.</param>
    /// <param name="device">Where.</param>
    public RnnSeq2Seq(RnnConfig config, Device? device = null) : base("RnnSeq2Seq")
    {
        Config = config.Validate();
        encoder = new(config, device ?? CPU);
        decoder = config.IsStacked ? new StackedDecoder(config, device ?? CPU) : new BahdanauDecoder(config, device ?? CPU);
        @out = config.Kind == "sutskever" ? nn.Linear(config.Hidden, config.TargetVocabSize, device: device ?? CPU) : null;
        RegisterComponents();
        this.OwnParameters();
    }

    /// <summary>Its configuration.</summary>
    public RnnConfig Config { get; }
    /// <inheritdoc/>
    public override long SourceVocabularySize => Config.SourceVocabSize;
    /// <inheritdoc/>
    public override long TargetVocabularySize => Config.TargetVocabSize;
    /// <inheritdoc/>
    public override long ContextLength => Config.MaxPositions;
    /// <inheritdoc/>
    public override int PadId => Config.PadTokenId;
    /// <inheritdoc/>
    public override int BosId => Config.BosTokenId;
    /// <inheritdoc/>
    public override int EosId => Config.EosTokenId;
    /// <inheritdoc/>
    public override JsonObject ConfigJson => ModelConfig.Write(Config, "lect_rnn", "RnnSeq2Seq");
    /// <inheritdoc/>
    public override Tensor HeadWeight => (@out ?? decoder.Out!).weight!;
    /// <inheritdoc/>
    public override Tensor? HeadBias => (@out ?? decoder.Out!).bias;

    /// <summary>Matrices by Glorot's uniform rule, recurrent ones orthogonal, embeddings N(0, 0.1²), biases 0 (the forget gates' 1).</summary>
    public override void Initialize(long seed)
    {
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        using var generator = Seeds.Generator(seed, "init");
        foreach (var (key, parameter) in named_parameters())
        {
            if (parameter.dim() == 1)
            {
                parameter.zero_();
                if (Config.Cell == "lstm" && Config.IsStacked && key.Contains("bias_ih", StringComparison.Ordinal)) parameter.narrow(0, Config.Hidden, Config.Hidden).fill_(1);
            }
            else if (key.EndsWith("embedding.weight", StringComparison.Ordinal)) parameter.normal_(0, 0.1, generator);
            else if (key.Contains("weight_hh", StringComparison.Ordinal))
                foreach (var gate in parameter.split(parameter.shape[1], 0)) gate.copy_(linalg.qr(empty_like(gate).normal_(0, 1, generator)).Q);
            else
            {
                var bound = Math.Sqrt(6.0 / (parameter.shape[0] + parameter.shape[1]));
                parameter.uniform_(-bound, bound, generator);
            }
        }
    }

    internal override bool AttendsToSource(int layer) => true;

    /// <inheritdoc/>
    public override DecoderState Encode(Tensor source_BS, IActivationSink? sink = null)
    {
        var state = new DecoderState();
        using var scope = NewDisposeScope();
        var real_BS = source_BS.ne(Config.PadTokenId);
        encoder.forward(source_BS, real_BS, state, Compute);
        decoder.Begin(state, Compute);
        return state;
    }

    /// <inheritdoc/>
    public override Tensor Decode(DecoderState state, Tensor target_BT, IActivationSink? attention = null)
    {
        using var scope = NewDisposeScope();
        var hidden = decoder.forward(state, target_BT, attention, Compute);
        state.Length += target_BT.shape[1];
        return hidden.MoveToOuterDisposeScope();
    }
}

/// <summary>Reads the source: both ways in one GRU layer (Bahdanau), or in stacked layers from one side.</summary>
internal sealed class RnnEncoder : nn.Module
{
    private readonly Embedding embedding;
    private readonly nn.Module rnn;
    private readonly RnnConfig config;

    public RnnEncoder(RnnConfig config, Device device) : base("RnnEncoder")
    {
        this.config = config;
        embedding = nn.Embedding(config.SourceVocabSize, config.Embed, device: device);
        rnn = !config.IsStacked ? nn.GRU(config.Embed, config.Hidden, batchFirst: true, bidirectional: true, device: device)
            : config.Cell == "gru" ? nn.GRU(config.Embed, config.Hidden, config.Layers, batchFirst: true, device: device)
            : nn.LSTM(config.Embed, config.Hidden, config.Layers, batchFirst: true, device: device);
        RegisterComponents();
    }

    /// <summary>Puts into the state: <c>source</c> [B, S, H or 2H], 0 at padding; <c>padding</c> [B, S]; <c>h</c> (and <c>c</c>), the last states [B, layers, H].</summary>
    public void forward(Tensor source_BS, Tensor real_BS, DecoderState state, ComputeType compute)
    {
        var lengths_B = real_BS.sum(1);
        if (config.Kind == "sutskever") source_BS = Backwards(source_BS, lengths_B);
        var x_BSE = this.Drop(EmbeddingLookup.Of(embedding.weight!, source_BS), config.Dropout);
        if (!config.IsStacked && Simd.Takes(x_BSE))
        {
            var weights = rnn.named_parameters().ToDictionary(p => p.name, p => (Tensor)p.parameter);
            Tensor Read(string suffix) => GruKernels.Sequence(x_BSE, real_BS, suffix.Length > 0, (weights["weight_ih_l0" + suffix], weights["weight_hh_l0" + suffix], weights["bias_ih_l0" + suffix], weights["bias_hh_l0" + suffix]), compute);
            var (right_BSH, left_BSH) = (Read(""), Read("_reverse"));
            state["source"] = cat([right_BSH, left_BSH], -1);
            var last_B1H = (lengths_B - 1).view(-1, 1, 1).expand(-1, 1, config.Hidden);
            state["h"] = cat([right_BSH.gather(1, last_B1H), left_BSH.narrow(1, 0, 1)], 1);
            state["padding"] = real_BS.logical_not();
            return;
        }
        using var packed = nn.utils.rnn.pack_padded_sequence(x_BSE, lengths_B.cpu(), batch_first: true, enforce_sorted: false);
        nn.utils.rnn.PackedSequence read;
        Tensor h;
        if (rnn is LSTM lstm)
        {
            (read, h, var c) = lstm.call(packed, ((Tensor, Tensor)?)null);
            state["c"] = c.transpose(0, 1).contiguous();
        }
        else (read, h) = ((GRU)rnn).call(packed);
        using (read)
        {
            var (out_BSH, _) = nn.utils.rnn.pad_packed_sequence(read, batch_first: true, total_length: source_BS.shape[1]);
            state["source"] = out_BSH.contiguous();
        }
        state["h"] = h.transpose(0, 1).contiguous();
        state["padding"] = real_BS.logical_not();
    }

    // Each row backwards within its own length: the end of the sentence comes first (Sutskever, section 3.3).
    private static Tensor Backwards(Tensor ids_BS, Tensor lengths_B)
    {
        var at_BS = lengths_B.unsqueeze(1) - 1 - arange(ids_BS.shape[1], device: ids_BS.device).unsqueeze(0);
        return where(at_BS.ge(0), ids_BS.gather(1, at_BS.clamp_min(0)), ids_BS);
    }
}

/// <summary>Writes the target.</summary>
internal abstract class RnnDecoder(string name) : nn.Module(name)
{
    /// <summary>The output layer; null: the model has it.</summary>
    public abstract Linear? Out { get; }

    /// <summary>Turns the encoder's last states into the decoder's first.</summary>
    public abstract void Begin(DecoderState state, ComputeType compute);

    /// <summary>T positions, [B, T, …] for the output layer.</summary>
    public abstract Tensor forward(DecoderState state, Tensor target_BT, IActivationSink? sink, ComputeType compute);

    /// <summary>softmax over the source positions that are no padding.</summary>
    internal static Tensor Softmax(Tensor scores_BS, Tensor padding_BS) => scores_BS.masked_fill(padding_BS, float.NegativeInfinity).softmax(-1);
}

/// <summary>Bahdanau's decoder (appendix A.2), and the same with one context for all positions (Cho).</summary>
internal sealed class BahdanauDecoder : RnnDecoder
{
    private readonly Embedding embedding;
    private readonly Linear init, @out, U_o, V_o, C_o;
    private readonly GRUCell cell;
    private readonly AdditiveAttention? attention;
    private readonly RnnConfig config;

    public BahdanauDecoder(RnnConfig config, Device device) : base("BahdanauDecoder")
    {
        this.config = config;
        var source = 2 * config.Hidden;
        embedding = nn.Embedding(config.TargetVocabSize, config.Embed, device: device);
        init = nn.Linear(config.Hidden, config.DecoderHidden, device: device);
        attention = config.HasAttention ? new(config.DecoderHidden, source, config.Attention, device) : null;
        cell = nn.GRUCell(config.Embed + source, config.DecoderHidden, device: device);
        U_o = nn.Linear(config.DecoderHidden, 2 * config.Maxout, hasBias: false, device: device);
        V_o = nn.Linear(config.Embed, 2 * config.Maxout, hasBias: false, device: device);
        C_o = nn.Linear(source, 2 * config.Maxout, hasBias: false, device: device);
        @out = nn.Linear(config.Maxout, config.TargetVocabSize, device: device);
        RegisterComponents();
    }

    public override Linear? Out => @out;

    /// <summary>s₀ = tanh(W_s h←₁): from the backward state, which stands at the first word.</summary>
    public override void Begin(DecoderState state, ComputeType compute)
    {
        var h_BLH = state["h"];
        state["s"] = init.forward(h_BLH.select(1, 1)).tanh();
        if (attention is null) state["context"] = cat([h_BLH.select(1, 0), h_BLH.select(1, 1)], -1);
        else state["keys"] = attention.Keys(state["source"], compute);
    }

    // What does not depend on the state before is done for all positions at once: the inputs' share of the gates, and the output layer.
    public override Tensor forward(DecoderState state, Tensor target_BT, IActivationSink? sink, ComputeType compute)
    {
        var y_BTE = this.Drop(EmbeddingLookup.Of(embedding.weight!, target_BT), config.Dropout);
        var (steps, e) = ((int)target_BT.shape[1], config.Embed);
        var (fromInput, fromContext) = (cell.weight_ih!.narrow(1, 0, e), cell.weight_ih.narrow(1, e, cell.weight_ih!.shape[1] - e));
        var gates_BTG = Projection.OutIn(y_BTE, fromInput, cell.bias_ih, compute).to(ScalarType.Float32);
        var fixedGates_BG = attention is null ? Projection.OutIn(state["context"], fromContext, null, compute).to(ScalarType.Float32) : null;
        var (s_BD, states, contexts, weights) = (state["s"], new List<Tensor>(), new List<Tensor>(), new List<Tensor>());
        var isFused = sink is null && is_grad_enabled() && Simd.Takes(s_BD);
        var shared = new AdditiveAttentionKernel.Shared();
        for (var t = 0; t < steps; t++)
        {
            Tensor c_BC, gates_BG;
            if (attention is null) (c_BC, gates_BG) = (state["context"], fixedGates_BG!);
            else
            {
                if (isFused) c_BC = attention.Fused(s_BD, state["keys"], state["source"], state["padding"], shared, t == 0, compute);
                else
                {
                    (c_BC, var a_BS) = attention.forward(s_BD, state["keys"], state["source"], state["padding"], compute);
                    if (sink is not null) weights.Add(a_BS);
                }
                gates_BG = Projection.OutIn(c_BC, fromContext, null, compute).to(ScalarType.Float32);
            }
            var before = s_BD;
            s_BD = GruKernels.Step(gates_BTG.select(1, t) + gates_BG, Projection.OutIn(s_BD, cell.weight_hh!, cell.bias_hh, compute), s_BD);
            states.Add(config.Readout == "s" ? s_BD : before);
            contexts.Add(c_BC);
        }
        if (weights.Count > 0) sink!.Attention(0, stack(weights, 1).unsqueeze(1));
        var t_BTM = Projection.OutIn(stack(states, 1), U_o.weight!, null, compute).to(ScalarType.Float32) + Projection.OutIn(y_BTE, V_o.weight!, null, compute) + Projection.OutIn(stack(contexts, 1), C_o.weight!, null, compute);
        state["s"] = s_BD;
        return this.Drop(t_BTM.view(t_BTM.shape[0], steps, config.Maxout, 2).amax([3L]), config.Dropout);   // maxout over neighbours
    }
}

/// <summary>e_j = vᵀ tanh(W s + U h_j), a = softmax(e), c = Σ a_j h_j (Bahdanau, section 3.1 and appendix A.1.2).</summary>
internal sealed class AdditiveAttention : nn.Module
{
    private readonly Linear W, U, v;

    public AdditiveAttention(long state, long source, long width, Device device) : base("AdditiveAttention")
    {
        W = nn.Linear(state, width, hasBias: false, device: device);
        U = nn.Linear(source, width, hasBias: false, device: device);
        v = nn.Linear(width, 1, hasBias: false, device: device);
        RegisterComponents();
    }

    /// <summary>U h_j of every source position, once a sentence.</summary>
    public Tensor Keys(Tensor source_BSC, ComputeType compute) => Projection.OutIn(source_BSC, U.weight!, null, compute).to(ScalarType.Float32);

    /// <summary>The context alone, where gradients are wanted.</summary>
    public Tensor Fused(Tensor s_BD, Tensor keys_BSA, Tensor source_BSC, Tensor padding_BS, AdditiveAttentionKernel.Shared shared, bool isFirst, ComputeType compute) =>
        AdditiveAttentionKernel.Apply(Projection.OutIn(s_BD, W.weight!, null, compute).to(ScalarType.Float32), keys_BSA, v.weight!, source_BSC, padding_BS, shared, isFirst);

    public (Tensor Context_BC, Tensor Weights_BS) forward(Tensor s_BD, Tensor keys_BSA, Tensor source_BSC, Tensor padding_BS, ComputeType compute)
    {
        var query_BA = Projection.OutIn(s_BD, W.weight!, null, compute).to(ScalarType.Float32);
        var e_BS = (query_BA.unsqueeze(1) + keys_BSA).tanh().matmul(v.weight!.t()).squeeze(-1);
        var a_BS = RnnDecoder.Softmax(e_BS, padding_BS);
        return (a_BS.unsqueeze(1).bmm(source_BSC).squeeze(1), a_BS);
    }
}

/// <summary>Stacked layers that go on from the encoder's states: Sutskever's, or Luong's with attention and input feeding.</summary>
internal sealed class StackedDecoder : RnnDecoder
{
    private readonly Embedding embedding;
    private readonly nn.Module rnn;
    private readonly Linear? W_a, W_c, @out;
    private readonly RnnConfig config;

    public StackedDecoder(RnnConfig config, Device device) : base("StackedDecoder")
    {
        this.config = config;
        var (h, input) = (config.Hidden, config.Embed + (config.HasAttention ? config.Hidden : 0));
        embedding = nn.Embedding(config.TargetVocabSize, config.Embed, device: device);
        rnn = config.Cell == "gru" ? nn.GRU(input, h, config.Layers, batchFirst: true, device: device) : nn.LSTM(input, h, config.Layers, batchFirst: true, device: device);
        if (config.HasAttention)
        {
            if (config.Kind == "luong_general") W_a = nn.Linear(h, h, hasBias: false, device: device);
            W_c = nn.Linear(2 * h, h, hasBias: false, device: device);
            @out = nn.Linear(h, config.TargetVocabSize, device: device);
        }
        RegisterComponents();
    }

    public override Linear? Out => @out;

    public override void Begin(DecoderState state, ComputeType compute)
    {
        if (!config.HasAttention) return;
        // h_t · W_a h_s: the source's share once a sentence.
        state["keys"] = W_a is null ? state["source"].alias() : Projection.OutIn(state["source"], W_a.weight!, null, compute).to(ScalarType.Float32);
        state["fed"] = zeros(state["h"].shape[0], config.Hidden, device: state["h"].device);
    }

    public override Tensor forward(DecoderState state, Tensor target_BT, IActivationSink? sink, ComputeType compute)
    {
        var y_BTE = this.Drop(EmbeddingLookup.Of(embedding.weight!, target_BT), config.Dropout);
        if (!config.HasAttention) return this.Drop(Run(state, y_BTE), config.Dropout);
        var (fed_BH, states, weights) = (state["fed"], new List<Tensor>(), new List<Tensor>());
        for (var t = 0; t < target_BT.shape[1]; t++)
        {
            var h_BH = Run(state, cat([y_BTE.select(1, t), fed_BH], -1).unsqueeze(1)).squeeze(1);
            var a_BS = Softmax(state["keys"].bmm(h_BH.unsqueeze(2)).squeeze(2), state["padding"]);
            var c_BH = a_BS.unsqueeze(1).bmm(state["source"]).squeeze(1);
            fed_BH = Projection.OutIn(cat([c_BH, h_BH], -1), W_c!.weight!, null, compute).to(ScalarType.Float32).tanh();   // equation 5
            states.Add(fed_BH);
            if (sink is not null) weights.Add(a_BS);
        }
        if (weights.Count > 0) sink!.Attention(0, stack(weights, 1).unsqueeze(1));
        state["fed"] = fed_BH;
        return this.Drop(stack(states, 1), config.Dropout);
    }

    // The layers over some positions; the states stay in the state, row first.
    private Tensor Run(DecoderState state, Tensor x_BTI)
    {
        var h_LBH = state["h"].transpose(0, 1).contiguous();
        Tensor y, h;
        if (rnn is LSTM lstm)
        {
            // oneDNN's kernel for inference is wrong on Zen 5 (with AVX-512; right with AVX2 and on Zen 4): the one that keeps what a backward pass needs is right everywhere.
            Tensor c;
            var isInference = !is_grad_enabled();
            using (enable_grad()) (y, h, c) = lstm.call(x_BTI, (h_LBH, state["c"].transpose(0, 1).contiguous()));
            if (isInference) (y, h, c) = (y.detach(), h.detach(), c.detach());
            state["c"] = c.transpose(0, 1);
        }
        else (y, h) = ((GRU)rnn).call(x_BTI, h_LBH);
        state["h"] = h.transpose(0, 1);
        return y;
    }
}
