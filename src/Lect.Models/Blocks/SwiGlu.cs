using System.Runtime.Intrinsics;
using TorchSharp;
using static TorchSharp.torch;

namespace Lect.Models;

/// <summary>The gate of SwiGLU (Shazeer 2020, equation 6): silu(a) b, silu(a) = a σ(a), in one pass over memory each way.</summary>
/// <remarks>Shapes and dtypes (fp32, bf16) of both are alike, and are kept.</remarks>
internal static unsafe class SwiGlu
{
    /// <param name="gate">a.</param>
    /// <param name="up">b.</param>
    public static Tensor Of(Tensor gate, Tensor up) => Simd.Takes(gate) && gate.dtype == up.dtype ? Function.Run(gate, up) : Plain(gate, up);

    /// <summary>The same by libtorch's operations.</summary>
    internal static Tensor Plain(Tensor gate, Tensor up) => nn.functional.silu(gate) * up;

    private sealed class Function : KernelFunction<Function>
    {
        public override string Name => "SwiGlu";

        public override Tensor forward(autograd.AutogradContext ctx, params object[] vars)
        {
            Tensor a = ((Tensor)vars[0]).contiguous(), b = ((Tensor)vars[1]).contiguous(), y = empty_like(a);
            ctx?.save_for_backward([a, b]);
            nint pa = (nint)Simd.Pointer(a), pb = (nint)Simd.Pointer(b), py = (nint)Simd.Pointer(y);
            if (a.dtype == ScalarType.Float32) Cores.For(a.numel(), 1 << 14, (from, to) => Forward<Single32>((void*)pa, (void*)pb, (void*)py, from, to));
            else Cores.For(a.numel(), 1 << 14, (from, to) => Forward<Brain16>((void*)pa, (void*)pb, (void*)py, from, to));
            return y;
        }

        public override List<Tensor> backward(autograd.AutogradContext ctx, Tensor grad_output)
        {
            var saved = ctx.get_saved_variables();
            Tensor a = saved[0], b = saved[1], da = empty_like(a), db = empty_like(b);
            using var g = grad_output.to(a.dtype).contiguous();
            nint pa = (nint)Simd.Pointer(a), pb = (nint)Simd.Pointer(b), pg = (nint)Simd.Pointer(g), pda = (nint)Simd.Pointer(da), pdb = (nint)Simd.Pointer(db);
            if (a.dtype == ScalarType.Float32) Cores.For(a.numel(), 1 << 14, (from, to) => Backward<Single32>((void*)pa, (void*)pb, (void*)pg, (void*)pda, (void*)pdb, from, to));
            else Cores.For(a.numel(), 1 << 14, (from, to) => Backward<Brain16>((void*)pa, (void*)pb, (void*)pg, (void*)pda, (void*)pdb, from, to));
            return [da, db];
        }
    }

    private static void Forward<T>(void* a, void* b, void* y, long i, long to) where T : struct, IElement
    {
        for (; i + Simd.Width <= to; i += Simd.Width) { var v = T.Load(a, i); T.Store(y, i, v * Simd.Sigmoid(v) * T.Load(b, i)); }
        for (; i < to; i++) { var v = T.Get(a, i); T.Set(y, i, v / (1 + MathF.Exp(-v)) * T.Get(b, i)); }
    }

    // d silu = σ (1 + a (1 - σ)).
    private static void Backward<T>(void* a, void* b, void* g, void* da, void* db, long i, long to) where T : struct, IElement
    {
        for (; i + Simd.Width <= to; i += Simd.Width)
        {
            Vector512<float> v = T.Load(a, i), s = Simd.Sigmoid(v), d = T.Load(g, i);
            T.Store(da, i, d * T.Load(b, i) * s * Vector512.FusedMultiplyAdd(v, Vector512<float>.One - s, Vector512<float>.One));
            T.Store(db, i, d * v * s);
        }
        for (; i < to; i++)
        {
            float v = T.Get(a, i), s = 1 / (1 + MathF.Exp(-v)), d = T.Get(g, i);
            T.Set(da, i, d * T.Get(b, i) * s * (1 + v * (1 - s)));
            T.Set(db, i, d * v * s);
        }
    }
}
