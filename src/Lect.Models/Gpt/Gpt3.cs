// GPT-3: Brown et al. 2020, "Language Models are Few-Shot Learners": GPT-2 with "alternating dense and locally banded sparse attention patterns in the layers" (section 2.1; Child et al. 2019).
// The open twin is GPT-Neo (Black et al. 2021), whose published layout and numerics these are: a query of a local layer sees a window of keys; scores are not divided by sqrt(d), and queries,
// keys and values have no biases, where the paper says neither.
// Shapes: B batch, T query positions, S key positions, C width, H heads, d head width, V vocabulary, N layers.
using System.Text.Json;
using System.Text.Json.Nodes;
using System.Text.Json.Serialization;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace Lect.Models;

/// <summary>GPT-Neo's config.json under its own names; unknown keys are kept.</summary>
public sealed record Gpt3Config
{
    /// <summary>V. <value>50257: GPT-2's byte-level BPE (section 2.1)</value></summary>
    public int VocabSize { get; init; } = 50257;
    /// <summary>The most positions. <value>2048, section 2.1</value></summary>
    public int MaxPositionEmbeddings { get; init; } = 2048;
    /// <summary>C. <value>2048: GPT-3 XL, table 2.1</value></summary>
    public int HiddenSize { get; init; } = 2048;
    /// <summary>N. <value>24, table 2.1</value></summary>
    public int NumLayers { get; init; } = 24;
    /// <summary>H. <value>16 (the table's XL has 24 of width 128, which is no 2048)</value></summary>
    public int NumHeads { get; init; } = 16;
    /// <summary>F; null: 4 C.</summary>
    public int? IntermediateSize { get; init; }
    /// <summary>Keys that a query of a local layer sees, itself among them. <value>256</value></summary>
    public int WindowSize { get; init; } = 256;
    /// <summary>Of each layer <c>global</c> or <c>local</c>; null: by <see cref="AttentionTypes"/>.</summary>
    public IReadOnlyList<string>? AttentionLayers { get; init; }
    /// <summary>Groups of kinds and how often each repeats: <c>[[["global", "local"], 12]]</c>; null: alternating.</summary>
    public JsonArray? AttentionTypes { get; init; }
    /// <summary><c>gelu_new</c> (tanh form), <c>gelu</c> (erf), <c>relu</c>, <c>silu</c>.</summary>
    public string ActivationFunction { get; init; } = "gelu_new";
    /// <summary>Dropout of what is added to the stream.</summary>
    public double ResidDropout { get; init; }
    /// <summary>Dropout of the embeddings.</summary>
    public double EmbedDropout { get; init; }
    /// <summary>Dropout of attention weights.</summary>
    public double AttentionDropout { get; init; }
    /// <summary>Added to the variance in layer norms.</summary>
    public double LayerNormEpsilon { get; init; } = 1e-5;
    /// <summary>Standard deviation of new weights.</summary>
    public double InitializerRange { get; init; } = 0.02;
    /// <summary>Whether the output layer is the embedding matrix.</summary>
    public bool TieWordEmbeddings { get; init; } = true;
    /// <summary>Id that begins a text.</summary>
    public JsonNode? BosTokenId { get; init; } = 50256;
    /// <summary>Id (or ids) that end a text.</summary>
    public JsonNode? EosTokenId { get; init; } = 50256;
    /// <summary>Everything else in the file.</summary>
    [JsonExtensionData] public Dictionary<string, JsonElement>? Rest { get; init; }

    internal int Inner => IntermediateSize ?? 4 * HiddenSize;

    /// <summary>The same with both forms of the layers' kinds spelt out.</summary>
    /// <exception cref="InvalidDataException">They contradict each other, or the number of layers.</exception>
    private Gpt3Config WithLayers()
    {
        InvalidDataException Wrong(string found) => new($"gpt_neo's config.json cannot be honoured: {found}. Expected one of 'global' and 'local' for each of num_layers = {NumLayers} layers, as [[[\"global\", \"local\"], {NumLayers / 2}]].");
        var types = AttentionTypes ?? [new JsonArray(new JsonArray("global", "local"), NumLayers / 2), .. NumLayers % 2 == 0 ? (JsonArray[])[] : [new JsonArray(new JsonArray("global"), 1)]];
        List<string> layers;
        try { layers = [.. types.SelectMany(group => Enumerable.Repeat(group![0]!.AsArray(), (int)group[1]!).SelectMany(kinds => kinds.Select(k => (string)k!))).Take(NumLayers + 1)]; }
        catch (Exception e) when (e is InvalidOperationException or FormatException or NullReferenceException or ArgumentOutOfRangeException) { throw Wrong($"attention_types = {types.ToJsonString()}"); }
        if (AttentionTypes is null && AttentionLayers is not null) layers = [.. AttentionLayers];
        if (layers.Count != NumLayers || layers.Any(k => k is not ("global" or "local"))) throw Wrong($"attention_types = {types.ToJsonString()}, which makes {layers.Count} layers");
        if (AttentionLayers is not null && !AttentionLayers.SequenceEqual(layers)) throw Wrong($"attention_layers = {string.Join(", ", AttentionLayers)} beside attention_types = {types.ToJsonString()}");
        return this with { AttentionLayers = layers, AttentionTypes = AttentionTypes is null && AttentionLayers is not null ? [.. layers.Select(k => new JsonArray(new JsonArray(k), 1))] : types };
    }

    /// <summary>Checks what the constructor relies on, and spells out the layers' kinds; reports all faults together.</summary>
    /// <exception cref="InvalidDataException">A value that cannot be honoured.</exception>
    public Gpt3Config Validate()
    {
        var faults = new List<string>();
        if (new[] { VocabSize, MaxPositionEmbeddings, HiddenSize, NumLayers, NumHeads, Inner, WindowSize }.Min() < 1) faults.Add("found a size below 1");
        else if (HiddenSize % NumHeads != 0) faults.Add($"hidden_size = {HiddenSize} is no multiple of num_heads = {NumHeads}");
        if (Activations.Of(ActivationFunction) is null) faults.Add($"activation_function = '{ActivationFunction}': expected gelu_new, gelu, relu or silu");
        return faults.Count == 0 ? WithLayers() : throw new InvalidDataException($"gpt_neo's config.json cannot be honoured: {string.Join("; ", faults)}.");
    }
}

/// <summary>GPT-3 as GPT-Neo published it, with its language-model head (Hugging Face's GPTNeoForCausalLM).</summary>
public sealed class Gpt3 : CausalLanguageModel
{
    private readonly Gpt3Model transformer;
    private readonly Linear? lm_head;

    /// <summary>A model with new weights, all zero until <see cref="CausalLanguageModel.Initialize"/> or a checkpoint fills them.</summary>
    /// <param name="config">Sizes.</param>
    /// <param name="device">Where; <c>torch.META</c> to count parameters without allocating them.</param>
    /// <param name="isClassifier">A score a label instead of the language model.</param>
    public Gpt3(Gpt3Config config, Device? device = null, bool isClassifier = false) : base(isClassifier ? "GPTNeoForSequenceClassification" : "GPTNeoForCausalLM")
    {
        Config = config.Validate();
        transformer = new(Config, device ?? CPU);
        if (isClassifier) AddScore(config.HiddenSize, device ?? CPU);
        else if (!config.TieWordEmbeddings) lm_head = nn.Linear(config.HiddenSize, config.VocabSize, hasBias: false, device: device ?? CPU);
        if (Config.AttentionLayers!.Contains("local")) Windows = [.. Config.AttentionLayers!.Select(k => k == "local" ? (long?)config.WindowSize : null)];
        RegisterComponents();
        this.OwnParameters();
    }

    /// <summary>Its configuration.</summary>
    public Gpt3Config Config { get; }
    /// <inheritdoc/>
    public override long VocabularySize => Config.VocabSize;
    /// <inheritdoc/>
    public override long ContextLength => Config.MaxPositionEmbeddings;
    /// <inheritdoc/>
    public override int LayerCount => Config.NumLayers;
    /// <inheritdoc/>
    public override long KeyWidth => Config.HiddenSize;
    /// <inheritdoc/>
    public override IReadOnlyList<long?>? Windows { get; }
    /// <inheritdoc/>
    public override Tensor Embeddings => transformer.wte.weight!;
    /// <inheritdoc/>
    public override Tensor HeadWeight => lm_head?.weight ?? transformer.wte.weight!;
    /// <inheritdoc/>
    public override JsonObject ConfigJson => ModelConfig.Write(Config, "gpt_neo", GetName());
    private protected override double InitializerRange => Config.InitializerRange;
    private protected override bool IsResidual(string key) => key.EndsWith("out_proj.weight", StringComparison.Ordinal) || key.EndsWith("c_proj.weight", StringComparison.Ordinal);

    private protected override Tensor Forward(DecoderPass pass) => transformer.forward(pass);
}

/// <summary>The decoder without a head.</summary>
internal sealed class Gpt3Model : nn.Module
{
    internal readonly Embedding wte, wpe;
    private readonly ModuleList<Gpt3Block> h;
    private readonly LayerNorm ln_f;
    private readonly Gpt3Config config;

    public Gpt3Model(Gpt3Config config, Device device) : base("GPTNeoModel")
    {
        this.config = config;
        wte = nn.Embedding(config.VocabSize, config.HiddenSize, device: device);
        wpe = nn.Embedding(config.MaxPositionEmbeddings, config.HiddenSize, device: device);
        h = new([.. config.AttentionLayers!.Select((kind, layer) => new Gpt3Block(config, layer, kind == "local" ? config.WindowSize : null, device))]);
        ln_f = new(config.HiddenSize, config.LayerNormEpsilon, device);
        RegisterComponents();
    }

    public Tensor forward(DecoderPass pass)
    {
        var x_BTC = this.Drop(EmbeddingLookup.Of(wte.weight!, pass.Ids) + EmbeddingLookup.Of(wpe.weight!, pass.Positions), config.EmbedDropout);
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

/// <summary>One layer: x + attention(norm(x)), then x + mlp(norm(x)).</summary>
internal sealed class Gpt3Block : nn.Module
{
    private readonly LayerNorm ln_1, ln_2;
    private readonly Gpt3Attention attn;
    private readonly Gpt3Mlp mlp;
    private readonly double dropout;

    public Gpt3Block(Gpt3Config config, int layer, long? window, Device device) : base("GPTNeoBlock")
    {
        LayerNorm Norm() => new(config.HiddenSize, config.LayerNormEpsilon, device);
        (ln_1, ln_2, attn, mlp, dropout) = (Norm(), Norm(), new(config, layer, window, device), new(config, device), config.ResidDropout);
        RegisterComponents();
    }

    public Tensor forward(Tensor x_BTC, DecoderPass pass)
    {
        x_BTC = this.AddDropped(x_BTC, attn.attention.forward(ln_1.forward(x_BTC, pass.Compute), pass), dropout);
        return this.AddDropped(x_BTC, mlp.forward(ln_2.forward(x_BTC, pass.Compute), pass.Compute), dropout);
    }
}

/// <summary>What the checkpoint's keys have between block and attention.</summary>
internal sealed class Gpt3Attention : nn.Module
{
    internal readonly Gpt3SelfAttention attention;

    public Gpt3Attention(Gpt3Config config, int layer, long? window, Device device) : base("GPTNeoAttention")
    {
        attention = new(config, layer, window, device);
        RegisterComponents();
    }
}

/// <summary>Self-attention, dense or within a window; scores are the bare products.</summary>
internal sealed class Gpt3SelfAttention : nn.Module
{
    private readonly Dense q_proj, k_proj, v_proj, out_proj;
    private readonly Gpt3Config config;
    private readonly int layer;
    private readonly long? window;

    public Gpt3SelfAttention(Gpt3Config config, int layer, long? window, Device device) : base("GPTNeoSelfAttention")
    {
        (this.config, this.layer, this.window) = (config, layer, window);
        Dense New(bool bias) => new(config.HiddenSize, config.HiddenSize, bias, device);
        (q_proj, k_proj, v_proj, out_proj) = (New(false), New(false), New(false), New(true));
        RegisterComponents();
    }

    public Tensor forward(Tensor x_BTC, DecoderPass pass)
    {
        Tensor Split(Dense to) => Attention.Split(to.forward(x_BTC, pass.Compute), config.NumHeads);
        var (q, k, v) = (Split(q_proj), Split(k_proj), Split(v_proj));
        return out_proj.forward(pass.Attend(layer, q, k, v, 1, training ? config.AttentionDropout : 0, window), pass.Compute);
    }
}

/// <summary>Two projections with a non-linearity between them.</summary>
internal sealed class Gpt3Mlp : nn.Module
{
    private readonly Dense c_fc, c_proj;
    private readonly Func<Tensor, Tensor> activation;

    public Gpt3Mlp(Gpt3Config config, Device device) : base("GPTNeoMLP")
    {
        (c_fc, c_proj) = (new(config.HiddenSize, config.Inner, hasBias: true, device), new(config.Inner, config.HiddenSize, hasBias: true, device));
        activation = Activations.Of(config.ActivationFunction)!;
        RegisterComponents();
    }

    public Tensor forward(Tensor x_BTC, ComputeType compute) => c_proj.forward(activation(c_fc.forward(x_BTC, compute)), compute);
}
