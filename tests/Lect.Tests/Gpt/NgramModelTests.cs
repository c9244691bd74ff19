using Lect.Testing;
using Lect.Text;

namespace Lect.Tests;

/// <summary>Modified Kneser-Ney against a direct reading of Chen and Goodman 1999, and as a distribution.</summary>
public class NgramModelTests
{
    private const int V = 7;

    private static int[] Stream(int n)
    {
        var random = Lect.Models.Seeds.Random(3, "ngram");
        var ids = new int[n];
        for (var i = 2; i < n; i++) ids[i] = random.Next(3) > 0 ? (ids[i - 1] * 3 + ids[i - 2]) % V : random.Next(V);
        return ids;
    }

    [Theory, InlineData(2), InlineData(3), InlineData(5)]
    public void It_equals_the_formulas_written_down_naively(int order)
    {
        var ids = Stream(2000);
        var model = new NgramModel(new(ids), order, V);
        var naive = new Naive(ids, order);
        foreach (var at in (int[])[order, 10, 57, 500, 1999])
            for (var w = 0; w < V; w++)
            {
                var before = ids[(at - order + 1)..at];
                Near.Equal(naive.Probability(before, w), model.Probability([.. before.Select(i => (long)i)], w), 1e-12, $"p({w} | {string.Join(' ', before)})");
            }
    }

    [Theory, InlineData(1), InlineData(2), InlineData(5)]
    public void Probabilities_sum_to_one_in_any_context(int order)
    {
        var model = new NgramModel(new(Stream(1000)), order, V);
        foreach (var before in (long[][])[[], [1], [6, 6, 6, 6], [1, 2, 3, 4], [0, 0, 1, 5, 2]])
            Near.Equal(1, Enumerable.Range(0, V).Sum(w => model.Probability(before, w)), 1e-12, string.Join(' ', before));
    }

    [Fact]
    public void A_longer_context_predicts_a_text_of_its_kind_better()
    {
        using TokenIds train = new(Stream(20_000)[..15_000]), test = new(Stream(20_000)[15_000..]);
        double Loss(int order) => new NgramModel(train, order, V).Of(test, new(1, test.Count, 0)).Loss;
        Assert.True(Loss(1) > Loss(3) + 0.5, $"{Loss(1)} {Loss(3)}");   // a token follows from the two before it, two times out of three
        Assert.True(Loss(5) < Loss(3) + 0.1, $"{Loss(3)} {Loss(5)}");   // and more context does no harm
    }

    // Counts by lists of strings, as the paper defines them.
    private sealed class Naive
    {
        private readonly int order;
        private readonly Dictionary<string, long>[] counts;

        public Naive(int[] ids, int order)
        {
            this.order = order;
            counts = new Dictionary<string, long>[order + 1];
            for (var n = 1; n <= order; n++)
            {
                var grams = Enumerable.Range(0, ids.Length - n + 1).Select(i => Key(ids[i..(i + n)]));
                if (n < order) grams = Enumerable.Range(0, ids.Length - n).Select(i => Key(ids[i..(i + n + 1)])).Distinct().Select(g => g[(g.IndexOf(' ', StringComparison.Ordinal) + 1)..]);   // distinct contexts on the left
                counts[n] = grams.GroupBy(g => g).ToDictionary(g => g.Key, g => g.LongCount());
            }
        }

        private static string Key(IEnumerable<int> ids) => string.Join(' ', ids);

        public double Probability(int[] before, int w, int? at = null)
        {
            var n = at ?? order;
            if (n == 0) return 1.0 / V;
            var h = before[^(n - 1)..];
            var lower = Probability(before, w, n - 1);
            var prefix = n == 1 ? "" : Key(h) + " ";
            var continuations = counts[n].Where(c => c.Key.StartsWith(prefix, StringComparison.Ordinal)).Select(c => c.Value).ToList();
            if (continuations.Count == 0) return lower;
            double N(int c) => counts[n].Values.Count(v => v == c);
            var y = N(1) / (N(1) + 2 * N(2));
            double D(long c) => c == 0 ? 0 : Math.Min(c, 3) is var k && N((int)k) == 0 ? 0 : Math.Clamp(k - (k + 1) * y * N((int)k + 1) / N((int)k), 0, k);
            var count = counts[n].GetValueOrDefault(prefix + w);
            return (Math.Max(0, count - D(count)) + continuations.Sum(D) * lower) / continuations.Sum();
        }
    }
}
