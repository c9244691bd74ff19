using System.Numerics;
using System.Text.Json.Nodes;
using Lect.Models;
using Lect.Testing;

namespace Lect.Tests.Embeddings;

/// <summary>GloVe against counts and AdaGrad steps of fixtures/embeddings/glove.*, which agree with the authors' programs.</summary>
public sealed class GloveTests : TemporaryFolder
{
    private static readonly JsonNode s_json = Fixtures.Json(Fixtures.Path_("embeddings", "glove.json"));

    private WordCorpus Corpus() => WordCorpus.Build(Lect.Text.Documents.Read(new() { Path = Fixtures.Path_("embeddings", "glove.corpus.txt"), Validation = 0 }), new(), (long)s_json["options"]!["min_count"]!, At("words.bin"));

    [Theory]
    [InlineData("symmetric", true, true, 1, 1L << 30)]
    [InlineData("symmetric", true, true, 2, 1L << 30)]
    [InlineData("symmetric", true, true, 2, 6400)]   // several passes over the text
    [InlineData("left", false, true, 2, 1L << 30)]
    [InlineData("flat", true, false, 1, 1L << 30)]
    public void Counts_pairs(string name, bool symmetric, bool weighted, int threads, long memory)
    {
        using var corpus = Corpus();
        Assert.Equal(s_json["vocabulary"]!.AsArray().Select(v => (string)v![0]!), corpus.Vocabulary.Words.Skip(1));
        Assert.Equal(s_json["vocabulary"]!.AsArray().Select(v => (long)v![1]!), corpus.Vocabulary.Counts.Skip(1));
        var found = new Dictionary<(int, int), double>();
        Cooccurrences.Count(corpus, (int)s_json["options"]!["window"]!, symmetric, weighted, threads, memory, (row, columns, values) =>
        {
            lock (found)
                for (var i = 0; i < columns.Length; i++) found.Add((row, columns[i]), values[i]);
        }, stop: TestContext.Current.CancellationToken);
        var file = SafeTensorsFile.Open(Fixtures.Path_("embeddings", $"glove.{name}.safetensors"));
        var (rows, columns, expected) = (Values<int>(file, "row"), Values<int>(file, "column"), Values<double>(file, "value"));
        Assert.Equal(expected.Length, found.Count);
        for (var i = 0; i < expected.Length; i++) Assert.Equal(expected[i], found[(rows[i], columns[i])], 1e-12);
    }

    [Fact]
    public void Too_little_memory_says_what_is_needed()
    {
        using var corpus = Corpus();
        var e = Assert.Throws<InvalidDataException>(() => Cooccurrences.Count(corpus, 5, true, true, 1, 1000, (_, _, _) => { }, stop: TestContext.Current.CancellationToken));
        Assert.Contains("Expected at least", e.Message, StringComparison.Ordinal);
    }

    private static T[] Values<T>(SafeTensorsFile file, string name) where T : unmanaged
    {
        using var tensor = file.Load(name);
        return tensor.data<T>().ToArray();
    }

    [Fact]
    public void Steps_are_glove_c_s()
    {
        Steps<Lanes512<double>, double>(1e-10);
        Steps<Lanes256<double>, double>(1e-10);
        Steps<Lanes512<float>, float>(1e-5);
        Steps<Lanes128<float>, float>(1e-5);
    }

    private static void Steps<V, T>(double tolerance) where V : struct, ILanes<V, T> where T : unmanaged, IBinaryFloatingPointIeee754<T>
    {
        var o = s_json["options"]!;
        var counts = SafeTensorsFile.Open(Fixtures.Path_("embeddings", "glove.symmetric.safetensors"));
        var file = SafeTensorsFile.Open(Fixtures.Path_("embeddings", "glove.train.safetensors"));
        var (rows, columns, values, weights) = (Values<int>(counts, "row"), Values<int>(counts, "column"), Values<double>(counts, "value"), Values<double>(file, "weight"));
        using var net = new GloveNet<T>(s_json["vocabulary"]!.AsArray().Count, (int)o["dim"]!, seed: 1);
        Fill(net.Word, Values<double>(file, "word_before"));
        Fill(net.Context, Values<double>(file, "context_before"));
        Fill(net.WordBias, Values<double>(file, "word_bias_before"));
        Fill(net.ContextBias, Values<double>(file, "context_bias_before"));
        var options = new GloveOptions { XMax = (double)o["x_max"]!, Alpha = (double)o["alpha"]! };
        for (var epoch = 0; epoch < (int)o["epochs"]!; epoch++)
        {
            double cost = 0;
            foreach (var i in Values<int>(file, $"order_{epoch}"))
            {
                var pair = GloveTraining.Pair(rows[i], columns[i], values[i], options);
                Assert.Equal(weights[i], pair.Weight, 1e-6);
                cost += GloveKernel<V, T>.Learn(net, rows[i], columns[i], T.CreateChecked(Math.Log(values[i])), T.CreateChecked(weights[i]), T.CreateChecked((double)o["eta"]!), T.CreateChecked((double)o["clip"]!));
            }
            Assert.Equal((double)s_json["runs"]!["bias_without_eta"]!["cost_per_epoch"]![epoch]!, cost / values.Length, Math.Max(tolerance, 1e-7));
        }
        foreach (var (name, matrix) in new[] { ("word_after", net.Word), ("context_after", net.Context), ("word_gradsq", net.WordSquares), ("context_gradsq", net.ContextSquares) })
        {
            var expected = Values<double>(file, name + ".bias_without_eta");
            for (var i = 0; i < expected.Length; i++) Assert.Equal(expected[i], double.CreateChecked(matrix.Row(i / matrix.Width)[i % matrix.Width]), tolerance * Math.Max(1, expected[i]));
        }
        foreach (var (name, vector) in new[] { ("word_bias_after", net.WordBias), ("context_bias_after", net.ContextBias), ("word_bias_gradsq", net.WordBiasSquares), ("context_bias_gradsq", net.ContextBiasSquares) })
        {
            var expected = Values<double>(file, name + ".bias_without_eta");
            for (var i = 0; i < expected.Length; i++) Assert.Equal(expected[i], double.CreateChecked(vector[i]), tolerance * Math.Max(1, expected[i]));
        }
    }

    private static void Fill<T>(Matrix<T> matrix, double[] values) where T : unmanaged, IBinaryFloatingPointIeee754<T>
    {
        for (var i = 0; i < values.Length; i++) matrix.Row(i / matrix.Width)[i % matrix.Width] = T.CreateChecked(values[i]);
    }

    private static void Fill<T>(T[] vector, double[] values) where T : unmanaged, IBinaryFloatingPointIeee754<T>
    {
        for (var i = 0; i < values.Length; i++) vector[i] = T.CreateChecked(values[i]);
    }

    [Theory, InlineData(1L << 30), InlineData(1L << 20)]
    public void Shuffle_keeps_every_pair_once_with_and_without_the_disk(long memory)
    {
        const int Count = 200_000;
        var path = At("pairs.bin");
        using (var shuffle = new PairShuffle(path, memory, seed: 5))
        {
            for (var i = 0; i < Count; i += 1000) shuffle.Add([.. Enumerable.Range(i, 1000).Select(n => new WordPair(n, n + 1, n, 1))]);
            Assert.Equal(Count, shuffle.Finish());
        }
        Assert.Equal(["pairs.bin"], Directory.GetFiles(Folder).Select(Path.GetFileName));
        using var pairs = new PairFile(path, Count);
        var rows = Enumerable.Range(0, Count).Select(i => pairs[i].Row).ToList();
        Assert.Equal(Enumerable.Range(0, Count), rows.Order());
        // A random order: the mean distance of neighbours is a third of the range, and no place keeps its number's trend.
        Assert.InRange(rows.Zip(rows.Skip(1), (a, b) => (double)Math.Abs(a - b)).Average() / Count, 0.32, 0.345);
        Assert.InRange(rows.Take(Count / 10).Average() / Count, 0.48, 0.52);
    }
}
