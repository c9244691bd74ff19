using System.Runtime.InteropServices;
using TorchSharp;

namespace Lect.Models;

/// <summary>Numbers out of tensors.</summary>
internal static class Scalars
{
    /// <summary>The value of an fp32 tensor of one element.</summary>
    /// <remarks>
    /// Not <c>item()</c>: TorchSharp 0.107 reads through a Scalar object that nothing keeps alive during the native call, and a garbage
    /// collection at that moment makes it fail ("Exception raised from toFloat"). Seen once in some thousand test steps.
    /// </remarks>
    public static float Number(this torch.Tensor tensor)
    {
        using var here = tensor.detach().cpu();
        var value = MemoryMarshal.Read<float>(here.bytes);
        GC.KeepAlive(here);
        return value;
    }
}
