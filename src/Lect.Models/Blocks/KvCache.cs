using TorchSharp;
using static TorchSharp.torch;

namespace Lect.Models;

/// <summary>Keys and values of the positions seen so far, one pair a layer, so that each new token costs one position of work.</summary>
/// <remarks>Not thread-safe. Owns its tensors; what <see cref="Append"/> returns are views.</remarks>
public sealed class KvCache : IDisposable
{
    private readonly (Tensor K, Tensor V)?[] layers;

    /// <summary>An empty cache.</summary>
    /// <param name="layers">Number of layers.</param>
    /// <param name="capacity">Positions to make room for; it grows where that was too few.</param>
    public KvCache(int layers, long capacity) => (this.layers, Capacity) = (new (Tensor, Tensor)?[layers], capacity);

    /// <summary>Positions stored.</summary>
    public long Length { get; private set; }

    private long Capacity { get; set; }

    /// <summary>Adds the keys and values of T positions to a layer; gives those of all positions, [B, H, S, d].</summary>
    internal (Tensor K, Tensor V) Append(int layer, Tensor k, Tensor v)
    {
        var total = Length + k.shape[2];
        if (total > Capacity) Capacity = Math.Max(total, Capacity * 2);
        var (keys, values) = layers[layer] ??= (Room(k), Room(v));
        if (keys.shape[2] < total) layers[layer] = (keys, values) = (Grow(keys), Grow(values));
        keys.narrow(2, Length, k.shape[2]).copy_(k);
        values.narrow(2, Length, v.shape[2]).copy_(v);
        return (keys.narrow(2, 0, total), values.narrow(2, 0, total));
    }

    /// <summary>Counts T positions as stored, after every layer appended them.</summary>
    internal void Advance(long positions) => Length += positions;

    private Tensor Room(Tensor like) => empty(like.shape[0], like.shape[1], Capacity, like.shape[3], dtype: like.dtype, device: like.device).DetachFromDisposeScope();

    private Tensor Grow(Tensor old)
    {
        var larger = Room(old);
        larger.narrow(2, 0, Length).copy_(old.narrow(2, 0, Length));
        old.Dispose();
        return larger;
    }

    /// <summary>Keeps these rows in this order (beams that go on, prompts that are not done).</summary>
    /// <param name="rows">Row numbers, int64.</param>
    public void Reorder(Tensor rows)
    {
        for (var i = 0; i < layers.Length; i++)
        {
            if (layers[i] is not { } old) continue;
            layers[i] = (old.K.index_select(0, rows).DetachFromDisposeScope(), old.V.index_select(0, rows).DetachFromDisposeScope());
            old.K.Dispose();
            old.V.Dispose();
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (var layer in layers) { layer?.K.Dispose(); layer?.V.Dispose(); }
        Array.Clear(layers);
    }
}
