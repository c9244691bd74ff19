using System.Globalization;

namespace Lect.Text;

/// <summary>A figure of a text or of a whole test set.</summary>
/// <param name="Value">0 to 100 (TER: 0 or more).</param>
/// <param name="Text">As sacreBLEU prints it.</param>
public record MetricScore(double Value, string Text);

/// <summary>A metric of translations that is made of sums over sentences, so that test sets can be resampled. Equal to sacreBLEU 2.6.0, signatures included.</summary>
public abstract class TranslationMetric
{
    /// <summary>sacreBLEU's name of it: BLEU, chrF2, TER.</summary>
    public abstract string Name { get; }

    /// <summary>What a sentence adds to the sums.</summary>
    /// <param name="hypothesis">The translation.</param>
    /// <param name="references">One or more of people's.</param>
    protected internal abstract double[] Statistics(string hypothesis, IReadOnlyList<string> references);

    /// <summary>The figure of sums.</summary>
    protected internal abstract MetricScore Score(double[] sums);

    /// <summary>The figure of one sentence.</summary>
    public virtual MetricScore Sentence(string hypothesis, IReadOnlyList<string> references) => Score(Statistics(hypothesis, references));

    /// <summary>The figure of a test set.</summary>
    /// <param name="hypotheses">Translations.</param>
    /// <param name="references">Of each translation, one or more.</param>
    /// <exception cref="InvalidDataException">Different counts, or a sentence without reference.</exception>
    public MetricScore Corpus(IReadOnlyList<string> hypotheses, IReadOnlyList<IReadOnlyList<string>> references) => Score(Sum(AllStatistics(hypotheses, references)));

    internal double[][] AllStatistics(IReadOnlyList<string> hypotheses, IReadOnlyList<IReadOnlyList<string>> references)
    {
        if (hypotheses.Count != references.Count) throw new InvalidDataException($"Found {hypotheses.Count} hypotheses and references of {references.Count} sentences. Expected as many.");
        if (hypotheses.Count == 0) throw new InvalidDataException("Found no sentences. Expected at least one.");
        for (var i = 0; i < references.Count; i++)
            if (references[i].Count == 0) throw new InvalidDataException($"Found no reference for sentence {i + 1}. Expected at least one.");
        var all = new double[hypotheses.Count][];
        InParallel.For(all.Length, i => all[i] = Statistics(hypotheses[i], references[i]));
        return all;
    }

    internal static double[] Sum(IEnumerable<double[]> statistics)
    {
        double[]? sums = null;
        foreach (var one in statistics)
        {
            sums ??= new double[one.Length];
            for (var i = 0; i < one.Length; i++) sums[i] += one[i];
        }
        return sums ?? [];
    }

    /// <summary>The settings behind a figure, so that it can be compared: nrefs, case, tokenizer, smoothing …</summary>
    /// <param name="references">Of each sentence.</param>
    /// <param name="between">Parts behind nrefs, for example of a resampling.</param>
    public string Signature(IReadOnlyList<IReadOnlyList<string>> references, string between = "")
    {
        var counts = references.Select(r => r.Count).Distinct().ToList();
        return $"nrefs:{(counts.Count == 1 ? counts[0].ToString(CultureInfo.InvariantCulture) : "var")}|{between}{Settings}|version:2.6.0";
    }

    private protected abstract string Settings { get; }

    private protected static string Format(FormattableString text) => text.ToString(CultureInfo.InvariantCulture);

    private protected static Dictionary<string, int> Ngrams(IReadOnlyList<string> tokens, int n, string separator)
    {
        var counts = new Dictionary<string, int>(StringComparer.Ordinal);
        for (var i = 0; i + n <= tokens.Count; i++)
        {
            var ngram = n == 1 ? tokens[i] : string.Join(separator, tokens.Skip(i).Take(n));
            counts[ngram] = counts.GetValueOrDefault(ngram) + 1;
        }
        return counts;
    }
}

/// <summary>BLEU and what it is made of.</summary>
/// <param name="Value">0 to 100.</param>
/// <param name="Text">As sacreBLEU prints it.</param>
/// <param name="Counts">n-grams that match, of each order.</param>
/// <param name="Totals">n-grams of the hypotheses.</param>
/// <param name="Precisions">Their ratio in percent, smoothed.</param>
/// <param name="BrevityPenalty">exp(1 - r/c) where the hypotheses are shorter.</param>
/// <param name="HypothesisLength">c, tokens.</param>
/// <param name="ReferenceLength">r, tokens of the closest references.</param>
public sealed record BleuScore(double Value, string Text, IReadOnlyList<double> Counts, IReadOnlyList<double> Totals, IReadOnlyList<double> Precisions, double BrevityPenalty, long HypothesisLength, long ReferenceLength) : MetricScore(Value, Text);

/// <summary>BLEU: min(1, e^(1 - r/c)) exp(Σ ln p_n / N) (Papineni et al. 2002).</summary>
public sealed class Bleu : TranslationMetric
{
    /// <summary>13a, intl, zh, char or none.</summary>
    public string Tokenize { get; init; } = "13a";
    /// <summary>Case does not count.</summary>
    public bool Lowercase { get; init; }
    /// <summary>exp, floor, add-k or none.</summary>
    public string Smoothing { get; init; } = "exp";
    /// <summary>Of floor (0.1) and add-k (1).</summary>
    public double? SmoothingValue { get; init; }
    /// <summary>N. <value>4</value></summary>
    public int MaxOrder { get; init; } = 4;
    /// <summary>Leaves out orders that the hypothesis is too short for (for sentences).</summary>
    public bool EffectiveOrder { get; init; }

    /// <inheritdoc/>
    public override string Name => "BLEU";

    private double K => SmoothingValue ?? (Smoothing == "floor" ? 0.1 : 1);

    private protected override string Settings => $"case:{(Lowercase ? "lc" : "mixed")}|eff:{(EffectiveOrder ? "yes" : "no")}|tok:{Tokenize}|smooth:{Smoothing}{(Smoothing is "floor" or "add-k" ? Format($"[{K:0.00}]") : "")}";

    private List<string> Tokens(string text) => PythonText.Split(MetricTokenizers.Tokenize(Tokenize, PythonText.TrimEnd(Lowercase ? PythonText.Lower(text) : text)));

    /// <summary>[c, r, matches of each order, n-grams of each order].</summary>
    protected internal override double[] Statistics(string hypothesis, IReadOnlyList<string> references)
    {
        if (Smoothing is not ("exp" or "floor" or "add-k" or "none")) throw new InvalidDataException($"Found the smoothing '{Smoothing}'. Expected exp, floor, add-k or none.");
        var (tokens, refs) = (Tokens(hypothesis), references.Select(Tokens).ToList());
        var found = new double[2 + 2 * MaxOrder];
        found[0] = tokens.Count;
        found[1] = refs.Select(r => r.Count).OrderBy(l => Math.Abs(l - tokens.Count)).ThenBy(l => l).First();
        for (var n = 1; n <= MaxOrder; n++)
        {
            var most = new Dictionary<string, int>(StringComparer.Ordinal);
            foreach (var reference in refs)
                foreach (var (ngram, count) in Ngrams(reference, n, " ")) most[ngram] = Math.Max(count, most.GetValueOrDefault(ngram));
            foreach (var (ngram, count) in Ngrams(tokens, n, " "))
            {
                found[1 + n] += Math.Min(count, most.GetValueOrDefault(ngram));
                found[1 + MaxOrder + n] += count;
            }
        }
        return found;
    }

    /// <summary>The figure of sums, a <see cref="BleuScore"/>.</summary>
    protected internal override MetricScore Score(double[] sums)
    {
        var (c, r, counts, totals) = (sums[0], sums[1], sums[2..(2 + MaxOrder)], sums[(2 + MaxOrder)..]);
        var penalty = c >= r ? 1 : c > 0 ? Math.Exp(1 - r / c) : 0;
        var precisions = new double[MaxOrder];
        double value = 0;
        if (counts.Any(x => x != 0))
        {
            var (halvings, order) = (1.0, MaxOrder);
            for (var n = 0; n < MaxOrder; n++)
            {
                if (Smoothing == "add-k" && n > 0) (counts[n], totals[n]) = (counts[n] + K, totals[n] + K);
                if (totals[n] == 0) break;
                if (EffectiveOrder) order = n + 1;
                if (counts[n] > 0) precisions[n] = 100 * counts[n] / totals[n];
                else if (Smoothing == "exp") precisions[n] = 100 / ((halvings *= 2) * totals[n]);
                else if (Smoothing == "floor") precisions[n] = 100 * K / totals[n];
            }
            value = penalty * Math.Exp(precisions[..order].Sum(p => p == 0 ? -9999999999 : Math.Log(p)) / order);
        }
        var text = Format($"BLEU = {value:0.00} {string.Join('/', precisions.Select(p => Format($"{p:0.0}")))} (BP = {penalty:0.000} ratio = {(r > 0 ? c / r : 0):0.000} hyp_len = {c:0} ref_len = {r:0})");
        return new BleuScore(value, text, counts, totals, precisions, penalty, (long)c, (long)r);
    }

    /// <summary>Sentence BLEU with the orders that the sentence is long enough for, as sacreBLEU's command line gives it.</summary>
    public override MetricScore Sentence(string hypothesis, IReadOnlyList<string> references)
    {
        var effective = EffectiveOrder ? this : new Bleu { Tokenize = Tokenize, Lowercase = Lowercase, Smoothing = Smoothing, SmoothingValue = SmoothingValue, MaxOrder = MaxOrder, EffectiveOrder = true };
        return effective.Score(effective.Statistics(hypothesis, references));
    }
}

/// <summary>chrF: the F-score of character n-grams, averaged over the orders; with words chrF+ and chrF++ (Popović 2015, 2017).</summary>
public sealed class ChrF : TranslationMetric
{
    private const double Epsilon = 1e-16;

    /// <summary>Longest character n-grams. <value>6</value></summary>
    public int CharacterOrder { get; init; } = 6;
    /// <summary>Longest word n-grams: 0 chrF, 1 chrF+, 2 chrF++. <value>0</value></summary>
    public int WordOrder { get; init; }
    /// <summary>How much recall weighs. <value>2</value></summary>
    public int Beta { get; init; } = 2;
    /// <summary>Case does not count.</summary>
    public bool Lowercase { get; init; }
    /// <summary>Blanks are characters too.</summary>
    public bool Whitespace { get; init; }
    /// <summary>F of each order, averaged over all of them, 1e-16 for what is missing (chrF++.py, Moses, NLTK).</summary>
    public bool EpsilonSmoothing { get; init; }

    /// <inheritdoc/>
    public override string Name => $"chrF{Beta}{new string('+', WordOrder)}";

    private protected override string Settings => $"case:{(Lowercase ? "lc" : "mixed")}|eff:{(EpsilonSmoothing ? "no" : "yes")}|nc:{CharacterOrder}|nw:{WordOrder}|space:{(Whitespace ? "yes" : "no")}";

    private List<Dictionary<string, int>> AllNgrams(string text)
    {
        if (Lowercase) text = PythonText.Lower(text);
        var letters = PythonText.CodePoints(Whitespace ? text : string.Concat(PythonText.Split(text))).Select(p => PythonText.Text([p])).ToList();
        var all = Enumerable.Range(1, CharacterOrder).Select(n => Ngrams(letters, n, "")).ToList();
        if (WordOrder == 0) return all;
        var words = PythonText.Split(text).SelectMany(Words).ToList();
        all.AddRange(Enumerable.Range(1, WordOrder).Select(n => Ngrams(words, n, " ")));
        return all;
    }

    // One punctuation mark at the end of a word, else one at its beginning, is a word of its own.
    private static IEnumerable<string> Words(string word) => word.Length == 1 || PythonText.CodePoints(word).Length == 1 ? [word]
        : IsPunctuation(word[^1]) ? [word[..^1], word[^1..]] : IsPunctuation(word[0]) ? [word[..1], word[1..]] : [word];

    private static bool IsPunctuation(char c) => c < 128 && (char.IsPunctuation(c) || char.IsSymbol(c));

    /// <summary>[n-grams of the hypothesis, of the reference, in both] of each order, against the best reference.</summary>
    protected internal override double[] Statistics(string hypothesis, IReadOnlyList<string> references)
    {
        var ours = AllNgrams(hypothesis);
        double[] best = [];
        var most = -1.0;
        foreach (var reference in references)
        {
            var theirs = AllNgrams(reference);
            var found = new double[3 * ours.Count];
            for (var n = 0; n < ours.Count; n++)
            {
                found[3 * n] = theirs[n].Count > 0 ? ours[n].Values.Sum() : 0;
                found[3 * n + 1] = theirs[n].Values.Sum();
                found[3 * n + 2] = ours[n].Sum(p => Math.Min(p.Value, theirs[n].GetValueOrDefault(p.Key)));
            }
            if (F(found) is var f && f > most) (most, best) = (f, found);
        }
        return best;
    }

    private double F(double[] sums)
    {
        double factor = Beta * Beta, score = 0, precision = 0, recall = 0;
        var orders = 0;
        for (var i = 0; i < sums.Length; i += 3)
        {
            var (ours, theirs, both) = (sums[i], sums[i + 1], sums[i + 2]);
            double p = ours > 0 ? both / ours : Epsilon, r = theirs > 0 ? both / theirs : Epsilon;
            score += factor * p + r > 0 ? (1 + factor) * p * r / (factor * p + r) : Epsilon;
            if (ours > 0 && theirs > 0) (precision, recall, orders) = (precision + p, recall + r, orders + 1);
        }
        if (EpsilonSmoothing) return 100 * score / (sums.Length / 3);
        if (orders == 0 || precision + recall == 0) return 0;
        (precision, recall) = (precision / orders, recall / orders);
        return 100 * (1 + factor) * precision * recall / (factor * precision + recall);
    }

    /// <inheritdoc/>
    protected internal override MetricScore Score(double[] sums) => F(sums) is var f ? new(f, Format($"{Name} = {f:0.00}")) : null!;
}

/// <summary>TER: edits and shifts that turn the translation into the reference, of each hundred words of it (Snover et al. 2006), by Tercom's heuristics.</summary>
public sealed class Ter : TranslationMetric
{
    private const int LongestShift = 10, FarthestShift = 50, MostCandidates = 1000, Beam = 25, Infinity = 1_000_000_000;

    /// <summary>Punctuation is split off, XML's signs are read.</summary>
    public bool Normalized { get; init; }
    /// <summary>Punctuation is taken away.</summary>
    public bool NoPunctuation { get; init; }
    /// <summary>The two for Asian scripts too.</summary>
    public bool AsianSupport { get; init; }
    /// <summary>Case counts.</summary>
    public bool CaseSensitive { get; init; }

    /// <inheritdoc/>
    public override string Name => "TER";

    private protected override string Settings => $"case:{(CaseSensitive ? "mixed" : "lc")}|tok:tercom|norm:{(Normalized ? "yes" : "no")}|punct:{(NoPunctuation ? "no" : "yes")}|asian:{(AsianSupport ? "yes" : "no")}";

    private string[] Words(string text) => [.. PythonText.Split(MetricTokenizers.Tercom(PythonText.TrimEnd(text), Normalized, NoPunctuation, AsianSupport, CaseSensitive))];

    /// <summary>[fewest edits over the references, their mean length].</summary>
    protected internal override double[] Statistics(string hypothesis, IReadOnlyList<string> references)
    {
        var words = Words(hypothesis);
        var (least, length) = (double.MaxValue, 0.0);
        foreach (var reference in references)
        {
            var theirs = Words(reference);
            least = Math.Min(least, Edits(words, theirs));
            length += theirs.Length;
        }
        return [least, length / references.Count];
    }

    /// <inheritdoc/>
    protected internal override MetricScore Score(double[] sums)
    {
        var value = 100 * (sums[1] > 0 ? sums[0] / sums[1] : sums[0] > 0 ? 1 : 0);
        return new(value, Format($"TER = {value:0.00}"));
    }

    /// <summary>Shifts, as long as one lessens the edit distance, and what distance is left.</summary>
    internal static int Edits(string[] words, string[] reference)
    {
        if (reference.Length == 0) return words.Length;
        var (shifts, candidates) = (0, 0);
        while (BestShift(words, reference, ref candidates) is { } shifted && candidates < MostCandidates)
        {
            shifts++;
            words = shifted;
        }
        return shifts + Distance(words, reference).Edits;
    }

    private enum Edit : byte { None, Keep, Replace, Insert, Delete }

    // Levenshtein's distance near the diagonal, and the edits that lead there.
    private static (int Edits, List<Edit> Path) Distance(string[] words, string[] reference)
    {
        var (n, m) = (words.Length, reference.Length);
        var ratio = n > 0 ? (double)m / n : 1;
        var beam = Beam < ratio / 2 ? (int)Math.Ceiling(ratio / 2 + Beam) : Beam;
        var (cost, step) = (new int[n + 1, m + 1], new Edit[n + 1, m + 1]);
        for (var j = 0; j <= m; j++) (cost[0, j], step[0, j]) = (j, Edit.Insert);
        for (var i = 1; i <= n; i++)
        {
            var middle = (int)Math.Floor(i * ratio);
            var (from, to) = (Math.Max(0, middle - beam), i == n ? m + 1 : Math.Min(m + 1, middle + beam));
            for (var j = 0; j <= m; j++) cost[i, j] = Infinity;
            for (var j = from; j < to; j++)
            {
                if (j == 0) { (cost[i, j], step[i, j]) = (cost[i - 1, j] + 1, Edit.Delete); continue; }
                var isSame = string.Equals(words[i - 1], reference[j - 1], StringComparison.Ordinal);
                Try(cost[i - 1, j - 1] + (isSame ? 0 : 1), isSame ? Edit.Keep : Edit.Replace);
                Try(cost[i - 1, j] + 1, Edit.Delete);
                Try(cost[i, j - 1] + 1, Edit.Insert);

                void Try(int with, Edit edit)
                {
                    if (with < cost[i, j]) (cost[i, j], step[i, j]) = (with, edit);
                }
            }
        }
        var path = new List<Edit>();
        for (int i = n, j = m; i > 0 || j > 0;)
        {
            path.Add(step[i, j]);
            if (step[i, j] != Edit.Insert) i--;
            if (path[^1] != Edit.Delete) j--;
        }
        path.Reverse();
        return (cost[n, m], path);
    }

    // The shift that lessens the distance most; of equal ones the longest, then the first, then that to the first place. Null: none lessens it.
    private static string[]? BestShift(string[] words, string[] reference, ref int candidates)
    {
        var (before, path) = Distance(words, reference);
        var (aligned, wrongHere, wrongThere) = Alignment(path, words.Length, reference.Length);
        (int Gain, int Length, int Start, int Target)? best = null;
        string[]? shifted = null;
        foreach (var (start, at, length) in CommonRuns(words, reference))
        {
            // Only where something is wrong on both sides, and not within itself.
            if (!wrongHere.AsSpan(start, length).Contains(true) || !wrongThere.AsSpan(at, length).Contains(true)) continue;
            if (aligned[at] >= start && aligned[at] < start + length) continue;
            var last = -1;
            for (var offset = -1; offset < length; offset++)
            {
                if (at + offset >= reference.Length) break;
                var target = at + offset < 0 ? 0 : aligned[at + offset] + 1;
                if (target == last) continue;
                last = target;
                var tried = Shift(words, start, length, target);
                candidates++;
                var rank = (before - Distance(tried, reference).Edits, length, -start, -target);
                if (best is null || rank.CompareTo(best.Value) > 0) (best, shifted) = (rank, tried);
            }
            if (candidates >= MostCandidates) break;
        }
        return best is { Gain: > 0 } ? shifted : null;
    }

    // Which hypothesis word each reference word stands beside (the last one before it, where it has none), and which words of both are in an edit.
    private static (int[] Aligned, bool[] WrongHere, bool[] WrongThere) Alignment(List<Edit> path, int n, int m)
    {
        var (aligned, here, there, i, j) = (new int[m], new bool[n], new bool[m], -1, -1);
        foreach (var edit in path)
        {
            if (edit != Edit.Insert) i++;      // a word of the hypothesis
            if (edit != Edit.Delete) aligned[++j] = i;
            if (edit is Edit.Replace or Edit.Delete) here[i] = true;
            if (edit is Edit.Replace or Edit.Insert) there[j] = true;
        }
        return (aligned, here, there);
    }

    private static IEnumerable<(int Start, int At, int Length)> CommonRuns(string[] words, string[] reference)
    {
        for (var start = 0; start < words.Length; start++)
            for (var at = Math.Max(0, start - FarthestShift); at <= Math.Min(reference.Length - 1, start + FarthestShift); at++)
                for (var length = 1; length <= LongestShift && start + length <= words.Length && at + length <= reference.Length && string.Equals(words[start + length - 1], reference[at + length - 1], StringComparison.Ordinal); length++)
                    yield return (start, at, length);
    }

    private static string[] Shift(string[] words, int start, int length, int target)
    {
        var moved = words[start..(start + length)];
        if (target < start) return [.. words[..target], .. moved, .. words[target..start], .. words[(start + length)..]];
        if (target > start + length) return [.. words[..start], .. words[(start + length)..target], .. moved, .. words[target..]];
        var end = Math.Min(words.Length, length + target);
        return [.. words[..start], .. words[(start + length)..end], .. moved, .. words[end..]];
    }
}

/// <summary>Whether the difference of two systems could be chance.</summary>
/// <param name="Baseline">Score of the one.</param>
/// <param name="System">Score of the other.</param>
/// <param name="PValue">Probability of a difference at least as large by chance.</param>
/// <param name="BaselineMean">Mean over the resamples; NaN where there are none (approximate randomization).</param>
/// <param name="BaselineInterval">Half of the 95 % interval.</param>
/// <param name="SystemMean">Of the other system.</param>
/// <param name="SystemInterval">Of the other system.</param>
public sealed record PairedResult(double Baseline, double System, double PValue, double BaselineMean, double BaselineInterval, double SystemMean, double SystemInterval);

/// <summary>Paired tests over the sentences of a test set.</summary>
public static class PairedTest
{
    /// <summary>Paired bootstrap (Koehn 2004): resamples of the sentences with replacement; p = (1 + resamples whose |difference|, less its mean, is above the real one) / (1 + resamples).</summary>
    /// <param name="metric">What is measured.</param>
    /// <param name="baseline">Translations of the one system.</param>
    /// <param name="system">Of the other.</param>
    /// <param name="references">Of each sentence.</param>
    /// <param name="samples">Resamples.</param>
    /// <param name="seed">Key of the random numbers.</param>
    public static PairedResult Bootstrap(TranslationMetric metric, IReadOnlyList<string> baseline, IReadOnlyList<string> system, IReadOnlyList<IReadOnlyList<string>> references, int samples = 1000, int seed = 12345)
    {
        var random = new Random(seed);
        return Bootstrap(metric, baseline, system, references, [.. Enumerable.Range(0, samples).Select(_ => Enumerable.Range(0, baseline.Count).Select(_ => random.Next(baseline.Count)).ToArray())]);
    }

    internal static PairedResult Bootstrap(TranslationMetric metric, IReadOnlyList<string> baseline, IReadOnlyList<string> system, IReadOnlyList<IReadOnlyList<string>> references, int[][] indices)
    {
        var (a, b) = (metric.AllStatistics(baseline, references), metric.AllStatistics(system, references));
        var (sa, sb) = (metric.Score(TranslationMetric.Sum(a)).Value, metric.Score(TranslationMetric.Sum(b)).Value);
        var (ra, rb) = (indices.Select(s => metric.Score(TranslationMetric.Sum(s.Select(i => a[i]))).Value).ToArray(), indices.Select(s => metric.Score(TranslationMetric.Sum(s.Select(i => b[i]))).Value).ToArray());
        var differences = ra.Zip(rb, (x, y) => Math.Abs(y - x)).ToArray();
        var mean = differences.Average();
        return new(sa, sb, P(differences.Select(d => d - mean), Math.Abs(sa - sb)), ra.Average(), Interval(ra), rb.Average(), Interval(rb));
    }

    /// <summary>Approximate randomization (Riezler and Maxwell 2005): each sentence's two translations change places or not.</summary>
    /// <inheritdoc cref="Bootstrap(TranslationMetric, IReadOnlyList{string}, IReadOnlyList{string}, IReadOnlyList{IReadOnlyList{string}}, int, int)"/>
    public static PairedResult Randomization(TranslationMetric metric, IReadOnlyList<string> baseline, IReadOnlyList<string> system, IReadOnlyList<IReadOnlyList<string>> references, int samples = 10_000, int seed = 12345)
    {
        var random = new Random(seed);
        return Randomization(metric, baseline, system, references, [.. Enumerable.Range(0, samples).Select(_ => Enumerable.Range(0, baseline.Count).Select(_ => random.Next(2) == 1).ToArray())]);
    }

    internal static PairedResult Randomization(TranslationMetric metric, IReadOnlyList<string> baseline, IReadOnlyList<string> system, IReadOnlyList<IReadOnlyList<string>> references, bool[][] keeps)
    {
        var (a, b) = (metric.AllStatistics(baseline, references), metric.AllStatistics(system, references));
        var (sa, sb) = (metric.Score(TranslationMetric.Sum(a)).Value, metric.Score(TranslationMetric.Sum(b)).Value);
        var differences = keeps.Select(keep => Math.Abs(metric.Score(TranslationMetric.Sum(keep.Select((k, i) => k ? a[i] : b[i]))).Value - metric.Score(TranslationMetric.Sum(keep.Select((k, i) => k ? b[i] : a[i]))).Value));
        return new(sa, sb, P(differences, Math.Abs(sa - sb)), double.NaN, double.NaN, double.NaN, double.NaN);
    }

    private static double P(IEnumerable<double> differences, double real)
    {
        var (above, all) = (0, 0);
        foreach (var d in differences)
        {
            all++;
            if (d > real) above++;
        }
        return (above + 1.0) / (all + 1);
    }

    // Half of what 95 % of the resamples lie in.
    private static double Interval(double[] scores)
    {
        var sorted = scores.Order().ToArray();
        var cut = sorted.Length / 40;
        return (sorted[^(cut + 1)] - sorted[cut]) / 2;
    }
}
