using System.Text.Json.Nodes;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace Lect.Models;

/// <summary>A decoder: token ids to the distribution of the next one, or with another head to scores of the whole text. It knows ids, never words.</summary>
public abstract class CausalLanguageModel(string name) : nn.Module(name), ISequenceClassifier
{
    private protected Linear? score;
    private Tensor? roundedHead;

    /// <summary>V.</summary>
    public abstract long VocabularySize { get; }

    /// <summary>The most positions it was made for.</summary>
    public abstract long ContextLength { get; }

    /// <summary>N.</summary>
    public abstract int LayerCount { get; }

    /// <summary>C.</summary>
    public long Width => HeadWeight.shape[1];

    /// <summary>G d: the numbers of a token's keys in one layer; its values have as many.</summary>
    public abstract long KeyWidth { get; }

    /// <summary>Of each layer: how many keys a query sees at most, itself among them; null: all before it.</summary>
    public virtual IReadOnlyList<long?>? Windows => null;

    /// <summary>The configuration, as config.json has it.</summary>
    public abstract JsonObject ConfigJson { get; }

    /// <summary>An empty cache for this model; the caller disposes it.</summary>
    /// <param name="positions">To make room for.</param>
    public KvCache NewCache(long positions) => new(LayerCount, positions, Windows);

    /// <summary>Draws new weights: N(0, <c>initializer_range</c>), those of the projections back into the residual stream smaller by sqrt(2 N) (Radford et al. 2019, section 2.3), biases 0, norms 1.</summary>
    public void Initialize(long seed)
    {
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        using var generator = Seeds.Generator(seed, "init");
        foreach (var (key, parameter) in named_parameters())
        {
            if (key.EndsWith(".bias", StringComparison.Ordinal)) parameter.zero_();
            else if (parameter.dim() == 1) parameter.fill_(1);
            else parameter.copy_(empty(parameter.shape).normal_(0, IsResidual(key) ? InitializerRange / Math.Sqrt(2 * LayerCount) : InitializerRange, generator));   // drawn on the CPU: the same on every device
        }
    }

    private protected abstract double InitializerRange { get; }

    /// <summary>Whether a weight is that of a projection whose result is added to the stream.</summary>
    private protected abstract bool IsResidual(string key);

    /// <summary>Gives the model a score for each of its configuration's labels in place of the language model's head (Hugging Face's …ForSequenceClassification).</summary>
    private protected void AddScore(long width, Device device) => score = nn.Linear(width, Labels.Count, hasBias: false, device: device);

    /// <summary>The labels that it scores, where it does (config.json's id2label).</summary>
    public IReadOnlyList<string> Labels => ModelConfig.LabelsOf(ConfigJson);

    /// <summary>Scores of final activations, [..., C] to [..., labels] fp32.</summary>
    /// <exception cref="InvalidOperationException">It is a language model.</exception>
    public virtual Tensor ScoresOf(Tensor hidden) => score?.forward(hidden) ?? throw new InvalidOperationException($"{GetName()} has no scores.");

    /// <summary>Scores of each row, read at its last real token.</summary>
    /// <inheritdoc/>
    public Tensor Scores(Tensor ids_BT, Tensor? real_BT = null, Tensor? types_BT = null)
    {
        using var scope = NewDisposeScope();
        var hidden_BTC = Hidden(ids_BT, real_BT, real_BT is null ? null : Masks.Positions(real_BT));
        return ScoresOf(hidden_BTC[arange(ids_BT.shape[0]), Masks.Last(ids_BT, real_BT)]).MoveToOuterDisposeScope();
    }

    /// <summary>The precision of matrix products; fp32 unless set. Parameters stay fp32.</summary>
    public ComputeType Compute { get; set; }

    /// <summary>Rounds the weights of all matrix products to bf16, for inference: a step of decoding then reads half as much of them. Products are of fp32 activations with these, summed in fp32.</summary>
    /// <remarks>The weights themselves change; those of an adapter that is not merged stay as they are.</remarks>
    public void RoundWeights()
    {
        foreach (var layer in modules().OfType<ProjectionLayer>()) layer.Round();
        roundedHead?.Dispose();
        roundedHead = Projection.Round(HeadWeight);
    }

    /// <inheritdoc/>
    protected override void Dispose(bool disposing)
    {
        if (disposing) roundedHead?.Dispose();
        base.Dispose(disposing);
    }

    /// <summary>Final activations, after the last norm.</summary>
    /// <param name="ids_BT">Token ids, int64 [B, T].</param>
    /// <param name="real_BS">1 = real, 0 = padding, int64 [B, S] over all positions seen; null: all real. Where rows hold several documents that are not to see each other: the number of each token's document, from 1.</param>
    /// <param name="positions_BT">Position of each token; null: counted from 0, or from the cache's length.</param>
    /// <param name="cache">Keys and values of earlier positions, which these are added to.</param>
    /// <param name="sink">Watches the pass.</param>
    /// <returns>[B, T, C] fp32, owned by the caller.</returns>
    public Tensor Hidden(Tensor ids_BT, Tensor? real_BS = null, Tensor? positions_BT = null, KvCache? cache = null, IActivationSink? sink = null)
    {
        using var scope = NewDisposeScope();
        var x_BTC = Forward(new(ids_BT, real_BS, positions_BT, cache, sink, Compute));
        cache?.Advance(ids_BT.shape[1]);
        return x_BTC.MoveToOuterDisposeScope();
    }

    /// <summary>The layers: ids to final activations.</summary>
    private protected abstract Tensor Forward(DecoderPass pass);

    /// <summary>The token embeddings [V, C].</summary>
    public abstract Tensor Embeddings { get; }

    /// <summary>The output layer's weight [V, C], which may be the embeddings'.</summary>
    public abstract Tensor HeadWeight { get; }

    /// <summary>Scores of every next token, [B, T, V] fp32; arguments as in <see cref="Hidden"/>.</summary>
    public Tensor Logits(Tensor ids_BT, Tensor? real_BS = null, Tensor? positions_BT = null, KvCache? cache = null, IActivationSink? sink = null)
    {
        using var scope = NewDisposeScope();
        return Head(Hidden(ids_BT, real_BS, positions_BT, cache, sink)).MoveToOuterDisposeScope();
    }

    /// <summary>The output layer alone: [..., C] to [..., V] fp32.</summary>
    public Tensor Head(Tensor hidden) => Projection.OutIn(hidden, HeadWeight, null, Compute, roundedHead).to(ScalarType.Float32);

    /// <summary>scale * sum of -log p(label) in nats over labels that are not -100; labels stand at the position that predicts them.</summary>
    /// <param name="ids_BT">Token ids.</param>
    /// <param name="labels_BT">The next token of each position, or -100.</param>
    /// <param name="scale">1 / number of labels for the mean.</param>
    /// <param name="real_BS">As in <see cref="Hidden"/>.</param>
    /// <param name="positions_BT">As in <see cref="Hidden"/>.</param>
    public Tensor Loss(Tensor ids_BT, Tensor labels_BT, double scale, Tensor? real_BS = null, Tensor? positions_BT = null)
    {
        using var scope = NewDisposeScope();
        return LossOf(Hidden(ids_BT, real_BS, positions_BT), labels_BT, scale).MoveToOuterDisposeScope();
    }

    /// <summary>The same of final activations that are there already.</summary>
    /// <param name="hidden_BTC">Of <see cref="Hidden"/>.</param>
    /// <param name="labels_BT">The next token of each position, or -100.</param>
    /// <param name="scale">1 / number of labels for the mean.</param>
    public Tensor LossOf(Tensor hidden_BTC, Tensor labels_BT, double scale) => LinearCrossEntropy.Apply(hidden_BTC.flatten(0, -2), HeadWeight, labels_BT.flatten(), scale, Compute);
}
