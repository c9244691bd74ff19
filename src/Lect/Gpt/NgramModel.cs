// Modified Kneser-Ney smoothing, interpolated: Chen and Goodman 1999, "An empirical study of smoothing techniques for language modeling", section 3.
using System.Runtime.InteropServices;
using Lect.Text;

namespace Lect;

/// <summary>
/// An n-gram model of token ids, the baseline that a neural model has to beat:
/// p(w | h) = (c(hw) - D(c(hw))) / Σ c(h·) + γ(h) p(w | h'), where h' is h without its first token, lower orders count in how many
/// contexts an n-gram was seen (not how often), and the unigrams are interpolated with 1/V.
/// </summary>
/// <remarks>Memory: about 50 bytes a distinct n-gram. Immutable once trained; safe to use from many threads.</remarks>
public sealed class NgramModel
{
    private struct Node { public int Order; public int Parent; public long Count; }

    private struct Context { public long Total; public int One, Two, More; }

    private readonly int order, vocabulary;
    private readonly Dictionary<ulong, int> children = [];   // (context node, token) to node; the root is node 0
    private readonly List<Node> nodes = [default];
    private readonly double[,] discounts;
    private readonly Context[] contexts;

    /// <summary>Counts a stream of ids. Order 1 is the unigram model: relative frequencies with one added to each count.</summary>
    /// <param name="ids">Training tokens.</param>
    /// <param name="order">Tokens of the longest n-gram, 1 to 9.</param>
    /// <param name="vocabulary">V.</param>
    public NgramModel(TokenIds ids, int order, int vocabulary)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(order, 1);
        (this.order, this.vocabulary) = (order, vocabulary);
        Count(ids);
        discounts = Discounts();
        contexts = new Context[nodes.Count];
        foreach (ref readonly var node in CollectionsMarshal.AsSpan(nodes)[1..])
        {
            if (node.Count == 0) continue;   // seen at the stream's beginning only
            ref var context = ref contexts[node.Parent];
            context.Total += node.Count;
            if (node.Count == 1) context.One++;
            else if (node.Count == 2) context.Two++;
            else context.More++;
        }
    }

    private static ulong Key(int node, long token) => ((ulong)(uint)node << 32) | (uint)token;

    // The n-gram that ends here extends the (n-1)-gram that ended one token earlier; the n-gram is what is left of the (n+1)-gram without its first token.
    private void Count(TokenIds ids)
    {
        Span<int> ending = stackalloc int[order], before = stackalloc int[order];
        var buffer = new long[1 << 16];
        long seen = 0;
        for (long at = 0; at < ids.Count; at += buffer.Length)
        {
            var part = buffer.AsSpan(0, (int)Math.Min(buffer.Length, ids.Count - at));
            ids.Read(at, part);
            foreach (var token in part)
            {
                var length = (int)Math.Min(order, ++seen);
                ending.CopyTo(before);
                for (var n = 1; n <= length; n++)
                {
                    var parent = n == 1 ? 0 : before[n - 2];
                    ref var node = ref CollectionsMarshal.GetValueRefOrAddDefault(children, Key(parent, token), out var exists);
                    if (!exists) { node = nodes.Count; nodes.Add(new() { Order = n, Parent = parent }); }
                    ending[n - 1] = node;
                    if (n == order) Add(node);
                    if (!exists && n > 1) Add(ending[n - 2]);   // a new context of the shorter n-gram
                }
            }
        }
    }

    private void Add(int node) => CollectionsMarshal.AsSpan(nodes)[node].Count++;

    // D1, D2, D3+ of each order from the numbers of n-grams that were counted once to four times (Chen and Goodman, equation 26).
    private double[,] Discounts()
    {
        var numbers = new double[order + 1, 5];
        foreach (ref readonly var node in CollectionsMarshal.AsSpan(nodes)[1..]) if (node.Count is > 0 and < 5) numbers[node.Order, node.Count]++;
        var d = new double[order + 1, 4];
        for (var n = 1; n <= order; n++)
        {
            var y = numbers[n, 1] / Math.Max(1, numbers[n, 1] + 2 * numbers[n, 2]);
            for (var c = 1; c <= 3; c++) d[n, c] = numbers[n, c] == 0 ? 0 : Math.Clamp(c - (c + 1) * y * numbers[n, c + 1] / numbers[n, c], 0, c);
        }
        return d;
    }

    /// <summary>p(token | the tokens before it), of which the last order - 1 count.</summary>
    public double Probability(ReadOnlySpan<long> before, long token)
    {
        if (order == 1) return (Found(0, token) + 1.0) / (contexts[0].Total + vocabulary);
        var p = 1.0 / vocabulary;
        for (var n = 1; n <= Math.Min(order, before.Length + 1); n++)
        {
            var node = 0;
            foreach (var t in before[^(n - 1)..]) if (!children.TryGetValue(Key(node, t), out node)) return p;   // no longer context was seen either
            var context = contexts[node];
            if (context.Total == 0) return p;
            var count = Found(node, token);
            var weight = discounts[n, 1] * context.One + discounts[n, 2] * context.Two + discounts[n, 3] * context.More;
            p = (Math.Max(0, count - discounts[n, Math.Min(3, count)]) + weight * p) / context.Total;
        }
        return p;
    }

    private long Found(int context, long token) => children.TryGetValue(Key(context, token), out var node) ? nodes[node].Count : 0;

    /// <summary>How well it predicts ids, each from all before it.</summary>
    /// <param name="ids">At least two.</param>
    /// <param name="size">Their bytes.</param>
    public Perplexity Of(TokenIds ids, TokenCount size)
    {
        var all = new long[ids.Count];
        ids.Read(0, all);
        var parts = new double[Environment.ProcessorCount];
        Parallel.For(0, parts.Length, p =>
        {
            for (var i = 1 + (all.Length - 1L) * p / parts.Length; i < 1 + (all.Length - 1L) * (p + 1) / parts.Length; i++)
                parts[p] -= Math.Log(Probability(all.AsSpan((int)Math.Max(0, i - order + 1)..(int)i), all[i]));
        });
        return new(parts.Sum() / (all.Length - 1), all.Length - 1, size.Bytes);
    }
}
