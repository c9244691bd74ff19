using System.Text.Json.Nodes;
using Lect.Testing;
using TorchSharp;
using static TorchSharp.torch;

namespace Lect.Models.Tests;

/// <summary>GPT-2 against transformers' GPT2LMHeadModel on a tiny random checkpoint, at the tolerances of fixtures/hf/README.md.</summary>
[NoTensorLeaks]
public class Gpt2Tests
{
    private static string Folder(string name) => Fixtures.Path_("hf", name);
    private static SafeTensorsFile Expected(string name) => SafeTensorsFile.Open(Path.Combine(Folder(name), "expected.safetensors"));

    [Fact]
    public void The_classifier_reads_the_last_real_token()
    {
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        using var model = ModelFolder.LoadClassifier(Folder("gpt2-sequence-classification"));
        var e = Expected("gpt2-sequence-classification");
        Near.Equal(e.Load("out.logits"), model.Scores(e.Load("in.input_ids"), e.Load("in.attention_mask")), 2e-5, 1e-5, "padded on the right");
        Near.Equal(e.Load("left.out.logits"), model.Scores(e.Load("left.in.input_ids"), e.Load("left.in.attention_mask")), 2e-5, 1e-5, "padded on the left");
        Assert.Equal(["LABEL_0", "LABEL_1", "LABEL_2"], model.Labels);
        Assert.Contains("GPT2ForSequenceClassification", Assert.Throws<InvalidDataException>(() => ModelFolder.Load(Folder("gpt2-sequence-classification"))).Message, StringComparison.Ordinal);
        Assert.Contains("GPT2LMHeadModel", Assert.Throws<InvalidDataException>(() => ModelFolder.LoadClassifier(Folder("gpt2"))).Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(false), InlineData(true)]
    public void The_fused_kernels_equal_the_plain_formulas(bool bf16)
    {
        using var scope = NewDisposeScope();
        using var generator = Seeds.Generator(1, "test");
        var type = bf16 ? ScalarType.BFloat16 : ScalarType.Float32;
        Tensor New(params long[] shape) { var t = randn(shape, generator: generator).to(type).detach(); t.requires_grad = true; return t; }
        var tolerance = bf16 ? 5e-2 : 1e-5;

        Tensor x = New(7, 53), y = Gelu.Tanh(x), plain = x.to(ScalarType.Float64).gelu(TorchSharp.Modules.GELU.Approximate.tanh), g = New(7, 53).detach();
        Near.Equal(plain, y, tolerance, tolerance, "gelu");
        Near.Equal(autograd.grad([plain], [x], [g.to(ScalarType.Float64)])[0], autograd.grad([y], [x], [g])[0], tolerance, tolerance, "gelu gradient");

        Tensor q = New(2, 3, 19, 8), k = New(2, 3, 23, 8), v = New(2, 3, 23, 8), a = Attention.ScaledDotProduct(q, k, v, null, 0.3);
        Tensor Double(Tensor t) => t.to(ScalarType.Float64);
        var probs = (Double(q).matmul(Double(k).transpose(-2, -1)) * 0.3).masked_fill(Masks.Causal(19, 23).logical_not(), double.NegativeInfinity).softmax(-1);
        var b = probs.matmul(Double(v));
        Near.Equal(b, a, tolerance, tolerance, "attention");
        var ga = New(2, 3, 19, 8).detach();
        foreach (var (want, found) in autograd.grad([b], [q, k, v], [Double(ga)]).Zip(autograd.grad([a], [q, k, v], [ga]))) Near.Equal(want, found, tolerance, tolerance, "attention gradient");

        // To the keys of a mask, some of them padding: rows shorter and longer than a vector.
        var mask = tensor(Enumerable.Range(0, 2 * 23).Select(i => i < 23 ? i < 5 : i % 23 is not (0 or 20)).ToArray()).view(2, 1, 1, 23);
        var masked = (Double(q).matmul(Double(k).transpose(-2, -1)) * 0.3).masked_fill(mask.logical_not(), double.NegativeInfinity).softmax(-1).matmul(Double(v));
        var own = Attention.ScaledDotProduct(q, k, v, mask, 0.3);
        Near.Equal(masked, own, tolerance, tolerance, "masked attention");
        foreach (var (want, found) in autograd.grad([masked], [q, k, v], [Double(ga)]).Zip(autograd.grad([own], [q, k, v], [ga]))) Near.Equal(want, found, tolerance, tolerance, "masked attention gradient");
    }

    [Theory, InlineData(false), InlineData(true)]
    public void Fused_attention_with_dropout_equals_the_plain_formula_by_the_same_key(bool bf16)
    {
        using var scope = NewDisposeScope();
        using var generator = Seeds.Generator(1, "test");
        var type = bf16 ? ScalarType.BFloat16 : ScalarType.Float32;
        Tensor New(params long[] shape) { var t = randn(shape, generator: generator).to(type).detach(); t.requires_grad = true; return t; }
        Tensor q = New(2, 3, 19, 8), k = New(2, 3, 23, 8), v = New(2, 3, 23, 8), g = New(2, 3, 19, 8).detach();
        var mask = tensor(Enumerable.Range(0, 2 * 23).Select(i => i % 23 < 20).ToArray()).view(2, 1, 1, 23);
        Dropout.Begin(5);
        var own = Attention.ScaledDotProduct(q, k, v, mask, 0.3, dropout: 0.25);
        Dropout.Begin(5);
        Assert.False(own.equal(Attention.ScaledDotProduct(q, k, v, mask, 0.3)).all().item<bool>());
        Dropout.Begin(5);
        var kept = Dropout.Mask(ones(2, 3, 19, 23), 0.25, Dropout.NextKey()).to(ScalarType.Float64);
        Tensor Double(Tensor t) => t.to(ScalarType.Float64);
        var plain = ((Double(q).matmul(Double(k).transpose(-2, -1)) * 0.3).masked_fill(mask.logical_not(), double.NegativeInfinity).softmax(-1) * kept).matmul(Double(v));
        var tolerance = bf16 ? 5e-2 : 1e-5;
        Near.Equal(plain, own, tolerance, tolerance, "attention with dropout");
        foreach (var (want, found) in autograd.grad([plain], [q, k, v], [Double(g)]).Zip(autograd.grad([own], [q, k, v], [g]))) Near.Equal(want, found, tolerance, tolerance, "its gradient");
    }

    [Theory, InlineData(false), InlineData(true)]
    public void Dropout_drops_its_share_by_its_key_and_passes_gradients_of_what_it_kept(bool bf16)
    {
        using var scope = NewDisposeScope();
        var x = ones(1000, 1003).to(bf16 ? ScalarType.BFloat16 : ScalarType.Float32).detach();
        x.requires_grad = true;
        Tensor Draw(long key) { Dropout.Begin(key); return Dropout.Apply(x, 0.2); }
        var y = Draw(7);
        var kept = y.ne(0).to(ScalarType.Float64);
        Assert.InRange(kept.mean().item<double>(), 0.798, 0.802);   // four deviations
        Assert.InRange(kept.mean([0L]).std().item<double>(), 0.011, 0.0145);   // columns vary as draws do: sqrt(0.8 * 0.2 / 1000) = 0.01265
        Assert.InRange((kept.narrow(1, 0, 1002) * kept.narrow(1, 1, 1002)).mean().item<double>(), 0.638, 0.642);   // neighbours know nothing of each other
        Near.Equal(kept * 1.25, y, 1e-2, 0, "what is kept grows");
        Assert.True(Draw(7).equal(y).all().item<bool>());
        Assert.InRange(Draw(8).ne(0).eq(y.ne(0)).to(ScalarType.Float64).mean().item<double>(), 0.678, 0.682);   // 0.8² + 0.2²
        Dropout.Begin(7);
        Assert.False(Dropout.Apply(x, 0.2).equal(Dropout.Apply(x, 0.2)).all().item<bool>());
        Near.Equal(y, autograd.grad([y], [x], [ones_like(y)])[0], 0, 0, "gradient");
    }

    [Fact]
    public void A_label_outside_the_vocabulary_is_refused_before_memory_is_touched()
    {
        using var scope = NewDisposeScope();
        using Tensor h = randn(2, 4, generator: Seeds.Generator(1, "test")), w = randn(5, 4, generator: Seeds.Generator(2, "test"));
        foreach (var label in (long[])[5, -1])
            Assert.Contains($"label {label}", Assert.ThrowsAny<Exception>(() => LinearCrossEntropy.Apply(h, w, tensor(new[] { 0, label }), 1, ComputeType.Float32)).ToString(), StringComparison.Ordinal);
    }

    [Fact]
    public void Parameters_are_counted_without_memory() =>
        Assert.Equal(124_439_808, ModelFolder.CountParameters(new JsonObject { ["model_type"] = "gpt2" }));

    [Fact]
    public void Its_keys_and_shapes_are_those_of_the_published_checkpoint()
    {
        using var scope = NewDisposeScope();
        using var model = ModelFolder.Create(new JsonObject { ["model_type"] = "gpt2" }, META);
        Approve.Text("gpt2-keys", string.Concat(model.named_parameters().Select(p => $"{p.name} [{string.Join(", ", p.parameter.shape)}]\n")));
    }

    [Fact]
    public void A_checkpoint_of_another_shape_names_the_key()
    {
        var folder = Directory.CreateTempSubdirectory().FullName;
        File.Copy(Path.Combine(Folder("gpt2"), "model.safetensors"), Path.Combine(folder, "model.safetensors"));
        var config = Fixtures.Json(Path.Combine(Folder("gpt2"), "config.json")).AsObject();
        config["n_positions"] = 7;
        File.WriteAllText(Path.Combine(folder, "config.json"), config.ToJsonString());
        Assert.Contains("wpe.weight", Assert.Throws<InvalidDataException>(() => ModelFolder.Load(folder)).Message, StringComparison.Ordinal);
        config["n_head"] = 5;
        File.WriteAllText(Path.Combine(folder, "config.json"), config.ToJsonString());
        Assert.Contains("n_head", Assert.Throws<InvalidDataException>(() => ModelFolder.Load(folder)).Message, StringComparison.Ordinal);
        Directory.Delete(folder, recursive: true);
    }
}
