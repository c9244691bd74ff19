using TorchSharp;
using static TorchSharp.torch;

namespace Lect.Models;

/// <summary>A function with a backward pass of its own. Its forward pass may be asked without a context: then nobody will ask for gradients.</summary>
internal abstract class KernelFunction<T> : autograd.SingleTensorFunction<T> where T : KernelFunction<T>, new()
{
    private static readonly T s_forward = new();

    /// <summary>The function's value. Where no gradients are wanted forward alone is called: autograd's bookkeeping takes as long as a small matrix product, which a decoder's step of one token is made of.</summary>
    public static Tensor Run(params object[] vars) => is_grad_enabled() ? apply(vars) : s_forward.forward(null!, vars);
}

/// <summary>What such functions keep and hand on.</summary>
internal static class Saving
{
    /// <summary>Saves tensors that forward made for the backward pass, and some that it was given. TorchSharp takes them only after forward has returned, so what was made leaves its dispose scope.</summary>
    public static void Save(this autograd.AutogradContext? context, ReadOnlySpan<Tensor> made, params ReadOnlySpan<Tensor> given)
    {
        if (context is null) return;
        foreach (var t in made) t.MoveToOuterDisposeScope();
        context.save_for_backward([.. made, .. given]);
    }

    /// <summary>Saves a number or the like for the backward pass.</summary>
    public static void Keep(this autograd.AutogradContext? context, string name, object value) => context?.save_data(name, value);

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
