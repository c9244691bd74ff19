using TorchSharp;

namespace Lect.Models;

/// <summary>Where tensors live.</summary>
public static class Devices
{
    /// <summary>The device a name stands for: <c>auto</c> (CUDA where it works, else the CPU), <c>cpu</c>, <c>cuda</c>, <c>cuda:1</c>, <c>mps</c>.</summary>
    /// <remarks>Anything but the CPU needs another libtorch package (Libtorch.props) and is untested.</remarks>
    /// <exception cref="InvalidDataException">No such device, or it is not available here.</exception>
    public static torch.Device Choose(string name)
    {
        TorchNative.Load();
        var kind = name.Split(':')[0];
        if (kind is not ("auto" or "cpu" or "cuda" or "mps")) throw new InvalidDataException($"Found the device '{name}'. Expected auto, cpu, cuda, cuda:N or mps.");
        if (kind == "auto") return torch.cuda.is_available() ? torch.CUDA : torch.CPU;
        if ((kind == "cuda" && !torch.cuda.is_available()) || (kind == "mps" && !torch.mps_is_available()))
            throw new InvalidDataException($"Found the device '{name}', which is not available here: this build of Lect uses libtorch for the CPU, or the machine has no such device. Use --device cpu, or build with the package of that device (Libtorch.props).");
        return torch.device(name);
    }
}
