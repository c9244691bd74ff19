using System.Text.Json.Nodes;
using Lect.Text;

namespace Lect;

/// <summary>The keys of <c>data</c> for word vectors: all of it is learned from, there is no validation.</summary>
public sealed record WordDataConfig
{
    /// <summary><c>sdk</c>: the documentation of the .NET SDK (its training split), unless <see cref="Path"/> is given.</summary>
    public string? Source { get; init; }
    /// <summary>A file, folder or glob.</summary>
    public string? Path { get; init; }
    /// <summary>The format (an ending without dot) where the file's name does not tell.</summary>
    public string? Format { get; init; }
    /// <summary>Our names to the file's: <c>text</c>.</summary>
    public Dictionary<string, string> Columns { get; init; } = [];

    internal IEnumerable<string> Faults()
    {
        if (Path is "") yield return "data: found an empty path";
        if (Source is not (null or "sdk")) yield return $"data.source = '{Source}': expected sdk, or data.path";
        if (Path is null && Format is not null) yield return "data.format: found without data.path";
        foreach (var column in Columns.Keys.Where(c => c != "text")) yield return $"data.columns.{column}: this recipe reads the column 'text' only";
    }

    internal string Describe => Path ?? "the documentation of the .NET SDK";

    internal IEnumerable<Document> Documents() => Lect.Text.Documents.Read(new() { Path = Path, Validation = 0, Format = Format, TextColumn = Columns.GetValueOrDefault("text") ?? "text" }).Where(d => d.Split == CorpusSplit.Train);

    internal WordSplitting Splitting(WordSplitting given) => given with { Kind = given.Kind ?? (Path is null ? "text" : "whitespace") };
}

/// <summary>The keys of <c>train</c> for word vectors. <c>lr</c>, <c>epochs</c> and <c>threads</c> are the recipe's own alpha (eta), iter and threads by the names that all recipes share.</summary>
public sealed record VectorTrain
{
    /// <summary>Passes over the text.</summary>
    public int? Epochs { get; init; }
    /// <summary>Learning rate at the start.</summary>
    public double? Lr { get; init; }
    /// <summary>Threads; 1: the result is the same bit by bit in every run.</summary>
    public int? Threads { get; init; }
    /// <summary>Words whose neighbours are shown while they form; absent: some frequent ones.</summary>
    public string[]? Watch { get; init; }
    /// <summary>Writes vectors.txt beside vectors.bin. <value>false</value></summary>
    public bool SaveText { get; init; }
}

/// <summary>What the run files of <c>lect train word2vec</c> and <c>lect train glove</c> share.</summary>
public abstract record VectorConfig
{
    /// <summary>Which recipe the file is for, if it says so: <c>word2vec</c> or <c>glove</c>.</summary>
    public string? Recipe { get; init; }
    /// <summary>Key of all randomness; 1 draws what word2vec.c draws. <value>1</value></summary>
    public long Seed { get; init; } = 1;
    /// <summary>How text becomes words.</summary>
    public WordSplitting Tokenizer { get; init; } = new();
    /// <summary>The text.</summary>
    public WordDataConfig Data { get; init; } = new();
    /// <summary>Pairs of words that become one.</summary>
    public PhraseOptions Phrases { get; init; } = new();
    /// <summary>What all recipes call the same.</summary>
    public VectorTrain Train { get; init; } = new();

    // What can be said before the recipe's own options are looked at; an option that has two names is given by one of them.
    private protected List<string> Faults(string recipe, params (string Train, object? Here, string Own, object? There)[] twins)
    {
        var faults = Data.Faults().Concat(Tokenizer.Faults()).Concat(Phrases.Faults()).ToList();
        if (Recipe is not null && Recipe != recipe) faults.Add(RunFile.OtherRecipe(Recipe, recipe));
        faults.AddRange(twins.Where(t => t.Here is not null && t.There is not null).Select(t => $"found both train.{t.Train} and {recipe}.{t.Own}, expected one of them"));
        return faults;
    }
}

/// <summary>The run file of <c>lect train word2vec</c>.</summary>
public sealed record TrainWord2VecConfig : VectorConfig
{
    /// <summary>word2vec.c's options.</summary>
    public Word2VecOptions Word2vec { get; init; } = new();

    /// <summary>Checks everything that can be checked before data are read; gives the configuration with each option in one place.</summary>
    /// <exception cref="InvalidDataException">All faults together.</exception>
    public TrainWord2VecConfig Validate()
    {
        var faults = Faults("word2vec", ("epochs", Train.Epochs, "iter", Word2vec.Iter), ("lr", Train.Lr, "alpha", Word2vec.Alpha), ("threads", Train.Threads, "threads", Word2vec.Threads));
        var merged = Word2vec with { Iter = Train.Epochs ?? Word2vec.Iter, Alpha = Train.Lr ?? Word2vec.Alpha, Threads = Train.Threads ?? Word2vec.Threads };
        faults.AddRange(merged.Faults());
        if (faults.Count > 0) throw RunFile.Refused(faults);
        return this with
        {
            Tokenizer = Data.Splitting(Tokenizer),
            Word2vec = merged with { Iter = merged.Passes, Alpha = merged.StartRate, Threads = merged.Threads ?? Environment.ProcessorCount },
            Train = Train with { Epochs = null, Lr = null, Threads = null },
        };
    }
}

/// <summary>The run file of <c>lect train glove</c>.</summary>
public sealed record TrainGloveConfig : VectorConfig
{
    /// <summary>The C programs' options.</summary>
    public GloveOptions Glove { get; init; } = new();

    /// <summary>Checks everything that can be checked before data are read; gives the configuration with each option in one place.</summary>
    /// <exception cref="InvalidDataException">All faults together.</exception>
    public TrainGloveConfig Validate()
    {
        var faults = Faults("glove", ("epochs", Train.Epochs, "iter", Glove.Iter), ("lr", Train.Lr, "eta", Glove.Eta), ("threads", Train.Threads, "threads", Glove.Threads));
        var merged = Glove with { Iter = Train.Epochs ?? Glove.Iter, Eta = Train.Lr ?? Glove.Eta, Threads = Train.Threads ?? Glove.Threads };
        faults.AddRange(merged.Faults());
        if (faults.Count > 0) throw RunFile.Refused(faults);
        return this with
        {
            Tokenizer = Data.Splitting(Tokenizer),
            Glove = merged with { Iter = merged.Passes, Eta = merged.StartRate, Threads = merged.Threads ?? Environment.ProcessorCount },
            Train = Train with { Epochs = null, Lr = null, Threads = null },
        };
    }
}

/// <summary>Training of word vectors: vectors.bin (word2vec's binary layout) and vocab.txt in the run's folder. No resume; what was learned is kept when a run is interrupted.</summary>
public static class TrainVectors
{
    /// <summary>Runs word2vec.</summary>
    /// <param name="config">What to do.</param>
    /// <param name="folder">Where the run is kept: new or empty.</param>
    /// <param name="report">Told each line of metrics.</param>
    /// <param name="note">Told what happens besides.</param>
    /// <param name="stop">Stops; the vectors so far are written.</param>
    /// <exception cref="InvalidDataException">Something given cannot be used; the message says what.</exception>
    /// <exception cref="OperationCanceledException">It was stopped.</exception>
    public static void Run(TrainWord2VecConfig config, string folder, Action<TrainEvent>? report = null, Action<string>? note = null, CancellationToken stop = default)
    {
        config = config.Validate();
        var options = config.Word2vec;
        using var run = RunFolder.Begin(folder, config with { Recipe = "word2vec" });
        using var files = new WorkFiles(folder);
        using var corpus = Read(config, options.MinCount, most: 0, files, note, stop);
        using var net = new Word2VecNet<float>(corpus.Vocabulary, options, unchecked((ulong)config.Seed));
        note?.Invoke($"{(options.Cbow ? "CBOW" : "skip-gram")}, {(options.Hs ? "hierarchical softmax" : "")}{(options.Hs && options.Negative > 0 ? " and " : "")}{(options.Negative > 0 ? $"{options.Negative} negative samples" : "")}, {options.Size} dimensions, window {options.Window}, {options.Passes} passes, {options.Threads} threads");
        var watch = new Watch(run, config.Train, corpus.Vocabulary, w => { var v = new float[options.Size]; net.Vector(w, v); return v; }, report, note);
        try { Word2VecTraining.Run(net, corpus, options.Threads!.Value, unchecked((ulong)config.Seed), watch.Show, stop); }
        finally
        {
            if (watch.HasLearned)
                Save(folder, new([.. corpus.Vocabulary.Words], Rows(net)), corpus.Vocabulary, config.Train.SaveText, () =>
                {
                    if (net.Subwords is { } subwords) VectorFiles.WriteNgrams(Path.Combine(folder, VectorFiles.NgramFile), net.Syn0, corpus.Vocabulary.Words.Count, subwords);
                });
        }
    }

    // The matrix itself; with subwords, the means.
    private static OwnRows Rows(Word2VecNet<float> net)
    {
        if (net.Subwords is null) return new(net.Syn0);
        var rows = new OwnRows(net.Vocabulary.Words.Count, net.Options.Size);
        for (var i = 0; i < net.Vocabulary.Words.Count; i++) net.Vector(i, rows[i]);
        return rows;
    }

    /// <summary>Runs GloVe: counts pairs, shuffles them, fits their logarithms. Parameters as <see cref="Run(TrainWord2VecConfig, string, Action{TrainEvent}?, Action{string}?, CancellationToken)"/>.</summary>
    public static void Run(TrainGloveConfig config, string folder, Action<TrainEvent>? report = null, Action<string>? note = null, CancellationToken stop = default)
    {
        config = config.Validate();
        var options = config.Glove;
        using var run = RunFolder.Begin(folder, config with { Recipe = "glove" });
        using var files = new WorkFiles(folder);
        using var corpus = Read(config, options.MinCount, options.MaxVocab, files, note, stop);
        var vocabulary = new WordVocabulary([.. corpus.Vocabulary.Words.Skip(1)], [.. corpus.Vocabulary.Counts.Skip(1)]);   // GloVe has no end of sentence
        using var pairs = Pairs(corpus, options, config.Seed, files, config.Data.Describe, note, stop);
        using var net = new GloveNet<float>(vocabulary.Words.Count, options.VectorSize, config.Seed);
        note?.Invoke($"{pairs.Count:N0} pairs, {options.VectorSize} dimensions, {options.Passes} passes, {options.Threads} threads");
        var watch = new Watch(run, config.Train, vocabulary, w => [.. net.Word.Row(w).ToArray().Zip(net.Context.Row(w).ToArray(), (a, b) => a + b)], report, note);
        try { GloveTraining.Run(net, pairs, options, options.Threads!.Value, watch.Show, stop); }
        finally
        {
            if (watch.HasLearned) Save(folder, new([.. vocabulary.Words], GloveTraining.Result(net, options.Model)), vocabulary, config.Train.SaveText);
        }
    }

    /// <summary>Where numbers of words and pairs are while a run goes on; gone with it, however it ends.</summary>
    private sealed class WorkFiles : IDisposable
    {
        private readonly string folder;

        public WorkFiles(string run) => Directory.CreateDirectory(folder = Path.Combine(run, "data"));

        public string At(string name) => Path.Combine(folder, name);

        public void Dispose() => Directory.Delete(folder, recursive: true);
    }

    private static WordCorpus Read(VectorConfig config, long minCount, int most, WorkFiles files, Action<string>? note, CancellationToken stop)
    {
        note?.Invoke($"reading {config.Data.Describe}");
        var corpus = WordCorpus.Build(config.Data.Documents(), config.Tokenizer, minCount, files.At("words.bin"), config.Data.Describe, most, config.Phrases, note, stop);
        note?.Invoke($"{corpus.Vocabulary.Total - corpus.Vocabulary.Counts[0]:N0} words, {corpus.Vocabulary.Words.Count - 1:N0} different ones that stand at least {minCount} times");
        return corpus;
    }

    private static PairFile Pairs(WordCorpus corpus, GloveOptions options, long seed, WorkFiles files, string source, Action<string>? note, CancellationToken stop)
    {
        var path = files.At("pairs.bin");
        using var shuffle = new PairShuffle(path, options.MemoryBytes / 2, seed);
        var last = 0.0;
        Cooccurrences.Count(corpus, options.WindowSize, options.Symmetric, options.DistanceWeighting, options.Threads!.Value, options.MemoryBytes / 2, (row, columns, values) => shuffle.Add(row, columns, values, options), share =>
        {
            if (share - Volatile.Read(ref last) < 0.25) return;
            Volatile.Write(ref last, share);
            note?.Invoke(FormattableString.Invariant($"counting pairs: {share * 100:0} %"));
        }, stop);
        var count = shuffle.Finish(stop);
        return count > 0 ? new(path, count) : throw new InvalidDataException($"Found no two words in one sentence of {source}. Expected sentences of several words: GloVe learns from pairs.");
    }

    // vectors.bin comes last: a folder that has it is whole.
    private static void Save(string folder, WordVectors vectors, WordVocabulary vocabulary, bool text, Action? more = null)
    {
        using (vectors)
        {
            for (var i = 0; i < vectors.Words.Count; i++)
                if (vectors[i].IndexOfAnyExceptInRange(float.MinValue, float.MaxValue) >= 0) throw new ArithmeticException($"Found a vector of '{vectors.Words[i]}' that is no number any more. Lower train.lr; nothing was written.");
            more?.Invoke();
            vocabulary.Save(Path.Combine(folder, VectorFiles.Vocabulary));
            if (text) VectorFiles.Write(vectors, Path.Combine(folder, "vectors.txt"), VectorFormat.Text);
            VectorFiles.Write(vectors, Path.Combine(folder, VectorFiles.Vectors));
        }
    }

    /// <summary>Writes a line of metrics each report, and shows the neighbours of some words four times a run.</summary>
    private sealed class Watch(RunFolder run, VectorTrain train, WordVocabulary vocabulary, Func<int, float[]> vector, Action<TrainEvent>? report, Action<string>? note)
    {
        private const int Shows = 4, Among = 20_000;

        private readonly int[] words = Words(train, vocabulary, note);
        private int shown;

        /// <summary>Whether there is something to keep.</summary>
        public bool HasLearned { get; private set; }

        // Not so frequent that they go with everything.
        private static int[] Words(VectorTrain train, WordVocabulary vocabulary, Action<string>? note)
        {
            if (train.Watch is null) return [.. Enumerable.Range(0, vocabulary.Words.Count).Skip(150).Where(i => vocabulary.Words[i].Length >= 4).Where((_, n) => n % 100 == 0).Take(3)];
            foreach (var unknown in train.Watch.Where(w => vocabulary.IndexOf(w) < 0)) note?.Invoke($"train.watch: '{unknown}' is not in the vocabulary");
            return [.. train.Watch.Select(vocabulary.IndexOf).Where(i => i >= 0)];
        }

        public void Show(VectorProgress progress)
        {
            HasLearned |= progress.Words > 0;
            var metrics = new JsonObject { ["step"] = progress.Words, ["lr"] = progress.Rate, ["tokens"] = progress.Words, ["tokens_per_second"] = Math.Round(progress.Speed * progress.Threads, 1), [progress.Unit + "_per_second_per_thread"] = Math.Round(progress.Speed, 1), ["epoch"] = Math.Round(progress.Pass, 4) };
            if (double.IsFinite(progress.Loss)) metrics.Insert(1, "loss", progress.Loss);
            run.Log(metrics);
            report?.Invoke(new(metrics, progress.Words, progress.Total, progress.Remaining));
            var quarter = (int)(progress.Words * Shows / Math.Max(1, progress.Total));
            if (note is null || quarter <= shown) return;
            shown = quarter;
            var all = words.Concat(Enumerable.Range(0, Math.Min(Among, vocabulary.Words.Count))).Distinct().ToList();
            var rows = new OwnRows(all.Count, vector(0).Length);
            for (var i = 0; i < all.Count; i++) vector(all[i]).CopyTo(rows[i]);
            using var now = new WordVectors([.. all.Select(i => vocabulary.Words[i])], rows);
            foreach (var word in words.Select(w => vocabulary.Words[w])) note($"  {word}: {string.Join(", ", now.Nearest(word, 5).Select(n => FormattableString.Invariant($"{n.Word} {n.Similarity:0.00}")))}");
        }
    }
}
