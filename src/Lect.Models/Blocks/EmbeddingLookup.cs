using TorchSharp;
using static TorchSharp.torch;

namespace Lect.Models;

/// <summary>Rows of an embedding matrix. The backward pass touches the rows that were looked up, not the whole matrix.</summary>
internal sealed class EmbeddingLookup : KernelFunction<EmbeddingLookup>
{
    /// <param name="weight_VC">[V, C].</param>
    /// <param name="ids">int64, any shape.</param>
    /// <param name="padId">An id whose row learns nothing from being looked up (PyTorch's padding_idx); -1: none.</param>
    /// <returns>[…ids, C].</returns>
    public static Tensor Of(Tensor weight_VC, Tensor ids, int padId = -1) => Run(weight_VC, ids, padId);

    public override string Name => "EmbeddingLookup";

    public override Tensor forward(autograd.AutogradContext ctx, params object[] vars)
    {
        var (weight, ids) = ((Tensor)vars[0], (Tensor)vars[1]);
        using var scope = NewDisposeScope();
        var flat = ids.reshape(-1);
        var rows = weight.index_select(0, flat).view([.. ids.shape, weight.shape[1]]);
        ctx.Save([flat], weight);
        ctx.Keep("pad", (int)vars[2]);
        return rows.MoveToOuterDisposeScope();
    }

    public override List<Tensor> backward(autograd.AutogradContext ctx, Tensor grad_output)
    {
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        var saved = ctx.get_saved_variables();
        var (ids, weight, g) = (saved[0], saved[1], grad_output.reshape(-1, grad_output.shape[^1]));
        if ((int)ctx.get_data("pad") is >= 0 and var pad) g = g.masked_fill(ids.eq(pad).unsqueeze(1), 0);
        // With a tied output layer the sum is there already.
        if (weight.is_leaf && weight.grad is { } sum) { sum.index_add_(0, ids, g, 1); return [null!, null!, null!]; }
        return [Saving.Deliver(weight, () => zeros_like(weight).index_add_(0, ids, g, 1)), null!, null!];
    }
}
