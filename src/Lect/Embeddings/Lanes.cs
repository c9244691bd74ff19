using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace Lect;

/// <summary>One SIMD register: the kernels of the word vectors are written over it, once for every width and for float and double.</summary>
internal unsafe interface ILanes<TSelf, T> where TSelf : struct, ILanes<TSelf, T> where T : unmanaged
{
    /// <summary>Numbers in a register.</summary>
    static abstract int Count { get; }
    static abstract TSelf Load(T* p);
    static abstract TSelf All(T value);
    static abstract TSelf operator +(TSelf a, TSelf b);
    static abstract TSelf operator -(TSelf a, TSelf b);
    static abstract TSelf operator *(TSelf a, TSelf b);
    static abstract TSelf operator /(TSelf a, TSelf b);
    /// <summary>a b + c, fused.</summary>
    static abstract TSelf MultiplyAdd(TSelf a, TSelf b, TSelf c);
    static abstract TSelf Sqrt(TSelf a);
    static abstract TSelf Clamp(TSelf a, TSelf low, TSelf high);
    static abstract T Sum(TSelf a);
    void Store(T* p);
}

internal readonly unsafe struct Lanes512<T>(Vector512<T> v) : ILanes<Lanes512<T>, T> where T : unmanaged
{
    private readonly Vector512<T> v = v;
    public static int Count => Vector512<T>.Count;
    [MethodImpl(MethodImplOptions.AggressiveInlining)] public static Lanes512<T> Load(T* p) => new(Vector512.Load(p));
    [MethodImpl(MethodImplOptions.AggressiveInlining)] public static Lanes512<T> All(T value) => new(Vector512.Create(value));
    [MethodImpl(MethodImplOptions.AggressiveInlining)] public static Lanes512<T> operator +(Lanes512<T> a, Lanes512<T> b) => new(a.v + b.v);
    [MethodImpl(MethodImplOptions.AggressiveInlining)] public static Lanes512<T> operator -(Lanes512<T> a, Lanes512<T> b) => new(a.v - b.v);
    [MethodImpl(MethodImplOptions.AggressiveInlining)] public static Lanes512<T> operator *(Lanes512<T> a, Lanes512<T> b) => new(a.v * b.v);
    [MethodImpl(MethodImplOptions.AggressiveInlining)] public static Lanes512<T> operator /(Lanes512<T> a, Lanes512<T> b) => new(a.v / b.v);
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes512<T> MultiplyAdd(Lanes512<T> a, Lanes512<T> b, Lanes512<T> c) => typeof(T) == typeof(float)
        ? new(Vector512.FusedMultiplyAdd(a.v.AsSingle(), b.v.AsSingle(), c.v.AsSingle()).As<float, T>())
        : new(Vector512.FusedMultiplyAdd(a.v.AsDouble(), b.v.AsDouble(), c.v.AsDouble()).As<double, T>());
    [MethodImpl(MethodImplOptions.AggressiveInlining)] public static Lanes512<T> Sqrt(Lanes512<T> a) => new(Vector512.Sqrt(a.v));
    [MethodImpl(MethodImplOptions.AggressiveInlining)] public static Lanes512<T> Clamp(Lanes512<T> a, Lanes512<T> low, Lanes512<T> high) => new(Vector512.Clamp(a.v, low.v, high.v));
    [MethodImpl(MethodImplOptions.AggressiveInlining)] public static T Sum(Lanes512<T> a) => Vector256.Sum(a.v.GetLower() + a.v.GetUpper());
    [MethodImpl(MethodImplOptions.AggressiveInlining)] public void Store(T* p) => v.Store(p);
}

internal readonly unsafe struct Lanes256<T>(Vector256<T> v) : ILanes<Lanes256<T>, T> where T : unmanaged
{
    private readonly Vector256<T> v = v;
    public static int Count => Vector256<T>.Count;
    [MethodImpl(MethodImplOptions.AggressiveInlining)] public static Lanes256<T> Load(T* p) => new(Vector256.Load(p));
    [MethodImpl(MethodImplOptions.AggressiveInlining)] public static Lanes256<T> All(T value) => new(Vector256.Create(value));
    [MethodImpl(MethodImplOptions.AggressiveInlining)] public static Lanes256<T> operator +(Lanes256<T> a, Lanes256<T> b) => new(a.v + b.v);
    [MethodImpl(MethodImplOptions.AggressiveInlining)] public static Lanes256<T> operator -(Lanes256<T> a, Lanes256<T> b) => new(a.v - b.v);
    [MethodImpl(MethodImplOptions.AggressiveInlining)] public static Lanes256<T> operator *(Lanes256<T> a, Lanes256<T> b) => new(a.v * b.v);
    [MethodImpl(MethodImplOptions.AggressiveInlining)] public static Lanes256<T> operator /(Lanes256<T> a, Lanes256<T> b) => new(a.v / b.v);
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes256<T> MultiplyAdd(Lanes256<T> a, Lanes256<T> b, Lanes256<T> c) => typeof(T) == typeof(float)
        ? new(Vector256.FusedMultiplyAdd(a.v.AsSingle(), b.v.AsSingle(), c.v.AsSingle()).As<float, T>())
        : new(Vector256.FusedMultiplyAdd(a.v.AsDouble(), b.v.AsDouble(), c.v.AsDouble()).As<double, T>());
    [MethodImpl(MethodImplOptions.AggressiveInlining)] public static Lanes256<T> Sqrt(Lanes256<T> a) => new(Vector256.Sqrt(a.v));
    [MethodImpl(MethodImplOptions.AggressiveInlining)] public static Lanes256<T> Clamp(Lanes256<T> a, Lanes256<T> low, Lanes256<T> high) => new(Vector256.Clamp(a.v, low.v, high.v));
    [MethodImpl(MethodImplOptions.AggressiveInlining)] public static T Sum(Lanes256<T> a) => Vector128.Sum(a.v.GetLower() + a.v.GetUpper());
    [MethodImpl(MethodImplOptions.AggressiveInlining)] public void Store(T* p) => v.Store(p);
}

internal readonly unsafe struct Lanes128<T>(Vector128<T> v) : ILanes<Lanes128<T>, T> where T : unmanaged
{
    private readonly Vector128<T> v = v;
    public static int Count => Vector128<T>.Count;
    [MethodImpl(MethodImplOptions.AggressiveInlining)] public static Lanes128<T> Load(T* p) => new(Vector128.Load(p));
    [MethodImpl(MethodImplOptions.AggressiveInlining)] public static Lanes128<T> All(T value) => new(Vector128.Create(value));
    [MethodImpl(MethodImplOptions.AggressiveInlining)] public static Lanes128<T> operator +(Lanes128<T> a, Lanes128<T> b) => new(a.v + b.v);
    [MethodImpl(MethodImplOptions.AggressiveInlining)] public static Lanes128<T> operator -(Lanes128<T> a, Lanes128<T> b) => new(a.v - b.v);
    [MethodImpl(MethodImplOptions.AggressiveInlining)] public static Lanes128<T> operator *(Lanes128<T> a, Lanes128<T> b) => new(a.v * b.v);
    [MethodImpl(MethodImplOptions.AggressiveInlining)] public static Lanes128<T> operator /(Lanes128<T> a, Lanes128<T> b) => new(a.v / b.v);
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes128<T> MultiplyAdd(Lanes128<T> a, Lanes128<T> b, Lanes128<T> c) => typeof(T) == typeof(float)
        ? new(Vector128.FusedMultiplyAdd(a.v.AsSingle(), b.v.AsSingle(), c.v.AsSingle()).As<float, T>())
        : new(Vector128.FusedMultiplyAdd(a.v.AsDouble(), b.v.AsDouble(), c.v.AsDouble()).As<double, T>());
    [MethodImpl(MethodImplOptions.AggressiveInlining)] public static Lanes128<T> Sqrt(Lanes128<T> a) => new(Vector128.Sqrt(a.v));
    [MethodImpl(MethodImplOptions.AggressiveInlining)] public static Lanes128<T> Clamp(Lanes128<T> a, Lanes128<T> low, Lanes128<T> high) => new(Vector128.Clamp(a.v, low.v, high.v));
    [MethodImpl(MethodImplOptions.AggressiveInlining)] public static T Sum(Lanes128<T> a) => Vector128.Sum(a.v);
    [MethodImpl(MethodImplOptions.AggressiveInlining)] public void Store(T* p) => v.Store(p);
}

/// <summary>What the kernels share. Rows are padded with zeros to a multiple of <see cref="Matrix{T}.Pad"/> numbers, so that no kernel has a tail.</summary>
internal static unsafe class Lanes<V, T> where V : struct, ILanes<V, T> where T : unmanaged, IBinaryFloatingPointIeee754<T>
{
    /// <summary>sum of a[i] b[i], two chains that do not wait for each other.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static T Dot(T* a, T* b, int n)
    {
        V x = V.All(T.Zero), y = x;
        var i = 0;
        for (; i + V.Count < n; i += 2 * V.Count)
        {
            x = V.MultiplyAdd(V.Load(a + i), V.Load(b + i), x);
            y = V.MultiplyAdd(V.Load(a + i + V.Count), V.Load(b + i + V.Count), y);
        }
        if (i < n) x = V.MultiplyAdd(V.Load(a + i), V.Load(b + i), x);
        return V.Sum(x + y);
    }

    /// <summary>y[i] += x[i].</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Add(T* x, T* y, int n)
    {
        for (var i = 0; i < n; i += V.Count) (V.Load(y + i) + V.Load(x + i)).Store(y + i);
    }

    /// <summary>y[i] = factor y[i].</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Scale(T* y, T factor, int n)
    {
        var f = V.All(factor);
        for (var i = 0; i < n; i += V.Count) (V.Load(y + i) * f).Store(y + i);
    }
}

/// <summary>Numbers in native memory, aligned for the widest register; freed when it is disposed of.</summary>
internal sealed unsafe class Matrix<T> : IDisposable where T : unmanaged
{
    /// <summary>Rows are as long as a multiple of so many numbers (of any type that is used).</summary>
    public const int Pad = 16;

    private readonly nuint bytes;

    /// <param name="rows">Number of rows, zeros at first.</param>
    /// <param name="width">Numbers of a row that count.</param>
    /// <exception cref="InvalidDataException">There is no room.</exception>
    public Matrix(long rows, int width)
    {
        (Rows, Width, Stride) = (rows, width, Padded(width));
        bytes = (nuint)(rows * Stride * sizeof(T));
        try { Start = (T*)System.Runtime.InteropServices.NativeMemory.AlignedAlloc(Math.Max(64, bytes), 64); }
        catch (OutOfMemoryException e) { throw new InvalidDataException($"There is no memory for {rows} rows of {width} numbers ({(long)bytes >> 20} MB). Raise min_count, or choose a smaller size or bucket.", e); }
        GC.AddMemoryPressure((long)Math.Max(64, bytes));
        for (nuint at = 0; at < bytes; at += 1 << 30) new Span<byte>((byte*)Start + at, (int)Math.Min(1 << 30, bytes - at)).Clear();
    }

    public static int Padded(int width) => (width + Pad - 1) / Pad * Pad;
    public long Rows { get; }
    public int Width { get; }
    public int Stride { get; }
    public T* Start { get; private set; }
    public T* this[long row] => Start + row * Stride;
    public Span<T> Row(long row) => new(this[row], Width);

    public void Dispose()
    {
        if (Start is null) return;
        System.Runtime.InteropServices.NativeMemory.AlignedFree(Start);
        Start = null;
        GC.RemoveMemoryPressure((long)Math.Max(64, bytes));
    }
}

internal static unsafe class Prefetch
{
    /// <summary>Asks for a row before it is needed; nothing where the CPU has no such instruction.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Row<T>(T* row, int n) where T : unmanaged
    {
        if (!Sse.IsSupported) return;
        for (var at = (byte*)row; at < (byte*)(row + n); at += 64) Sse.Prefetch0(at);
    }
}
