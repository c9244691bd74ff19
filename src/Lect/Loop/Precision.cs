using System.Diagnostics;
using Lect.Models;
using TorchSharp;
using static TorchSharp.torch;

namespace Lect;

/// <summary>The precision of matrix products by what this machine is faster with.</summary>
public static class Precision
{
    // bf16 must be clearly faster: near the border the same run would get one or the other by chance, and other weights.
    private const double WorthIt = 1.25;

    /// <summary>fp32 or bf16; <c>auto</c> measures both on products of the model's own shape, forward and backward, casts included.</summary>
    /// <param name="asked"><c>fp32</c>, <c>bf16</c> or <c>auto</c>.</param>
    /// <param name="rows">Tokens of a micro-batch.</param>
    /// <param name="width">C.</param>
    /// <param name="inner">F.</param>
    /// <remarks>Which wins depends on the CPU: bf16 by 3.5 on a Zen 5, fp32 by 1.7 on a Xeon without AMX. Two runs that are to be compared bit by bit should name their precision.</remarks>
    public static ComputeType Resolve(string asked, long rows, long width, long inner) => asked switch
    {
        "fp32" => ComputeType.Float32,
        "bf16" => ComputeType.BFloat16,
        _ => Measure(rows, width, inner) is var (fp32, bf16) && fp32 > WorthIt * bf16 ? ComputeType.BFloat16 : ComputeType.Float32,
    };

    /// <summary>As run files call it.</summary>
    public static string Name(ComputeType compute) => compute == ComputeType.BFloat16 ? "bf16" : "fp32";

    // The best of some runs of each within half a second, in turn: others may use the machine.
    private static (double Float32, double BFloat16) Measure(long rows, long width, long inner)
    {
        using var scope = NewDisposeScope();
        Tensor x = randn(rows, width, requires_grad: true), w = randn(inner, width, requires_grad: true);
        double Seconds(ComputeType compute)
        {
            using var run = NewDisposeScope();
            var watch = Stopwatch.StartNew();
            MatrixProduct.OutIn(x, w, compute).sum().backward();
            return watch.Elapsed.TotalSeconds;
        }
        var (fp32, bf16, all) = (double.MaxValue, double.MaxValue, Stopwatch.StartNew());
        for (var i = 0; i < 4 || (i < 200 && all.Elapsed.TotalSeconds < 0.5); i++)
        {
            var (a, b) = (Seconds(ComputeType.Float32), Seconds(ComputeType.BFloat16));
            if (i > 0) (fp32, bf16) = (Math.Min(fp32, a), Math.Min(bf16, b));   // the first ones warm up
        }
        return (fp32, bf16);
    }
}
