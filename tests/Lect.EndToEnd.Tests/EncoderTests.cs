using Lect.Testing;

namespace Lect.EndToEnd.Tests;

/// <summary>The verbs of BERT's heads, by ids, with transformers' figures (fixtures/hf).</summary>
public sealed class EncoderTests
{
    private static string Bert(string name) => Fixtures.Path_("hf", name);

    private const string Rows = "{\"ids\":[4,4,4,93,17,5,91,4,4,4,58,77],\"token_type_ids\":[0,0,0,0,0,0,1,1,1,1,1,1]}\n{\"ids\":[63,4,4,4,43,70,4,81,33],\"token_type_ids\":[0,0,0,0,1,1,1,1,1],\"id\":\"b\"}\n";

    [Fact]
    public void Next_sentence_and_masks()
    {
        var next = Tool.Ask(Rows, "next-sentence", "--model", Bert("bert-pretraining"), "--json");
        Assert.Equal([0.66498, 0.75503], next.Json.Select(j => Math.Round((double)j["is_next"]!, 5)));
        Assert.Equal("b", (string)next.Json[1]["id"]!);
        var filled = Tool.Ask(Rows.Replace("\"token_type_ids\"", "\"positions\":[1,2],\"token_type_ids\"", StringComparison.Ordinal), "fill-mask", "--model", Bert("bert-pretraining"), "--top-k", "3", "--json").Json[0]["predictions"]!;
        Assert.Equal((2, 3, 39), (filled.AsArray().Count, filled[0]!.AsArray().Count, (int)filled[0]![0]!["id"]!));
        Assert.Equal(0.06937, (double)filled[0]![0]!["prob"]!, 5);
    }

    [Fact]
    public void A_masked_model_scores_each_token_in_turn()
    {
        var scored = Tool.Ask(Rows, "score", "--model", Bert("bert-pretraining"), "--mask-id", "4", "--json").Json[1];
        var logprobs = scored["logprobs"]!.AsArray().Select(l => (double)l!).ToList();
        Assert.Equal(9, logprobs.Count);
        Assert.Equal((double)scored["total"]!, logprobs.Sum(), 9);
        // The same as asking for the token at its place, masked.
        var one = Tool.Ask("{\"ids\":[63,4,4,4,4,70,4,81,33],\"token_type_ids\":[0,0,0,0,1,1,1,1,1],\"positions\":[4]}\n", "fill-mask", "--model", Bert("bert-pretraining"), "--top-k", "110", "--json").Json[0]["predictions"]![0]!.AsArray();
        Assert.Equal(Math.Log((double)one.First(g => (int)g!["id"]! == 43)!["prob"]!), logprobs[4], 4);
    }

    [Fact]
    public void Choices_tags_vectors_and_the_batch()
    {
        var chosen = Tool.Ask("{\"choice_ids\":[[40,16,63,48,42,61,101,106,61,104,83,84],[12,45,64,74,20,63,48,27,65],[86,35,10,81,99,75]],\"choice_token_type_ids\":[[0,0,0,0,0,0,1,1,1,1,1,1],[0,0,0,0,1,1,1,1,1],[0,0,0,1,1,1]]}\n", "choose", "--model", Bert("bert-multiple-choice"), "--json").Json[0];
        Assert.Equal((1, 0.34825), ((int)chosen["choice"]!, Math.Round((double)chosen["scores"]![1]!, 5)));
        var tags = Tool.Ask(Rows, "tag", "--model", Bert("bert-token-classification"), "--json").Json[1]["tags"]!.AsArray();
        Assert.Equal(9, tags.Count);
        var together = Tool.Ask(Rows, "embed", "--model", Bert("distilbert-mlm"), "--json").Json;
        var alone = Tool.Ask(Rows, "embed", "--model", Bert("distilbert-mlm"), "--batch-size", "1", "--json").Json;
        foreach (var (a, b) in together.Zip(alone)) Assert.Equal(a["embedding"]!.AsArray().Select(x => (double)x!), b["embedding"]!.AsArray().Select(x => (double)x!), (x, y) => Math.Abs(x - y) < 1e-5);
    }
}
