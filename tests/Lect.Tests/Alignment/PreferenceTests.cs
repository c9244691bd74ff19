using System.Text.Json.Nodes;
using Lect.Models;
using Lect.Testing;
using Lect.Text;
using TorchSharp;
using static Lect.Tests.Alignment.AlignmentFixture;
using static TorchSharp.torch;

namespace Lect.Tests.Alignment;

/// <summary>Reward model, DPO and its kin, KTO against TRL.</summary>
[NoTensorLeaks]
public sealed class PreferenceTests
{
    private const int Pad = 0;

    // Reward model

    private static (AnswerRow[] Chosen, AnswerRow[] Rejected, double[] Margins) RewardPairs()
    {
        var pairs = Json("reward", "pairs.json")["pairs"]!.AsArray();
        AnswerRow[] Rows(string key) => [.. pairs.Select(p => AnswerRow.Of([], Ids(p![key])))];
        return (Rows("chosen_ids"), Rows("rejected_ids"), [.. pairs.Select(p => (double)p!["margin"]!)]);
    }

    [Theory]
    [InlineData("gpt2")]
    [InlineData("llama")]
    public void Rewards_losses_and_training_equal_TRLs(string kind)
    {
        var expected = Json("reward", "expected.json")[kind]!;
        var (chosen, rejected, margins) = RewardPairs();
        using (var model = Scorer(kind + "-reward"))
        {
            using var scope = NewDisposeScope();
            Near(Numbers(expected["reward_chosen"]), ToArray(new AnswerBatch(chosen, Pad).Scores(model, Pad)), Values, "chosen");
            Near(Numbers(expected["reward_rejected"]), ToArray(new AnswerBatch(rejected, Pad).Scores(model, Pad)), Values, "rejected");
            var odd = expected["pad_is_last_token"]!;
            Near(Numbers(odd["reward"]), ToArray(new AnswerBatch([.. odd["input_ids"]!.AsArray().Select(r => AnswerRow.Of([], Ids(r)))], Pad).Scores(model, Pad)), Values, "padding's id as the last token");
        }
        foreach (var (name, c) in expected["cases"]!.AsObject())
        {
            using var model = Scorer(kind + "-reward");
            Tensor Loss(IReadOnlyList<int> rows)
            {
                var scores = new AnswerBatch([.. rows.Select(i => chosen[i]), .. rows.Select(i => rejected[i])], Pad).Scores(model, Pad).squeeze(1);
                var margin = (bool)c!["uses_margin"]! ? tensor(rows.Select(i => (float)margins[i]).ToArray()) : null;
                return PreferenceLoss.Reward(scores.narrow(0, 0, rows.Count), scores.narrow(0, rows.Count, rows.Count), margin, centering: (double?)c["center_rewards_coefficient"] ?? 0).mean();
            }
            using (var scope = NewDisposeScope())
            {
                var all = Loss([.. Enumerable.Range(0, chosen.Length)]);
                all.backward();
                Near((double)c!["loss_all_pairs"]!, all.item<float>(), Values, $"{name}, all pairs");
                Near((double)c["grad_norm_all_pairs"]!, GradNorm(model), Values, $"{name}, norm of all");
                ZeroGradients(model);
            }
            Train(model, c["training"]!, step => Loss([.. Enumerable.Range(0, 4).Select(i => (step * 4 + i) % chosen.Length)]), $"reward {kind} {name}");
            Final(Parameters(model), c["final_parameters"]!, $"reward {kind} {name}");
        }
    }

    [Fact]
    public void A_tie_counts_half_for_each()
    {
        using var scope = NewDisposeScope();
        var (a, b) = (tensor(new[] { 1.5f, 0.25f }), tensor(new[] { 0.5f, 1f }));
        var won = ToArray(PreferenceLoss.Reward(a, b));
        var lost = ToArray(PreferenceLoss.Reward(b, a));
        var tied = ToArray(PreferenceLoss.Reward(a, b, isTie: tensor(new[] { 1f, 0f })));
        Near((won[0] + lost[0]) / 2, tied[0], 1e-6, "a tie");
        Near(won[1], tied[1], 1e-6, "no tie");
    }

    // DPO and its kin

    private static List<(AnswerRow Chosen, AnswerRow Rejected)> Pairs() => [.. Json("dpo", "pairs.json")["pairs"]!.AsArray().Select(p => (AnswerRow.Of(Ids(p!["prompt_ids"]), Ids(p["chosen_ids"])), AnswerRow.Of(Ids(p["prompt_ids"]), Ids(p["rejected_ids"]))))];

    private static PairLogProbs LogProbs(CausalLanguageModel policy, CausalLanguageModel reference, IReadOnlyList<(AnswerRow Chosen, AnswerRow Rejected)> pairs)
    {
        var batch = new AnswerBatch([.. pairs.Select(p => p.Chosen), .. pairs.Select(p => p.Rejected)], Pad);
        Tensor Sums(CausalLanguageModel model) => batch.LogProbs(model).LogProbs.sum(1);
        Tensor Half(Tensor x, int which) => x.narrow(0, which * pairs.Count, pairs.Count);
        var own = Sums(policy);
        Tensor others;
        using (no_grad()) others = Sums(reference);
        var counts = batch.Mask(CPU).sum(1);
        return new(Half(own, 0), Half(own, 1), Half(others, 0), Half(others, 1), Half(counts, 0), Half(counts, 1));
    }

    [Theory]
    [InlineData("gpt2")]
    [InlineData("llama")]
    public void Each_loss_of_pairs_equals_TRLs_and_its_gradient_too(string kind)
    {
        var expected = Json("dpo", "expected.json")[kind]!;
        using CausalLanguageModel policy = Model(kind), reference = Model(kind + "-ref");
        var pairs = Pairs();
        using (var scope = NewDisposeScope())
        {
            var logs = LogProbs(policy, reference, pairs);
            Near(Numbers(expected["policy_chosen_logps"]), ToArray(logs.Chosen), Values, "chosen");
            Near(Numbers(expected["reference_rejected_logps"]), ToArray(logs.ReferenceRejected!), Values, "rejected by the reference");
            Assert.Equal(Numbers(expected["rejected_tokens"]), ToArray(logs.RejectedTokens));
        }
        foreach (var one in expected["losses"]!.AsArray().Select(l => l!.AsObject()))
        {
            using var scope = NewDisposeScope();
            var kindOf = (string)one["loss_type"]! switch { "orpo_odds_ratio" => "orpo", var name => name };
            var loss = new PreferenceLoss { Kind = kindOf, Beta = (double)one["beta"]!, LabelSmoothing = (double?)one["label_smoothing"] ?? 0, Gamma = (double?)one["gamma"] ?? 0, Divergence = (string?)one["f_divergence"] ?? "reverse_kl", DivergenceAlpha = (double?)one["alpha"] ?? 1 };
            var perPair = loss.PerPair(LogProbs(policy, reference, pairs));
            var what = $"{kind} {one["loss_type"]} beta {loss.Beta} smoothing {loss.LabelSmoothing} {loss.Divergence}";
            Near(Numbers(one["per_pair"] ?? one["per_pair_odds_ratio"]), ToArray(perPair), Values, what);
            if (one["grad_norm"] is not { } norm) continue;
            perPair.mean().backward();
            Near((double)norm, GradNorm(policy), Values, $"{what}, gradient");
            ZeroGradients(policy);
        }
    }

    [Theory]
    [InlineData("gpt2")]
    [InlineData("llama")]
    public void Ten_steps_of_DPO_equal_TRLs(string kind)
    {
        var pairs = Pairs();
        foreach (var (name, run) in Json("dpo", "expected.json")[kind]!["training"]!.AsObject())
        {
            using CausalLanguageModel policy = Model(kind), reference = Model(kind + "-ref");
            var loss = new PreferenceLoss { Kind = (string)run!["loss_type"]!, Beta = (double)run["beta"]!, LabelSmoothing = (double?)run["label_smoothing"] ?? 0 };
            Train(policy, run, step => loss.PerPair(LogProbs(policy, reference, [.. Enumerable.Range(0, 4).Select(i => pairs[(step * 4 + i) % pairs.Count])])).mean(), $"{kind} {name}");
            Final(Parameters(policy), run["final_parameters"]!, $"{kind} {name}");
        }
    }

    [Theory]
    [InlineData("gpt2", "kto")]
    [InlineData("gpt2", "apo_zero_unpaired")]
    [InlineData("llama", "kto")]
    [InlineData("llama", "apo_zero_unpaired")]
    public void Single_answers_equal_TRLs(string kind, string name)
    {
        var expected = Json("dpo", "expected.json")[kind]!["kto"]!;
        var examples = expected["examples"]!.AsArray().Select(e => (Prompt: Ids(e!["prompt_ids"]), Completion: Ids(e["completion_ids"]), Label: (bool)e["label"]!)).ToList();
        using CausalLanguageModel policy = Model(kind), reference = Model(kind + "-ref");
        (Tensor Loss, Tensor Kl) PerExample(int step)
        {
            var part = Enumerable.Range(0, 4).Select(i => examples[(step * 4 + i) % examples.Count]).ToList();
            var (own, kl) = UnpairedLogProbs.Of(policy, reference, part.ConvertAll(e => AnswerRow.Of(e.Prompt, e.Completion)), part.ConvertAll(e => e.Prompt.Length), Pad, withKl: name == "kto");
            return (PreferenceLoss.PerExample(own, tensor(part.Select(e => e.Label).ToArray()), kl, (double)expected["beta"]!, (double)expected["desirable"]!, (double)expected["undesirable"]!), kl);
        }
        using (var scope = NewDisposeScope())
        {
            var (loss, kl) = PerExample(0);
            Near(Numbers(expected[name]!["first_batch"]!["per_example"]), ToArray(loss), Values, "per example");
            Near((double)expected[name]!["first_batch"]!["kl"]!, kl.item<float>(), Values, "kl");
        }
        Train(policy, expected[name]!["training"]!, step => PerExample(step).Loss.mean(), $"{kind} {name}");
    }
}
