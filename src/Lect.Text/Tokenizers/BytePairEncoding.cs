using System.Runtime.CompilerServices;
using System.Text;
using System.Text.Json.Nodes;

namespace Lect.Text;

/// <summary>
/// Byte pair encoding (Sennrich, Haddow and Birch 2016; over bytes: Radford et al. 2019): of all neighbours in a piece the pair
/// that was merged earliest in training is merged, the leftmost first, until none is left.
/// </summary>
internal sealed class BytePairEncoding : TokenModel
{
    private readonly Dictionary<string, int> vocabulary;
    private readonly List<(string Left, string Right)> merges;
    private readonly Options options;
    private readonly MergeTable table;
    private readonly string[] tokens;
    private readonly int unknownId;

    /// <summary>The fields of a BPE model in tokenizer.json beside vocabulary and merges.</summary>
    public sealed record Options(string? UnknownToken = null, string? ContinuingSubwordPrefix = null, string? EndOfWordSuffix = null, bool FuseUnknown = false, bool ByteFallback = false, bool IgnoreMerges = false);

    public BytePairEncoding(Dictionary<string, int> vocabulary, List<(string Left, string Right)> merges, Options options)
    {
        (this.vocabulary, this.merges, this.options) = (vocabulary, merges, options);
        table = new MergeTable(merges.Count);
        var prefix = options.ContinuingSubwordPrefix?.Length ?? 0;
        for (var rank = 0; rank < merges.Count; rank++)
        {
            var (left, right) = merges[rank];
            int Id(string token) => vocabulary.TryGetValue(token, out var id) ? id
                : throw new InvalidDataException($"Found merge {rank + 1}, '{left} {right}', whose token '{token}' is not in the vocabulary. The merges and the vocabulary belong to different tokenizers, or the file is damaged.");
            table.Add(Id(left), Id(right), rank, Id(left + right[Math.Min(prefix, right.Length)..]));
        }
        tokens = new string[vocabulary.Count == 0 ? 0 : vocabulary.Values.Max() + 1];
        foreach (var (token, id) in vocabulary) tokens[id] = token;
        unknownId = options.UnknownToken is { } unknown ? vocabulary.GetValueOrDefault(unknown, -1) : -1;
        ByteIds = [.. Enumerable.Range(0, 256).Select(b => vocabulary.GetValueOrDefault(ByteAlphabet.CharOf((byte)b).ToString(), -1))];
    }

    public override IReadOnlyDictionary<string, int> Vocabulary => vocabulary;

    public IReadOnlyList<(string Left, string Right)> Merges => merges;

    /// <summary>The id of each byte in GPT-2's spelling; -1 where the vocabulary lacks it.</summary>
    public int[] ByteIds { get; }

    /// <summary>Whether pieces that are tokens as a whole are taken so, whatever the merges give (tiktoken, Llama 3).</summary>
    public bool IgnoreMerges => options.IgnoreMerges;

    public override JsonObject ToJson() => new()
    {
        ["type"] = "BPE",
        ["dropout"] = null,
        ["unk_token"] = options.UnknownToken,
        ["continuing_subword_prefix"] = options.ContinuingSubwordPrefix,
        ["end_of_word_suffix"] = options.EndOfWordSuffix,
        ["fuse_unk"] = options.FuseUnknown,
        ["byte_fallback"] = options.ByteFallback,
        ["ignore_merges"] = options.IgnoreMerges,
        ["vocab"] = VocabularyJson(),
        ["merges"] = new JsonArray([.. merges.Select(m => new JsonArray(m.Left, m.Right))]),
    };

    public override void Tokenize(string piece, List<(int Id, string Token, int From, int To)> into)
    {
        if (options.IgnoreMerges && vocabulary.TryGetValue(piece, out var whole)) { into.Add((whole, piece, 0, piece.Length)); return; }
        var (ids, lengths) = Symbols(piece);
        var count = Merge(ids, lengths);
        for (int i = 0, at = 0, start = 0; i < count; i++)
        {
            if (lengths[i] > 0) start = at;   // a byte behind the first of a character stands for that character too
            at += lengths[i];
            into.Add((ids[i], tokens[ids[i]], start, at));
        }
    }

    private (int[] Ids, int[] Lengths) Symbols(string piece)
    {
        List<int> ids = new(piece.Length), lengths = new(piece.Length);
        var fusing = false;
        for (int at = 0, n; at < piece.Length; at += n)
        {
            n = NormalizedText.RuneLength(piece, at);
            var symbol = piece.Substring(at, n);
            if (at > 0) symbol = options.ContinuingSubwordPrefix + symbol;
            if (at + n == piece.Length) symbol += options.EndOfWordSuffix;
            var isUnknown = false;
            if (vocabulary.TryGetValue(symbol, out var id)) { ids.Add(id); lengths.Add(n); }
            else if (options.ByteFallback && ByteTokens(symbol) is { } bytes) for (var i = 0; i < bytes.Length; i++) { ids.Add(bytes[i]); lengths.Add(i == 0 ? n : 0); }
            else if (unknownId >= 0)
            {
                isUnknown = true;
                if (fusing && options.FuseUnknown) lengths[^1] += n;
                else { ids.Add(unknownId); lengths.Add(n); }
            }
            fusing = isUnknown;
        }
        return ([.. ids], [.. lengths]);
    }

    private int[]? ByteTokens(string symbol)
    {
        var ids = Encoding.UTF8.GetBytes(symbol).Select(b => vocabulary.GetValueOrDefault(ByteToken.Of(b), -1)).ToArray();
        return ids.Contains(-1) ? null : ids;
    }

    /// <summary>Merges in place; gives the number of symbols left. <paramref name="lengths"/> are added where symbols join.</summary>
    public int Merge(Span<int> ids, Span<int> lengths) => ids.Length <= 64 ? MergeShort(ids, lengths) : MergeLong(ids, lengths);

    // Few symbols: look at all pairs each time. The rank of every pair is kept so that a merge asks for two new ones only.
    [SkipLocalsInit]
    private int MergeShort(Span<int> ids, Span<int> lengths)
    {
        var n = ids.Length;
        Span<int> rank = stackalloc int[64];
        Span<int> merged = stackalloc int[64];
        for (var i = 0; i + 1 < n; i++) (rank[i], merged[i]) = table.Find(ids[i], ids[i + 1]);
        while (n > 1)
        {
            int best = int.MaxValue, at = -1;
            for (var i = 0; i + 1 < n; i++) if (rank[i] < best) (best, at) = (rank[i], i);
            if (at < 0) break;
            ids[at] = merged[at];
            lengths[at] += lengths[at + 1];
            var tail = n - at - 2;
            ids.Slice(at + 2, tail).CopyTo(ids[(at + 1)..]);
            lengths.Slice(at + 2, tail).CopyTo(lengths[(at + 1)..]);
            if (tail > 0)
            {
                rank.Slice(at + 2, tail - 1).CopyTo(rank[(at + 1)..]);
                merged.Slice(at + 2, tail - 1).CopyTo(merged[(at + 1)..]);
            }
            n--;
            if (at + 1 < n) (rank[at], merged[at]) = table.Find(ids[at], ids[at + 1]);
            if (at > 0) (rank[at - 1], merged[at - 1]) = table.Find(ids[at - 1], ids[at]);
        }
        return n;
    }

    // Many symbols: a queue of pairs by (rank, position) over a linked list; entries that a merge overtook are skipped.
    private int MergeLong(Span<int> ids, Span<int> lengths)
    {
        var n = ids.Length;
        var next = new int[n];
        var previous = new int[n];
        var queue = new PriorityQueue<(int At, int Left, int Right, int Merged), (int Rank, int At)>(n);
        for (var i = 0; i < n; i++) (next[i], previous[i]) = (i + 1, i - 1);
        for (var i = 0; i + 1 < n; i++) Offer(ids, i, i + 1);
        while (queue.TryDequeue(out var pair, out _))
        {
            var right = next[pair.At];
            if (right >= n || ids[pair.At] != pair.Left || ids[right] != pair.Right) continue;
            ids[pair.At] = pair.Merged;
            ids[right] = -1;
            lengths[pair.At] += lengths[right];
            next[pair.At] = next[right];
            if (next[right] < n) previous[next[right]] = pair.At;
            if (previous[pair.At] >= 0) Offer(ids, previous[pair.At], pair.At);
            if (next[pair.At] < n) Offer(ids, pair.At, next[pair.At]);
        }
        var count = 0;
        for (var i = 0; i < n; i = next[i]) (ids[count], lengths[count++]) = (ids[i], lengths[i]);
        return count;

        void Offer(Span<int> ids, int left, int right)
        {
            var (rank, merged) = table.Find(ids[left], ids[right]);
            if (merged >= 0) queue.Enqueue((left, ids[left], ids[right], merged), (rank, left));
        }
    }

    /// <summary>(left id, right id) to (rank, merged id), with linear probing.</summary>
    private sealed class MergeTable
    {
        private readonly ulong[] keys;
        private readonly (int Rank, int Id)[] values;
        private readonly int shift;

        public MergeTable(int count)
        {
            var bits = Math.Max(4, 64 - (int)ulong.LeadingZeroCount((ulong)count * 2));
            (keys, values, shift) = (new ulong[1 << bits], new (int, int)[1 << bits], 64 - bits);
            Array.Fill(keys, ulong.MaxValue);
        }

        private static ulong Key(int left, int right) => ((ulong)(uint)left << 32) | (uint)right;

        public void Add(int left, int right, int rank, int id)
        {
            var key = Key(left, right);
            var slot = (int)((key * 0x9E3779B97F4A7C15) >> shift);
            while (keys[slot] != ulong.MaxValue && keys[slot] != key) slot = (slot + 1) & (keys.Length - 1);
            if (keys[slot] == key) return;   // a pair listed twice keeps its first rank
            (keys[slot], values[slot]) = (key, (rank, id));
        }

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public (int Rank, int Id) Find(int left, int right)
        {
            var key = Key(left, right);
            for (var slot = (int)((key * 0x9E3779B97F4A7C15) >> shift); ; slot = (slot + 1) & (keys.Length - 1))
            {
                if (keys[slot] == key) return values[slot];
                if (keys[slot] == ulong.MaxValue) return (int.MaxValue, -1);
            }
        }
    }
}
