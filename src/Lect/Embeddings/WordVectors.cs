using System.Numerics.Tensors;
using Lect.Text;

namespace Lect;

/// <summary>A word and how near it is.</summary>
/// <param name="Word">The word.</param>
/// <param name="Similarity">Cosine; for 3CosMul its score.</param>
public readonly record struct Neighbour(string Word, float Similarity);

/// <summary>
/// Words and their vectors, in memory or mapped from a file: neighbours, analogies, similarities (exact, all cores). Safe to read from many threads.
/// </summary>
public sealed class WordVectors : IDisposable
{
    private readonly Dictionary<string, int> index;
    private readonly IVectorRows rows;
    private readonly float[] inverseNorms;

    internal WordVectors(string[] words, IVectorRows rows)
    {
        (Words, this.rows) = (words, rows);
        index = new(words.Length, StringComparer.Ordinal);
        for (var i = 0; i < words.Length; i++) index.TryAdd(words[i], i);
        inverseNorms = new float[words.Length];
        Parallel.ForEach(System.Collections.Concurrent.Partitioner.Create(0, Math.Max(1, words.Length)), range =>
        {
            for (var i = range.Item1; i < Math.Min(range.Item2, words.Length); i++) inverseNorms[i] = TensorPrimitives.Norm(rows[i]) is > 0 and var norm ? 1 / norm : 0;
        });
    }

    /// <summary>Makes vectors of numbers in memory, row after row.</summary>
    /// <param name="words">Distinct words, the most frequent first.</param>
    /// <param name="values">[words, dimension].</param>
    public WordVectors(IReadOnlyList<string> words, ReadOnlySpan<float> values) : this([.. words], Copy(words.Count, values)) { }

    private static OwnRows Copy(int words, ReadOnlySpan<float> values)
    {
        if (words == 0 || values.Length == 0 || values.Length % words != 0) throw new ArgumentException($"Found {values.Length} numbers for {words} words. Expected a multiple.", nameof(values));
        var made = new OwnRows(words, values.Length / words);
        for (var i = 0; i < words; i++) values.Slice(i * made.Width, made.Width).CopyTo(made[i]);
        return made;
    }

    /// <summary>The words, as a rule the most frequent first.</summary>
    public IReadOnlyList<string> Words { get; }

    /// <summary>Numbers of a vector.</summary>
    public int Dimension => rows.Width;

    /// <summary>Occurrences of each word, where the vectors' folder tells.</summary>
    public IReadOnlyList<long>? Counts
    {
        get;
        internal set
        {
            field = value;
            total = Math.Max(1.0, value?.Sum() ?? 0);
        }
    }

    /// <summary>What gives unknown words their vectors; null: nothing does.</summary>
    internal Subwords? Subwords { get; set; }

    /// <summary>The rows of n-grams, behind those of the words.</summary>
    internal Matrix<float>? NgramRows { get; set; }

    /// <summary>The number of a word; -1: not there.</summary>
    public int IndexOf(string word) => index.GetValueOrDefault(word, -1);

    /// <summary>The vector of a word by its number.</summary>
    /// <exception cref="ArgumentOutOfRangeException">No such number.</exception>
    public ReadOnlySpan<float> this[int word] => (uint)word < (uint)Words.Count ? rows[word] : throw new ArgumentOutOfRangeException(nameof(word), word, $"Expected 0 to {Words.Count - 1}.");

    /// <summary>The vector of a word; of one that is not there the mean of its subwords', if these were trained.</summary>
    /// <exception cref="InvalidDataException">Not there; the message proposes the nearest spelling.</exception>
    public float[] Vector(string word) => TryVector(word) ?? throw Unknown(word);

    /// <summary>The vector of a word, or null.</summary>
    public float[]? TryVector(string word)
    {
        if (IndexOf(word) is >= 0 and var i) return this[i].ToArray();
        return FromNgrams(word);
    }

    private float[]? FromNgrams(string word)
    {
        if (Subwords is null || Subwords.Of(word) is not { Length: > 0 } ngrams) return null;
        var sum = new float[Dimension];
        foreach (var row in ngrams) TensorPrimitives.Add(sum, NgramRows!.Row(row), sum);
        TensorPrimitives.Divide(sum, ngrams.Length, sum);
        return sum;
    }

    private InvalidDataException Unknown(string word)
    {
        var near = Spelling.Nearest(word, Words);
        return new($"Found the word '{word}', which has no vector. Expected one of the {Words.Count:N0} words" + (near is null ? "." : $"; the nearest spelling is '{near}'."));
    }

    private float[] Unit(string word)
    {
        var vector = Vector(word);
        Normalize(vector);
        return vector;
    }

    /// <summary>Makes a vector one of unit length, if it is not 0.</summary>
    internal static void Normalize(Span<float> vector)
    {
        if (TensorPrimitives.Norm<float>(vector) is > 0 and var norm) TensorPrimitives.Divide(vector, norm, vector);
    }

    /// <summary>Cosine of two words.</summary>
    /// <exception cref="InvalidDataException">One is not there.</exception>
    public float Similarity(string a, string b) => TensorPrimitives.Dot(Unit(a), Unit(b));

    /// <summary>Cosine of the means of two groups' vectors (as they are, not of unit length).</summary>
    public float Similarity(IEnumerable<string> a, IEnumerable<string> b) => TensorPrimitives.CosineSimilarity(Mean(a), Mean(b));

    private float[] Mean(IEnumerable<string> words)
    {
        var (sum, count) = (new float[Dimension], 0);
        foreach (var word in words)
        {
            TensorPrimitives.Add(sum, Vector(word), sum);
            count++;
        }
        if (count == 0) throw new InvalidDataException("Found no words. Expected at least one.");
        TensorPrimitives.Divide(sum, count, sum);
        return sum;
    }

    /// <summary>The word that fits least: the one with the smallest cosine to the mean of the unit vectors.</summary>
    /// <returns>All words and their cosines, falling: the odd one is the last.</returns>
    public IReadOnlyList<Neighbour> OddOneOut(IReadOnlyList<string> words)
    {
        if (words.Count == 0) throw new InvalidDataException("Found no words. Expected at least two.");
        var units = words.Select(Unit).ToList();
        var mean = Sum(units.Select(u => (u, 1f)));
        return [.. words.Select((w, i) => new Neighbour(w, TensorPrimitives.Dot(units[i], mean))).OrderByDescending(n => n.Similarity)];
    }

    /// <summary>Cosine of two words by their numbers.</summary>
    internal float Cosine(int a, int b) => TensorPrimitives.Dot(this[a], this[b]) * (inverseNorms[a] * inverseNorms[b]);   // the same for (b, a)

    /// <summary>The weighted sum of words' unit vectors, of unit length.</summary>
    internal float[] Combine(IEnumerable<(int Word, float Weight)> words)
    {
        var sum = new float[Dimension];
        foreach (var (word, weight) in words) TensorPrimitives.MultiplyAdd(this[word], weight * inverseNorms[word], sum, sum);
        Normalize(sum);
        return sum;
    }

    // Of unit length.
    private float[] Sum(IEnumerable<(float[] Unit, float Weight)> parts)
    {
        var sum = new float[Dimension];
        foreach (var (unit, weight) in parts) TensorPrimitives.MultiplyAdd(unit, weight, sum, sum);
        Normalize(sum);
        return sum;
    }

    /// <summary>The words nearest to a word, itself left out.</summary>
    /// <param name="word">The word.</param>
    /// <param name="count">How many.</param>
    /// <param name="restrict">Looks among the first so many words; 0: all.</param>
    public IReadOnlyList<Neighbour> Nearest(string word, int count = 10, int restrict = 0) => MostSimilar([(word, 1)], count, restrict);

    /// <summary>The words nearest to each of some words, in one pass over the vectors.</summary>
    public IReadOnlyList<IReadOnlyList<Neighbour>> Nearest(IReadOnlyList<string> words, int count = 10, int restrict = 0) =>
        [.. Search([.. words.Select(Unit)], count, restrict, [.. words.Select(w => new[] { IndexOf(w) })]).Select(Named)];

    /// <summary>The words nearest to a vector.</summary>
    public IReadOnlyList<Neighbour> Nearest(ReadOnlySpan<float> vector, int count = 10, int restrict = 0)
    {
        if (vector.Length != Dimension) throw new InvalidDataException($"Found a vector of {vector.Length} numbers. Expected {Dimension}.");
        return Named(Search([Sum([(vector.ToArray(), 1)])], count, restrict, [[]])[0]);
    }

    /// <summary>The words whose cosine to the weighted sum of the given words' unit vectors is greatest; these are left out.</summary>
    public IReadOnlyList<Neighbour> MostSimilar(IReadOnlyList<(string Word, float Weight)> words, int count = 10, int restrict = 0)
    {
        var query = Sum(words.Select(w => (Unit(w.Word), w.Weight)));
        return Named(Search([query], count, restrict, [[.. words.Select(w => IndexOf(w.Word))]])[0]);
    }

    /// <summary>b - a + c by addition of cosines (3CosAdd: Mikolov et al. 2013c, NAACL): a is to b as c is to the answer.</summary>
    public IReadOnlyList<Neighbour> Analogy(string a, string b, string c, int count = 10, int restrict = 0) => MostSimilar([(b, 1), (c, 1), (a, -1)], count, restrict);

    /// <summary>The same by multiplication (3CosMul: Levy and Goldberg 2014, CoNLL): cos'(x, b) cos'(x, c) / (cos'(x, a) + 1e-6), cos' = (1 + cos) / 2.</summary>
    public IReadOnlyList<Neighbour> AnalogyByMultiplication(string a, string b, string c, int count = 10, int restrict = 0) => MostSimilarByMultiplication([b, c], [a], count, restrict);

    /// <summary>The product of cos' to the positive words over that to the negative ones; all of them are left out.</summary>
    public IReadOnlyList<Neighbour> MostSimilarByMultiplication(IReadOnlyList<string> positive, IReadOnlyList<string> negative, int count = 10, int restrict = 0)
    {
        var (up, down) = (positive.Select(Unit).ToList(), negative.Select(Unit).ToList());
        return Named(Scan(count, restrict, [[.. positive.Concat(negative).Select(IndexOf)]], (i, _) =>
        {
            var (above, below) = (1f, 1f);
            foreach (var unit in up) above *= (1 + TensorPrimitives.Dot(rows[i], unit) * inverseNorms[i]) / 2;
            foreach (var unit in down) below *= (1 + TensorPrimitives.Dot(rows[i], unit) * inverseNorms[i]) / 2;
            return above / (below + 1e-6f);
        })[0]);
    }

    private Neighbour[] Named(IEnumerable<(int Word, float Score)> found) => [.. found.Select(f => new Neighbour(Words[f.Word], f.Score))];

    private int Limit(int restrict) => restrict > 0 ? Math.Min(restrict, Words.Count) : Words.Count;

    /// <summary>The words of greatest cosine to each of some unit vectors: one pass over the rows for all of them.</summary>
    internal IReadOnlyList<(int Word, float Score)>[] Search(IReadOnlyList<float[]> queries, int count, int restrict, IReadOnlyList<int[]> skipped) =>
        Scan(count, restrict, skipped, (i, q) => TensorPrimitives.Dot(rows[i], queries[q]) * inverseNorms[i]);

    // The words of the highest score (of a row, for a query), for as many queries as there are lists of words to skip.
    private IReadOnlyList<(int Word, float Score)>[] Scan(int count, int restrict, IReadOnlyList<int[]> skipped, Func<int, int, float> score)
    {
        if (count < 1) throw new InvalidDataException($"Found a count of {count}. Expected at least 1.");
        const int Rows = 4096;
        var limit = Limit(restrict);
        var best = skipped.Select(_ => new Best(count)).ToArray();
        Parallel.For(0, (limit + Rows - 1) / Rows, () => skipped.Select(_ => new Best(count)).ToArray(), (block, _, own) =>
        {
            for (var i = block * Rows; i < Math.Min(limit, (block + 1) * Rows); i++)
            {
                for (var q = 0; q < own.Length; q++)
                {
                    var found = score(i, q);
                    if (own[q].Takes(i, found) && Array.IndexOf(skipped[q], i) < 0) own[q].Add(i, found);
                }
            }
            return own;
        }, own =>
        {
            lock (best)
                for (var q = 0; q < own.Length; q++) best[q].Add(own[q]);
        });
        return [.. best.Select(f => f.Sorted())];
    }

    /// <summary>The best of what it is told, equal ones by their number.</summary>
    private sealed class Best(int count)
    {
        private readonly PriorityQueue<int, (float Score, int Order)> queue = new();

        public bool Takes(int word, float score) => queue.Count < count || (queue.TryPeek(out _, out var least) && (score, -word).CompareTo(least) > 0);

        public void Add(int word, float score)
        {
            if (!Takes(word, score)) return;
            if (queue.Count == count) queue.DequeueEnqueue(word, (score, -word));
            else queue.Enqueue(word, (score, -word));
        }

        public void Add(Best other)
        {
            foreach (var (word, priority) in other.queue.UnorderedItems) Add(word, priority.Score);
        }

        public IReadOnlyList<(int Word, float Score)> Sorted() => [.. queue.UnorderedItems.OrderByDescending(i => i.Priority).Select(i => (i.Element, i.Priority.Score))];
    }

    /// <summary>The weighted mean of a text's word vectors; words without a vector are passed over (tried in lower case first).</summary>
    /// <param name="text">Words, found as <see cref="WordSplitting"/>'s kind <c>text</c> finds them; what stands between spaces counts as it is if it has a vector.</param>
    /// <param name="sif">Weights a / (a + p(w)) with a = 1e-3 (Arora et al. 2017, "smooth inverse frequency"; p from <see cref="Counts"/>, else 1 / rank by Zipf's law); false: all equal.</param>
    /// <exception cref="InvalidDataException">No word of it has a vector.</exception>
    public float[] Embed(string text, bool sif = false)
    {
        var (sum, weights) = (new float[Dimension], 0f);
        foreach (var word in WordsOf(text))
        {
            var known = Known(word);
            if ((known >= 0 ? this[known].ToArray() : FromNgrams(word)) is not { } vector) continue;
            var weight = sif ? (float)(1e-3 / (1e-3 + Probability(known))) : 1;
            TensorPrimitives.MultiplyAdd(vector, weight, sum, sum);
            weights += weight;
        }
        if (weights == 0) throw new InvalidDataException($"Found no word with a vector in '{(text.Length > 60 ? text[..60] + "…" : text)}'. Expected at least one of the {Words.Count:N0} words.");
        TensorPrimitives.Divide(sum, weights, sum);
        return sum;
    }

    private IEnumerable<string> WordsOf(string text)
    {
        foreach (var piece in text.Split((char[]?)null, StringSplitOptions.RemoveEmptyEntries))
        {
            if (IndexOf(piece) >= 0) { yield return piece; continue; }
            var words = new List<string>();
            var splitter = new WordSplitter(new() { Kind = "text" }, w => words.Add(w.ToString()), () => { });
            splitter.Add(piece);
            splitter.EndDocument();
            foreach (var word in words) yield return word;
        }
    }

    private int Known(string word) => IndexOf(word) is >= 0 and var own ? own : IndexOf(word.ToLowerInvariant());

    private double Probability(int i)
    {
        if (i < 0) return 0;
        return Counts is null ? 1 / ((i + 1) * (Math.Log(Words.Count) + 0.5772)) : Counts[i] / total;
    }

    private double total = 1;

    /// <inheritdoc/>
    public void Dispose()
    {
        rows.Dispose();
        NgramRows?.Dispose();
    }
}

/// <summary>Where the numbers are.</summary>
internal interface IVectorRows : IDisposable
{
    int Width { get; }
    ReadOnlySpan<float> this[int row] { get; }
}

/// <summary>Rows in memory: of their own, or another's as long as it lives.</summary>
internal sealed class OwnRows(Matrix<float> matrix, bool owns = false) : IVectorRows
{
    public OwnRows(long count, int width) : this(new(count, width), owns: true) { }

    public int Width => matrix.Width;
    ReadOnlySpan<float> IVectorRows.this[int row] => matrix.Row(row);
    public Span<float> this[int row] => matrix.Row(row);

    public void Dispose()
    {
        if (owns) matrix.Dispose();
    }
}

/// <summary>Which word was meant.</summary>
internal static class Spelling
{
    /// <summary>The word of the least edit distance (at most a third of the letters), of equal ones the first; null: none is near.</summary>
    public static string? Nearest(string word, IReadOnlyList<string> words)
    {
        if (words.FirstOrDefault(w => w.Equals(word, StringComparison.OrdinalIgnoreCase)) is { } same) return same;
        var (best, least) = ((string?)null, Math.Max(1, word.Length / 3) + 1);
        foreach (var other in words)
            if (Math.Abs(other.Length - word.Length) < least && Distance(word, other, least) is var d && d < least) (best, least) = (other, d);
        return best;
    }

    // Levenshtein, given up at the limit.
    private static int Distance(string a, string b, int limit)
    {
        Span<int> row = b.Length < 256 ? stackalloc int[b.Length + 1] : new int[b.Length + 1];
        for (var j = 0; j <= b.Length; j++) row[j] = j;
        for (var i = 1; i <= a.Length; i++)
        {
            var (diagonal, least) = (row[0], row[0] = i);
            for (var j = 1; j <= b.Length; j++)
            {
                var above = row[j];
                row[j] = Math.Min(Math.Min(above, row[j - 1]) + 1, diagonal + (a[i - 1] == b[j - 1] ? 0 : 1));
                (diagonal, least) = (above, Math.Min(least, row[j]));
            }
            if (least >= limit) return limit;
        }
        return row[b.Length];
    }
}
