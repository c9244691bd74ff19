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
        compute == ComputeType.BFloat16 ? Bf16.Run(x, weight, bias!, false)
        : FewRows.Takes(x, weight, weight.shape[0]) ? FewRows.InOut(x, rounded ?? weight, bias)
        : bias is null ? x.matmul(weight)
        : addmm(bias, x.reshape(-1, weight.shape[0]), weight, 1, 1).view([.. x.shape[..^1], weight.shape[1]]);

    /// <summary>W is [out, in], as a Linear layer keeps it: y = x Wᵀ + b.</summary>
    public static Tensor OutIn(Tensor x, Tensor weight, Tensor? bias, ComputeType compute, Tensor? rounded = null) =>
        compute == ComputeType.BFloat16 ? Bf16.Run(x, weight, bias!, true)
        : FewRows.Takes(x, weight, weight.shape[1]) ? FewRows.OutIn(x, rounded ?? weight, bias)
        : nn.functional.linear(x, weight, bias!);

    /// <summary>Rounds a weight to bf16 in place, and gives it in that type too; the caller disposes it.</summary>
    public static Tensor Round(Tensor weight)
    {
        using var noGrad = no_grad();
        var rounded = weight.to(ScalarType.BFloat16).DetachFromDisposeScope();
        weight.copy_(rounded);
        return rounded;
    }

    private sealed class Bf16 : KernelFunction<Bf16>
    {
        public override string Name => "ProjectionBf16";

        public override Tensor forward(autograd.AutogradContext ctx, params object[] vars)
        {
            var (x, weight, bias, transposed) = ((Tensor)vars[0], (Tensor)vars[1], (Tensor?)vars[2], (bool)vars[3]);
            using var scope = NewDisposeScope();
            var x_NI = x.reshape(-1, x.shape[^1]).to(ScalarType.BFloat16);
            var w = weight.to(ScalarType.BFloat16);
            var w_IO = transposed ? w.t() : w;
            ctx.Save([x_NI, w], bias is null ? [weight] : [weight, bias]);
            ctx.Keep("x", x.shape);
            ctx.Keep("float", x.dtype == ScalarType.Float32);
            ctx.Keep("transposed", transposed);
            var y = x_NI.mm(w_IO);
            if (bias is not null) y.add_(bias.to(ScalarType.BFloat16));   // of one type: half the time; addmm with a bias costs half as much again for some shapes
            return y.view([.. x.shape[..^1], w_IO.shape[1]]).MoveToOuterDisposeScope();
        }

        public override List<Tensor> backward(autograd.AutogradContext ctx, Tensor grad_output)
        {
            using var scope = NewDisposeScope();
            var saved = ctx.get_saved_variables();
            var (x_NI, w, transposed) = (saved[0], saved[1], (bool)ctx.get_data("transposed"));
            var g_NO = grad_output.reshape(-1, grad_output.shape[^1]).to(ScalarType.BFloat16);
            var dx = g_NO.mm(transposed ? w : w.t()).view((long[])ctx.get_data("x"));
            if ((bool)ctx.get_data("float")) dx = dx.to(ScalarType.Float32);
            var dw = Saving.Deliver(saved[2], () => (transposed ? g_NO.t().mm(x_NI) : x_NI.t().mm(g_NO)).to(ScalarType.Float32));
            var db = saved.Count > 3 ? Saving.Deliver(saved[3], () => g_NO.sum([0L], type: ScalarType.Float32)) : null!;
            return [dx.MoveToOuterDisposeScope(), dw, db, null!];
        }
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
