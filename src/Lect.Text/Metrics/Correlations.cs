namespace Lect.Text;

/// <summary>How two lists of numbers go together; NaN where one of them does not vary (as scipy). And how one varies.</summary>
public static class Correlations
{
    /// <summary>Standard deviation of a sample, with n - 1; 0 of one value.</summary>
    internal static double Deviation(IReadOnlyList<double> values)
    {
        var mean = values.Average();
        return values.Count < 2 ? 0 : Math.Sqrt(values.Sum(v => (v - mean) * (v - mean)) / (values.Count - 1));
    }

    /// <summary>Pearson's r.</summary>
    public static double Pearson(IReadOnlyList<double> x, IReadOnlyList<double> y)
    {
        var (mx, my) = (x.Average(), y.Average());
        double xy = 0, xx = 0, yy = 0;
        for (var i = 0; i < x.Count; i++)
        {
            xy += (x[i] - mx) * (y[i] - my);
            xx += (x[i] - mx) * (x[i] - mx);
            yy += (y[i] - my) * (y[i] - my);
        }
        return xy / Math.Sqrt(xx * yy);
    }

    /// <summary>Spearman's rho: Pearson's r of the ranks.</summary>
    public static double Spearman(IReadOnlyList<double> x, IReadOnlyList<double> y) => Pearson(Ranks(x), Ranks(y));

    /// <summary>Kendall's tau-b, which takes ties into account.</summary>
    public static double KendallTauB(IReadOnlyList<double> x, IReadOnlyList<double> y)
    {
        long agree = 0, tiesX = 0, tiesY = 0, pairs = (long)x.Count * (x.Count - 1) / 2;
        for (var i = 0; i < x.Count; i++)
            for (var j = 0; j < i; j++)
            {
                var (a, b) = (x[i].CompareTo(x[j]), y[i].CompareTo(y[j]));
                agree += a * b;
                if (a == 0) tiesX++;
                if (b == 0) tiesY++;
            }
        return agree / Math.Sqrt((double)(pairs - tiesX) * (pairs - tiesY));
    }

    /// <summary>Ranks from 1; equal values share the mean of theirs.</summary>
    public static double[] Ranks(IReadOnlyList<double> values)
    {
        var order = Enumerable.Range(0, values.Count).OrderBy(i => values[i]).ToArray();
        var ranks = new double[values.Count];
        for (int from = 0, to; from < order.Length; from = to)
        {
            for (to = from + 1; to < order.Length && values[order[to]] == values[order[from]]; to++) { }
            for (var i = from; i < to; i++) ranks[order[i]] = (from + to - 1) / 2.0 + 1;
        }
        return ranks;
    }
}
