using System.Numerics;
using System.Runtime.Intrinsics;
using System.Text.Json.Nodes;
using Lect.Models;
using Lect.Testing;
using Lect.Text;

namespace Lect.Tests.Embeddings;

/// <summary>word2vec against replays of its updates (fixtures/embeddings/w2v.*) and against the C program itself (w2v.c_*).</summary>
public sealed class Word2VecTests : TemporaryFolder
{
    /// <summary>The logistic function without a table.</summary>
    internal readonly struct ExactSigmoid<T> : ISigmoid<T> where T : unmanaged, IBinaryFloatingPointIeee754<T>
    {
        public static T Of(T f) => T.One / (T.One + T.Exp(-f));
        public static bool IsLeftOut(T f) => false;
    }

    private static string Fixture(string name) => Fixtures.Path_("embeddings", name);

    private static WordVocabulary Vocabulary(JsonNode json) => new([.. json["vocabulary"]!.AsArray().Select(v => (string)v![0]!)], [.. json["vocabulary"]!.AsArray().Select(v => (long)v![1]!)]);

    public static TheoryData<string> Replays() => ["sg_ns", "sg_ns_eos", "sg_hs", "cbow_ns", "cbow_ns_sum", "cbow_hs", "cbow_hs_eos"];

    [Theory, MemberData(nameof(Replays))]
    public void Replays_in_double(string name)
    {
        Replay<Lanes512<double>, double, ExactSigmoid<double>>(name, "exact", 1e-9);
        Replay<Lanes256<double>, double, TableSigmoid<double>>(name, "c", 2e-3);
        Replay<Lanes128<double>, double, ExactSigmoid<double>>(name, "exact", 1e-9);
    }

    [Theory, MemberData(nameof(Replays))]
    public void Replays_in_float(string name)
    {
        Replay<Lanes512<float>, float, ExactSigmoid<float>>(name, "exact", 1e-5);
        Replay<Lanes256<float>, float, ExactSigmoid<float>>(name, "exact", 1e-5);
        Replay<Lanes128<float>, float, ExactSigmoid<float>>(name, "exact", 1e-5);
        Replay<Lanes512<float>, float, TableSigmoid<float>>(name, "c", 2e-3);
    }

    private static unsafe void Replay<V, T, S>(string name, string result, double tolerance) where V : struct, ILanes<V, T> where T : unmanaged, IBinaryFloatingPointIeee754<T> where S : struct, ISigmoid<T>
    {
        var json = Fixtures.Json(Fixture($"w2v.{name}.json"));
        var tensors = SafeTensorsFile.Open(Fixture($"w2v.{name}.safetensors"));
        var o = json["options"]!;
        var (cbow, hs, mean) = ((string)o["arch"]! == "cbow", (string)o["loss"]! == "hs", (bool?)o["cbow_mean"] ?? true);
        var options = new Word2VecOptions { Size = (int)o["dim"]!, Window = (int)o["window"]!, Cbow = cbow, Hs = hs, Negative = hs ? 0 : (int)o["negative"]!, Sample = (double)o["sample"]!, CbowMean = mean };
        using var net = new Word2VecNet<T>(Vocabulary(json), options);
        Fill(net.Syn0, tensors, "syn0_before");
        var output = hs ? net.Syn1 : net.Syn1Neg;
        Fill(output, tensors, "syn1_before");
        if (hs) AssertTree(net.Tree!, json);
        AssertKept(net.Keep, json);

        using var buffer = new Matrix<T>(2, options.Size);
        T* h = buffer[0], e = buffer[1];
        double total = 0;
        var losses = json["loss"]!.AsArray();
        var i = 0;
        foreach (var update in json["updates"]!.AsArray())
        {
            int[] inputs = cbow ? Ints(update!["context"]!) : [(int)update!["input"]!];
            var (target, rate) = ((int)update["target"]!, T.CreateChecked((double)update["lr"]!));
            new Span<T>(e, net.Syn0.Stride).Clear();
            Word2VecKernel<V, T, S>.Gather(net, inputs, h, mean);
            var loss = hs ? Word2VecKernel<V, T, S>.Path(net, h, e, target, rate, measure: true) : Word2VecKernel<V, T, S>.Negatives(net, h, e, target, Ints(update["negatives"]!), rate, measure: true);
            Word2VecKernel<V, T, S>.Scatter(net, inputs, e, mean);
            if (result == "exact") Assert.Equal((double)losses[i]!, loss, tolerance * 100);
            total += loss;
            i++;
        }
        if (result == "exact") Assert.Equal((double)json["total_loss"]!, total, tolerance * 1e5);
        AssertNear(net.Syn0, tensors, $"syn0_after_{result}", tolerance);
        AssertNear(output, tensors, $"syn1_after_{result}", tolerance);
    }

    private static int[] Ints(JsonNode node) => [.. node.AsArray().Select(n => (int)n!)];

    private static double[] Values(SafeTensorsFile file, string name)
    {
        using var tensor = file.Load(name);
        using var wide = tensor.to(TorchSharp.torch.float64);
        return wide.data<double>().ToArray();
    }

    private static void Fill<T>(Matrix<T> matrix, SafeTensorsFile file, string name) where T : unmanaged, IBinaryFloatingPointIeee754<T>
    {
        var values = Values(file, name);
        for (var i = 0; i < values.Length; i++) matrix.Row(i / matrix.Width)[i % matrix.Width] = T.CreateChecked(values[i]);
    }

    private static void AssertNear<T>(Matrix<T> matrix, SafeTensorsFile file, string name, double tolerance) where T : unmanaged, IBinaryFloatingPointIeee754<T>
    {
        var values = Values(file, name);
        for (var i = 0; i < values.Length; i++) Assert.Equal(values[i], double.CreateChecked(matrix.Row(i / matrix.Width)[i % matrix.Width]), tolerance);
    }

    private static void AssertTree(HuffmanTree tree, JsonNode json)
    {
        for (var w = 0; w < tree.Codes.Length; w++)
        {
            Assert.Equal(Ints(json["codes"]![w]!), tree.Codes[w].Select(b => (int)b));
            Assert.Equal(Ints(json["points"]![w]!), tree.Points[w]);
        }
    }

    private static void AssertKept(float[] keep, JsonNode json)
    {
        for (var w = 0; w < keep.Length; w++) Assert.Equal((double)json["keep_probability"]![w]!, keep[w], 1e-5 * (double)json["keep_probability"]![w]!);
    }

    [Fact]
    public void Negatives_are_drawn_by_counts_to_the_power_of_three_quarters()
    {
        var json = Fixtures.Json(Fixture("w2v.sg_ns.json"));
        var table = new NegativeTable(Vocabulary(json).Counts);
        var cells = new long[json["unigram"]!.AsArray().Count];
        for (long cell = 0; cell < 100_000_000; cell += 100) cells[table[cell]]++;
        for (var w = 0; w < cells.Length; w++) Assert.Equal((double)json["unigram"]![w]!, cells[w] / 1e6, 3e-6);
        ulong random = 7;
        for (var i = 0; i < 10_000; i++) Assert.InRange(table.Draw(ref random), 1, cells.Length - 1);
    }

    [Theory, InlineData("sg_ns"), InlineData("sg_hs"), InlineData("cbow_ns"), InlineData("cbow_hs")]
    public void With_one_thread_it_is_the_c_program(string name)
    {
        var json = Fixtures.Json(Fixture($"w2v.c_{name}.json"));
        var tensors = SafeTensorsFile.Open(Fixture($"w2v.c_{name}.safetensors"));
        var o = json["options"]!;
        var (cbow, hs) = ((string)o["arch"]! == "cbow", (string)o["loss"]! == "hs");
        var options = new Word2VecOptions { Size = (int)o["dim"]!, Window = (int)o["window"]!, Cbow = cbow, Hs = hs, Negative = hs ? 0 : (int)o["negative"]!, Sample = (double)o["sample"]!, MinCount = (int)o["min_count"]!, Alpha = (double)o["alpha"]!, Iter = 1 };
        using var corpus = WordCorpus.Build(Lect.Text.Documents.Read(new() { Path = Fixture("w2v.c.corpus.txt"), Validation = 0 }), new(), options.MinCount, At("words.bin"));
        var expected = Vocabulary(json);
        Assert.Equal(expected.Words, corpus.Vocabulary.Words);
        Assert.Equal(expected.Counts, corpus.Vocabulary.Counts);
        Assert.Equal((long)json["train_words"]!, corpus.Vocabulary.Total);

        using var net = new Word2VecNet<float>(corpus.Vocabulary, options);
        if (hs) AssertTree(net.Tree!, json);
        AssertNear(net.Syn0, tensors, "syn0_before", 1e-7);
        Word2VecTraining.Run(net, corpus, threads: 1, seed: 1, report: null, TestContext.Current.CancellationToken);
        AssertNear(net.Syn0, tensors, "syn0_after", 2e-3);
        AssertNear(hs ? net.Syn1 : net.Syn1Neg, tensors, "syn1_after", 2e-3);
    }

    [Fact]
    public void Subwords_are_fastTexts()
    {
        var json = Fixtures.Json(Fixture("subwords.json"));
        foreach (var setting in json["settings"]!.AsArray())
        {
            var (minn, maxn, bucket) = ((int)setting!["minn"]!, (int)setting["maxn"]!, (int)setting["bucket"]!);
            foreach (var word in setting["words"]!.AsArray())
            {
                var text = (string)word!["word"]!;
                Assert.Equal((uint)word["word_hash"]!, Subwords.Hash(text));
                Assert.Equal(word["ngrams"]!.AsArray().Select(n => (string)n!), Subwords.Ngrams(text, minn, maxn));
                Assert.Equal(word["hashes"]!.AsArray().Select(n => (uint)n!), Subwords.Ngrams(text, minn, maxn).Select(Subwords.Hash));
                Assert.Equal(Ints(word["bucket_ids"]!), new Subwords([], minn, maxn, bucket).Of(text));
            }
        }
    }
}
