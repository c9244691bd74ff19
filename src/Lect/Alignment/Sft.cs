using Lect.Models;
using TorchSharp;
using static TorchSharp.torch;

namespace Lect;

/// <summary>Instruction tuning.</summary>
public static class Sft
{
    /// <summary>-scale * sum of log p(token) over the tokens that are learned.</summary>
    internal static Tensor Loss(CausalLanguageModel model, AnswerBatch batch, double scale)
    {
        using var scope = NewDisposeScope();
        return model.LossOf(batch.Hidden(model), batch.Labels(model.HeadWeight.device), scale).MoveToOuterDisposeScope();
    }
}
