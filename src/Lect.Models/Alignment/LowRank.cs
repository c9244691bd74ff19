using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace Lect.Models;

/// <summary>
/// A low-rank change of a projection: W + s B A (Hu et al. 2021, equation 3), or with a magnitude m for each output m (W + s B A) / ‖W + s B A‖ (DoRA: Liu et al. 2024,
/// equation 5; the norm counts as a constant in the gradient, section 4.3).
/// </summary>
internal sealed class LowRank : IDisposable
{
    private readonly Holder a, b;
    private readonly Holder? magnitude;
    private readonly double scale, dropout;

    /// <param name="layer">What it changes.</param>
    /// <param name="rank">r.</param>
    /// <param name="scale">s = alpha / r, or alpha / sqrt(r).</param>
    /// <param name="dropout">Of the input, beside the weight's own.</param>
    /// <param name="hasMagnitude">DoRA.</param>
    /// <param name="generator">Draws A, uniform as a new linear layer's; B is 0, so that nothing changes at first.</param>
    public LowRank(ProjectionLayer layer, int rank, double scale, double dropout, bool hasMagnitude, torch.Generator generator)
    {
        (this.scale, this.dropout) = (scale, dropout);
        var (weight, isInOut) = (layer.Weight, layer.IsInOut);
        var (outputs, inputs) = isInOut ? (weight.shape[1], weight.shape[0]) : (weight.shape[0], weight.shape[1]);
        using var noGrad = no_grad();
        a = new(empty(rank, inputs).uniform_(-1 / Math.Sqrt(inputs), 1 / Math.Sqrt(inputs), generator).to(weight.device));
        b = new(zeros(outputs, rank, device: weight.device));
        if (hasMagnitude) magnitude = new(Norm(layer));
    }

    /// <summary>Whether it takes part in passes.</summary>
    public bool IsOn { get; set; } = true;

    /// <summary>Its parameters as modules, by PEFT's names.</summary>
    public IEnumerable<(string Key, nn.Module Part)> Parts => magnitude is null ? [("lora_A", a), ("lora_B", b)] : [("lora_A", a), ("lora_B", b), ("lora_magnitude_vector", magnitude)];

    /// <summary>Its parameters by the ends of PEFT's keys.</summary>
    public IEnumerable<(string Key, Parameter Parameter)> Parameters => [("lora_A.weight", a.weight), ("lora_B.weight", b.weight), .. magnitude is null ? [] : new[] { ("lora_magnitude_vector", magnitude.weight) }];

    /// <summary>The projection with its change.</summary>
    public Tensor Apply(ProjectionLayer layer, Tensor x, ComputeType compute)
    {
        var low = Projection.OutIn(Projection.OutIn(layer.training && dropout > 0 ? Dropout.Apply(x, dropout) : x, a.weight, null, compute) * scale, b.weight, null, compute);
        if (magnitude is null) return layer.Plain(x, compute) + low;
        return layer.Biased((layer.Plain(x, compute, withBias: false) + low) * (magnitude.weight / Norm(layer))).to(low.dtype);
    }

    // ‖W + s B A‖ of each output, [out]; no gradient.
    private Tensor Norm(ProjectionLayer layer)
    {
        using var noGrad = no_grad();
        var weight_OI = layer.IsInOut ? layer.Weight.t() : layer.Weight;
        return (weight_OI + Change()).square().sum(1).sqrt();
    }

    // s B A, [out, in].
    private Tensor Change() => b.weight.mm(a.weight) * scale;

    /// <summary>Takes a merged change out of the weight again. Not of DoRA: what its weight was divided by is not known any more.</summary>
    public void Unmerge(ProjectionLayer layer)
    {
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        layer.Weight.sub_(layer.IsInOut ? Change().t() : Change());
    }

    /// <summary>Makes the change one of the weight itself.</summary>
    public void Merge(ProjectionLayer layer)
    {
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        var weight_OI = (layer.IsInOut ? layer.Weight.t() : layer.Weight) + Change();
        if (magnitude is not null) weight_OI *= (magnitude.weight / weight_OI.square().sum(1).sqrt()).unsqueeze(1);
        layer.Weight.copy_(layer.IsInOut ? weight_OI.t() : weight_OI);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (var (_, part) in Parts) part.Dispose();
    }

    // A module of one parameter, so that its key ends as PEFT's.
    private sealed class Holder : nn.Module
    {
        internal readonly Parameter weight;

        public Holder(Tensor value) : base("Parameter")
        {
            weight = new Parameter(value);
            RegisterComponents();
            this.OwnParameters();
        }
    }
}
