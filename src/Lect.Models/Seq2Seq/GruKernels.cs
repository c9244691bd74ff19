using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using TorchSharp;
using static TorchSharp.torch;

namespace Lect.Models;

/// <summary>
/// torch's GRU: r = σ(x_r + u_r), z = σ(x_z + u_z), n = tanh(x_n + r ∘ u_n), s' = n + z ∘ (s - n), where x = W_ih x + b_ih and u = W_hh s + b_hh; z weighs the old state.
/// A step is one pass over memory; a whole sequence takes its inputs' and weights' products at once, in the compute type.
/// </summary>
internal static unsafe class GruKernels
{
    /// <summary>One step.</summary>
    /// <param name="x_BG">The inputs' share of the gates, [B, 3H].</param>
    /// <param name="u_BG">The state's share, [B, 3H].</param>
    /// <param name="s_BH">The state.</param>
    /// <returns>The new state, [B, H].</returns>
    public static Tensor Step(Tensor x_BG, Tensor u_BG, Tensor s_BH)
    {
        if (Simd.Takes(s_BH)) return StepFunction.Run(x_BG, u_BG, s_BH);
        var (x, u) = (x_BG.chunk(3, -1), u_BG.chunk(3, -1));
        Tensor r = (x[0] + u[0]).sigmoid(), z = (x[1] + u[1]).sigmoid(), n = (x[2] + r * u[2]).tanh();
        return n + z * (s_BH - n);
    }

    /// <summary>A layer over sequences, in one direction.</summary>
    /// <param name="x_BSE">Inputs.</param>
    /// <param name="real_BS">Positions that are no padding, which stands behind each row's end.</param>
    /// <param name="backwards">From the last real position to the first.</param>
    /// <param name="weights">weight_ih [3H, E], weight_hh [3H, H], bias_ih, bias_hh.</param>
    /// <param name="compute">Precision of the products.</param>
    /// <returns>States, [B, S, H]; 0 at padding.</returns>
    public static Tensor Sequence(Tensor x_BSE, Tensor real_BS, bool backwards, (Tensor Ih, Tensor Hh, Tensor BiasIh, Tensor BiasHh) weights, ComputeType compute) =>
        SequenceFunction.Run(x_BSE, real_BS, backwards, weights.Ih, weights.Hh, weights.BiasIh, weights.BiasHh, compute == ComputeType.BFloat16 ? ScalarType.BFloat16 : ScalarType.Float32);

    private sealed class StepFunction : KernelFunction<StepFunction>
    {
        public override string Name => "GruStep";

        public override Tensor forward(autograd.AutogradContext ctx, params object[] vars)
        {
            using var scope = NewDisposeScope();
            Tensor x = ((Tensor)vars[0]).to(ScalarType.Float32).contiguous(), u = ((Tensor)vars[1]).to(ScalarType.Float32).contiguous(), s = ((Tensor)vars[2]).contiguous();
            var (next, gates) = (empty_like(s), empty(s.shape[0], 4 * s.shape[1]));
            Forward<Single32>(x, u, null, s, null, next, gates);
            ctx.Save([s, gates]);
            ctx.Keep("x", ((Tensor)vars[0]).dtype);
            ctx.Keep("u", ((Tensor)vars[1]).dtype);
            return next.MoveToOuterDisposeScope();
        }

        public override List<Tensor> backward(autograd.AutogradContext ctx, Tensor grad_output)
        {
            using var scope = NewDisposeScope();
            var saved = ctx.get_saved_variables();
            var (s, gates) = (saved[0], saved[1]);
            var (dx, du, ds) = (empty(s.shape[0], 3 * s.shape[1]), empty(s.shape[0], 3 * s.shape[1]), empty_like(s));
            Backward<Single32>(grad_output.contiguous(), null, s, gates, null, dx, du, ds);
            return [dx.to((ScalarType)ctx.get_data("x")).MoveToOuterDisposeScope(), du.to((ScalarType)ctx.get_data("u")).MoveToOuterDisposeScope(), ds.MoveToOuterDisposeScope()];
        }
    }

    private sealed class SequenceFunction : KernelFunction<SequenceFunction>
    {
        public override string Name => "GruSequence";

        public override Tensor forward(autograd.AutogradContext ctx, params object[] vars)
        {
            using var scope = NewDisposeScope();
            var (type, backwards) = ((ScalarType)vars[7], (bool)vars[2]);
            Tensor x_SBE = ((Tensor)vars[0]).transpose(0, 1).to(type).contiguous(), real_SB = ((Tensor)vars[1]).transpose(0, 1).contiguous(), ih = ((Tensor)vars[3]).to(type), hh = ((Tensor)vars[4]).to(type);
            var (steps, b, h) = (x_SBE.shape[0], x_SBE.shape[1], hh.shape[1]);
            var x_SBG = x_SBE.view(steps * b, -1).mm(ih.t()).add_((Tensor)vars[5]).view(steps, b, 3 * h);
            var bias = ((Tensor)vars[6]).contiguous();
            Tensor before_SBH = zeros(steps, b, h), after_SBH = empty(steps, b, h), gates_SBG = empty(steps, b, 4 * h);
            for (var i = 0L; i < steps; i++)
            {
                using var inner = NewDisposeScope();
                var t = backwards ? steps - 1 - i : i;
                var s = before_SBH[t];   // the first one is 0
                if (i > 0) s.copy_(after_SBH[backwards ? t + 1 : t - 1]);
                var u = s.to(type).mm(hh.t());
                if (type == ScalarType.Float32) Forward<Single32>(x_SBG[t], u, bias, s, real_SB[t], after_SBH[t], gates_SBG[t]); else Forward<Brain16>(x_SBG[t], u, bias, s, real_SB[t], after_SBH[t], gates_SBG[t]);
            }
            ctx.Save([x_SBE, real_SB, ih, hh, before_SBH, gates_SBG], [(Tensor)vars[3], (Tensor)vars[4], (Tensor)vars[5], (Tensor)vars[6]]);
            ctx.Keep("backwards", backwards);
            return after_SBH.mul_(real_SB.unsqueeze(-1)).transpose(0, 1).contiguous().MoveToOuterDisposeScope();
        }

        public override List<Tensor> backward(autograd.AutogradContext ctx, Tensor grad_output)
        {
            using var scope = NewDisposeScope();
            using var noGrad = no_grad();
            var saved = ctx.get_saved_variables();
            var (x_SBE, real_SB, ih, hh, before_SBH, gates_SBG) = (saved[0], saved[1], saved[2], saved[3], saved[4], saved[5]);
            var (steps, b, h, backwards) = (x_SBE.shape[0], x_SBE.shape[1], hh.shape[1], (bool)ctx.get_data("backwards"));
            var g_SBH = grad_output.transpose(0, 1).contiguous();
            Tensor dx_SBG = empty([steps, b, 3 * h], dtype: ih.dtype), du_SBG = empty([steps, b, 3 * h], dtype: ih.dtype), carried = zeros(b, h), kept = empty(b, h);
            for (var i = steps - 1; i >= 0; i--)
            {
                using var inner = NewDisposeScope();
                var t = backwards ? steps - 1 - i : i;
                if (ih.dtype == ScalarType.Float32) Backward<Single32>(g_SBH[t], carried, before_SBH[t], gates_SBG[t], real_SB[t], dx_SBG[t], du_SBG[t], kept); else Backward<Brain16>(g_SBH[t], carried, before_SBH[t], gates_SBG[t], real_SB[t], dx_SBG[t], du_SBG[t], kept);
                carried.copy_(kept).add_(du_SBG[t].mm(hh));
            }
            Tensor dx = dx_SBG.view(steps * b, -1), du = du_SBG.view(steps * b, -1);
            var dinput = dx.mm(ih).view(steps, b, -1).transpose(0, 1).to(ScalarType.Float32).contiguous();
            return
            [
                dinput.MoveToOuterDisposeScope(), null!, null!,
                Saving.Deliver(saved[6], () => dx.t().mm(x_SBE.view(steps * b, -1)).to(ScalarType.Float32)),
                Saving.Deliver(saved[7], () => du.t().mm(before_SBH.view(steps * b, -1).to(du.dtype)).to(ScalarType.Float32)),
                Saving.Deliver(saved[8], () => dx.sum([0L], type: ScalarType.Float32)),
                Saving.Deliver(saved[9], () => du.sum([0L], type: ScalarType.Float32)), null!,
            ];
        }
    }

    // gates: r, z, n and u_n, which the backward pass needs. Rows at padding keep their state.
    private static void Forward<T>(Tensor x, Tensor u, Tensor? bias, Tensor s, Tensor? real, Tensor next, Tensor gates) where T : struct, IElement
    {
        var h = s.shape[1];
        nint px = (nint)Simd.Pointer(x), pu = (nint)Simd.Pointer(u), pb = bias is null ? 0 : (nint)Simd.Pointer(bias), ps = (nint)Simd.Pointer(s), pr = real is null ? 0 : (nint)Simd.Pointer(real), pn = (nint)Simd.Pointer(next), pg = (nint)Simd.Pointer(gates);
        Cores.For(s.shape[0], Math.Max(1, (1 << 13) / h), (from, to) =>
        {
            for (var row = from; row < to; row++)
                if (pr != 0 && ((byte*)pr)[row] == 0) new Span<float>((float*)ps + row * h, (int)h).CopyTo(new Span<float>((float*)pn + row * h, (int)h));
                else ForwardRow<T>((byte*)px + row * 3 * h * T.Size, (byte*)pu + row * 3 * h * T.Size, (float*)pb, (float*)ps + row * h, (float*)pn + row * h, (float*)pg + row * 4 * h, h);
        });
    }

    private static void ForwardRow<T>(void* x, void* u, float* bias, float* s, float* next, float* gates, long h) where T : struct, IElement
    {
        long i = 0;
        for (; i + Simd.Width <= h; i += Simd.Width)
        {
            Vector512<float> u_r = T.Load(u, i), u_z = T.Load(u, h + i), u_n = T.Load(u, 2 * h + i), old = Vector512.Load(s + i);
            if (bias != null) { u_r += Vector512.Load(bias + i); u_z += Vector512.Load(bias + h + i); u_n += Vector512.Load(bias + 2 * h + i); }
            Vector512<float> r = Simd.Sigmoid(T.Load(x, i) + u_r), z = Simd.Sigmoid(T.Load(x, h + i) + u_z), n = Simd.Tanh(T.Load(x, 2 * h + i) + r * u_n);
            (n + z * (old - n)).Store(next + i);
            r.Store(gates + i); z.Store(gates + h + i); n.Store(gates + 2 * h + i); u_n.Store(gates + 3 * h + i);
        }
        for (; i < h; i++)
        {
            float u_r = T.Get(u, i), u_z = T.Get(u, h + i), u_n = T.Get(u, 2 * h + i);
            if (bias != null) { u_r += bias[i]; u_z += bias[h + i]; u_n += bias[2 * h + i]; }
            float r = 1 / (1 + MathF.Exp(-(T.Get(x, i) + u_r))), z = 1 / (1 + MathF.Exp(-(T.Get(x, h + i) + u_z))), n = MathF.Tanh(T.Get(x, 2 * h + i) + r * u_n);
            next[i] = n + z * (s[i] - n);
            (gates[i], gates[h + i], gates[2 * h + i], gates[3 * h + i]) = (r, z, n, u_n);
        }
    }

    // ds holds what comes of s directly; the product of du and W_hh is the caller's.
    private static void Backward<T>(Tensor g, Tensor? carried, Tensor s, Tensor gates, Tensor? real, Tensor dx, Tensor du, Tensor ds) where T : struct, IElement
    {
        var h = s.shape[1];
        nint pg = (nint)Simd.Pointer(g), pc = carried is null ? 0 : (nint)Simd.Pointer(carried), ps = (nint)Simd.Pointer(s), pa = (nint)Simd.Pointer(gates), pr = real is null ? 0 : (nint)Simd.Pointer(real);
        nint px = (nint)Simd.Pointer(dx), pu = (nint)Simd.Pointer(du), pd = (nint)Simd.Pointer(ds);
        Cores.For(s.shape[0], Math.Max(1, (1 << 13) / h), (from, to) =>
        {
            for (var row = from; row < to; row++)
            {
                void* x = (byte*)px + row * 3 * h * T.Size, u = (byte*)pu + row * 3 * h * T.Size;
                float* c = pc == 0 ? null : (float*)pc + row * h, d = (float*)pd + row * h;
                if (pr != 0 && ((byte*)pr)[row] == 0)
                {
                    new Span<byte>(x, (int)(3 * h * T.Size)).Clear();
                    new Span<byte>(u, (int)(3 * h * T.Size)).Clear();
                    if (c != null) new Span<float>(c, (int)h).CopyTo(new Span<float>(d, (int)h)); else new Span<float>(d, (int)h).Clear();
                }
                else BackwardRow<T>((float*)pg + row * h, c, (float*)ps + row * h, (float*)pa + row * 4 * h, x, u, d, h);
            }
        });
    }

    private static void BackwardRow<T>(float* g, float* carried, float* s, float* gates, void* dx, void* du, float* ds, long h) where T : struct, IElement
    {
        long i = 0;
        var one = Vector512<float>.One;
        for (; i + Simd.Width <= h; i += Simd.Width)
        {
            Vector512<float> r = Vector512.Load(gates + i), z = Vector512.Load(gates + h + i), n = Vector512.Load(gates + 2 * h + i), u_n = Vector512.Load(gates + 3 * h + i), d = Vector512.Load(g + i);
            if (carried != null) d += Vector512.Load(carried + i);
            Vector512<float> dn = d * (one - z) * (one - n * n), dz = d * (Vector512.Load(s + i) - n) * z * (one - z), dr = dn * u_n * r * (one - r);
            T.Store(dx, i, dr); T.Store(dx, h + i, dz); T.Store(dx, 2 * h + i, dn);
            T.Store(du, i, dr); T.Store(du, h + i, dz); T.Store(du, 2 * h + i, dn * r);
            (d * z).Store(ds + i);
        }
        for (; i < h; i++)
        {
            float r = gates[i], z = gates[h + i], n = gates[2 * h + i], u_n = gates[3 * h + i], d = g[i] + (carried != null ? carried[i] : 0);
            float dn = d * (1 - z) * (1 - n * n), dz = d * (s[i] - n) * z * (1 - z), dr = dn * u_n * r * (1 - r);
            T.Set(dx, i, dr); T.Set(dx, h + i, dz); T.Set(dx, 2 * h + i, dn);
            T.Set(du, i, dr); T.Set(du, h + i, dz); T.Set(du, 2 * h + i, dn * r);
            ds[i] = d * z;
        }
    }
}
