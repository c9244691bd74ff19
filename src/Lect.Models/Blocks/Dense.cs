using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace Lect.Models;

/// <summary>A projection of a decoder: a weight, perhaps a bias, and perhaps a low-rank adapter beside it (Hu et al. 2021).</summary>
internal abstract class ProjectionLayer(string name) : nn.Module(name)
{
    private LowRank? adapter;
    private Tensor? rounded;

    /// <summary>The weight, [out, in] or as <see cref="IsInOut"/> says.</summary>
    public abstract Parameter Weight { get; }

    /// <summary>Whether the weight is [in, out].</summary>
    public abstract bool IsInOut { get; }

    private protected abstract Parameter? Bias { get; }

    /// <summary>What is added to the weight; null: nothing.</summary>
    public LowRank? Adapter
    {
        get => adapter;
        set
        {
            if (value is not null) foreach (var (key, part) in value.Parts) register_module(key, part);
            adapter = value;
        }
    }

    public Tensor forward(Tensor x, ComputeType compute) => adapter is { IsOn: true } ? adapter.Apply(this, x, compute) : Plain(x, compute);

    /// <summary>The projection without its adapter.</summary>
    public Tensor Plain(Tensor x, ComputeType compute, bool withBias = true) => IsInOut ? Projection.InOut(x, Weight, withBias ? Bias : null, compute, rounded) : Projection.OutIn(x, Weight, withBias ? Bias : null, compute, rounded);

    /// <summary>See <see cref="CausalLanguageModel.RoundWeights"/>.</summary>
    public void Round()
    {
        rounded?.Dispose();
        rounded = Projection.Round(Weight);
    }

    /// <inheritdoc/>
    protected override void Dispose(bool disposing)
    {
        if (disposing) rounded?.Dispose();
        base.Dispose(disposing);
    }

    /// <summary>The bias added to a result.</summary>
    public Tensor Biased(Tensor y) => Bias is null ? y : y + Bias;
}

/// <summary>A linear layer whose weight is [out, in].</summary>
internal sealed class Dense : ProjectionLayer
{
    private readonly Parameter weight;
    private readonly Parameter? bias;

    public Dense(long inputs, long outputs, bool hasBias, Device device) : base("Linear")
    {
        weight = new Parameter(zeros(outputs, inputs, device: device));
        if (hasBias) bias = new Parameter(zeros(outputs, device: device));
        RegisterComponents();
    }

    public override Parameter Weight => weight;
    public override bool IsInOut => false;
    private protected override Parameter? Bias => bias;
}

/// <summary>A linear layer whose weight is [in, out], as OpenAI's checkpoints keep it.</summary>
internal sealed class Conv1D : ProjectionLayer
{
    private readonly Parameter weight, bias;

    public Conv1D(long inputs, long outputs, Device device) : base("Conv1D")
    {
        weight = new Parameter(zeros(inputs, outputs, device: device));
        bias = new Parameter(zeros(outputs, device: device));
        RegisterComponents();
    }

    public override Parameter Weight => weight;
    public override bool IsInOut => true;
    private protected override Parameter Bias => bias;
}
