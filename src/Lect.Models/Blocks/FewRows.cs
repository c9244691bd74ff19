using System.Runtime.Intrinsics;
using TorchSharp;
using static TorchSharp.torch;

namespace Lect.Models;

/// <summary>Matrix products of a few rows, as decoding makes them, summed in fp32: weights are read once, whatever the number of rows. BLAS libraries are made for many (MKL's on AMD reads them four times for four).</summary>
internal static unsafe class FewRows
{
    private const int Most = 8, Block = 4 * Simd.Width;

    /// <summary>Whether a product is one of these, and nobody will ask for its gradients.</summary>
    /// <param name="x">[…, in].</param>
    /// <param name="weight">[out, in] or [in, out], fp32.</param>
    /// <param name="inputs">in.</param>
    public static bool Takes(Tensor x, Tensor weight, long inputs) =>
        !is_grad_enabled() && x.numel() <= Most * inputs && x.dtype == ScalarType.Float32 && weight.dtype == ScalarType.Float32 && x.device_type == DeviceType.CPU && weight.is_contiguous();

    /// <summary>x Wᵀ + b, W [out, in], fp32 or bf16.</summary>
    public static Tensor OutIn(Tensor x, Tensor weight, Tensor? bias) => weight.shape is [var outputs, var inputs] ? Product(x, weight, bias, inputs, outputs, weight.dtype == ScalarType.BFloat16 ? &OutIn<Brain16> : &OutIn<Single32>) : throw new ArgumentException("Expected a matrix.", nameof(weight));

    /// <summary>x W + b, W [in, out], fp32 or bf16.</summary>
    public static Tensor InOut(Tensor x, Tensor weight, Tensor? bias) => weight.shape is [var inputs, var outputs] ? Product(x, weight, bias, inputs, outputs, weight.dtype == ScalarType.BFloat16 ? &InOut<Brain16> : &InOut<Single32>) : throw new ArgumentException("Expected a matrix.", nameof(weight));

    private static Tensor Product(Tensor x, Tensor weight, Tensor? bias, long inputs, long outputs, delegate*<float*, void*, float*, long, long, long, long, long, void> kernel)
    {
        using var scope = NewDisposeScope();
        var source = x.is_contiguous() ? x : x.contiguous();
        var shape = x.shape;
        shape[^1] = outputs;
        var y = empty(shape);
        nint px = (nint)Simd.Pointer(source), pw = (nint)Simd.Pointer(weight), py = (nint)Simd.Pointer(y);
        var rows = x.numel() / inputs;
        Cores.For((outputs + Block - 1) / Block, Math.Max(1, (1 << 17) / (Block * inputs)), (from, to) => kernel((float*)px, (void*)pw, (float*)py, rows, inputs, outputs, from * Block, Math.Min(outputs, to * Block)));
        if (bias is not null) y.add_(bias);
        return y.MoveToOuterDisposeScope();
    }

    private static void OutIn<T>(float* x, void* w, float* y, long rows, long n, long outputs, long from, long to) where T : struct, IElement
    {
        void* Row(long o) => (byte*)w + o * n * T.Size;
        long r = 0;
        for (; r + 4 <= rows; r += 4)
            for (var o = from; o < to; o++) Dots<Single32, T>(x + r * n, n, Row(o), n, y + r * outputs + o, outputs);   // four rows with one of W
        for (; r < rows; r++)
        {
            var o = from;
            for (; o + 4 <= to; o += 4) Dots<T, Single32>(Row(o), n, x + r * n, n, y + r * outputs + o, 1);   // one row with four of W
            for (; o < to; o++) y[r * outputs + o] = Simd.Dot<T>(x + r * n, Row(o), n);
        }
    }

    // The products of four rows a, each so far behind the other, with one row b.
    private static void Dots<TA, TB>(void* a, long step, void* b, long n, float* y, long apart) where TA : struct, IElement where TB : struct, IElement
    {
        Vector512<float> s0 = Vector512<float>.Zero, s1 = s0, s2 = s0, s3 = s0;
        void* a1 = (byte*)a + step * TA.Size, a2 = (byte*)a1 + step * TA.Size, a3 = (byte*)a2 + step * TA.Size;
        long i = 0;
        for (; i + Simd.Width <= n; i += Simd.Width)
        {
            var v = TB.Load(b, i);
            s0 = Vector512.FusedMultiplyAdd(TA.Load(a, i), v, s0);
            s1 = Vector512.FusedMultiplyAdd(TA.Load(a1, i), v, s1);
            s2 = Vector512.FusedMultiplyAdd(TA.Load(a2, i), v, s2);
            s3 = Vector512.FusedMultiplyAdd(TA.Load(a3, i), v, s3);
        }
        float t0 = Vector512.Sum(s0), t1 = Vector512.Sum(s1), t2 = Vector512.Sum(s2), t3 = Vector512.Sum(s3);
        for (; i < n; i++)
        {
            var v = TB.Get(b, i);
            (t0, t1, t2, t3) = (t0 + TA.Get(a, i) * v, t1 + TA.Get(a1, i) * v, t2 + TA.Get(a2, i) * v, t3 + TA.Get(a3, i) * v);
        }
        (y[0], y[apart], y[2 * apart], y[3 * apart]) = (t0, t1, t2, t3);
    }

    // W is read as it lies in memory, four of its rows at a time.
    private static void InOut<T>(float* x, void* w, float* y, long rows, long n, long outputs, long from, long to) where T : struct, IElement
    {
        void* Row(long i) => (byte*)w + i * outputs * T.Size;
        for (var r = 0; r < rows; r++) new Span<float>(y + r * outputs + from, (int)(to - from)).Clear();
        long i = 0;
        for (; i + 4 <= n; i += 4)
            for (var r = 0; r < rows; r++) AddFour<T>(x + r * n + i, Row(i), outputs, y + r * outputs, from, to);
        for (; i < n; i++)
            for (var r = 0; r < rows; r++) Simd.AddScaled<T>(y + r * outputs + from, (byte*)Row(i) + from * T.Size, x[r * n + i], to - from);
    }

    // y += x[0] w[0] + … + x[3] w[3] over columns.
    private static void AddFour<T>(float* x, void* w, long width, float* y, long o, long to) where T : struct, IElement
    {
        void* w1 = (byte*)w + width * T.Size, w2 = (byte*)w1 + width * T.Size, w3 = (byte*)w2 + width * T.Size;
        Vector512<float> x0 = Vector512.Create(x[0]), x1 = Vector512.Create(x[1]), x2 = Vector512.Create(x[2]), x3 = Vector512.Create(x[3]);
        for (; o + Simd.Width <= to; o += Simd.Width)
        {
            var sum = Vector512.FusedMultiplyAdd(T.Load(w, o), x0, Vector512.Load(y + o));
            sum = Vector512.FusedMultiplyAdd(T.Load(w1, o), x1, sum);
            sum = Vector512.FusedMultiplyAdd(T.Load(w2, o), x2, sum);
            Vector512.FusedMultiplyAdd(T.Load(w3, o), x3, sum).Store(y + o);
        }
        for (; o < to; o++) y[o] += x[0] * T.Get(w, o) + x[1] * T.Get(w1, o) + x[2] * T.Get(w2, o) + x[3] * T.Get(w3, o);
    }
}
