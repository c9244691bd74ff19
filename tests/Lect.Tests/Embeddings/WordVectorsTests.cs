using System.Text;
using System.Text.Json.Nodes;
using Lect.Testing;
using Lect.Text;

namespace Lect.Tests.Embeddings;

/// <summary>Neighbours, analogies and similarities against gensim's and compute-accuracy.c's (fixtures/embeddings/eval.json), on vectors that gensim wrote.</summary>
public sealed class WordVectorsTests : TemporaryFolder
{
    private static readonly JsonNode s_json = Fixtures.Json(Fixtures.Path_("embeddings", "eval.json"));
    private static readonly WordVectors s_vectors = VectorFiles.Read(Fixtures.Path_("embeddings", "eval.vectors.bin"));

    private static string[] Words(JsonNode? node) => [.. (node as JsonArray ?? []).Select(w => (string)w!)];

    private static void AssertSame(JsonNode expected, IReadOnlyList<Neighbour> found)
    {
        Assert.Equal(expected.AsArray().Select(r => (string)r![0]!), found.Select(f => f.Word));
        for (var i = 0; i < found.Count; i++) Assert.Equal((double)expected[i]![1]!, found[i].Similarity, 2e-6);
    }

    [Fact]
    public void Most_similar()
    {
        foreach (var question in s_json["most_similar"]!.AsArray())
            AssertSame(question!["result"]!, s_vectors.MostSimilar([.. Words(question["positive"]).Select(w => (w, 1f)), .. Words(question["negative"]).Select(w => (w, -1f))], 10, (int?)question["restrict_vocab"] ?? 0));
        foreach (var question in s_json["most_similar_weighted"]!.AsArray())
            AssertSame(question!["result"]!, s_vectors.MostSimilar([.. question["positive"]!.AsArray().Select(p => ((string)p![0]!, (float)p[1]!))]));
        foreach (var question in s_json["most_similar_cosmul"]!.AsArray())
            AssertSame(question!["result"]!, s_vectors.MostSimilarByMultiplication(Words(question["positive"]), Words(question["negative"])));
    }

    [Fact]
    public void Similarities_and_the_odd_one()
    {
        foreach (var pair in s_json["similarity"]!.AsArray()) Assert.Equal((double)pair![2]!, s_vectors.Similarity((string)pair[0]!, (string)pair[1]!), 2e-6);
        foreach (var pair in s_json["n_similarity"]!.AsArray()) Assert.Equal((double)pair!["value"]!, s_vectors.Similarity(Words(pair["a"]), Words(pair["b"])), 2e-6);
        foreach (var group in s_json["doesnt_match"]!.AsArray())
        {
            var found = s_vectors.OddOneOut(Words(group!["words"]));
            Assert.Equal((string)group["odd"]!, found[^1].Word);
            for (var i = 0; i < found.Count; i++)
            {
                Assert.Equal((string)group["centrality"]![i]![1]!, found[i].Word);
                Assert.Equal((double)group["centrality"]![i]![0]!, found[i].Similarity, 2e-6);
            }
        }
    }

    [Fact]
    public void Analogies_as_gensim_and_as_word2vec()
    {
        var questions = Fixtures.Path_("embeddings", "eval.questions.txt");
        foreach (var run in s_json["analogies_gensim"]!.AsArray())
        {
            var o = run!["options"]!;
            var found = AnalogyAccuracy.Of(s_vectors, questions, (int?)o["restrict_vocab"], caseInsensitive: (bool?)o["case_insensitive"] ?? true, unknownIsWrong: (bool?)o["dummy4unknown"] ?? false);
            Assert.Equal(run["sections"]!.AsArray().Select(s => ((string)s!["section"]!, (int)s["correct"]!, (int)s["incorrect"]!)), found.Sections.Select(s => (s.Section, s.Correct, s.Incorrect)));
            Assert.Equal((double)run["score"]!, found.Accuracy, 1e-12);
        }
        var c = s_json["analogies_word2vec_c"]!;
        var asC = AnalogyAccuracy.Of(s_vectors, questions, protocol: "word2vec");
        Assert.Equal(c["sections"]!.AsArray().Select(s => ((int)s!["correct"]!, (int)s["total"]!)), asC.Sections.Select(s => (s.Correct, s.Correct + s.Incorrect)));
    }

    [Fact]
    public void Pairs_as_gensim()
    {
        foreach (var run in s_json["pairs"]!.AsArray())
        {
            var o = run!["options"]!;
            var path = Fixtures.Shared(["fixtures", "embeddings", .. ((string)run["file"]!).Split('/')]);
            var found = WordSimilarity.Of(s_vectors, path, (int?)o["restrict_vocab"] ?? 0, (bool?)o["case_insensitive"] ?? true, (bool?)o["dummy4unknown"] ?? false);
            Assert.Equal((double)run["spearman"]!, found.Spearman, 1e-5);
            Assert.Equal((double)run["pearson"]!, found.Pearson, 1e-5);
            Assert.Equal((double)run["oov_percent"]!, 100.0 * found.Missing / found.Pairs, 1e-9);
        }
    }

    [Theory, InlineData("\uFEFFking 1 2 3\nqueen 1 2 2\n"), InlineData("\uFEFF2 3\nking 1 2 3\nqueen 1 2 2\n")]
    public void A_mark_of_byte_order_is_no_letter(string text)
    {
        using var vectors = VectorFiles.Read(Write("marked.txt", text));
        Assert.Equal(["king", "queen"], vectors.Words);
    }

    [Fact]
    public void A_score_that_is_no_number_is_named_with_its_line()
    {
        using var vectors = VectorFiles.Read(Write("v.txt", "king 1 2 3\nqueen 1 2 2\n"));
        Assert.Contains("line 2", Assert.Throws<InvalidDataException>(() => WordSimilarity.Of(vectors, Write("pairs.txt", "king queen 1\nqueen king nan\n"))).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Ranks_share_ties() => Assert.Equal([3.5, 1, 3.5, 2, 5], Correlations.Ranks([4, 1, 4, 2, 9]));

    [Fact]
    public void An_unknown_word_gets_the_nearest_spelling_proposed()
    {
        Assert.Contains("nearest spelling is 'feeling'", Assert.Throws<InvalidDataException>(() => s_vectors.Nearest("feelling")).Message, StringComparison.Ordinal);
        Assert.Contains("'qqqqzzzz'", Assert.Throws<InvalidDataException>(() => s_vectors.Nearest("qqqqzzzz")).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_text_is_the_mean_of_its_words()
    {
        var (a, b) = (s_vectors.Vector("feeling"), s_vectors.Vector("pity"));
        var mean = s_vectors.Embed("Feeling, pity!");
        for (var d = 0; d < mean.Length; d++) Assert.Equal((a[d] + b[d]) / 2, mean[d], 1e-6);
        // SIF by Zipf's law: the rarer word weighs more.
        var sif = s_vectors.Embed("the pity", sif: true);
        var (the, pity) = (s_vectors.Vector("the"), s_vectors.Vector("pity"));
        double w(string word) => 1e-3 / (1e-3 + 1 / ((s_vectors.IndexOf(word) + 1) * (Math.Log(s_vectors.Words.Count) + 0.5772)));
        for (var d = 0; d < sif.Length; d++) Assert.Equal((w("the") * the[d] + w("pity") * pity[d]) / (w("the") + w("pity")), sif[d], 1e-5);
        Assert.Throws<InvalidDataException>(() => s_vectors.Embed("qqqq zzzz"));
    }
}

/// <summary>Reading and writing (fixtures/embeddings/formats).</summary>
public sealed class VectorFilesTests : TemporaryFolder
{
    private static readonly JsonNode s_json = Fixtures.Json(Fixtures.Path_("embeddings", "formats.json"));

    public static TheoryData<string> Files() => [.. s_json["files"]!.AsArray().Select(f => (string)f!["file"]!)];

    [Theory, MemberData(nameof(Files))]
    public void Reads_or_refuses(string file)
    {
        var expected = s_json["files"]!.AsArray().Single(f => (string)f!["file"]! == file)!;
        var path = Fixtures.Path_("embeddings", file);
        foreach (var map in new[] { false, true })
        {
            if ((string)expected["verdict"]! == "refuse")
            {
                Assert.Contains(Path.GetFileName(path), Assert.Throws<InvalidDataException>(() => VectorFiles.Read(path, map: map)).Message, StringComparison.Ordinal);
                continue;
            }
            var warnings = new List<string>();
            using var vectors = VectorFiles.Read(path, warnings.Add, map);
            Assert.Equal(expected["words"]!.AsArray().Select(w => (string)w!), vectors.Words);
            for (var i = 0; i < vectors.Words.Count; i++)
                for (var d = 0; d < vectors.Dimension; d++)
                    Assert.Equal((double)expected["vectors"]![i]![d]!, vectors[i][d], 1e-6 * Math.Max(1, Math.Abs(vectors[i][d])));
            Assert.Equal(file.Contains("duplicate", StringComparison.Ordinal) || file.Contains("bad-utf8", StringComparison.Ordinal), warnings.Count > 0);
        }
    }

    [Theory]
    [InlineData("v.bin", VectorFormat.Binary), InlineData("v.txt", VectorFormat.Text), InlineData("v.glove", VectorFormat.GloVe)]
    [InlineData("v.bin.gz", VectorFormat.Binary), InlineData("v.vec.gz", VectorFormat.Text)]
    public void What_is_written_reads_back_bit_by_bit(string name, VectorFormat format)
    {
        var random = new Random(1);
        string[] words = ["the", "naïve", "日本", "1", "-2.5", "a\u00A0b", new string('w', 3000), "\U0001F600", "</s>", format == VectorFormat.GloVe ? ". . ." : "\u2009"];
        var values = Enumerable.Range(0, words.Length * 7).Select(i => BitConverter.UInt32BitsToSingle((uint)random.NextInt64(uint.MaxValue))).Select(f => float.IsFinite(f) ? f : 0.1f).ToArray();
        using var written = new WordVectors(words, values);
        var path = At(name);
        VectorFiles.Write(written, path, format);
        using var read = VectorFiles.Read(path);
        Assert.Equal(words, read.Words);
        for (var i = 0; i < words.Length; i++) Assert.Equal(written[i].ToArray(), read[i].ToArray());
        Assert.Equal(name, Path.GetFileName(Assert.Single(Directory.GetFiles(Folder))));
    }

    [Theory]
    [InlineData((byte)'\n', (byte)'7'), InlineData((byte)' ', (byte)'\n'), InlineData((byte)'\r', (byte)'\n'), InlineData((byte)'1', (byte)' '), InlineData((byte)'1', (byte)'\n')]
    public void The_bytes_of_a_float_may_look_like_text(byte first, byte second)
    {
        using var written = new WordVectors(["number0", "b"], [BitConverter.ToSingle([first, second, 0xA0, 0x3D]), .1f, -.2f, .3f, .4f, .5f]);
        var path = At("v.bin");
        VectorFiles.Write(written, path, VectorFormat.Binary);
        using var read = VectorFiles.Read(path);
        Assert.Equal(written[0].ToArray(), read[0].ToArray());
    }

    [Fact]
    public void Damaged_binaries_are_refused_and_nothing_else_happens()
    {
        var good = File.ReadAllBytes(Fixtures.Path_("embeddings", "formats", "binary.bin"));
        var random = new Random(3);
        var path = At("damaged.bin");
        for (var round = 0; round < 2000; round++)
        {
            var bytes = good.ToArray();
            for (var n = random.Next(1, 6); n > 0; n--) bytes[random.Next(random.Next(2) == 0 ? 20 : bytes.Length)] = (byte)random.Next(256);
            if (random.Next(3) == 0) bytes = bytes[..random.Next(bytes.Length)];
            File.WriteAllBytes(path, bytes);
            foreach (var map in new[] { false, true })
            {
                try
                {
                    using var read = VectorFiles.Read(path, map: map);
                    Assert.True(read.Words.Count > 0 && read.Dimension > 0);
                }
                catch (InvalidDataException e) { Assert.Contains("damaged.bin", e.Message, StringComparison.Ordinal); }
            }
        }
    }

    [Theory, InlineData(1), InlineData(3)]
    public void Small_binaries_are_no_text(int dimension)
    {
        foreach (var values in (float[][])[[0.1f, 0.2f, 0.3f, 0.4f, 0.5f, 0.6f], [0, 0, 0, 1, 1, 1], [-7, 1e-20f, 3e20f, 5, 6, 7]])
        {
            using var written = new WordVectors([.. Enumerable.Range(0, 6 / dimension).Select(i => "w" + i)], values);
            foreach (var name in (string[])["small.bin", "small.bin.GZ"])
            {
                VectorFiles.Write(written, At(name));
                using var read = VectorFiles.Read(At(name));
                Assert.Equal(written.Words, read.Words);
                Assert.Equal(written[1].ToArray(), read[1].ToArray());
            }
        }
    }

    [Fact]
    public void A_header_alone_takes_no_memory()
    {
        var path = At("huge.bin.gz");
        using (var stream = new System.IO.Compression.GZipStream(File.Create(path), System.IO.Compression.CompressionLevel.Fastest)) stream.Write("1000000 1048576\nword 0.5"u8);
        var before = GC.GetTotalAllocatedBytes();
        Assert.Throws<InvalidDataException>(() => VectorFiles.Read(path));
        Assert.True(GC.GetTotalAllocatedBytes() - before < 64 << 20);
    }

    [Fact]
    public void Numbers_of_words_are_checked()
    {
        using var vectors = new WordVectors(["a", "b"], [1, 2]);
        Assert.Throws<ArgumentOutOfRangeException>(() => vectors[vectors.IndexOf("c")].Length);
        Assert.Throws<ArgumentOutOfRangeException>(() => vectors[2].Length);
    }

    [Fact]
    public void A_gzip_that_is_cut_says_so()
    {
        var path = At("cut.bin.gz");
        VectorFiles.Write(VectorFiles.Read(Fixtures.Path_("embeddings", "eval.vectors.bin")), path);
        File.WriteAllBytes(path, File.ReadAllBytes(path)[..5000]);
        Assert.Contains("cut.bin.gz", Assert.Throws<InvalidDataException>(() => VectorFiles.Read(path)).Message, StringComparison.Ordinal);
    }
}
