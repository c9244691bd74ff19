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

/// <summary>For functions with a backward pass of their own.</summary>
internal static class Saving
{
    /// <summary>Saves tensors that forward made for the backward pass, and some that it was given. TorchSharp takes them only after forward has returned, so what was made leaves its dispose scope.</summary>
    public static void Save(this autograd.AutogradContext context, ReadOnlySpan<Tensor> made, params ReadOnlySpan<Tensor> given)
    {
        foreach (var t in made) t.MoveToOuterDisposeScope();
        context.save_for_backward([.. made, .. given]);
    }

    /// <summary>
    /// Hands a parameter its gradient: added to <c>parameter.grad</c> at once, where autograd would copy it first (TorchSharp still holds
    /// it), a tenth of a small batch's step. What is no leaf of the graph gets it from autograd.
    /// </summary>
    /// <param name="parameter">An input of forward.</param>
    /// <param name="gradient">Makes its gradient in fp32; not called for a frozen parameter.</param>
    /// <returns>What backward returns for that input.</returns>
    public static Tensor Deliver(Tensor parameter, Func<Tensor> gradient)
    {
        if (!parameter.requires_grad) return null!;
        if (!parameter.is_leaf) return gradient().MoveToOuterDisposeScope();
        using var noGrad = no_grad();
        if (parameter.grad is { } sum) sum.add_(gradient());
        else parameter.grad = gradient();
        return null!;
    }
}
