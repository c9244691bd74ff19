using Lect.Testing;
using TorchSharp;
using static TorchSharp.torch;

namespace Lect.Models.Tests;

/// <summary>The fused output layer and loss against PyTorch's cross_entropy (fixtures/training/README.md).</summary>
[NoTensorLeaks]
public class LinearCrossEntropyTests
{
    private static SafeTensorsFile Open(string name) => SafeTensorsFile.Open(Fixtures.Path_("training", name + ".safetensors"));

    private static double LossOf(string name) => (double)Fixtures.Json(Fixtures.Path_("training", "cross_entropy.json")).AsArray().First(c => (string)c!["name"]! == name)!["loss"]!;

    // With the identity as weight, activations are the logits.
    private static Tensor Apply(Tensor logits, Tensor gold, double scale) => LinearCrossEntropy.Apply(logits, eye(logits.shape[1], dtype: ScalarType.Float32), gold, scale, ComputeType.Float32);

    [Fact]
    public void Of_no_labels_it_is_nothing_and_has_no_gradient()
    {
        using var scope = NewDisposeScope();
        var h = randn(3, 4, requires_grad: true);
        var w = randn(5, 4, requires_grad: true);
        var loss = LinearCrossEntropy.Apply(h.narrow(0, 0, 0), w, empty(0, dtype: ScalarType.Int64), 1, ComputeType.Float32);
        loss.backward();
        Assert.Equal(0, loss.item<float>());
        Assert.Equal(0, h.grad!.abs().sum().item<float>());
    }

    [Theory, InlineData("mean", 5), InlineData("sum", 1)]
    public void Loss_and_gradient_equal_PyTorch(string name, int labels)
    {
        using var scope = NewDisposeScope();
        var e = Open("cross_entropy");
        var logits = e.Load("logits").clone().requires_grad_(true);
        Assert.Equal(5, e.Load("gold").ne(-100).sum().item<long>());
        var loss = Apply(logits, e.Load("gold"), 1.0 / labels);
        loss.backward();
        Near.Equal(LossOf(name), loss.item<float>(), 1e-5 * LossOf(name), name);
        Near.Equal(e.Load(name + ".grad"), logits.grad!, 1e-7, 1e-5, name + " gradient");
    }

    [Fact]
    public void Micro_batches_are_averaged_over_tokens_as_PyTorch_does()
    {
        using var scope = NewDisposeScope();
        var e = Open("accumulation");
        var json = Fixtures.Json(Fixtures.Path_("training", "accumulation.json"));
        Tensor embedding = e.Load("embedding").clone().requires_grad_(true), head = e.Load("head").clone().requires_grad_(true);
        var tokens = json["tokens"]!.AsArray().Sum(t => (long)t!);
        double loss = 0;
        for (var i = 0; i < 3; i++)
        {
            var h = embedding[e.Load($"in.{i}.ids")].tanh().reshape(-1, 5);
            var part = LinearCrossEntropy.Apply(h, head, e.Load($"in.{i}.gold").reshape(-1), 1.0 / tokens, ComputeType.Float32);
            part.backward();
            loss += part.item<float>();
        }
        Near.Equal((double)json["loss"]!, loss, 1e-6, "loss");
        Near.Equal(e.Load("out.grad.embedding"), embedding.grad!, 1e-6, 0, "embedding");
        Near.Equal(e.Load("out.grad.head"), head.grad!, 1e-6, 0, "head");
    }

    [Fact]
    public void Ignored_labels_alone_give_nothing()
    {
        using var scope = NewDisposeScope();
        var logits = Open("cross_entropy").Load("logits").clone().requires_grad_(true);
        var loss = Apply(logits, full([7], -100, dtype: ScalarType.Int64), 1);
        loss.backward();
        Assert.Equal(0, loss.item<float>());
        Assert.Equal(0, logits.grad!.abs().sum().item<float>());
    }

    [Fact]
    public void Extreme_logits_do_not_overflow()
    {
        using var scope = NewDisposeScope();
        Near.Equal(LossOf("extreme_logits"), Apply(tensor(new float[] { 1000, -1000, 999 }).unsqueeze(0), tensor(new long[] { 1 }), 1).item<float>(), 1e-2, "loss");
    }

    [Fact]
    public void A_label_outside_the_vocabulary_is_refused()
    {
        using var scope = NewDisposeScope();
        using var logits = zeros(1, 3);
        Assert.Contains("label 3", Assert.Throws<ArgumentOutOfRangeException>(() => Apply(logits, tensor(new long[] { 3 }), 1)).Message, StringComparison.Ordinal);
    }
}
