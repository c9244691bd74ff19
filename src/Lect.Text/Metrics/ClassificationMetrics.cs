namespace Lect.Text;

/// <summary>How predicted classes agree with the true ones, as scikit-learn counts.</summary>
public sealed class Confusion
{
    private readonly long[,] counts;

    /// <param name="gold">True classes, from 0.</param>
    /// <param name="predicted">Said classes.</param>
    /// <param name="classes">How many there are.</param>
    public Confusion(IReadOnlyList<int> gold, IReadOnlyList<int> predicted, int classes)
    {
        if (gold.Count != predicted.Count) throw new InvalidDataException($"Found {gold.Count} true and {predicted.Count} predicted classes. Expected as many.");
        counts = new long[classes, classes];
        for (var i = 0; i < gold.Count; i++) counts[gold[i], predicted[i]]++;
        (Classes, Total) = (classes, gold.Count);
    }

    /// <summary>How many classes.</summary>
    public int Classes { get; }

    /// <summary>How many examples.</summary>
    public long Total { get; }

    /// <summary>Examples of a true class that were said to be of a class.</summary>
    public long this[int gold, int predicted] => counts[gold, predicted];

    private long Gold(int c) => Enumerable.Range(0, Classes).Sum(p => counts[c, p]);

    private long Said(int c) => Enumerable.Range(0, Classes).Sum(g => counts[g, c]);

    private long Right => Enumerable.Range(0, Classes).Sum(c => counts[c, c]);

    /// <summary>The share that is right; 0 of nothing.</summary>
    public double Accuracy => Total == 0 ? 0 : (double)Right / Total;

    /// <summary>The mean recall of the classes that occur.</summary>
    public double BalancedAccuracy => Enumerable.Range(0, Classes).Where(c => Gold(c) > 0).Select(c => (double)counts[c, c] / Gold(c)).DefaultIfEmpty(0).Average();

    /// <summary>Precision, recall and F1 of a class.</summary>
    public ClassScore Of(int c) => ClassScore.Of(counts[c, c], Said(c), Gold(c));

    /// <summary>Matthews' correlation (Gorodkin's for more than two classes); 0 where only one class occurs on a side.</summary>
    public double Matthews
    {
        get
        {
            double n = Total, together = 0, gold = 0, said = 0;
            for (var c = 0; c < Classes; c++)
            {
                together += (double)Gold(c) * Said(c);
                gold += (double)Gold(c) * Gold(c);
                said += (double)Said(c) * Said(c);
            }
            var spread = (n * n - said) * (n * n - gold);
            return spread == 0 ? 0 : (Right * n - together) / Math.Sqrt(spread);
        }
    }

    /// <summary>Cohen's kappa: how far the agreement goes beyond chance.</summary>
    public double Kappa
    {
        get
        {
            var chance = Enumerable.Range(0, Classes).Sum(c => (double)Gold(c) * Said(c)) / ((double)Total * Total);
            return chance == 1 ? 0 : (Accuracy - chance) / (1 - chance);
        }
    }

    /// <summary>Figures of all classes.</summary>
    /// <param name="names">Of the classes.</param>
    public ClassReport Report(IReadOnlyList<string> names) => new([.. Enumerable.Range(0, Classes).Select(c => (names[c], Of(c)))], Accuracy, ClassScore.Of(Right, Total, Total));
}

/// <summary>Figures of scores and probabilities.</summary>
public static class RankingMetrics
{
    /// <summary>The rank of each true class among its row's scores: 1 + those above + those as high with a lower number.</summary>
    public static int[] RankOfGold(IReadOnlyList<double[]> scores, IReadOnlyList<int> gold) =>
        [.. scores.Zip(gold, (row, g) => 1 + row.Where((s, c) => s > row[g] || (s == row[g] && c < g)).Count())];

    /// <summary>Mean of -log softmax(scores)[gold], nats.</summary>
    public static double LogLoss(IReadOnlyList<double[]> scores, IReadOnlyList<int> gold) => scores.Zip(gold, (row, g) => row.Max() + Math.Log(row.Sum(s => Math.Exp(s - row.Max()))) - row[g]).Average();

    /// <summary>The probability that a positive has a higher score than a negative, ties one half (area under the ROC curve).</summary>
    public static double RocAuc(IReadOnlyList<bool> positive, IReadOnlyList<double> scores)
    {
        var (ranks, n) = (Correlations.Ranks(scores), (double)positive.Count(p => p));
        return (ranks.Where((_, i) => positive[i]).Sum() - n * (n + 1) / 2) / (n * (positive.Count - n));
    }

    /// <summary>Sum over thresholds of the growth of recall times precision (scikit-learn's average_precision_score); equal scores are one threshold.</summary>
    public static double AveragePrecision(IReadOnlyList<bool> positive, IReadOnlyList<double> scores)
    {
        var (right, seen, sum, all) = (0, 0, 0.0, positive.Count(p => p));
        foreach (var tied in Enumerable.Range(0, scores.Count).GroupBy(i => scores[i]).OrderByDescending(g => g.Key))
        {
            var more = tied.Count(i => positive[i]);
            (right, seen) = (right + more, seen + tied.Count());
            sum += (double)more / all * right / seen;
        }
        return all == 0 ? 0 : sum;
    }

    /// <summary>Mean squared difference of a probability from what happened.</summary>
    public static double Brier(IReadOnlyList<bool> positive, IReadOnlyList<double> probabilities) => positive.Zip(probabilities, (p, x) => (x - (p ? 1 : 0)) * (x - (p ? 1 : 0))).Average();

    /// <summary>Expected calibration error: the mean difference of confidence and accuracy over equal bins of the highest probability.</summary>
    public static double CalibrationError(IReadOnlyList<double[]> scores, IReadOnlyList<int> gold, int bins = 10)
    {
        var (confidence, right, count) = (new double[bins], new double[bins], new double[bins]);
        for (var i = 0; i < scores.Count; i++)
        {
            var best = Array.IndexOf(scores[i], scores[i].Max());
            var p = 1 / scores[i].Sum(s => Math.Exp(s - scores[i][best]));
            var bin = Math.Clamp((int)Math.Ceiling(p * bins) - 1, 0, bins - 1);
            confidence[bin] += p;
            count[bin]++;
            if (best == gold[i]) right[bin]++;
        }
        return Enumerable.Range(0, bins).Sum(b => Math.Abs(confidence[b] - right[b])) / scores.Count;
    }

    /// <summary>Normalized discounted cumulative gain with linear gains (scikit-learn's ndcg_score): tied scores share their mean gain.</summary>
    /// <param name="relevance">Of each item.</param>
    /// <param name="scores">What they are ordered by.</param>
    /// <param name="k">Places that count; 0: all.</param>
    public static double Ndcg(IReadOnlyList<double> relevance, IReadOnlyList<double> scores, int k = 0)
    {
        var places = k > 0 ? Math.Min(k, scores.Count) : scores.Count;
        double Discount(int place) => place < places ? 1 / Math.Log2(place + 2) : 0;
        double gain = 0;
        var at = 0;
        foreach (var tied in Enumerable.Range(0, scores.Count).GroupBy(i => scores[i]).OrderByDescending(g => g.Key))
        {
            var (mean, first) = (tied.Average(i => relevance[i]), at);
            for (; at < first + tied.Count(); at++) gain += mean * Discount(at);
        }
        var best = relevance.OrderDescending().Select((r, place) => r * Discount(place)).Sum();
        return best == 0 ? 0 : gain / best;
    }
}
