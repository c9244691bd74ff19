using System.Runtime.Intrinsics;
using TorchSharp;
using static TorchSharp.torch;

namespace Lect.Models;

/// <summary>Matrix products of a few rows in fp32, as decoding makes them: weights are read once, whatever the number of rows. BLAS libraries are made for many (MKL's on AMD reads them four times for four).</summary>
internal static unsafe class FewRows
{
    private const int Most = 8, Block = 4 * Simd.Width;

    /// <summary>Whether a product is one of these, and nobody will ask for its gradients.</summary>
    /// <param name="x">[…, in].</param>
    /// <param name="weight">[out, in] or [in, out].</param>
    /// <param name="inputs">in.</param>
    public static bool Takes(Tensor x, Tensor weight, long inputs) =>
        !is_grad_enabled() && x.numel() <= Most * inputs && x.dtype == ScalarType.Float32 && weight.dtype == ScalarType.Float32 && x.device_type == DeviceType.CPU && weight.is_contiguous();

    /// <summary>x Wᵀ + b, W [out, in].</summary>
    public static Tensor OutIn(Tensor x, Tensor weight, Tensor? bias) => Product(x, weight, bias, weight.shape[1], weight.shape[0], &OutIn);

    /// <summary>x W + b, W [in, out].</summary>
    public static Tensor InOut(Tensor x, Tensor weight, Tensor? bias) => Product(x, weight, bias, weight.shape[0], weight.shape[1], &InOut);

    private static Tensor Product(Tensor x, Tensor weight, Tensor? bias, long inputs, long outputs, delegate*<float*, float*, float*, long, long, long, long, long, void> kernel)
    {
        using var scope = NewDisposeScope();
        var source = x.is_contiguous() ? x : x.contiguous();
        var shape = x.shape;
        shape[^1] = outputs;
        var y = empty(shape);
        nint px = (nint)Simd.Pointer(source), pw = (nint)Simd.Pointer(weight), py = (nint)Simd.Pointer(y);
        var rows = x.numel() / inputs;
        Cores.For((outputs + Block - 1) / Block, Math.Max(1, (1 << 17) / (Block * inputs)), (from, to) => kernel((float*)px, (float*)pw, (float*)py, rows, inputs, outputs, from * Block, Math.Min(outputs, to * Block)));
        if (bias is not null) y.add_(bias);
        return y.MoveToOuterDisposeScope();
    }

    private static void OutIn(float* x, float* w, float* y, long rows, long n, long outputs, long from, long to)
    {
        long r = 0;
        for (; r + 4 <= rows; r += 4)
            for (var o = from; o < to; o++) Dots(x + r * n, n, w + o * n, 0, n, y + r * outputs + o, outputs);   // four rows with one of W
        for (; r < rows; r++)
        {
            var o = from;
            for (; o + 4 <= to; o += 4) Dots(w + o * n, n, x + r * n, 0, n, y + r * outputs + o, 1);   // one row with four of W
            for (; o < to; o++) y[r * outputs + o] = Simd.Dot<Single32>(x + r * n, w + o * n, n);
        }
    }

    // The products of four rows a, a + step, … with one row b.
    private static void Dots(float* a, long step, float* b, long i, long n, float* y, long apart)
    {
        Vector512<float> s0 = Vector512<float>.Zero, s1 = s0, s2 = s0, s3 = s0;
        float* a1 = a + step, a2 = a1 + step, a3 = a2 + step;
        for (; i + Simd.Width <= n; i += Simd.Width)
        {
            var v = Vector512.Load(b + i);
            s0 = Vector512.FusedMultiplyAdd(Vector512.Load(a + i), v, s0);
            s1 = Vector512.FusedMultiplyAdd(Vector512.Load(a1 + i), v, s1);
            s2 = Vector512.FusedMultiplyAdd(Vector512.Load(a2 + i), v, s2);
            s3 = Vector512.FusedMultiplyAdd(Vector512.Load(a3 + i), v, s3);
        }
        float t0 = Vector512.Sum(s0), t1 = Vector512.Sum(s1), t2 = Vector512.Sum(s2), t3 = Vector512.Sum(s3);
        for (; i < n; i++) (t0, t1, t2, t3) = (t0 + a[i] * b[i], t1 + a1[i] * b[i], t2 + a2[i] * b[i], t3 + a3[i] * b[i]);
        (y[0], y[apart], y[2 * apart], y[3 * apart]) = (t0, t1, t2, t3);
    }

    // W is read as it lies in memory, four of its rows at a time.
    private static void InOut(float* x, float* w, float* y, long rows, long n, long outputs, long from, long to)
    {
        for (var r = 0; r < rows; r++) new Span<float>(y + r * outputs + from, (int)(to - from)).Clear();
        long i = 0;
        for (; i + 4 <= n; i += 4)
            for (var r = 0; r < rows; r++) AddFour(x + r * n + i, w + i * outputs, outputs, y + r * outputs, from, to);
        for (; i < n; i++)
            for (var r = 0; r < rows; r++) Simd.AddScaled<Single32>(y + r * outputs + from, w + i * outputs + from, x[r * n + i], to - from);
    }

    // y += x[0] w[0] + … + x[3] w[3] over columns.
    private static void AddFour(float* x, float* w, long width, float* y, long o, long to)
    {
        float* w1 = w + width, w2 = w1 + width, w3 = w2 + width;
        Vector512<float> x0 = Vector512.Create(x[0]), x1 = Vector512.Create(x[1]), x2 = Vector512.Create(x[2]), x3 = Vector512.Create(x[3]);
        for (; o + Simd.Width <= to; o += Simd.Width)
        {
            var sum = Vector512.FusedMultiplyAdd(Vector512.Load(w + o), x0, Vector512.Load(y + o));
            sum = Vector512.FusedMultiplyAdd(Vector512.Load(w1 + o), x1, sum);
            sum = Vector512.FusedMultiplyAdd(Vector512.Load(w2 + o), x2, sum);
            Vector512.FusedMultiplyAdd(Vector512.Load(w3 + o), x3, sum).Store(y + o);
        }
        for (; o < to; o++) y[o] += x[0] * w[o] + x[1] * w1[o] + x[2] * w2[o] + x[3] * w3[o];
    }
}
