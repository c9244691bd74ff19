// DistilBERT: Sanh, Debut, Chaumond, Wolf 2019, "DistilBERT, a distilled version of BERT": half of BERT's layers, no token types, no pooler.
using System.Text.Json;
using System.Text.Json.Nodes;
using System.Text.Json.Serialization;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace Lect.Models;

/// <summary>DistilBERT's config.json under its own names; unknown keys are kept.</summary>
public sealed record DistilBertConfig
{
    /// <summary>V. <value>30522</value></summary>
    public int VocabSize { get; init; } = 30522;
    /// <summary>The most positions. <value>512</value></summary>
    public int MaxPositionEmbeddings { get; init; } = 512;
    /// <summary>Whether positions began as sines and cosines; they are weights of the checkpoint all the same.</summary>
    public bool SinusoidalPosEmbds { get; init; }
    /// <summary>N. <value>6</value></summary>
    public int NLayers { get; init; } = 6;
    /// <summary>H. <value>12</value></summary>
    public int NHeads { get; init; } = 12;
    /// <summary>C. <value>768</value></summary>
    public int Dim { get; init; } = 768;
    /// <summary>F. <value>3072</value></summary>
    public int HiddenDim { get; init; } = 3072;
    /// <summary>Dropout of embeddings, inner layers and heads of masked tokens and tags. <value>0.1</value></summary>
    public double Dropout { get; init; } = 0.1;
    /// <summary>Dropout of attention weights. <value>0.1</value></summary>
    public double AttentionDropout { get; init; } = 0.1;
    /// <summary><c>gelu</c> (erf), <c>gelu_new</c> (tanh form), <c>relu</c>, <c>silu</c>.</summary>
    public string Activation { get; init; } = "gelu";
    /// <summary>Standard deviation of new weights.</summary>
    public double InitializerRange { get; init; } = 0.02;
    /// <summary>Dropout before the scores of answers. <value>0.1</value></summary>
    public double QaDropout { get; init; } = 0.1;
    /// <summary>Dropout before the scores of texts. <value>0.2</value></summary>
    public double SeqClassifDropout { get; init; } = 0.2;
    /// <summary>Id of padding.</summary>
    public int PadTokenId { get; init; }
    /// <summary>Everything else in the file.</summary>
    [JsonExtensionData] public Dictionary<string, JsonElement>? Rest { get; init; }

    /// <summary>Checks what the constructor relies on; reports all faults together.</summary>
    /// <exception cref="InvalidDataException">A value that cannot be honoured.</exception>
    public DistilBertConfig Validate()
    {
        var faults = new List<string>();
        if (NHeads < 1 || Dim % NHeads != 0) faults.Add($"dim = {Dim} is no multiple of n_heads = {NHeads}");
        if (new[] { VocabSize, MaxPositionEmbeddings, NLayers, HiddenDim }.Min() < 1) faults.Add("found a size below 1");
        if (Activations.Of(Activation) is null) faults.Add($"activation = '{Activation}': expected gelu, gelu_new, relu or silu");
        if (PadTokenId < 0 || PadTokenId >= VocabSize) faults.Add($"pad_token_id = {PadTokenId}: expected 0 to {VocabSize - 1}");
        if (Rest?.TryGetValue("tie_word_embeddings", out var tie) == true && tie.ValueKind == JsonValueKind.False) faults.Add("tie_word_embeddings = false: DistilBERT's output layer is its embedding matrix");
        return faults.Count == 0 ? this : throw new InvalidDataException("DistilBERT's config.json cannot be honoured: " + string.Join("; ", faults) + ".");
    }
}

/// <summary>DistilBERT with one of its heads (Hugging Face's DistilBertModel, DistilBertForMaskedLM, DistilBertForSequenceClassification, …).</summary>
public sealed class DistilBert : EncoderModel
{
    private const double Eps = 1e-12;   // of all norms; the configuration does not say it

    private readonly DistilBertModel distilbert;
    private readonly Linear? vocab_transform, pre_classifier, classifier, qa_outputs;
    private readonly LayerNorm? vocab_layer_norm;
    private readonly DistilBertBias? vocab_projector;

    /// <summary>A model with new weights, all zero until <see cref="EncoderModel.Initialize"/> or a checkpoint fills them.</summary>
    /// <param name="config">Sizes, and <c>id2label</c>.</param>
    /// <param name="head">What stands on top.</param>
    /// <param name="device">Where.</param>
    /// <exception cref="InvalidDataException">A head that DistilBERT does not have.</exception>
    public DistilBert(DistilBertConfig config, EncoderHead head, Device? device = null) : base("DistilBert" + head, head)
    {
        if (head is EncoderHead.ForPreTraining or EncoderHead.ForNextSentencePrediction) throw new InvalidDataException("Found a DistilBERT that is to tell the next sentence. Expected BERT: DistilBERT has no token types.");
        Config = config.Validate();
        device ??= CPU;
        Linear New(long outputs) => nn.Linear(config.Dim, outputs, device: device);
        distilbert = new(config, device);
        if (head is EncoderHead.ForMaskedLM) (vocab_transform, vocab_layer_norm, vocab_projector) = (New(config.Dim), new(config.Dim, Eps, device), new(config.VocabSize, device));
        if (head is EncoderHead.ForSequenceClassification or EncoderHead.ForMultipleChoice) pre_classifier = New(config.Dim);
        if (head is EncoderHead.ForSequenceClassification or EncoderHead.ForTokenClassification) classifier = New(Labels.Count);
        if (head is EncoderHead.ForMultipleChoice) classifier = New(1);
        if (head is EncoderHead.ForQuestionAnswering) qa_outputs = New(2);
        RegisterComponents();
        this.OwnParameters();
    }

    /// <summary>Its configuration.</summary>
    public DistilBertConfig Config { get; }
    /// <inheritdoc/>
    public override JsonObject ConfigJson => ModelConfig.Write(Config, "distilbert", "DistilBert" + Head);
    /// <inheritdoc/>
    public override long VocabularySize => Config.VocabSize;
    /// <inheritdoc/>
    public override long ContextLength => Config.MaxPositionEmbeddings;
    /// <inheritdoc/>
    public override int LayerCount => Config.NLayers;
    /// <inheritdoc/>
    public override int PadId => Config.PadTokenId;
    /// <inheritdoc/>
    public override int TypeCount => 0;
    /// <inheritdoc/>
    public override Tensor Embeddings => distilbert.embeddings.word_embeddings.weight!;
    private protected override Tensor OutputBias => vocab_projector!.bias;

    /// <inheritdoc/>
    public override int? DepthOf(string key) => DepthOf(key, "distilbert.embeddings.", "distilbert.transformer.layer.");

    /// <inheritdoc/>
    public override Tensor Hidden(Tensor ids_BT, Tensor? real_BT = null, Tensor? types_BT = null, IActivationSink? sink = null)
    {
        using var scope = NewDisposeScope();
        var x_BTC = distilbert.embeddings.forward(ids_BT);
        sink?.Hidden(0, x_BTC);
        var mask_B11S = (real_BT ?? ones_like(ids_BT)).to(ScalarType.Bool).unsqueeze(1).unsqueeze(1);
        return distilbert.transformer.forward(x_BTC, mask_B11S, sink, Compute).MoveToOuterDisposeScope();
    }

    /// <inheritdoc/>
    public override Tensor Output(Tensor hidden_BTC)
    {
        using var scope = NewDisposeScope();
        return (Head switch
        {
            EncoderHead.ForTokenClassification => Project(this.Drop(hidden_BTC, Config.Dropout), classifier!),
            EncoderHead.ForQuestionAnswering => Project(this.Drop(hidden_BTC, Config.QaDropout), qa_outputs!),
            EncoderHead.ForSequenceClassification or EncoderHead.ForMultipleChoice => Project(this.Drop(Project(hidden_BTC.select(1, 0), pre_classifier!).relu(), Config.SeqClassifDropout), classifier!),
            _ => throw new InvalidOperationException($"{GetName()} has no scores of texts or tokens."),
        }).MoveToOuterDisposeScope();
    }

    private protected override Tensor Transform(Tensor hidden_NC) => vocab_transform is null ? throw new InvalidOperationException($"{GetName()} does not predict masked tokens.")
        : vocab_layer_norm!.forward(Activations.Of(Config.Activation)!(Project(hidden_NC, vocab_transform)));

    private sealed class DistilBertModel : nn.Module
    {
        internal readonly DistilBertEmbeddings embeddings;
        internal readonly DistilBertTransformer transformer;

        public DistilBertModel(DistilBertConfig config, Device device) : base("DistilBertModel")
        {
            (embeddings, transformer) = (new(config, device), new(config, device));
            RegisterComponents();
        }
    }

    private sealed class DistilBertEmbeddings : nn.Module
    {
        internal readonly Embedding word_embeddings;
        private readonly Embedding position_embeddings;
        private readonly LayerNorm LayerNorm;
        private readonly DistilBertConfig config;

        public DistilBertEmbeddings(DistilBertConfig config, Device device) : base("DistilBertEmbeddings")
        {
            this.config = config;
            (word_embeddings, position_embeddings) = (nn.Embedding(config.VocabSize, config.Dim, device: device), nn.Embedding(config.MaxPositionEmbeddings, config.Dim, device: device));
            LayerNorm = new(config.Dim, Eps, device);
            RegisterComponents();
        }

        public Tensor forward(Tensor ids_BT)
        {
            var positions_BT = arange(ids_BT.shape[1], device: ids_BT.device).unsqueeze(0);
            return this.Drop(LayerNorm.forward(EmbeddingLookup.Of(word_embeddings.weight!, ids_BT, config.PadTokenId) + EmbeddingLookup.Of(position_embeddings.weight!, positions_BT)), config.Dropout);
        }
    }

    private sealed class DistilBertTransformer : nn.Module
    {
        private readonly ModuleList<DistilBertLayer> layer;

        public DistilBertTransformer(DistilBertConfig config, Device device) : base("DistilBertTransformer")
        {
            layer = new([.. Enumerable.Range(0, config.NLayers).Select(_ => new DistilBertLayer(config, device))]);
            RegisterComponents();
        }

        public Tensor forward(Tensor x_BTC, Tensor mask, IActivationSink? sink, ComputeType compute)
        {
            for (var i = 0; i < layer.Count; i++)
            {
                var number = i;
                x_BTC = layer[i].forward(x_BTC, mask, sink is null ? null : probs => sink.Attention(number, probs), compute);
                sink?.Hidden(i + 1, x_BTC);
            }
            return x_BTC;
        }
    }

    private sealed class DistilBertLayer : nn.Module
    {
        private readonly DistilBertAttention attention;
        private readonly DistilBertMlp ffn;
        private readonly LayerNorm sa_layer_norm, output_layer_norm;
        private readonly double dropout;

        public DistilBertLayer(DistilBertConfig config, Device device) : base("DistilBertLayer")
        {
            (attention, ffn, dropout) = (new(config, device), new(config, device), config.Dropout);
            (sa_layer_norm, output_layer_norm) = (new(config.Dim, Eps, device), new(config.Dim, Eps, device));
            RegisterComponents();
        }

        public Tensor forward(Tensor x_BTC, Tensor mask, Action<Tensor>? watch, ComputeType compute)
        {
            x_BTC = sa_layer_norm.OfSum(x_BTC, attention.forward(x_BTC, mask, watch, compute), 0);
            return output_layer_norm.OfSum(x_BTC, ffn.forward(x_BTC, compute), dropout);
        }
    }

    private sealed class DistilBertAttention : nn.Module
    {
        private readonly Linear q_lin, k_lin, v_lin, out_lin;
        private readonly DistilBertConfig config;

        public DistilBertAttention(DistilBertConfig config, Device device) : base("DistilBertAttention")
        {
            this.config = config;
            Linear New() => nn.Linear(config.Dim, config.Dim, device: device);
            (q_lin, k_lin, v_lin, out_lin) = (New(), New(), New(), New());
            RegisterComponents();
        }

        public Tensor forward(Tensor x_BTC, Tensor mask, Action<Tensor>? watch, ComputeType compute)
        {
            var qkv = Attention.Heads(x_BTC, config.NHeads, compute, q_lin, k_lin, v_lin);
            var y_BHTd = Attention.ScaledDotProduct(qkv[0], qkv[1], qkv[2], mask, 1 / Math.Sqrt(config.Dim / config.NHeads), training ? config.AttentionDropout : 0, watch);
            return Projection.OutIn(Attention.Merge(y_BHTd), out_lin.weight!, out_lin.bias, compute);
        }
    }

    private sealed class DistilBertMlp : nn.Module
    {
        private readonly Linear lin1, lin2;
        private readonly DistilBertConfig config;

        public DistilBertMlp(DistilBertConfig config, Device device) : base("DistilBertMLP")
        {
            this.config = config;
            (lin1, lin2) = (nn.Linear(config.Dim, config.HiddenDim, device: device), nn.Linear(config.HiddenDim, config.Dim, device: device));
            RegisterComponents();
        }

        public Tensor forward(Tensor x_BTC, ComputeType compute) => Projection.OutIn(Activations.Of(config.Activation)!(Projection.OutIn(x_BTC, lin1.weight!, lin1.bias, compute)), lin2.weight!, lin2.bias, compute);
    }

    private sealed class DistilBertBias : nn.Module
    {
        internal readonly Parameter bias;

        public DistilBertBias(long size, Device device) : base("DistilBertProjector")
        {
            bias = new Parameter(zeros(size, device: device));
            RegisterComponents();
        }
    }
}
