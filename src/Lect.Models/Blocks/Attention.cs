using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using TorchSharp;
using TorchSharp.Modules;
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
    /// <param name="k">[B, G, S, d], S >= T; query t stands at position S - T + t. Grouped heads (Ainslie et al. 2023): G divides H, and query head h reads key head h / (H / G).</param>
    /// <param name="v">[B, G, S, d of values].</param>
    /// <param name="mask">[B, 1, T, S] or what broadcasts to it, true = may attend, or fp32 that is added to the scores; null: causal. One of more than S keys is of the last S.</param>
    /// <param name="scale">Factor of the scores, 1 / sqrt(d) as a rule.</param>
    /// <param name="dropout">Probability of dropping an attention weight; 0 outside training.</param>
    /// <param name="watch">Told the probabilities.</param>
    /// <param name="window">Without a mask: so many keys at most, the query's own the last (Mistral, GPT-3's local layers); null: all before it.</param>
    /// <returns>[B, H, T, d of values] in q's dtype.</returns>
    public static Tensor ScaledDotProduct(Tensor q, Tensor k, Tensor v, Tensor? mask, double scale, double dropout = 0, Action<Tensor>? watch = null, long? window = null)
    {
        var (ofQ, ofK) = (q.shape, k.shape);
        var (b, h, t, d, groups, s) = (ofQ[0], ofQ[1], ofQ[2], ofQ[3], ofK[1], ofK[2]);
        if (mask is not null && mask.shape[^1] > s) mask = mask.narrow(-1, mask.shape[^1] - s, s);
        var isOwn = watch is null && Simd.Takes(q) && (mask is null || (mask.dtype == ScalarType.Bool && mask.shape.SequenceEqual([b, 1, 1, s])));
        if (isOwn && t == 1 && dropout == 0 && !is_grad_enabled()) return OfOneToken(q, k, v, (float)scale, mask, window ?? s);
        // The queries of a group's heads behind each other, so that its keys are read as they are.
        if (groups < h) q = q.reshape(b, groups, h / groups * t, d);
        if (isOwn)
            return Fused.Run(q, k, v, (float)scale, mask!, dropout, dropout > 0 ? Dropout.NextKey() : 0L, t, window ?? s).view(b, h, t, v.shape[3]);
        var score_BHTS = q.matmul(k.transpose(-2, -1)).to(ScalarType.Float32).view(b, h, t, s) * scale;
        mask ??= Masks.Causal(t, s, q.device, window);
        score_BHTS = mask.dtype == ScalarType.Bool ? score_BHTS.masked_fill(mask.logical_not(), float.MinValue) : score_BHTS + mask;
        var probs_BHTS = score_BHTS.softmax(-1);
        watch?.Invoke(probs_BHTS);
        if (dropout > 0) probs_BHTS = Dropout.Apply(probs_BHTS, dropout);
        return probs_BHTS.to(v.dtype).view(b, groups, h / groups * t, s).matmul(v).view(b, h, t, v.shape[3]);
    }

    /// <summary>Queries, keys, values: [B, T, C] through a layer each to [B, H, T, d].</summary>
    public static Tensor[] Heads(Tensor x_BTC, long heads, ComputeType compute, params Linear[] layers) => [.. Projection.OutIn(x_BTC, [.. layers.Select(l => (l.weight!, (Tensor?)l.bias))], compute).Select(y => Split(y, heads))];

    /// <summary>[B, T, H d] to [B, H, T, d], without a copy.</summary>
    public static Tensor Split(Tensor x_BTC, long heads) => x_BTC.view(x_BTC.shape[0], x_BTC.shape[1], heads, x_BTC.shape[2] / heads).transpose(1, 2);

    /// <summary>[B, H, T, d] to [B, T, H d].</summary>
    public static Tensor Merge(Tensor y_BHTd) => y_BHTd.transpose(1, 2).reshape(y_BHTd.shape[0], y_BHTd.shape[2], y_BHTd.shape[1] * y_BHTd.shape[3]);

    /// <summary>Attention, causal or to the keys of a mask [B, 1, 1, S], with its own softmax and dropout: in place, and the probabilities are kept for the backward pass.</summary>
    private sealed unsafe class Fused : KernelFunction<Fused>
    {
        public override string Name => "FusedAttention";

        public override Tensor forward(autograd.AutogradContext ctx, params object[] vars)
        {
            using var scope = NewDisposeScope();
            var (q, k, v, scale, mask, t, window) = (Dense((Tensor)vars[0]), Dense((Tensor)vars[1]), Dense((Tensor)vars[2]), (float)vars[3], ((Tensor?)vars[4])?.contiguous(), (long)vars[7], (long)vars[8]);
            var p = q.matmul(k.transpose(-2, -1));
            if (p.dtype == ScalarType.Float32) Softmax<Single32>(p, t, scale, mask, window); else Softmax<Brain16>(p, t, scale, mask, window);
            var (dropout, key) = ((double)vars[5], (long)vars[6]);
            var kept = dropout > 0 ? Dropout.Mask(p, dropout, key) : p;
            ctx.Save(dropout > 0 ? [q, k, v, p, kept] : [q, k, v, p]);
            ctx.Keep("scale", scale);
            ctx.Keep("queries", t);
            ctx.Keep("window", mask is null ? window : 0);
            ctx.Keep("dropout", dropout);
            ctx.Keep("key", key);
            return kept.matmul(v).MoveToOuterDisposeScope();
        }

        public override List<Tensor> backward(autograd.AutogradContext ctx, Tensor grad_output)
        {
            using var scope = NewDisposeScope();
            var saved = ctx.get_saved_variables();
            var (q, k, v, p) = (saved[0], saved[1], saved[2], saved[3]);
            var g = grad_output.to(p.dtype).contiguous();
            var dv = saved[^1].transpose(-2, -1).matmul(g);
            var ds = g.matmul(v.transpose(-2, -1));
            if ((double)ctx.get_data("dropout") is > 0 and var dropout) ds = Dropout.Mask(ds, dropout, (long)ctx.get_data("key"));
            var (scale, t, window) = ((float)ctx.get_data("scale"), (long)ctx.get_data("queries"), (long)ctx.get_data("window"));
            if (p.dtype == ScalarType.Float32) SoftmaxBackward<Single32>(p, ds, t, scale, window); else SoftmaxBackward<Brain16>(p, ds, t, scale, window);
            return [ds.matmul(k).MoveToOuterDisposeScope(), ds.transpose(-2, -1).matmul(q).MoveToOuterDisposeScope(), dv.MoveToOuterDisposeScope(), null!, null!, null!, null!, null!, null!];
        }
    }

    // A step of decoding: one query a head, [B, H, 1, d], reads keys and values where they are.
    private static unsafe Tensor OfOneToken(Tensor q, Tensor k, Tensor v, float scale, Tensor? mask, long window)
    {
        using var scope = NewDisposeScope();
        (q, k, v, mask) = (q.contiguous(), Dense(k), Dense(v), mask?.contiguous());
        var (ofQ, ofK, dv) = (q.shape, k.shape, v.shape[3]);
        var (b, h, d, groups, s) = (ofQ[0], ofQ[1], ofQ[3], ofK[1], ofK[2]);
        var (shared, y) = (h / groups, empty([b, h, 1, dv], dtype: q.dtype));
        nint pq = (nint)Simd.Pointer(q), py = (nint)Simd.Pointer(y), pk = First(k), pv = First(v), pm = mask is null ? 0 : (nint)Simd.Pointer(mask);
        var (rowOfK, headOfK, rowOfV, headOfV) = (k.stride(0), k.stride(1), v.stride(0), v.stride(1));
        void Run<T>() where T : struct, IElement => Cores.For(b * h, Math.Max(1, (1 << 16) / (s * d)), (from, to) =>
        {
            var (query, sum, scores) = (new float[d], new float[dv], new float[s]);
            for (var row = from; row < to; row++)
            {
                var (of, group) = (row / h, row / shared % groups);
                OfOneQuery<T>((byte*)pq + row * d * T.Size, (byte*)pk + (of * rowOfK + group * headOfK) * T.Size, (byte*)pv + (of * rowOfV + group * headOfV) * T.Size, pm == 0 ? null : (byte*)pm + of * s, pm == 0 ? Math.Max(0, s - window) : 0, (byte*)py + row * dv * T.Size, d, dv, scale, query, sum, scores);
            }
        });
        if (q.dtype == ScalarType.Float32) Run<Single32>(); else Run<Brain16>();
        return y.MoveToOuterDisposeScope();

        static nint First(Tensor x) { using var one = x.as_strided([1], [1], x.storage_offset()); return (nint)Simd.Pointer(one); }
    }

    // softmax(scale * q K) V over keys from the first that may be seen.
    private static unsafe void OfOneQuery<T>(void* q, byte* k, byte* v, byte* mayAttend, long first, void* y, long d, long dv, float scale, Span<float> query, Span<float> sum, Span<float> scores) where T : struct, IElement
    {
        for (var i = 0; i < d; i++) query[i] = T.Get(q, i) * scale;
        sum.Clear();
        fixed (float* pq = query, ps = sum)
        {
            var max = float.NegativeInfinity;
            for (var j = first; j < scores.Length; j++)
            {
                if (mayAttend != null && mayAttend[j] == 0) { scores[(int)j] = float.NegativeInfinity; continue; }
                max = MathF.Max(max, scores[(int)j] = Simd.Dot<T>(pq, k + j * d * T.Size, d));
            }
            var total = 0f;
            for (var j = first; j < scores.Length; j++)
            {
                var weight = float.IsNegativeInfinity(max) ? 1 : float.IsNegativeInfinity(scores[(int)j]) ? 0 : MathF.Exp(scores[(int)j] - max);   // nothing may be attended: alike everywhere
                if (weight == 0) continue;
                total += weight;
                Simd.AddScaled<T>(ps, v + j * dv * T.Size, weight, dv);
            }
            for (var i = 0; i < dv; i++) T.Set(y, i, sum[i] / total);
        }
    }

    // What a product reads as it is: the rows of a head behind each other, as a cache with room has them too. Other layouts would be copied by each product anew.
    private static Tensor Dense(Tensor x) => x.stride() is [var row, var head, var token, 1] && x.shape is [_, var heads, _, var d] && token == d && row == head * heads ? x.alias() : x.contiguous();

    // In place: row t of the T x S scores becomes softmax(scale * scores) over its first S - T + t + 1 columns (of these the last of the window), or those of the mask; 0 elsewhere.
    private static unsafe void Softmax<T>(Tensor p, long t, float scale, Tensor? mask, long window) where T : struct, IElement
    {
        var (rows, s, at) = (p.numel() / p.shape[^1], p.shape[^1], (nint)Simd.Pointer(p));
        var (mayAttend, rowsABatch) = (mask is null ? 0 : (nint)Simd.Pointer(mask), rows / p.shape[0]);
        Cores.For(rows, Math.Max(1, (1 << 14) / s), (from, to) => SoftmaxRows<T>(at, from, to, t, s, scale, mayAttend, rowsABatch, window));
    }

    private static unsafe void SoftmaxRows<T>(nint p, long from, long to, long t, long s, float scale, nint mayAttend, long rowsABatch, long window) where T : struct, IElement
    {
        var whole = (s + Simd.Width - 1) / Simd.Width * Simd.Width;
        var (buffer, kept) = (new float[whole], new float[whole]);   // kept: 0 where a key may be attended, -inf where not
        var (lanes, none) = (Vector512.CreateSequence(0f, 1f), Vector512.Create(float.NegativeInfinity));
        byte* tail = stackalloc byte[Simd.Width * sizeof(float)];
        new Span<byte>(tail, Simd.Width * sizeof(float)).Clear();
        Array.Fill(kept, float.NegativeInfinity);
        var batch = -1L;
        fixed (float* e = buffer, k = kept)
            for (var r = from; r < to; r++)
            {
                if (mayAttend != 0 && r / rowsABatch != batch)
                {
                    batch = r / rowsABatch;
                    var mask = (byte*)mayAttend + batch * s;
                    for (var j = 0L; j < s; j++) k[j] = mask[j] != 0 ? 0 : float.NegativeInfinity;
                }
                var row = Row<T>(p, r, s);
                var n = mayAttend != 0 ? s : s - t + r % t + 1;
                var (first, start) = mayAttend != 0 ? (0, 0) : Begin(n, window);
                var most = none;
                for (var i = start; i < n; i += Simd.Width)
                {
                    var x = LoadPart<T>(row, i, s, tail) * scale;
                    x = mayAttend != 0 ? x + Vector512.Load(k + i) : i + Simd.Width <= n ? x : Vector512.ConditionalSelect(Vector512.LessThan(lanes, Vector512.Create((float)(n - i))), x, none);
                    if (i < first) x = Vector512.ConditionalSelect(Vector512.LessThan(lanes, Vector512.Create((float)(first - i))), none, x);
                    x.Store(e + i);
                    most = Vector512.Max(most, x);
                }
                var max = Simd.MaxLane(most);
                if (float.IsNegativeInfinity(max)) max = 0;   // nothing may be attended: alike everywhere
                var sum = Vector512<float>.Zero;
                for (var i = start; i < n; i += Simd.Width)
                {
                    var x = Simd.ExpOfNegative(Vector512.Load(e + i) - Vector512.Create(max));
                    x.Store(e + i);
                    sum += x;
                }
                var factor = Vector512.Create(1 / Vector512.Sum(sum));
                for (long i = 0; i < start; i++) T.Set(row, i, 0);
                for (var i = start; i < n; i += Simd.Width) StorePart<T>(row, i, s, i + Simd.Width <= n ? Vector512.Load(e + i) * factor : Vector512.ConditionalSelect(Vector512.LessThan(lanes, Vector512.Create((float)(n - i))), Vector512.Load(e + i) * factor, Vector512<float>.Zero), tail);
                for (var i = (n + Simd.Width - 1) / Simd.Width * Simd.Width; i < s; i++) T.Set(row, i, 0);
            }
    }

    // The first of a window's columns, and of the vector that it is in.
    private static (long First, long Start) Begin(long n, long window) => Math.Max(0, n - window) is var first ? (first, first / Simd.Width * Simd.Width) : default;

    // A vector of a row; of the row's last one only what is there, through a buffer of a vector.
    private static unsafe Vector512<float> LoadPart<T>(void* row, long i, long s, byte* tail) where T : struct, IElement
    {
        if (i + Simd.Width <= s) return T.Load(row, i);
        Unsafe.CopyBlockUnaligned(tail, (byte*)row + i * T.Size, (uint)((s - i) * T.Size));
        return T.Load(tail, 0);
    }

    private static unsafe void StorePart<T>(void* row, long i, long s, Vector512<float> value, byte* tail) where T : struct, IElement
    {
        if (i + Simd.Width <= s) { T.Store(row, i, value); return; }
        T.Store(tail, 0, value);
        Unsafe.CopyBlockUnaligned((byte*)row + i * T.Size, tail, (uint)((s - i) * T.Size));
    }

    // In place on dp: ds = scale * p * (dp - sum(p * dp)). A window of 0: not causal.
    private static unsafe void SoftmaxBackward<T>(Tensor p, Tensor dp, long t, float scale, long window) where T : struct, IElement
    {
        var (rows, s, pp, pd) = (p.numel() / p.shape[^1], p.shape[^1], (nint)Simd.Pointer(p), (nint)Simd.Pointer(dp));
        Cores.For(rows, Math.Max(1, (1 << 14) / s), (from, to) => SoftmaxBackwardRows<T>(pp, pd, from, to, t, s, scale, window));
    }

    private static unsafe void SoftmaxBackwardRows<T>(nint p, nint dp, long from, long to, long t, long s, float scale, long window) where T : struct, IElement
    {
        byte* tail = stackalloc byte[Simd.Width * sizeof(float)], other = stackalloc byte[Simd.Width * sizeof(float)];
        new Span<byte>(tail, Simd.Width * sizeof(float)).Clear();   // probabilities behind a row's end: 0
        new Span<byte>(other, Simd.Width * sizeof(float)).Clear();
        for (var r = from; r < to; r++)
        {
            void* a = Row<T>(p, r, s), d = Row<T>(dp, r, s);
            var n = window > 0 ? s - t + r % t + 1 : s;
            var start = window > 0 ? Begin(n, window).Start : 0;
            var dot = Vector512<float>.Zero;
            for (var i = start; i < n; i += Simd.Width) dot = Vector512.FusedMultiplyAdd(LoadPart<T>(a, i, s, tail), LoadPart<T>(d, i, s, other), dot);
            var sum = Vector512.Create(Vector512.Sum(dot));
            for (long i = 0; i < start; i++) T.Set(d, i, 0);
            for (var i = start; i < n; i += Simd.Width) StorePart<T>(d, i, s, LoadPart<T>(a, i, s, tail) * (LoadPart<T>(d, i, s, other) - sum) * scale, other);
            for (var i = (n + Simd.Width - 1) / Simd.Width * Simd.Width; i < s; i++) T.Set(d, i, 0);
        }
    }

    private static unsafe void* Row<T>(nint p, long row, long width) where T : struct, IElement => (byte*)p + row * width * T.Size;
}
