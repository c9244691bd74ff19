using System.Diagnostics;
using System.Globalization;
using System.Text.RegularExpressions;
using Lect.Text;

namespace Lect.Benchmarks;

/// <summary>
/// Word vectors beside a plain port of word2vec.c and, where a folder holds them (word2vec, vocab_count, cooccur, shuffle, glove built at -O3 -march=native), beside the C programs, in turn and in one run.
/// words [CORPUS] [--programs FOLDER] [--threads N] [--glove-only]: a text of words between spaces; by default the SDK's documentation.
/// </summary>
internal static partial class WordsBaseline
{
    private const int Rounds = 3, Size = 100, Window = 5, Negative = 5;

    public static void Run(string[] args)
    {
        string? Option(string name) => Array.IndexOf(args, name) is >= 0 and var i && i + 1 < args.Length ? args[i + 1] : null;
        var folder = Directory.CreateTempSubdirectory("lect-words").FullName;
        var text = args is [{ } first, ..] && !first.StartsWith("--", StringComparison.Ordinal) ? first : WriteSdk(Path.Combine(folder, "sdk.txt"));
        var threads = int.Parse(Option("--threads") ?? Environment.ProcessorCount.ToString(CultureInfo.InvariantCulture), CultureInfo.InvariantCulture);
        try
        {
            var watch = Stopwatch.StartNew();
            using var corpus = WordCorpus.Build(Documents.Read(new() { Path = text, Format = "txt", Validation = 0 }), new(), 5, Path.Combine(folder, "words.bin"));
            Console.WriteLine($"{corpus.Vocabulary.Total:N0} words, {corpus.Vocabulary.Words.Count:N0} different, read in {watch.Elapsed.TotalSeconds:0.0} s; dim {Size}, window {Window}, {Negative} negatives, {threads} threads");
            if (!args.Contains("--glove-only"))
                foreach (var cbow in new[] { false, true }) Word2Vec(corpus, text, cbow, threads, Option("--programs"), folder);
            Glove(corpus, text, threads, Option("--programs"), folder);
            Search();
        }
        finally { Directory.Delete(folder, recursive: true); }
    }

    private static string WriteSdk(string path)
    {
        File.WriteAllLines(path, SdkCorpus.Texts().Select(t => t.Text.ReplaceLineEndings(" ").ToLowerInvariant()));
        return path;
    }

    private static void Word2Vec(WordCorpus corpus, string text, bool cbow, int threads, string? programs, string folder)
    {
        var (ours, one, plain, theirs) = (new List<double>(), new List<double>(), new List<double>(), new List<double>());
        for (var round = 0; round < Rounds; round++)
        {
            ours.Add(Ours(corpus, cbow, threads));
            if (threads > 1) one.Add(Ours(corpus, cbow, 1));
            var port = new PlainWord2Vec(corpus, Size, Window, Negative, 1e-3, cbow);
            port.Prepare();
            plain.Add(corpus.Vocabulary.Total / Time(() => port.Train(threads)) / threads);
            if (programs is not null)
            {
                var said = Execute($"{programs}/word2vec -train {text} -output {folder}/c.bin -binary 1 -cbow {(cbow ? 1 : 0)} -size {Size} -window {Window} -negative {Negative} -sample 1e-3 -min-count 5 -iter 1 -threads {threads}");
                theirs.Add(1000 * double.Parse(WordsASecond().Matches(said)[^1].Groups[1].Value, CultureInfo.InvariantCulture));   // by CPU time
            }
        }
        Console.WriteLine($"{(cbow ? "CBOW" : "skip-gram")}, thousand words/s a thread: Lect {Show(ours)}{(threads > 1 ? $" (one thread {Show(one)}: {ours.Max() * threads / one.Max():0.00} times as fast on {threads})" : "")}; plain port {Show(plain)}, ratio {ours.Max() / plain.Max():0.0}{(theirs.Count > 0 ? $"; word2vec.c {Show(theirs)}, ratio {ours.Max() / theirs.Max():0.0}" : "")}");
    }

    private static double Ours(WordCorpus corpus, bool cbow, int threads)
    {
        using var net = new Word2VecNet<float>(corpus.Vocabulary, new() { Size = Size, Window = Window, Negative = Negative, Cbow = cbow, Iter = 1 });
        return corpus.Vocabulary.Total / Time(() => Word2VecTraining.Run(net, corpus, threads, 1, null, CancellationToken.None)) / threads;
    }

    private static void Glove(WordCorpus corpus, string text, int threads, string? programs, string folder)
    {
        var options = new GloveOptions { VectorSize = Size, MinCount = 5, Iter = 3 };
        var path = Path.Combine(folder, "pairs.bin");
        var (counting, shuffling, count) = (new List<double>(), new List<double>(), 0L);
        var (cCounting, cShuffling, training, cTraining) = (new List<double>(), new List<double>(), new List<double>(), new List<double>());
        for (var round = 0; round < Rounds; round++)
        {
            using (var shuffle = new PairShuffle(path, 2L << 30, 1))
            {
                counting.Add(Time(() => Cooccurrences.Count(corpus, options.WindowSize, true, true, threads, 2L << 30, (row, columns, values) => shuffle.Add(row, columns, values, options))));
                shuffling.Add(Time(() => count = shuffle.Finish()));
            }
            using (var pairs = new PairFile(path, count))
            using (var net = new GloveNet<float>(corpus.Vocabulary.Words.Count - 1, Size, 1))
                training.Add(count * 3.0 / Time(() => GloveTraining.Run(net, pairs, options, threads, null, CancellationToken.None)));
            if (programs is null) continue;
            Execute($"{programs}/vocab_count -min-count 5 < {text} > {folder}/vocab.c");
            cCounting.Add(Time(() => Execute($"{programs}/cooccur -memory 4 -vocab-file {folder}/vocab.c -window-size 15 -overflow-file {folder}/overflow < {text} > {folder}/cooccur.c")));
            cShuffling.Add(Time(() => Execute($"{programs}/shuffle -memory 4 -temp-file {folder}/temp < {folder}/cooccur.c > {folder}/shuffled.c")));
            double Train(int iterations) => Time(() => Execute($"{programs}/glove -input-file {folder}/shuffled.c -vocab-file {folder}/vocab.c -save-file {folder}/glove.c -vector-size {Size} -threads {threads} -iter {iterations} -binary 1"));
            cTraining.Add(new FileInfo($"{folder}/shuffled.c").Length / 16 * 2 / (Train(3) - Train(1)));
        }
        Console.WriteLine($"GloVe, {count:N0} pairs, window 15: counting {counting.Min():0.00} s, shuffling {shuffling.Min():0.00} s{(cCounting.Count > 0 ? $"; cooccur {cCounting.Min():0.00} s, ratio {cCounting.Min() / counting.Min():0.0}; shuffle {cShuffling.Min():0.00} s, ratio {cShuffling.Min() / shuffling.Min():0.0}" : "")}");
        Console.WriteLine($"GloVe training, million pairs/s on {threads} threads: {training.Max() / 1e6:0.00}{(cTraining.Count > 0 ? $"; glove {cTraining.Max() / 1e6:0.00}, ratio {training.Max() / cTraining.Max():0.0}" : "")}");
    }

    private static void Search()
    {
        const int Words = 1_000_000;
        var (random, rows) = (new Random(1), new OwnRows(Words, Size));
        for (var i = 0; i < Words; i++)
            foreach (ref var x in rows[i]) x = random.NextSingle() - 0.5f;
        using var vectors = new WordVectors([.. Enumerable.Range(0, Words).Select(i => "w" + i)], rows);
        vectors.Nearest("w1");
        var times = Enumerable.Range(2, 20).Select(i => Time(() => vectors.Nearest("w" + i))).Order().ToList();
        Console.WriteLine($"exact search among a million vectors of {Size} numbers: {times[times.Count / 2] * 1000:0} ms (median of {times.Count}; best {times[0] * 1000:0})");
    }

    private static string Show(List<double> speeds) => string.Join(", ", speeds.Select(s => (s / 1000).ToString("0", CultureInfo.InvariantCulture)));

    private static double Time(Action work)
    {
        var watch = Stopwatch.StartNew();
        work();
        return watch.Elapsed.TotalSeconds;
    }

    private static string Execute(string command)
    {
        using var process = Process.Start(new ProcessStartInfo("/bin/sh", ["-c", $"( {command} ) 2>&1"]) { RedirectStandardOutput = true, UseShellExecute = false })!;
        var said = process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        return process.ExitCode == 0 ? said : throw new InvalidOperationException($"{command} failed: {said}");
    }

    [GeneratedRegex(@"Words/thread/sec: ([0-9.]+)k")]
    private static partial Regex WordsASecond();
}
