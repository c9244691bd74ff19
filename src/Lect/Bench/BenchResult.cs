using System.Diagnostics;
using System.Text.Json.Nodes;
using Lect.Models;
using static TorchSharp.torch;

namespace Lect;

/// <summary>The shape of work of a benchmark of GPT-2.</summary>
public sealed record BenchShape
{
    /// <summary>N.</summary>
    public int Layers { get; init; } = 12;
    /// <summary>H.</summary>
    public int Heads { get; init; } = 12;
    /// <summary>C.</summary>
    public int Width { get; init; } = 768;
    /// <summary>V.</summary>
    public int Vocab { get; init; } = 50257;
    /// <summary>B.</summary>
    public int Batch { get; init; } = 4;
    /// <summary>T.</summary>
    public int Seq { get; init; } = 64;
    /// <summary><c>fp32</c>, <c>bf16</c> or <c>auto</c>.</summary>
    public string Dtype { get; init; } = "auto";
    /// <summary>Threads of libtorch.</summary>
    public int Threads { get; init; } = Environment.ProcessorCount;

    /// <summary>A whole configuration of that shape, without dropout.</summary>
    internal Lect.Models.Gpt2Config Model(int positions) => new() { NLayer = Layers, NHead = Heads, NEmbd = Width, VocabSize = Vocab, NPositions = positions, ResidPdrop = 0, EmbdPdrop = 0, AttnPdrop = 0, BosTokenId = null, EosTokenId = null };

    /// <summary>A Llama of that shape: as many parameters a layer as GPT-2's, tied embeddings.</summary>
    internal LlamaConfig Llama(int positions) => new() { NumHiddenLayers = Layers, NumAttentionHeads = Heads, HiddenSize = Width, IntermediateSize = LlamaConfig.InnerOf(Width), VocabSize = Vocab, MaxPositionEmbeddings = positions, TieWordEmbeddings = true, BosTokenId = null, EosTokenId = null };

    /// <summary>As benchmarks print it.</summary>
    public JsonObject ToJson() => new() { ["layers"] = Layers, ["heads"] = Heads, ["width"] = Width, ["vocab"] = Vocab, ["batch"] = Batch, ["seq"] = Seq, ["dtype"] = Dtype, ["threads"] = Threads };
}

/// <summary>What a benchmark measured. Ratios are of figures of the same run.</summary>
/// <param name="Name">Of the benchmark.</param>
/// <param name="Config">The work.</param>
/// <param name="Best">The best run's figure.</param>
/// <param name="Median">The middle run's.</param>
/// <param name="Unit">Of both.</param>
/// <param name="Runs">How many.</param>
/// <param name="Baseline">The same work done another way, best run.</param>
/// <param name="ShareOfBound">Best over what the matrix products alone would allow.</param>
public sealed record BenchResult(string Name, JsonObject Config, double Best, double Median, string Unit, int Runs, double? Baseline = null, double? ShareOfBound = null)
{
    /// <summary>What the baseline is.</summary>
    public string Against { get; init; } = "plain TorchSharp";

    /// <summary>One object with the contract's keys.</summary>
    public JsonObject ToJson()
    {
        var json = new JsonObject { ["name"] = Name, ["config"] = Config.DeepClone(), ["best"] = Best, ["median"] = Median, ["unit"] = Unit, ["runs"] = Runs };
        if (Baseline is { } baseline) (json["baseline"], json["ratio"]) = (baseline, Best / baseline);
        if (ShareOfBound is { } share) json["share_of_bound"] = share;
        return json;
    }

    /// <summary>Seconds of each run of some work, after some that warm up: kernels of our own are compiled anew once they have been called often. Short work is done more often: others may use the machine.</summary>
    internal static double[] Seconds(int runs, Action work)
    {
        var warm = Stopwatch.StartNew();
        do work(); while (warm.Elapsed.TotalSeconds < 2);
        var (seconds, all) = (new List<double>(), Stopwatch.StartNew());
        while (seconds.Count < runs || (seconds.Count < 50 && all.Elapsed.TotalSeconds < 3))
        {
            var watch = Stopwatch.StartNew();
            work();
            seconds.Add(watch.Elapsed.TotalSeconds);
        }
        return [.. seconds.Order()];
    }

    /// <summary>Seconds of every product of a training step alone, one after the other and each with operands of its own as in a step: forward, gradient of the input, gradient of the weight.</summary>
    /// <param name="compute">Precision.</param>
    /// <param name="products">x [rows, inputs] by W [outputs, inputs], so many times.</param>
    internal static double Products(ComputeType compute, params IEnumerable<(int Rows, int Inputs, int Outputs, int Times)> products)
    {
        using var noGrad = no_grad();
        using var scope = NewDisposeScope();
        var type = compute == ComputeType.BFloat16 ? ScalarType.BFloat16 : ScalarType.Float32;
        var operands = products.SelectMany(p => Enumerable.Range(0, p.Times).Select(_ => (X: randn(p.Rows, p.Inputs, dtype: type), W: randn(p.Outputs, p.Inputs, dtype: type), G: randn(p.Rows, p.Outputs, dtype: type)))).ToList();
        return Seconds(7, () =>
        {
            foreach (var (x, w, g) in operands)
            {
                using var step = NewDisposeScope();
                (_, _, _) = (x.mm(w.t()), g.mm(w), g.t().mm(x));
            }
        })[0];
    }

    /// <summary>The precisions whose products are worth timing: where a CPU has no bf16 of its own, libtorch's takes minutes for what fp32 does in a second.</summary>
    internal static IReadOnlyList<ComputeType> Candidates(string dtype) => dtype == "bf16" || Precision.Resolve("auto", 256, 256, 1024) == ComputeType.BFloat16 ? [ComputeType.Float32, ComputeType.BFloat16] : [ComputeType.Float32];

    /// <summary>A result from the times of runs that each did so many units.</summary>
    internal static BenchResult From(string name, JsonObject config, double[] seconds, double units, string unit) => new(name, config, units / seconds[0], units / seconds[seconds.Length / 2], unit, seconds.Length);
}
