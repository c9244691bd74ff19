// GPT-2: Radford, Wu, Child, Luan, Amodei, Sutskever 2019, "Language Models are Unsupervised Multitask Learners".
// Shapes: B batch, T query positions, S key positions, C width, H heads, d head width, F inner width, V vocabulary, N layers.
using System.Text.Json;
using System.Text.Json.Nodes;
using System.Text.Json.Serialization;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace Lect.Models;

/// <summary>GPT-2's config.json under its own names; unknown keys are kept.</summary>
public sealed record Gpt2Config
{
    /// <summary>V. <value>50257: GPT-2's byte-level BPE.</value></summary>
    public int VocabSize { get; init; } = 50257;
    /// <summary>The most positions. <value>1024, section 2.3.</value></summary>
    public int NPositions { get; init; } = 1024;
    /// <summary>C. <value>768: the 117M model of table 2.</value></summary>
    public int NEmbd { get; init; } = 768;
    /// <summary>N. <value>12, table 2.</value></summary>
    public int NLayer { get; init; } = 12;
    /// <summary>H. <value>12, as GPT-1.</value></summary>
    public int NHead { get; init; } = 12;
    /// <summary>F; null: 4 C.</summary>
    public int? NInner { get; init; }
    /// <summary><c>gelu_new</c> (tanh form), <c>gelu</c> (erf), <c>relu</c>, <c>silu</c>.</summary>
    public string ActivationFunction { get; init; } = "gelu_new";
    /// <summary>Dropout of what is added to the residual stream.</summary>
    public double ResidPdrop { get; init; } = 0.1;
    /// <summary>Dropout of the embeddings.</summary>
    public double EmbdPdrop { get; init; } = 0.1;
    /// <summary>Dropout of attention weights.</summary>
    public double AttnPdrop { get; init; } = 0.1;
    /// <summary>Added to the variance in layer norms.</summary>
    public double LayerNormEpsilon { get; init; } = 1e-5;
    /// <summary>Standard deviation of new weights; residual projections get it divided by sqrt(2 N) (section 2.3).</summary>
    public double InitializerRange { get; init; } = 0.02;
    /// <summary>Whether scores are divided by sqrt(d).</summary>
    public bool ScaleAttnWeights { get; init; } = true;
    /// <summary>Whether scores are divided by layer + 1 as well.</summary>
    public bool ScaleAttnByInverseLayerIdx { get; init; }
    /// <summary>fp32 scores inside half precision; changes nothing in fp32.</summary>
    public bool ReorderAndUpcastAttn { get; init; }
    /// <summary>Whether the output layer is the embedding matrix; GPT-2's always is.</summary>
    public bool TieWordEmbeddings { get; init; } = true;
    /// <summary>Id that begins a text.</summary>
    public JsonNode? BosTokenId { get; init; } = 50256;
    /// <summary>Id (or ids) that end a text.</summary>
    public JsonNode? EosTokenId { get; init; } = 50256;
    /// <summary>Id of padding.</summary>
    public int? PadTokenId { get; init; }
    /// <summary>Everything else in the file.</summary>
    [JsonExtensionData] public Dictionary<string, JsonElement>? Rest { get; init; }

    internal int Inner => NInner ?? 4 * NEmbd;

    /// <summary>Checks what the constructor relies on; reports all faults together.</summary>
    /// <exception cref="InvalidDataException">A value that cannot be honoured.</exception>
    public Gpt2Config Validate()
    {
        var faults = new List<string>();
        if (NHead < 1 || NEmbd % NHead != 0) faults.Add($"n_embd = {NEmbd} is no multiple of n_head = {NHead}");
        if (VocabSize < 1 || NPositions < 1 || NLayer < 1 || Inner < 1) faults.Add($"vocab_size = {VocabSize}, n_positions = {NPositions}, n_layer = {NLayer}, n_inner = {Inner}: expected all at least 1");
        if (Activations.Of(ActivationFunction) is null) faults.Add($"activation_function = '{ActivationFunction}': expected gelu_new, gelu, relu or silu");
        if (!TieWordEmbeddings) faults.Add("tie_word_embeddings = false: GPT-2's output layer is its embedding matrix");
        if (Rest?.TryGetValue("add_cross_attention", out var cross) == true && cross.ValueKind == JsonValueKind.True) faults.Add("add_cross_attention = true: a decoder of an encoder-decoder is not supported");
        return faults.Count == 0 ? this : throw new InvalidDataException("GPT-2's config.json cannot be honoured: " + string.Join("; ", faults) + ".");
    }
}

/// <summary>GPT-2 with its language-model head, or one score a label (Hugging Face's GPT2LMHeadModel, GPT2ForSequenceClassification).</summary>
public sealed class Gpt2 : CausalLanguageModel
{
    private readonly Gpt2Model transformer;

    /// <summary>A model with new weights, all zero until <see cref="CausalLanguageModel.Initialize"/> or a checkpoint fills them.</summary>
    /// <param name="config">Sizes.</param>
    /// <param name="device">Where; <c>torch.META</c> to count parameters without allocating them.</param>
    /// <param name="isClassifier">A score a label instead of the language model.</param>
    public Gpt2(Gpt2Config config, Device? device = null, bool isClassifier = false) : base(isClassifier ? "GPT2ForSequenceClassification" : "GPT2LMHeadModel")
    {
        Config = config.Validate();
        transformer = new Gpt2Model(config, device ?? CPU);
        if (isClassifier) AddScore(config.NEmbd, device ?? CPU);
        RegisterComponents();
        this.OwnParameters();
    }

    /// <summary>Its configuration.</summary>
    public Gpt2Config Config { get; }
    /// <inheritdoc/>
    public override long VocabularySize => Config.VocabSize;
    /// <inheritdoc/>
    public override long ContextLength => Config.NPositions;
    /// <inheritdoc/>
    public override int LayerCount => Config.NLayer;
    /// <inheritdoc/>
    public override long KeyWidth => Config.NEmbd;
    /// <inheritdoc/>
    public override Tensor Embeddings => transformer.wte.weight!;
    /// <inheritdoc/>
    public override Tensor HeadWeight => transformer.wte.weight!;
    /// <inheritdoc/>
    public override JsonObject ConfigJson => ModelConfig.Write(Config, "gpt2", GetName());

    private protected override Tensor Forward(DecoderPass pass) => transformer.forward(pass);

    private protected override double InitializerRange => Config.InitializerRange;
    private protected override bool IsResidual(string key) => key.EndsWith("c_proj.weight", StringComparison.Ordinal);
}

/// <summary>The decoder without a head.</summary>
internal sealed class Gpt2Model : nn.Module
{
    internal readonly Embedding wte, wpe;
    private readonly ModuleList<Gpt2Block> h;
    private readonly LayerNorm ln_f;
    private readonly Gpt2Config config;

    public Gpt2Model(Gpt2Config config, Device device) : base("GPT2Model")
    {
        this.config = config;
        wte = nn.Embedding(config.VocabSize, config.NEmbd, device: device);
        wpe = nn.Embedding(config.NPositions, config.NEmbd, device: device);
        h = new([.. Enumerable.Range(0, config.NLayer).Select(layer => new Gpt2Block(config, layer, device))]);
        ln_f = new(config.NEmbd, config.LayerNormEpsilon, device);
        RegisterComponents();
    }

    public Tensor forward(DecoderPass pass)
    {
        var x_BTC = this.Drop(EmbeddingLookup.Of(wte.weight!, pass.Ids) + EmbeddingLookup.Of(wpe.weight!, pass.Positions), config.EmbdPdrop);
        for (var layer = 0; layer < h.Count; layer++)
        {
            pass.Tell(layer, x_BTC);
            x_BTC = h[layer].forward(x_BTC, pass);
        }
        x_BTC = ln_f.forward(x_BTC);
        pass.Tell(h.Count, x_BTC);
        return x_BTC;
    }
}

/// <summary>One layer: x + attention(norm(x)), then x + mlp(norm(x)) (section 2.3: the norm comes first).</summary>
internal sealed class Gpt2Block : nn.Module
{
    private readonly LayerNorm ln_1, ln_2;
    private readonly Gpt2Attention attn;
    private readonly Gpt2Mlp mlp;
    private readonly double dropout;

    public Gpt2Block(Gpt2Config config, int layer, Device device) : base("GPT2Block")
    {
        ln_1 = new(config.NEmbd, config.LayerNormEpsilon, device);
        attn = new(config, layer, device);
        ln_2 = new(config.NEmbd, config.LayerNormEpsilon, device);
        mlp = new(config, device);
        dropout = config.ResidPdrop;
        RegisterComponents();
    }

    public Tensor forward(Tensor x_BTC, DecoderPass pass)
    {
        x_BTC = this.AddDropped(x_BTC, attn.forward(ln_1.forward(x_BTC, pass.Compute), pass), dropout);
        return this.AddDropped(x_BTC, mlp.forward(ln_2.forward(x_BTC, pass.Compute), pass.Compute), dropout);
    }
}

/// <summary>Masked multi-head self-attention with one projection for queries, keys and values.</summary>
internal sealed class Gpt2Attention : nn.Module
{
    private readonly Conv1D c_attn, c_proj;
    private readonly int heads, layer;
    private readonly double scale, dropout;

    public Gpt2Attention(Gpt2Config config, int layer, Device device) : base("GPT2Attention")
    {
        c_attn = new(config.NEmbd, 3 * config.NEmbd, device);
        c_proj = new(config.NEmbd, config.NEmbd, device);
        (heads, this.layer, dropout) = (config.NHead, layer, config.AttnPdrop);
        scale = (config.ScaleAttnWeights ? 1 / Math.Sqrt(config.NEmbd / config.NHead) : 1) / (config.ScaleAttnByInverseLayerIdx ? layer + 1 : 1);
        RegisterComponents();
    }

    public Tensor forward(Tensor x_BTC, DecoderPass pass)
    {
        var (b, t, c) = (x_BTC.shape[0], x_BTC.shape[1], x_BTC.shape[2]);
        var qkv = c_attn.forward(x_BTC, pass.Compute).view(b, t, 3, heads, c / heads).permute(2, 0, 3, 1, 4).unbind(0);   // each [B, H, T, d]
        var (q, k, v) = (qkv[0], qkv[1], qkv[2]);
        return c_proj.forward(pass.Attend(layer, q, k, v, scale, training ? dropout : 0), pass.Compute);
    }
}

/// <summary>Two projections with a non-linearity between them.</summary>
internal sealed class Gpt2Mlp : nn.Module
{
    private readonly Conv1D c_fc, c_proj;
    private readonly Func<Tensor, Tensor> activation;

    public Gpt2Mlp(Gpt2Config config, Device device) : base("GPT2MLP")
    {
        c_fc = new(config.NEmbd, config.Inner, device);
        c_proj = new(config.Inner, config.NEmbd, device);
        activation = Activations.Of(config.ActivationFunction)!;
        RegisterComponents();
    }

    public Tensor forward(Tensor x_BTC, ComputeType compute) => c_proj.forward(activation(c_fc.forward(x_BTC, compute)), compute);
}
