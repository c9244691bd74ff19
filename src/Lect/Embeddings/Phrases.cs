using System.Runtime.InteropServices;

namespace Lect;

/// <summary>Which pairs of words become one word, as word2phrase finds them (Mikolov et al. 2013b, section 4).</summary>
public sealed record PhraseOptions
{
    /// <summary>Passes over the text; two find phrases of up to four words. <value>0</value></summary>
    public int Passes { get; init; }
    /// <summary>Discount of a pair's count, so that rare pairs form no phrases. <value>5</value></summary>
    public long MinCount { get; init; } = 5;
    /// <summary>Pairs whose score is above it are joined; higher means fewer. <value>100</value></summary>
    public double Threshold { get; init; } = 100;
    /// <summary>
    /// <c>word2phrase</c>: (n(ab) - min_count) / n(a) / n(b) * words, both words at least min_count times; <c>gensim</c>: the same times the number of different words and pairs instead;
    /// <c>npmi</c>: ln(p(ab) / p(a) / p(b)) / -ln p(ab), -1 to 1, pairs of at least min_count (Bouma 2009). <value>word2phrase</value>
    /// </summary>
    public string Scoring { get; init; } = "word2phrase";

    internal IEnumerable<string> Faults()
    {
        if (Passes < 0) yield return $"phrases.passes = {Passes}: expected at least 0";
        if (MinCount < 0) yield return $"phrases.min_count = {MinCount}: expected at least 0";
        if (Scoring is not ("word2phrase" or "gensim" or "npmi")) yield return $"phrases.scoring = '{Scoring}': expected word2phrase, gensim or npmi";
        if (Scoring == "npmi" && Threshold is not (>= -1 and <= 1)) yield return FormattableString.Invariant($"phrases.threshold = {Threshold}: npmi's scores lie between -1 and 1, so that nothing or everything is above it; try 0.5");
    }
}

/// <summary>Pairs of words that stand together more often than their counts let expect.</summary>
internal sealed class Phrases
{
    private Phrases(Dictionary<(int, int), double> scores) => Scores = scores;

    /// <summary>Score of each pair to join, by the numbers of its words.</summary>
    public IReadOnlyDictionary<(int First, int Second), double> Scores { get; }

    /// <summary>Counts the neighbours in a file of numbers (0 ends a sentence) and scores them.</summary>
    public static Phrases Find(string file, List<string> words, List<long> counts, PhraseOptions options)
    {
        var pairs = new Dictionary<(int First, int Second), long>();
        var last = 0;
        long total = 0;
        foreach (var piece in IdFile.Read(file))
            foreach (var id in piece.Span)
            {
                if (id != 0 && last != 0) CollectionsMarshal.GetValueRefOrAddDefault(pairs, (last, id), out _)++;
                if (id != 0) total++;
                last = id;
            }
        double different = pairs.Count + counts.Skip(1).Count(c => c > 0);
        double Score((int First, int Second) pair, long together)
        {
            var (a, b) = (counts[pair.First], counts[pair.Second]);
            return options.Scoring switch
            {
                "npmi" => together < options.MinCount ? double.NegativeInfinity : Math.Log((double)together / total / ((double)a / total * ((double)b / total))) / -Math.Log((double)together / total),
                "gensim" => (double)(together - options.MinCount) / a / b * different,
                _ => a < options.MinCount || b < options.MinCount ? double.NegativeInfinity : (double)(together - options.MinCount) / a / b * total,
            };
        }
        return new(pairs.Select(p => (p.Key, Score: Score(p.Key, p.Value))).Where(p => p.Score > options.Threshold).ToDictionary(p => p.Key, p => p.Score));
    }

    /// <summary>Joins the pairs from left to right, no word in two; the new words are a_b. Changes the file, the words and their counts.</summary>
    public void Join(string file, List<string> words, List<long> counts)
    {
        var joined = new Dictionary<(int, int), int>();
        var known = words.Select((w, i) => (w, i)).ToDictionary(p => p.w, p => p.i, StringComparer.Ordinal);
        var held = 0;   // a word that the next one may be joined to, also over the border of two pieces
        IdFile.Rewrite(file, (from, to) =>
        {
            var n = 0;
            foreach (var id in from)
            {
                if (held != 0 && id != 0 && Scores.ContainsKey((held, id)))
                {
                    to[n++] = Word(held, id);
                    held = 0;
                    continue;
                }
                if (held != 0) to[n++] = held;
                held = id;
                if (id == 0) to[n++] = 0;
            }
            return n;
        });
        if (held != 0) using (var end = new FileStream(file, FileMode.Append)) end.Write(BitConverter.GetBytes(held));

        int Word(int first, int second)
        {
            if (!joined.TryGetValue((first, second), out var word))
            {
                var text = words[first] + "_" + words[second];
                if (!known.TryGetValue(text, out word))
                {
                    known[text] = word = words.Count;
                    words.Add(text);
                    counts.Add(0);
                }
                joined[(first, second)] = word;
            }
            counts[word]++;
            counts[first]--;
            counts[second]--;
            return word;
        }
    }
}
