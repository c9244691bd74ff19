// BERT: Devlin, Chang, Lee, Toutanova 2019, "BERT: Pre-training of Deep Bidirectional Transformers for Language Understanding".
// Shapes: B rows, T positions, C width, H heads, d = C / H, F inner width, V vocabulary, N layers. Masks: true = may attend.
using System.Text.Json;
using System.Text.Json.Nodes;
using System.Text.Json.Serialization;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace Lect.Models;

/// <summary>BERT's and RoBERTa's config.json under its own names; unknown keys are kept.</summary>
public sealed record BertConfig
{
    /// <summary>V. <value>30522: BERT's uncased WordPiece.</value></summary>
    public int VocabSize { get; init; } = 30522;
    /// <summary>C. <value>768, BERT base (section 3)</value></summary>
    public int HiddenSize { get; init; } = 768;
    /// <summary>N. <value>12, BERT base</value></summary>
    public int NumHiddenLayers { get; init; } = 12;
    /// <summary>H. <value>12, BERT base</value></summary>
    public int NumAttentionHeads { get; init; } = 12;
    /// <summary>F. <value>3072: 4 C</value></summary>
    public int IntermediateSize { get; init; } = 3072;
    /// <summary><c>gelu</c> (erf), <c>gelu_new</c> (tanh form), <c>relu</c>, <c>silu</c>.</summary>
    public string HiddenAct { get; init; } = "gelu";
    /// <summary>Dropout of embeddings and of what is added to the residual stream. <value>0.1 (appendix A.2)</value></summary>
    public double HiddenDropoutProb { get; init; } = 0.1;
    /// <summary>Dropout of attention weights. <value>0.1 (appendix A.2)</value></summary>
    public double AttentionProbsDropoutProb { get; init; } = 0.1;
    /// <summary>Dropout before the head; null: <see cref="HiddenDropoutProb"/>.</summary>
    public double? ClassifierDropout { get; init; }
    /// <summary>The most positions; of RoBERTa two more, since its first is the padding's id + 1.</summary>
    public int MaxPositionEmbeddings { get; init; } = 512;
    /// <summary>Kinds of text: the first and the second.</summary>
    public int TypeVocabSize { get; init; } = 2;
    /// <summary>Standard deviation of new weights.</summary>
    public double InitializerRange { get; init; } = 0.02;
    /// <summary>Added to the variance in layer norms.</summary>
    public double LayerNormEps { get; init; } = 1e-12;
    /// <summary>Id of padding.</summary>
    public int PadTokenId { get; init; }
    /// <summary>Everything else in the file.</summary>
    [JsonExtensionData] public Dictionary<string, JsonElement>? Rest { get; init; }

    internal double HeadDropout => ClassifierDropout ?? HiddenDropoutProb;

    /// <summary>Checks what the constructor relies on; reports all faults together.</summary>
    /// <exception cref="InvalidDataException">A value that cannot be honoured.</exception>
    public BertConfig Validate()
    {
        var faults = new List<string>();
        if (NumAttentionHeads < 1 || HiddenSize % NumAttentionHeads != 0) faults.Add($"hidden_size = {HiddenSize} is no multiple of num_attention_heads = {NumAttentionHeads}");
        if (new[] { VocabSize, HiddenSize, NumHiddenLayers, IntermediateSize, MaxPositionEmbeddings, TypeVocabSize }.Min() < 1) faults.Add("found a size below 1");
        if (Activations.Of(HiddenAct) is null) faults.Add($"hidden_act = '{HiddenAct}': expected gelu, gelu_new, relu or silu");
        if (PadTokenId < 0 || PadTokenId >= VocabSize) faults.Add($"pad_token_id = {PadTokenId}: expected 0 to {VocabSize - 1}");
        foreach (var (key, expected) in new[] { ("position_embedding_type", "absolute"), ("is_decoder", "False"), ("add_cross_attention", "False"), ("tie_word_embeddings", "True") })
            if (Rest?.TryGetValue(key, out var value) == true && value.ToString() != expected) faults.Add($"{key} = {value}: expected {expected.ToLowerInvariant()}");
        return faults.Count == 0 ? this : throw new InvalidDataException("BERT's config.json cannot be honoured: " + string.Join("; ", faults) + ".");
    }
}

/// <summary>BERT with one of its heads (Hugging Face's BertModel, BertForPreTraining, BertForSequenceClassification, …).</summary>
public sealed class Bert : EncoderModel
{
    private readonly BertModel bert;
    private readonly BertPreTrainingHeads? cls;
    private readonly Linear? classifier, qa_outputs;

    /// <summary>A model with new weights, all zero until <see cref="EncoderModel.Initialize"/> or a checkpoint fills them.</summary>
    /// <param name="config">Sizes, and <c>id2label</c>.</param>
    /// <param name="head">What stands on top.</param>
    /// <param name="device">Where; <c>torch.META</c> to count parameters without allocating them.</param>
    public Bert(BertConfig config, EncoderHead head, Device? device = null) : base("Bert" + head, head)
    {
        Config = config.Validate();
        device ??= CPU;
        bert = new(config, head is not (EncoderHead.ForMaskedLM or EncoderHead.ForQuestionAnswering or EncoderHead.ForTokenClassification), device);
        if (head is EncoderHead.ForPreTraining or EncoderHead.ForMaskedLM or EncoderHead.ForNextSentencePrediction) cls = new(config, head, device);
        if (head is EncoderHead.ForSequenceClassification or EncoderHead.ForTokenClassification) classifier = nn.Linear(config.HiddenSize, Labels.Count, device: device);
        if (head is EncoderHead.ForMultipleChoice) classifier = nn.Linear(config.HiddenSize, 1, device: device);
        if (head is EncoderHead.ForQuestionAnswering) qa_outputs = nn.Linear(config.HiddenSize, 2, device: device);
        RegisterComponents();
        this.OwnParameters();
    }

    /// <summary>Its configuration.</summary>
    public BertConfig Config { get; }
    /// <inheritdoc/>
    public override JsonObject ConfigJson => ModelConfig.Write(Config, "bert", "Bert" + Head);
    /// <inheritdoc/>
    public override long VocabularySize => Config.VocabSize;
    /// <inheritdoc/>
    public override long ContextLength => Config.MaxPositionEmbeddings;
    /// <inheritdoc/>
    public override int LayerCount => Config.NumHiddenLayers;
    /// <inheritdoc/>
    public override int PadId => Config.PadTokenId;
    /// <inheritdoc/>
    public override int TypeCount => Config.TypeVocabSize;
    /// <inheritdoc/>
    public override Tensor Embeddings => bert.embeddings.word_embeddings.weight!;
    private protected override Tensor OutputBias => cls!.predictions!.bias;
    /// <inheritdoc/>
    public override int? DepthOf(string key) => DepthOf(key, "bert.embeddings.", "bert.encoder.layer.");

    /// <inheritdoc/>
    public override Tensor Hidden(Tensor ids_BT, Tensor? real_BT = null, Tensor? types_BT = null, IActivationSink? sink = null)
    {
        using var scope = NewDisposeScope();
        var positions_BT = arange(ids_BT.shape[1], device: ids_BT.device).unsqueeze(0);
        return bert.forward(ids_BT, real_BT, types_BT, positions_BT, sink, Compute).MoveToOuterDisposeScope();
    }

    /// <inheritdoc/>
    public override Tensor Output(Tensor hidden_BTC)
    {
        using var scope = NewDisposeScope();
        return (Head switch
        {
            EncoderHead.ForTokenClassification => Project(this.Drop(hidden_BTC, Config.HeadDropout), classifier!),
            EncoderHead.ForQuestionAnswering => Project(hidden_BTC, qa_outputs!),
            EncoderHead.ForSequenceClassification or EncoderHead.ForMultipleChoice => Project(this.Drop(Pooled(hidden_BTC), Config.HeadDropout), classifier!),
            _ => throw new InvalidOperationException($"{GetName()} has no scores of texts or tokens."),
        }).MoveToOuterDisposeScope();
    }

    /// <inheritdoc/>
    public override Tensor NextSentence(Tensor hidden_BTC)
    {
        if (cls?.seq_relationship is not { } next) return base.NextSentence(hidden_BTC);
        using var scope = NewDisposeScope();
        return Project(Pooled(hidden_BTC), next).MoveToOuterDisposeScope();
    }

    // The activation of [CLS] through a layer of its own.
    private Tensor Pooled(Tensor hidden_BTC) => Project(hidden_BTC.select(1, 0), bert.pooler!.dense).tanh();

    private protected override Tensor Transform(Tensor hidden_NC)
    {
        var transform = (cls?.predictions ?? throw new InvalidOperationException($"{GetName()} does not predict masked tokens.")).transform;
        return transform.LayerNorm.forward(Activations.Of(Config.HiddenAct)!(Project(hidden_NC, transform.dense)));
    }
}

/// <summary>Embeddings and layers; RoBERTa's are the same.</summary>
internal sealed class BertModel : nn.Module
{
    internal readonly BertEmbeddings embeddings;
    internal readonly BertDense? pooler;
    private readonly BertEncoder encoder;

    public BertModel(BertConfig config, bool isPooled, Device device, int positionPad = -1) : base("BertModel")
    {
        (embeddings, encoder) = (new(config, positionPad, device), new(config, device));
        if (isPooled) pooler = new(config.HiddenSize, config.HiddenSize, device);
        RegisterComponents();
    }

    public Tensor forward(Tensor ids_BT, Tensor? real_BT, Tensor? types_BT, Tensor positions_BT, IActivationSink? sink, ComputeType compute)
    {
        var x_BTC = embeddings.forward(ids_BT, types_BT, positions_BT);
        var mask_B11S = (real_BT ?? ones_like(ids_BT)).to(ScalarType.Bool).unsqueeze(1).unsqueeze(1);
        sink?.Hidden(0, x_BTC);
        return encoder.forward(x_BTC, mask_B11S, sink, compute);
    }
}

/// <summary>The sum of what a token is, which text it is in, and where it stands; normalized (figure 2).</summary>
internal sealed class BertEmbeddings : nn.Module
{
    internal readonly Embedding word_embeddings;
    private readonly Embedding position_embeddings, token_type_embeddings;
    private readonly LayerNorm LayerNorm;
    private readonly int pad, positionPad;
    private readonly double dropout;

    public BertEmbeddings(BertConfig config, int positionPad, Device device) : base("BertEmbeddings")
    {
        word_embeddings = nn.Embedding(config.VocabSize, config.HiddenSize, device: device);
        position_embeddings = nn.Embedding(config.MaxPositionEmbeddings, config.HiddenSize, device: device);
        token_type_embeddings = nn.Embedding(config.TypeVocabSize, config.HiddenSize, device: device);
        LayerNorm = new(config.HiddenSize, config.LayerNormEps, device);
        (pad, this.positionPad, dropout) = (config.PadTokenId, positionPad, config.HiddenDropoutProb);
        RegisterComponents();
    }

    public Tensor forward(Tensor ids_BT, Tensor? types_BT, Tensor positions_BT)
    {
        var types_BTC = types_BT is null ? token_type_embeddings.weight!.narrow(0, 0, 1) : EmbeddingLookup.Of(token_type_embeddings.weight!, types_BT);
        return this.Drop(LayerNorm.forward(EmbeddingLookup.Of(word_embeddings.weight!, ids_BT, pad) + types_BTC + EmbeddingLookup.Of(position_embeddings.weight!, positions_BT, positionPad)), dropout);
    }
}

internal sealed class BertEncoder : nn.Module
{
    private readonly ModuleList<BertLayer> layer;

    public BertEncoder(BertConfig config, Device device) : base("BertEncoder")
    {
        layer = new([.. Enumerable.Range(0, config.NumHiddenLayers).Select(_ => new BertLayer(config, device))]);
        RegisterComponents();
    }

    public Tensor forward(Tensor x_BTC, Tensor mask_B11S, IActivationSink? sink, ComputeType compute)
    {
        for (var i = 0; i < layer.Count; i++)
        {
            var number = i;
            x_BTC = layer[i].forward(x_BTC, mask_B11S, sink is null ? null : probs => sink.Attention(number, probs), compute);
            sink?.Hidden(i + 1, x_BTC);
        }
        return x_BTC;
    }
}

/// <summary>One layer: norm(x + attention(x)), then norm(x + mlp(x)) (post-norm, as Vaswani et al. 2017).</summary>
internal sealed class BertLayer : nn.Module
{
    private readonly BertAttention attention;
    private readonly BertDense intermediate;
    private readonly BertOutput output;
    private readonly Func<Tensor, Tensor> activation;

    public BertLayer(BertConfig config, Device device) : base("BertLayer")
    {
        (attention, intermediate, output) = (new(config, device), new(config.HiddenSize, config.IntermediateSize, device), new(config, config.IntermediateSize, device));
        activation = Activations.Of(config.HiddenAct)!;
        RegisterComponents();
    }

    public Tensor forward(Tensor x_BTC, Tensor mask, Action<Tensor>? watch, ComputeType compute)
    {
        x_BTC = attention.forward(x_BTC, mask, watch, compute);
        var inner_BTF = activation(Projection.OutIn(x_BTC, intermediate.dense.weight!, intermediate.dense.bias, compute));
        return output.forward(inner_BTF, x_BTC, compute);
    }
}

internal sealed class BertAttention : nn.Module
{
    private readonly BertSelfAttention self;
    private readonly BertOutput output;

    public BertAttention(BertConfig config, Device device) : base("BertAttention")
    {
        (self, output) = (new(config, device), new(config, config.HiddenSize, device));
        RegisterComponents();
    }

    public Tensor forward(Tensor x_BTC, Tensor mask, Action<Tensor>? watch, ComputeType compute) => output.forward(self.forward(x_BTC, mask, watch, compute), x_BTC, compute);
}

/// <summary>Multi-head attention of each position to all real ones.</summary>
internal sealed class BertSelfAttention : nn.Module
{
    private readonly Linear query, key, value;
    private readonly int heads;
    private readonly double dropout;

    public BertSelfAttention(BertConfig config, Device device) : base("BertSelfAttention")
    {
        Linear New() => nn.Linear(config.HiddenSize, config.HiddenSize, device: device);
        (query, key, value) = (New(), New(), New());
        (heads, dropout) = (config.NumAttentionHeads, config.AttentionProbsDropoutProb);
        RegisterComponents();
    }

    public Tensor forward(Tensor x_BTC, Tensor mask, Action<Tensor>? watch, ComputeType compute)
    {
        var qkv = Attention.Heads(x_BTC, heads, compute, query, key, value);
        return Attention.Merge(Attention.ScaledDotProduct(qkv[0], qkv[1], qkv[2], mask, 1 / Math.Sqrt(x_BTC.shape[2] / heads), training ? dropout : 0, watch));
    }
}

/// <summary>A sub-layer's way back into the stream: norm(residual + dropout(W x + b)).</summary>
internal sealed class BertOutput : nn.Module
{
    private readonly Linear dense;
    private readonly LayerNorm LayerNorm;
    private readonly double dropout;

    public BertOutput(BertConfig config, long inputs, Device device) : base("BertOutput")
    {
        (dense, LayerNorm, dropout) = (nn.Linear(inputs, config.HiddenSize, device: device), new(config.HiddenSize, config.LayerNormEps, device), config.HiddenDropoutProb);
        RegisterComponents();
    }

    public Tensor forward(Tensor x, Tensor residual_BTC, ComputeType compute) => LayerNorm.OfSum(residual_BTC, Projection.OutIn(x, dense.weight!, dense.bias, compute), dropout);
}

internal sealed class BertDense : nn.Module
{
    internal readonly Linear dense;

    public BertDense(long inputs, long outputs, Device device) : base("BertDense")
    {
        dense = nn.Linear(inputs, outputs, device: device);
        RegisterComponents();
    }
}

/// <summary>The two heads of pre-training; the vocabulary's layer is the embedding matrix with a bias.</summary>
internal sealed class BertPreTrainingHeads : nn.Module
{
    internal readonly BertPredictions? predictions;
    internal readonly Linear? seq_relationship;

    public BertPreTrainingHeads(BertConfig config, EncoderHead head, Device device) : base("BertPreTrainingHeads")
    {
        if (head != EncoderHead.ForNextSentencePrediction) predictions = new(config, device);
        if (head != EncoderHead.ForMaskedLM) seq_relationship = nn.Linear(config.HiddenSize, 2, device: device);
        RegisterComponents();
    }
}

internal sealed class BertPredictions : nn.Module
{
    internal readonly BertTransform transform;
    internal readonly Parameter bias;

    public BertPredictions(BertConfig config, Device device) : base("BertPredictions")
    {
        (transform, bias) = (new(config, device), new Parameter(zeros(config.VocabSize, device: device)));
        RegisterComponents();
    }
}

internal sealed class BertTransform : nn.Module
{
    internal readonly Linear dense;
    internal readonly LayerNorm LayerNorm;

    public BertTransform(BertConfig config, Device device) : base("BertTransform")
    {
        (dense, LayerNorm) = (nn.Linear(config.HiddenSize, config.HiddenSize, device: device), new(config.HiddenSize, config.LayerNormEps, device));
        RegisterComponents();
    }
}
