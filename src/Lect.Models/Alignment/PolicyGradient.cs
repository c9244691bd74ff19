// PPO: Schulman et al. 2017, for language models as Ziegler et al. 2019 and Ouyang et al. 2022 have it; GRPO: Shao et al. 2024, with Dr. GRPO (Liu et al. 2025), DAPO (Yu et al. 2025), GSPO (Zheng et al. 2025) and CISPO (MiniMax 2025).
// Shapes: B rows, R response tokens. A mask m is 1 at response tokens, the end token among them, and 0 behind.
using TorchSharp;
using static TorchSharp.torch;

namespace Lect.Models;

/// <summary>The arithmetic of proximal policy optimization.</summary>
public static class PolicyGradient
{
    /// <summary>Added to a variance.</summary>
    private const double Epsilon = 1e-8;

    /// <summary>The estimators of a divergence from the reference, token by token (Schulman 2020): k1 = D, k2 = D² / 2, k3 = e^-D - 1 + D with D = log π - log π_ref.</summary>
    public static Tensor Kl(Tensor logProbs, Tensor reference, string estimator)
    {
        var d = logProbs - reference;
        return estimator switch
        {
            "k1" => d,
            "k2" => d.square() * 0.5,
            "k3" => (-d).exp() - 1 + d,
            _ => throw new ArgumentException($"Found the estimator '{estimator}'. Expected k1, k2 or k3."),
        };
    }

    /// <summary>The rewards of tokens, [B, R]: -coefficient * KL at each, and the score at the mask's last.</summary>
    public static Tensor Rewards(Tensor kl_BR, Tensor scores_B, Tensor mask_BR, double coefficient)
    {
        var last = (mask_BR * arange(mask_BR.shape[1], device: mask_BR.device)).argmax(1);
        return (kl_BR * -coefficient).scatter_add(1, last.unsqueeze(1), scores_B.unsqueeze(1)) * mask_BR;
    }

    /// <summary>The mean over the mask.</summary>
    public static Tensor Mean(Tensor x, Tensor mask) => (x * mask).sum() / mask.sum();

    /// <summary>(x - mean) / sqrt(var + 1e-8) over the mask; 0 outside.</summary>
    /// <param name="x">[B, R].</param>
    /// <param name="mask">[B, R].</param>
    /// <param name="shiftsMean">false: the mean is added back.</param>
    /// <param name="unbiased">The variance of n - 1.</param>
    public static Tensor Whiten(Tensor x, Tensor mask, bool shiftsMean, bool unbiased)
    {
        var (n, mean) = (mask.sum(), Mean(x, mask));
        var variance = Mean((x - mean).square(), mask) * (unbiased ? n / (n - 1).clamp_min(1) : 1.0);
        var white = (x - mean) * (variance + Epsilon).rsqrt();
        return (shiftsMean ? white : white + mean) * mask;
    }

    /// <summary>Generalized advantage estimation (Schulman et al. 2016): δ_t = r_t + γ V_{t+1} - V_t, A_t = δ_t + γ λ A_{t+1}, returns A + V; V is 0 behind the last token.</summary>
    public static (Tensor Advantages, Tensor Returns) Gae(Tensor rewards_BR, Tensor values_BR, Tensor mask_BR, double gamma, double lambda)
    {
        var length = rewards_BR.shape[1];
        var advantages = zeros_like(rewards_BR);
        Tensor At(Tensor x, long t) => x.narrow(1, t, 1);
        Tensor? next = null;
        for (var t = length - 1; t >= 0; t--)
        {
            var following = t + 1 < length ? At(values_BR, t + 1) * At(mask_BR, t + 1) : zeros_like(At(values_BR, t));
            var delta = At(rewards_BR, t) + following * gamma - At(values_BR, t);
            next = (next is null ? delta : delta + next * (gamma * lambda)) * At(mask_BR, t);
            At(advantages, t).copy_(next);
        }
        return (advantages, (advantages + values_BR) * mask_BR);
    }

    /// <summary>The clipped loss of each token (Schulman et al. 2017, equation 7): max(-A ρ, -A clip(ρ, 1 - c, 1 + c)), ρ = π / π_old.</summary>
    /// <returns>The loss, its two sides, and ρ; [B, R].</returns>
    public static (Tensor Loss, Tensor Unclipped, Tensor Clipped, Tensor Ratio) PolicyLoss(Tensor logProbs, Tensor old, Tensor advantages, double clip)
    {
        var ratio = (logProbs - old).exp();
        var (free, clipped) = (-advantages * ratio, -advantages * ratio.clamp(1 - clip, 1 + clip));
        return (maximum(free, clipped), free, clipped, ratio);
    }

    /// <summary>The clipped loss of each value: max((v - R)², (clip(v, v_old ± c) - R)²) / 2.</summary>
    /// <returns>The loss, the clipped value, and where clipping made the loss larger; [B, R].</returns>
    public static (Tensor Loss, Tensor Clipped, Tensor IsClipped) ValueLoss(Tensor values, Tensor old, Tensor returns, double clip)
    {
        var clipped = maximum(minimum(values, old + clip), old - clip);
        var (free, held) = ((values - returns).square(), (clipped - returns).square());
        return (maximum(free, held) * 0.5, clipped, held.gt(free));
    }

    /// <summary>The next coefficient of an adaptive controller (Ziegler et al. 2019, section 2.2).</summary>
    public static double NextCoefficient(double coefficient, double kl, double target, double horizon, long steps) => coefficient * (1 + Math.Clamp(kl / target - 1, -0.2, 0.2) * steps / horizon);

    /// <summary>Gain and bias with which raw rewards have the mean 0 and the standard deviation 1 (of the population).</summary>
    public static (double Gain, double Bias) Normalization(IReadOnlyList<double> raw)
    {
        var mean = raw.Average();
        var gain = 1 / Math.Sqrt(raw.Sum(r => (r - mean) * (r - mean)) / raw.Count + Epsilon * Epsilon);
        return (gain, -gain * mean);
    }
}

/// <summary>The loss of group-relative policy optimization and its variants.</summary>
public sealed record GroupLoss
{
    /// <summary>How token losses become one number.</summary>
    public static IReadOnlyList<string> Kinds { get; } = ["grpo", "bnpo", "dr_grpo", "dapo", "cispo"];

    /// <summary><c>grpo</c>: mean over rows of means over tokens; <c>bnpo</c>, <c>dapo</c>, <c>cispo</c>: over all tokens; <c>dr_grpo</c>: over rows times the longest length. <value>dapo, TRL's</value></summary>
    public string Kind { get; init; } = "dapo";
    /// <summary>Coefficient of the divergence from the reference. <value>0: no reference</value></summary>
    public double Beta { get; init; }
    /// <summary>Ratios below 1 - epsilon are clipped. <value>0.2</value></summary>
    public double Epsilon { get; init; } = 0.2;
    /// <summary>Ratios above 1 + this are clipped; null: as below.</summary>
    public double? EpsilonHigh { get; init; }
    /// <summary>Ratios are at most this where an advantage is negative (Team et al. 2025); null: without bound.</summary>
    public double? Delta { get; init; }
    /// <summary><c>token</c>, or <c>sequence</c>: one ratio a row, of the means over its tokens (GSPO).</summary>
    public string Level { get; init; } = "token";
    /// <summary>The divergence is multiplied by the ratio, which makes its estimate unbiased.</summary>
    public bool KlTimesRatio { get; init; } = true;

    /// <summary>Rewards minus the mean of their group, divided by (the standard deviation of the <c>group</c> or of the <c>batch</c>, or by 1: <c>none</c>).</summary>
    public static double[] Advantages(IReadOnlyList<double> rewards, int group, string scale)
    {
        const double Least = 1e-4;
        static double Deviation(IReadOnlyCollection<double> x) => x.Count < 2 ? 0 : Math.Sqrt(x.Sum(r => (r - x.Average()) * (r - x.Average())) / (x.Count - 1));
        var all = Deviation(rewards.ToArray());
        return [.. rewards.Chunk(group).SelectMany(g => g.Select(r => (r - g.Average()) / (scale switch { "group" => Deviation(g) + Least, "batch" => all + Least, _ => 1 })))];
    }

    /// <summary>The loss of each token, [B, R].</summary>
    /// <param name="logProbs">log π of the tokens, 0 outside the mask.</param>
    /// <param name="old">Of the policy that sampled them.</param>
    /// <param name="reference">Of the reference; null where beta is 0.</param>
    /// <param name="advantages_B">Of the rows.</param>
    /// <param name="mask">1 at tokens that count.</param>
    /// <returns>The losses; the divergence; 1 where a ratio is clipped (of a row where the level is the sequence: [B, 1]).</returns>
    public (Tensor Loss, Tensor Kl, Tensor IsClipped) PerToken(Tensor logProbs, Tensor old, Tensor? reference, Tensor advantages_B, Tensor mask)
    {
        var difference = logProbs - old;
        var ratio = (Level == "sequence" ? ((difference * mask).sum(1) / mask.sum(1)).unsqueeze(1) : difference).exp();
        var (a, high) = (advantages_B.unsqueeze(1), EpsilonHigh ?? Epsilon);
        var used = Delta is { } bound ? ratio.clamp_max(bound) : ratio;
        var loss = Kind == "cispo" ? -ratio.clamp_max(high).detach() * a * logProbs : -minimum(used * a, ratio.clamp(1 - Epsilon, 1 + high) * a);
        var isClipped = Kind == "cispo" ? ratio.gt(high).logical_and(a.gt(0)) : ratio.lt(1 - Epsilon).logical_and(a.lt(0)).logical_or(used.gt(1 + high).logical_and(a.gt(0)));
        var kl = zeros_like(logProbs);
        if (reference is not null)
        {
            kl = (reference - logProbs).exp() - (reference - logProbs) - 1;
            if (KlTimesRatio) kl = kl * ratio;
        }
        return (Beta > 0 ? loss + kl * Beta : loss + zeros_like(logProbs), kl, isClipped);
    }

    /// <summary>What each token's loss is multiplied by, so that the sum is the loss of the whole step, [B, 1] or a number for all.</summary>
    /// <param name="mask">Of the rows that are computed together.</param>
    /// <param name="rows">Rows of the step.</param>
    /// <param name="tokens">Tokens of the step.</param>
    /// <param name="longest">Most tokens of a row.</param>
    public Tensor Weights(Tensor mask, long rows, long tokens, long longest) => Kind switch
    {
        "grpo" => (mask.sum(1, keepdim: true).clamp_min(1) * rows).reciprocal(),
        "dr_grpo" => tensor(1.0f / (rows * longest)),
        _ => tensor(1.0f / tokens),
    };
}
