using Lect.Testing;

namespace Lect.Tests.Gpt;

/// <summary>What models are made of and cost, without making them.</summary>
public sealed class ModelSummaryTests
{
    private static ModelSummary Preset(string name) => ModelSummary.Of(Path.Combine(Fixtures.Root, "configs", "gpt", name + ".yaml"));

    [Fact]
    public void Costs_are_those_of_the_papers()
    {
        var large = Preset("gpt3/175b");
        Assert.Equal(174_600_720_384, large.Parameters);
        Assert.InRange(large.FlopsAToken!.Value / (2.0 * large.Parameters), 1, 1.05);   // Brown et al. 2020, appendix D: two for each parameter, attention little beside
        Assert.Equal(2 * 4 * 12288 * 96, large.CacheBytesAToken);
        Assert.True(large.CacheBytes < 2048 * large.CacheBytesAToken);   // half of the layers keep a window alone

        var gpt2 = Preset("gpt2-124m");
        // By hand: twice the matrices and the output layer, and attention over half of 1,024 keys.
        Assert.Equal(2.0 * (12 * 12 * 768 * 768 + 50257 * 768) + 12 * 4.0 * 768 * 1025 / 2, gpt2.FlopsAToken!.Value, 1.0);
        Assert.Equal([("token embeddings", 50257L * 768), ("position embeddings", 1024L * 768)], gpt2.Roles.Take(2));
    }

    [Fact]
    public void Two_models_are_compared_key_by_key_and_part_by_part()
    {
        var (llama, qwen) = (ModelSummary.Of(Fixtures.Path_("hf", "llama")), ModelSummary.Of(Path.Combine(Fixtures.Path_("hf", "qwen3"), "config.json")));
        var config = ModelComparison.Config(llama, qwen).ToDictionary(c => c.Key);
        Assert.Equal(("8", "12"), (config["head_dim"].A!.ToJsonString(), config["head_dim"].B!.ToJsonString()));
        Assert.DoesNotContain("hidden_size", config.Keys);
        var parts = ModelComparison.Parts(llama, qwen).ToDictionary(p => p.Name);
        Assert.Null(parts["model.layers.*.self_attn.q_norm.weight"].A);
        Assert.Equal(2, parts["model.layers.*.self_attn.q_norm.weight"].B!.Count);
        Assert.Null(parts["lm_head.weight"].B);
        Assert.DoesNotContain("model.layers.*.mlp.up_proj.weight", parts.Keys);
        Assert.Equal((llama.Parameters, qwen.Parameters), (ModelComparison.Roles(llama, qwen).Sum(r => r.A), ModelComparison.Roles(llama, qwen).Sum(r => r.B)));
        Assert.Null(ModelSummary.Of(Fixtures.Path_("hf", "bert-pretraining")).FlopsAToken);
        foreach (var name in (string[])["gpt2-sequence-classification", "openai-gpt-double-heads"]) Assert.Contains(ModelSummary.Of(Fixtures.Path_("hf", name)).Roles, r => r.Role == "output layer");
        Assert.Contains("characters", Assert.Throws<InvalidDataException>(() => Preset("shakespeare-char")).Message, StringComparison.Ordinal);
    }
}
