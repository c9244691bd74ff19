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
        foreach (var (name, own, plain) in Blocks.Of(tokens, shape.Heads, shape.Width, shape.Llama(1).IntermediateSize, compute))
            yield return BenchResult.From(name, config, BenchResult.Seconds(Runs, own), 1, "calls/s") with { Baseline = 1 / BenchResult.Seconds(Runs, plain)[0], Against = "operations one by one" };
        using (var model = new Llama(shape.Llama(shape.Seq)) { Compute = compute })
        {
            model.Initialize(1);
            model.eval();
            using var ids = TrainBench.Ids(shape);
            yield return BenchResult.From("llama prefill", config, BenchResult.Seconds(Runs, () => Read(model, ids)), tokens, "tokens/s");
        }
    }

    private static void Read(Llama model, Tensor ids)
    {
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        using var cache = model.NewCache(ids.shape[1]);
        model.Head(model.Hidden(ids, cache: cache).narrow(1, ids.shape[1] - 1, 1)).sum().Number();
    }
}
