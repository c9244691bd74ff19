using Lect.Models;
using static TorchSharp.torch;

namespace Lect;

/// <summary>Greedy decoding with the cache: tokens a second, and what a token costs early and late.</summary>
/// <remarks>Of GPT-2, or of a Llama of that shape.</remarks>
public static class DecodeBench
{
    /// <summary>Decodes <see cref="BenchShape.Seq"/> tokens in <see cref="BenchShape.Batch"/> rows from a prompt of one.</summary>
    /// <returns>The result, and milliseconds a token in the first and in the last quarter of the text: equal but for attention's share, where the cost is linear in length.</returns>
    /// <param name="shape">The work.</param>
    /// <param name="llama">Llama instead of GPT-2.</param>
    public static (BenchResult Result, double FirstQuarter, double LastQuarter) Run(BenchShape shape, bool llama = false)
    {
        TorchNative.Load();
        set_num_threads(shape.Threads);
        using CausalLanguageModel model = llama ? new Llama(shape.Llama(shape.Seq + 1)) : new Gpt2(shape.Model(shape.Seq + 1));
        model.Initialize(1);
        var type = shape.Dtype == "auto" ? ComputeType.Float32 : Precision.Resolve(shape.Dtype, 1, 1, 1);
        if (type == ComputeType.BFloat16) model.RoundWeights();
        model.eval();
        var prompts = Enumerable.Range(0, shape.Batch).Select(r => new[] { r }).ToList();
        var (watch, times) = (System.Diagnostics.Stopwatch.StartNew(), new List<double>());
        var seconds = BenchResult.Seconds(3, () =>
        {
            watch.Restart();
            times.Clear();
            foreach (var token in Lect.Models.Generator.Stream(model, prompts, new() { MaxNewTokens = shape.Seq })) if (token.Row == 0) times.Add(watch.Elapsed.TotalMilliseconds);
        });
        if (times.Count < 8) throw new InvalidDataException($"Found --seq {shape.Seq}. Expected at least 8, so that early and late can be told apart.");
        var quarter = times.Count / 4;
        return (BenchResult.From(llama ? "llama decode" : "decode", (shape with { Dtype = Precision.Name(type) }).ToJson(), seconds, shape.Batch * shape.Seq, "tokens/s"), times[quarter] / (quarter + 1), (times[^1] - times[^(quarter + 1)]) / quarter);
    }
}
