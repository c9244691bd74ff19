using System.Text.Json.Nodes;
using Lect.Models;
using Lect.Testing;
using TorchSharp;
using static TorchSharp.torch;

namespace Lect.Tests.Alignment;

/// <summary>tests/fixtures/alignment: values of TRL, PEFT and an independent float64 recomputation, with the README's tolerances on |a - b| / (1 + |b|).</summary>
internal static class AlignmentFixture
{
    public const double Values = 1e-5, Logits = 5e-5, Trajectory = 1e-4, Checksums = 3e-4, KeyBias = 2e-3;

    public static string At(params string[] parts) => Fixtures.Path_(["alignment", .. parts]);

    public static JsonNode Json(params string[] parts) => Fixtures.Json(At(parts));

    public static CausalLanguageModel Model(string name) => ModelFolder.Load(At("models", name));

    public static CausalLanguageModel Scorer(string name) => (CausalLanguageModel)ModelFolder.LoadClassifier(At("models", name));

    public static SafeTensorsFile Tensors(params string[] parts) => SafeTensorsFile.Open(At(parts));

    public static int[] Ids(JsonNode? node) => [.. node!.AsArray().Select(i => (int)i!)];

    public static double[] Numbers(JsonNode? node) => [.. node!.AsArray().Select(i => (double)i!)];

    public static void Near(double expected, double found, double tolerance, string what) =>
        Assert.True(Math.Abs(expected - found) / (1 + Math.Abs(expected)) <= tolerance, FormattableString.Invariant($"{what}: found {found:g9}, expected {expected:g9}, off by {Math.Abs(expected - found) / (1 + Math.Abs(expected)):g2}, allowed {tolerance:g2}"));

    public static void Near(IReadOnlyList<double> expected, IReadOnlyList<double> found, double tolerance, string what)
    {
        Assert.Equal(expected.Count, found.Count);
        for (var i = 0; i < expected.Count; i++) Near(expected[i], found[i], tolerance, $"{what}[{i}]");
    }

    public static double[] ToArray(Tensor t) => t.detach().to(ScalarType.Float64).flatten().contiguous().data<double>().ToArray();

    public static double GradNorm(nn.Module model) => Math.Sqrt(model.parameters().Where(p => p.grad is not null).Sum(p => p.grad!.square().sum().item<float>()));

    public static void ZeroGradients(nn.Module model)
    {
        foreach (var p in model.parameters()) p.grad = null;
    }

    public static AdamW Optimizer(IEnumerable<(string, Tensor)> parameters, double epsilon = 1e-6) => new(parameters, decay: 0, beta1: 0.9, beta2: 0.999, epsilon);

    public static IEnumerable<(string, Tensor)> Trained(nn.Module model) => model.named_parameters().Where(p => p.parameter.requires_grad).Select(p => (p.name, (Tensor)p.parameter));

    /// <summary>Steps with the fixture's optimizer; the loss before each, and the gradient's norm.</summary>
    public static void Train(nn.Module model, JsonNode expected, Func<int, Tensor> loss, string what, double rate = 1e-3)
    {
        using var optimizer = Optimizer(Trained(model));
        var (losses, norms) = (Numbers(expected["independent_float64"]!["loss"]), Numbers(expected["independent_float64"]!["grad_norm"]));
        for (var step = 0; step < losses.Length; step++)
        {
            using var scope = NewDisposeScope();
            optimizer.ZeroGradients();
            var l = loss(step);
            l.backward();
            Near(losses[step], l.item<float>(), Trajectory, $"{what}, loss of step {step}");
            Near(norms[step], optimizer.Step(rate, 1.0), Trajectory, $"{what}, norm of step {step}");
        }
    }

    /// <summary>Sums, norms and weighted sums of parameters after training.</summary>
    public static void Final(IReadOnlyDictionary<string, Tensor> found, JsonNode expected, string what)
    {
        foreach (var (key, sums) in expected.AsObject())
        {
            using var scope = NewDisposeScope();
            var x = found[key].detach().to(ScalarType.Float64).flatten();
            var tolerance = key.EndsWith("c_attn.bias", StringComparison.Ordinal) ? KeyBias : Checksums;
            Near((double)sums!["sum"]!, x.sum().item<double>(), tolerance, $"{what}: sum of {key}");
            Near((double)sums["norm"]!, x.norm().item<double>(), tolerance, $"{what}: norm of {key}");
            Near((double)sums["sin_dot"]!, (x * arange(1, x.shape[0] + 1, dtype: ScalarType.Float64).sin()).sum().item<double>(), tolerance, $"{what}: weighted sum of {key}");
        }
    }

    public static Dictionary<string, Tensor> Parameters(nn.Module model, string prefix = "") => model.named_parameters().ToDictionary(p => prefix + p.name, p => (Tensor)p.parameter);
}
