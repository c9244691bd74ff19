using System.Runtime.Intrinsics;
using TorchSharp;
using static TorchSharp.torch;

namespace Lect.Models;

/// <summary>The precision of matrix products; everything else is fp32.</summary>
public enum ComputeType
{
    /// <summary>fp32 operands.</summary>
    Float32,

    /// <summary>Operands rounded to bf16, sums in fp32, results bf16 (what PyTorch's CPU autocast does).</summary>
    BFloat16,
}

/// <summary>y = x W + b, with the operands in the compute type and the gradient of W in fp32.</summary>
internal static class Projection
{
    /// <summary>W is [in, out], as GPT's Conv1D keeps it.</summary>
    /// <param name="x">[…, in], fp32 or bf16.</param>
    /// <param name="weight">[in, out], fp32.</param>
    /// <param name="bias">[out] or null.</param>
    /// <param name="compute">Precision; a bf16 x asks for bf16.</param>
    /// <param name="rounded">The weight in bf16 (<see cref="Round"/>): half as much to read where few rows are multiplied; null: there is none.</param>
    public static Tensor InOut(Tensor x, Tensor weight, Tensor? bias, ComputeType compute, Tensor? rounded = null) =>
        compute == ComputeType.BFloat16 ? Bf16.Run(x, false, weight, bias!)
        : FewRows.Takes(x, weight, weight.shape[0]) ? FewRows.InOut(x, rounded ?? weight, bias)
        : bias is null ? x.matmul(weight)
        : addmm(bias, x.reshape(-1, weight.shape[0]), weight, 1, 1).view([.. x.shape[..^1], weight.shape[1]]);

    /// <summary>W is [out, in], as a Linear layer keeps it: y = x Wᵀ + b.</summary>
    public static Tensor OutIn(Tensor x, Tensor weight, Tensor? bias, ComputeType compute, Tensor? rounded = null) =>
        compute == ComputeType.BFloat16 ? Bf16.Run(x, true, weight, bias!)
        : FewRows.Takes(x, weight, weight.shape[1]) ? FewRows.OutIn(x, rounded ?? weight, bias)
        : nn.functional.linear(x, weight, bias!);

    /// <summary>One input through several layers, all with biases or none; in bf16 it is rounded and multiplied once, by all weights together.</summary>
    public static Tensor[] OutIn(Tensor x, (Tensor Weight, Tensor? Bias)[] layers, ComputeType compute) =>
        compute == ComputeType.BFloat16 && layers.Length > 1 ? Bf16.Run([x, true, .. layers.Select(l => l.Weight), .. layers.Select(l => l.Bias!)]).split([.. layers.Select(l => l.Weight.shape[0])], -1)
        : [.. layers.Select(l => OutIn(x, l.Weight, l.Bias, compute))];

    /// <summary>Rounds a weight to bf16 in place, and gives it in that type too; the caller disposes it.</summary>
    public static Tensor Round(Tensor weight)
    {
        using var noGrad = no_grad();
        var rounded = weight.to(ScalarType.BFloat16).DetachFromDisposeScope();
        weight.copy_(rounded);
        return rounded;
    }

    // x, whether weights are [out, in] (several always are), the weights, a bias for each or nulls.
    private sealed class Bf16 : KernelFunction<Bf16>
    {
        public override string Name => "ProjectionBf16";

        public override Tensor forward(autograd.AutogradContext ctx, params object[] vars)
        {
            var (x, transposed, count) = ((Tensor)vars[0], (bool)vars[1], (vars.Length - 2) / 2);
            using var scope = NewDisposeScope();
            var (weights, biases) = (vars.Skip(2).Take(count).Cast<Tensor>().ToArray(), vars.Skip(2 + count).OfType<Tensor>().ToArray());
            var x_NI = x.reshape(-1, x.shape[^1]).to(ScalarType.BFloat16);
            var w = Rounded(weights);
            var w_IO = transposed ? w.t() : w;
            ctx.Save([x_NI, w], [.. weights, .. biases]);
            ctx.Keep("x", x.shape);
            ctx.Keep("float", x.dtype == ScalarType.Float32);
            ctx.Keep("transposed", transposed);
            ctx.Keep("count", count);
            var y = x_NI.mm(w_IO);
            if (biases.Length > 0) y.add_(Rounded(biases));   // of one type: half the time; addmm with a bias costs half as much again for some shapes
            return y.view([.. x.shape[..^1], w_IO.shape[1]]).MoveToOuterDisposeScope();
        }

        public override List<Tensor> backward(autograd.AutogradContext ctx, Tensor grad_output)
        {
            using var scope = NewDisposeScope();
            var saved = ctx.get_saved_variables();
            var (x_NI, w, transposed, count) = (saved[0], saved[1], (bool)ctx.get_data("transposed"), (int)ctx.get_data("count"));
            var (weights, biases) = (saved[2..(2 + count)], saved[(2 + count)..]);
            var g_NO = grad_output.reshape(-1, grad_output.shape[^1]).to(ScalarType.BFloat16);
            var dx = g_NO.mm(transposed ? w : w.t()).view((long[])ctx.get_data("x"));
            if ((bool)ctx.get_data("float")) dx = dx.to(ScalarType.Float32);
            return
            [
                dx.MoveToOuterDisposeScope(), null!,
                .. Parts(weights, () => (transposed ? g_NO.t().mm(x_NI) : x_NI.t().mm(g_NO)).to(ScalarType.Float32)),
                .. biases.Count == 0 ? Enumerable.Repeat<Tensor>(null!, count) : Parts(biases, () => ColumnSums(g_NO)),
            ];
        }

        private static Tensor Rounded(Tensor[] parts) => parts.Length == 1 ? parts[0].to(ScalarType.BFloat16) : cat([.. parts.Select(p => p.to(ScalarType.BFloat16))]);

        // Hands each parameter its rows of a gradient that is made at the first one that wants it.
        private static List<Tensor> Parts(List<Tensor> parameters, Func<Tensor> make)
        {
            Tensor? all = null;
            var (gradients, from) = (new List<Tensor>(), 0L);
            foreach (var parameter in parameters)
            {
                var start = from;
                gradients.Add(Saving.Deliver(parameter, () => parameters.Count == 1 ? make() : (all ??= make()).narrow(0, start, parameter.shape[0])));
                from += parameter.shape[0];
            }
            return gradients;
        }
    }

    // The sum of a bf16 matrix's rows, in fp32: libtorch would convert all of it first.
    private static unsafe Tensor ColumnSums(Tensor x_NO)
    {
        const int Block = 4 * Simd.Width;   // columns of which a thread keeps the sums in registers
        if (!Simd.Takes(x_NO)) return x_NO.sum([0L], type: ScalarType.Float32);
        x_NO = x_NO.contiguous();
        var (rows, columns, sums) = (x_NO.shape[0], x_NO.shape[1], empty(x_NO.shape[1]));
        nint px = (nint)Simd.Pointer(x_NO), py = (nint)Simd.Pointer(sums);
        Cores.For((columns + Block - 1) / Block, Math.Max(1, (1 << 15) / Math.Max(1, rows * Block)), (from, to) =>
        {
            var last = Math.Min(columns, to * Block);
            var c = from * Block;
            for (; c + Block <= last; c += Block)
            {
                Vector512<float> a = default, b = default, d = default, e = default;
                for (var x = (ushort*)px + c; x < (ushort*)px + rows * columns; x += columns)
                {
                    a += Brain16.Load(x, 0);
                    b += Brain16.Load(x, Simd.Width);
                    d += Brain16.Load(x, 2 * Simd.Width);
                    e += Brain16.Load(x, 3 * Simd.Width);
                }
                a.Store((float*)py + c);
                b.Store((float*)py + c + Simd.Width);
                d.Store((float*)py + c + 2 * Simd.Width);
                e.Store((float*)py + c + 3 * Simd.Width);
            }
            for (; c < last; c++)
            {
                var sum = 0f;
                for (long r = 0; r < rows; r++) sum += Brain16.Get((ushort*)px, r * columns + c);
                ((float*)py)[c] = sum;
            }
        });
        return sums;
    }
}

/// <summary>A matrix product in either precision, for who measures which is faster here.</summary>
public static class MatrixProduct
{
    /// <summary>x Wᵀ with gradients.</summary>
    /// <param name="x">[…, in].</param>
    /// <param name="weight">[out, in].</param>
    /// <param name="compute">Precision of the operands.</param>
    public static Tensor OutIn(Tensor x, Tensor weight, ComputeType compute) => Projection.OutIn(x, weight, null, compute);
}
