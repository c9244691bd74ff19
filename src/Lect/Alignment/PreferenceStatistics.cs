// Statistics of votes: Bradley and Terry 1952, Davidson 1970, Rao and Kupper 1967, Elo; agreement of raters: Cohen 1960, Fleiss 1971, Krippendorff 2004.
using Lect.Text;

namespace Lect;

/// <summary>Who won a comparison.</summary>
public enum Vote
{
    /// <summary>The first.</summary>
    A,
    /// <summary>The second.</summary>
    B,
    /// <summary>Neither.</summary>
    Tie,
}

/// <summary>Statistics of preferences.</summary>
public static class PreferenceStatistics
{
    /// <summary>The 97.5 % point of the normal distribution.</summary>
    private const double Z = 1.959963984540054;

    /// <summary>Wilson's interval of a share, 95 %.</summary>
    /// <param name="wins">Of how many; halves are allowed.</param>
    /// <param name="count">Of all.</param>
    public static (double Low, double High) Wilson(double wins, double count)
    {
        if (count <= 0) return (0, 1);
        var (p, z2) = (wins / count, Z * Z);
        var middle = (p + z2 / (2 * count)) / (1 + z2 / count);
        var half = Z / (1 + z2 / count) * Math.Sqrt(p * (1 - p) / count + z2 / (4 * count * count));
        return (Math.Max(0, middle - half), Math.Min(1, middle + half));
    }

    /// <summary>The exact two-sided binomial test that a share is one half.</summary>
    public static double SignTest(int wins, int count)
    {
        if (count == 0) return 1;
        var logs = Enumerable.Range(0, count + 1).Select(k => LogChoose(count, k) - count * Math.Log(2)).ToArray();
        var own = logs[wins] * (1 - 1e-14) + 1e-12;   // as likely or less, within rounding
        return Math.Min(1, logs.Where(l => l <= own).Sum(Math.Exp));
    }

    private static double LogChoose(int n, int k)
    {
        double sum = 0;
        for (var i = 1; i <= k; i++) sum += Math.Log(n - k + i) - Math.Log(i);
        return sum;
    }

    /// <summary>Wins of each player over each, a tie half a win for both.</summary>
    public static double[,] Wins(IEnumerable<(int A, int B, Vote Vote)> votes, int players)
    {
        var wins = new double[players, players];
        foreach (var (a, b, vote) in votes)
        {
            wins[a, b] += vote == Vote.A ? 1 : vote == Vote.Tie ? 0.5 : 0;
            wins[b, a] += vote == Vote.B ? 1 : vote == Vote.Tie ? 0.5 : 0;
        }
        return wins;
    }

    /// <summary>Strengths s of the Bradley-Terry model, P(i beats j) = 1 / (1 + e^(s_j - s_i)), by maximum likelihood; they sum to 0. Ties count half a win for each.</summary>
    /// <param name="wins">As <see cref="Wins"/> gives them.</param>
    /// <returns>Strengths, their standard errors (of the pseudo-inverse of the information), the log-likelihood.</returns>
    public static (double[] Strengths, double[] Errors, double LogLikelihood) BradleyTerry(double[,] wins)
    {
        var n = wins.GetLength(0);
        var p = Enumerable.Repeat(1.0, n).ToArray();
        for (var round = 0; round < 100_000; round++)   // Hunter 2004, the MM algorithm
        {
            var next = new double[n];
            for (var i = 0; i < n; i++)
            {
                double won = 0, games = 0;
                for (var j = 0; j < n; j++)
                {
                    if (i == j) continue;
                    won += wins[i, j];
                    games += (wins[i, j] + wins[j, i]) / (p[i] + p[j]);
                }
                next[i] = games > 0 ? Math.Max(won, 1e-300) / games : p[i];
            }
            var mean = Math.Exp(next.Average(Math.Log));
            var moved = 0.0;
            for (var i = 0; i < n; i++) { next[i] /= mean; moved = Math.Max(moved, Math.Abs(Math.Log(next[i] / p[i]))); }
            p = next;
            if (moved < 1e-14) break;
        }
        var (information, likelihood) = (new double[n, n], 0.0);
        for (var i = 0; i < n; i++)
            for (var j = 0; j < n; j++)
            {
                if (i == j) continue;
                if (wins[i, j] > 0) likelihood += wins[i, j] * Math.Log(p[i] / (p[i] + p[j]));
                var weight = (wins[i, j] + wins[j, i]) * p[i] * p[j] / ((p[i] + p[j]) * (p[i] + p[j]));
                information[i, i] += weight;
                information[i, j] -= weight;
            }
        return ([.. p.Select(x => Math.Log(x))], Errors(information), likelihood);
    }

    // The pseudo-inverse of a Laplacian is (L + J / n)⁻¹ - J / n, J all ones.
    private static double[] Errors(double[,] laplacian)
    {
        var n = laplacian.GetLength(0);
        var a = new double[n, 2 * n];
        for (var i = 0; i < n; i++)
            for (var j = 0; j < n; j++) (a[i, j], a[i, n + j]) = (laplacian[i, j] + 1.0 / n, i == j ? 1 : 0);
        for (var c = 0; c < n; c++)
        {
            var pivot = Enumerable.Range(c, n - c).MaxBy(r => Math.Abs(a[r, c]));
            if (Math.Abs(a[pivot, c]) < 1e-12) return [.. Enumerable.Repeat(double.PositiveInfinity, n)];   // players who never met
            for (var j = 0; j < 2 * n; j++) (a[c, j], a[pivot, j]) = (a[pivot, j], a[c, j]);
            var by = a[c, c];
            for (var j = 0; j < 2 * n; j++) a[c, j] /= by;
            for (var r = 0; r < n; r++)
            {
                if (r == c) continue;
                var times = a[r, c];
                for (var j = 0; j < 2 * n; j++) a[r, j] -= times * a[c, j];
            }
        }
        return [.. Enumerable.Range(0, n).Select(i => Math.Sqrt(Math.Max(0, a[i, n + i] - 1.0 / n)))];
    }

    /// <summary>Elo's ratings after votes in order: start 1000, expected score 1 / (1 + 10^((b - a) / 400)).</summary>
    public static double[] Elo(IEnumerable<(int A, int B, Vote Vote)> votes, int players, double k)
    {
        var ratings = Enumerable.Repeat(1000.0, players).ToArray();
        foreach (var (a, b, vote) in votes)
        {
            var change = k * ((vote == Vote.A ? 1 : vote == Vote.B ? 0 : 0.5) - 1 / (1 + Math.Pow(10, (ratings[b] - ratings[a]) / 400)));
            (ratings[a], ratings[b]) = (ratings[a] + change, ratings[b] - change);
        }
        return ratings;
    }

    /// <summary>Agreement of two raters beyond chance (Cohen 1960), over items that both rated.</summary>
    public static double CohenKappa(IReadOnlyList<string?> a, IReadOnlyList<string?> b)
    {
        var both = a.Zip(b).Where(p => p.First is not null && p.Second is not null).ToList();
        var classes = both.SelectMany(p => new[] { p.First!, p.Second! }).Distinct().ToList();
        return both.TrueForAll(p => p.First == p.Second) ? 1 : new Confusion([.. both.Select(p => classes.IndexOf(p.First!))], [.. both.Select(p => classes.IndexOf(p.Second!))], classes.Count).Kappa;
    }

    /// <summary>Krippendorff's alpha of nominal ratings, over items of at least two.</summary>
    /// <param name="ratings">A row a rater; null: not rated.</param>
    public static double KrippendorffAlpha(IReadOnlyList<IReadOnlyList<string?>> ratings)
    {
        var items = Enumerable.Range(0, ratings[0].Count).Select(i => ratings.Select(r => r[i]).OfType<string>().ToList()).Where(r => r.Count > 1).ToList();
        double n = items.Sum(i => i.Count);
        var totals = items.SelectMany(i => i).CountBy(v => v).ToDictionary();
        var observed = items.Sum(i => i.CountBy(v => v).Sum(c => c.Value * (i.Count - c.Value)) / (i.Count - 1.0)) / n;
        var expected = totals.Values.Sum(c => c * (n - c)) / (n * (n - 1));
        return expected == 0 ? 1 : 1 - observed / expected;
    }

    /// <summary>Fleiss' kappa over items that every rater rated.</summary>
    /// <param name="ratings">A row a rater; null: not rated.</param>
    public static double FleissKappa(IReadOnlyList<IReadOnlyList<string?>> ratings)
    {
        var items = Enumerable.Range(0, ratings[0].Count).Select(i => ratings.Select(r => r[i]).OfType<string>().ToList()).Where(r => r.Count == ratings.Count).ToList();
        double raters = ratings.Count, n = items.Count;
        var agreed = items.Average(i => (i.CountBy(v => v).Sum(c => (double)c.Value * c.Value) - raters) / (raters * (raters - 1)));
        var chance = items.SelectMany(i => i).CountBy(v => v).Sum(c => c.Value / (n * raters) * (c.Value / (n * raters)));
        return chance == 1 ? 1 : (agreed - chance) / (1 - chance);
    }

    /// <summary>The mean over all sets of n samples of the best reward among them, of one prompt.</summary>
    public static double ExpectedBest(IReadOnlyList<double> rewards, int n)
    {
        var sorted = rewards.Order().ToArray();
        return Enumerable.Range(n - 1, sorted.Length - n + 1).Sum(i => sorted[i] * Math.Exp(LogChoose(i, n - 1) - LogChoose(sorted.Length, n)));
    }

    /// <summary>What the best of n samples differs from the policy at most, nats: log n - (n - 1) / n.</summary>
    public static double BestOfNKl(int n) => Math.Log(n) - (n - 1.0) / n;

    /// <summary>The unbiased chance that one of k of the samples is right (Chen et al. 2021).</summary>
    public static double PassAtK(int samples, int correct, int k) => samples - correct < k ? 1 : 1 - Math.Exp(LogChoose(samples - correct, k) - LogChoose(samples, k));
}
