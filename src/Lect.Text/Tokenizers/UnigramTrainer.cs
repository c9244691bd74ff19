namespace Lect.Text;

/// <summary>
/// Learns a unigram vocabulary (Kudo 2018, section 3.2): from all substrings that occur again, expectation maximization finds how probable each piece is, and the pieces whose loss
/// costs the text's likelihood least are dropped, a quarter at a time, until the wanted number is left. Pieces and scores equal those of Hugging Face's UnigramTrainer.
/// </summary>
/// <remarks>Words are counted once each and worked on by all cores; sums are made in a fixed order, so that the result does not depend on their number.</remarks>
internal sealed class UnigramTrainer
{
    private const int Parts = 16;
    private const double LeastCount = 0.5, ScoreStep = 1e-4;

    public required int VocabularySize { get; init; }
    public IReadOnlyList<string> SpecialTokens { get; init; } = [];
    public double ShrinkingFactor { get; init; } = 0.75;
    public int SubIterations { get; init; } = 2;
    public int MaxPieceLength { get; init; } = 16;
    public int SeedSize { get; init; } = 1_000_000;
    public int Threads { get; init; } = Environment.ProcessorCount;

    private (string Text, long Count)[] words = [];

    /// <summary>Learns from words and how often each occurs.</summary>
    /// <returns>The special tokens with score 0, then pieces by falling score (natural logarithms).</returns>
    /// <exception cref="InvalidDataException">There are more different characters than tokens.</exception>
    public List<(string Text, double Score)> Train(IEnumerable<KeyValuePair<string, long>> counts)
    {
        words = [.. counts.Where(p => p.Key.Length > 0).OrderBy(p => p.Key, StringComparer.Ordinal).Select(p => (p.Key, p.Value))];
        var characters = words.SelectMany(w => NormalizedText.Characters(w.Text)).Distinct(StringComparer.Ordinal).Order(StringComparer.Ordinal).ToList();
        if (characters.Count + SpecialTokens.Count > VocabularySize) throw new InvalidDataException($"Found {characters.Count} different characters and {SpecialTokens.Count} special tokens for a vocabulary of {VocabularySize}. Raise tokenizer.size (--size), or clean the text.");
        var (pieces, desired) = (Seeds(), VocabularySize * 11 / 10);
        while (true)
        {
            for (var i = 0; i < SubIterations; i++) pieces = Maximize(pieces, Expect(new(pieces)));
            if (pieces.Count + 1 <= desired) return Finish(pieces, characters);
            pieces = Prune(pieces, desired);
        }
    }

    // Characters by their number in the text, then substrings of the words by (times they occur in different words) x length: as the library, whose search does not weigh by the words' counts.
    private List<(string Text, double Score)> Seeds()
    {
        var pieces = new List<(string Text, double Score)>();
        foreach (var group in words.SelectMany(w => NormalizedText.Characters(w.Text).Select(c => (c, w.Count))).GroupBy(p => p.c, p => p.Count, StringComparer.Ordinal).Select(g => (g.Key, Sum: g.Sum())).OrderByDescending(g => g.Sum).ThenBy(g => g.Key, StringComparer.Ordinal)) pieces.Add((group.Key, group.Sum));
        pieces.AddRange(Substrings().OrderByDescending(s => s.Score).ThenByDescending(s => s.Text, StringComparer.Ordinal).Take(Math.Max(0, SeedSize - pieces.Count)));
        var sum = Math.Log(pieces.Sum(p => p.Score));
        return [.. pieces.Select(p => (p.Text, Math.Log(p.Score) - sum))];
    }

    // Substrings of two or more characters that something different follows at some of their places: the inner nodes of the suffix tree, found in the sorted suffixes.
    private List<(string Text, double Score)> Substrings()
    {
        var text = new List<int>();
        foreach (var (word, _) in words)
        {
            foreach (var c in NormalizedText.Characters(word)) text.Add(char.ConvertToUtf32Lenient(c));
            text.Add(0);
        }
        var (all, most) = (text.ToArray(), MaxPieceLength + 1);
        var suffixes = Enumerable.Range(0, all.Length).ToArray();
        Array.Sort(suffixes, (a, b) => all.AsSpan(a, Math.Min(most, all.Length - a)).SequenceCompareTo(all.AsSpan(b, Math.Min(most, all.Length - b))));
        var (found, open) = (new List<(string, double)>(), new Stack<(int Length, int From)>());
        for (var i = 1; i <= suffixes.Length; i++)
        {
            var (common, from) = (i < suffixes.Length ? Common(suffixes[i - 1], suffixes[i]) : 0, i - 1);
            while (open.TryPeek(out var top) && top.Length > common)
            {
                open.Pop();
                from = top.From;
                var piece = all.AsSpan(suffixes[top.From], top.Length);
                if (top.Length >= 2 && top.Length <= MaxPieceLength && !piece.Contains(0)) found.Add((Spell(piece), (double)(i - top.From) * top.Length));
            }
            if (common > 0 && (open.Count == 0 || open.Peek().Length < common)) open.Push((common, from));
        }
        return found;

        int Common(int a, int b) => all.AsSpan(a, Math.Min(most, all.Length - a)).CommonPrefixLength(all.AsSpan(b, Math.Min(most, all.Length - b)));
    }

    private static string Spell(ReadOnlySpan<int> characters)
    {
        var text = new System.Text.StringBuilder();
        foreach (var c in characters) text.Append(c is >= 0xD800 and <= 0xDFFF ? ((char)c).ToString() : char.ConvertFromUtf32(c));
        return text.ToString();
    }

    // How often each piece is expected (the last one: unknown characters).
    private double[] Expect(Lattice lattice)
    {
        var parts = InParts(words.Length, (from, to) =>
        {
            var (expected, scratch) = (new double[lattice.Count + 1], new Lattice.Scratch());
            for (var i = from; i < to; i++) lattice.Expect(words[i].Text, words[i].Count, expected, scratch);
            return expected;
        });
        return Sum(parts);
    }

    // Bayesian EM (Liang and Klein 2007): digamma instead of the logarithm makes rare pieces rarer.
    private static List<(string Text, double Score)> Maximize(List<(string Text, double Score)> pieces, double[] expected)
    {
        var kept = Enumerable.Range(0, pieces.Count).Where(i => expected[i] >= LeastCount).ToList();
        var sum = Digamma(kept.Sum(i => expected[i]));
        return [.. kept.Select(i => (pieces[i].Text, Digamma(expected[i]) - sum))];
    }

    private List<(string Text, double Score)> Prune(List<(string Text, double Score)> pieces, int desired)
    {
        var lattice = new Lattice(pieces);
        var n = pieces.Count;
        var (keep, others) = (new bool[n], new List<int>?[n]);
        InParts(n, (from, to) =>
        {
            var scratch = new Lattice.Scratch();
            for (var id = from; id < to; id++)
            {
                var best = lattice.Best(pieces[id].Text, scratch);
                keep[id] = best.Count == 1;
                others[id] = best.Count == 1 ? lattice.Best(pieces[id].Text, scratch, without: id) : null;
            }
            return 0;
        });
        var parts = InParts(words.Length, (from, to) =>
        {
            var (used, at, scratch) = (new double[n + 1], new double[n + 1], new Lattice.Scratch());
            for (var i = from; i < to; i++)
                foreach (var id in lattice.Best(words[i].Text, scratch)) used[id] += words[i].Count;
            return used;
        });
        var frequency = Sum(parts);
        var (all, sum) = ((double)words.Sum(w => w.Count), frequency.Sum());
        var kept = new List<(string Text, double Score)>();
        var candidates = new List<(int Id, double Loss)>();
        for (var id = 0; id < n; id++)
        {
            if (frequency[id] == 0 && !keep[id]) continue;
            if (others[id] is not { Count: > 0 } alternatives) kept.Add(pieces[id]);
            else if (frequency[id] > 0)
            {
                // What the text's likelihood loses where the piece is replaced by its second-best cut. The library multiplies by all pieces' number here, not by the cut's.
                var after = Math.Log(sum + frequency[id] * n);
                var loss = frequency[id] / all * (Math.Log(frequency[id]) - Math.Log(sum) - alternatives.Sum(a => Math.Log(frequency[a] + frequency[id]) - after));
                candidates.Add((id, loss));
            }
        }
        var size = Math.Max(desired, (int)((n + 1) * ShrinkingFactor)) - 1;
        kept.AddRange(candidates.OrderByDescending(c => c.Loss).Take(Math.Max(0, size - kept.Count)).Select(c => pieces[c.Id]));
        return kept;
    }

    // All characters stay, those that lost their score at the least one and a little more each; then the best pieces.
    private List<(string Text, double Score)> Finish(List<(string Text, double Score)> pieces, List<string> characters)
    {
        var known = pieces.ToDictionary(p => p.Text, p => p.Score, StringComparer.Ordinal);
        var (least, lost) = (pieces.Min(p => p.Score), 0);
        var chosen = characters.Select(c => (Text: c, Score: known.TryGetValue(c, out var score) ? score : least + ScoreStep * lost++)).ToList();
        var inserted = characters.ToHashSet(StringComparer.Ordinal);
        var room = VocabularySize - SpecialTokens.Count;
        chosen.AddRange(pieces.Where(p => inserted.Add(p.Text)).Take(room - chosen.Count));
        return [.. SpecialTokens.Select(t => (t, 0.0)), .. chosen.OrderByDescending(p => p.Score)];
    }

    private static double[] Sum(double[][] parts)
    {
        var sum = new double[parts[0].Length];
        foreach (var part in parts) for (var i = 0; i < sum.Length; i++) sum[i] += part[i];
        return sum;
    }

    private T[] InParts<T>(int count, Func<int, int, T> work)
    {
        var results = new T[Parts];
        InParallel.For(Parts, p => results[p] = work((int)((long)count * p / Parts), (int)((long)count * (p + 1) / Parts)), Threads);
        return results;
    }

    private static double Digamma(double x)
    {
        var result = 0.0;
        for (; x < 7; x++) result -= 1 / x;
        x -= 0.5;
        double x2 = 1 / x / x, x4 = x2 * x2;
        return result + Math.Log(x) + x2 / 24 - 7.0 / 960 * x4 + 31.0 / 8064 * x4 * x2 - 127.0 / 30720 * x4 * x4;
    }

    /// <summary>All ways to cut a word into pieces; a character without a piece is unknown, piece number <see cref="Count"/>.</summary>
    private sealed class Lattice
    {
        private readonly double[] scores;
        private readonly PieceTrie trie = new();

        public Lattice(List<(string Text, double Score)> pieces)
        {
            Count = pieces.Count;
            for (var i = 0; i < pieces.Count; i++) trie.Add(pieces[i].Text, i);
            scores = [.. pieces.Select(p => p.Score), pieces.Min(p => p.Score) - Unigram.UnknownPenalty];
        }

        public int Count { get; }

        public sealed class Scratch
        {
            public readonly List<(int From, int To, int Id)> Nodes = [];
            public double[] Forward = [], Backward = [];
            public int[] Back = [];
        }

        private void Fill(string word, Scratch scratch, int without = -1)
        {
            scratch.Nodes.Clear();
            if (scratch.Forward.Length <= word.Length) (scratch.Forward, scratch.Backward, scratch.Back) = (new double[word.Length + 64], new double[word.Length + 64], new int[word.Length + 64]);
            for (int at = 0, n; at < word.Length; at += n)
            {
                n = NormalizedText.RuneLength(word, at);
                var covered = false;
                for (int end = at, node = 0; end < word.Length && (node = trie.Next(node, word[end++])) > 0;)
                {
                    if (trie.IdAt(node) is not (>= 0 and var id) || id == without) continue;
                    scratch.Nodes.Add((at, end, id));
                    covered |= end == at + n;
                }
                if (!covered && !(without >= 0 && n == word.Length)) scratch.Nodes.Add((at, at + n, Count));
            }
        }

        /// <summary>Adds how often each piece stands in the word, weighed by how probable each cut is.</summary>
        public void Expect(string word, double count, double[] expected, Scratch scratch)
        {
            Fill(word, scratch);
            var (a, b, n) = (scratch.Forward, scratch.Backward, word.Length);
            Array.Fill(a, double.NegativeInfinity, 0, n + 1);
            Array.Fill(b, double.NegativeInfinity, 0, n + 1);
            (a[0], b[n]) = (0, 0);
            foreach (var (from, to, id) in scratch.Nodes) a[to] = AddLogs(a[to], a[from] + scores[id]);
            for (var i = scratch.Nodes.Count - 1; i >= 0; i--) { var (from, to, id) = scratch.Nodes[i]; b[from] = AddLogs(b[from], b[to] + scores[id]); }
            foreach (var (from, to, id) in scratch.Nodes) expected[id] += count * Math.Exp(a[from] + scores[id] + b[to] - a[n]);
        }

        private static double AddLogs(double x, double y) => double.IsNegativeInfinity(x) ? y : Math.Max(x, y) + Math.Log(1 + Math.Exp(-Math.Abs(x - y)));

        /// <summary>The pieces of the most probable cut; empty where there is none.</summary>
        public List<int> Best(string word, Scratch scratch, int without = -1)
        {
            Fill(word, scratch, without);
            var (best, back) = (scratch.Forward, scratch.Back);
            Array.Fill(back, -1, 0, word.Length + 1);
            best[0] = 0;
            for (var i = 0; i < scratch.Nodes.Count; i++)
            {
                var (from, to, id) = scratch.Nodes[i];
                if (from > 0 && back[from] < 0) continue;
                if (back[to] < 0 || best[from] + scores[id] > best[to]) (best[to], back[to]) = (best[from] + scores[id], i);
            }
            var cut = new List<int>();
            if (back[word.Length] < 0) return cut;
            for (var end = word.Length; end > 0; end = scratch.Nodes[back[end]].From) cut.Add(scratch.Nodes[back[end]].Id);
            return cut;
        }
    }
}
