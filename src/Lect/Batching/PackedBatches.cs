using Lect.Models;
using Lect.Text;
using TorchSharp;
using static TorchSharp.torch;

namespace Lect;

/// <summary>Rows of token ids and the next token of each place.</summary>
/// <param name="Ids">[B, T], row by row.</param>
/// <param name="Labels">[B, T]: the id that follows, -100 where there is none.</param>
/// <param name="Rows">B.</param>
public sealed record TokenBatch(long[] Ids, long[] Labels, int Rows)
{
    /// <summary>Labels that count.</summary>
    public long LabelCount => Labels.LongCount(l => l != -100);

    /// <summary>Both as int64 tensors [B, T] on a device; the caller owns them.</summary>
    public (Tensor Ids_BT, Tensor Labels_BT) ToTensors(Device device) => (tensor(Ids, Rows, Ids.Length / Rows, device: device), tensor(Labels, Rows, Labels.Length / Rows, device: device));
}

/// <summary>
/// Blocks of a stream of documents packed one after the other. Which blocks a step gets is a function of (seed, step): nothing is
/// consumed, so that a resumed run gets the same.
/// </summary>
public sealed class PackedBatches
{
    private readonly TokenIds ids;
    private readonly int block, batch;
    private readonly int? microBatch;
    private readonly long seed;
    private readonly bool shuffle;
    private (long Epoch, int[] Order, int Phase) epoch = (-1, [], 0);

    /// <param name="ids">The training split.</param>
    /// <param name="block">T.</param>
    /// <param name="batch">Rows of a step.</param>
    /// <param name="microBatch">Rows of a forward pass; null: all, or each process its share.</param>
    /// <param name="seed">Of the run.</param>
    /// <param name="shuffle">Every block once an epoch, in an order and from a first token keyed by (seed, epoch); otherwise windows at random places (nanoGPT).</param>
    /// <exception cref="InvalidDataException">Fewer tokens than one block and its last label.</exception>
    public PackedBatches(TokenIds ids, int block, int batch, int? microBatch, long seed, bool shuffle)
    {
        if (ids.Count <= block) throw new InvalidDataException($"Found a training split of {ids.Count} tokens. Expected more than one block, {block} (train.block). Give more text, or shorten the block.");
        (this.ids, this.block, this.batch, this.microBatch, this.seed, this.shuffle) = (ids, block, batch, microBatch, seed, shuffle);
    }

    /// <summary>Steps of a number of passes over the split, rounded up.</summary>
    public long StepsOf(double epochs) => (long)Math.Ceiling(epochs * (ids.Count - 1) / block / batch);

    /// <summary>The micro-batches of a step.</summary>
    public IReadOnlyList<TokenBatch> At(long step)
    {
        var random = Seeds.Random(seed, "batch", step);
        var starts = new long[batch];
        for (var i = 0; i < batch; i++) starts[i] = shuffle ? Shuffled(step * batch + i) : random.NextInt64(ids.Count - block);
        return [.. Processes.Share(starts, microBatch).Select(rows => Rows(ids, rows, block))];
    }

    private long Shuffled(long index)
    {
        // A phase shifts the blocks' borders from epoch to epoch; one block is given up for it.
        var blocks = (int)Math.Max(1, (ids.Count - 1) / block - 1);
        if (epoch.Epoch != index / blocks)
        {
            var random = Seeds.Random(seed, "epoch", index / blocks);
            var order = Enumerable.Range(0, blocks).ToArray();
            random.Shuffle(order);
            epoch = (index / blocks, order, random.Next((int)Math.Min(block, ids.Count - block * (long)blocks)));
        }
        return epoch.Phase + (long)epoch.Order[index % blocks] * block;
    }

    private static TokenBatch Rows(TokenIds ids, long[] starts, int block)
    {
        var (input, labels, row) = (new long[starts.Length * block], new long[starts.Length * block], new long[block + 1]);
        for (var r = 0; r < starts.Length; r++)
        {
            ids.Read(starts[r], row);
            row.AsSpan(..block).CopyTo(input.AsSpan(r * block));
            row.AsSpan(1).CopyTo(labels.AsSpan(r * block));
        }
        return new(input, labels, starts.Length);
    }

    /// <summary>A whole split, each token but the first predicted once, in blocks of T; the last one may be shorter.</summary>
    /// <param name="ids">The split.</param>
    /// <param name="block">T.</param>
    /// <param name="rows">Rows of a batch.</param>
    /// <param name="stride">Tokens that a block predicts anew; absent: T, so that blocks do not overlap.</param>
    /// <param name="most">Stops after so many tokens; 0: all.</param>
    public static IEnumerable<TokenBatch> InOrder(TokenIds ids, int block, int rows, int? stride = null, long most = 0)
    {
        var (last, step) = (Math.Min(ids.Count - 1, most > 0 ? most : long.MaxValue), stride ?? block);
        var whole = last < block ? 0 : (last - block) / step + 1;
        for (long at = 0; at < whole; at += rows)
            yield return Fresh(Rows(ids, [.. Enumerable.Range(0, (int)Math.Min(rows, whole - at)).Select(r => (at + r) * step)], block), step, skipsFirst: at > 0);
        var done = whole == 0 ? 0 : (whole - 1) * step + block;
        if (done >= last) yield break;
        var start = whole == 0 ? 0 : Math.Max(0, last - block);
        if (step == block) start = done;
        yield return Fresh(Rows(ids, [start], (int)(last - start)), (int)(last - done), skipsFirst: true);
    }

    // Only the last `fresh` labels of a row count; the stream's first row counts whole.
    private static TokenBatch Fresh(TokenBatch batch, int fresh, bool skipsFirst)
    {
        var length = batch.Labels.Length / batch.Rows;
        for (var r = skipsFirst ? 0 : 1; r < batch.Rows; r++) batch.Labels.AsSpan(r * length, length - fresh).Fill(-100);
        return batch;
    }
}
