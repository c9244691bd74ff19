using Lect.Models;

namespace Lect;

/// <summary>Batches by length: each epoch the items are shuffled, sorted within pools, cut, and the batches shuffled, so that little is padding. A function of (seed, step).</summary>
/// <param name="items">Those of an epoch, a function of its number.</param>
/// <param name="length">What is sorted by.</param>
/// <param name="isFull">Whether a batch has no place for one more.</param>
/// <param name="pool">Items that are sorted together.</param>
/// <param name="seed">Of the run.</param>
/// <param name="purpose">What the random numbers are for.</param>
/// <param name="isMixed">The batches are shuffled too; otherwise each pool goes from long to short, as transformers' group_by_length.</param>
internal sealed class LengthBatches<T>(Func<long, IReadOnlyList<T>> items, Func<T, (int, int)> length, Func<IReadOnlyList<T>, T, bool> isFull, int pool, long seed, string purpose, bool isMixed = true)
{
    private (long Number, List<T[]> Batches, long First) epoch = (-1, [], 0);

    /// <summary>Steps of some epochs, as the first ones count them.</summary>
    public long StepsOf(double epochs)
    {
        long steps = 0;
        for (long e = 0; e < (long)epochs; e++) steps += Cut(e).Count;
        return epochs > Math.Floor(epochs) ? steps + (long)Math.Ceiling((epochs - Math.Floor(epochs)) * Cut((long)epochs).Count) : steps;
    }

    public IReadOnlyList<T> At(long step)
    {
        if (epoch.Number < 0 || step < epoch.First) Begin();
        while (step >= epoch.First + epoch.Batches.Count) epoch = (epoch.Number + 1, Cut(epoch.Number + 1), epoch.First + epoch.Batches.Count);
        return epoch.Batches[(int)(step - epoch.First)];
    }

    /// <summary>The batches of the first epoch, to be described; they are kept for the steps.</summary>
    public IReadOnlyList<T[]> Begin() => (epoch = epoch.Number == 0 ? epoch : (0, Cut(0), 0)).Batches;

    private List<T[]> Cut(long number)
    {
        var all = items(number);
        var random = Seeds.Random(seed, purpose, number);
        var order = Enumerable.Range(0, all.Count).ToArray();
        random.Shuffle(order);
        var batches = new List<T[]>();
        foreach (var chunk in order.Chunk(pool))
        {
            var batch = new List<T>();
            foreach (var item in isMixed ? chunk.Select(i => all[i]).OrderBy(length) : chunk.Select(i => all[i]).OrderByDescending(length))
            {
                if (batch.Count > 0 && isFull(batch, item)) { batches.Add([.. batch]); batch.Clear(); }
                batch.Add(item);
            }
            if (batch.Count > 0) batches.Add([.. batch]);
        }
        if (!isMixed) return batches;
        var mixed = batches.ToArray();
        random.Shuffle(mixed);
        return [.. mixed];
    }
}
