using Lect.Models;
using Lect.Text;
using TorchSharp;
using static TorchSharp.torch;

namespace Lect;

/// <summary>How far an update may go, and what counts in it.</summary>
/// <param name="Policy">c of the policy's ratio.</param>
/// <param name="Value">c of the values.</param>
/// <param name="ValueWeight">Weight of the value's loss.</param>
/// <param name="EntropyWeight">Weight of the entropy, which is encouraged.</param>
internal sealed record PpoClipping(double Policy, double Value, double ValueWeight, double EntropyWeight);

/// <summary>The loss of a minibatch and its figures.</summary>
internal sealed record PpoFigures(Tensor Loss, double Policy, double Value, double Entropy, double ApproxKl, double ClipFraction, double ValueClipFraction, double Ratio);

/// <summary>Answers that a policy sampled, and what was known of them then: [B, T] each, a token's figures at the place that predicts it, 0 outside the answers.</summary>
/// <param name="LogProbs">Of the policy that sampled.</param>
/// <param name="Reference">Of the reference.</param>
/// <param name="Values">V.</param>
/// <param name="Entropy">Of the policy that sampled.</param>
/// <param name="Mask">1 at answers' tokens.</param>
internal sealed record Rollout(Tensor LogProbs, Tensor Reference, Tensor Values, Tensor Entropy, Tensor Mask)
{
    /// <summary>A, whitened.</summary>
    public Tensor? Advantages { get; init; }

    /// <summary>A + V, not whitened.</summary>
    public Tensor? Returns { get; init; }

    /// <summary>What policy, value and reference say of answers; in the current scope, without gradients.</summary>
    /// <param name="policy">The policy.</param>
    /// <param name="value">A head on the policy's activations, or a model of its own.</param>
    /// <param name="reference">The reference; null: the policy without its adapters.</param>
    /// <param name="batch">Prompts and answers.</param>
    /// <param name="temperature">That they were sampled with.</param>
    public static Rollout Of(CausalLanguageModel policy, nn.Module value, CausalLanguageModel? reference, AnswerBatch batch, double temperature)
    {
        using var noGrad = no_grad();
        var device = policy.HeadWeight.device;
        var (labels, mask) = (batch.Labels(device), batch.Mask(device));
        var hidden = batch.Hidden(policy);
        var (logProbs, entropy) = TokenLogProbs.Of(policy, hidden, labels, temperature, wantsEntropy: true);
        return new(logProbs, batch.ReferenceLogProbs(policy, reference, temperature), ValuesOf(value, hidden, batch) * mask, entropy!, mask);
    }

    // A head reads the policy's activations; a model of its own has others, read at every token.
    private static Tensor ValuesOf(nn.Module value, Tensor hidden, AnswerBatch batch) => value is ValueHead head ? head.forward(hidden) : ((CausalLanguageModel)value).ScoresOf(batch.Hidden((CausalLanguageModel)value)).squeeze(-1);

    /// <summary>1 - var(R - V) / var(R) over the answers.</summary>
    public static double ExplainedVariance(Tensor values, Tensor returns, Tensor mask)
    {
        using var scope = NewDisposeScope();
        Tensor Variance(Tensor x) => PolicyGradient.Mean((x - PolicyGradient.Mean(x, mask)).square(), mask);
        return 1 - (Variance(returns - values) / Variance(returns)).item<float>();
    }

    /// <summary>The clipped loss of some rows, with gradients; in the current scope.</summary>
    /// <param name="policy">The policy.</param>
    /// <param name="value">Its value head or model.</param>
    /// <param name="rows">The rows.</param>
    /// <param name="chosen">Their places in the rollout.</param>
    /// <param name="padId">What fills.</param>
    /// <param name="temperature">That they were sampled with.</param>
    /// <param name="clipping">How far it may go.</param>
    public PpoFigures Loss(CausalLanguageModel policy, nn.Module value, IReadOnlyList<AnswerRow> rows, IReadOnlyList<int> chosen, int padId, double temperature, PpoClipping clipping)
    {
        var batch = new AnswerBatch(rows, padId);
        var at = tensor(chosen.Select(i => (long)i).ToArray(), device: LogProbs.device);
        Tensor Old(Tensor x) => x.index_select(0, at).narrow(1, 0, batch.Length);
        var mask = Old(Mask);
        var hidden = batch.Hidden(policy);
        var (logProbs, entropy) = TokenLogProbs.Of(policy, hidden, batch.Labels(LogProbs.device), temperature, wantsEntropy: true);
        var values = ValuesOf(value, hidden, batch) * mask;
        var (policyLoss, unclipped, clipped, ratio) = PolicyGradient.PolicyLoss(logProbs, Old(LogProbs), Old(Advantages!), clipping.Policy);
        var (valueLoss, _, isClipped) = PolicyGradient.ValueLoss(values, Old(Values), Old(Returns!), clipping.Value);
        Tensor Mean(Tensor x) => PolicyGradient.Mean(x, mask);
        var (p, v, e) = (Mean(policyLoss), Mean(valueLoss), Mean(entropy!));
        double Number(Tensor x) => x.item<float>();
        return new(p + v * clipping.ValueWeight - e * clipping.EntropyWeight, Number(p), Number(v), Number(e), Number(Mean((logProbs - Old(LogProbs)).square()) * 0.5), Number(Mean(clipped.gt(unclipped).to(ScalarType.Float32))), Number(Mean(isClipped.to(ScalarType.Float32))), Number(Mean(ratio)));
    }
}
