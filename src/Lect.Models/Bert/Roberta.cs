// RoBERTa: Liu et al. 2019, "RoBERTa: A Robustly Optimized BERT Pretraining Approach": BERT's layers without next-sentence prediction, positions counted behind the padding's id.
using System.Text.Json.Nodes;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace Lect.Models;

/// <summary>RoBERTa with one of its heads (Hugging Face's RobertaModel, RobertaForMaskedLM, RobertaForSequenceClassification, …).</summary>
public sealed class Roberta : EncoderModel
{
    private readonly BertModel roberta;
    private readonly RobertaLanguageModelHead? lm_head;
    private readonly nn.Module? classifier;
    private readonly Linear? qa_outputs;

    /// <summary>A model with new weights, all zero until <see cref="EncoderModel.Initialize"/> or a checkpoint fills them.</summary>
    /// <param name="config">Sizes, and <c>id2label</c>.</param>
    /// <param name="head">What stands on top.</param>
    /// <param name="device">Where.</param>
    /// <exception cref="InvalidDataException">A head that RoBERTa does not have.</exception>
    public Roberta(BertConfig config, EncoderHead head, Device? device = null) : base("Roberta" + head, head)
    {
        if (head is EncoderHead.ForPreTraining or EncoderHead.ForNextSentencePrediction) throw new InvalidDataException("Found a RoBERTa that is to tell the next sentence. Expected BERT: RoBERTa was not trained on it.");
        Config = config.Validate();
        if (ContextLength < 1) throw new InvalidDataException($"RoBERTa's config.json cannot be honoured: max_position_embeddings = {config.MaxPositionEmbeddings} leaves no position behind pad_token_id = {config.PadTokenId}.");
        device ??= CPU;
        roberta = new(config, head is EncoderHead.Model or EncoderHead.ForMultipleChoice, device, config.PadTokenId);
        if (head is EncoderHead.ForMaskedLM) lm_head = new(config, device);
        if (head is EncoderHead.ForSequenceClassification) classifier = new RobertaClassificationHead(config, Labels.Count, device);
        if (head is EncoderHead.ForTokenClassification) classifier = nn.Linear(config.HiddenSize, Labels.Count, device: device);
        if (head is EncoderHead.ForMultipleChoice) classifier = nn.Linear(config.HiddenSize, 1, device: device);
        if (head is EncoderHead.ForQuestionAnswering) qa_outputs = nn.Linear(config.HiddenSize, 2, device: device);
        RegisterComponents();
        this.OwnParameters();
    }

    /// <summary>Its configuration.</summary>
    public BertConfig Config { get; }
    /// <inheritdoc/>
    public override JsonObject ConfigJson => ModelConfig.Write(Config, "roberta", "Roberta" + Head);
    /// <inheritdoc/>
    public override long VocabularySize => Config.VocabSize;
    /// <inheritdoc/>
    public override long ContextLength => Config.MaxPositionEmbeddings - Config.PadTokenId - 1;
    /// <inheritdoc/>
    public override int LayerCount => Config.NumHiddenLayers;
    /// <inheritdoc/>
    public override int PadId => Config.PadTokenId;
    /// <inheritdoc/>
    public override int TypeCount => Config.TypeVocabSize > 1 ? Config.TypeVocabSize : 0;
    /// <inheritdoc/>
    public override Tensor Embeddings => roberta.embeddings.word_embeddings.weight!;
    private protected override Tensor OutputBias => lm_head!.bias;
    /// <inheritdoc/>
    public override int? DepthOf(string key) => DepthOf(key, "roberta.embeddings.", "roberta.encoder.layer.");

    /// <inheritdoc/>
    public override Tensor Hidden(Tensor ids_BT, Tensor? real_BT = null, Tensor? types_BT = null, IActivationSink? sink = null)
    {
        using var scope = NewDisposeScope();
        var counted_BT = ids_BT.ne(Config.PadTokenId).to(ScalarType.Int64);   // from ids, not from the mask
        return roberta.forward(ids_BT, real_BT, types_BT, counted_BT.cumsum(1) * counted_BT + Config.PadTokenId, sink, Compute).MoveToOuterDisposeScope();
    }

    /// <inheritdoc/>
    public override Tensor Output(Tensor hidden_BTC)
    {
        using var scope = NewDisposeScope();
        return (Head switch
        {
            EncoderHead.ForTokenClassification => Project(this.Drop(hidden_BTC, Config.HeadDropout), (Linear)classifier!),
            EncoderHead.ForQuestionAnswering => Project(hidden_BTC, qa_outputs!),
            EncoderHead.ForSequenceClassification => Whole(hidden_BTC.select(1, 0), (RobertaClassificationHead)classifier!),
            EncoderHead.ForMultipleChoice => Project(this.Drop(Project(hidden_BTC.select(1, 0), roberta.pooler!.dense).tanh(), Config.HeadDropout), (Linear)classifier!),
            _ => throw new InvalidOperationException($"{GetName()} has no scores of texts or tokens."),
        }).MoveToOuterDisposeScope();
    }

    private Tensor Whole(Tensor first_BC, RobertaClassificationHead head) => Project(this.Drop(Project(this.Drop(first_BC, Config.HeadDropout), head.dense).tanh(), Config.HeadDropout), head.out_proj);

    private protected override Tensor Transform(Tensor hidden_NC)
    {
        var head = lm_head ?? throw new InvalidOperationException($"{GetName()} does not predict masked tokens.");
        return head.layer_norm.forward(Project(hidden_NC, head.dense).gelu());   // gelu whatever hidden_act says
    }
}

internal sealed class RobertaLanguageModelHead : nn.Module
{
    internal readonly Linear dense;
    internal readonly LayerNorm layer_norm;
    internal readonly Parameter bias;

    public RobertaLanguageModelHead(BertConfig config, Device device) : base("RobertaLMHead")
    {
        (dense, layer_norm, bias) = (nn.Linear(config.HiddenSize, config.HiddenSize, device: device), new(config.HiddenSize, config.LayerNormEps, device), new Parameter(zeros(config.VocabSize, device: device)));
        RegisterComponents();
    }
}

internal sealed class RobertaClassificationHead : nn.Module
{
    internal readonly Linear dense, out_proj;

    public RobertaClassificationHead(BertConfig config, long labels, Device device) : base("RobertaClassificationHead")
    {
        (dense, out_proj) = (nn.Linear(config.HiddenSize, config.HiddenSize, device: device), nn.Linear(config.HiddenSize, labels, device: device));
        RegisterComponents();
    }
}
