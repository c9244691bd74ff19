using Lect.Models;
using Lect.Text;
using TorchSharp;
using static TorchSharp.torch;

namespace Lect;

/// <summary>What KTO compares: log π / π_ref of answers, and of the answers to other prompts.</summary>
internal static class UnpairedLogProbs
{
    /// <summary>log π / π_ref of each answer, and its mean where each prompt gets the answer before its own in the batch (at least 0, no gradient).</summary>
    /// <param name="policy">With gradients.</param>
    /// <param name="reference">The reference; null: the policy without its adapters.</param>
    /// <param name="rows">Prompts with their answers.</param>
    /// <param name="prompts">Tokens of each prompt.</param>
    /// <param name="padId">What fills.</param>
    /// <param name="withKl">Whether the mean is wanted; 0 otherwise.</param>
    public static (Tensor LogRatio, Tensor Kl) Of(CausalLanguageModel policy, CausalLanguageModel? reference, IReadOnlyList<AnswerRow> rows, IReadOnlyList<int> prompts, int padId, bool withKl)
    {
        var matched = new AnswerBatch(rows, padId);
        var mixed = withKl ? new AnswerBatch([.. rows.Select((row, i) => (i + rows.Count - 1) % rows.Count is var other ? AnswerRow.Of(row.Ids[..prompts[i]], rows[other].Ids[prompts[other]..]).Cut((int)Math.Min(int.MaxValue, policy.ContextLength)) : row)], padId) : null;
        Tensor Own(AnswerBatch batch) => batch.LogProbs(policy).LogProbs.sum(1);
        Tensor Others(AnswerBatch batch) => batch.ReferenceLogProbs(policy, reference, temperature: 1).sum(1);
        Tensor others, kl;
        using (no_grad())
        {
            others = Others(matched);
            kl = mixed is null ? zeros([]) : (Own(mixed) - Others(mixed)).mean().clamp_min(0);
        }
        return (Own(matched) - others, kl);
    }
}
