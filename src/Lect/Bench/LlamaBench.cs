using Lect.Models;
using TorchSharp;
using static TorchSharp.torch;

namespace Lect;

/// <summary>Today's decoder beside GPT-2 of the same shape: a training step, what its own kernels gain over libtorch's operations one by one, reading a prompt.</summary>
public static class LlamaBench
{
    private const int Runs = 7;

    /// <summary>Results one by one, as they are measured.</summary>
    public static IEnumerable<BenchResult> Run(BenchShape shape)
    {
        TorchNative.Load();
        set_num_threads(shape.Threads);
        var compute = Precision.Resolve(shape.Dtype, (long)shape.Batch * shape.Seq, shape.Width, 4L * shape.Width);
        var config = (shape with { Dtype = Precision.Name(compute) }).ToJson();
        var tokens = shape.Batch * shape.Seq;
        double gpt2;
        using (var model = new Gpt2(shape.Model(shape.Seq)) { Compute = compute }) gpt2 = tokens / TrainBench.Steps(model, shape)[0];
        using (var model = new Llama(shape.Llama(shape.Seq)) { Compute = compute }) yield return BenchResult.From("llama train", config, TrainBench.Steps(model, shape), tokens, "tokens/s") with { Baseline = gpt2, Against = "GPT-2" };
        foreach (var (name, own, plain) in Kernels(tokens, shape, compute)) yield return BenchResult.From(name, config, own, 1, "calls/s") with { Baseline = 1 / plain[0], Against = "operations one by one" };
        using (var model = new Llama(shape.Llama(shape.Seq)) { Compute = compute })
        {
            model.Initialize(1);
            model.eval();
            using var ids = TrainBench.Ids(shape);
            yield return BenchResult.From("llama prefill", config, BenchResult.Seconds(Runs, () => Read(model, ids)), tokens, "tokens/s");
        }
    }

    // Seconds of each kernel forward and backward, and of the same by libtorch's operations.
    private static List<(string Name, double[] Own, double[] Plain)> Kernels(int tokens, BenchShape shape, ComputeType compute)
    {
        using var scope = NewDisposeScope();
        using var generator = Seeds.Generator(1, "bench");
        var (type, inner, d) = (compute == ComputeType.BFloat16 ? ScalarType.BFloat16 : ScalarType.Float32, LlamaConfig.InnerOf(shape.Width), shape.Width / shape.Heads);
        Tensor New(ScalarType of, params long[] sizes) => randn(sizes, generator: generator).to(of).detach().requires_grad_(true);
        double[] Seconds(Func<Tensor> forward, Tensor upstream) => BenchResult.Seconds(Runs, () =>
        {
            using var step = NewDisposeScope();
            forward().backward([upstream]);
        });
        Tensor x = New(ScalarType.Float32, tokens, shape.Width), weight = New(ScalarType.Float32, shape.Width), gx = New(type, tokens, shape.Width).detach();
        Tensor a = New(type, tokens, inner), b = New(type, tokens, inner), ga = New(type, tokens, inner).detach();
        Tensor q = New(type, 1, tokens, shape.Width), gq = New(type, 1, shape.Heads, tokens, d).detach();
        var turn = new Rotary(new(), d, tokens).At(arange(tokens).unsqueeze(0));
        return
        [
            ("rms_norm", Seconds(() => RmsNorm.Of(x, weight, 1e-6, type), gx), Seconds(() => RmsNorm.Plain(x, weight, 1e-6, type), gx)),
            ("swiglu", Seconds(() => SwiGlu.Of(a, b), ga), Seconds(() => SwiGlu.Plain(a, b), ga)),
            ("rotary", Seconds(() => Rotary.Heads(q, shape.Heads, turn), gq), Seconds(() => Rotary.HeadsPlain(q, shape.Heads, turn), gq)),
        ];
    }

    private static void Read(Llama model, Tensor ids)
    {
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        using var cache = model.NewCache(ids.shape[1]);
        model.Head(model.Hidden(ids, cache: cache).narrow(1, ids.shape[1] - 1, 1)).sum().item<float>();
    }
}
