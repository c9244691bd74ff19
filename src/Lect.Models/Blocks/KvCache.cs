using TorchSharp;
using static TorchSharp.torch;

namespace Lect.Models;

/// <summary>Keys and values of the positions seen so far, one pair a layer, so that each new token costs one position of work. A layer with a window keeps no more than that.</summary>
/// <remarks>Not thread-safe. Owns its tensors; what <see cref="Append"/> returns are views, or belongs to the caller's dispose scope.</remarks>
public sealed class KvCache : IDisposable
{
    private readonly Layer?[] layers;
    private readonly IReadOnlyList<long?>? windows;
    private long capacity;

    /// <summary>An empty cache.</summary>
    /// <param name="layers">Number of layers.</param>
    /// <param name="capacity">Positions to make room for; it grows where that was too few.</param>
    /// <param name="windows">Of each layer: how many keys a query sees at most, itself among them; null: all.</param>
    public KvCache(int layers, long capacity, IReadOnlyList<long?>? windows = null) => (this.layers, this.capacity, this.windows) = (new Layer?[layers], capacity, windows);

    /// <summary>Positions seen.</summary>
    public long Length { get; private set; }

    /// <summary>Bytes that its tensors take.</summary>
    public long Bytes => layers.Sum(l => l is null ? 0 : (l.K.numel() + l.V.numel()) * l.K.element_size());

    /// <summary>Adds the keys and values of T positions to a layer; gives those that may still be seen, with the new ones last, [B, H, S, d].</summary>
    internal (Tensor K, Tensor V) Append(int layer, Tensor k, Tensor v)
    {
        var (t, past) = (k.shape[2], windows?[layer] - 1);
        if (Length + t > capacity) capacity = Math.Max(Length + t, capacity * 2);
        // A window's layer has room for two windows: once in a window's length what is still seen moves to the front.
        var room = past is null ? capacity : Math.Min(capacity, 2 * past.Value + 1);
        var at = layers[layer] ??= new(k, v, Math.Max(room, 1));
        if (at.Count + t > at.Room && at.Room < room) at.Grow(room);
        if (at.Count + t > at.Room)
        {
            at.KeepLast(past!.Value);
            if (at.Count + t > at.Room) return at.Replace(cat([at.K.narrow(2, 0, at.Count), k], 2), cat([at.V.narrow(2, 0, at.Count), v], 2), past.Value);
        }
        return at.Add(k, v);
    }

    /// <summary>Counts T positions as seen, after every layer appended them.</summary>
    internal void Advance(long positions) => Length += positions;

    /// <summary>Keeps these rows in this order (beams that go on, prompts that are not done; a row more than once: prompts with a common beginning).</summary>
    /// <param name="rows">Row numbers, int64.</param>
    public void Reorder(Tensor rows)
    {
        foreach (var layer in layers) layer?.Reorder(rows);
    }

    /// <summary>Takes another cache's rows behind its own. All end together: the shorter one stands behind zeros, which a mask must hide.</summary>
    /// <param name="other">Of the same model; it is empty afterwards.</param>
    internal void Join(KvCache other)
    {
        using var scope = NewDisposeScope();
        capacity = Math.Max(capacity, other.capacity);
        for (var i = 0; i < layers.Length; i++)
        {
            if (layers[i] is { } own) own.Join(other.layers[i]!);
            else (layers[i], other.layers[i]) = (other.layers[i], null);
        }
        Length = Math.Max(Length, other.Length);
        other.Dispose();
    }

    /// <summary>Forgets the first positions, which are padding in every row.</summary>
    internal void DropFirst(long positions)
    {
        foreach (var layer in layers) layer?.DropFirst(positions - (Length - layer.Count));
        Length -= positions;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (var layer in layers) layer?.Dispose();
        Array.Clear(layers);
    }

    private sealed class Layer(Tensor k, Tensor v, long room) : IDisposable
    {
        public Tensor K { get; private set; } = New(k, room);
        public Tensor V { get; private set; } = New(v, room);
        public long Count { get; private set; }
        public long Room => K.shape[2];

        private static Tensor New(Tensor like, long room) => empty(like.shape[0], like.shape[1], room, like.shape[3], dtype: like.dtype, device: like.device).DetachFromDisposeScope();

        public (Tensor, Tensor) Add(Tensor k, Tensor v)
        {
            K.narrow(2, Count, k.shape[2]).copy_(k);
            V.narrow(2, Count, v.shape[2]).copy_(v);
            Count += k.shape[2];
            return (K.narrow(2, 0, Count), V.narrow(2, 0, Count));
        }

        public void KeepLast(long most)
        {
            var kept = Math.Min(most, Count);
            if (kept > 0) foreach (var x in (Tensor[])[K, V]) x.narrow(2, 0, kept).copy_(x.narrow(2, Count - kept, kept).clone());
            Count = kept;
        }

        // More new positions than there is room for: all are seen now, the last are kept.
        public (Tensor, Tensor) Replace(Tensor k, Tensor v, long most)
        {
            Count = Math.Min(most, k.shape[2]);
            if (Count > 0) foreach (var (to, from) in ((Tensor, Tensor)[])[(K, k), (V, v)]) to.narrow(2, 0, Count).copy_(from.narrow(2, from.shape[2] - Count, Count));
            return (k, v);
        }

        public void Grow(long room) => Become(x =>
        {
            var larger = New(x, room);
            larger.narrow(2, 0, Count).copy_(x.narrow(2, 0, Count));
            return larger;
        });

        public void Join(Layer other)
        {
            var (count, room) = (Math.Max(Count, other.Count), Math.Max(Room, other.Room));
            var (k, v) = (Joined(K, other.K), Joined(V, other.V));
            Dispose();
            (K, V, Count) = (k, v, count);

            Tensor Joined(Tensor mine, Tensor theirs)
            {
                var both = zeros(mine.shape[0] + theirs.shape[0], mine.shape[1], room, mine.shape[3], dtype: mine.dtype, device: mine.device);
                both.narrow(0, 0, mine.shape[0]).narrow(2, count - Count, Count).copy_(mine.narrow(2, 0, Count));
                both.narrow(0, mine.shape[0], theirs.shape[0]).narrow(2, count - other.Count, other.Count).copy_(theirs.narrow(2, 0, other.Count));
                return both.DetachFromDisposeScope();
            }
        }

        public void DropFirst(long positions)
        {
            if (positions > 0) KeepLast(Count - positions);
        }

        public void Reorder(Tensor rows) => Become(x => x.index_select(0, rows).DetachFromDisposeScope());

        private void Become(Func<Tensor, Tensor> change)
        {
            var old = (K, V);
            (K, V) = (change(K), change(V));
            old.K.Dispose();
            old.V.Dispose();
        }

        public void Dispose()
        {
            K.Dispose();
            V.Dispose();
        }
    }
}
