using TorchSharp;
using static TorchSharp.torch;

namespace Lect.Models;

/// <summary>The kernels of today's decoders, forward and backward, and the same by libtorch's operations, for who measures.</summary>
internal static class Blocks
{
    /// <summary>Pairs of work.</summary>
    /// <param name="tokens">Positions.</param>
    /// <param name="heads">H.</param>
    /// <param name="width">C.</param>
    /// <param name="inner">F.</param>
    /// <param name="compute">Precision of what stands between products.</param>
    internal static IEnumerable<(string Name, Action Own, Action Plain)> Of(int tokens, int heads, int width, int inner, ComputeType compute)
    {
        var type = compute == ComputeType.BFloat16 ? ScalarType.BFloat16 : ScalarType.Float32;
        Tensor New(ScalarType of, params long[] shape) => randn(shape, generator: Seeds.Generator(1, "bench")).to(of).detach().requires_grad_(true).DetachFromDisposeScope();
        void Both(Func<Tensor> forward, Tensor upstream)
        {
            using var scope = NewDisposeScope();
            forward().backward([upstream]);
        }
        Tensor x = New(ScalarType.Float32, tokens, width), weight = New(ScalarType.Float32, width), g = New(type, tokens, width).detach();
        yield return ("rms_norm", () => Both(() => RmsNorm.Of(x, weight, 1e-6, type), g), () => Both(() => (weight * (x * (x.square().mean([-1L], keepdim: true) + 1e-6).rsqrt())).to(type), g));
        Tensor a = New(type, tokens, inner), b = New(type, tokens, inner), h = New(type, tokens, inner).detach();
        yield return ("swiglu", () => Both(() => SwiGlu.Of(a, b), h), () => Both(() => nn.functional.silu(a) * b, h));
        var d = width / heads;
        Tensor q = New(type, 1, tokens, width), up = New(type, 1, heads, tokens, d).detach();
        var turn = new Rotary(new(), d, tokens).At(arange(tokens).unsqueeze(0));
        yield return ("rotary", () => Both(() => Rotary.Heads(q, heads, turn), up), () => Both(() => Rotary.HeadsPlain(q, heads, turn), up));
    }
}
