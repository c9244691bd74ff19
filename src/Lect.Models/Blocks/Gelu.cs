using System.Runtime.Intrinsics;
using TorchSharp;
using static TorchSharp.torch;

namespace Lect.Models;

/// <summary>The non-linearities that published configurations name.</summary>
internal static class Activations
{
    /// <summary><c>gelu</c> (erf), <c>gelu_new</c>, <c>gelu_fast</c> and <c>gelu_pytorch_tanh</c> (tanh form), <c>relu</c>, <c>silu</c>; null for any other name.</summary>
    public static Func<Tensor, Tensor>? Of(string name) => name switch { "gelu" => x => x.gelu(), "gelu_new" or "gelu_fast" or "gelu_pytorch_tanh" => Gelu.Tanh, "relu" => x => x.relu(), "silu" or "swish" => x => x.silu(), _ => null };
}

/// <summary>
/// The tanh form of GELU (Hendrycks and Gimpel 2016, section 2; GPT's gelu_new): 0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))),
/// which equals x * sigmoid(2u) for that u.
/// </summary>
/// <remarks>libtorch computes it five times slower than its erf form; this kernel is bound by memory. Shape and dtype (fp32, bf16) are kept.</remarks>
internal static unsafe class Gelu
{
    private const float A = 1.5957691216f, B = 0.0713548162726f;   // 2u = x (A + B x^2), A = 2 sqrt(2/pi), B = A * 0.044715

    public static Tensor Tanh(Tensor x) => Simd.Takes(x) ? Function.Run(x) : x.gelu(TorchSharp.Modules.GELU.Approximate.tanh);

    private sealed class Function : KernelFunction<Function>
    {
        public override string Name => "GeluTanh";

        public override Tensor forward(autograd.AutogradContext ctx, params object[] vars)
        {
            var x = ((Tensor)vars[0]).contiguous();
            ctx?.save_for_backward([x]);
            var y = empty_like(x);
            if (x.dtype == ScalarType.Float32) Forward<Single32>(x, y); else Forward<Brain16>(x, y);
            return y;
        }

        public override List<Tensor> backward(autograd.AutogradContext ctx, Tensor grad_output)
        {
            var x = ctx.get_saved_variables()[0];
            var g = grad_output.to(x.dtype).contiguous();
            var dx = empty_like(x);
            if (x.dtype == ScalarType.Float32) Backward<Single32>(x, g, dx); else Backward<Brain16>(x, g, dx);
            return [dx];
        }
    }

    private static void Forward<T>(Tensor x, Tensor y) where T : struct, IElement
    {
        nint px = (nint)Simd.Pointer(x), py = (nint)Simd.Pointer(y);
        Cores.For(x.numel(), 1 << 15, (from, to) => ForwardRange<T>((void*)px, (void*)py, from, to));
    }

    private static void Backward<T>(Tensor x, Tensor g, Tensor dx) where T : struct, IElement
    {
        nint px = (nint)Simd.Pointer(x), pg = (nint)Simd.Pointer(g), pd = (nint)Simd.Pointer(dx);
        Cores.For(x.numel(), 1 << 15, (from, to) => BackwardRange<T>((void*)px, (void*)pg, (void*)pd, from, to));
    }

    private static void ForwardRange<T>(void* x, void* y, long i, long to) where T : struct, IElement
    {
        for (; i + Simd.Width <= to; i += Simd.Width)
        {
            var v = T.Load(x, i);
            T.Store(y, i, v * Simd.Sigmoid(v * Vector512.FusedMultiplyAdd(v * v, Vector512.Create(B), Vector512.Create(A))));
        }
        for (; i < to; i++) { var v = T.Get(x, i); T.Set(y, i, v / (1 + MathF.Exp(-v * (A + B * v * v)))); }
    }

    private static void BackwardRange<T>(void* x, void* g, void* dx, long i, long to) where T : struct, IElement
    {
        for (; i + Simd.Width <= to; i += Simd.Width)
        {
            Vector512<float> v = T.Load(x, i), v2 = v * v;
            var s = Simd.Sigmoid(v * Vector512.FusedMultiplyAdd(v2, Vector512.Create(B), Vector512.Create(A)));
            var slope = Vector512.FusedMultiplyAdd(v2, Vector512.Create(3 * B), Vector512.Create(A));   // d(2u)/dx
            T.Store(dx, i, T.Load(g, i) * Vector512.FusedMultiplyAdd(v * slope, s * (Vector512<float>.One - s), s));
        }
        for (; i < to; i++)
        {
            var v = T.Get(x, i);
            var s = 1 / (1 + MathF.Exp(-v * (A + B * v * v)));
            T.Set(dx, i, T.Get(g, i) * (s + v * (A + 3 * B * v * v) * s * (1 - s)));
        }
    }
}
