// Llama: Touvron et al. 2023, "LLaMA: Open and Efficient Foundation Language Models"; Llama 2 (grouped heads) and 3 (stretched rotary positions). What Mistral, Qwen2 and Qwen3 change stands in their own files.
// Against GPT-2: RMSNorm for LayerNorm, rotary positions in each layer for learned ones at the bottom, SwiGLU for GELU, no biases, key and value heads shared by groups of query heads.
// Shapes: B batch, T query positions, S key positions, C width, H heads, G key heads, d head width, F inner width, V vocabulary, N layers.
using System.Text.Json;
using System.Text.Json.Nodes;
using System.Text.Json.Serialization;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace Lect.Models;

/// <summary>Llama's config.json under its own names; unknown keys are kept.</summary>
public record LlamaConfig
{
    /// <summary>V. <value>32000: Llama 2's SentencePiece vocabulary</value></summary>
    public int VocabSize { get; init; } = 32000;
    /// <summary>C. <value>4096: the 7B model of table 2</value></summary>
    public int HiddenSize { get; init; } = 4096;
    /// <summary>F. <value>11008: two thirds of 4 C, rounded up (section 2.2)</value></summary>
    public int IntermediateSize { get; init; } = 11008;
    /// <summary>N. <value>32, table 2</value></summary>
    public int NumHiddenLayers { get; init; } = 32;
    /// <summary>H. <value>32, table 2</value></summary>
    public int NumAttentionHeads { get; init; } = 32;
    /// <summary>G; null: H.</summary>
    public int? NumKeyValueHeads { get; init; }
    /// <summary>d; null: C / H.</summary>
    public int? HeadDim { get; init; }
    /// <summary><c>silu</c> makes SwiGLU; <c>gelu</c>, <c>gelu_new</c> and <c>relu</c> other gated units of Shazeer's.</summary>
    public string HiddenAct { get; init; } = "silu";
    /// <summary>The most positions. <value>2048</value></summary>
    public int MaxPositionEmbeddings { get; init; } = 2048;
    /// <summary>Standard deviation of new weights.</summary>
    public double InitializerRange { get; init; } = 0.02;
    /// <summary>Added to the mean square in norms.</summary>
    public double RmsNormEps { get; init; } = 1e-6;
    /// <summary>How positions turn.</summary>
    public RotaryConfig RopeParameters { get; init; } = new();
    /// <summary>Whether the output layer is the embedding matrix.</summary>
    public bool TieWordEmbeddings { get; init; }
    /// <summary>Dropout of attention weights.</summary>
    public double AttentionDropout { get; init; }
    /// <summary>Id that begins a text.</summary>
    public JsonNode? BosTokenId { get; init; } = 1;
    /// <summary>Id (or ids) that end a text.</summary>
    public JsonNode? EosTokenId { get; init; } = 2;
    /// <summary>Id of padding; its embedding learns nothing from being looked up.</summary>
    public int? PadTokenId { get; init; }
    /// <summary>Everything else in the file.</summary>
    [JsonExtensionData] public Dictionary<string, JsonElement>? Rest { get; init; }

    internal int KeyHeads => NumKeyValueHeads ?? NumAttentionHeads;
    internal int Head => HeadDim ?? HiddenSize / NumAttentionHeads;

    /// <summary>F of a new model where it is not given: two thirds of 4 C, rounded up to a multiple of 32 (section 2.2).</summary>
    internal static int InnerOf(int width) => ((8 * width / 3) + 31) / 32 * 32;

    /// <summary>config.json's <c>model_type</c>.</summary>
    internal virtual string ModelType => "llama";
    /// <summary>Hugging Face's class.</summary>
    internal virtual string ClassName => "LlamaForCausalLM";
    /// <summary>Whether the projections to queries, keys and values have biases.</summary>
    internal virtual bool InputBias => Is("attention_bias");
    /// <summary>Whether the projection back into the stream has one.</summary>
    internal virtual bool OutputBias => Is("attention_bias");
    /// <summary>Whether the feed-forward projections have biases.</summary>
    internal virtual bool InnerBias => Is("mlp_bias");
    /// <summary>Whether queries and keys are normalized, head by head.</summary>
    internal virtual bool NormsHeads => false;
    /// <summary>Keys that a layer's queries see at most; null: all.</summary>
    internal virtual long? WindowOf(int layer) => null;

    private protected bool Is(string key) => Rest?.TryGetValue(key, out var value) == true && value.ValueKind == JsonValueKind.True;

    /// <summary>Checks what the constructor relies on; reports all faults together.</summary>
    /// <exception cref="InvalidDataException">A value that cannot be honoured.</exception>
    public LlamaConfig Validate()
    {
        var faults = RopeParameters.Faults().ToList();
        if (new[] { VocabSize, HiddenSize, IntermediateSize, NumHiddenLayers, NumAttentionHeads, KeyHeads, MaxPositionEmbeddings }.Min() < 1) faults.Add("found a size below 1");
        else if (NumAttentionHeads % KeyHeads != 0) faults.Add($"num_attention_heads = {NumAttentionHeads} is no multiple of num_key_value_heads = {KeyHeads}");
        else if (HeadDim is null && HiddenSize % NumAttentionHeads != 0) faults.Add($"hidden_size = {HiddenSize} is no multiple of num_attention_heads = {NumAttentionHeads}, and head_dim is not given");
        else if (Head < 1 || (long)(Head * (RopeParameters.PartialRotaryFactor ?? 1)) % 2 != 0) faults.Add($"head_dim = {Head}: expected an even number, rotary positions turn pairs");
        if (Activations.Of(HiddenAct) is null) faults.Add($"hidden_act = '{HiddenAct}': expected silu, gelu, gelu_new or relu");
        if (Rest?.TryGetValue("pretraining_tp", out var parts) == true && parts.ToString() is not ("1" or "")) faults.Add($"pretraining_tp = {parts}: expected 1");
        faults.AddRange(OwnFaults());
        return faults.Count == 0 ? SpeltOut() : throw new InvalidDataException($"{ModelType}'s config.json cannot be honoured: {string.Join("; ", faults)}.");
    }

    private protected virtual IEnumerable<string> OwnFaults() => [];

    /// <summary>With what follows from other keys written down, as Hugging Face saves it.</summary>
    private protected virtual LlamaConfig SpeltOut() => this;
}

/// <summary>Llama, Mistral, Qwen2 or Qwen3 with its language-model head (Hugging Face's LlamaForCausalLM and its kin).</summary>
public sealed class Llama : CausalLanguageModel
{
    private readonly LlamaModel model;
    private readonly Linear? lm_head;

    /// <summary>A model with new weights, all zero until <see cref="CausalLanguageModel.Initialize"/> or a checkpoint fills them.</summary>
    /// <param name="config">Sizes; its kind says which of the four it is.</param>
    /// <param name="device">Where; <c>torch.META</c> to count parameters without allocating them.</param>
    /// <param name="isClassifier">A score a label instead of the language model.</param>
    public Llama(LlamaConfig config, Device? device = null, bool isClassifier = false) : base(isClassifier ? config.ClassName.Replace("ForCausalLM", "ForSequenceClassification", StringComparison.Ordinal) : config.ClassName)
    {
        Config = config.Validate();
        device ??= CPU;
        model = new(config, device);
        if (isClassifier) AddScore(config.HiddenSize, device);
        else if (!config.TieWordEmbeddings) lm_head = nn.Linear(config.HiddenSize, config.VocabSize, hasBias: false, device: device);
        var windows = Enumerable.Range(0, config.NumHiddenLayers).Select(config.WindowOf).ToArray();
        if (windows.Any(w => w is not null)) Windows = windows;
        RegisterComponents();
        this.OwnParameters();
    }

    /// <summary>Its configuration.</summary>
    public LlamaConfig Config { get; }
    /// <inheritdoc/>
    public override long VocabularySize => Config.VocabSize;
    /// <inheritdoc/>
    public override long ContextLength => Config.RopeParameters.Context(Config.MaxPositionEmbeddings);
    /// <inheritdoc/>
    public override int LayerCount => Config.NumHiddenLayers;
    /// <inheritdoc/>
    public override long KeyWidth => Config.KeyHeads * Config.Head;
    /// <inheritdoc/>
    public override IReadOnlyList<long?>? Windows { get; }
    /// <inheritdoc/>
    public override Tensor Embeddings => model.embed_tokens.weight!;
    /// <inheritdoc/>
    public override Tensor HeadWeight => lm_head?.weight ?? model.embed_tokens.weight!;
    /// <inheritdoc/>
    public override JsonObject ConfigJson => ModelConfig.Write(Config, Config.ModelType, GetName());
    private protected override double InitializerRange => Config.InitializerRange;
    private protected override bool IsResidual(string key) => key.EndsWith("o_proj.weight", StringComparison.Ordinal) || key.EndsWith("down_proj.weight", StringComparison.Ordinal);

    private protected override Tensor Forward(DecoderPass pass) => model.forward(pass);
}

/// <summary>The decoder without a head.</summary>
internal sealed class LlamaModel : nn.Module
{
    internal readonly Embedding embed_tokens;
    private readonly ModuleList<LlamaDecoderLayer> layers;
    private readonly RmsNorm norm;
    private readonly LlamaConfig config;
    private readonly Rotary rotary;

    public LlamaModel(LlamaConfig config, Device device) : base("LlamaModel")
    {
        this.config = config;
        embed_tokens = nn.Embedding(config.VocabSize, config.HiddenSize, device: device);
        layers = new([.. Enumerable.Range(0, config.NumHiddenLayers).Select(layer => new LlamaDecoderLayer(config, layer, device))]);
        norm = new(config.HiddenSize, config.RmsNormEps, device);
        rotary = new(config.RopeParameters, config.Head, config.MaxPositionEmbeddings);
        RegisterComponents();
    }

    public Tensor forward(DecoderPass pass)
    {
        var turn = rotary.At(pass.Positions);
        var x_BTC = EmbeddingLookup.Of(embed_tokens.weight!, pass.Ids, config.PadTokenId ?? -1);
        for (var layer = 0; layer < layers.Count; layer++)
        {
            pass.Tell(layer, x_BTC);
            x_BTC = layers[layer].forward(x_BTC, turn, pass);
        }
        x_BTC = norm.forward(x_BTC);
        pass.Tell(layers.Count, x_BTC);
        return x_BTC;
    }
}

/// <summary>One layer: x + attention(norm(x)), then x + mlp(norm(x)).</summary>
internal sealed class LlamaDecoderLayer : nn.Module
{
    private readonly RmsNorm input_layernorm, post_attention_layernorm;
    private readonly LlamaAttention self_attn;
    private readonly LlamaMlp mlp;

    public LlamaDecoderLayer(LlamaConfig config, int layer, Device device) : base("LlamaDecoderLayer")
    {
        (input_layernorm, post_attention_layernorm) = (new(config.HiddenSize, config.RmsNormEps, device), new(config.HiddenSize, config.RmsNormEps, device));
        (self_attn, mlp) = (new(config, layer, device), new(config, device));
        RegisterComponents();
    }

    public Tensor forward(Tensor x_BTC, (Tensor, Tensor) turn, DecoderPass pass)
    {
        x_BTC = this.AddDropped(x_BTC, self_attn.forward(input_layernorm.forward(x_BTC, pass.Compute), turn, pass), 0);
        return this.AddDropped(x_BTC, mlp.forward(post_attention_layernorm.forward(x_BTC, pass.Compute), pass.Compute), 0);
    }
}

/// <summary>Self-attention with rotary positions; G key heads serve H query heads.</summary>
internal sealed class LlamaAttention : nn.Module
{
    private readonly Dense q_proj, k_proj, v_proj, o_proj;
    private readonly RmsNorm? q_norm, k_norm;
    private readonly LlamaConfig config;
    private readonly int layer;

    public LlamaAttention(LlamaConfig config, int layer, Device device) : base("LlamaAttention")
    {
        (this.config, this.layer) = (config, layer);
        Dense Input(int heads) => new(config.HiddenSize, heads * config.Head, config.InputBias, device);
        (q_proj, k_proj, v_proj) = (Input(config.NumAttentionHeads), Input(config.KeyHeads), Input(config.KeyHeads));
        o_proj = new(config.NumAttentionHeads * config.Head, config.HiddenSize, config.OutputBias, device);
        if (config.NormsHeads) (q_norm, k_norm) = (new(config.Head, config.RmsNormEps, device), new(config.Head, config.RmsNormEps, device));
        RegisterComponents();
    }

    public Tensor forward(Tensor x_BTC, (Tensor, Tensor) turn, DecoderPass pass)
    {
        Tensor Project(Dense to) => to.forward(x_BTC, pass.Compute);
        Tensor Turned(Dense to, RmsNorm? norm, int heads)
        {
            var y_BTHd = Project(to).view(x_BTC.shape[0], x_BTC.shape[1], heads, config.Head);
            return Rotary.Heads(norm?.forward(y_BTHd) ?? y_BTHd, heads, turn);
        }
        var (q, k, v) = (Turned(q_proj, q_norm, config.NumAttentionHeads), Turned(k_proj, k_norm, config.KeyHeads), Attention.Split(Project(v_proj), config.KeyHeads));
        return o_proj.forward(pass.Attend(layer, q, k, v, 1 / Math.Sqrt(config.Head), training ? config.AttentionDropout : 0, config.WindowOf(layer)), pass.Compute);
    }
}

/// <summary>SwiGLU: down(silu(gate(x)) up(x)) (section 2.2).</summary>
internal sealed class LlamaMlp : nn.Module
{
    private readonly Dense gate_proj, up_proj, down_proj;
    private readonly Func<Tensor, Tensor, Tensor> gated;

    public LlamaMlp(LlamaConfig config, Device device) : base("LlamaMLP")
    {
        Dense New(int from, int to) => new(from, to, config.InnerBias, device);
        (gate_proj, up_proj, down_proj) = (New(config.HiddenSize, config.IntermediateSize), New(config.HiddenSize, config.IntermediateSize), New(config.IntermediateSize, config.HiddenSize));
        var activation = Activations.Of(config.HiddenAct)!;
        gated = config.HiddenAct is "silu" or "swish" ? SwiGlu.Of : (gate, up) => activation(gate) * up;
        RegisterComponents();
    }

    public Tensor forward(Tensor x_BTC, ComputeType compute)
    {
        return down_proj.forward(gated(gate_proj.forward(x_BTC, compute), up_proj.forward(x_BTC, compute)), compute);
    }
}
