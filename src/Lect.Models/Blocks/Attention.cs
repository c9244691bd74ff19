using System.Runtime.Intrinsics;
using TorchSharp;
using static TorchSharp.torch;

namespace Lect.Models;

/// <summary>Watches a forward pass; the tensors live until the call returns (clone what is kept).</summary>
public interface IActivationSink
{
    /// <summary>Attention probabilities of a layer (from 0), [B, H, T, S]: rows sum to 1 over what may be attended.</summary>
    void Attention(int layer, Tensor probs_BHTS);

    /// <summary>The stream of activations, [B, T, C]: 0 is the embeddings' output, i the output of layer i; the last one after the final norm.</summary>
    void Hidden(int index, Tensor x_BTC);
}

/// <summary>
/// Scaled dot-product attention (Vaswani et al. 2017, equation 1): softmax(q kᵀ / sqrt(d)) v, written once for every architecture.
/// </summary>
internal static class Attention
{
    /// <summary>Attention of queries to keys at or before them, or wherever the mask says.</summary>
    /// <param name="q">[B, H, T, d].</param>
    /// <param name="k">[B, H, S, d], S >= T; query t stands at position S - T + t.</param>
    /// <param name="v">[B, H, S, d].</param>
    /// <param name="mask">[B, 1, T, S] or what broadcasts to it, true = may attend; null: causal.</param>
    /// <param name="scale">Factor of the scores, 1 / sqrt(d) as a rule.</param>
    /// <param name="dropout">Probability of dropping an attention weight; 0 outside training.</param>
    /// <param name="watch">Told the probabilities.</param>
    /// <returns>[B, H, T, d] in q's dtype.</returns>
    public static Tensor ScaledDotProduct(Tensor q, Tensor k, Tensor v, Tensor? mask, double scale, double dropout = 0, Action<Tensor>? watch = null)
    {
        if (watch is null && dropout == 0 && Simd.Takes(q) && (mask is null || mask.shape.SequenceEqual([q.shape[0], 1, 1, k.shape[2]]))) return Fused.apply(q, k, v, (float)scale, mask!);
        var score_BHTS = q.matmul(k.transpose(-2, -1)).to(ScalarType.Float32) * scale;
        score_BHTS = score_BHTS.masked_fill((mask ?? Masks.Causal(q.shape[^2], k.shape[^2], q.device)).logical_not(), float.MinValue);
        var probs_BHTS = score_BHTS.softmax(-1);
        watch?.Invoke(probs_BHTS);
        if (dropout > 0) probs_BHTS = Dropout.Apply(probs_BHTS, dropout);
        return probs_BHTS.to(v.dtype).matmul(v);
    }

    /// <summary>Attention, causal or to the keys of a mask [B, 1, 1, S], with its own softmax: in place, and the probabilities are kept for the backward pass.</summary>
    private sealed unsafe class Fused : autograd.SingleTensorFunction<Fused>
    {
        public override string Name => "FusedAttention";

        public override Tensor forward(autograd.AutogradContext ctx, params object[] vars)
        {
            using var scope = NewDisposeScope();
            var (q, k, v, scale, mask) = (((Tensor)vars[0]).contiguous(), ((Tensor)vars[1]).contiguous(), ((Tensor)vars[2]).contiguous(), (float)vars[3], ((Tensor?)vars[4])?.contiguous());
            var p = q.matmul(k.transpose(-2, -1));
            if (p.dtype == ScalarType.Float32) Softmax<Single32>(p, scale, mask); else Softmax<Brain16>(p, scale, mask);
            ctx.Save([q, k, v, p]);
            ctx.save_data("scale", scale);
            ctx.save_data("causal", mask is null);
            return p.matmul(v).MoveToOuterDisposeScope();
        }

        public override List<Tensor> backward(autograd.AutogradContext ctx, Tensor grad_output)
        {
            using var scope = NewDisposeScope();
            var saved = ctx.get_saved_variables();
            var (q, k, v, p) = (saved[0], saved[1], saved[2], saved[3]);
            var g = grad_output.to(p.dtype).contiguous();
            var dv = p.transpose(-2, -1).matmul(g);
            var ds = g.matmul(v.transpose(-2, -1));
            var (scale, causal) = ((float)ctx.get_data("scale"), (bool)ctx.get_data("causal"));
            if (p.dtype == ScalarType.Float32) SoftmaxBackward<Single32>(p, ds, scale, causal); else SoftmaxBackward<Brain16>(p, ds, scale, causal);
            return [ds.matmul(k).MoveToOuterDisposeScope(), ds.transpose(-2, -1).matmul(q).MoveToOuterDisposeScope(), dv.MoveToOuterDisposeScope(), null!, null!];
        }
    }

    // In place: row t of the T x S scores becomes softmax(scale * scores) over its first S - T + t + 1 columns, or those of the mask; 0 elsewhere.
    private static unsafe void Softmax<T>(Tensor p, float scale, Tensor? mask) where T : struct, IElement
    {
        var (rows, t, s, at) = (p.numel() / p.shape[^1], p.shape[^2], p.shape[^1], (nint)Simd.Pointer(p));
        var (mayAttend, rowsABatch) = (mask is null ? 0 : (nint)Simd.Pointer(mask), rows / p.shape[0]);
        Cores.For(rows, Math.Max(1, (1 << 14) / s), (from, to) => SoftmaxRows<T>(at, from, to, t, s, scale, mayAttend, rowsABatch));
    }

    private static unsafe void SoftmaxRows<T>(nint p, long from, long to, long t, long s, float scale, nint mayAttend, long rowsABatch) where T : struct, IElement
    {
        var buffer = new float[s + 2 * Simd.Width];   // whole vectors, filled up with -inf
        fixed (float* e = buffer)
            for (var r = from; r < to; r++)
            {
                var row = Row<T>(p, r, s);
                var n = mayAttend != 0 ? s : s - t + r % t + 1;
                long i = 0;
                for (; i + Simd.Width <= n; i += Simd.Width) (T.Load(row, i) * scale).Store(e + i);
                for (; i < n; i++) e[i] = T.Get(row, i) * scale;
                if (mayAttend != 0)
                {
                    var mask = (byte*)mayAttend + r / rowsABatch * s;
                    for (i = 0; i < s; i++) if (mask[i] == 0) e[i] = float.NegativeInfinity;
                }
                var whole = (n + Simd.Width - 1) / Simd.Width * Simd.Width;
                for (i = n; i < whole; i++) e[i] = float.NegativeInfinity;
                var max = Simd.Max<Single32>(e, whole);
                if (float.IsNegativeInfinity(max)) max = 0;   // nothing may be attended
                var sum = Simd.ExpSum<Single32>(e, whole, 1, max, e);
                Simd.Scale<T>(e, n, 1 / sum, row);
                for (i = n; i < s; i++) T.Set(row, i, 0);
            }
    }

    // In place on dp: ds = scale * p * (dp - sum(p * dp)).
    private static unsafe void SoftmaxBackward<T>(Tensor p, Tensor dp, float scale, bool causal) where T : struct, IElement
    {
        var (rows, t, s, pp, pd) = (p.numel() / p.shape[^1], p.shape[^2], p.shape[^1], (nint)Simd.Pointer(p), (nint)Simd.Pointer(dp));
        Cores.For(rows, Math.Max(1, (1 << 14) / s), (from, to) => SoftmaxBackwardRows<T>(pp, pd, from, to, t, s, scale, causal));
    }

    private static unsafe void SoftmaxBackwardRows<T>(nint p, nint dp, long from, long to, long t, long s, float scale, bool causal) where T : struct, IElement
    {
        for (var r = from; r < to; r++)
        {
            void* a = Row<T>(p, r, s), d = Row<T>(dp, r, s);
            var n = causal ? s - t + r % t + 1 : s;
            var dot = Vector512<float>.Zero;
            long i = 0;
            for (; i + Simd.Width <= n; i += Simd.Width) dot = Vector512.FusedMultiplyAdd(T.Load(a, i), T.Load(d, i), dot);
            var sum = Vector512.Sum(dot);
            for (; i < n; i++) sum += T.Get(a, i) * T.Get(d, i);
            for (i = 0; i + Simd.Width <= n; i += Simd.Width) T.Store(d, i, T.Load(a, i) * (T.Load(d, i) - Vector512.Create(sum)) * scale);
            for (; i < n; i++) T.Set(d, i, T.Get(a, i) * (T.Get(d, i) - sum) * scale);
            for (; i < s; i++) T.Set(d, i, 0);
        }
    }

    private static unsafe void* Row<T>(nint p, long row, long width) where T : struct, IElement => (byte*)p + row * width * T.Size;
}
