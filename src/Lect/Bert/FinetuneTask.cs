using Lect.Models;
using Lect.Text;

namespace Lect;

/// <summary>What one step or evaluation reads of an example.</summary>
/// <param name="Rows">One, one a choice, or a pair in both orders.</param>
/// <param name="Labels">A class, choice or number; a tag a token (-100: none); first and last token of an answer.</param>
internal readonly record struct FinetuneExample(EncoderRow[] Rows, double[] Labels)
{
    public int Length => Rows.Max(r => r.Ids.Length);
}

/// <summary>A kind of fine-tuning: examples for the network, and what its outputs mean.</summary>
internal abstract class FinetuneTask
{
    /// <summary>What stands on top of the encoder.</summary>
    public abstract EncoderHead Head { get; }

    /// <summary>Names of the labels, from the training examples; null where the head has none.</summary>
    public virtual IReadOnlyList<string>? Labels => null;

    /// <summary>The figure whose highest value is best.</summary>
    public abstract string Metric { get; }

    /// <summary>Training examples.</summary>
    public abstract IReadOnlyList<FinetuneExample> Train { get; }

    /// <summary>Validation examples.</summary>
    public abstract IReadOnlyList<FinetuneExample> Validation { get; }

    /// <summary>Figures of the outputs of the validation examples: a row an example, what the head says of its real tokens or choices.</summary>
    public abstract IReadOnlyList<(string Name, double Value)> Figures(IReadOnlyList<float[]> outputs);

    /// <summary>What always saying the most frequent thing gives, by the name of <see cref="Metric"/> where that means something.</summary>
    public virtual double? Baseline => null;

    /// <summary>Writes what was said of each validation example in the task's own format, for <c>lect evaluate</c>.</summary>
    public abstract void WritePredictions(IReadOnlyList<float[]> outputs, string folder);

    /// <summary>For the report: how the classes were confused (null where there are none), and the examples with the worst mistakes, worst first.</summary>
    public abstract (Confusion? Confusion, IReadOnlyList<Mistake> Mistakes) Review(IReadOnlyList<float[]> outputs);

    private protected static double[] Softmax(ReadOnlySpan<float> scores)
    {
        var max = scores[0];
        foreach (var s in scores) max = Math.Max(max, s);
        var p = new double[scores.Length];
        double sum = 0;
        for (var i = 0; i < p.Length; i++) sum += p[i] = Math.Exp(scores[i] - max);
        for (var i = 0; i < p.Length; i++) p[i] /= sum;
        return p;
    }

    private protected static int Best(ReadOnlySpan<float> scores)
    {
        var best = 0;
        for (var i = 1; i < scores.Length; i++) if (scores[i] > scores[best]) best = i;
        return best;
    }
}

/// <summary>An example that was got wrong.</summary>
/// <param name="Text">The example.</param>
/// <param name="Gold">What is true.</param>
/// <param name="Said">What was said.</param>
/// <param name="Confidence">Of what was said.</param>
internal sealed record Mistake(string Text, string Gold, string Said, double Confidence);
