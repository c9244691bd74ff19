using System.Text.Json.Nodes;
using Lect.Testing;
using TorchSharp;
using static TorchSharp.torch;

namespace Lect.Models.Tests;

/// <summary>Every decoder against transformers on tiny random checkpoints, at the tolerances of fixtures/hf/README.md.</summary>
[NoTensorLeaks]
public class DecoderTests
{
    public static TheoryData<string> Architectures => [.. HuggingFaceFixture.Decoders];

    private static readonly string[] s_stored = ["gpt2-legacy", "gpt2-bf16", "gpt2-fp16", "llama-sharded"];

    public static TheoryData<string> Folders => [.. HuggingFaceFixture.Decoders, .. s_stored];

    [Theory, MemberData(nameof(Folders))]
    public void Logits_hidden_states_and_attentions(string name)
    {
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        var fixture = new HuggingFaceFixture(name);
        using var model = ModelFolder.Load(fixture.Folder);
        var e = fixture.Tensors;
        var real = e.Load("in.attention_mask");
        using var recorder = new Recorder();
        var at = real.to(ScalarType.Bool);
        void Same(string key, Tensor found) => Near.Equal(e.Load(key)[at], found[at], 2e-5, 1e-5, $"{name} {key}");
        Same("out.logits", model.Logits(e.Load("in.input_ids"), real, sink: recorder));
        Same("out.logits", model.Logits(e.Load("in.input_ids")));   // the padding is behind: it changes nothing, and the fused attention is used
        if (s_stored.Contains(name)) return;
        foreach (var (i, x) in recorder.Hiddens) Same($"out.hidden_states.{i}", x);
        foreach (var (i, p) in recorder.Probs) Near.Equal(e.Load($"out.attentions.{i}").transpose(1, 2)[at], p.transpose(1, 2)[at], 2e-5, 1e-5, $"attention {i}");
        Assert.Equal(model.LayerCount, recorder.Probs.Count);
        Assert.Equal(model.LayerCount + 1, recorder.Hiddens.Count);
    }

    [Theory, MemberData(nameof(Architectures))]
    public void Left_padding_and_the_cache_change_nothing(string name)
    {
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        var fixture = new HuggingFaceFixture(name);
        using var model = ModelFolder.Load(fixture.Folder);
        var e = fixture.Tensors;
        Tensor ids = e.Load("left.in.input_ids"), real = e.Load("left.in.attention_mask"), at = real.to(ScalarType.Bool), expected = e.Load("left.out.logits")[at];
        var positions = Masks.Positions(real);
        Near.Equal(expected, model.Logits(ids, real, positions)[at], 2e-5, 1e-5, "left padded");
        foreach (var first in (long[])[3, 8])
        {
            using var cache = new KvCache(model.LayerCount, capacity: 5, model.Windows);   // too little: it grows
            var parts = new List<Tensor>();
            for (long from = 0, to = first; from < ids.shape[1]; from = to, to++)
                parts.Add(model.Logits(ids.narrow(1, from, to - from), real.narrow(1, 0, to), positions.narrow(1, from, to - from), cache));
            Near.Equal(expected, cat(parts, 1)[at], 2e-5, 1e-5, $"cached, {first} first");
        }
    }

    [Theory, MemberData(nameof(Architectures))]
    public void Loss_and_gradients(string name)
    {
        using var scope = NewDisposeScope();
        var fixture = new HuggingFaceFixture(name);
        using var model = ModelFolder.Load(fixture.Folder);
        var e = fixture.Tensors;
        fixture.CheckGradients(model, HuggingFaceFixture.Loss(model, e.Load("in.input_ids"), e.Load("in.labels"), e.Load("in.attention_mask")));
    }

    [Theory, MemberData(nameof(Architectures))]
    public void A_later_token_never_changes_an_earlier_prediction(string name)
    {
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        using var model = ModelFolder.Load(Fixtures.Path_("hf", name));
        Tensor ids = tensor(new long[,] { { 5, 9, 2, 7, 11 } }), changed = tensor(new long[,] { { 5, 9, 2, 7, 40 } });
        Assert.True(model.Logits(ids).narrow(1, 0, 4).equal(model.Logits(changed).narrow(1, 0, 4)).all().item<bool>());
    }

    [Theory, MemberData(nameof(Architectures))]
    public void A_saved_model_is_the_same_model(string name)
    {
        using var scope = NewDisposeScope();
        var source = Fixtures.Path_("hf", name);
        using var model = ModelFolder.Load(source);
        var folder = Directory.CreateTempSubdirectory().FullName;
        ModelFolder.Save(model, folder);
        Weights saved = Weights.Open(folder), original = Weights.Open(source);
        Assert.Equal(original.Names.Order(), saved.Names.Order());
        foreach (var key in original.Names) Assert.True(original.Load(key).equal(saved.Load(key)).all().item<bool>(), key);
        var config = Fixtures.Json(Path.Combine(folder, "config.json"));
        foreach (var (key, value) in Fixtures.Json(Path.Combine(source, "config.json")).AsObject())
            Assert.True(key is "transformers_version" || JsonNode.DeepEquals(value, config[key]), $"{key}: {config[key]?.ToJsonString()}, was {value?.ToJsonString()}");
        Directory.Delete(folder, recursive: true);
    }

    [Theory]
    [InlineData("llama"), InlineData("llama3"), InlineData("mistral"), InlineData("qwen2"), InlineData("qwen3"), InlineData("gpt_neox"), InlineData("falcon"), InlineData("falcon-new")]
    public void A_config_of_older_keys_means_the_same(string name)
    {
        using var scope = NewDisposeScope();
        JsonObject Read(string file) => Fixtures.Json(Fixtures.Path_("hf", name, file)).AsObject();
        using CausalLanguageModel now = ModelFolder.Create(Read("config.json"), META), before = ModelFolder.Create(Read("config.hub.json"), META);
        foreach (var (key, value) in now.ConfigJson) Assert.True(key is "transformers_version" || JsonNode.DeepEquals(value, before.ConfigJson[key]), $"{key}: {before.ConfigJson[key]?.ToJsonString()}, expected {value?.ToJsonString()}");
    }

    [Fact]
    public void An_unknown_architecture_is_told_what_is_there_and_what_is_nearest()
    {
        string Refusal(string type) => Assert.Throws<InvalidDataException>(() => ModelFolder.Create(new JsonObject { ["model_type"] = type })).Message;
        Assert.Contains("Nearest is llama", Refusal("gemma2"), StringComparison.Ordinal);
        Assert.Contains("Nearest is qwen2", Refusal("qwen2_moe"), StringComparison.Ordinal);
        foreach (var known in ModelFolder.Decoders) Assert.Contains(known, Refusal("rwkv"), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("llama", "rope_parameters", """{"rope_type":"longrope","factor":2}""", "linear, dynamic, yarn, llama3")]
    [InlineData("llama", "rope_parameters", """{"rope_type":"linear"}""", "rope_parameters.factor")]
    [InlineData("llama", "rope_parameters", "4.0", "Expected an object")]
    [InlineData("llama", "rope_parameters", """{"rope_type":"yarn","factor":0}""", "of 0 or less")]
    [InlineData("llama", "model_type", "5", "found model_type '5'")]
    [InlineData("gpt_neo", "attention_types", """[[["global"],2147483647]]""", "attention_types")]
    [InlineData("llama", "num_key_value_heads", "3", "num_key_value_heads = 3")]
    [InlineData("llama", "hidden_act", "\"swoosh\"", "hidden_act = 'swoosh'")]
    [InlineData("mistral", "sliding_window", "0", "sliding_window = 0")]
    [InlineData("qwen2", "layer_types", """["full_attention"]""", "num_hidden_layers = 2")]
    [InlineData("gpt_neo", "attention_types", """[[["global","wide"],1]]""", "'global' and 'local'")]
    [InlineData("falcon", "alibi", "true", "alibi = true")]
    [InlineData("gpt_neox", "num_attention_heads", "5", "num_attention_heads = 5")]
    [InlineData("openai-gpt", "summary_type", "\"last\"", "summary_type = last")]
    public void A_config_that_cannot_be_honoured_names_the_key(string name, string key, string value, string expected)
    {
        var config = Fixtures.Json(Fixtures.Path_("hf", name, "config.json")).AsObject();
        config[key] = JsonNode.Parse(value);
        Assert.Contains(expected, Assert.Throws<InvalidDataException>(() => ModelFolder.Create(config, META)).Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("llama", "hidden_size", "64", "[128, 64]"), InlineData("gpt_neo", "num_layers", "2", "attention_types")]
    [InlineData("qwen3", "num_hidden_layers", "1", "layer_types"), InlineData("mistral", "num_hidden_layers", "1", "has no place for"), InlineData("falcon", "tie_word_embeddings", "false", "lm_head.weight")]
    public void A_config_that_contradicts_the_tensors_says_which(string name, string key, string value, string expected)
    {
        var folder = Directory.CreateTempSubdirectory().FullName;
        File.Copy(Fixtures.Path_("hf", name, "model.safetensors"), Path.Combine(folder, "model.safetensors"));
        var config = Fixtures.Json(Fixtures.Path_("hf", name, "config.json")).AsObject();
        config[key] = JsonNode.Parse(value);
        if (key == "hidden_size") config["head_dim"] = 16;
        File.WriteAllText(Path.Combine(folder, "config.json"), config.ToJsonString());
        Assert.Contains(expected, Assert.Throws<InvalidDataException>(() => ModelFolder.Load(folder)).Message, StringComparison.Ordinal);
        Directory.Delete(folder, recursive: true);
    }

    [Fact]
    public void GPT1_with_two_heads_is_hugging_faces()
    {
        using var scope = NewDisposeScope();
        var fixture = new HuggingFaceFixture("openai-gpt-double-heads");
        using var model = (Gpt1)ModelFolder.LoadChooser(fixture.Folder);
        var (scores, loss) = fixture.TwoHeads(model, "in.");
        Near.Equal(fixture.Tensors.Load("out.mc_logits"), scores, 2e-5, 1e-5, "choices");
        Near.Equal(fixture.Tensors.Load("out.logits").flatten(0, 1), model.Logits(HuggingFaceFixture.Rows(fixture.Tensors.Load("in.input_ids"))), 2e-5, 1e-5, "logits");
        fixture.CheckGradients(model, loss);
        Assert.Contains("lect choose", Assert.Throws<InvalidDataException>(() => ModelFolder.Load(fixture.Folder)).Message, StringComparison.Ordinal);
    }
}
