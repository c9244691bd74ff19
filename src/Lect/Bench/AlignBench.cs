using Lect.Models;
using TorchSharp;
using static TorchSharp.torch;

namespace Lect;

/// <summary>What alignment does beside pre-training: a step of an adapter beside one of all weights, and answers sampled in a batch beside one by one.</summary>
public static class AlignBench
{
    /// <summary>A training step of a Llama under LoRA (rank 8 on every projection), with the whole one's as baseline.</summary>
    /// <returns>The result, and resident megabytes after each.</returns>
    /// <param name="shape">The work.</param>
    public static (BenchResult Result, double Resident, double ResidentWhole) LoraStep(BenchShape shape)
    {
        TorchNative.Load();
        set_num_threads(shape.Threads);
        var compute = Precision.Resolve(shape.Dtype, (long)shape.Batch * shape.Seq, shape.Width, 4L * shape.Width);
        var (adapter, resident) = Steps(hasAdapter: true);
        var (whole, residentWhole) = Steps(hasAdapter: false);   // second, in a heap that the first has left
        var tokens = shape.Batch * shape.Seq;
        return (BenchResult.From("lora train", (shape with { Dtype = Precision.Name(compute) }).ToJson(), adapter, tokens, "tokens/s") with { Baseline = tokens / whole[0], Against = "all weights" }, resident, residentWhole);

        (double[] Seconds, double Resident) Steps(bool hasAdapter)
        {
            using var model = new Llama(shape.Llama(shape.Seq)) { Compute = compute };
            if (hasAdapter) Lora.Attach(model, new() { R = 8, TargetModules = "all-linear" });
            var seconds = TrainBench.Steps(model, shape);
            return (seconds, Environment.WorkingSet / 1e6);
        }
    }

    /// <summary>Answers of half <see cref="BenchShape.Seq"/> tokens to prompts of up to as many, sampled <see cref="BenchShape.Batch"/> at a time, as PPO and GRPO do; one by one as baseline.</summary>
    /// <param name="shape">The work.</param>
    public static BenchResult Sampling(BenchShape shape)
    {
        TorchNative.Load();
        set_num_threads(shape.Threads);
        using var model = new Llama(shape.Llama(shape.Seq));
        model.Initialize(1);
        model.eval();
        var (half, random) = (Math.Max(2, shape.Seq / 2), new Random(1));
        var prompts = Enumerable.Range(0, shape.Batch).Select(_ => Enumerable.Range(0, random.Next(half / 2, half)).Select(_ => random.Next(shape.Vocab)).ToArray()).ToList();
        var options = new DecodingOptions { Sample = true, MaxNewTokens = half };
        var together = BenchResult.Seconds(3, () => _ = Models.Generator.Stream(model, prompts, options).Count());
        var single = BenchResult.Seconds(1, () => prompts.ForEach(p => _ = Models.Generator.Stream(model, [p], options).Count()));
        return BenchResult.From("sampling", (shape with { Dtype = "fp32" }).ToJson(), together, shape.Batch * half, "tokens/s") with { Baseline = shape.Batch * half / single[0], Against = "one by one" };
    }
}
