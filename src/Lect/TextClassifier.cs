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
    /// <exception cref="InvalidDataException">Something is missing or damaged, or the model is no classifier.</exception>
    public static TextClassifier Load(string folder, string device = "auto") => new(ModelFolder.LoadClassifier(folder, Devices.Choose(device)), Tokenizer.LoadIfThere(folder));

    /// <summary>Ids of a text, or of a pair with the tokenizer's separator.</summary>
    /// <exception cref="InvalidDataException">The folder has no tokenizer.</exception>
    public int[] Encode(string text, string? pair = null) => (Tokenizer ?? throw Tokenizer.Missing()).Encode(text, pair).Ids;

    /// <summary>Classifies one sequence.</summary>
    /// <exception cref="InvalidDataException">No ids, too many for the model, or one outside the vocabulary.</exception>
    public Classified Classify(int[] ids)
    {
        if (ids.Length == 0 || ids.Length > Model.ContextLength) throw new InvalidDataException($"Found {ids.Length} tokens. Expected 1 to {Model.ContextLength}, the model's positions. Shorten the text.");
        Vocabulary.Check(ids, Model.VocabularySize);
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        var logits = Model.Scores(tensor(ids.Select(i => (long)i).ToArray(), 1, ids.Length)).squeeze(0).to(ScalarType.Float64).cpu();
        var values = logits.data<double>().ToArray();
        if (values.Length == 1) return new(null, [("score", values[0])], values);
        var probs = logits.softmax(0).data<double>().ToArray();
        var scores = Model.Labels.Zip(probs).ToList();
        return new(scores.MaxBy(s => s.Second).First, scores, values);
    }

    /// <inheritdoc/>
    public void Dispose() => Model.Dispose();
}
