using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace Lect.Models;

/// <summary>A value of each token from a decoder's final activations: v = w h + b.</summary>
public sealed class ValueHead : nn.Module
{
    private readonly Parameter weight, bias;

    /// <param name="width">C.</param>
    /// <param name="device">Where.</param>
    public ValueHead(long width, Device? device = null) : base("ValueHead")
    {
        (weight, bias) = (new Parameter(zeros(1, width, device: device)), new Parameter(zeros(1, device: device)));
        RegisterComponents();
        this.OwnParameters();
    }

    /// <summary>[..., C] to [...].</summary>
    public Tensor forward(Tensor hidden) => nn.functional.linear(hidden, weight, bias).squeeze(-1);
}
