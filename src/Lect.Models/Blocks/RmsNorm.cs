using System.Runtime.Intrinsics;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace Lect.Models;

/// <summary>
/// Root-mean-square normalization (Zhang and Sennrich 2019, equation 4): y = w x / sqrt(mean(x²) + eps) over the last dimension; no mean is taken away, no bias added.
/// </summary>
/// <remarks>Forward and backward are one pass each over memory; libtorch's is six operations, each with its result in memory.</remarks>
internal sealed unsafe class RmsNorm : nn.Module
{
    private readonly Parameter weight;
    private readonly double eps;

    public RmsNorm(long width, double eps, Device device) : base("RmsNorm")
    {
        (weight, this.eps) = (new(ones(width, device: device)), eps);
        RegisterComponents();
    }

    /// <param name="x">[…, C], fp32 or bf16; the arithmetic is fp32.</param>
    /// <param name="compute">bf16: the result is rounded at once to what the products behind it read.</param>
    public Tensor forward(Tensor x, ComputeType compute = ComputeType.Float32) => Of(x, weight, eps, compute == ComputeType.BFloat16 ? ScalarType.BFloat16 : x.dtype);

    /// <summary>The formula, with the result in a type asked for.</summary>
    public static Tensor Of(Tensor x, Tensor weight, double eps, ScalarType type)
    {
        return Simd.Takes(x) && type is ScalarType.Float32 or ScalarType.BFloat16 ? Function.Run(x, weight, (float)eps, type) : Plain(x, weight, eps, type);
    }

    /// <summary>The same by libtorch's operations.</summary>
    internal static Tensor Plain(Tensor x, Tensor weight, double eps, ScalarType type)
    {
        var wide = x.to(ScalarType.Float32);
        return (weight * (wide * (wide.square().mean([-1L], keepdim: true) + eps).rsqrt()).to(x.dtype)).to(type);
    }

    private sealed class Function : KernelFunction<Function>
    {
        public override string Name => "RmsNorm";

        public override Tensor forward(autograd.AutogradContext ctx, params object[] vars)
        {
            using var scope = NewDisposeScope();
            var (x, weight, eps, type) = (((Tensor)vars[0]).contiguous(), (Tensor)vars[1], (float)vars[2], (ScalarType)vars[3]);
            var shape = x.shape;
            var (width, y) = (shape[^1], empty(shape, dtype: type));
            var (rows, scales) = (x.numel() / width, empty(x.numel() / width));
            void Run<TX, TY>() where TX : struct, IElement where TY : struct, IElement
            {
                nint px = (nint)Simd.Pointer(x), pw = (nint)Simd.Pointer(weight), ps = (nint)Simd.Pointer(scales), py = (nint)Simd.Pointer(y);
                Cores.For(rows, Math.Max(1, (1 << 14) / width), (from, to) => Forward<TX, TY>(px, (float*)pw, (float*)ps, py, from, to, width, eps));
            }
            if (x.dtype == ScalarType.Float32 && type == ScalarType.Float32) Run<Single32, Single32>();
            else if (x.dtype == ScalarType.Float32) Run<Single32, Brain16>();
            else if (type == ScalarType.Float32) Run<Brain16, Single32>();
            else Run<Brain16, Brain16>();
            ctx.Save([scales, x], weight);
            return y.MoveToOuterDisposeScope();
        }

        // With r = 1 / sqrt(mean(x²) + eps): dx = r (w g - x r² mean(x w g)), dw = sum over rows of g x r.
        public override List<Tensor> backward(autograd.AutogradContext ctx, Tensor grad_output)
        {
            using var scope = NewDisposeScope();
            var saved = ctx.get_saved_variables();
            var (scales, x, weight, g) = (saved[0], saved[1], saved[2], grad_output.contiguous());
            var (width, dx) = (x.shape[^1], empty_like(x));
            var parts = Math.Min(get_num_threads(), Math.Max(1, scales.numel() * width >> 14));
            var dw = zeros(parts, width);
            void Run<TX, TG>() where TX : struct, IElement where TG : struct, IElement
            {
                nint px = (nint)Simd.Pointer(x), pw = (nint)Simd.Pointer(weight), ps = (nint)Simd.Pointer(scales), pg = (nint)Simd.Pointer(g), pd = (nint)Simd.Pointer(dx), pdw = (nint)Simd.Pointer(dw);
                Cores.For(parts, 1, (first, last) =>
                {
                    for (var part = first; part < last; part++) Backward<TX, TG>(px, (float*)pw, (float*)ps, pg, pd, (float*)pdw + part * width, scales.numel() * part / parts, scales.numel() * (part + 1) / parts, width);
                });
            }
            if (x.dtype == ScalarType.Float32 && g.dtype == ScalarType.Float32) Run<Single32, Single32>();
            else if (x.dtype == ScalarType.Float32) Run<Single32, Brain16>();
            else if (g.dtype == ScalarType.Float32) Run<Brain16, Single32>();
            else Run<Brain16, Brain16>();
            return [dx.MoveToOuterDisposeScope(), Saving.Deliver(weight, () => dw.sum([0L])), null!, null!];
        }
    }

    private static void Forward<TX, TY>(nint x, float* weight, float* scales, nint y, long from, long to, long width, float eps) where TX : struct, IElement where TY : struct, IElement
    {
        for (var r = from; r < to; r++)
        {
            void* row = (byte*)x + r * width * TX.Size, result = (byte*)y + r * width * TY.Size;
            var squares = Vector512<float>.Zero;
            long i = 0;
            for (; i + Simd.Width <= width; i += Simd.Width) { var v = TX.Load(row, i); squares = Vector512.FusedMultiplyAdd(v, v, squares); }
            var sum = Vector512.Sum(squares);
            for (; i < width; i++) { var v = TX.Get(row, i); sum += v * v; }
            var scale = scales[r] = 1 / MathF.Sqrt(sum / width + eps);
            for (i = 0; i + Simd.Width <= width; i += Simd.Width) TY.Store(result, i, Vector512.Load(weight + i) * (TX.Load(row, i) * scale));
            for (; i < width; i++) TY.Set(result, i, weight[i] * (TX.Get(row, i) * scale));
        }
    }

    private static void Backward<TX, TG>(nint x, float* weight, float* scales, nint g, nint dx, float* dw, long from, long to, long width) where TX : struct, IElement where TG : struct, IElement
    {
        for (var r = from; r < to; r++)
        {
            void* row = (byte*)x + r * width * TX.Size, grad = (byte*)g + r * width * TG.Size, result = (byte*)dx + r * width * TX.Size;
            var scale = scales[r];
            var dots = Vector512<float>.Zero;
            long i = 0;
            for (; i + Simd.Width <= width; i += Simd.Width)
            {
                Vector512<float> v = TX.Load(row, i), d = TG.Load(grad, i);
                dots = Vector512.FusedMultiplyAdd(v, d * Vector512.Load(weight + i), dots);
                Vector512.FusedMultiplyAdd(v * scale, d, Vector512.Load(dw + i)).Store(dw + i);
            }
            var dot = Vector512.Sum(dots);
            for (; i < width; i++) { var (v, d) = (TX.Get(row, i), TG.Get(grad, i)); dot += v * d * weight[i]; dw[i] += v * scale * d; }
            var back = -dot * scale * scale * scale / width;
            for (i = 0; i + Simd.Width <= width; i += Simd.Width) TX.Store(result, i, Vector512.FusedMultiplyAdd(TX.Load(row, i), Vector512.Create(back), TG.Load(grad, i) * Vector512.Load(weight + i) * scale));
            for (; i < width; i++) TX.Set(result, i, TX.Get(row, i) * back + TG.Get(grad, i) * weight[i] * scale);
        }
    }
}
