using System.Runtime.Intrinsics;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace Lect.Models;

/// <summary>
/// Layer normalization (Ba et al. 2016): y = w (x - mean) / sqrt(variance + eps) + b over the last dimension; also of a sub-layer's way back into the stream, norm(residual + dropout(x)).
/// </summary>
/// <remarks>Forward and backward are one pass each over memory, sum, dropout and rounding included; libtorch's are a pass for each of these, two where types differ.</remarks>
internal sealed unsafe class LayerNorm : nn.Module
{
    private readonly Parameter weight, bias;
    private readonly double eps;

    public LayerNorm(long width, double eps, Device device) : base("LayerNorm")
    {
        (weight, bias, this.eps) = (new(ones(width, device: device)), new(zeros(width, device: device)), eps);
        RegisterComponents();
    }

    /// <param name="x">[…, C], fp32 or bf16; the arithmetic is fp32.</param>
    /// <param name="compute">bf16: the result is rounded at once to what the products behind it read.</param>
    public Tensor forward(Tensor x, ComputeType compute = ComputeType.Float32) => Of(x, weight, bias, eps, compute == ComputeType.BFloat16 ? ScalarType.BFloat16 : ScalarType.Float32);

    /// <summary>norm(residual + dropout(x)), in fp32 (Vaswani et al. 2017, section 5.4).</summary>
    /// <param name="residual">[…, C], the stream.</param>
    /// <param name="x">[…, C], fp32 or bf16: what is added to it.</param>
    /// <param name="dropout">Probability of dropping an element of x in training.</param>
    public Tensor OfSum(Tensor residual, Tensor x, double dropout) => OfSum(residual, x, training ? dropout : 0, weight, bias, eps);

    /// <summary>The norm with the result in a type asked for.</summary>
    public static Tensor Of(Tensor x, Tensor weight, Tensor bias, double eps, ScalarType type = ScalarType.Float32) =>
        Takes(x, weight) ? Function.Run(x, null!, weight, bias, (float)eps, type, 0.0, 0L)
        : nn.functional.layer_norm(x, [x.shape[^1]], weight, bias, eps) is var y && type == ScalarType.BFloat16 ? y.to(type) : y;

    /// <summary>The norm of a sum, with its dropout in any case.</summary>
    public static Tensor OfSum(Tensor residual, Tensor x, double dropout, Tensor weight, Tensor bias, double eps) =>
        Takes(x, weight) && residual.device_type == DeviceType.CPU ? Function.Run(x, residual.to(ScalarType.Float32), weight, bias, (float)eps, ScalarType.Float32, dropout, dropout > 0 ? Dropout.NextKey() : 0L)
        : nn.functional.layer_norm(residual + Dropout.Apply(x, dropout), [x.shape[^1]], weight, bias, eps);

    private static bool Takes(Tensor x, Tensor weight) => Simd.Takes(x) && weight.dtype == ScalarType.Float32;

    private sealed class Function : KernelFunction<Function>
    {
        public override string Name => "LayerNorm";

        public override Tensor forward(autograd.AutogradContext ctx, params object[] vars)
        {
            using var scope = NewDisposeScope();
            var (x, residual, weight, bias, eps, type, kept) = (((Tensor)vars[0]).contiguous(), ((Tensor?)vars[1])?.contiguous(), (Tensor)vars[2], (Tensor)vars[3], (float)vars[4], (ScalarType)vars[5], new Dropout.Kept((double)vars[6], (long)vars[7]));
            var shape = x.shape;
            var (width, y) = (shape[^1], empty(shape, dtype: type));
            var rows = x.numel() / width;
            var (h, stats) = (residual is null ? x : empty(shape), empty(rows, 2));
            void Run<TX, TY>() where TX : struct, IElement where TY : struct, IElement
            {
                nint px = (nint)Simd.Pointer(x), pr = residual is null ? 0 : (nint)Simd.Pointer(residual), ph = (nint)Simd.Pointer(h), pw = (nint)Simd.Pointer(weight), pb = (nint)Simd.Pointer(bias), ps = (nint)Simd.Pointer(stats), py = (nint)Simd.Pointer(y);
                Cores.For(rows, Math.Max(1, (1 << 14) / width), (from, to) =>
                {
                    for (var r = from; r < to; r++)
                    {
                        if (pr != 0) Dropout.AddRange<TX>((void*)px, (float*)pr, (float*)ph, r * width, (r + 1) * width, kept);
                        if (pr != 0) Forward<Single32, TY>((float*)ph + r * width, (float*)pw, (float*)pb, (float*)ps + 2 * r, (byte*)py + r * width * TY.Size, width, eps);
                        else Forward<TX, TY>((byte*)ph + r * width * TX.Size, (float*)pw, (float*)pb, (float*)ps + 2 * r, (byte*)py + r * width * TY.Size, width, eps);
                    }
                });
            }
            if (x.dtype == ScalarType.Float32 && type == ScalarType.Float32) Run<Single32, Single32>();
            else if (x.dtype == ScalarType.Float32) Run<Single32, Brain16>();
            else if (type == ScalarType.Float32) Run<Brain16, Single32>();
            else Run<Brain16, Brain16>();
            ctx.Save([h, stats], weight, bias);
            ctx.Keep("type", x.dtype);
            ctx.Keep("sum", residual is not null);
            ctx.Keep("dropout", vars[6]);
            ctx.Keep("key", vars[7]);
            return y.MoveToOuterDisposeScope();
        }

        // With n = (h - mean) r, r = 1 / sqrt(variance + eps): dh = r (w g - mean(w g) - n mean(w g n)), dw = sum over rows of g n, db of g.
        public override List<Tensor> backward(autograd.AutogradContext ctx, Tensor grad_output)
        {
            using var scope = NewDisposeScope();
            var saved = ctx.get_saved_variables();
            var (h, stats, weight, bias, g) = (saved[0], saved[1], saved[2], saved[3], grad_output.contiguous());
            var (type, isSum, kept) = ((ScalarType)ctx.get_data("type"), (bool)ctx.get_data("sum"), new Dropout.Kept((double)ctx.get_data("dropout"), (long)ctx.get_data("key")));
            var (width, rows) = (h.shape[^1], stats.shape[0]);
            var (dx, dh) = (empty(h.shape, dtype: type), isSum ? empty_like(h) : null);
            var parts = Math.Min(get_num_threads(), Math.Max(1, rows * width >> 14));
            var sums = zeros(parts, 2, width);
            void Run<TH, TX, TG>() where TH : struct, IElement where TX : struct, IElement where TG : struct, IElement
            {
                nint ph = (nint)Simd.Pointer(h), pw = (nint)Simd.Pointer(weight), ps = (nint)Simd.Pointer(stats), pg = (nint)Simd.Pointer(g), px = (nint)Simd.Pointer(dx), pd = dh is null ? 0 : (nint)Simd.Pointer(dh), pp = (nint)Simd.Pointer(sums);
                Cores.For(parts, 1, (first, last) =>
                {
                    for (var part = first; part < last; part++)
                        for (long r = rows * part / parts, end = rows * (part + 1) / parts; r < end; r++)
                            Backward<TH, TX, TG>((void*)ph, (float*)pw, (float*)ps + 2 * r, (void*)pg, (void*)px, (float*)pd, (float*)pp + part * 2 * width, r * width, width, kept);
                });
            }
            void Of<TG>() where TG : struct, IElement
            {
                if (type == ScalarType.Float32) Run<Single32, Single32, TG>();
                else if (isSum) Run<Single32, Brain16, TG>();
                else Run<Brain16, Brain16, TG>();
            }
            if (g.dtype == ScalarType.Float32) Of<Single32>(); else Of<Brain16>();
            var both = sums.sum([0L]);
            return [dx.MoveToOuterDisposeScope(), dh?.MoveToOuterDisposeScope()!, Saving.Deliver(weight, () => both[0]), Saving.Deliver(bias, () => both[1]), null!, null!, null!, null!];
        }
    }

    private static void Forward<TH, TY>(void* h, float* weight, float* bias, float* stats, void* y, long width, float eps) where TH : struct, IElement where TY : struct, IElement
    {
        var total = Vector512<float>.Zero;
        long i = 0;
        for (; i + Simd.Width <= width; i += Simd.Width) total += TH.Load(h, i);
        var sum = Vector512.Sum(total);
        for (; i < width; i++) sum += TH.Get(h, i);
        var mean = sum / width;
        var (means, squares) = (Vector512.Create(mean), Vector512<float>.Zero);
        for (i = 0; i + Simd.Width <= width; i += Simd.Width) { var d = TH.Load(h, i) - means; squares = Vector512.FusedMultiplyAdd(d, d, squares); }
        sum = Vector512.Sum(squares);
        for (; i < width; i++) { var d = TH.Get(h, i) - mean; sum += d * d; }
        var scale = 1 / MathF.Sqrt(sum / width + eps);
        (stats[0], stats[1]) = (mean, scale);
        for (i = 0; i + Simd.Width <= width; i += Simd.Width) TY.Store(y, i, Vector512.FusedMultiplyAdd((TH.Load(h, i) - means) * scale, Vector512.Load(weight + i), Vector512.Load(bias + i)));
        for (; i < width; i++) TY.Set(y, i, (TH.Get(h, i) - mean) * scale * weight[i] + bias[i]);
    }

    // A row that begins at an element: of dh all, of dx what was not dropped.
    private static void Backward<TH, TX, TG>(void* h, float* weight, float* stats, void* g, void* dx, float* dh, float* sums, long at, long width, Dropout.Kept kept) where TH : struct, IElement where TX : struct, IElement where TG : struct, IElement
    {
        h = (byte*)h + at * TH.Size;
        g = (byte*)g + at * TG.Size;
        dx = (byte*)dx + at * TX.Size;
        if (dh != null) dh += at;
        var (mean, scale) = (stats[0], stats[1]);
        float* dw = sums, db = sums + width;
        Vector512<float> means = Vector512.Create(mean), first = Vector512<float>.Zero, second = Vector512<float>.Zero;
        long i = 0;
        for (; i + Simd.Width <= width; i += Simd.Width)
        {
            Vector512<float> n = (TH.Load(h, i) - means) * scale, d = TG.Load(g, i), wd = d * Vector512.Load(weight + i);
            first += wd;
            second = Vector512.FusedMultiplyAdd(wd, n, second);
            Vector512.FusedMultiplyAdd(d, n, Vector512.Load(dw + i)).Store(dw + i);
            (d + Vector512.Load(db + i)).Store(db + i);
        }
        var (a, b) = (Vector512.Sum(first), Vector512.Sum(second));
        for (; i < width; i++)
        {
            var (n, d) = ((TH.Get(h, i) - mean) * scale, TG.Get(g, i));
            a += d * weight[i];
            b += d * weight[i] * n;
            dw[i] += d * n;
            db[i] += d;
        }
        (a, b) = (a / width, b / width);
        for (i = 0; i + Simd.Width <= width; i += Simd.Width)
        {
            var n = (TH.Load(h, i) - means) * scale;
            var d = (TG.Load(g, i) * Vector512.Load(weight + i) - Vector512.FusedMultiplyAdd(n, Vector512.Create(b), Vector512.Create(a))) * scale;
            if (dh != null) d.Store(dh + i);
            TX.Store(dx, i, kept.Of(d, at + i));
        }
        for (; i < width; i++)
        {
            var d = (TG.Get(g, i) * weight[i] - a - (TH.Get(h, i) - mean) * scale * b) * scale;
            if (dh != null) dh[i] = d;
            TX.Set(dx, i, kept.Of(d, at + i));
        }
    }
}
