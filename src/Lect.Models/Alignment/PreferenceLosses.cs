// Losses of preferences, by TRL's names. Rafailov et al. 2023, "Direct Preference Optimization"; the variants' papers stand at their lines.
using TorchSharp;
using static TorchSharp.torch;
using static TorchSharp.torch.nn.functional;

namespace Lect.Models;

/// <summary>What is known of pairs of answers: summed log-probabilities of the completions, [B] each, and their numbers of tokens.</summary>
/// <param name="Chosen">log π(chosen | prompt).</param>
/// <param name="Rejected">log π(rejected | prompt).</param>
/// <param name="ReferenceChosen">log π_ref(chosen | prompt); null where the loss needs no reference.</param>
/// <param name="ReferenceRejected">log π_ref(rejected | prompt).</param>
/// <param name="ChosenTokens">n_c, fp32.</param>
/// <param name="RejectedTokens">n_r, fp32.</param>
public sealed record PairLogProbs(Tensor Chosen, Tensor Rejected, Tensor? ReferenceChosen, Tensor? ReferenceRejected, Tensor ChosenTokens, Tensor RejectedTokens);

/// <summary>A loss of pairs and its settings.</summary>
public sealed record PreferenceLoss
{
    /// <summary>Names of the losses, TRL's; <c>conservative</c> is DPO with label smoothing.</summary>
    public static IReadOnlyList<string> Kinds { get; } = ["sigmoid", "hinge", "ipo", "conservative", "robust", "exo_pair", "nca_pair", "bco_pair", "sppo_hard", "aot", "aot_unpaired", "apo_zero", "apo_down", "sigmoid_norm", "discopop", "sft", "cpo", "simpo", "orpo"];

    /// <summary>Those that compare with no reference.</summary>
    public static IReadOnlyList<string> WithoutReference { get; } = ["sft", "cpo", "simpo", "orpo"];

    /// <summary>Divergences of the sigmoid loss (Wang et al. 2023).</summary>
    public static IReadOnlyList<string> Divergences { get; } = ["reverse_kl", "forward_kl", "js_divergence", "alpha_divergence"];

    /// <summary>Which. <value>sigmoid: DPO, equation 7</value></summary>
    public string Kind { get; init; } = "sigmoid";
    /// <summary>How much a difference to the reference counts. <value>0.1</value></summary>
    public double Beta { get; init; } = 0.1;
    /// <summary>How often a preference is taken to be the wrong way round.</summary>
    public double LabelSmoothing { get; init; }
    /// <summary>SimPO's margin.</summary>
    public double Gamma { get; init; } = 0.5;
    /// <summary>Divergence from the reference. <value>reverse_kl: DPO's</value></summary>
    public string Divergence { get; init; } = "reverse_kl";
    /// <summary>alpha of the alpha divergence.</summary>
    public double DivergenceAlpha { get; init; } = 1;

    /// <summary>Whether a reference model is needed.</summary>
    public bool NeedsReference => !WithoutReference.Contains(Kind);

    /// <summary>The loss of each pair, [B]; aot's are of pairs in the order of their differences. The odds ratio alone of ORPO, whose other part is the language model's loss.</summary>
    public Tensor PerPair(PairLogProbs p)
    {
        var (c, r, nc, nr, e) = (p.Chosen, p.Rejected, p.ChosenTokens, p.RejectedTokens, LabelSmoothing);
        Tensor S(Tensor x) => logsigmoid(x);
        switch (Kind)
        {
            case "sft": return (-c.sum() / nc.sum()).expand(c.shape);
            case "cpo": return -S((c - r) * Beta);                                    // Xu et al. 2024, "Contrastive Preference Optimization"
            case "simpo": return -S((c / nc - r / nr) * Beta - Gamma);                // Meng et al. 2024
            case "orpo":                                                              // Hong et al. 2024, equation 6
                Tensor Odds(Tensor mean) => mean - log1p(-mean.exp());
                return -S(Odds(c / nc) - Odds(r / nr)) * Beta;
        }
        var (a, b) = (Ratio(c - p.ReferenceChosen!), Ratio(r - p.ReferenceRejected!));
        var d = a - b;
        Tensor Sorted(Tensor x) => x.sort().Values;
        Tensor Smoothed(Tensor x) => -S(x * Beta) * (1 - e) - S(x * -Beta) * e;
        return Kind switch
        {
            "sigmoid" => -S(d * Beta),
            "hinge" => (1 - d * Beta).clamp_min(0),                                   // Zhao et al. 2023, SLiC
            "ipo" => (a / nc - b / nr - 1 / (2 * Beta)).square(),                     // Azar et al. 2023; means over tokens, as TRL
            "conservative" => Smoothed(d),                                            // Mitchell 2023
            "robust" => (-S(d * Beta) * (1 - e) + S(d * -Beta) * e) / (1 - 2 * e),     // Chowdhury et al. 2024
            "exo_pair" => (d * Beta).sigmoid() * (S(d * Beta) - Math.Log(1 - e)) + (d * -Beta).sigmoid() * (S(d * -Beta) - Math.Log(e)),   // Ji et al. 2024
            "nca_pair" => -S(a * Beta) - S(a * -Beta) * 0.5 - S(b * -Beta) * 0.5,     // Chen et al. 2024
            "bco_pair" => -S(a * Beta) - S(b * -Beta),                                // Jung et al. 2024, without its running mean
            "sppo_hard" => (a - 0.5 / Beta).square() + (b + 0.5 / Beta).square(),     // Wu et al. 2024
            "aot" => Smoothed(Sorted(c - r) - Sorted(p.ReferenceChosen! - p.ReferenceRejected!)),   // Melnyk et al. 2024
            "aot_unpaired" => Smoothed(Sorted(a) - Sorted(b)),
            "apo_zero" => 1 - (a * Beta).sigmoid() + (b * Beta).sigmoid(),            // D'Oosterlinck et al. 2024
            "apo_down" => (a * Beta).sigmoid() + 1 - (d * Beta).sigmoid(),
            "sigmoid_norm" => -S((a / nc - b / nr) * Beta),
            "discopop" => -S(d * Beta) * (1 - (d * (Beta / 0.05)).sigmoid()) + (d * -Beta).exp() * (d * (Beta / 0.05)).sigmoid(),   // Lu et al. 2024
            _ => throw new ArgumentException($"Found the loss '{Kind}'. Expected one of {string.Join(", ", Kinds)}."),
        };
    }

    // f'(π / π_ref) of the divergence.
    private Tensor Ratio(Tensor logRatio) => Divergence switch
    {
        "forward_kl" => 1 - (-logRatio).exp(),
        "js_divergence" => logsigmoid(logRatio) + Math.Log(2),
        "alpha_divergence" when DivergenceAlpha != 1 => ((logRatio * (DivergenceAlpha - 1)).exp() - 1) / (DivergenceAlpha - 1),
        _ => logRatio,
    };

    /// <summary>The losses of single answers, good or bad ones (KTO: Ethayarajh et al. 2024, equation 8): w (1 - σ(β (x - z))) or w (1 - σ(β (z - x))), x = log π / π_ref.</summary>
    /// <param name="logRatio">x, [B].</param>
    /// <param name="isDesirable">true = good, bool [B].</param>
    /// <param name="kl">z: what the policy differs from the reference on answers to other prompts, without gradient; 0 for <c>apo_zero_unpaired</c>.</param>
    /// <param name="beta">β.</param>
    /// <param name="desirable">w of good answers.</param>
    /// <param name="undesirable">w of bad ones.</param>
    public static Tensor PerExample(Tensor logRatio, Tensor isDesirable, Tensor kl, double beta, double desirable, double undesirable) =>
        where(isDesirable, (1 - ((logRatio - kl) * beta).sigmoid()) * desirable, ((logRatio - kl) * beta).sigmoid() * undesirable);

    /// <summary>The reward model's loss of each pair (Ouyang et al. 2022, equation 1): -log σ(r_c - r_r - margin), a tie counting as half a win each, and how far rewards are from centred, times the coefficient.</summary>
    /// <param name="chosen">r_c, [B].</param>
    /// <param name="rejected">r_r, [B].</param>
    /// <param name="margin">How much better the chosen one is, [B]; null: 0.</param>
    /// <param name="isTie">1 where neither is better, fp32 [B]; null: nowhere.</param>
    /// <param name="centering">Coefficient of (r_c + r_r)² (Eisenstein et al. 2023).</param>
    public static Tensor Reward(Tensor chosen, Tensor rejected, Tensor? margin = null, Tensor? isTie = null, double centering = 0)
    {
        var d = margin is null ? chosen - rejected : chosen - rejected - margin;
        var loss = -logsigmoid(d);
        if (isTie is not null) loss = loss * (1 - isTie * 0.5) - logsigmoid(rejected - chosen) * (isTie * 0.5);
        return centering > 0 ? loss + (chosen + rejected).square() * centering : loss;
    }
}
