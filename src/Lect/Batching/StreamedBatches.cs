using Lect.Models;

namespace Lect;

/// <summary>
/// Batches of examples that stream by: a window of them is in memory at a time, shuffled by (seed, epoch, window), sorted by length within, so that little is padding, and cut; its batches are shuffled again. A function of
/// (seed, step): going back to a step reads the stream again from its beginning.
/// </summary>
/// <param name="items">Those of an epoch.</param>
/// <param name="length">What is sorted by.</param>
/// <param name="size">Examples of a batch.</param>
/// <param name="seed">Of the run.</param>
/// <param name="window">Examples in memory.</param>
internal sealed class StreamedBatches<T>(Func<IEnumerable<T>> items, Func<T, int> length, int size, long seed, int window = 8192) : IDisposable
{
    private readonly Queue<T[]> ready = new();
    private IEnumerator<T[]>? chunks;
    private long next, epoch, number;

    /// <summary>Steps of some epochs: one pass is read to count.</summary>
    public long StepsOf(double epochs) => StepsOf(epochs, _ => 1);

    /// <summary>The same where a batch of so many examples takes more steps than one.</summary>
    public long StepsOf(double epochs, Func<int, long> steps)
    {
        long count = 0;
        foreach (var chunk in items().Chunk(window)) count += chunk.Length / size * steps(size) + (chunk.Length % size is > 0 and var rest ? steps(rest) : 0);
        return Math.Max(1, (long)Math.Ceiling(epochs * count));
    }

    public T[] At(long step)
    {
        if (step < next) Restart();
        while (next < step) Next();
        return Next();
    }

    private T[] Next()
    {
        while (ready.Count == 0) Fill();
        next++;
        return ready.Dequeue();
    }

    private void Restart()
    {
        Dispose();
        ready.Clear();
        (chunks, next, epoch, number) = (null, 0, 0, 0);
    }

    private void Fill()
    {
        chunks ??= items().Chunk(window).GetEnumerator();
        if (!chunks.MoveNext())
        {
            if (number == 0) throw new InvalidDataException("Found no examples to train on. Expected at least one.");
            chunks.Dispose();
            (chunks, epoch, number) = (null, epoch + 1, 0);
            return;
        }
        var random = Seeds.Random(seed, "stream", epoch, number++);
        var chunk = chunks.Current;
        random.Shuffle(chunk);
        var batches = chunk.OrderBy(length).Chunk(size).ToArray();
        random.Shuffle(batches);
        foreach (var batch in batches) ready.Enqueue(batch);
    }

    /// <inheritdoc/>
    public void Dispose() => chunks?.Dispose();
}
