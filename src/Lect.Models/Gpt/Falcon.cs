// Falcon: Almazrouei et al. 2023, "The Falcon Series of Open Language Models". 7B: one key head for all query heads (multi-query, Shazeer 2019); 40B: a key head a group of them.
// Against GPT-NeoX: keys and values shared, no biases in projections, the whole head turns, tied output layer; the 7B kind has one norm for attention and feed-forward. The feed-forward part itself is GPT-NeoX's (GptNeoX.cs).
// Shapes: B batch, T query positions, S key positions, C width, H heads, G key heads, d head width, V vocabulary, N layers.
using System.Text.Json;
using System.Text.Json.Nodes;
using System.Text.Json.Serialization;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace Lect.Models;

/// <summary>Falcon's config.json under its own names; unknown keys are kept.</summary>
public sealed record FalconConfig
{
    /// <summary>V. <value>65024</value></summary>
    public int VocabSize { get; init; } = 65024;
    /// <summary>C. <value>4544: the 7B model</value></summary>
    public int HiddenSize { get; init; } = 4544;
    /// <summary>N. <value>32</value></summary>
    public int NumHiddenLayers { get; init; } = 32;
    /// <summary>H. <value>71</value></summary>
    public int NumAttentionHeads { get; init; } = 71;
    /// <summary>G of the new architecture; null: H.</summary>
    public int? NumKvHeads { get; init; }
    /// <summary>F; null: 4 C.</summary>
    public int? FfnHiddenSize { get; init; }
    /// <summary><c>gelu</c> (erf), <c>gelu_new</c> (tanh form), <c>relu</c>, <c>silu</c>.</summary>
    public string Activation { get; init; } = "gelu";
    /// <summary>The most positions. <value>2048</value></summary>
    public int MaxPositionEmbeddings { get; init; } = 2048;
    /// <summary>How positions turn.</summary>
    public RotaryConfig RopeParameters { get; init; } = new();
    /// <summary>Added to the variance in layer norms.</summary>
    public double LayerNormEpsilon { get; init; } = 1e-5;
    /// <summary>Standard deviation of new weights.</summary>
    public double InitializerRange { get; init; } = 0.02;
    /// <summary>Dropout of attention weights.</summary>
    public double AttentionDropout { get; init; }
    /// <summary>Dropout of what is added to the stream.</summary>
    public double HiddenDropout { get; init; }
    /// <summary>One key head for all query heads.</summary>
    public bool MultiQuery { get; init; } = true;
    /// <summary>Attention and feed-forward read the same stream.</summary>
    public bool ParallelAttn { get; init; } = true;
    /// <summary>Whether projections have biases.</summary>
    public bool Bias { get; init; }
    /// <summary>The 40B kind: grouped key heads, two norms.</summary>
    public bool NewDecoderArchitecture { get; init; }
    /// <summary>Norms of the 40B kind: 2, or 1 for both; null: 2.</summary>
    public int? NumLnInParallelAttn { get; init; }
    /// <summary>Biases by distance instead of rotary positions; not supported.</summary>
    public bool Alibi { get; init; }
    /// <summary>Whether the output layer is the embedding matrix.</summary>
    public bool TieWordEmbeddings { get; init; } = true;
    /// <summary>Id that begins a text.</summary>
    public JsonNode? BosTokenId { get; init; } = 11;
    /// <summary>Id (or ids) that end a text.</summary>
    public JsonNode? EosTokenId { get; init; } = 11;
    /// <summary>Everything else in the file.</summary>
    [JsonExtensionData] public Dictionary<string, JsonElement>? Rest { get; init; }

    internal int Head => HiddenSize / NumAttentionHeads;
    internal int Inner => FfnHiddenSize ?? 4 * HiddenSize;
    internal int KeyHeads => NewDecoderArchitecture ? NumKvHeads ?? NumAttentionHeads : MultiQuery ? 1 : NumAttentionHeads;
    internal bool HasTwoNorms => NewDecoderArchitecture && (NumLnInParallelAttn ?? 2) == 2;
    internal bool IsParallel => NewDecoderArchitecture || ParallelAttn;

    /// <summary>Checks what the constructor relies on; reports all faults together.</summary>
    /// <exception cref="InvalidDataException">A value that cannot be honoured.</exception>
    public FalconConfig Validate()
    {
        var faults = RopeParameters.Faults().ToList();
        if (new[] { VocabSize, HiddenSize, NumHiddenLayers, NumAttentionHeads, KeyHeads, Inner, MaxPositionEmbeddings }.Min() < 1) faults.Add("found a size below 1");
        else if (HiddenSize % NumAttentionHeads != 0 || Head % 2 != 0) faults.Add($"hidden_size = {HiddenSize}, num_attention_heads = {NumAttentionHeads}: expected heads of an even whole width");
        else if (NumAttentionHeads % KeyHeads != 0) faults.Add($"num_attention_heads = {NumAttentionHeads} is no multiple of num_kv_heads = {KeyHeads}");
        if (Alibi) faults.Add("alibi = true: biases by distance are not supported, rotary positions are (falcon-7b, falcon-40b and later)");
        if (NumLnInParallelAttn is not (null or 1 or 2)) faults.Add($"num_ln_in_parallel_attn = {NumLnInParallelAttn}: expected 1, 2 or null");
        if (Activations.Of(Activation) is null) faults.Add($"activation = '{Activation}': expected gelu, gelu_new, relu or silu");
        return faults.Count == 0 ? this : throw new InvalidDataException($"falcon's config.json cannot be honoured: {string.Join("; ", faults)}.");
    }
}

/// <summary>Falcon with its language-model head (Hugging Face's FalconForCausalLM).</summary>
public sealed class Falcon : CausalLanguageModel
{
    private readonly FalconModel transformer;
    private readonly Linear? lm_head;

    /// <summary>A model with new weights, all zero until <see cref="CausalLanguageModel.Initialize"/> or a checkpoint fills them.</summary>
    /// <param name="config">Sizes.</param>
    /// <param name="device">Where; <c>torch.META</c> to count parameters without allocating them.</param>
    /// <param name="isClassifier">A score a label instead of the language model.</param>
    public Falcon(FalconConfig config, Device? device = null, bool isClassifier = false) : base(isClassifier ? "FalconForSequenceClassification" : "FalconForCausalLM")
    {
        Config = config.Validate();
        transformer = new(config, device ?? CPU);
        if (isClassifier) AddScore(config.HiddenSize, device ?? CPU);
        else if (!config.TieWordEmbeddings) lm_head = nn.Linear(config.HiddenSize, config.VocabSize, hasBias: false, device: device ?? CPU);
        RegisterComponents();
        this.OwnParameters();
    }

    /// <summary>Its configuration.</summary>
    public FalconConfig Config { get; }
    /// <inheritdoc/>
    public override long VocabularySize => Config.VocabSize;
    /// <inheritdoc/>
    public override long ContextLength => Config.RopeParameters.Context(Config.MaxPositionEmbeddings);
    /// <inheritdoc/>
    public override int LayerCount => Config.NumHiddenLayers;
    /// <inheritdoc/>
    public override long KeyWidth => Config.KeyHeads * Config.Head;
    /// <inheritdoc/>
    public override Tensor Embeddings => transformer.word_embeddings.weight!;
    /// <inheritdoc/>
    public override Tensor HeadWeight => lm_head?.weight ?? transformer.word_embeddings.weight!;
    /// <inheritdoc/>
    public override JsonObject ConfigJson => ModelConfig.Write(Config, "falcon", GetName());
    private protected override double InitializerRange => Config.InitializerRange;
    private protected override bool IsResidual(string key) => key.EndsWith("self_attention.dense.weight", StringComparison.Ordinal) || key.EndsWith("dense_4h_to_h.weight", StringComparison.Ordinal);

    private protected override Tensor Forward(DecoderPass pass) => transformer.forward(pass);
}

/// <summary>The decoder without a head.</summary>
internal sealed class FalconModel : nn.Module
{
    internal readonly Embedding word_embeddings;
    private readonly ModuleList<FalconDecoderLayer> h;
    private readonly LayerNorm ln_f;
    private readonly Rotary rotary;

    public FalconModel(FalconConfig config, Device device) : base("FalconModel")
    {
        word_embeddings = nn.Embedding(config.VocabSize, config.HiddenSize, device: device);
        h = new([.. Enumerable.Range(0, config.NumHiddenLayers).Select(layer => new FalconDecoderLayer(config, layer, device))]);
        ln_f = new(config.HiddenSize, config.LayerNormEpsilon, device);
        rotary = new(config.RopeParameters, config.Head, config.MaxPositionEmbeddings);
        RegisterComponents();
    }

    public Tensor forward(DecoderPass pass)
    {
        var turn = rotary.At(pass.Positions);
        var x_BTC = EmbeddingLookup.Of(word_embeddings.weight!, pass.Ids);
        for (var layer = 0; layer < h.Count; layer++)
        {
            pass.Tell(layer, x_BTC);
            x_BTC = h[layer].forward(x_BTC, turn, pass);
        }
        x_BTC = ln_f.forward(x_BTC);
        pass.Tell(h.Count, x_BTC);
        return x_BTC;
    }
}

/// <summary>One layer: x + attention(norm(x)) + mlp(norm(x)), of one norm (7B) or two (40B); of the first models the feed-forward comes behind.</summary>
internal sealed class FalconDecoderLayer : nn.Module
{
    private readonly LayerNorm? input_layernorm, post_attention_layernorm, ln_attn, ln_mlp;
    private readonly FalconAttention self_attention;
    private readonly GptNeoXMlp mlp;
    private readonly FalconConfig config;

    public FalconDecoderLayer(FalconConfig config, int layer, Device device) : base("FalconDecoderLayer")
    {
        this.config = config;
        LayerNorm Norm() => new(config.HiddenSize, config.LayerNormEpsilon, device);
        if (config.HasTwoNorms) (ln_attn, ln_mlp) = (Norm(), Norm());
        else input_layernorm = Norm();
        if (!config.IsParallel) post_attention_layernorm = Norm();
        (self_attention, mlp) = (new(config, layer, device), new(config.HiddenSize, config.Inner, config.Bias, config.Activation, device));
        RegisterComponents();
    }

    public Tensor forward(Tensor x_BTC, (Tensor, Tensor) turn, DecoderPass pass)
    {
        var normed_BTC = (ln_attn ?? input_layernorm)!.forward(x_BTC, pass.Compute);
        var attended_BTC = this.AddDropped(x_BTC, self_attention.forward(normed_BTC, turn, pass), config.HiddenDropout);
        return this.AddDropped(attended_BTC, mlp.forward(post_attention_layernorm?.forward(attended_BTC, pass.Compute) ?? ln_mlp?.forward(x_BTC, pass.Compute) ?? normed_BTC, pass.Compute), config.HiddenDropout);
    }
}

/// <summary>Self-attention; the fused projection holds, group by group, the queries, then their key and value (7B: one group; without sharing: each head is one).</summary>
internal sealed class FalconAttention : nn.Module
{
    private readonly Dense query_key_value, dense;
    private readonly FalconConfig config;
    private readonly int layer;

    public FalconAttention(FalconConfig config, int layer, Device device) : base("FalconAttention")
    {
        (this.config, this.layer) = (config, layer);
        query_key_value = new(config.HiddenSize, (config.NumAttentionHeads + 2 * config.KeyHeads) * config.Head, config.Bias, device);
        dense = new(config.HiddenSize, config.HiddenSize, config.Bias, device);
        RegisterComponents();
    }

    public Tensor forward(Tensor x_BTC, (Tensor, Tensor) turn, DecoderPass pass)
    {
        var (b, t, groups, shared) = (x_BTC.shape[0], x_BTC.shape[1], config.KeyHeads, config.NumAttentionHeads / config.KeyHeads);
        var qkv = query_key_value.forward(x_BTC, pass.Compute).view(b, t, groups, shared + 2, config.Head);
        var q = Rotary.Heads(qkv.narrow(3, 0, shared).reshape(b, t, config.NumAttentionHeads, config.Head), config.NumAttentionHeads, turn);
        var (k, v) = (Rotary.Heads(qkv.select(3, shared), groups, turn), qkv.select(3, shared + 1).transpose(1, 2));
        return dense.forward(pass.Attend(layer, q, k, v, 1 / Math.Sqrt(config.Head), training ? config.AttentionDropout : 0), pass.Compute);
    }
}
