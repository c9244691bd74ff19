using System.Runtime.Intrinsics;
using TorchSharp;
using static TorchSharp.torch;

namespace Lect.Models;

/// <summary>
/// Additive attention as one pass: e_j = vᵀ tanh(q + k_j), a = softmax(e), c = Σ a_j h_j. The tanh is computed again in the backward pass instead of being kept, and the gradients of keys and
/// source, which all target positions share, are summed in place and handed over by the first position, whose turn comes last.
/// </summary>
internal static unsafe class AdditiveAttentionKernel
{
    /// <summary>What the positions of one target share.</summary>
    public sealed class Shared
    {
        /// <summary>Sums over the positions so far.</summary>
        public Tensor? Keys, Source;
    }

    /// <param name="q_BA">W s.</param>
    /// <param name="k_BSA">U h_j.</param>
    /// <param name="v_1A">v.</param>
    /// <param name="h_BSC">The source.</param>
    /// <param name="padding_BS">Positions that are none.</param>
    /// <param name="shared">Of this target.</param>
    /// <param name="isFirst">Whether this is its first position.</param>
    /// <returns>c, [B, C].</returns>
    public static Tensor Apply(Tensor q_BA, Tensor k_BSA, Tensor v_1A, Tensor h_BSC, Tensor padding_BS, Shared shared, bool isFirst) => Function.Run(q_BA, k_BSA, v_1A, h_BSC, padding_BS, shared, isFirst);

    private sealed class Function : KernelFunction<Function>
    {
        public override string Name => "AdditiveAttention";

        public override Tensor forward(autograd.AutogradContext ctx, params object[] vars)
        {
            using var scope = NewDisposeScope();
            Tensor q = ((Tensor)vars[0]).contiguous(), k = (Tensor)vars[1], v = (Tensor)vars[2], source = (Tensor)vars[3], padding = (Tensor)vars[4];
            var (b, s, a, c) = (k.shape[0], (int)k.shape[1], k.shape[2], source.shape[2]);
            Tensor weights = empty(b, s), context = zeros(b, c);
            nint pq = (nint)Simd.Pointer(q), pk = (nint)Simd.Pointer(k), pv = (nint)Simd.Pointer(v), ph = (nint)Simd.Pointer(source), pp = (nint)Simd.Pointer(padding), pw = (nint)Simd.Pointer(weights), pc = (nint)Simd.Pointer(context);
            Cores.For(b, 1, (from, to) =>
            {
                for (var row = from; row < to; row++) ForwardRow((float*)pq + row * a, (float*)pk + row * s * a, (float*)pv, (float*)ph + row * s * c, (byte*)pp + row * s, (float*)pw + row * s, (float*)pc + row * c, s, a, c);
            });
            ctx.Save([q, weights], k, v, source);
            ctx.Keep("shared", vars[5]);
            ctx.Keep("first", vars[6]);
            return context.MoveToOuterDisposeScope();
        }

        public override List<Tensor> backward(autograd.AutogradContext ctx, Tensor grad_output)
        {
            using var scope = NewDisposeScope();
            using var noGrad = no_grad();
            var saved = ctx.get_saved_variables();
            var (q, weights, k, v, source, g) = (saved[0], saved[1], saved[2], saved[3], saved[4], grad_output.contiguous());
            var shared = (Shared)ctx.get_data("shared");
            shared.Keys ??= zeros_like(k).DetachFromDisposeScope();
            shared.Source ??= zeros_like(source).DetachFromDisposeScope();
            var (b, s, a, c) = (k.shape[0], (int)k.shape[1], k.shape[2], source.shape[2]);
            Tensor dq = zeros(b, a), dv = zeros(b, a);
            nint pq = (nint)Simd.Pointer(q), pw = (nint)Simd.Pointer(weights), pk = (nint)Simd.Pointer(k), pv = (nint)Simd.Pointer(v), ph = (nint)Simd.Pointer(source), pg = (nint)Simd.Pointer(g);
            nint pdq = (nint)Simd.Pointer(dq), pdv = (nint)Simd.Pointer(dv), pdk = (nint)Simd.Pointer(shared.Keys), pdh = (nint)Simd.Pointer(shared.Source);
            Cores.For(b, 1, (from, to) =>
            {
                for (var row = from; row < to; row++)
                    BackwardRow((float*)pg + row * c, (float*)pq + row * a, (float*)pk + row * s * a, (float*)pv, (float*)ph + row * s * c, (float*)pw + row * s, (float*)pdq + row * a, (float*)pdk + row * s * a, (float*)pdv + row * a, (float*)pdh + row * s * c, s, a, c);
            });
            Tensor? dk = null, dh = null;
            if ((bool)ctx.get_data("first"))
            {
                (dk, dh) = (shared.Keys.alias().MoveToOuterDisposeScope(), shared.Source.alias().MoveToOuterDisposeScope());
                shared.Keys.Dispose();
                shared.Source.Dispose();
            }
            return [dq.MoveToOuterDisposeScope(), dk!, Saving.Deliver(v, () => dv.sum([0L], keepdim: true)), dh!, null!, null!, null!];
        }
    }

    private static void ForwardRow(float* q, float* k, float* v, float* h, byte* padding, float* w, float* context, int s, long a, long c)
    {
        var max = float.NegativeInfinity;
        for (var j = 0; j < s; j++)
        {
            if (padding[j] != 0) continue;
            var key = k + j * a;
            var sum = Vector512<float>.Zero;
            long i = 0;
            for (; i + Simd.Width <= a; i += Simd.Width) sum = Vector512.FusedMultiplyAdd(Vector512.Load(v + i), Simd.Tanh(Vector512.Load(q + i) + Vector512.Load(key + i)), sum);
            var e = Vector512.Sum(sum);
            for (; i < a; i++) e += v[i] * MathF.Tanh(q[i] + key[i]);
            max = MathF.Max(max, w[j] = e);
        }
        var total = 0f;
        for (var j = 0; j < s; j++) total += w[j] = padding[j] != 0 ? 0 : MathF.Exp(w[j] - max);
        for (var j = 0; j < s; j++)
            if ((w[j] /= total) > 0) AddScaled(h + j * c, w[j], context, c);
    }

    private static void BackwardRow(float* g, float* q, float* k, float* v, float* h, float* w, float* dq, float* dk, float* dv, float* dh, int s, long a, long c)
    {
        Span<float> da = s <= 1024 ? stackalloc float[s] : new float[s];
        var mean = 0f;
        for (var j = 0; j < s; j++)
        {
            if (w[j] == 0) continue;
            var sum = Vector512<float>.Zero;
            long i = 0;
            for (; i + Simd.Width <= c; i += Simd.Width) sum = Vector512.FusedMultiplyAdd(Vector512.Load(g + i), Vector512.Load(h + j * c + i), sum);
            var dot = Vector512.Sum(sum);
            for (; i < c; i++) dot += g[i] * h[j * c + i];
            mean += w[j] * (da[j] = dot);
            AddScaled(g, w[j], dh + j * c, c);
        }
        for (var j = 0; j < s; j++)
        {
            if (w[j] == 0) continue;
            float de = w[j] * (da[j] - mean);
            float* key = k + j * a, dkey = dk + j * a;
            var scale = Vector512.Create(de);
            long i = 0;
            for (; i + Simd.Width <= a; i += Simd.Width)
            {
                var t = Simd.Tanh(Vector512.Load(q + i) + Vector512.Load(key + i));
                var d = scale * Vector512.Load(v + i) * (Vector512<float>.One - t * t);
                Vector512.FusedMultiplyAdd(scale, t, Vector512.Load(dv + i)).Store(dv + i);
                (Vector512.Load(dq + i) + d).Store(dq + i);
                (Vector512.Load(dkey + i) + d).Store(dkey + i);
            }
            for (; i < a; i++)
            {
                var t = MathF.Tanh(q[i] + key[i]);
                var d = de * v[i] * (1 - t * t);
                (dv[i], dq[i], dkey[i]) = (dv[i] + de * t, dq[i] + d, dkey[i] + d);
            }
        }
    }

    private static void AddScaled(float* x, float factor, float* y, long n)
    {
        var f = Vector512.Create(factor);
        long i = 0;
        for (; i + Simd.Width <= n; i += Simd.Width) Vector512.FusedMultiplyAdd(f, Vector512.Load(x + i), Vector512.Load(y + i)).Store(y + i);
        for (; i < n; i++) y[i] += factor * x[i];
    }
}
