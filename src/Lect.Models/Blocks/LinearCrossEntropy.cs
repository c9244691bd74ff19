using System.Runtime.CompilerServices;
using TorchSharp;
using static TorchSharp.torch;

namespace Lect.Models;

/// <summary>
/// The output layer and its loss in one: scale * sum over labels of -log softmax(h Wᵀ + b)[label], with smoothing e of (1 - e) times that plus e / V times the sum over the
/// vocabulary of -log softmax (Szegedy et al. 2016, as PyTorch's cross_entropy). Logits exist a chunk of rows at a
/// time, and both gradients are computed in the forward pass, so that neither logits nor probabilities are kept.
/// </summary>
/// <remarks>Labels of -100 count for nothing. With scale = 1 / (number of labels of the whole step), micro-batches add up to the exact average.</remarks>
internal static unsafe class LinearCrossEntropy
{
    /// <summary>The label that is ignored, as PyTorch's cross_entropy has it.</summary>
    public const long Ignored = -100;

    private const long ChunkBytes = 256L << 20;

    /// <param name="h_NC">[N, C] activations.</param>
    /// <param name="weight_VC">[V, C], fp32.</param>
    /// <param name="labels_N">[N] int64.</param>
    /// <param name="scale">Factor of the sum.</param>
    /// <param name="compute">Precision of the products.</param>
    /// <param name="bias_V">b, or null.</param>
    /// <param name="smoothing">e.</param>
    /// <returns>A scalar, fp32.</returns>
    public static Tensor Apply(Tensor h_NC, Tensor weight_VC, Tensor labels_N, double scale, ComputeType compute, Tensor? bias_V = null, double smoothing = 0) => h_NC.shape[0] == 0 ? h_NC.sum().to(ScalarType.Float32)   // of no labels
        : Simd.Takes(h_NC)
        ? Function.Run(h_NC, weight_VC, labels_N, scale, compute, bias_V!, smoothing)
        : nn.functional.cross_entropy(Projection.OutIn(h_NC, weight_VC, bias_V, compute).to(ScalarType.Float32), labels_N, ignore_index: Ignored, reduction: nn.Reduction.Sum, label_smoothing: smoothing) * scale;

    private sealed class Function : KernelFunction<Function>
    {
        public override string Name => "LinearCrossEntropy";

        public override Tensor forward(autograd.AutogradContext ctx, params object[] vars)
        {
            using var scope = NewDisposeScope();
            var type = (ComputeType)vars[4] == ComputeType.BFloat16 ? ScalarType.BFloat16 : ScalarType.Float32;
            Tensor source = (Tensor)vars[0], h = source.to(type).contiguous(), w = ((Tensor)vars[1]).to(type), labels = ((Tensor)vars[2]).contiguous();
            var (scale, bias, smoothing) = ((double)vars[3], (Tensor?)vars[5], (float)(double)vars[6]);
            long n = h.shape[0], v = w.shape[0], chunk = Math.Clamp(ChunkBytes / (v * h.element_size()), 1, n);
            var dh = empty_like(h);
            Tensor? dw = ((Tensor)vars[1]).requires_grad ? null : empty(0), db = null;   // under an adapter the output layer is frozen
            double loss = 0;
            for (long at = 0; at < n; at += chunk)
            {
                using var inner = NewDisposeScope();
                var rows = Math.Min(chunk, n - at);
                var part = h.narrow(0, at, rows);
                var logits = part.mm(w.t());
                if (bias is not null) logits.add_(bias);
                loss += type == ScalarType.Float32 ? Gradient<Single32>(logits, labels.narrow(0, at, rows), (float)scale, smoothing) : Gradient<Brain16>(logits, labels.narrow(0, at, rows), (float)scale, smoothing);
                if (ctx is null) continue;
                dh.narrow(0, at, rows).copy_(logits.mm(w));
                if (dw is null) dw = Product().MoveToOuterDisposeScope();
                else if (dw.numel() > 0) dw.add_(Product());
                if (bias is null) continue;
                var dbPart = logits.sum([0L], type: ScalarType.Float32);
                if (db is null) db = dbPart.MoveToOuterDisposeScope();
                else db.add_(dbPart);

                Tensor Product() => logits.t().mm(part).to(ScalarType.Float32);
            }
            ctx.Save(bias is null ? [dh.to(source.dtype), dw!] : [dh.to(source.dtype), dw!, db!], bias is null ? [(Tensor)vars[1]] : [(Tensor)vars[1], bias]);
            return tensor((float)(loss * scale)).MoveToOuterDisposeScope();
        }

        public override List<Tensor> backward(autograd.AutogradContext ctx, Tensor grad_output)
        {
            var saved = ctx.get_saved_variables();
            var g = grad_output.item<float>();
            using var scope = NewDisposeScope();
            Tensor Scaled(Tensor gradient) => g == 1 ? gradient : gradient * g;
            var made = saved.Count / 2 + 1;   // dh, dw and perhaps db, then the weight and perhaps the bias
            var dh = g == 1 ? saved[0] : (saved[0] * g).MoveToOuterDisposeScope();
            return [dh, Saving.Deliver(saved[made], () => Scaled(saved[1])), null!, null!, null!, saved.Count > 3 ? Saving.Deliver(saved[made + 1], () => Scaled(saved[2])) : null!, null!];
        }
    }

    // In place: logits become scale * (softmax - (1 - smoothing) one-hot - smoothing / V); gives the sum of the losses. Rows with an ignored label become 0.
    private static double Gradient<T>(Tensor logits, Tensor labels, float scale, float smoothing) where T : struct, IElement
    {
        var (n, v, p, y) = (logits.shape[0], logits.shape[1], (nint)Simd.Pointer(logits), (nint)Simd.Pointer(labels));
        for (long r = 0; r < n; r++)   // before any memory is touched by it
            if (((long*)y)[r] is var label && label != Ignored && (ulong)label >= (ulong)v) throw new ArgumentOutOfRangeException(nameof(labels), $"Found the label {label}. Expected 0 to {v - 1}, or {Ignored} for none.");
        var losses = new double[n];   // one a row, added in order, so that the sum does not depend on the threads
        Cores.For(n, 1, (from, to) =>
        {
            var buffer = new float[v + Simd.Width];
            fixed (float* e = buffer)
                for (var r = from; r < to; r++) losses[r] = GradientRow<T>((byte*)p + r * v * T.Size, v, ((long*)y)[r], scale, smoothing, e);
        });
        return losses.Sum();
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static double GradientRow<T>(void* x, long v, long label, float scale, float smoothing, float* e) where T : struct, IElement
    {
        if (label == Ignored) { for (long j = 0; j < v; j++) T.Set(x, j, 0); return 0; }
        float max = Simd.Max<T>(x, v), own = T.Get(x, label), sum = Simd.ExpSum<T>(x, v, 1, max, e), factor = scale / sum;
        var mean = smoothing > 0 ? Simd.Sum<T>(x, v) / v : 0;
        Simd.Scale<T>(e, v, factor, x, -scale * smoothing / v);
        T.Set(x, label, e[label] * factor - scale * (1 - smoothing) - scale * smoothing / v);
        return Math.Log(sum) + max - (1 - smoothing) * own - smoothing * mean;
    }
}
