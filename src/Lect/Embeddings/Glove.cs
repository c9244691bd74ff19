// GloVe: Pennington, Socher and Manning 2014 (EMNLP); the updates are those of the authors' glove.c.
using System.Diagnostics;
using System.Numerics;
using System.Numerics.Tensors;
using System.Runtime.Intrinsics;
using Lect.Models;

namespace Lect;

/// <summary>The options of GloVe's programs (vocab_count, cooccur, shuffle, glove) under their names, with their defaults.</summary>
public sealed record GloveOptions
{
    /// <summary>Numbers of a vector. <value>50</value></summary>
    public int VectorSize { get; init; } = 50;
    /// <summary>Words with fewer occurrences are left out. <value>1</value></summary>
    public long MinCount { get; init; } = 1;
    /// <summary>Words kept at most, the most frequent ones; 0: all. <value>0</value></summary>
    public int MaxVocab { get; init; }
    /// <summary>Context words to each side. <value>15</value></summary>
    public int WindowSize { get; init; } = 15;
    /// <summary>Context on both sides; false: on the right of the word. <value>true</value></summary>
    public bool Symmetric { get; init; } = true;
    /// <summary>A pair at distance d adds 1 / d to its count; false: 1. <value>true</value></summary>
    public bool DistanceWeighting { get; init; } = true;
    /// <summary>GB to count and to shuffle with. <value>4</value></summary>
    public double Memory { get; init; } = 4;
    /// <summary>Counts above it have the weight 1. <value>100</value></summary>
    public double XMax { get; init; } = 100;
    /// <summary>Exponent of the weight below it. <value>0.75</value></summary>
    public double Alpha { get; init; } = 0.75;
    /// <summary>Learning rate of AdaGrad. <value>0.05</value></summary>
    public double? Eta { get; init; }
    /// <summary>Largest gradient of a number. <value>100</value></summary>
    public double GradClip { get; init; } = 100;
    /// <summary>Passes over the pairs. <value>25</value></summary>
    public int? Iter { get; init; }
    /// <summary>What is saved: 0 word and context vectors, each with its bias; 1 word vectors; 2 their sum; 3 both behind each other. <value>2</value></summary>
    public int Model { get; init; } = 2;
    /// <summary>Threads; 1: the result is the same bit by bit in every run. Absent: one a core.</summary>
    public int? Threads { get; init; }

    internal double StartRate => Eta ?? 0.05;

    internal int Passes => Iter ?? 25;

    internal long MemoryBytes => (long)(Memory * 1e9);

    internal IEnumerable<string> Faults()
    {
        if (VectorSize < 1) yield return $"glove.vector_size = {VectorSize}: expected at least 1";
        if (MinCount < 1) yield return $"glove.min_count = {MinCount}: expected at least 1";
        if (MaxVocab < 0) yield return $"glove.max_vocab = {MaxVocab}: expected at least 0";
        if (WindowSize < 1) yield return $"glove.window_size = {WindowSize}: expected at least 1";
        if (!(Memory > 0)) yield return FormattableString.Invariant($"glove.memory = {Memory}: expected more than 0 (GB)");
        if (!(XMax > 0)) yield return FormattableString.Invariant($"glove.x_max = {XMax}: expected more than 0");
        if (!double.IsFinite(Alpha)) yield return FormattableString.Invariant($"glove.alpha = {Alpha}: expected a number");
        if (Eta is not null && !(Eta > 0 && double.IsFinite(Eta.Value))) yield return FormattableString.Invariant($"glove.eta = {Eta}: expected more than 0");
        if (!(GradClip > 0)) yield return FormattableString.Invariant($"glove.grad_clip = {GradClip}: expected more than 0");
        if (Iter < 1) yield return $"glove.iter = {Iter}: expected at least 1";
        if (Model is < 0 or > 3) yield return $"glove.model = {Model}: expected 0 (all parameters), 1 (word vectors), 2 (their sum with the context vectors) or 3 (both)";
        if (Threads is < 1 or > Word2VecOptions.MostThreads) yield return $"glove.threads = {Threads}: expected 1 to {Word2VecOptions.MostThreads}";
    }
}

/// <summary>Word and context vectors, their biases, and AdaGrad's sums of squares, which begin at 1.</summary>
internal sealed unsafe class GloveNet<T> : IDisposable where T : unmanaged, IBinaryFloatingPointIeee754<T>
{
    public GloveNet(int words, int size, long seed)
    {
        (Word, Context, WordSquares, ContextSquares) = (new(words, size), new(words, size), new(words, size), new(words, size));
        (WordBias, ContextBias, WordBiasSquares, ContextBiasSquares) = (new T[words], new T[words], new T[words], new T[words]);
        var random = Seeds.Random(seed, "init");
        T Draw() => T.CreateTruncating((random.NextDouble() - 0.5) / size);
        foreach (var matrix in (Matrix<T>[])[Word, Context])
            for (var i = 0; i < words; i++)
                foreach (ref var x in matrix.Row(i)) x = Draw();
        for (var i = 0; i < words; i++) (WordBias[i], ContextBias[i]) = (Draw(), Draw());
        foreach (var matrix in (Matrix<T>[])[WordSquares, ContextSquares])
            for (var i = 0; i < words; i++) new Span<T>(matrix[i], matrix.Stride).Fill(T.One);   // the padding too: it is divided by
        WordBiasSquares.AsSpan().Fill(T.One);
        ContextBiasSquares.AsSpan().Fill(T.One);
    }

    public Matrix<T> Word { get; }
    public Matrix<T> Context { get; }
    public Matrix<T> WordSquares { get; }
    public Matrix<T> ContextSquares { get; }
    public T[] WordBias { get; }
    public T[] ContextBias { get; }
    public T[] WordBiasSquares { get; }
    public T[] ContextBiasSquares { get; }

    public void Dispose()
    {
        foreach (var matrix in (Matrix<T>[])[Word, Context, WordSquares, ContextSquares]) matrix.Dispose();
    }
}

/// <summary>One pair's update.</summary>
internal static unsafe class GloveKernel<V, T> where V : struct, ILanes<V, T> where T : unmanaged, IBinaryFloatingPointIeee754<T>
{
    /// <summary>
    /// diff = w·c + b + b' - ln x; u = clip(f diff c) eta; w -= u / sqrt(G); G += u²; the same for c with w, both from the values before; biases with f diff, without eta (as glove.c today).
    /// </summary>
    /// <returns>0.5 f diff²; nothing is changed where that is no number.</returns>
    public static double Learn(GloveNet<T> net, int row, int column, T log, T weight, T eta, T clip)
    {
        T* w = net.Word[row], c = net.Context[column], gw = net.WordSquares[row], gc = net.ContextSquares[column];
        var n = net.Word.Stride;
        var diff = Lanes<V, T>.Dot(w, c, n) + net.WordBias[row] + net.ContextBias[column] - log;
        var fdiff = weight * diff;
        if (!T.IsFinite(fdiff)) return 0;
        V f = V.All(fdiff), low = V.All(-clip), high = V.All(clip), rate = V.All(eta);
        for (var i = 0; i < n; i += V.Count)
        {
            V x = V.Load(w + i), y = V.Load(c + i), sx = V.Load(gw + i), sy = V.Load(gc + i);
            V ux = V.Clamp(f * y, low, high) * rate, uy = V.Clamp(f * x, low, high) * rate;
            (x - ux / V.Sqrt(sx)).Store(w + i);
            (y - uy / V.Sqrt(sy)).Store(c + i);
            V.MultiplyAdd(ux, ux, sx).Store(gw + i);
            V.MultiplyAdd(uy, uy, sy).Store(gc + i);
        }
        net.WordBias[row] -= fdiff / T.Sqrt(net.WordBiasSquares[row]);
        net.ContextBias[column] -= fdiff / T.Sqrt(net.ContextBiasSquares[column]);
        net.WordBiasSquares[row] += fdiff * fdiff;
        net.ContextBiasSquares[column] += fdiff * fdiff;
        return 0.5 * double.CreateTruncating(fdiff * diff);
    }
}

/// <summary>Training over shuffled pairs: threads that share the matrices without locks.</summary>
internal static class GloveTraining
{
    /// <summary>What <see cref="GloveOptions.Model"/> asks for, one row a word. The sum is made in the word vectors' place: the end of training.</summary>
    public static OwnRows Result(GloveNet<float> net, int model)
    {
        var (size, words) = (net.Word.Width, net.WordBias.Length);
        if (model == 2)
            for (var i = 0; i < words; i++) TensorPrimitives.Add(net.Word.Row(i), net.Context.Row(i), net.Word.Row(i));
        if (model is 1 or 2) return new(net.Word);
        var made = new OwnRows(words, model == 3 ? 2 * size : 2 * (size + 1));
        for (var i = 0; i < words; i++)
        {
            float[] row = model == 3 ? [.. net.Word.Row(i), .. net.Context.Row(i)] : [.. net.Word.Row(i), net.WordBias[i], .. net.Context.Row(i), net.ContextBias[i]];
            row.CopyTo(made[i]);
        }
        return made;
    }

    /// <summary>A pair with what training needs of its count.</summary>
    public static WordPair Pair(int row, int column, double count, GloveOptions options) => new(row, column, (float)Math.Log(count), count < options.XMax ? (float)Math.Pow(count / options.XMax, options.Alpha) : 1);

    /// <summary>Runs all passes with the widest registers of this CPU.</summary>
    public static void Run(GloveNet<float> net, PairFile pairs, GloveOptions options, int threads, Action<VectorProgress>? report, CancellationToken stop)
    {
        if (Vector512.IsHardwareAccelerated) Run<Lanes512<float>>(net, pairs, options, threads, report, stop);
        else if (Vector256.IsHardwareAccelerated) Run<Lanes256<float>>(net, pairs, options, threads, report, stop);
        else Run<Lanes128<float>>(net, pairs, options, threads, report, stop);
    }

    private static void Run<V>(GloveNet<float> net, PairFile pairs, GloveOptions options, int threads, Action<VectorProgress>? report, CancellationToken stop) where V : struct, ILanes<V, float>
    {
        var (watch, measured) = (Stopwatch.StartNew(), new Lock());
        var (cost, counted, done) = (0.0, 0L, 0L);
        Hogwild.Run(threads, (id, end) =>
        {
            const int Piece = 1 << 15, Ahead = 4;
            var (first, last) = (pairs.Count * id / threads, pairs.Count * (id + 1) / threads);
            var (eta, clip) = ((float)options.StartRate, (float)options.GradClip);
            for (var pass = 0; pass < options.Passes; pass++)
                for (var at = first; at < last; at += Piece)
                {
                    if (end.IsCancellationRequested) return;
                    var (to, sum) = (Math.Min(last, at + Piece), 0.0);
                    for (var i = at; i < to; i++)
                    {
                        var pair = pairs[i];
                        if (i + Ahead < to) Ask(net, pairs[i + Ahead]);
                        sum += GloveKernel<V, float>.Learn(net, pair.Row, pair.Column, pair.Log, pair.Weight, eta, clip);
                    }
                    lock (measured) (cost, counted, done) = (cost + sum, counted + to - at, done + to - at);
                }
        }, () =>
        {
            lock (measured)
            {
                var made = new VectorProgress(done, pairs.Count * options.Passes, counted == 0 ? double.NaN : cost / counted, options.StartRate, watch.Elapsed, threads, (double)done / pairs.Count) { Unit = "pairs" };
                (cost, counted) = (0, 0);
                return made;
            }
        }, report, stop);
    }

    private static unsafe void Ask(GloveNet<float> net, WordPair pair)
    {
        var n = net.Word.Stride;
        Prefetch.Row(net.Word[pair.Row], n);
        Prefetch.Row(net.WordSquares[pair.Row], n);
        Prefetch.Row(net.Context[pair.Column], n);
        Prefetch.Row(net.ContextSquares[pair.Column], n);
    }
}
