using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using TorchSharp;
using static TorchSharp.torch;

namespace Lect.Models;

/// <summary>
/// Dropout (Srivastava et al. 2014), which does nothing where the module is not training or the probability is 0. Which elements go is a function of (key, call, element): nothing is
/// kept for the backward pass, all cores work, and a run that is resumed drops the same ones. libtorch's own draws one by one, a quarter of a small Transformer's step.
/// </summary>
internal static unsafe class Dropout
{
    [ThreadStatic]
    private static (long Key, long Calls) t_stream;

    /// <summary>Begins the stream of a forward pass on this thread.</summary>
    /// <param name="key">Of <see cref="Seeds.For"/>.</param>
    public static void Begin(long key) => t_stream = (key, 0);

    /// <param name="module">Whose mode counts.</param>
    /// <param name="x">Activations.</param>
    /// <param name="probability">Of each to become 0; the others grow by 1 / (1 - probability).</param>
    public static Tensor Drop(this nn.Module module, Tensor x, double probability) => module.training ? Apply(x, probability) : x;

    /// <summary>Drops in any case.</summary>
    public static Tensor Apply(Tensor x, double probability)
    {
        if (probability == 0) return x;
        var key = NextKey();
        return Simd.Takes(x) ? Function.Run(x, probability, key) : nn.functional.dropout(x, probability, training: true);
    }

    /// <summary>A sub-layer's way back into the residual stream, residual + dropout(x), in the residual's type (Vaswani et al. 2017, section 5.4): one pass forward, one backward.</summary>
    /// <param name="module">Whose mode counts.</param>
    /// <param name="residual">The stream.</param>
    /// <param name="x">What is added, of the same shape, fp32 or bf16.</param>
    /// <param name="probability">Of each element of x to become 0 in training; the others grow.</param>
    public static Tensor AddDropped(this nn.Module module, Tensor residual, Tensor x, double probability)
    {
        if (!module.training) probability = 0;
        if (!Simd.Takes(x) || residual.device_type != DeviceType.CPU || residual.dtype != ScalarType.Float32 || (probability == 0 && x.dtype == ScalarType.Float32)) return residual + Apply(x, probability);
        return SumFunction.Run(residual, x, probability, probability > 0 ? NextKey() : 0L);
    }

    /// <summary>Key of the next call on this thread.</summary>
    public static long NextKey() => Seeds.For(t_stream.Key, "dropout", ++t_stream.Calls);

    private sealed class Function : KernelFunction<Function>
    {
        public override string Name => "Dropout";

        public override Tensor forward(autograd.AutogradContext ctx, params object[] vars)
        {
            ctx.Keep("probability", vars[1]);
            ctx.Keep("key", vars[2]);
            return Mask((Tensor)vars[0], (double)vars[1], (long)vars[2]);
        }

        public override List<Tensor> backward(autograd.AutogradContext ctx, Tensor grad_output) => [Mask(grad_output, (double)ctx.get_data("probability"), (long)ctx.get_data("key")), null!, null!];
    }

    private sealed class SumFunction : KernelFunction<SumFunction>
    {
        public override string Name => "AddDropped";

        public override Tensor forward(autograd.AutogradContext ctx, params object[] vars)
        {
            using var scope = NewDisposeScope();
            var (residual, x, kept) = (((Tensor)vars[0]).contiguous(), ((Tensor)vars[1]).contiguous(), new Kept((double)vars[2], (long)vars[3]));
            ctx.Keep("type", x.dtype);
            ctx.Keep("probability", vars[2]);
            ctx.Keep("key", vars[3]);
            var y = empty_like(residual);
            nint pr = (nint)Simd.Pointer(residual), px = (nint)Simd.Pointer(x), py = (nint)Simd.Pointer(y);
            void Run<T>() where T : struct, IElement => Cores.For(x.numel(), 1 << 14, (from, to) => AddRange<T>((void*)px, (float*)pr, (float*)py, from, to, kept));
            if (x.dtype == ScalarType.Float32) Run<Single32>(); else Run<Brain16>();
            return y.MoveToOuterDisposeScope();
        }

        public override List<Tensor> backward(autograd.AutogradContext ctx, Tensor grad_output) => [grad_output.alias(), Mask(grad_output, (double)ctx.get_data("probability"), (long)ctx.get_data("key"), (ScalarType)ctx.get_data("type")), null!, null!];
    }

    /// <summary>Drops by a key, without a gradient: for functions with a backward pass of their own, which drop what comes back by the same key.</summary>
    public static Tensor Mask(Tensor x, double probability, long key, ScalarType? type = null)
    {
        using var scope = NewDisposeScope();
        x = x.contiguous();
        var (y, kept) = (empty(x.shape, dtype: type ?? x.dtype), new Kept(probability, key));
        nint px = (nint)Simd.Pointer(x), py = (nint)Simd.Pointer(y);
        void Run<TX, TY>() where TX : struct, IElement where TY : struct, IElement => Cores.For(x.numel(), 1 << 14, (from, to) => Range<TX, TY>((void*)px, (void*)py, from, to, kept));
        if (x.dtype == ScalarType.Float32 && y.dtype == ScalarType.Float32) Run<Single32, Single32>();
        else if (x.dtype == ScalarType.Float32) Run<Single32, Brain16>();
        else if (y.dtype == ScalarType.Float32) Run<Brain16, Single32>();
        else Run<Brain16, Brain16>();
        return y.MoveToOuterDisposeScope();
    }

    private static void Range<TX, TY>(void* x, void* y, long i, long to, Kept kept) where TX : struct, IElement where TY : struct, IElement
    {
        for (; i + Simd.Width <= to; i += Simd.Width) TY.Store(y, i, kept.Of(TX.Load(x, i), i));
        for (; i < to; i++) TY.Set(y, i, kept.Of(TX.Get(x, i), i));
    }

    /// <summary>y[i] = residual[i] + dropout(x[i]) from an element to another.</summary>
    public static void AddRange<T>(void* x, float* residual, float* y, long i, long to, Kept kept) where T : struct, IElement
    {
        for (; i + Simd.Width <= to; i += Simd.Width) (Vector512.Load(residual + i) + kept.Of(T.Load(x, i), i)).Store(y + i);
        for (; i < to; i++) y[i] = residual[i] + kept.Of(T.Get(x, i), i);
    }

    /// <summary>What a call of dropout leaves of elements: 0 or more than they were, by (key, element).</summary>
    public readonly struct Kept(double probability, long key)
    {
        private readonly uint least = (uint)(probability * uint.MaxValue), low = (uint)key, high = (uint)(key >> 32);
        private readonly float factor = (float)(1 / (1 - probability));

        /// <param name="x">Elements that follow each other.</param>
        /// <param name="i">The first one's place.</param>
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public Vector512<float> Of(Vector512<float> x, long i) => least == 0 ? x
            : Vector512.ConditionalSelect(Vector512.GreaterThanOrEqual(Hash(Vector512<uint>.Indices + Vector512.Create((uint)i), low, high), Vector512.Create(least)).AsSingle(), x * factor, Vector512<float>.Zero);

        /// <param name="x">An element.</param>
        /// <param name="i">Its place.</param>
        public float Of(float x, long i) => least == 0 || Hash(Vector512.Create((uint)i), low, high)[0] >= least ? x * factor : 0;
    }

    // A bijection of 32 bits that mixes well (Wellons' lowbias32) over (element, key).
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector512<uint> Hash(Vector512<uint> element, uint low, uint high)
    {
        var h = (element * 0x9E3779B1u) ^ Vector512.Create(low);
        h = (h ^ (h >> 16)) * 0x7FEB352Du;
        h = (h ^ (h >> 15) ^ Vector512.Create(high)) * 0x846CA68Bu;
        return h ^ (h >> 16);
    }
}
