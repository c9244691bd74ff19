using System.Text.Json.Nodes;
using Lect.Testing;

namespace Lect.EndToEnd.Tests;

/// <summary>Word vectors through the command line.</summary>
public sealed class VectorTests : TemporaryFolder
{
    private static readonly string s_vectors = Fixtures.Path_("embeddings", "eval.vectors.bin");
    private static readonly JsonNode s_expected = Fixtures.Json(Fixtures.Path_("embeddings", "eval.json"));

    [Fact]
    public void Lines_are_answered_in_order_with_their_ids()
    {
        var near = Tool.Ask("{\"word\":\"feeling\",\"id\":7}\n{\"word\":\"cruncher\"}\n", "nearest", "--vectors", s_vectors, "--json");
        Assert.Equal((0, 2), (near.Code, near.Json.Count));
        Assert.Equal(7, (int)near.Json[0]["id"]!);
        var expected = s_expected["most_similar"]!.AsArray().Single(q => q!["positive"]!.AsArray() is [JsonValue one] && (string)one! == "feeling" && q["negative"]!.AsArray().Count == 0 && q["restrict_vocab"] is null)!;
        Assert.Equal(expected["result"]!.AsArray().Select(r => (string)r![0]!), near.Json[0]["words"]!.AsArray().Select(w => (string)w!["word"]!));
        Assert.Equal((double)expected["result"]![0]![1]!, (double)near.Json[0]["words"]![0]!["similarity"]!, 2e-6);

        var analogy = Tool.Ask("{\"a\":\"second\",\"b\":\"get\",\"c\":\"another\"}\n", "analogy", "--vectors", s_vectors, "--json", "--top-k", "3");
        var answer = s_expected["most_similar"]!.AsArray().Single(q => string.Join(' ', q!["positive"]!.AsArray().Select(w => (string)w!)) == "get another" && string.Join(' ', q["negative"]!.AsArray().Select(w => (string)w!)) == "second")!;
        Assert.Equal(answer["result"]!.AsArray().Take(3).Select(r => (string)r![0]!), analogy.Json[0]["words"]!.AsArray().Select(w => (string)w!["word"]!));

        var embedded = Tool.Ask("{\"word\":\"pity\"}\n{\"text\":\"pity pity\"}\n", "embed", "--vectors", s_vectors, "--json");
        Assert.Equal(32, embedded.Json[0]["embedding"]!.AsArray().Count);
        Assert.Equal((double)embedded.Json[0]["embedding"]![3]!, (double)embedded.Json[1]["embedding"]![3]!, 1e-6);
        Assert.Contains("0.9", Tool.Run("nearest", "--vectors", s_vectors, "feeling").Output, StringComparison.Ordinal);
    }

    [Fact]
    public void Figures_have_their_names()
    {
        var found = Tool.Run("evaluate", "analogies", "--vectors", s_vectors, "--questions", Fixtures.Path_("embeddings", "eval.questions.txt"), "--json").Json[0];
        Assert.Equal((double)s_expected["analogies_gensim"]![0]!["score"]!, (double)found["accuracy"]!, 1e-9);
        Assert.Equal(14, found["sections"]!.AsArray().Count);
        var pairs = At("pairs.tsv");
        File.WriteAllText(pairs, "# word, word, score\nfeeling\tpity\t9\nthe\tpity\t1\nthe\tof\t5\nqqq\tthe\t2\n");
        var similar = Tool.Run("evaluate", "similarity", "--vectors", s_vectors, "--pairs", pairs, "--json").Json[0];
        Assert.Equal((1, 4), ((int)similar["missing"]!, (int)similar["pairs"]!));
        Assert.InRange((double)similar["spearman"]!, -1, 1);
    }

    [Fact]
    public void Training_writes_vectors_that_the_other_verbs_read()
    {
        var run = At("run");
        var trained = Tool.Run("train", "word2vec", "--set", $"data.path={Fixtures.Path_("embeddings", "w2v.c.corpus.txt")}", "word2vec.min-count=3", "word2vec.size=10", "word2vec.cbow=0", "train.threads=1", "train.epochs=1", "train.lr=0.1", "--out", run, "--json");
        Assert.True(trained.Code == 0, trained.Error);
        Assert.Equal(100.0, 100.0 * (double)trained.Json[^1]["tokens"]! / 2864, 1e-9);
        Assert.Equal(0, Tool.Run("nearest", "--vectors", run, "the").Code);
        var map = At("map.html");
        Assert.Equal(0, Tool.Run("map", "--vectors", run, "--words", "50", "--out", map).Code);
        Assert.Contains("<canvas", File.ReadAllText(map), StringComparison.Ordinal);
    }
}
