using System.Collections.Concurrent;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Text;

namespace Lect.Text;

/// <summary>
/// Learns the merges of byte pair encoding (Sennrich et al. 2016, algorithm 1): again and again the most frequent pair of neighbours
/// becomes a token; of equals the one with the smallest (left id, right id). Vocabulary and merges equal those of Hugging Face's BpeTrainer.
/// </summary>
/// <remarks>
/// Pieces are counted once each, by all cores. Pair counts are kept exact by looking only at the pieces that hold the merged pair;
/// a queue holds candidates whose count may have fallen since, which is checked when they come up.
/// </remarks>
internal sealed class BytePairTrainer
{
    public required int VocabularySize { get; init; }
    public long MinFrequency { get; init; }
    public IReadOnlyList<string> SpecialTokens { get; init; } = [];
    public IEnumerable<string> InitialAlphabet { get; init; } = [];
    public int? LimitAlphabet { get; init; }
    public int? MaxTokenLength { get; init; }

    /// <summary>What stands before the characters behind a piece's first, which are tokens of their own then (WordPiece's ##).</summary>
    public string ContinuingPrefix { get; init; } = "";

    /// <summary>What stands behind a piece's last character, which is a token of its own then (GPT-1's &lt;/w&gt;).</summary>
    public string EndSuffix { get; init; } = "";

    private sealed class Pair { public long Count; public readonly List<int> Words = []; }

    private readonly List<string> tokens = [];
    private readonly List<int> lengths = [];                       // of tokens, in characters
    private readonly Dictionary<string, int> ids = new(StringComparer.Ordinal);
    private readonly List<(string, string)> merges = [];
    private readonly Dictionary<ulong, Pair> pairs = [];
    private readonly PriorityQueue<ulong, (long, ulong)> queue = new();
    private readonly HashSet<ulong> changed = [];
    private int[][] words = [];
    private int[] sizes = [];
    private long[] counts = [];

    /// <summary>Learns from pieces (characters are the first tokens) and how often each occurs.</summary>
    public (Dictionary<string, int> Vocabulary, List<(string Left, string Right)> Merges) Train(IReadOnlyCollection<KeyValuePair<string, long>> pieces)
    {
        foreach (var token in SpecialTokens) Add(token, 1);
        Alphabet(pieces);
        ReadWords(pieces);
        CountPairs();
        while (tokens.Count < VocabularySize && Best() is { } best) Merge(best);
        return (ids, merges);
    }

    private int Add(string token, int length)
    {
        if (!ids.TryAdd(token, tokens.Count)) return ids[token];
        tokens.Add(token);
        lengths.Add(length);
        return tokens.Count - 1;
    }

    private void Alphabet(IReadOnlyCollection<KeyValuePair<string, long>> pieces)
    {
        var seen = new Dictionary<string, long>(StringComparer.Ordinal);
        foreach (var (piece, count) in pieces)
            foreach (var c in NormalizedText.Characters(piece)) CollectionsMarshal.GetValueRefOrAddDefault(seen, c, out _) += count;
        foreach (var c in InitialAlphabet) seen[c] = long.MaxValue;
        var kept = LimitAlphabet is { } limit && seen.Count > limit
            ? seen.OrderByDescending(p => p.Value).ThenBy(p => char.ConvertToUtf32Lenient(p.Key)).Take(limit).Select(p => p.Key)
            : seen.Keys;
        foreach (var c in kept.OrderBy(char.ConvertToUtf32Lenient)) Add(c, 1);
        foreach (var c in pieces.SelectMany(p => EndSuffix.Length > 0 ? NormalizedText.Characters(p.Key).TakeLast(1) : []).Distinct(StringComparer.Ordinal).Where(ids.ContainsKey).OrderBy(char.ConvertToUtf32Lenient).ToList()) Add(c + EndSuffix, 1);
        if (ContinuingPrefix.Length == 0) return;
        foreach (var c in pieces.SelectMany(p => NormalizedText.Characters(p.Key).Skip(1)).Distinct(StringComparer.Ordinal).Where(ids.ContainsKey).OrderBy(char.ConvertToUtf32Lenient).ToList()) Add(ContinuingPrefix + c, 1);
    }

    private void ReadWords(IReadOnlyCollection<KeyValuePair<string, long>> pieces)
    {
        (words, counts) = (new int[pieces.Count][], new long[pieces.Count]);
        var i = 0;
        foreach (var (piece, count) in pieces)
        {
            var read = 0;
            words[i] = [.. NormalizedText.Characters(piece).Select(c => ((read == 0 ? "" : ContinuingPrefix) + c + ((read += c.Length) == piece.Length ? EndSuffix : ""))).Where(ids.ContainsKey).Select(c => ids[c])];
            counts[i++] = count;
        }
        sizes = [.. words.Select(w => w.Length)];
    }

    private static ulong Key(int left, int right) => ((ulong)(uint)left << 32) | (uint)right;

    private void CountPairs()
    {
        for (var w = 0; w < words.Length; w++)
            for (var i = 0; i + 1 < sizes[w]; i++) Change(Key(words[w][i], words[w][i + 1]), counts[w], w);
        Enqueue();
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private void Change(ulong key, long by, int word)
    {
        ref var pair = ref CollectionsMarshal.GetValueRefOrAddDefault(pairs, key, out _);
        pair ??= new Pair();
        pair.Count += by;
        if (by <= 0) return;
        if (pair.Words.Count == 0 || pair.Words[^1] != word) pair.Words.Add(word);
        changed.Add(key);
    }

    private void Enqueue()
    {
        foreach (var key in changed) queue.Enqueue(key, (-pairs[key].Count, key));
        changed.Clear();
    }

    private ulong? Best()
    {
        while (queue.TryDequeue(out var key, out var priority))
        {
            var count = pairs.TryGetValue(key, out var pair) ? pair.Count : 0;
            if (count != -priority.Item1) { if (count > 0) queue.Enqueue(key, (-count, key)); continue; }
            return count >= Math.Max(1, MinFrequency) ? key : null;
        }
        return null;
    }

    private void Merge(ulong key)
    {
        int left = (int)(key >> 32), right = (int)(uint)key;
        var merged = Add(tokens[left] + (tokens[right].StartsWith(ContinuingPrefix, StringComparison.Ordinal) ? tokens[right][ContinuingPrefix.Length..] : tokens[right]), lengths[left] + lengths[right]);
        merges.Add((tokens[left], tokens[right]));
        pairs.Remove(key, out var pair);
        foreach (var w in pair!.Words) MergeIn(w, left, right, merged);
        Enqueue();
    }

    private void MergeIn(int w, int left, int right, int merged)
    {
        var word = words[w];
        var n = sizes[w];
        var count = counts[w];
        var to = 0;
        for (var from = 0; from < n; from++)
        {
            if (from + 1 < n && word[from] == left && word[from + 1] == right)
            {
                if (to > 0) { Drop(word[to - 1], left); Raise(word[to - 1]); }
                if (from + 2 < n) { Drop(right, word[from + 2]); RaiseRight(word[from + 2]); }
                word[to++] = merged;
                from++;
            }
            else word[to++] = word[from];
        }
        sizes[w] = to;

        void Drop(int a, int b)
        {
            var key = Key(a, b);
            if (key != Key(left, right) && pairs.TryGetValue(key, out var pair)) pair.Count -= count;
        }
        void Raise(int previous) { if (Fits(previous, merged)) Change(Key(previous, merged), count, w); }
        void RaiseRight(int next) { if (Fits(merged, next)) Change(Key(merged, next), count, w); }
    }

    private bool Fits(int left, int right) => MaxTokenLength is not { } most || lengths[left] + lengths[right] < most;

    /// <summary>How often each piece occurs in the texts, counted by all cores.</summary>
    public static Dictionary<string, long> CountPieces(IEnumerable<string> texts, Action<string, Action<ReadOnlySpan<char>>> split, int? threads = null)
    {
        var counted = new ConcurrentBag<Dictionary<string, long>>();
        InParallel.Unbundled(() => Parallel.ForEach(Partitioner.Create(texts, EnumerablePartitionerOptions.NoBuffering), new ParallelOptions { MaxDegreeOfParallelism = threads ?? Environment.ProcessorCount }, () => new Dictionary<string, long>(StringComparer.Ordinal), (text, _, mine) =>
        {
            var lookup = mine.GetAlternateLookup<ReadOnlySpan<char>>();
            split(text, piece => CollectionsMarshal.GetValueRefOrAddDefault(lookup, piece, out var _)++);
            return mine;
        }, counted.Add));
        var total = new Dictionary<string, long>(StringComparer.Ordinal);
        foreach (var part in counted)
            foreach (var (piece, count) in part) CollectionsMarshal.GetValueRefOrAddDefault(total, piece, out _) += count;
        return total;
    }
}
