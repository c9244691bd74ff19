using System.Text;
using Lect.Models;
using Lect.Testing;
using TorchSharp;

namespace Lect.Tests.Embeddings;

/// <summary>The recipes: what they learn, that they repeat, what they leave in their folder and what they refuse.</summary>
public sealed class TrainVectorsTests : TemporaryFolder
{
    // Two subjects that seldom meet: a word's neighbours must be of its own.
    private string Corpus()
    {
        var path = At("text.txt");
        if (File.Exists(path)) return path;
        string[][] subjects = [[.. Enumerable.Range(0, 12).Select(i => "animal" + i)], [.. Enumerable.Range(0, 12).Select(i => "number" + i)]];
        var random = new Random(1);
        var text = new StringBuilder();
        for (var line = 0; line < 3000; line++) text.AppendJoin(' ', Enumerable.Range(0, 8).Select(_ => subjects[random.Next(10) == 0 ? 1 - line % 2 : line % 2][random.Next(12)])).Append('\n');
        File.WriteAllText(path, text.ToString());
        return path;
    }

    private TrainWord2VecConfig Config(params string[] sets) => RunFile.Load<TrainWord2VecConfig>(null, [$"data.path={Corpus()}", "word2vec.size=16", "word2vec.sample=0", "word2vec.iter=3", .. sets]);

    private static void AssertLearned(string run)
    {
        using var vectors = VectorFiles.Read(run);
        for (var i = 0; i < 12; i++)
            foreach (var subject in (string[])["animal", "number"]) Assert.All(vectors.Nearest(subject + i, 5), n => Assert.StartsWith(subject, n.Word, StringComparison.Ordinal));
    }

    [Theory]
    [InlineData("word2vec.cbow=0"), InlineData("word2vec.cbow=1")]
    [InlineData("word2vec.cbow=0", "word2vec.hs=1", "word2vec.negative=0"), InlineData("word2vec.cbow=1", "word2vec.hs=1", "word2vec.negative=0")]
    [InlineData("word2vec.cbow=1", "word2vec.hs=1", "word2vec.cbowMean=0")]
    [InlineData("word2vec.cbow=0", "word2vec.minn=3", "word2vec.maxn=5", "word2vec.bucket=1000")]
    public void Words_of_a_subject_come_together(params string[] sets)
    {
        TrainVectors.Run(Config([.. sets, "train.threads=2", "train.lr=0.05", "word2vec.iter=8"]), At("run"));
        AssertLearned(At("run"));
        Assert.Equal(sets.Contains("word2vec.minn=3") ? ["metrics.jsonl", "run.yaml", "subwords.safetensors", "vectors.bin", "vocab.txt"] : ["metrics.jsonl", "run.yaml", "vectors.bin", "vocab.txt"], Directory.GetFileSystemEntries(At("run")).Select(Path.GetFileName).Order(StringComparer.Ordinal));
    }

    [Theory, InlineData(0), InlineData(1), InlineData(2), InlineData(3)]
    public void GloVe_too(int model)
    {
        var config = RunFile.Load<TrainGloveConfig>(null, [$"data.path={Corpus()}", "glove.vector-size=16", "glove.xMax=10", "glove.iter=60", "train.threads=1", $"glove.model={model}", "train.save_text=true"]);
        TrainVectors.Run(config, At("run"));
        AssertLearned(At("run"));
        using var vectors = VectorFiles.Read(At("run"));
        Assert.Equal(model switch { 0 => 34, 3 => 32, _ => 16 }, vectors.Dimension);
        Assert.Equal(24, vectors.Words.Count);
        using var text = VectorFiles.Read(At("run", "vectors.txt"));
        Assert.Equal(vectors[3].ToArray(), text[3].ToArray());
    }

    [Theory, InlineData("word2vec"), InlineData("glove")]
    public void One_thread_repeats_bit_by_bit_and_the_seed_counts(string recipe)
    {
        byte[] Run(string name, int seed)
        {
            if (recipe == "word2vec") TrainVectors.Run(Config("train.threads=1", $"seed={seed}", "word2vec.sample=1e-2"), At(name));
            else TrainVectors.Run(RunFile.Load<TrainGloveConfig>(null, [$"data.path={Corpus()}", "glove.vector_size=16", "glove.iter=3", "train.threads=1", $"seed={seed}"]), At(name));
            return File.ReadAllBytes(At(name, "vectors.bin"));
        }
        var first = Run("a", 1);
        Assert.Equal(first, Run("b", 1));
        Assert.NotEqual(first, Run("c", 2));
    }

    [Fact]
    public void A_word_never_seen_has_its_subwords_vector()
    {
        TrainVectors.Run(Config("word2vec.cbow=0", "word2vec.minn=3", "word2vec.maxn=4", "word2vec.bucket=5000", "train.lr=0.05", "word2vec.threads=1"), At("run"));
        using var vectors = VectorFiles.Read(At("run"));
        Assert.Equal(-1, vectors.IndexOf("animals"));
        Assert.All(vectors.Nearest("animals", 5), n => Assert.StartsWith("animal", n.Word, StringComparison.Ordinal));
        Assert.Equal(Math.Round(vectors.Vector("animal1").Sum(), 5), Math.Round(vectors[vectors.IndexOf("animal1")].ToArray().Sum(), 5));
        Assert.NotNull(vectors.Counts);
        Assert.Equal(3000, vectors.Counts[0]);   // </s>
    }

    [Fact]
    public void What_was_learned_is_written_when_a_run_is_stopped()
    {
        using var stop = new CancellationTokenSource();
        var lines = 0;
        Assert.Throws<OperationCanceledException>(() => TrainVectors.Run(Config("word2vec.iter=100000"), At("run"), _ => { if (++lines == 2) stop.Cancel(); }, stop: stop.Token));
        AssertLearned(At("run"));
        Assert.False(Directory.Exists(At("run", "data")));
    }

    [Fact]
    public void What_comes_to_nothing_leaves_nothing_behind()
    {
        string[] left = ["metrics.jsonl", "run.yaml"];
        void Left(string name) => Assert.Equal(left, Directory.GetFileSystemEntries(At(name)).Select(Path.GetFileName).Order(StringComparer.Ordinal));
        Assert.Throws<OperationCanceledException>(() => TrainVectors.Run(Config(), At("stopped"), stop: new(canceled: true)));
        Left("stopped");
        Assert.Contains("lower train.lr", Assert.Throws<ArithmeticException>(() => TrainVectors.Run(Config("train.lr=1e30"), At("diverged"))).Message, StringComparison.OrdinalIgnoreCase);
        Left("diverged");
        var path = At("alone.txt");
        File.WriteAllText(path, string.Concat(Enumerable.Repeat("one\ntwo\n", 20)));
        Assert.Contains("no two words", Assert.Throws<InvalidDataException>(() => TrainVectors.Run(RunFile.Load<TrainGloveConfig>(null, [$"data.path={path}"]), At("alone"))).Message, StringComparison.Ordinal);
        Left("alone");
        TrainVectors.Run(RunFile.Load<TrainGloveConfig>(null, [$"data.path={Corpus()}", "glove.iter=1", "glove.vector_size=4"]), At("alone"));   // the same folder, corrected
        Assert.All(File.ReadAllLines(At("alone", "metrics.jsonl")), l => Assert.NotNull(System.Text.Json.Nodes.JsonNode.Parse(l)));
    }

    [Fact]
    public void A_fault_in_a_report_ends_all_threads()
    {
        var e = Assert.Throws<InvalidOperationException>(() => TrainVectors.Run(Config("train.threads=2", "word2vec.iter=100000"), At("run"), _ => throw new InvalidOperationException("mine")));
        Assert.Equal("mine", e.Message);
    }

    [Fact]
    public void Metrics_tell_speed_loss_and_the_way_to_go()
    {
        TrainEvent? last = null;
        TrainVectors.Run(Config("train.threads=2"), At("run"), e => last = e);
        Assert.Equal(last!.Steps, last.Step);
        Assert.Equal(3 * (3000 * 8 + 3000), last.Steps);
        var line = RunFolder.ReadMetrics(At("run")).Last();
        foreach (var key in (string[])["step", "loss", "lr", "tokens", "tokens_per_second", "words_per_second_per_thread", "epoch"]) Assert.True(line.ContainsKey(key), key);
        Assert.Equal(3, (double)line["epoch"]!, 0.01);
    }

    [Fact]
    public void Faults_are_told()
    {
        var faults = Assert.Throws<InvalidDataException>(Config("word2vec.size=0", "word2vec.window=0", "word2vec.negative=0", "word2vec.maxn=2", "train.lr=0.1", "word2vec.alpha=0.1", "phrases.scoring=best", "tokenizer.kind=bpe").Validate).Message;
        foreach (var part in (string[])["word2vec.size = 0", "window = 0", "nothing would be learned", "maxn = 2", "both train.lr and word2vec.alpha", "scoring = 'best'", "tokenizer.kind = 'bpe'"]) Assert.Contains(part, faults, StringComparison.Ordinal);
        Assert.Contains("word2vec.vector_size", Assert.Throws<InvalidDataException>(() => Config("word2vec.vector_size=3")).Message, StringComparison.Ordinal);
        Assert.Contains("glove.model = 4", Assert.Throws<InvalidDataException>(RunFile.Load<TrainGloveConfig>(null, ["glove.model=4"]).Validate).Message, StringComparison.Ordinal);

        var empty = At("empty.txt");
        File.WriteAllText(empty, "\n\n");
        Assert.Contains("no words in", Assert.Throws<InvalidDataException>(() => TrainVectors.Run(Config($"data.path={empty}"), At("empty"))).Message, StringComparison.Ordinal);
        Assert.Contains("lower min_count", Assert.Throws<InvalidDataException>(() => TrainVectors.Run(Config("word2vec.min_count=100000"), At("rare"))).Message, StringComparison.Ordinal);
        Assert.Contains("raise it", Assert.Throws<InvalidDataException>(() => TrainVectors.Run(RunFile.Load<TrainGloveConfig>(null, [$"data.path={Corpus()}", "glove.memory=1e-6"]), At("memory"))).Message, StringComparison.Ordinal);
        TrainVectors.Run(Config(), At("run"));
        Assert.Contains("Found word vectors in", Assert.Throws<InvalidDataException>(() => TrainVectors.Run(Config(), At("run"))).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Phrases_become_words()
    {
        var path = At("cities.txt");
        File.WriteAllText(path, string.Concat(Enumerable.Range(0, 400).Select(i => $"w{i % 40} x{i % 37} new york y{i % 31} z{i % 29}\n")));
        TrainVectors.Run(Config($"data.path={path}", "phrases.passes=1", "phrases.threshold=4"), At("run"));
        using var vectors = VectorFiles.Read(At("run"));
        Assert.True(vectors.IndexOf("new_york") > 0);
        Assert.Equal(-1, vectors.IndexOf("york"));
    }

    public static TheoryData<string> Presets => [.. Directory.EnumerateFiles(Path.Combine(Fixtures.Root, "configs", "embeddings"), "*.yaml").Select(f => Path.GetRelativePath(Fixtures.Root, f))];

    [Theory, MemberData(nameof(Presets))]
    public void Every_preset_is_read_and_a_shrunken_copy_of_it_runs(string preset)
    {
        var path = Path.Combine(Fixtures.Root, preset);
        if (preset.Contains("glove", StringComparison.Ordinal)) TrainVectors.Run(RunFile.Load<TrainGloveConfig>(path, [$"data.path={Corpus()}", "glove.vector_size=8", "glove.iter=2"]), At("run"));
        else TrainVectors.Run(RunFile.Load<TrainWord2VecConfig>(path, [$"data.path={Corpus()}", "word2vec.size=8", "word2vec.iter=1"]), At("run"));
        using var vectors = VectorFiles.Read(At("run"));
        Assert.Equal(8, vectors.Dimension);
    }

    [Theory]
    [InlineData("text", false, "One two. Three: don't stop!\nFour\n\nfive six\tseven System.String ends", "One two|Three don't stop|Four|five six|seven System String ends")]
    [InlineData("text", true, "Ünïcode 日本 x_1 'quoted' 3.14 (A). B", "ünïcode 日本 x_1 quoted 3 14 a|b")]
    [InlineData("whitespace", false, "One two.\r\nThree\t four \n\n x", "One two.|Three four||x")]
    public void Text_becomes_sentences(string kind, bool lower, string text, string expected)
    {
        foreach (var piece in new[] { 1, 3, text.Length })
        {
            var (found, words) = (new List<string>(), new List<string>());
            var splitter = new WordSplitter(new() { Kind = kind, Lowercase = lower }, w => words.Add(w.ToString()), () =>
            {
                found.Add(string.Join(' ', words));
                words.Clear();
            });
            foreach (var part in text.Chunk(piece)) splitter.Add(part);
            splitter.EndDocument();
            Assert.Equal(expected, string.Join('|', found));
        }
    }

    [Fact, NoTensorLeaks]
    public unsafe void Tensors_take_the_same_step()
    {
        using var scope = torch.NewDisposeScope();
        using var model = new SkipGram(20, 8, seed: 3);
        var vocabulary = new WordVocabulary([.. Enumerable.Range(0, 20).Select(i => "w" + i)], [.. Enumerable.Range(0, 20).Select(i => 100L - i)]);
        using var net = new Word2VecNet<double>(vocabulary, new() { Size = 8, Negative = 3, Sample = 0 });
        using (torch.no_grad()) model.Outputs.copy_(torch.rand_like(model.Outputs));
        Copy(model.Vectors, net.Syn0);
        Copy(model.Outputs, net.Syn1Neg);

        const double rate = 0.05;
        using (var inputs = torch.tensor(new long[] { 4 }))
        using (var targets = torch.tensor(new long[] { 7 }))
        using (var negatives = torch.tensor(new long[] { 1, 9, 7 }, 1, 3))   // one is the target and does not count
        using (var loss = model.Loss(inputs, targets, negatives))
        {
            loss.backward();
            using var buffer = new Matrix<double>(1, 8);
            var ours = Word2VecKernel<Lanes512<double>, double, Word2VecTests.ExactSigmoid<double>>.Negatives(net, net.Syn0[4], buffer[0], 7, [1, 9, 7], rate, measure: true);
            Lanes<Lanes512<double>, double>.Add(buffer[0], net.Syn0[4], net.Syn0.Stride);
            Assert.Equal(loss.item<float>(), ours, 1e-5);
        }
        using (torch.no_grad())
            foreach (var (_, parameter) in model.named_parameters()) parameter.sub_(parameter.grad! * rate);
        AssertSame(model.Vectors, net.Syn0);
        AssertSame(model.Outputs, net.Syn1Neg);
    }

    private static void Copy(torch.Tensor from, Matrix<double> to)
    {
        var values = from.detach().data<float>().ToArray();
        for (var i = 0; i < values.Length; i++) to.Row(i / to.Width)[i % to.Width] = values[i];
    }

    private static void AssertSame(torch.Tensor expected, Matrix<double> found)
    {
        var values = expected.detach().data<float>().ToArray();
        for (var i = 0; i < values.Length; i++) Assert.Equal(values[i], found.Row(i / found.Width)[i % found.Width], 1e-6);
    }

    [Theory, InlineData("gpt2"), InlineData("llama")]   // tied, and with an output layer of its own
    public void A_model_can_begin_with_word_vectors(string architecture)
    {
        TrainVectors.Run(Config("train.lr=0.05"), At("words"));
        string[] Size(int width) => architecture == "gpt2" ? ["model.n_layer=1", $"model.n_embd={width}", "model.n_head=2"] : ["model.architecture=llama", "model.num_hidden_layers=1", $"model.hidden_size={width}", "model.num_attention_heads=2"];
        string[] sets = [.. Size(16), $"data.path={Corpus()}", "tokenizer.kind=word", "tokenizer.size=26", $"model.vectors={At("words")}", "train.block=16", "train.steps=1", "train.lr=1e-9", "train.weight_decay=0", "train.precision=fp32"];
        var notes = new List<string>();
        PretrainGpt.Run(RunFile.Load<PretrainGptConfig>(null, sets), At("gpt"), note: notes.Add);
        Assert.Contains(notes, n => n.StartsWith("24 of", StringComparison.Ordinal));
        using var vectors = VectorFiles.Read(At("words"));
        using var model = LanguageModel.Load(At("gpt"));
        var width = (int)model.Model.Width;
        var rows = model.Model.Embeddings.detach().data<float>().ToArray();
        var (first, second) = (model.Encode("animal3")[0], model.Encode("animal5")[0]);
        var cosine = System.Numerics.Tensors.TensorPrimitives.CosineSimilarity(rows.AsSpan(first * width, width), rows.AsSpan(second * width, width));
        Assert.Equal(vectors.Similarity("animal3", "animal5"), cosine, 1e-4);
        Assert.InRange(System.Numerics.Tensors.TensorPrimitives.Norm(rows.AsSpan(first * width, width)) / Math.Sqrt(width), 0.005, 0.05);   // GPT-2's 0.02
        Assert.Contains("16 numbers for a model of width 8", Assert.Throws<InvalidDataException>(() => PretrainGpt.Run(RunFile.Load<PretrainGptConfig>(null, [.. sets, .. Size(8)]), At("narrow"))).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_map_keeps_neighbours_and_its_page_holds_any_word()
    {
        var random = new Random(2);
        string[] words = [.. Enumerable.Range(0, 60).Select(i => i == 0 ? "</script><b>" : (i % 3) switch { 0 => "a", 1 => "b", _ => "c" } + i)];
        var values = words.SelectMany((_, i) => Enumerable.Range(0, 10).Select(d => (d == i % 3 ? 3f : 0) + random.NextSingle())).ToArray();
        using var vectors = new WordVectors(words, values);
        var map = VectorMap.Of(vectors, words, perplexity: 10, iterations: 400, stop: TestContext.Current.CancellationToken);
        foreach (var points in (float[][])[map.Tsne, map.Pca])
            for (var i = 0; i < words.Length; i++)
            {
                var nearest = Enumerable.Range(0, words.Length).Where(j => j != i).MinBy(j => Math.Pow(points[2 * i] - points[2 * j], 2) + Math.Pow(points[2 * i + 1] - points[2 * j + 1], 2));
                Assert.Equal(i % 3, nearest % 3);
            }
        Assert.InRange(map.Explained, 0.6, 1);
        var page = map.Page("<title> & more", [.. words.Select(w => vectors.Nearest(w, 3))]);
        Assert.Equal(2, page.Split("</script>").Length);
        Assert.Contains("&lt;title&gt; &amp; more", page, StringComparison.Ordinal);
        Assert.DoesNotContain("/*DATA*/", page, StringComparison.Ordinal);
    }
}
