using Lect.Models;
using Lect.Text;
using TorchSharp;
using static TorchSharp.torch;

namespace Lect;

/// <summary>A classified text.</summary>
/// <param name="Label">The most probable label; null where the model gives one number.</param>
/// <param name="Scores">Probability of each label; that number alone for a regression.</param>
/// <param name="Logits">The model's scores.</param>
public sealed record Classified(string? Label, IReadOnlyList<(string Label, double Probability)> Scores, double[] Logits);

/// <summary>A model that puts labels on texts, from a Hugging Face folder. Not thread-safe.</summary>
public sealed class TextClassifier : IDisposable
{
    private TextClassifier(ISequenceClassifier model, Tokenizer? tokenizer) => (Model, Tokenizer) = (model, tokenizer);

    /// <summary>The network.</summary>
    public ISequenceClassifier Model { get; }

    /// <summary>Its tokenizer; null where the folder has none, and only ids can be used.</summary>
    public Tokenizer? Tokenizer { get; }

    /// <summary>Opens a model folder.</summary>
    /// <param name="folder">The folder.</param>
    /// <param name="device">auto, cpu, cuda, cuda:N or mps.</param>
    /// <param name="adapters">Folders of LoRA adapters, merged into the weights in order.</param>
    /// <exception cref="InvalidDataException">Something is missing or damaged, or the model is no classifier.</exception>
    public static TextClassifier Load(string folder, string device = "auto", IReadOnlyList<string>? adapters = null)
    {
        var model = ModelFolder.LoadClassifier(folder, Devices.Choose(device));
        foreach (var adapter in adapters ?? []) Lora.Merge(model as CausalLanguageModel ?? throw new InvalidDataException($"Found --adapter with the encoder of {folder}. Expected it with a decoder."), adapter);
        return new(model, Tokenizer.LoadIfThere(folder));
    }

    /// <summary>Ids of a text, or of a pair with the tokenizer's separator.</summary>
    /// <inheritdoc cref="EncoderTool.Encode"/>
    public EncoderRow Encode(string text, string? pair = null, bool truncate = false) => EncoderRow.Of(Tokenizer ?? throw Tokenizer.Missing(), text, pair, truncate ? Model.ContextLength : null);

    /// <summary>Classifies one sequence.</summary>
    /// <inheritdoc cref="Classify(IReadOnlyList{EncoderRow})"/>
    public Classified Classify(EncoderRow row) => Classify([row])[0];

    /// <summary>Classifies sequences; they are padded to one length, which changes nothing.</summary>
    /// <exception cref="InvalidDataException">No ids, too many for the model, or one outside the vocabulary.</exception>
    public IReadOnlyList<Classified> Classify(IReadOnlyList<EncoderRow> rows)
    {
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        var scores_BL = EncoderBatch.Scores(Model, rows);
        if (Model is Gpt1 { Config: { BothOrders: true, DelimiterTokenId: { } delimiter } }) scores_BL += EncoderBatch.Scores(Model, [.. rows.Select(r => Swapped(r, delimiter))]);
        return Classified(scores_BL);
    }

    // start A delimiter B extract with the texts in the other order.
    private static EncoderRow Swapped(EncoderRow row, int delimiter) => Array.IndexOf(row.Ids, delimiter) is > 0 and var at ? new([row.Ids[0], .. row.Ids[(at + 1)..^1], delimiter, .. row.Ids[1..at], row.Ids[^1]])
        : throw new InvalidDataException($"Found a text without the delimiter {delimiter}. Expected two texts: this model tells how alike they are.");

    private List<Classified> Classified(Tensor logits_BL) => [.. logits_BL.to(ScalarType.Float64).cpu().contiguous().data<double>().ToArray().Chunk((int)logits_BL.shape[1]).Select(Answer)];

    private Classified Answer(double[] logits)
    {
        if (logits.Length == 1) return new(null, [("score", logits[0])], logits);
        var max = logits.Max();
        var sum = logits.Sum(l => Math.Exp(l - max));
        var scores = Model.Labels.Zip(logits.Select(l => Math.Exp(l - max) / sum)).ToList();
        return new(scores.MaxBy(s => s.Second).First, scores, logits);
    }

    /// <inheritdoc/>
    public void Dispose() => Model.Dispose();
}
