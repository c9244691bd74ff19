// GPT-NeoX: Black et al. 2022, "GPT-NeoX-20B: An Open-Source Autoregressive Language Model". Pythia and Dolly-v2 (the lecture's instruction-tuned model) are of this architecture.
// Against GPT-2: attention and feed-forward read the same stream and are added together (section 2.1), rotary positions on a part of each head, an output layer of its own.
// Shapes: B batch, T query positions, S key positions, C width, H heads, d head width, V vocabulary, N layers.
using System.Text.Json;
using System.Text.Json.Nodes;
using System.Text.Json.Serialization;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace Lect.Models;

/// <summary>GPT-NeoX's config.json under its own names; unknown keys are kept.</summary>
public sealed record GptNeoXConfig
{
    /// <summary>V. <value>50432: the 20B model's, padded</value></summary>
    public int VocabSize { get; init; } = 50432;
    /// <summary>C. <value>6144 (table 1)</value></summary>
    public int HiddenSize { get; init; } = 6144;
    /// <summary>N. <value>44 (table 1)</value></summary>
    public int NumHiddenLayers { get; init; } = 44;
    /// <summary>H. <value>64 (table 1)</value></summary>
    public int NumAttentionHeads { get; init; } = 64;
    /// <summary>F. <value>24576: 4 C</value></summary>
    public int IntermediateSize { get; init; } = 24576;
    /// <summary><c>gelu</c> (erf), <c>gelu_new</c> (tanh form), <c>relu</c>, <c>silu</c>.</summary>
    public string HiddenAct { get; init; } = "gelu";
    /// <summary>The most positions. <value>2048</value></summary>
    public int MaxPositionEmbeddings { get; init; } = 2048;
    /// <summary>How positions turn; a quarter of each head by default.</summary>
    public RotaryConfig RopeParameters { get; init; } = new() { PartialRotaryFactor = 0.25 };
    /// <summary>Added to the variance in layer norms.</summary>
    public double LayerNormEps { get; init; } = 1e-5;
    /// <summary>Standard deviation of new weights.</summary>
    public double InitializerRange { get; init; } = 0.02;
    /// <summary>Dropout of attention weights.</summary>
    public double AttentionDropout { get; init; }
    /// <summary>Dropout of what is added to the stream.</summary>
    public double HiddenDropout { get; init; }
    /// <summary>Whether attention and feed-forward read the same stream; else one after the other, as in GPT-2.</summary>
    public bool UseParallelResidual { get; init; } = true;
    /// <summary>Whether attention's projections have biases.</summary>
    public bool AttentionBias { get; init; } = true;
    /// <summary>Whether the output layer is the embedding matrix.</summary>
    public bool TieWordEmbeddings { get; init; }
    /// <summary>Id that begins a text.</summary>
    public JsonNode? BosTokenId { get; init; } = 0;
    /// <summary>Id (or ids) that end a text.</summary>
    public JsonNode? EosTokenId { get; init; } = 2;
    /// <summary>Everything else in the file.</summary>
    [JsonExtensionData] public Dictionary<string, JsonElement>? Rest { get; init; }

    internal int Head => HiddenSize / NumAttentionHeads;

    /// <summary>Checks what the constructor relies on; reports all faults together.</summary>
    /// <exception cref="InvalidDataException">A value that cannot be honoured.</exception>
    public GptNeoXConfig Validate()
    {
        var faults = RopeParameters.Faults().ToList();
        if (new[] { VocabSize, HiddenSize, NumHiddenLayers, NumAttentionHeads, IntermediateSize, MaxPositionEmbeddings }.Min() < 1) faults.Add("found a size below 1");
        else if (HiddenSize % NumAttentionHeads != 0) faults.Add($"hidden_size = {HiddenSize} is no multiple of num_attention_heads = {NumAttentionHeads}");
        else if ((int)(Head * (RopeParameters.PartialRotaryFactor ?? 1)) is var turning && (turning < 2 || turning % 2 != 0)) faults.Add(FormattableString.Invariant($"a head's {Head} elements with partial_rotary_factor = {RopeParameters.PartialRotaryFactor}: expected an even number of at least 2 to turn"));
        if (Activations.Of(HiddenAct) is null) faults.Add($"hidden_act = '{HiddenAct}': expected gelu, gelu_new, gelu_fast, relu or silu");
        return faults.Count == 0 ? this : throw new InvalidDataException($"gpt_neox's config.json cannot be honoured: {string.Join("; ", faults)}.");
    }
}

/// <summary>GPT-NeoX with its language-model head (Hugging Face's GPTNeoXForCausalLM): Pythia, Dolly-v2.</summary>
public sealed class GptNeoX : CausalLanguageModel
{
    private readonly GptNeoXModel gpt_neox;
    private readonly Linear? embed_out;

    /// <summary>A model with new weights, all zero until <see cref="CausalLanguageModel.Initialize"/> or a checkpoint fills them.</summary>
    /// <param name="config">Sizes.</param>
    /// <param name="device">Where; <c>torch.META</c> to count parameters without allocating them.</param>
    /// <param name="isClassifier">A score a label instead of the language model.</param>
    public GptNeoX(GptNeoXConfig config, Device? device = null, bool isClassifier = false) : base(isClassifier ? "GPTNeoXForSequenceClassification" : "GPTNeoXForCausalLM")
    {
        Config = config.Validate();
        gpt_neox = new(config, device ?? CPU);
        if (isClassifier) AddScore(config.HiddenSize, device ?? CPU);
        else if (!config.TieWordEmbeddings) embed_out = nn.Linear(config.HiddenSize, config.VocabSize, hasBias: false, device: device ?? CPU);
        RegisterComponents();
        this.OwnParameters();
    }

    /// <summary>Its configuration.</summary>
    public GptNeoXConfig Config { get; }
    /// <inheritdoc/>
    public override long VocabularySize => Config.VocabSize;
    /// <inheritdoc/>
    public override long ContextLength => Config.RopeParameters.Context(Config.MaxPositionEmbeddings);
    /// <inheritdoc/>
    public override int LayerCount => Config.NumHiddenLayers;
    /// <inheritdoc/>
    public override long KeyWidth => Config.HiddenSize;
    /// <inheritdoc/>
    public override Tensor Embeddings => gpt_neox.embed_in.weight!;
    /// <inheritdoc/>
    public override Tensor HeadWeight => embed_out?.weight ?? gpt_neox.embed_in.weight!;
    /// <inheritdoc/>
    public override JsonObject ConfigJson => ModelConfig.Write(Config, "gpt_neox", GetName());
    private protected override double InitializerRange => Config.InitializerRange;
    private protected override bool IsResidual(string key) => key.EndsWith("attention.dense.weight", StringComparison.Ordinal) || key.EndsWith("dense_4h_to_h.weight", StringComparison.Ordinal);

    private protected override Tensor Forward(DecoderPass pass) => gpt_neox.forward(pass);
}

/// <summary>The decoder without a head.</summary>
internal sealed class GptNeoXModel : nn.Module
{
    internal readonly Embedding embed_in;
    private readonly ModuleList<GptNeoXLayer> layers;
    private readonly LayerNorm final_layer_norm;
    private readonly GptNeoXConfig config;
    private readonly Rotary rotary;

    public GptNeoXModel(GptNeoXConfig config, Device device) : base("GPTNeoXModel")
    {
        this.config = config;
        embed_in = nn.Embedding(config.VocabSize, config.HiddenSize, device: device);
        layers = new([.. Enumerable.Range(0, config.NumHiddenLayers).Select(layer => new GptNeoXLayer(config, layer, device))]);
        final_layer_norm = new(config.HiddenSize, config.LayerNormEps, device);
        rotary = new(config.RopeParameters, config.Head, config.MaxPositionEmbeddings);
        RegisterComponents();
    }

    public Tensor forward(DecoderPass pass)
    {
        var turn = rotary.At(pass.Positions);
        var x_BTC = this.Drop(EmbeddingLookup.Of(embed_in.weight!, pass.Ids), config.HiddenDropout);
        for (var layer = 0; layer < layers.Count; layer++)
        {
            pass.Tell(layer, x_BTC);
            x_BTC = layers[layer].forward(x_BTC, turn, pass);
        }
        x_BTC = final_layer_norm.forward(x_BTC);
        pass.Tell(layers.Count, x_BTC);
        return x_BTC;
    }
}

/// <summary>One layer: x + attention(norm(x)) + mlp(other norm(x)).</summary>
internal sealed class GptNeoXLayer : nn.Module
{
    private readonly LayerNorm input_layernorm, post_attention_layernorm;
    private readonly GptNeoXAttention attention;
    private readonly GptNeoXMlp mlp;
    private readonly GptNeoXConfig config;

    public GptNeoXLayer(GptNeoXConfig config, int layer, Device device) : base("GPTNeoXLayer")
    {
        this.config = config;
        (input_layernorm, post_attention_layernorm) = (new(config.HiddenSize, config.LayerNormEps, device), new(config.HiddenSize, config.LayerNormEps, device));
        (attention, mlp) = (new(config, layer, device), new(config.HiddenSize, config.IntermediateSize, hasBias: true, config.HiddenAct, device));
        RegisterComponents();
    }

    public Tensor forward(Tensor x_BTC, (Tensor, Tensor) turn, DecoderPass pass)
    {
        var attended_BTC = this.AddDropped(x_BTC, attention.forward(input_layernorm.forward(x_BTC, pass.Compute), turn, pass), config.HiddenDropout);
        return this.AddDropped(attended_BTC, mlp.forward(post_attention_layernorm.forward(config.UseParallelResidual ? x_BTC : attended_BTC, pass.Compute), pass.Compute), config.HiddenDropout);
    }
}

/// <summary>Self-attention; the fused projection holds query, key and value of head 0, then of head 1, ….</summary>
internal sealed class GptNeoXAttention : nn.Module
{
    private readonly Dense query_key_value, dense;
    private readonly GptNeoXConfig config;
    private readonly int layer;

    public GptNeoXAttention(GptNeoXConfig config, int layer, Device device) : base("GPTNeoXAttention")
    {
        (this.config, this.layer) = (config, layer);
        (query_key_value, dense) = (new(config.HiddenSize, 3 * config.HiddenSize, config.AttentionBias, device), new(config.HiddenSize, config.HiddenSize, config.AttentionBias, device));
        RegisterComponents();
    }

    public Tensor forward(Tensor x_BTC, (Tensor, Tensor) turn, DecoderPass pass)
    {
        var heads = config.NumAttentionHeads;
        var qkv_BTH3d = query_key_value.forward(x_BTC, pass.Compute).view(x_BTC.shape[0], x_BTC.shape[1], heads, 3, config.Head);
        var (q, k, v) = (Rotary.Heads(qkv_BTH3d.select(3, 0), heads, turn), Rotary.Heads(qkv_BTH3d.select(3, 1), heads, turn), qkv_BTH3d.select(3, 2).transpose(1, 2));
        return dense.forward(pass.Attend(layer, q, k, v, 1 / Math.Sqrt(config.Head), training ? config.AttentionDropout : 0), pass.Compute);
    }
}

/// <summary>Two projections with a non-linearity between them; Falcon's too.</summary>
internal sealed class GptNeoXMlp : nn.Module
{
    private readonly Dense dense_h_to_4h, dense_4h_to_h;
    private readonly Func<Tensor, Tensor> activation;

    public GptNeoXMlp(int width, int inner, bool hasBias, string activation, Device device) : base("GPTNeoXMLP")
    {
        (dense_h_to_4h, dense_4h_to_h) = (new(width, inner, hasBias, device), new(inner, width, hasBias, device));
        this.activation = Activations.Of(activation)!;
        RegisterComponents();
    }

    public Tensor forward(Tensor x_BTC, ComputeType compute) =>
        dense_4h_to_h.forward(activation(dense_h_to_4h.forward(x_BTC, compute)), compute);
}
