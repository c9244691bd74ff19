using TorchSharp;
using static TorchSharp.torch;

namespace Lect.Models;

/// <summary>Who disposes a module's tensors.</summary>
internal static class Ownership
{
    /// <summary>Takes parameters and buffers out of whatever dispose scope the module was built in, which would else free them with itself.</summary>
    public static void OwnParameters(this nn.Module module)
    {
        foreach (var parameter in module.parameters()) parameter.DetachFromDisposeScope();
        foreach (var buffer in module.buffers()) buffer.DetachFromDisposeScope();
    }
}
