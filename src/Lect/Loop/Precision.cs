using System.Diagnostics;
using Lect.Models;
using TorchSharp;
using static TorchSharp.torch;

namespace Lect;

/// <summary>The precision of matrix products by what this machine is faster with.</summary>
public static class Precision
{
    /// <summary>fp32 or bf16; <c>auto</c> measures both on products of the model's own shape, forward and backward, casts included.</summary>
    /// <param name="asked"><c>fp32</c>, <c>bf16</c> or <c>auto</c>.</param>
    /// <param name="rows">Tokens of a micro-batch.</param>
    /// <param name="width">C.</param>
    /// <param name="inner">F.</param>
    /// <remarks>Which wins depends on the CPU: bf16 by 3.5 on a Zen 5, fp32 by 1.7 on a Xeon without AMX.</remarks>
    public static ComputeType Resolve(string asked, long rows, long width, long inner) => asked switch
    {
        "fp32" => ComputeType.Float32,
        "bf16" => ComputeType.BFloat16,
        _ => Seconds(ComputeType.BFloat16, rows, width, inner) < 0.95 * Seconds(ComputeType.Float32, rows, width, inner) ? ComputeType.BFloat16 : ComputeType.Float32,
    };

    /// <summary>As run files call it.</summary>
    public static string Name(ComputeType compute) => compute == ComputeType.BFloat16 ? "bf16" : "fp32";

    // The best of some runs within a fifth of a second: others may use the machine.
    private static double Seconds(ComputeType compute, long rows, long width, long inner)
    {
        using var scope = NewDisposeScope();
        Tensor x = randn(rows, width, requires_grad: true), w = randn(inner, width, requires_grad: true);
        var (best, all) = (double.MaxValue, Stopwatch.StartNew());
        for (var i = 0; i < 3 || (i < 50 && all.Elapsed.TotalSeconds < 0.2); i++)
        {
            using var run = NewDisposeScope();
            var watch = Stopwatch.StartNew();
            MatrixProduct.OutIn(x, w, compute).sum().backward();
            if (i > 0) best = Math.Min(best, watch.Elapsed.TotalSeconds);   // the first one warms up
        }
        return best;
    }
}
