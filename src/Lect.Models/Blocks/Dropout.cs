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

    /// <summary>Drops by a key, without a gradient: for functions with a backward pass of their own, which drop what comes back by the same key.</summary>
    public static Tensor Mask(Tensor x, double probability, long key)
    {
        using var scope = NewDisposeScope();
        x = x.contiguous();
        var y = empty_like(x);
        if (x.dtype == ScalarType.Float32) Mask<Single32>(x, y, probability, key); else Mask<Brain16>(x, y, probability, key);
        return y.MoveToOuterDisposeScope();
    }

    private static void Mask<T>(Tensor x, Tensor y, double probability, long key) where T : struct, IElement
    {
        nint px = (nint)Simd.Pointer(x), py = (nint)Simd.Pointer(y);
        var (least, factor) = ((uint)(probability * uint.MaxValue), (float)(1 / (1 - probability)));
        Cores.For(x.numel(), 1 << 14, (from, to) => Range<T>((void*)px, (void*)py, from, to, least, factor, (uint)key, (uint)(key >> 32)));
    }

    private static void Range<T>(void* x, void* y, long i, long to, uint least, float factor, uint low, uint high) where T : struct, IElement
    {
        var lanes = Vector512.CreateSequence(0u, 1u);
        for (; i + Simd.Width <= to; i += Simd.Width)
        {
            var kept = Vector512.GreaterThanOrEqual(Hash(Vector512.Create((uint)i) + lanes, low, high), Vector512.Create(least)).AsSingle();
            T.Store(y, i, Vector512.ConditionalSelect(kept, T.Load(x, i) * factor, Vector512<float>.Zero));
        }
        for (; i < to; i++) T.Set(y, i, Hash(Vector512.Create((uint)i), low, high)[0] >= least ? T.Get(x, i) * factor : 0);
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
