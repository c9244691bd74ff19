using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using TorchSharp;
using static TorchSharp.torch;

namespace Lect.Models;

/// <summary>How a kernel reads and writes elements in memory; the arithmetic is fp32.</summary>
internal unsafe interface IElement
{
    static abstract int Size { get; }   // bytes
    static abstract Vector512<float> Load(void* p, long i);
    static abstract void Store(void* p, long i, Vector512<float> value);
    static abstract float Get(void* p, long i);
    static abstract void Set(void* p, long i, float value);
}

/// <summary>fp32 elements.</summary>
internal readonly unsafe struct Single32 : IElement
{
    public static int Size => 4;
    [MethodImpl(MethodImplOptions.AggressiveInlining)] public static Vector512<float> Load(void* p, long i) => Vector512.Load((float*)p + i);
    [MethodImpl(MethodImplOptions.AggressiveInlining)] public static void Store(void* p, long i, Vector512<float> value) => value.Store((float*)p + i);
    public static float Get(void* p, long i) => ((float*)p)[i];
    public static void Set(void* p, long i, float value) => ((float*)p)[i] = value;
}

/// <summary>bf16 elements: the upper half of an fp32, rounded to nearest even.</summary>
internal readonly unsafe struct Brain16 : IElement
{
    public static int Size => 2;
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> Load(void* p, long i) => (Vector512.WidenLower(Vector256.Load((ushort*)p + i).ToVector512Unsafe()) << 16).AsSingle();

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Store(void* p, long i, Vector512<float> value)
    {
        var bits = value.AsUInt32();
        var rounded = (bits + (((bits >> 16) & Vector512.Create(1u)) + Vector512.Create(0x7fffu))) >> 16;
        Vector512.Narrow(rounded, rounded).GetLower().Store((ushort*)p + i);
    }

    public static float Get(void* p, long i) => BitConverter.UInt32BitsToSingle((uint)((ushort*)p)[i] << 16);

    public static void Set(void* p, long i, float value)
    {
        var bits = BitConverter.SingleToUInt32Bits(value);
        ((ushort*)p)[i] = (ushort)((bits + ((bits >> 16) & 1) + 0x7fff) >> 16);
    }
}

/// <summary>What the kernels share.</summary>
internal static unsafe class Simd
{
    /// <summary>Floats of one vector.</summary>
    public const int Width = 16;

    /// <summary>Whether the kernels can take a tensor (made contiguous): on the CPU, fp32 or bf16.</summary>
    public static bool Takes(Tensor t) => t.device_type == DeviceType.CPU && t.dtype is ScalarType.Float32 or ScalarType.BFloat16;

    /// <summary>The address of a contiguous tensor's first element; valid while the tensor lives.</summary>
    public static void* Pointer(Tensor t)
    {
        fixed (byte* p = t.numel() * t.element_size() <= int.MaxValue ? t.bytes : t.view(-1).narrow(0, 0, 1).bytes) return p;   // native memory: it does not move
    }

    /// <summary>e^x for x &lt;= 0 with a relative error of 1e-7: range reduction by ln 2, then a polynomial of degree 5 (Cephes' expf).</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> ExpOfNegative(Vector512<float> x)
    {
        x = Vector512.Max(x, Vector512.Create(-87f));
        var n = Vector512.Round(x * Vector512.Create(1.44269504f));
        var r = Vector512.FusedMultiplyAdd(n, Vector512.Create(-0.693359375f), x);
        r = Vector512.FusedMultiplyAdd(n, Vector512.Create(2.12194440e-4f), r);
        var p = Vector512.Create(1.9875691500e-4f);
        p = Vector512.FusedMultiplyAdd(p, r, Vector512.Create(1.3981999507e-3f));
        p = Vector512.FusedMultiplyAdd(p, r, Vector512.Create(8.3334519073e-3f));
        p = Vector512.FusedMultiplyAdd(p, r, Vector512.Create(4.1665795894e-2f));
        p = Vector512.FusedMultiplyAdd(p, r, Vector512.Create(1.6666665459e-1f));
        p = Vector512.FusedMultiplyAdd(p, r, Vector512.Create(0.5f));
        p = Vector512.FusedMultiplyAdd(p, r * r, r) + Vector512<float>.One;
        return p * ((Vector512.ConvertToInt32(n) + Vector512.Create(127)) << 23).AsSingle();
    }

    /// <summary>1 / (1 + e^-z).</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> Sigmoid(Vector512<float> z)
    {
        var e = ExpOfNegative(-Vector512.Abs(z));
        var p = Vector512<float>.One / (Vector512<float>.One + e);
        return Vector512.ConditionalSelect(Vector512.GreaterThan(z, Vector512<float>.Zero), p, e * p);
    }

    /// <summary>tanh z = 2 σ(2z) - 1.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> Tanh(Vector512<float> z)
    {
        var e = ExpOfNegative(-2 * Vector512.Abs(z));
        return Vector512.CopySign((Vector512<float>.One - e) / (Vector512<float>.One + e), z);
    }

    /// <summary>The largest of a vector's elements.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float MaxLane(Vector512<float> x)
    {
        var y = Vector256.Max(x.GetLower(), x.GetUpper());
        var z = Vector128.Max(y.GetLower(), y.GetUpper());
        z = Vector128.Max(z, Vector128.Shuffle(z, Vector128.Create(2, 3, 0, 1)));
        return MathF.Max(z[0], z[1]);
    }

    /// <summary>The largest of n elements.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float Max<T>(void* x, long n) where T : struct, IElement
    {
        var max = Vector512.Create(float.NegativeInfinity);
        long i = 0;
        for (; i + Width <= n; i += Width) max = Vector512.Max(max, T.Load(x, i));
        var m = MaxLane(max);
        for (; i < n; i++) m = MathF.Max(m, T.Get(x, i));
        return m;
    }

    /// <summary>y[i] = e^(scale * x[i] - max) for n elements; gives their sum.</summary>
    public static float ExpSum<T>(void* x, long n, float scale, float max, float* y) where T : struct, IElement
    {
        Vector512<float> vs = Vector512.Create(scale), vm = Vector512.Create(-max), sum = Vector512<float>.Zero;
        long i = 0;
        for (; i + Width <= n; i += Width)
        {
            var e = ExpOfNegative(Vector512.FusedMultiplyAdd(T.Load(x, i), vs, vm));
            e.Store(y + i);
            sum += e;
        }
        var total = Vector512.Sum(sum);
        for (; i < n; i++) total += y[i] = MathF.Exp(scale * T.Get(x, i) - max);
        return total;
    }

    /// <summary>The sum of x[i] y[i] over n elements.</summary>
    public static float Dot<T>(float* x, void* y, long n) where T : struct, IElement
    {
        var sum = Vector512<float>.Zero;
        long i = 0;
        for (; i + Width <= n; i += Width) sum = Vector512.FusedMultiplyAdd(Vector512.Load(x + i), T.Load(y, i), sum);
        var all = Vector512.Sum(sum);
        for (; i < n; i++) all += x[i] * T.Get(y, i);
        return all;
    }

    /// <summary>sum[i] += factor * x[i] for n elements.</summary>
    public static void AddScaled<T>(float* sum, void* x, float factor, long n) where T : struct, IElement
    {
        long i = 0;
        for (; i + Width <= n; i += Width) Vector512.FusedMultiplyAdd(T.Load(x, i), Vector512.Create(factor), Vector512.Load(sum + i)).Store(sum + i);
        for (; i < n; i++) sum[i] += factor * T.Get(x, i);
    }

    /// <summary>The sum of n elements, in double.</summary>
    public static double Sum<T>(void* x, long n) where T : struct, IElement
    {
        const int Block = 1024;   // summed in fp32
        double sum = 0;
        long i = 0;
        while (i + Width <= n)
        {
            var part = Vector512<float>.Zero;
            for (var end = Math.Min(n, i + Block); i + Width <= end; i += Width) part += T.Load(x, i);
            sum += Vector512.Sum(part);
        }
        for (; i < n; i++) sum += T.Get(x, i);
        return sum;
    }

    /// <summary>y[i] = factor * x[i] + shift for n elements.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Scale<T>(float* x, long n, float factor, void* y, float shift = 0) where T : struct, IElement
    {
        long i = 0;
        var added = Vector512.Create(shift);
        for (; i + Width <= n; i += Width) T.Store(y, i, Vector512.FusedMultiplyAdd(Vector512.Load(x + i), Vector512.Create(factor), added));
        for (; i < n; i++) T.Set(y, i, x[i] * factor + shift);
    }
}
