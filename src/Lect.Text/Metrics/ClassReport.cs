using System.Globalization;
using System.Text;

namespace Lect.Text;

/// <summary>Precision, recall and F1; 0 where a denominator is.</summary>
/// <param name="Precision">Of what was said, the share that is right.</param>
/// <param name="Recall">Of what is right, the share that was said.</param>
/// <param name="F1">Their harmonic mean.</param>
/// <param name="Support">How many are right.</param>
public sealed record ClassScore(double Precision, double Recall, double F1, long Support)
{
    /// <summary>From counts.</summary>
    /// <param name="right">Said and right.</param>
    /// <param name="said">Said.</param>
    /// <param name="gold">Right.</param>
    public static ClassScore Of(long right, long said, long gold)
    {
        var (p, r) = (said == 0 ? 0 : (double)right / said, gold == 0 ? 0 : (double)right / gold);
        return new(p, r, p + r == 0 ? 0 : 2 * p * r / (p + r), gold);
    }
}

/// <summary>Figures by class and their averages, as scikit-learn's classification_report and seqeval's.</summary>
/// <param name="Classes">By name.</param>
/// <param name="Accuracy">The share that is right.</param>
/// <param name="Micro">Of all counts together.</param>
public sealed record ClassReport(IReadOnlyList<(string Name, ClassScore Score)> Classes, double Accuracy, ClassScore Micro)
{
    /// <summary>The plain mean over classes.</summary>
    public ClassScore Macro => Mean(_ => 1);

    /// <summary>The mean over classes by their support.</summary>
    public ClassScore Weighted => Mean(s => s.Support);

    private ClassScore Mean(Func<ClassScore, double> weight)
    {
        var total = Classes.Sum(c => weight(c.Score));
        double Of(Func<ClassScore, double> figure) => total == 0 ? 0 : Classes.Sum(c => weight(c.Score) * figure(c.Score)) / total;
        return new(Of(s => s.Precision), Of(s => s.Recall), Of(s => s.F1), Classes.Sum(c => c.Score.Support));
    }

    /// <summary>The table as those two print it.</summary>
    /// <param name="accuracy">With a line for accuracy (scikit-learn) instead of the micro average (seqeval).</param>
    public string Text(bool accuracy = false)
    {
        var text = new StringBuilder();
        static string Four(double x) => Math.Round(x, 4).ToString("0.0000", CultureInfo.InvariantCulture).PadLeft(9);   // halves to even, as Python
        var width = Math.Max("weighted avg".Length, Classes.Count == 0 ? 0 : Classes.Max(c => c.Name.Length));
        void Row(string name, ClassScore s) => text.Append(CultureInfo.InvariantCulture, $"{name.PadLeft(width)}  {Four(s.Precision)} {Four(s.Recall)} {Four(s.F1)} {s.Support,9}\n");
        text.Append(CultureInfo.InvariantCulture, $"{"".PadLeft(width)}  {"precision",9} {"recall",9} {"f1-score",9} {"support",9}\n\n");
        foreach (var (name, score) in Classes) Row(name, score);
        text.Append('\n');
        if (accuracy) text.Append(CultureInfo.InvariantCulture, $"{"accuracy".PadLeft(width)}  {"",9} {"",9} {Four(Accuracy)} {Macro.Support,9}\n");
        else Row("micro avg", Micro with { Support = Macro.Support });
        Row("macro avg", Macro);
        Row("weighted avg", Weighted);
        return text.ToString();
    }
}
