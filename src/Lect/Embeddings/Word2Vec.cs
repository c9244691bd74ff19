// word2vec: Mikolov et al. 2013a (arXiv:1301.3781: CBOW, skip-gram), 2013b (arXiv:1310.4546: negative sampling, subsampling, hierarchical softmax), and the C program of the same authors,
// whose order of updates, random numbers and tables are kept: with one thread the vectors are the program's. Subwords: Bojanowski et al. 2017 (arXiv:1607.04606).
using System.Diagnostics;
using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace Lect;

/// <summary>word2vec.c's options under its names, with its defaults.</summary>
public sealed record Word2VecOptions
{
    /// <summary>Numbers of a vector. <value>100</value></summary>
    public int Size { get; init; } = 100;
    /// <summary>Words to each side at most; each place draws its reach from 1 to this. <value>5</value></summary>
    public int Window { get; init; } = 5;
    /// <summary>Continuous bag of words (the mean of the neighbours predicts the word); false: skip-gram (each neighbour does). <value>true</value></summary>
    public bool Cbow { get; init; } = true;
    /// <summary>Hierarchical softmax over the Huffman tree of the counts. <value>false</value></summary>
    public bool Hs { get; init; }
    /// <summary>Negative samples of each prediction; 0: none. <value>5</value></summary>
    public int Negative { get; init; } = 5;
    /// <summary>Words above this share of the text are dropped at random; 0: none. <value>1e-3</value></summary>
    public double Sample { get; init; } = 1e-3;
    /// <summary>Words with fewer occurrences are left out. <value>5</value></summary>
    public long MinCount { get; init; } = 5;
    /// <summary>Passes over the text. <value>5</value></summary>
    public int? Iter { get; init; }
    /// <summary>Learning rate at the start; it falls linearly to a ten-thousandth. Absent: 0.05 for CBOW, 0.025 for skip-gram.</summary>
    public double? Alpha { get; init; }
    /// <summary>Threads; 1: the result is the same bit by bit in every run. Absent: one a core.</summary>
    public int? Threads { get; init; }
    /// <summary>CBOW takes the mean of the neighbours; false: their sum. <value>true</value></summary>
    public bool CbowMean { get; init; } = true;
    /// <summary>Letters of the shortest subword n-gram (fastText); 0: no subwords. <value>0</value></summary>
    public int Minn { get; init; }
    /// <summary>Letters of the longest. <value>0</value></summary>
    public int Maxn { get; init; }
    /// <summary>Rows that n-grams are hashed to. <value>2000000</value></summary>
    public int Bucket { get; init; } = 2_000_000;

    internal const int MostThreads = 1024;

    internal double StartRate => Alpha ?? (Cbow ? 0.05 : 0.025);

    internal int Passes => Iter ?? 5;

    internal IEnumerable<string> Faults()
    {
        if (Size < 1) yield return $"word2vec.size = {Size}: expected at least 1";
        if (Window < 1) yield return $"word2vec.window = {Window}: expected at least 1";
        if (Negative < 0) yield return $"word2vec.negative = {Negative}: expected at least 0";
        if (!Hs && Negative == 0) yield return "word2vec: found negative = 0 and hs = false, so that nothing would be learned; expected one of them";
        if (Sample < 0 || !double.IsFinite(Sample)) yield return FormattableString.Invariant($"word2vec.sample = {Sample}: expected a share of the text, 0 or more");
        if (MinCount < 1) yield return $"word2vec.min_count = {MinCount}: expected at least 1";
        if (Iter < 1) yield return $"word2vec.iter = {Iter}: expected at least 1";
        if (Alpha is not null && !(Alpha > 0 && double.IsFinite(Alpha.Value))) yield return FormattableString.Invariant($"word2vec.alpha = {Alpha}: expected more than 0");
        if (Threads is < 1 or > MostThreads) yield return $"word2vec.threads = {Threads}: expected 1 to {MostThreads}";
        if (Minn < 0 || Maxn < Minn || (Minn == 0 && Maxn > 0)) yield return $"word2vec: found minn = {Minn} and maxn = {Maxn}, expected 0 and 0 (no subwords) or 1 <= minn <= maxn";
        if (Bucket < 1) yield return $"word2vec.bucket = {Bucket}: expected at least 1";
    }
}

/// <summary>How a training of word vectors stands.</summary>
/// <param name="Words">Words (GloVe: pairs) seen, over all passes.</param>
/// <param name="Total">Of how many.</param>
/// <param name="Loss">Mean of -log p since the last report: a prediction and its negative samples, or its path in the tree; for GloVe the mean weighted squared error. NaN: nothing measured.</param>
/// <param name="Rate">Learning rate.</param>
/// <param name="Elapsed">Since the start.</param>
/// <param name="Threads">Working.</param>
/// <param name="Pass">Passes over the text that are done.</param>
public sealed record VectorProgress(long Words, long Total, double Loss, double Rate, TimeSpan Elapsed, int Threads, double Pass)
{
    /// <summary>What is counted: <c>words</c> or <c>pairs</c>.</summary>
    public string Unit { get; init; } = "words";

    /// <summary>Words (GloVe: pairs) a second and thread.</summary>
    public double Speed => Words / Math.Max(1e-9, Elapsed.TotalSeconds) / Threads;

    /// <summary>Time left at the pace so far; the longest there is where nothing is done yet.</summary>
    public TimeSpan Remaining => (Total - Words) * Elapsed.TotalSeconds / Math.Max(1, Words) is var seconds && Words > 0 && seconds < TimeSpan.MaxValue.TotalSeconds / 2 ? TimeSpan.FromSeconds(seconds) : TimeSpan.MaxValue;
}

/// <summary>The two matrices of word2vec and what draws and weighs: everything but the loop over the text.</summary>
internal sealed unsafe class Word2VecNet<T> : IDisposable where T : unmanaged, IBinaryFloatingPointIeee754<T>
{
    public Word2VecNet(WordVocabulary vocabulary, Word2VecOptions options, ulong seed = 1)
    {
        (Vocabulary, Options) = (vocabulary, options);
        var n = vocabulary.Words.Count;
        Subwords = options.Maxn > 0 ? new(vocabulary.Words, options.Minn, options.Maxn, options.Bucket) : null;
        Syn0 = new(n + (Subwords is null ? 0 : options.Bucket), options.Size);
        Syn1Neg = new(options.Negative > 0 ? n : 0, options.Size);
        Syn1 = new(options.Hs ? n : 0, options.Size);
        if (options.Negative > 0) Table = new(vocabulary.Counts);
        if (options.Hs) Tree = HuffmanTree.Of(vocabulary.Counts);
        Keep = KeepProbabilities(vocabulary, options.Sample);
        for (long row = 0; row < Syn0.Rows; row++)
            foreach (ref var x in Syn0.Row(row))
            {
                seed = WordRandom.Next(seed);
                x = T.CreateTruncating(((seed & 0xFFFF) / 65536f - 0.5f) / options.Size);
            }
    }

    public WordVocabulary Vocabulary { get; }
    public Word2VecOptions Options { get; }
    /// <summary>Inputs: a row a word, then a row a bucket of subwords.</summary>
    public Matrix<T> Syn0 { get; }
    /// <summary>Outputs of negative sampling, a row a word.</summary>
    public Matrix<T> Syn1Neg { get; }
    /// <summary>Outputs of hierarchical softmax, a row an inner node.</summary>
    public Matrix<T> Syn1 { get; }
    public NegativeTable? Table { get; }
    public HuffmanTree? Tree { get; }
    public Subwords? Subwords { get; }
    /// <summary>(sqrt(c / t) + 1) t / c with t = sample * words: how probably an occurrence is kept; above 1: always.</summary>
    public float[] Keep { get; }

    internal static float[] KeepProbabilities(WordVocabulary vocabulary, double sample)
    {
        if (sample == 0) return [];
        var threshold = (float)sample * vocabulary.Total;
        return [.. vocabulary.Counts.Select(c => (float)((Math.Sqrt(c / threshold) + 1) * threshold / c))];
    }

    /// <summary>A word's vector: its row, or the mean of its row and its subwords' rows.</summary>
    public void Vector(int word, Span<float> into)
    {
        ReadOnlySpan<int> rows = Subwords is null ? [word] : Subwords.Of(word);
        for (var d = 0; d < into.Length; d++)
        {
            double sum = 0;
            foreach (var row in rows) sum += double.CreateTruncating(Syn0[row][d]);
            into[d] = (float)(sum / rows.Length);
        }
    }

    public void Dispose()
    {
        Syn0.Dispose();
        Syn1Neg.Dispose();
        Syn1.Dispose();
    }
}

/// <summary>The logistic function 1 / (1 + e^-f), and whether hierarchical softmax leaves an f out.</summary>
internal interface ISigmoid<T>
{
    static abstract T Of(T f);
    static abstract bool IsLeftOut(T f);
}

/// <summary>word2vec.c's table: 1,000 cells over -6 to 6; beyond them 0 or 1, and hierarchical softmax skips.</summary>
internal readonly struct TableSigmoid<T> : ISigmoid<T> where T : unmanaged, IBinaryFloatingPointIeee754<T>
{
    private static readonly T[] s_table = [.. Enumerable.Range(0, 1000).Select(i => (float)Math.Exp((i / 1000f * 2 - 1) * 6)).Select(e => T.CreateTruncating(e / (e + 1)))];

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static T Of(T f)
    {
        var six = T.CreateTruncating(6);
        return f < -six ? T.Zero : f <= six ? s_table[int.CreateTruncating((f + six) * T.CreateTruncating(83))] : T.One;   // 83 = 1000 / 6 / 2 in whole numbers, as there
    }

    public static bool IsLeftOut(T f) => !(T.Abs(f) < T.CreateTruncating(6));
}

/// <summary>One prediction and its updates: h is the hidden layer, e gathers its gradient.</summary>
internal static unsafe class Word2VecKernel<V, T, S> where V : struct, ILanes<V, T> where T : unmanaged, IBinaryFloatingPointIeee754<T> where S : struct, ISigmoid<T>
{
    /// <summary>f = h·row; g = (label - sigmoid(f)) rate; e += g row; row += g h.</summary>
    /// <returns>f.</returns>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static T Learn(T* h, T* row, T* e, int n, T label, T rate, bool skips)
    {
        var f = Lanes<V, T>.Dot(h, row, n);
        if (skips && S.IsLeftOut(f)) return f;
        var g = V.All((label - S.Of(f)) * rate);
        for (var i = 0; i < n; i += V.Count)
        {
            var r = V.Load(row + i);
            V.MultiplyAdd(g, r, V.Load(e + i)).Store(e + i);
            V.MultiplyAdd(g, V.Load(h + i), r).Store(row + i);
        }
        return f;
    }

    /// <summary>Learns that h stands with a word and not with the negatives (those equal to the word are left out).</summary>
    /// <returns>-log sigmoid(h·word) - sum of log sigmoid(-h·negative) where it is asked for, else 0.</returns>
    public static double Negatives(Word2VecNet<T> net, T* h, T* e, int word, ReadOnlySpan<int> negatives, T rate, bool measure)
    {
        var (n, rows) = (net.Syn1Neg.Stride, net.Syn1Neg);
        var f = Learn(h, rows[word], e, n, T.One, rate, skips: false);
        var loss = measure ? Softplus(-f) : 0;
        foreach (var negative in negatives)
        {
            if (negative == word) continue;
            f = Learn(h, rows[negative], e, n, T.Zero, rate, skips: false);
            if (measure) loss += Softplus(f);
        }
        return loss;
    }

    /// <summary>Learns the word's path through the tree: at each inner node the label is 1 - the bit of the code.</summary>
    public static double Path(Word2VecNet<T> net, T* h, T* e, int word, T rate, bool measure)
    {
        var (n, loss) = (net.Syn1.Stride, 0.0);
        var (codes, points) = (net.Tree!.Codes[word], net.Tree.Points[word]);
        for (var d = 0; d < codes.Length; d++)
        {
            var f = Learn(h, net.Syn1[points[d]], e, n, codes[d] == 0 ? T.One : T.Zero, rate, skips: true);
            if (measure) loss += Softplus(codes[d] == 0 ? -f : f);
        }
        return loss;
    }

    private static double Softplus(T x)
    {
        var v = double.CreateTruncating(x);
        return Math.Max(v, 0) + Math.Log(1 + Math.Exp(-Math.Abs(v)));
    }

    /// <summary>h = the mean (or sum) of input rows.</summary>
    public static void Gather(Word2VecNet<T> net, ReadOnlySpan<int> inputs, T* h, bool mean)
    {
        var n = net.Syn0.Stride;
        new Span<T>(h, n).Clear();
        foreach (var input in inputs) Lanes<V, T>.Add(net.Syn0[input], h, n);
        if (mean && inputs.Length > 1) Lanes<V, T>.Scale(h, T.One / T.CreateTruncating(inputs.Length), n);
    }

    /// <summary>Adds the gradient to every input row; where h is a sum, the count-th part of it (as gensim does).</summary>
    public static void Scatter(Word2VecNet<T> net, ReadOnlySpan<int> inputs, T* e, bool mean)
    {
        var n = net.Syn0.Stride;
        if (!mean && inputs.Length > 1) Lanes<V, T>.Scale(e, T.One / T.CreateTruncating(inputs.Length), n);
        foreach (var input in inputs) Lanes<V, T>.Add(e, net.Syn0[input], n);
    }
}

/// <summary>Training over a corpus: threads that share the matrices without locks (Recht et al. 2011, "Hogwild").</summary>
internal static class Word2VecTraining
{
    /// <summary>Runs all passes with the widest registers of this CPU.</summary>
    public static void Run(Word2VecNet<float> net, WordCorpus corpus, int threads, ulong seed, Action<VectorProgress>? report, CancellationToken stop)
    {
        if (Vector512.IsHardwareAccelerated) Run<Lanes512<float>>(net, corpus, threads, seed, report, stop);
        else if (Vector256.IsHardwareAccelerated) Run<Lanes256<float>>(net, corpus, threads, seed, report, stop);
        else Run<Lanes128<float>>(net, corpus, threads, seed, report, stop);
    }

    private static void Run<V>(Word2VecNet<float> net, WordCorpus corpus, int threads, ulong seed, Action<VectorProgress>? report, CancellationToken stop) where V : struct, ILanes<V, float>
    {
        var shared = new Shared(net, corpus, threads);
        // word2vec.c starts thread i from i; other seeds start elsewhere.
        Hogwild.Run(threads, (id, end) => new Worker<V>(shared, id, unchecked((ulong)id + (seed - 1) * 0x9E3779B97F4A7C15)).Train(end), () => shared.Progress(), report, stop);
    }

    private sealed class Shared(Word2VecNet<float> net, WordCorpus corpus, int threads)
    {
        private readonly Stopwatch watch = Stopwatch.StartNew();
        private readonly Lock measured = new();
        private double loss;
        private long losses, words;

        public Word2VecNet<float> Net => net;
        public WordCorpus Corpus => corpus;
        public int Threads => threads;
        public long Total => (long)net.Options.Passes * net.Vocabulary.Total;

        /// <summary>Counts words; gives the learning rate from here on.</summary>
        public float Count(long more, double sum, long count)
        {
            var all = Interlocked.Add(ref words, more);
            lock (measured) (loss, losses) = (loss + sum, losses + count);
            return Rate(all);
        }

        private float Rate(long seen)
        {
            var start = (float)net.Options.StartRate;
            return Math.Max(start * (1 - seen / (float)(Total + 1)), start * 0.0001f);
        }

        public VectorProgress Progress()
        {
            lock (measured)
            {
                var seen = Interlocked.Read(ref words);
                var made = new VectorProgress(seen, Total, losses == 0 ? double.NaN : loss / losses, Rate(seen), watch.Elapsed, threads, (double)seen / net.Vocabulary.Total);
                (loss, losses) = (0, 0);
                return made;
            }
        }
    }

    /// <summary>A thread with its part of the text. The order of random draws is word2vec.c's: one a word for subsampling, one a place for the reach, then the negatives of each update.</summary>
    private sealed unsafe class Worker<V>(Shared shared, int id, ulong random) where V : struct, ILanes<V, float>
    {
        private const int LongestSentence = 1000, WordsBetweenRates = 10_000, MeasuredShare = 64;   // one update in 64 has its loss computed

        private readonly Word2VecNet<float> net = shared.Net;
        private readonly int[] sentence = new int[LongestSentence], read = new int[4096], negatives = new int[shared.Net.Options.Negative];
        private readonly List<int> inputs = [];
        private ulong random = random;
        private long at, end, words, counted, updates, losses;
        private double loss;
        private int held, next;

        public void Train(CancellationToken stop)
        {
            var (first, last) = (shared.Corpus.Length * id / shared.Threads, shared.Corpus.Length * (id + 1) / shared.Threads);
            using var buffer = new Matrix<float>(2, net.Options.Size);
            var rate = (float)net.Options.StartRate;
            for (var pass = 0; pass < net.Options.Passes; pass++)
            {
                (at, end, held, next, words, counted) = (first, last, 0, 0, 0, 0);
                for (int length = 0, place = 0; ;)
                {
                    if (words - counted > WordsBetweenRates) rate = Count();
                    if (place == length)
                    {
                        if (stop.IsCancellationRequested || !ReadSentence(out length)) break;
                        place = 0;
                    }
                    random = WordRandom.Next(random);
                    var reach = net.Options.Window - (int)(random % (ulong)net.Options.Window);
                    if (length == 0) continue;   // a sentence whose words were all dropped has its draw
                    if (net.Options.Cbow) Cbow(place, reach, length, rate, buffer[0], buffer[1]);
                    else SkipGram(place, reach, length, rate, buffer[0], buffer[1]);
                    place++;
                }
                Count();
                if (stop.IsCancellationRequested) return;
            }
        }

        private float Count()
        {
            var rate = shared.Count(words - counted, loss, losses);
            (counted, loss, losses) = (words, 0, 0);
            return rate;
        }

        private bool ReadSentence(out int length)
        {
            length = 0;
            var keep = net.Keep;
            while (true)
            {
                if (next == held)
                {
                    if (at == end) return length > 0;
                    held = (int)Math.Min(read.Length, end - at);
                    shared.Corpus.Read(at, read.AsSpan(0, held));
                    (at, next) = (at + held, 0);
                }
                var word = read[next++];
                words++;
                if (word == 0) return true;
                if (keep.Length > 0)
                {
                    random = WordRandom.Next(random);
                    if (keep[word] < (random & 0xFFFF) / 65536f) continue;
                }
                sentence[length++] = word;
                if (length == LongestSentence) return true;
            }
        }

        // Each neighbour predicts the word.
        private void SkipGram(int place, int reach, int length, float rate, float* h, float* e)
        {
            var (word, n) = (sentence[place], net.Syn0.Stride);
            for (var c = Math.Max(0, place - reach); c <= Math.Min(length - 1, place + reach); c++)
            {
                if (c == place) continue;
                new Span<float>(e, n).Clear();
                if (net.Subwords is null)
                {
                    var row = net.Syn0[sentence[c]];
                    Predict(word, row, e, rate);
                    Lanes<V, float>.Add(e, row, n);
                }
                else
                {
                    var rows = net.Subwords.Of(sentence[c]);
                    Word2VecKernel<V, float, TableSigmoid<float>>.Gather(net, rows, h, mean: true);
                    Predict(word, h, e, rate);
                    Word2VecKernel<V, float, TableSigmoid<float>>.Scatter(net, rows, e, mean: true);
                }
            }
        }

        // The neighbours together predict it.
        private void Cbow(int place, int reach, int length, float rate, float* h, float* e)
        {
            inputs.Clear();
            for (var c = Math.Max(0, place - reach); c <= Math.Min(length - 1, place + reach); c++)
                if (c != place)
                {
                    if (net.Subwords is null) inputs.Add(sentence[c]);
                    else inputs.AddRange(net.Subwords.Of(sentence[c]));
                }
            if (inputs.Count == 0) return;
            var rows = System.Runtime.InteropServices.CollectionsMarshal.AsSpan(inputs);
            new Span<float>(e, net.Syn0.Stride).Clear();
            Word2VecKernel<V, float, TableSigmoid<float>>.Gather(net, rows, h, net.Options.CbowMean);
            Predict(sentence[place], h, e, rate);
            Word2VecKernel<V, float, TableSigmoid<float>>.Scatter(net, rows, e, net.Options.CbowMean);
        }

        private void Predict(int word, float* h, float* e, float rate)
        {
            var measure = updates++ % MeasuredShare == 0;
            if (net.Tree is not null) loss += Word2VecKernel<V, float, TableSigmoid<float>>.Path(net, h, e, word, rate, measure);
            if (net.Table is not null)
            {
                Prefetch.Row(net.Syn1Neg[word], net.Syn1Neg.Stride);
                for (var i = 0; i < negatives.Length; i++)
                {
                    negatives[i] = net.Table.Draw(ref random);
                    Prefetch.Row(net.Syn1Neg[negatives[i]], net.Syn1Neg.Stride);
                }
                loss += Word2VecKernel<V, float, TableSigmoid<float>>.Negatives(net, h, e, word, negatives, rate, measure);
            }
            if (measure) losses++;
        }
    }
}
