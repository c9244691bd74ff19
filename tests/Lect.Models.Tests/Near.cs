using TorchSharp;
using static TorchSharp.torch;

namespace Lect.Testing;

/// <summary>Comparisons with a tolerance that say where they fail.</summary>
public static class Near
{
    public static void Equal(Tensor expected, Tensor found, double absolute, double relative, string what)
    {
        using var scope = NewDisposeScope();
        Assert.Equal(expected.shape, found.shape);
        var e = expected.to(ScalarType.Float64);
        var excess = (found.detach().to(ScalarType.Float64) - e).abs() - (absolute + relative * e.abs());
        var worst = excess.numel() == 0 ? -1 : excess.max().item<double>();
        Assert.True(worst <= 0, $"{what}: off by {worst + absolute:g3}, allowed {absolute:g3}");
    }

    public static void Equal(double expected, double found, double tolerance, string what) =>
        Assert.True(Math.Abs(expected - found) <= tolerance, $"{what}: found {found:g9}, expected {expected:g9}, allowed {tolerance:g3}");
}
