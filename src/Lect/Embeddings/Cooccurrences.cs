using System.Runtime.InteropServices;
using Lect.Models;

namespace Lect;

/// <summary>
/// How often words stand near each other (Pennington et al. 2014, section 3). Counted word by word from the places where it stands, so that the sums of one word lie in the cache, need no hashing
/// and no merging, and do not depend on the number of threads. Where the places do not fit into the memory that is allowed, the text is gone through several times, for some words each.
/// </summary>
internal static class Cooccurrences
{
    /// <summary>Told the counts of a row: columns (words from 0) and sums, valid until it returns. Called by several threads.</summary>
    public delegate void Sink(int row, ReadOnlySpan<int> columns, ReadOnlySpan<double> values);

    /// <summary>Counts all rows.</summary>
    /// <param name="corpus">The text; word i of it is row i - 1.</param>
    /// <param name="window">Words to each side.</param>
    /// <param name="symmetric">Both sides; false: the row's word stands left of the column's.</param>
    /// <param name="weighted">Adds 1 / distance; false: 1.</param>
    /// <param name="threads">Threads.</param>
    /// <param name="memory">Bytes to work with.</param>
    /// <param name="sink">Told each row.</param>
    /// <param name="progress">Told the share that is done.</param>
    /// <param name="stop">Gives up.</param>
    /// <exception cref="InvalidDataException">The memory is too small; the message says what is needed.</exception>
    public static void Count(WordCorpus corpus, int window, bool symmetric, bool weighted, int threads, long memory, Sink sink, Action<double>? progress = null, CancellationToken stop = default)
    {
        var counts = corpus.Vocabulary.Counts;
        var size = counts.Count - 1;
        var sums = threads * ((long)size * (2 * sizeof(double) + sizeof(int)) + (2L * window + 1) * sizeof(int)) + window * (long)sizeof(double);   // a RowCounter each, and the weights
        var need = sums + counts.Skip(1).Max() * sizeof(long);
        if (need > memory) throw new InvalidDataException(FormattableString.Invariant($"Found glove.memory = {memory / 1e9:0.###} GB for {size:N0} words and windows of {window:N0}. Expected at least {need / 1e9:0.###} GB: raise it, raise min_count, or lower max_vocab or window_size."));
        double[] weights = [0, .. Enumerable.Range(1, window).Select(d => weighted ? 1.0 / d : 1)];
        long done = 0;
        for (var from = 1; from <= size;)
        {
            var (to, places) = (from, 0L);
            while (to <= size && (places + counts[to]) * sizeof(long) <= memory - sums && (to == from || places + counts[to] <= Array.MaxLength)) places += counts[to++];
            var (starts, where) = Places(corpus, from, to, places, stop);
            var next = from - 1;
            Run(threads, () =>
            {
                var row = new RowCounter(corpus, size, window, symmetric, weights);
                for (int word; (word = Interlocked.Increment(ref next)) < to && !stop.IsCancellationRequested;)
                {
                    row.Count(where.AsSpan()[(int)starts[word - from]..(int)starts[word - from + 1]], word - 1, sink);
                    progress?.Invoke((double)Interlocked.Add(ref done, counts[word]) / corpus.Vocabulary.Total);
                }
            });
            stop.ThrowIfCancellationRequested();
            from = to;
        }
    }

    private static void Run(int threads, Action work)
    {
        if (threads == 1) work();
        else Parallel.For(0, threads, new ParallelOptions { MaxDegreeOfParallelism = threads }, _ => work());
    }

    // Where the words of a range stand, word by word (a counting sort).
    private static (long[] Starts, long[] Places) Places(WordCorpus corpus, int from, int to, long count, CancellationToken stop)
    {
        if (count > Array.MaxLength) throw new InvalidDataException($"Found a word that stands {count:N0} times. Expected at most {Array.MaxLength:N0}.");
        var starts = new long[to - from + 1];
        for (var word = from; word < to; word++) starts[word - from + 1] = starts[word - from] + corpus.Vocabulary.Counts[word];
        var (places, fill, piece) = (new long[count], starts[..^1], new int[1 << 16]);
        for (long at = 0; at < corpus.Length; at += piece.Length)
        {
            stop.ThrowIfCancellationRequested();
            var n = (int)Math.Min(piece.Length, corpus.Length - at);
            corpus.Read(at, piece.AsSpan(0, n));
            for (var i = 0; i < n; i++)
                if (piece[i] >= from && piece[i] < to) places[fill[piece[i] - from]++] = at + i;
        }
        return (starts, places);
    }

    private sealed class RowCounter(WordCorpus corpus, int size, int window, bool symmetric, double[] weights)
    {
        private readonly double[] sums = new double[size], values = new double[size];
        private readonly int[] touched = new int[size], near = new int[2 * window + 1];
        private int count;

        public void Count(ReadOnlySpan<long> places, int row, Sink sink)
        {
            foreach (var place in places)
            {
                var first = symmetric ? Math.Max(0, place - window) : place;
                var around = near.AsSpan(0, (int)(Math.Min(corpus.Length, place + window + 1) - first));
                corpus.Read(first, around);
                var at = (int)(place - first);
                for (var i = at + 1; i < around.Length && around[i] != 0; i++) Add(around[i] - 1, weights[i - at]);
                for (var i = at - 1; i >= 0 && around[i] != 0; i--) Add(around[i] - 1, weights[at - i]);
            }
            for (var i = 0; i < count; i++)
            {
                values[i] = sums[touched[i]];
                sums[touched[i]] = 0;
            }
            if (count > 0) sink(row, touched.AsSpan(0, count), values.AsSpan(0, count));
            count = 0;
        }

        private void Add(int column, double weight)
        {
            ref var sum = ref sums[column];
            if (sum == 0) touched[count++] = column;
            sum += weight;
        }
    }
}

/// <summary>A pair of words as GloVe's training takes it.</summary>
/// <param name="Row">Word.</param>
/// <param name="Column">Context word.</param>
/// <param name="Log">ln x of their count.</param>
/// <param name="Weight">f(x) = min(1, (x / x_max)^alpha).</param>
[StructLayout(LayoutKind.Sequential, Pack = 4)]
internal readonly record struct WordPair(int Row, int Column, float Log, float Weight);

/// <summary>Brings pairs into random order in a file: each goes to a random one of many heaps, which are shuffled one after the other. Heaps go to disk when they outgrow the memory.</summary>
internal sealed class PairShuffle(string path, long memory, long seed) : IDisposable
{
    private const int Heaps = 256;

    private readonly Random random = Seeds.Random(seed, "heap");
    private readonly WordPair[][] heaps = [.. Enumerable.Range(0, Heaps).Select(_ => new WordPair[64])];
    private readonly int[] held = new int[Heaps];
    private readonly FileStream?[] files = new FileStream?[Heaps];
    private readonly Lock adding = new();
    private long total, inMemory;

    /// <summary>Adds a row of counts.</summary>
    public void Add(int row, ReadOnlySpan<int> columns, ReadOnlySpan<double> values, GloveOptions options)
    {
        var made = new WordPair[columns.Length];
        for (var i = 0; i < made.Length; i++) made[i] = GloveTraining.Pair(row, columns[i], values[i], options);
        Add(made);
    }

    public unsafe void Add(ReadOnlySpan<WordPair> pairs)
    {
        lock (adding)
        {
            foreach (var pair in pairs)
            {
                var heap = random.Next(Heaps);
                if (held[heap] == heaps[heap].Length) Array.Resize(ref heaps[heap], held[heap] * 2);
                heaps[heap][held[heap]++] = pair;
            }
            total += pairs.Length;
            if ((inMemory += pairs.Length) * sizeof(WordPair) > memory / 2) Spill();   // the heaps have room for twice as many
        }
    }

    private void Spill()
    {
        for (var heap = 0; heap < Heaps; heap++)
        {
            files[heap] ??= new($"{path}.{heap}", FileMode.Create, FileAccess.ReadWrite, FileShare.None, 1, FileOptions.DeleteOnClose);
            files[heap]!.Write(MemoryMarshal.AsBytes(heaps[heap].AsSpan(0, held[heap])));
            held[heap] = 0;
        }
        inMemory = 0;
    }

    /// <summary>Writes the pairs in their new order.</summary>
    /// <returns>How many.</returns>
    public unsafe long Finish(CancellationToken stop = default)
    {
        using var into = new FileStream(path, FileMode.Create, FileAccess.Write, FileShare.None, 1);
        for (var heap = 0; heap < Heaps; heap++)
        {
            stop.ThrowIfCancellationRequested();
            var onDisk = (files[heap]?.Length ?? 0) / sizeof(WordPair);
            if ((onDisk + held[heap]) * sizeof(WordPair) > Math.Max(memory, 1 << 20)) throw new InvalidDataException(FormattableString.Invariant($"Found glove.memory = {memory / 1e9:0.###} GB for {total:N0} pairs of words. Expected at least {(double)total * sizeof(WordPair) / Heaps * 1.1 / 1e9:0.###} GB."));
            var all = new WordPair[onDisk + held[heap]];
            if (files[heap] is { } file)
            {
                file.Position = 0;
                file.ReadExactly(MemoryMarshal.AsBytes(all.AsSpan(0, (int)onDisk)));
            }
            heaps[heap].AsSpan(0, held[heap]).CopyTo(all.AsSpan((int)onDisk));
            heaps[heap] = [];
            Seeds.Random(seed, "order", heap).Shuffle(all);
            into.Write(MemoryMarshal.AsBytes(all.AsSpan()));
        }
        return total;
    }

    public void Dispose()
    {
        foreach (var file in files) file?.Dispose();
    }
}

/// <summary>Pairs in a file, mapped.</summary>
internal sealed unsafe class PairFile(string path, long count) : IDisposable
{
    private readonly MappedFile file = new(path);

    public long Count => count;

    public WordPair this[long i] => ((WordPair*)file.Start)[i];

    public void Dispose() => file.Dispose();
}
