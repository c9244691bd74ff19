using System.Text;
using System.Text.Json.Nodes;

namespace Lect.Text;

/// <summary>
/// The unigram language model (Kudo 2018, "Subword Regularization", section 3.2): a text's tokens are drawn independently, and of all ways to cut a piece the most probable one is
/// taken, found by Viterbi's algorithm. A character that no token covers is unknown, at 10 below the least score.
/// </summary>
internal sealed class Unigram : TokenModel
{
    internal const double UnknownPenalty = 10;

    private readonly IReadOnlyList<(string Text, double Score)> pieces;
    private readonly Dictionary<string, int> vocabulary = new(StringComparer.Ordinal);
    private readonly PieceTrie trie = new();
    private readonly float[] single;
    private readonly double[] scores;
    private readonly int? unknownId;
    private readonly bool inSingle;
    private readonly double unknownScore;
    private readonly int[]? bytes;

    /// <param name="pieces">Tokens in the order of their ids, with their log-probabilities.</param>
    /// <param name="unknownId">Id of what nothing covers; null: such text is refused.</param>
    /// <param name="byteFallback">Whether the bytes of what is unknown stand for it, where the vocabulary has them (<c>&lt;0x41&gt;</c>).</param>
    /// <param name="matches">Which tokens are looked for in text; null: all (Hugging Face).</param>
    /// <param name="inSingle">Whether scores are summed in single precision (the SentencePiece library).</param>
    /// <param name="least">The least score; null: that of all tokens.</param>
    public Unigram(IReadOnlyList<(string Text, double Score)> pieces, int? unknownId, bool byteFallback, IReadOnlyList<bool>? matches = null, bool inSingle = false, double? least = null)
    {
        if (unknownId is { } u && (u < 0 || u >= pieces.Count)) throw new InvalidDataException($"Found unk_id {u} in a vocabulary of {pieces.Count} pieces. Expected the number of one of them.");
        (this.pieces, this.unknownId, this.inSingle) = (pieces, unknownId, inSingle);
        (scores, single) = ([.. pieces.Select(p => p.Score)], [.. pieces.Select(p => (float)p.Score)]);
        for (var id = 0; id < pieces.Count; id++)
        {
            vocabulary[pieces[id].Text] = id;
            if (matches?[id] != false && pieces[id].Text.Length > 0) trie.Add(pieces[id].Text, id);
        }
        unknownScore = (least ?? pieces.Select(p => p.Score).DefaultIfEmpty(0).Min()) - UnknownPenalty;
        bytes = byteFallback ? [.. Enumerable.Range(0, 256).Select(b => vocabulary.GetValueOrDefault(ByteToken.Of((byte)b), -1))] : null;
    }

    public override IReadOnlyDictionary<string, int> Vocabulary => vocabulary;

    public override JsonObject ToJson() => new()
    {
        ["type"] = "Unigram",
        ["unk_id"] = unknownId,
        ["vocab"] = new JsonArray([.. pieces.Select(p => new JsonArray(p.Text, p.Score))]),
        ["byte_fallback"] = bytes is not null,
    };

    public override void Tokenize(string piece, List<(int Id, string Token, int From, int To)> into)
    {
        var n = piece.Length;
        var best = new double[n + 1];
        var (start, ids) = (new int[n + 1], new int[n + 1]);
        Array.Fill(start, -1);
        for (int at = 0, length; at < n; at += length)
        {
            length = NormalizedText.RuneLength(piece, at);
            var covered = false;
            for (int end = at, node = 0; end < n && (node = trie.Next(node, piece[end++])) > 0;)
            {
                if (trie.IdAt(node) is not (>= 0 and var id)) continue;
                Offer(end, inSingle ? (float)best[at] + single[id] : best[at] + scores[id], id);
                covered |= end == at + length;
            }
            if (!covered) Offer(at + length, inSingle ? (float)best[at] + (float)unknownScore : best[at] + unknownScore, -1);

            void Offer(int end, double score, int id)
            {
                if (start[end] >= 0 && score <= best[end]) return;
                (best[end], start[end], ids[end]) = (score, at, id);
            }
        }
        var first = into.Count;
        for (int end = n, from; end > 0; end = from)
        {
            from = start[end];
            if (IsUnknown(ids[end]))
                while (from > 0 && IsUnknown(ids[from])) from = start[from];   // a run of unknown characters is one token
            if (IsUnknown(ids[end])) AddUnknown(piece, from, end, into);
            else into.Add((ids[end], piece[from..end], from, end));
        }
        into.Reverse(first, into.Count - first);
    }

    private bool IsUnknown(int id) => id == -1 || id == unknownId;

    // Backwards, as the caller turns all round.
    private void AddUnknown(string piece, int from, int end, List<(int Id, string Token, int From, int To)> into)
    {
        var text = piece[from..end];
        if (bytes is not null && Encoding.UTF8.GetBytes(text) is var utf8 && utf8.All(b => bytes[b] >= 0))
            foreach (var b in utf8.Reverse()) into.Add((bytes[b], ByteToken.Of(b), from, end));
        else into.Add((unknownId ?? throw new InvalidDataException($"Found '{text}', which the Unigram vocabulary does not cover, and no unknown token (\"unk_id\") to stand for it. Train a tokenizer on text that covers it."), text, from, end));
    }
}

/// <summary>Tokens by their beginnings: (node, UTF-16 unit) to node, with linear probing. Node 0 is the root.</summary>
internal sealed class PieceTrie
{
    private ulong[] keys = new ulong[256];   // (node << 16 | unit) + 1; 0: free
    private int[] children = new int[256];
    private readonly List<int> ids = [-1];
    private int shift = 56;

    public void Add(string piece, int id)
    {
        var node = 0;
        foreach (var unit in piece) node = Next(node, unit) is > 0 and var there ? there : Grow(node, unit);
        ids[node] = id;
    }

    /// <summary>The node behind a unit; 0 where no token goes on so.</summary>
    public int Next(int node, char unit)
    {
        var key = Key(node, unit);
        for (var slot = Slot(key); keys[slot] != 0; slot = (slot + 1) & (keys.Length - 1))
            if (keys[slot] == key) return children[slot];
        return 0;
    }

    /// <summary>The token that ends at a node, or -1.</summary>
    public int IdAt(int node) => ids[node];

    private static ulong Key(int node, char unit) => (((ulong)(uint)node << 16) | unit) + 1;

    private int Slot(ulong key) => (int)((key * 0x9E3779B97F4A7C15) >> shift);

    private int Grow(int node, char unit)
    {
        if (ids.Count * 2 > keys.Length)
        {
            var (oldKeys, oldChildren) = (keys, children);
            (keys, children, shift) = (new ulong[oldKeys.Length * 2], new int[oldKeys.Length * 2], shift - 1);
            for (var i = 0; i < oldKeys.Length; i++) if (oldKeys[i] != 0) Put(oldKeys[i], oldChildren[i]);
        }
        Put(Key(node, unit), ids.Count);
        ids.Add(-1);
        return ids.Count - 1;
    }

    private void Put(ulong key, int child)
    {
        var slot = Slot(key);
        while (keys[slot] != 0) slot = (slot + 1) & (keys.Length - 1);
        (keys[slot], children[slot]) = (key, child);
    }
}
