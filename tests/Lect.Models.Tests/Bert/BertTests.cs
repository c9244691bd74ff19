using Lect.Testing;
using TorchSharp;
using static TorchSharp.torch;

namespace Lect.Models.Tests.Bert;

/// <summary>BERT, DistilBERT and RoBERTa against transformers (fixtures/hf/README.md).</summary>
[NoTensorLeaks]
public class BertTests
{
    public static TheoryData<string> All => ["bert-pretraining", "bert-sequence-classification", "bert-regression", "bert-multiple-choice", "bert-question-answering", "bert-token-classification", "distilbert-mlm", "distilbert-sequence-classification", "roberta-mlm"];

    private static string Folder(string name) => Fixtures.Path_("hf", name);

    [Theory, MemberData(nameof(All)), InlineData("bert-legacy")]
    public void Outputs_hidden_states_and_attentions(string name)
    {
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        var e = new HuggingFaceFixture(name).Tensors;
        using var model = ModelFolder.LoadEncoder(Folder(name));
        Tensor Input(string key) => HuggingFaceFixture.Rows(e.Load("in." + key));
        Tensor ids = Input("input_ids"), real = Input("attention_mask"), at = real.to(ScalarType.Bool);
        using var recorder = new Recorder();
        var hidden = model.Hidden(ids, real, model.TypeCount > 0 && e.Tensors.ContainsKey("in.token_type_ids") ? Input("token_type_ids") : null, recorder);
        void Same(string key, Tensor found) => Near.Equal(e.Load("out." + key), found, 2e-5, 1e-5, $"{name} {key}");
        void SameWhereReal(string key, Tensor found) => Near.Equal(e.Load("out." + key)[at], found[at], 2e-5, 1e-5, $"{name} {key}");
        switch (model.Head)
        {
            case EncoderHead.ForPreTraining:
                SameWhereReal("prediction_logits", model.MaskedLogits(hidden.flatten(0, 1)).view(ids.shape[0], ids.shape[1], -1));
                Same("seq_relationship_logits", model.NextSentence(hidden));
                break;
            case EncoderHead.ForMaskedLM: SameWhereReal("logits", model.MaskedLogits(hidden.flatten(0, 1)).view(ids.shape[0], ids.shape[1], -1)); break;
            case EncoderHead.ForMultipleChoice: Same("logits", model.Output(hidden).view(2, 3)); break;
            case EncoderHead.ForTokenClassification: SameWhereReal("logits", model.Output(hidden)); break;
            case EncoderHead.ForQuestionAnswering:
                SameWhereReal("start_logits", model.Output(hidden).select(2, 0));
                SameWhereReal("end_logits", model.Output(hidden).select(2, 1));
                break;
            default: Same("logits", model.Output(hidden)); break;
        }
        Assert.Equal(model.LayerCount, recorder.Probs.Count);
        Assert.Equal(model.LayerCount + 1, recorder.Hiddens.Count);
        if (!e.Tensors.ContainsKey("out.hidden_states.0")) return;
        foreach (var (i, x) in recorder.Hiddens) SameWhereReal($"hidden_states.{i}", x);
        foreach (var (i, p) in recorder.Probs) Near.Equal(e.Load($"out.attentions.{i}").transpose(1, 2)[at], p.transpose(1, 2)[at], 2e-5, 1e-5, $"{name} attention {i}");
    }

    [Theory, MemberData(nameof(All))]
    public void Loss_and_gradients(string name)
    {
        using var scope = NewDisposeScope();
        var fixture = new HuggingFaceFixture(name);
        using var model = ModelFolder.LoadEncoder(fixture.Folder);
        fixture.CheckGradients(model, fixture.Loss(model, "in."));
    }

    [Theory, MemberData(nameof(All))]
    public void A_saved_model_is_the_same_model(string name)
    {
        using var scope = NewDisposeScope();
        using var model = ModelFolder.LoadEncoder(Folder(name));
        var folder = Directory.CreateTempSubdirectory().FullName;
        ModelFolder.Save(model, folder);
        Weights saved = Weights.Open(folder), original = Weights.Open(Folder(name));
        Assert.Equal(original.Names.Order(), saved.Names.Order());
        foreach (var key in original.Names) Assert.True(original.Load(key).equal(saved.Load(key)).all().item<bool>(), key);
        var config = Fixtures.Json(Path.Combine(folder, "config.json"));
        foreach (var (key, value) in Fixtures.Json(Path.Combine(Folder(name), "config.json")).AsObject())
            Assert.True(key is "transformers_version" || System.Text.Json.Nodes.JsonNode.DeepEquals(value, config[key]), $"{key}: {config[key]}, was {value}");
        Directory.Delete(folder, recursive: true);
    }

    [Fact]
    public void Depths_are_those_of_the_layers()
    {
        using var scope = NewDisposeScope();
        foreach (var name in (string[])["bert-sequence-classification", "distilbert-sequence-classification", "roberta-mlm"])
        {
            using var model = ModelFolder.LoadEncoder(Folder(name));
            var depths = model.named_parameters().ToLookup(p => model.DepthOf(p.name), p => p.name);
            Assert.Equal(Enumerable.Range(0, model.LayerCount + 1), depths.Select(d => d.Key).OfType<int>().Order());
            Assert.All(depths[0], key => Assert.Contains("embeddings", key, StringComparison.Ordinal));
            Assert.All(depths[null], key => Assert.Matches("^(cls|lm_head|classifier|pre_classifier|.*pooler)\\.", key));
        }
    }

    [Fact]
    public void A_new_head_comes_onto_a_loaded_encoder_and_a_missing_layer_is_refused()
    {
        using var scope = NewDisposeScope();
        var (model, made) = ModelFolder.LoadEncoder(Folder("bert-pretraining"), EncoderHead.ForTokenClassification, seed: 1, ["O", "B-X", "I-X"]);
        using (model)
        {
            Assert.Equal(["classifier.bias", "classifier.weight"], made.Order());
            Assert.Equal(["O", "B-X", "I-X"], model.Labels);
            var original = Weights.Open(Folder("bert-pretraining"));
            foreach (var (key, parameter) in model.named_parameters().Where(p => !made.Contains(p.name))) Assert.True(original.Load(key).equal(parameter).all().item<bool>(), key);
            Assert.InRange(model.named_parameters().First(p => p.name == "classifier.weight").parameter.std().item<float>(), 0.01, 0.03);
        }
        var folder = Directory.CreateTempSubdirectory().FullName;
        var config = Fixtures.Json(Path.Combine(Folder("bert-pretraining"), "config.json")).AsObject();
        config["num_hidden_layers"] = (int)config["num_hidden_layers"]! + 1;
        File.WriteAllText(Path.Combine(folder, "config.json"), config.ToJsonString());
        File.Copy(Path.Combine(Folder("bert-pretraining"), "model.safetensors"), Path.Combine(folder, "model.safetensors"));
        Assert.Contains("encoder.layer", Assert.Throws<InvalidDataException>(() => ModelFolder.LoadEncoder(folder, EncoderHead.ForTokenClassification, seed: 1)).Message, StringComparison.Ordinal);
        Directory.Delete(folder, recursive: true);
    }

    [Theory, InlineData("bert-sequence-classification"), InlineData("bert-token-classification"), InlineData("distilbert-sequence-classification")]
    public void A_head_of_the_same_labels_in_another_order_is_taken_by_their_names(string name)
    {
        var folder = Directory.CreateTempSubdirectory().FullName;
        var config = Fixtures.Json(Path.Combine(Folder(name), "config.json")).AsObject();
        string[] own = [.. ModelConfig.LabelsOf(config).Select((_, i) => $"label-{i}")];
        File.Copy(Path.Combine(Folder(name), "model.safetensors"), Path.Combine(folder, "model.safetensors"));
        void Write(IEnumerable<string> labels)
        {
            config["id2label"] = new System.Text.Json.Nodes.JsonObject(labels.Select((l, i) => KeyValuePair.Create($"{i}", (System.Text.Json.Nodes.JsonNode?)l)));
            File.WriteAllText(Path.Combine(folder, "config.json"), config.ToJsonString());
        }
        using var scope = NewDisposeScope();
        var original = Weights.Open(folder).Load("classifier.weight");
        var head = ModelFolder.HeadOf(config);
        Tensor Loaded(IReadOnlyList<string> labels, out IReadOnlyList<string> made)
        {
            (var model, made) = ModelFolder.LoadEncoder(folder, head, seed: 1, labels);
            using (model) return model.named_parameters().First(p => p.name == "classifier.weight").parameter.clone();
        }
        Write(own);
        Assert.True(Loaded(own, out var made).equal(original).all().item<bool>());
        Assert.Empty(made);
        Assert.True(Loaded([.. own.Reverse()], out made).equal(original.flip(0)).all().item<bool>());
        Assert.Empty(made);
        Assert.False(Loaded([.. own.Select(l => "other " + l)], out made).equal(original).any().item<bool>());
        Assert.Equal(["classifier.bias", "classifier.weight"], made.Order());
        Write(own.Select((_, i) => $"LABEL_{i}"));   // no names: in order
        Assert.True(Loaded(own, out made).equal(original).all().item<bool>());
        Directory.Delete(folder, recursive: true);
    }

    [Fact]
    public void A_head_that_does_not_fit_says_which_verb_does()
    {
        Assert.Contains("lect classify", Assert.Throws<InvalidDataException>(() => ModelFolder.LoadEncoder(Folder("bert-regression"), null, EncoderHead.ForMaskedLM)).Message, StringComparison.Ordinal);
        Assert.Contains("lect tag", Assert.Throws<InvalidDataException>(() => ModelFolder.LoadClassifier(Folder("bert-token-classification"))).Message, StringComparison.Ordinal);
        Assert.Contains("lect fill-mask", Assert.Throws<InvalidDataException>(() => ModelFolder.Load(Folder("roberta-mlm"))).Message, StringComparison.Ordinal);
    }
}
