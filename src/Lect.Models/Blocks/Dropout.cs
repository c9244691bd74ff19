using TorchSharp;
using static TorchSharp.torch;

namespace Lect.Models;

/// <summary>Dropout (Srivastava et al. 2014), which does nothing where the module is not training or the probability is 0.</summary>
internal static class Dropout
{
    /// <param name="module">Whose mode counts.</param>
    /// <param name="x">Activations.</param>
    /// <param name="probability">Of each to become 0; the others grow to keep the sum.</param>
    public static Tensor Drop(this nn.Module module, Tensor x, double probability) => module.training && probability > 0 ? nn.functional.dropout(x, probability, training: true) : x;
}
