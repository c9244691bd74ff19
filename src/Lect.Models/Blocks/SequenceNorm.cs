using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace Lect.Models;

/// <summary>
/// Layer normalization (Ba et al. 2016), each position over its own width; or batch normalization (Ioffe and Szegedy 2015), each feature over all valid positions of the batch, with running
/// averages for evaluation.
/// </summary>
internal sealed class SequenceNorm : nn.Module
{
    private const double Momentum = 0.1;   // of the running averages, torch's

    private readonly Parameter weight, bias;
    private readonly double eps;
    private readonly bool overBatch;

    public SequenceNorm(TransformerConfig config, Device device) : this(config.DModel, config.NormEps, config.Norm == "batch_norm", device) { }

    /// <param name="width">C.</param>
    /// <param name="eps">Added to the variance.</param>
    /// <param name="overBatch">Batch normalization.</param>
    /// <param name="device">Where.</param>
    public SequenceNorm(long width, double eps, bool overBatch, Device device) : base("SequenceNorm")
    {
        (this.eps, this.overBatch) = (eps, overBatch);
        (weight, bias) = (new(ones(width, device: device)), new(zeros(width, device: device)));
        RegisterComponents();
        if (!overBatch) return;
        register_buffer("running_mean", zeros(width, device: device).DetachFromDisposeScope());
        register_buffer("running_var", ones(width, device: device).DetachFromDisposeScope());
    }

    /// <summary>norm(residual + dropout(x)).</summary>
    public Tensor OfSum(Tensor residual_BTC, Tensor x_BTC, double dropout, Tensor real_BT) =>
        overBatch ? forward(this.AddDropped(residual_BTC, x_BTC, dropout), real_BT) : LayerNorm.OfSum(residual_BTC, x_BTC, training ? dropout : 0, weight, bias, eps);

    /// <param name="x_BTC">Activations.</param>
    /// <param name="real_BT">Positions that are no padding; batch normalization leaves the others out, and makes them 0.</param>
    /// <param name="compute">bf16: what layer normalization gives is rounded at once to what the products behind it read.</param>
    public Tensor forward(Tensor x_BTC, Tensor real_BT, ComputeType compute = ComputeType.Float32)
    {
        if (!overBatch) return LayerNorm.Of(x_BTC, weight, bias, eps, compute == ComputeType.BFloat16 ? ScalarType.BFloat16 : ScalarType.Float32);
        using var scope = NewDisposeScope();
        var (mean_C, var_C, real) = (get_buffer("running_mean")!, get_buffer("running_var")!, real_BT.unsqueeze(-1).to(ScalarType.Float32));
        if (training)
        {
            var count = real.sum();
            var batchMean_C = (x_BTC * real).sum([0, 1]) / count;
            var batchVar_C = ((x_BTC - batchMean_C).square() * real).sum([0, 1]) / count;
            using (no_grad())
            {
                mean_C.mul_(1 - Momentum).add_(batchMean_C.detach() * Momentum);
                var_C.mul_(1 - Momentum).add_(batchVar_C.detach() * (count / (count - 1).clamp_min(1)) * Momentum);   // unbiased
            }
            (mean_C, var_C) = (batchMean_C, batchVar_C);
        }
        return (((x_BTC - mean_C) / (var_C + eps).sqrt() * weight + bias) * real).MoveToOuterDisposeScope();
    }
}
