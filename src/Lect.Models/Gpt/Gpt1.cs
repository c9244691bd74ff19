// GPT-1: Radford, Narasimhan, Salimans, Sutskever 2018, "Improving Language Understanding by Generative Pre-Training".
// Attention and feed-forward are GPT-2's (Gpt2.cs); the norm comes behind each of them, after the residual is added, and there is none at the end.
// Shapes: B batch, T query positions, C width, V vocabulary, N layers.
using System.Text.Json;
using System.Text.Json.Nodes;
using System.Text.Json.Serialization;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace Lect.Models;

/// <summary>GPT-1's config.json under its own names; unknown keys are kept.</summary>
public sealed record Gpt1Config
{
    /// <summary>V. <value>40478: 40,000 merges (section 4.1), characters and the unknown token</value></summary>
    public int VocabSize { get; init; } = 40478;
    /// <summary>The most positions. <value>512, section 4.1</value></summary>
    public int NPositions { get; init; } = 512;
    /// <summary>C. <value>768, section 4.1</value></summary>
    public int NEmbd { get; init; } = 768;
    /// <summary>N. <value>12, section 4.1</value></summary>
    public int NLayer { get; init; } = 12;
    /// <summary>H. <value>12, section 4.1</value></summary>
    public int NHead { get; init; } = 12;
    /// <summary><c>gelu</c>, which means the tanh form here; <c>relu</c>, <c>silu</c>.</summary>
    public string Afn { get; init; } = "gelu";
    /// <summary>Dropout of what is added to the stream. <value>0.1, section 4.1</value></summary>
    public double ResidPdrop { get; init; } = 0.1;
    /// <summary>Dropout of the embeddings. <value>0.1, section 4.1</value></summary>
    public double EmbdPdrop { get; init; } = 0.1;
    /// <summary>Dropout of attention weights. <value>0.1, section 4.1</value></summary>
    public double AttnPdrop { get; init; } = 0.1;
    /// <summary>Added to the variance in layer norms.</summary>
    public double LayerNormEpsilon { get; init; } = 1e-5;
    /// <summary>Standard deviation of new weights. <value>0.02, section 4.1</value></summary>
    public double InitializerRange { get; init; } = 0.02;
    /// <summary>Dropout before the head that chooses. <value>0.1, section 4.1</value></summary>
    public double SummaryFirstDropout { get; init; } = 0.1;
    /// <summary>Whether the output layer is the embedding matrix; GPT-1's always is.</summary>
    public bool TieWordEmbeddings { get; init; } = true;
    /// <summary>Id that begins a text.</summary>
    public JsonNode? BosTokenId { get; init; }
    /// <summary>Id (or ids) that end a text.</summary>
    public JsonNode? EosTokenId { get; init; }
    /// <summary>Id of padding.</summary>
    public int? PadTokenId { get; init; }
    /// <summary>Ours: pairs are read in both orders and their scores added (similarity, figure 1).</summary>
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingDefault)] public bool BothOrders { get; init; }
    /// <summary>Ours: id of the token between two texts.</summary>
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingDefault)] public int? DelimiterTokenId { get; init; }
    /// <summary>Everything else in the file.</summary>
    [JsonExtensionData] public Dictionary<string, JsonElement>? Rest { get; init; }

    /// <summary>What the parts that GPT-2 took over read.</summary>
    internal Gpt2Config Parts => new() { VocabSize = VocabSize, NPositions = NPositions, NEmbd = NEmbd, NLayer = NLayer, NHead = NHead, ActivationFunction = Afn == "gelu" ? "gelu_new" : Afn, AttnPdrop = AttnPdrop, LayerNormEpsilon = LayerNormEpsilon };

    /// <summary>Checks what the constructor relies on; reports all faults together.</summary>
    /// <exception cref="InvalidDataException">A value that cannot be honoured.</exception>
    public Gpt1Config Validate()
    {
        var faults = new List<string>();
        if (new[] { VocabSize, NPositions, NEmbd, NLayer, NHead }.Min() < 1) faults.Add("found a size below 1");
        else if (NEmbd % NHead != 0) faults.Add($"n_embd = {NEmbd} is no multiple of n_head = {NHead}");
        if (Activations.Of(Afn) is null) faults.Add($"afn = '{Afn}': expected gelu, relu or silu");
        if (!TieWordEmbeddings) faults.Add("tie_word_embeddings = false: GPT-1's output layer is its embedding matrix");
        foreach (var (key, expected) in (ReadOnlySpan<(string, string)>)[("summary_type", "cls_index"), ("summary_use_proj", "True"), ("summary_proj_to_labels", "True"), ("summary_activation", "")])
            if (Rest?.TryGetValue(key, out var value) == true && value.ToString() != expected) faults.Add($"{key} = {value}: expected {(expected.Length == 0 ? "null" : expected.ToLowerInvariant())}");
        return faults.Count == 0 ? this : throw new InvalidDataException($"openai-gpt's config.json cannot be honoured: {string.Join("; ", faults)}.");
    }
}

/// <summary>What a GPT-1 has besides its language model (section 3.2).</summary>
public enum Gpt1Head
{
    /// <summary>Nothing (OpenAIGPTLMHeadModel).</summary>
    LanguageModel,
    /// <summary>A score a label at the extract token, the last one (OpenAIGPTForSequenceClassification).</summary>
    Classification,
    /// <summary>A score a choice at the extract token (OpenAIGPTDoubleHeadsModel).</summary>
    MultipleChoice,
}

/// <summary>GPT-1 with its language model, and for fine-tuning a second head at the last token.</summary>
public sealed class Gpt1 : CausalLanguageModel
{
    private readonly Gpt1Model transformer;
    private readonly Gpt1Summary? multiple_choice_head;

    /// <summary>A model with new weights, all zero until <see cref="CausalLanguageModel.Initialize"/> or a checkpoint fills them.</summary>
    /// <param name="config">Sizes, and <c>id2label</c>.</param>
    /// <param name="head">What it has besides its language model.</param>
    /// <param name="device">Where; <c>torch.META</c> to count parameters without allocating them.</param>
    public Gpt1(Gpt1Config config, Gpt1Head head = Gpt1Head.LanguageModel, Device? device = null) : base(ClassOf(head))
    {
        (Config, Task) = (config.Validate(), head);
        transformer = new(config, device ?? CPU);
        if (head == Gpt1Head.Classification) AddScore(config.NEmbd, device ?? CPU);
        if (head == Gpt1Head.MultipleChoice) multiple_choice_head = new(config, device ?? CPU);
        RegisterComponents();
        this.OwnParameters();
    }

    /// <summary>Its configuration.</summary>
    public Gpt1Config Config { get; }
    /// <summary>Its second head.</summary>
    public Gpt1Head Task { get; }
    /// <inheritdoc/>
    public override long VocabularySize => Config.VocabSize;
    /// <inheritdoc cref="CausalLanguageModel.ContextLength"/>
    public override long ContextLength => Config.NPositions;
    /// <inheritdoc/>
    public override int LayerCount => Config.NLayer;
    /// <inheritdoc/>
    public override long KeyWidth => Config.NEmbd;
    /// <inheritdoc/>
    public override Tensor Embeddings => transformer.tokens_embed.weight!;
    /// <inheritdoc/>
    public override Tensor HeadWeight => transformer.tokens_embed.weight!;
    /// <inheritdoc/>
    public override JsonObject ConfigJson => ModelConfig.Write(Config, "openai-gpt", ClassOf(Task));
    private protected override double InitializerRange => Config.InitializerRange;
    private protected override bool IsResidual(string key) => false;   // smaller ones came with GPT-2

    internal static string ClassOf(Gpt1Head head) => head switch { Gpt1Head.Classification => "OpenAIGPTForSequenceClassification", Gpt1Head.MultipleChoice => "OpenAIGPTDoubleHeadsModel", _ => "OpenAIGPTLMHeadModel" };

    private protected override Tensor Forward(DecoderPass pass) => transformer.forward(pass);

    /// <summary>The token embeddings' and layers' parameters by depth: 0 are the embeddings, i + 1 layer i; the second head is null.</summary>
    public static int? DepthOf(string key)
    {
        const string Layer = "transformer.h.";
        return key.StartsWith(Layer, StringComparison.Ordinal) ? int.Parse(key[Layer.Length..].Split('.')[0], System.Globalization.CultureInfo.InvariantCulture) + 1 : key.StartsWith("transformer.", StringComparison.Ordinal) ? 0 : null;
    }

    /// <summary>The second head's scores of the extract tokens' activations, [N, C] to [N, labels], or [N, 1] where it chooses (equation 3).</summary>
    public override Tensor ScoresOf(Tensor hidden) => multiple_choice_head?.forward(hidden) ?? base.ScoresOf(this.Drop(hidden, Config.SummaryFirstDropout));
}

/// <summary>The decoder without a head.</summary>
internal sealed class Gpt1Model : nn.Module
{
    internal readonly Embedding tokens_embed, positions_embed;
    private readonly ModuleList<Gpt1Block> h;
    private readonly double dropout;

    public Gpt1Model(Gpt1Config config, Device device) : base("OpenAIGPTModel")
    {
        tokens_embed = nn.Embedding(config.VocabSize, config.NEmbd, device: device);
        positions_embed = nn.Embedding(config.NPositions, config.NEmbd, device: device);
        h = new([.. Enumerable.Range(0, config.NLayer).Select(layer => new Gpt1Block(config, layer, device))]);
        dropout = config.EmbdPdrop;
        RegisterComponents();
    }

    public Tensor forward(DecoderPass pass)
    {
        var x_BTC = this.Drop(EmbeddingLookup.Of(tokens_embed.weight!, pass.Ids) + EmbeddingLookup.Of(positions_embed.weight!, pass.Positions), dropout);
        pass.Tell(0, x_BTC);
        for (var layer = 0; layer < h.Count; layer++)
        {
            x_BTC = h[layer].forward(x_BTC, pass);
            pass.Tell(layer + 1, x_BTC);
        }
        return x_BTC;
    }
}

/// <summary>One layer: norm(x + attention(x)), then norm(x + mlp(x)).</summary>
internal sealed class Gpt1Block : nn.Module
{
    private readonly Gpt2Attention attn;
    private readonly LayerNorm ln_1, ln_2;
    private readonly Gpt2Mlp mlp;
    private readonly double dropout;

    public Gpt1Block(Gpt1Config config, int layer, Device device) : base("OpenAIGPTBlock")
    {
        LayerNorm Norm() => new(config.NEmbd, config.LayerNormEpsilon, device);
        (attn, ln_1, mlp, ln_2, dropout) = (new(config.Parts, layer, device), Norm(), new(config.Parts, device), Norm(), config.ResidPdrop);
        RegisterComponents();
    }

    public Tensor forward(Tensor x_BTC, DecoderPass pass)
    {
        x_BTC = ln_1.OfSum(x_BTC, attn.forward(x_BTC, pass), dropout);
        return ln_2.OfSum(x_BTC, mlp.forward(x_BTC, pass.Compute), dropout);
    }
}

/// <summary>The head that scores a choice at its extract token.</summary>
internal sealed class Gpt1Summary : nn.Module
{
    private readonly Linear summary;
    private readonly double dropout;

    public Gpt1Summary(Gpt1Config config, Device device) : base("OpenAIGPTSequenceSummary")
    {
        (summary, dropout) = (nn.Linear(config.NEmbd, 1, device: device), config.SummaryFirstDropout);
        RegisterComponents();
    }

    public Tensor forward(Tensor x_NC) => summary.forward(this.Drop(x_NC, dropout));
}
