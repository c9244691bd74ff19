using System.Text.Json.Nodes;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace Lect.Models;

/// <summary>What stands on top of an encoder, by the endings of Hugging Face's class names.</summary>
public enum EncoderHead
{
    /// <summary>Nothing: the activations alone (BertModel).</summary>
    Model,
    /// <summary>Masked tokens and next sentence (Devlin et al. 2019, section 3.1).</summary>
    ForPreTraining,
    /// <summary>Masked tokens.</summary>
    ForMaskedLM,
    /// <summary>Whether the second text follows the first.</summary>
    ForNextSentencePrediction,
    /// <summary>A score a label for the whole sequence; one number for a regression (figure 4 a, b).</summary>
    ForSequenceClassification,
    /// <summary>One score a choice (section 4.4).</summary>
    ForMultipleChoice,
    /// <summary>Where an answer begins and ends (figure 4 c).</summary>
    ForQuestionAnswering,
    /// <summary>A score a label for each token (figure 4 d).</summary>
    ForTokenClassification,
}

/// <summary>A whole sequence of ids to one score a label (or one number).</summary>
public interface ISequenceClassifier : IDisposable
{
    /// <summary>V.</summary>
    long VocabularySize { get; }

    /// <summary>The most positions it was made for.</summary>
    long ContextLength { get; }

    /// <summary>The labels' names, in the order of the logits (config.json's id2label).</summary>
    IReadOnlyList<string> Labels { get; }

    /// <summary>Scores of the labels, [B, labels] fp32, owned by the caller.</summary>
    /// <param name="ids_BT">Token ids, int64 [B, T].</param>
    /// <param name="real_BT">1 = real, 0 = padding; null: all real.</param>
    /// <param name="types_BT">0 for the first text, 1 for the second; null: all of the first. Models without such types read none.</param>
    Tensor Scores(Tensor ids_BT, Tensor? real_BT = null, Tensor? types_BT = null);
}

/// <summary>A bidirectional encoder of BERT's kind with one of its heads. It knows ids, never words.</summary>
public abstract class EncoderModel(string name, EncoderHead head) : nn.Module(name), ISequenceClassifier
{
    /// <summary>What stands on top.</summary>
    public EncoderHead Head => head;

    /// <summary>The configuration, as config.json has it.</summary>
    public abstract JsonObject ConfigJson { get; }

    /// <inheritdoc/>
    public abstract long VocabularySize { get; }

    /// <inheritdoc/>
    public abstract long ContextLength { get; }

    /// <summary>N.</summary>
    public abstract int LayerCount { get; }

    /// <summary>Id of padding.</summary>
    public abstract int PadId { get; }

    /// <summary>Kinds of text that its embeddings tell apart; 0: it reads no types.</summary>
    public abstract int TypeCount { get; }

    /// <summary>C.</summary>
    public long Width => Embeddings.shape[1];

    /// <summary>The precision of matrix products; fp32 unless set. Parameters stay fp32.</summary>
    public ComputeType Compute { get; set; }

    /// <inheritdoc/>
    public IReadOnlyList<string> Labels => ModelConfig.LabelsOf(ConfigJson);

    /// <summary>The token embeddings [V, C], which are the output layer of masked tokens too.</summary>
    public abstract Tensor Embeddings { get; }

    /// <summary>The token embeddings' and layers' parameters by depth, for freezing and for rates by layer: 0 are the embeddings, i + 1 layer i; the head is null.</summary>
    public abstract int? DepthOf(string key);

    private protected static int? DepthOf(string key, string embeddings, string layer) => key.StartsWith(embeddings, StringComparison.Ordinal) ? 0
        : key.StartsWith(layer, StringComparison.Ordinal) ? int.Parse(key[layer.Length..].Split('.')[0], System.Globalization.CultureInfo.InvariantCulture) + 1 : null;

    /// <summary>Final activations.</summary>
    /// <param name="ids_BT">Token ids, int64 [B, T].</param>
    /// <param name="real_BT">1 = real, 0 = padding, int64; null: all real.</param>
    /// <param name="types_BT">0 for the first text, 1 for the second; null: all of the first.</param>
    /// <param name="sink">Watches the pass.</param>
    /// <returns>[B, T, C] fp32, owned by the caller.</returns>
    public abstract Tensor Hidden(Tensor ids_BT, Tensor? real_BT = null, Tensor? types_BT = null, IActivationSink? sink = null);

    /// <summary>The head's scores of final activations: [B, labels] of a sequence classifier, [B, 1] of multiple choice (a row a choice), [B, T, labels] of a tagger, [B, T, 2] of question answering.</summary>
    public abstract Tensor Output(Tensor hidden_BTC);

    /// <summary>[B, 2]: the second text is the next one, or it is not.</summary>
    public virtual Tensor NextSentence(Tensor hidden_BTC) => throw new InvalidOperationException($"{GetName()} does not tell whether a text is the next one.");

    /// <summary>The layer between activations and the vocabulary, of masked positions [N, C].</summary>
    private protected abstract Tensor Transform(Tensor hidden_NC);

    private protected abstract Tensor OutputBias { get; }

    /// <summary>Scores of every token at given positions: [N, C] to [N, V] fp32.</summary>
    public Tensor MaskedLogits(Tensor hidden_NC)
    {
        using var scope = NewDisposeScope();
        return Projection.OutIn(Transform(hidden_NC), Embeddings, OutputBias, Compute).to(ScalarType.Float32).MoveToOuterDisposeScope();
    }

    /// <summary>scale * sum of -log p(label), nats, over given positions [N, C]; labels of -100 count for nothing.</summary>
    public Tensor MaskedLoss(Tensor hidden_NC, Tensor labels_N, double scale)
    {
        using var scope = NewDisposeScope();
        return LinearCrossEntropy.Apply(Transform(hidden_NC), Embeddings, labels_N, scale, Compute, OutputBias).MoveToOuterDisposeScope();
    }

    /// <summary>scale * the sum of the head's losses: -log p(label) of each sequence, choice, tag, or of an answer's two ends (each counts half); (score - label)² where there is one label.</summary>
    /// <param name="hidden_BTC">Final activations; of multiple choice the choices of one example behind each other.</param>
    /// <param name="labels">Int64 [B]: class or choice; fp32 [B]: numbers; int64 [B, T]: tags, -100 where there is none; int64 [B, 2]: first and last token of an answer, T and beyond where there is none.</param>
    /// <param name="scale">Factor of the sum.</param>
    /// <param name="weight">Of each class or tag, fp32; null: all alike.</param>
    public Tensor Loss(Tensor hidden_BTC, Tensor labels, double scale, Tensor? weight = null)
    {
        using var scope = NewDisposeScope();
        var output = Output(hidden_BTC);
        Tensor Entropy(Tensor logits, Tensor gold) => nn.functional.cross_entropy(logits, gold, weight, ignore_index: LinearCrossEntropy.Ignored, reduction: nn.Reduction.Sum);
        var loss = Head switch
        {
            EncoderHead.ForSequenceClassification when Labels.Count == 1 => (output.squeeze(1) - labels).square().sum(),
            EncoderHead.ForSequenceClassification => Entropy(output, labels),
            EncoderHead.ForMultipleChoice => Entropy(output.view(labels.shape[0], -1), labels),
            EncoderHead.ForTokenClassification => Entropy(output.flatten(0, 1), labels.flatten()),
            EncoderHead.ForQuestionAnswering => Entropy(output.transpose(1, 2).flatten(0, 1), labels.masked_fill(labels.ge(output.shape[1]), LinearCrossEntropy.Ignored).flatten()) / 2,
            _ => throw new InvalidOperationException($"{GetName()} has no loss of labels."),
        };
        return (loss * scale).MoveToOuterDisposeScope();
    }

    /// <summary>scale * sum of -log p of whether the second text is the next one (0) or not (1), int64 [B].</summary>
    public Tensor NextSentenceLoss(Tensor hidden_BTC, Tensor labels_B, double scale)
    {
        using var scope = NewDisposeScope();
        return (nn.functional.cross_entropy(NextSentence(hidden_BTC), labels_B, reduction: nn.Reduction.Sum) * scale).MoveToOuterDisposeScope();
    }

    /// <inheritdoc/>
    public Tensor Scores(Tensor ids_BT, Tensor? real_BT = null, Tensor? types_BT = null)
    {
        using var scope = NewDisposeScope();
        return Output(Hidden(ids_BT, real_BT, types_BT)).MoveToOuterDisposeScope();
    }

    /// <summary>Draws new weights: N(0, <paramref name="range"/>), biases 0, norms 1, the padding's embedding 0 (BERT's initializer_range).</summary>
    /// <param name="seed">Key of the draw.</param>
    /// <param name="range">Standard deviation.</param>
    /// <param name="only">Which parameters; null: all.</param>
    public void Initialize(long seed, double range = 0.02, Func<string, bool>? only = null)
    {
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        using var generator = Seeds.Generator(seed, "init");
        foreach (var (key, parameter) in named_parameters().Where(p => only?.Invoke(p.name) != false))
        {
            if (parameter.dim() == 1) parameter.fill_(key.EndsWith("weight", StringComparison.Ordinal) ? 1 : 0);
            else parameter.normal_(0, range, generator);
            if (key.EndsWith("word_embeddings.weight", StringComparison.Ordinal)) parameter[PadId].zero_();
        }
    }

    /// <summary>A linear layer in the precision of now.</summary>
    internal Tensor Project(Tensor x, Linear layer) => Projection.OutIn(x, layer.weight!, layer.bias, Compute).to(ScalarType.Float32);
}
