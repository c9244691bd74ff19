// Marian's translation models (Junczys-Dowmunt et al. 2018) as Hugging Face publishes them (Helsinki-NLP/opus-mt-*): the Transformer of Vaswani et al. 2017 in post-norm, with a bias of its own behind the output layer.
// Shapes: B rows, S source positions, T target positions, C width (d_model), H heads, d = C / H, V vocabulary.
using System.Text.Json;
using System.Text.Json.Nodes;
using System.Text.Json.Serialization;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace Lect.Models;

/// <summary>config.json of a Marian model (model_type <c>marian</c>); names and defaults are Hugging Face's.</summary>
public sealed record MarianConfig
{
    /// <summary>V of the source side (of both where they share it). <value>58101</value></summary>
    public int VocabSize { get; init; } = 58101;
    /// <summary>V of the target side; absent: that of the source.</summary>
    public int? DecoderVocabSize { get; init; }
    /// <summary>C. <value>1024</value></summary>
    public int DModel { get; init; } = 1024;
    /// <summary>Layers of the encoder. <value>12</value></summary>
    public int EncoderLayers { get; init; } = 12;
    /// <summary>H of the encoder. <value>16</value></summary>
    public int EncoderAttentionHeads { get; init; } = 16;
    /// <summary>Inner width of the encoder. <value>4096</value></summary>
    public int EncoderFfnDim { get; init; } = 4096;
    /// <summary>Layers of the decoder. <value>12</value></summary>
    public int DecoderLayers { get; init; } = 12;
    /// <summary>H of the decoder. <value>16</value></summary>
    public int DecoderAttentionHeads { get; init; } = 16;
    /// <summary>Inner width of the decoder. <value>4096</value></summary>
    public int DecoderFfnDim { get; init; } = 4096;
    /// <summary><c>swish</c> (or <c>silu</c>), <c>relu</c>, <c>gelu</c> (erf), <c>gelu_new</c> (tanh). <value>gelu</value></summary>
    public string ActivationFunction { get; init; } = "gelu";
    /// <summary>Embeddings times sqrt(C).</summary>
    public bool ScaleEmbedding { get; init; }
    /// <summary>One matrix for both sides' embeddings. <value>true</value></summary>
    public bool ShareEncoderDecoderEmbeddings { get; init; } = true;
    /// <summary>The output layer is the target's embedding matrix. <value>true</value></summary>
    public bool TieWordEmbeddings { get; init; } = true;
    /// <summary>Positions at most. <value>1024</value></summary>
    public int MaxPositionEmbeddings { get; init; } = 1024;
    /// <summary>Dropout of the residual stream. <value>0.1</value></summary>
    public double Dropout { get; init; } = 0.1;
    /// <summary>Dropout of attention weights.</summary>
    public double AttentionDropout { get; init; }
    /// <summary>Dropout of the inner layers.</summary>
    public double ActivationDropout { get; init; }
    /// <summary>Whole layers left out by chance while training; only 0 is supported.</summary>
    public double EncoderLayerdrop { get; init; }
    /// <summary>The same of the decoder.</summary>
    public double DecoderLayerdrop { get; init; }
    /// <summary>Id of padding. <value>58100</value></summary>
    public int PadTokenId { get; init; } = 58100;
    /// <summary>Id that ends a source and a target.</summary>
    public int EosTokenId { get; init; }
    /// <summary>Id that begins a target. <value>58100</value></summary>
    public int DecoderStartTokenId { get; init; } = 58100;
    /// <summary>Whatever else the file says, kept.</summary>
    [JsonExtensionData]
    public Dictionary<string, JsonElement>? Other { get; init; }

    internal int TargetVocabSize => DecoderVocabSize ?? VocabSize;

    /// <summary>Checks what the constructor relies on; reports all faults together.</summary>
    /// <exception cref="InvalidDataException">A value that cannot be honoured.</exception>
    public MarianConfig Validate()
    {
        var faults = new List<string>();
        if (new[] { VocabSize, TargetVocabSize, DModel, EncoderLayers, EncoderAttentionHeads, EncoderFfnDim, DecoderLayers, DecoderAttentionHeads, DecoderFfnDim, MaxPositionEmbeddings }.Min() < 1) faults.Add("found a size below 1");
        else if (DModel % EncoderAttentionHeads != 0 || DModel % DecoderAttentionHeads != 0) faults.Add($"d_model = {DModel} is no multiple of encoder_attention_heads = {EncoderAttentionHeads} and decoder_attention_heads = {DecoderAttentionHeads}");
        if (ActivationFunction is not ("swish" or "silu" or "relu" or "gelu" or "gelu_new")) faults.Add($"activation_function = '{ActivationFunction}': expected swish, silu, relu, gelu or gelu_new");
        if (ShareEncoderDecoderEmbeddings && TargetVocabSize != VocabSize) faults.Add($"decoder_vocab_size = {TargetVocabSize} with shared embeddings of vocab_size = {VocabSize}");
        if (EncoderLayerdrop != 0 || DecoderLayerdrop != 0) faults.Add("encoder_layerdrop and decoder_layerdrop: only 0 is supported");
        if (new[] { Dropout, AttentionDropout, ActivationDropout }.Any(p => p is < 0 or >= 1)) faults.Add("dropout, attention_dropout, activation_dropout: expected at least 0 and less than 1");
        if ((uint)PadTokenId >= (uint)VocabSize || (uint)DecoderStartTokenId >= (uint)TargetVocabSize || (uint)EosTokenId >= (uint)Math.Min(VocabSize, TargetVocabSize)) faults.Add("pad_token_id, eos_token_id or decoder_start_token_id outside the vocabulary");
        return faults.Count == 0 ? this : throw new InvalidDataException("Marian's configuration cannot be honoured: " + string.Join("; ", faults) + ".");
    }
}

/// <summary>A Marian translation model; keys are those of Hugging Face's MarianMTModel.</summary>
public sealed class Marian : EncoderDecoder
{
    private readonly MarianStacks model;
    private readonly Linear? lm_head;

    /// <param name="config">Sizes.</param>
    /// <param name="device">Where.</param>
    public Marian(MarianConfig config, Device? device = null) : base("MarianMTModel")
    {
        Config = config.Validate();
        model = new(config, device ?? CPU);
        lm_head = config.TieWordEmbeddings ? null : nn.Linear(config.DModel, config.TargetVocabSize, hasBias: false, device: device ?? CPU);
        RegisterComponents();
        register_buffer("final_logits_bias", zeros(1, config.TargetVocabSize, device: device ?? CPU));
        this.OwnParameters();
    }

    /// <summary>Its configuration.</summary>
    public MarianConfig Config { get; }
    /// <inheritdoc/>
    public override long SourceVocabularySize => Config.VocabSize;
    /// <inheritdoc/>
    public override long TargetVocabularySize => Config.TargetVocabSize;
    /// <inheritdoc/>
    public override long ContextLength => Config.MaxPositionEmbeddings;
    /// <inheritdoc/>
    public override int PadId => Config.PadTokenId;
    /// <inheritdoc/>
    public override int BosId => Config.DecoderStartTokenId;
    /// <inheritdoc/>
    public override int EosId => Config.EosTokenId;
    /// <inheritdoc/>
    public override JsonObject ConfigJson => ModelConfig.Write(Config, "marian", "MarianMTModel");
    /// <inheritdoc/>
    public override Tensor HeadWeight => lm_head?.weight ?? model.TargetEmbeddings;
    /// <inheritdoc/>
    public override Tensor? HeadBias => get_buffer("final_logits_bias")!.view(-1);

    /// <summary>Matrices N(0, 0.02²), biases 0, norms 1 (Hugging Face's init_std).</summary>
    public override void Initialize(long seed)
    {
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        using var generator = Seeds.Generator(seed, "init");
        foreach (var (key, parameter) in named_parameters())
            if (parameter.dim() > 1) parameter.normal_(0, 0.02, generator);
            else parameter.fill_(key.EndsWith("norm.weight", StringComparison.Ordinal) ? 1 : 0);
    }

    /// <inheritdoc/>
    public override DecoderState Encode(Tensor source_BS, IActivationSink? sink = null)
    {
        Fit(source_BS.shape[1]);
        var state = new DecoderState();
        using var scope = NewDisposeScope();
        state["real"] = source_BS.ne(Config.PadTokenId);
        state["source"] = model.encoder.forward(model.Embed(source_BS, model.SourceEmbeddings, 0), state["real"].unsqueeze(1).unsqueeze(1), sink, Compute);
        return state;
    }

    /// <inheritdoc/>
    public override Tensor Decode(DecoderState state, Tensor target_BT, IActivationSink? attention = null)
    {
        Fit(state.Length + target_BT.shape[1]);
        using var scope = NewDisposeScope();
        var hidden_BTC = model.decoder.forward(model.Embed(target_BT, model.TargetEmbeddings, state.Length), state, attention, Compute);
        state.Length += target_BT.shape[1];
        return hidden_BTC.MoveToOuterDisposeScope();
    }

    private void Fit(long length)
    {
        if (length > Config.MaxPositionEmbeddings) throw new InvalidDataException($"Found a side of {length} tokens. Expected at most {Config.MaxPositionEmbeddings}, the model's positions.");
    }

    /// <inheritdoc/>
    protected override void Dispose(bool disposing)
    {
        if (disposing) model.Positions.Dispose();
        base.Dispose(disposing);
    }

    /// <summary>Both stacks and their embeddings.</summary>
    private sealed class MarianStacks : nn.Module
    {
        public readonly MarianEncoder encoder;
        public readonly MarianDecoder decoder;
        private readonly Embedding? shared;
        private readonly MarianConfig config;

        public MarianStacks(MarianConfig config, Device device) : base("MarianModel")
        {
            this.config = config;
            encoder = new(config, device);
            decoder = new(config, device);
            shared = config.ShareEncoderDecoderEmbeddings ? nn.Embedding(config.VocabSize, config.DModel, device: device) : null;
            RegisterComponents();
            // Behind the registration, which would take it for a buffer of the checkpoint.
            using (NewDisposeScope()) Positions = SinusoidalPositions.Marian(config.MaxPositionEmbeddings, config.DModel).to(device).DetachFromDisposeScope();
        }

        public Tensor Positions { get; }
        public Tensor SourceEmbeddings => (shared ?? encoder.Embeddings!).weight!;
        public Tensor TargetEmbeddings => (shared ?? decoder.Embeddings!).weight!;

        public Tensor Embed(Tensor ids_BT, Tensor weight_VC, long past)
        {
            var x_BTC = EmbeddingLookup.Of(weight_VC, ids_BT, config.PadTokenId);
            if (config.ScaleEmbedding) x_BTC *= Math.Sqrt(config.DModel);
            return this.Drop(x_BTC + Positions.narrow(0, past, ids_BT.shape[1]), config.Dropout);
        }
    }

    private sealed class MarianEncoder : nn.Module
    {
        private readonly Embedding? embed_tokens;
        private readonly ModuleList<MarianEncoderLayer> layers;

        public MarianEncoder(MarianConfig config, Device device) : base("MarianEncoder")
        {
            embed_tokens = config.ShareEncoderDecoderEmbeddings ? null : nn.Embedding(config.VocabSize, config.DModel, device: device);
            layers = new([.. Enumerable.Range(0, config.EncoderLayers).Select(_ => new MarianEncoderLayer(config, device))]);
            RegisterComponents();
        }

        public Embedding? Embeddings => embed_tokens;

        public Tensor forward(Tensor x_BSC, Tensor mask, IActivationSink? sink, ComputeType compute)
        {
            sink?.Hidden(0, x_BSC);
            for (var i = 0; i < layers.Count; i++)
            {
                var layer = i;
                x_BSC = layers[i].forward(x_BSC, mask, sink is null ? null : p => sink.Attention(layer, p), compute);
                sink?.Hidden(i + 1, x_BSC);
            }
            return x_BSC;
        }
    }

    private sealed class MarianDecoder : nn.Module
    {
        private readonly Embedding? embed_tokens;
        private readonly ModuleList<MarianDecoderLayer> layers;

        public MarianDecoder(MarianConfig config, Device device) : base("MarianDecoder")
        {
            embed_tokens = config.ShareEncoderDecoderEmbeddings ? null : nn.Embedding(config.TargetVocabSize, config.DModel, device: device);
            layers = new([.. Enumerable.Range(0, config.DecoderLayers).Select(i => new MarianDecoderLayer(config, i, device))]);
            RegisterComponents();
        }

        public Embedding? Embeddings => embed_tokens;

        public Tensor forward(Tensor x_BTC, DecoderState state, IActivationSink? sink, ComputeType compute)
        {
            sink?.Hidden(0, x_BTC);
            for (var i = 0; i < layers.Count; i++)
            {
                x_BTC = layers[i].forward(x_BTC, state, sink, compute);
                sink?.Hidden(i + 1, x_BTC);
            }
            return x_BTC;
        }
    }

    /// <summary>A sub-layer's place in the residual stream: norm(x + f(x)).</summary>
    private abstract class MarianLayer(MarianConfig config, string name) : nn.Module(name)
    {
        protected Tensor Residual(Tensor x, Tensor fx, LayerNorm norm) => norm.OfSum(x, fx, config.Dropout);

        protected Tensor FeedForward(Tensor x, Linear fc1, Linear fc2, ComputeType compute)
        {
            var inner = Projection.OutIn(x, fc1.weight!, fc1.bias, compute);
            return Projection.OutIn(this.Drop(Activations.Of(config.ActivationFunction)!(inner), config.ActivationDropout), fc2.weight!, fc2.bias, compute);
        }
    }

    private sealed class MarianEncoderLayer : MarianLayer
    {
        private readonly MarianAttention self_attn;
        private readonly Linear fc1, fc2;
        private readonly LayerNorm self_attn_layer_norm, final_layer_norm;

        public MarianEncoderLayer(MarianConfig config, Device device) : base(config, "MarianEncoderLayer")
        {
            self_attn = new(config, config.EncoderAttentionHeads, device);
            (fc1, fc2) = (nn.Linear(config.DModel, config.EncoderFfnDim, device: device), nn.Linear(config.EncoderFfnDim, config.DModel, device: device));
            (self_attn_layer_norm, final_layer_norm) = (new(config.DModel, 1e-5, device), new(config.DModel, 1e-5, device));
            RegisterComponents();
        }

        public Tensor forward(Tensor x_BSC, Tensor mask, Action<Tensor>? watch, ComputeType compute)
        {
            var (q, k, v) = self_attn.QueriesKeysValues(x_BSC, compute);
            x_BSC = Residual(x_BSC, self_attn.Attend(q, k, v, mask, watch, compute), self_attn_layer_norm);
            return Residual(x_BSC, FeedForward(x_BSC, fc1, fc2, compute), final_layer_norm);
        }
    }

    private sealed class MarianDecoderLayer : MarianLayer
    {
        private readonly MarianAttention self_attn, encoder_attn;
        private readonly Linear fc1, fc2;
        private readonly LayerNorm self_attn_layer_norm, encoder_attn_layer_norm, final_layer_norm;
        private readonly int layer;

        public MarianDecoderLayer(MarianConfig config, int layer, Device device) : base(config, "MarianDecoderLayer")
        {
            this.layer = layer;
            (self_attn, encoder_attn) = (new(config, config.DecoderAttentionHeads, device), new(config, config.DecoderAttentionHeads, device));
            (fc1, fc2) = (nn.Linear(config.DModel, config.DecoderFfnDim, device: device), nn.Linear(config.DecoderFfnDim, config.DModel, device: device));
            (self_attn_layer_norm, encoder_attn_layer_norm, final_layer_norm) = (new(config.DModel, 1e-5, device), new(config.DModel, 1e-5, device), new(config.DModel, 1e-5, device));
            RegisterComponents();
        }

        public Tensor forward(Tensor x_BTC, DecoderState state, IActivationSink? sink, ComputeType compute)
        {
            var (queries, keys, values) = self_attn.QueriesKeysValues(x_BTC, compute);
            (keys, values) = state.Extend(layer, keys, values, keep: !training);
            x_BTC = Residual(x_BTC, self_attn.Attend(queries, keys, values, null, sink is null ? null : p => sink.Attention(layer, p), compute), self_attn_layer_norm);
            (keys, values) = state.OfSource(layer, () => encoder_attn.KeysValues(state["source"], compute));
            x_BTC = Residual(x_BTC, encoder_attn.Attend(encoder_attn.Queries(x_BTC, compute), keys, values, state["real"].unsqueeze(1).unsqueeze(1), sink is null ? null : p => sink.Attention(-1 - layer, p), compute), encoder_attn_layer_norm);
            return Residual(x_BTC, FeedForward(x_BTC, fc1, fc2, compute), final_layer_norm);
        }
    }

    private sealed class MarianAttention : nn.Module
    {
        private readonly Linear k_proj, v_proj, q_proj, out_proj;
        private readonly MarianConfig config;
        private readonly int heads;

        public MarianAttention(MarianConfig config, int heads, Device device) : base("MarianAttention")
        {
            (this.config, this.heads) = (config, heads);
            Linear New() => nn.Linear(config.DModel, config.DModel, device: device);
            (k_proj, v_proj, q_proj, out_proj) = (New(), New(), New(), New());
            RegisterComponents();
        }

        public (Tensor Q, Tensor K, Tensor V) QueriesKeysValues(Tensor x_BTC, ComputeType compute)
        {
            var parts = Attention.Heads(x_BTC, heads, compute, q_proj, k_proj, v_proj);
            return (parts[0], parts[1], parts[2]);
        }

        public Tensor Queries(Tensor x_BTC, ComputeType compute) => Attention.Heads(x_BTC, heads, compute, q_proj)[0];

        public (Tensor K, Tensor V) KeysValues(Tensor x_BSC, ComputeType compute)
        {
            var parts = Attention.Heads(x_BSC, heads, compute, k_proj, v_proj);
            return (parts[0], parts[1]);
        }

        public Tensor Attend(Tensor q, Tensor k, Tensor v, Tensor? mask, Action<Tensor>? watch, ComputeType compute)
        {
            var y_BHTd = Attention.ScaledDotProduct(q, k, v, mask, 1 / Math.Sqrt(config.DModel / heads), training ? config.AttentionDropout : 0, watch);
            return Projection.OutIn(Attention.Merge(y_BHTd), out_proj.weight!, out_proj.bias, compute);
        }
    }
}
