// Group-relative policy optimization: Shao et al. 2024, "DeepSeekMath", equation 3; as TRL's GRPOTrainer. No values: an answer is compared with the others to its prompt.
using Lect.Models;
using Lect.Text;
using TorchSharp;
using static TorchSharp.torch;

namespace Lect;

/// <summary>Group-relative policy optimization, Dr. GRPO, DAPO, GSPO and CISPO.</summary>
public static class Grpo
{
    /// <summary>Runs the recipe in a new folder, or goes on in one that a run was begun in.</summary>
    /// <inheritdoc cref="Ppo.Run"/>
    public static RunState Run(AlignConfig config, string folder, RewardFunction? reward = null, Action<TrainEvent>? report = null, Action<string>? note = null, CancellationToken stop = default) =>
        SampledRecipe.Run<int[]>(config, folder, reward, c => c.Grpo.Beta > 0, c => $"{c.Grpo.Generations} answers a prompt, loss {c.Grpo.Loss}", (config, policy, reference, sampling) =>
        {
            var update = new Update(config, policy, reference, sampling);
            return new() { Learn = update.Learn, Batch = rows => rows, Labels = _ => 1, Tokens = rows => rows.Sum(r => (long)sampling.Rows[r].Ids.Length), Loss = (rows, _) => update.Loss(rows) };
        }, report, note, stop);

    private sealed class Update(AlignConfig config, AlignedModel policy, CausalLanguageModel? reference, Sampling sampling)
    {
        private readonly GroupLoss loss = config.Grpo.GroupLoss;

        public IReadOnlyList<int> Learn(IReadOnlyList<SampledAnswer> answers, double[] rewards)
        {
            using var scope = NewDisposeScope();
            using var noGrad = no_grad();
            var device = policy.Model.HeadWeight.device;
            policy.Model.Compute = config.Train.Compute;   // as in learning, so that a ratio begins as 1
            var scores = sampling.Penalized(answers, rewards);
            var batch = new AnswerBatch(sampling.Rows, policy.PadId);
            (sampling["logprobs"], sampling["mask"]) = (batch.LogProbs(policy.Model, config.Rollout.Temperature).LogProbs, batch.Mask(device));
            if (config.Grpo.Beta > 0) sampling["reference"] = batch.ReferenceLogProbs(policy.Model, reference, config.Rollout.Temperature);
            sampling["advantages"] = tensor(GroupLoss.Advantages(scores, config.Grpo.Generations, config.Grpo.ScaleRewards).Select(a => (float)a).ToArray(), device: device);
            var groups = scores.Chunk(config.Grpo.Generations).ToList();
            sampling.Figures.Add("reward", rewards.Average());
            sampling.Figures.Add("reward_std", groups.Average(g => Math.Sqrt(g.Sum(r => (r - g.Average()) * (r - g.Average())) / (g.Length - 1))));
            sampling.Figures.Add("frac_reward_zero_std", groups.Average(g => g.All(r => r == g[0]) ? 1.0 : 0));
            return [.. Enumerable.Range(0, answers.Count)];
        }

        public Tensor Loss(int[] rows)
        {
            using var scope = NewDisposeScope();
            var batch = new AnswerBatch([.. rows.Select(r => sampling.Rows[r])], policy.PadId);
            var at = tensor(rows.Select(r => (long)r).ToArray(), device: policy.Model.HeadWeight.device);
            Tensor Old(string name) => sampling[name].index_select(0, at).narrow(1, 0, batch.Length);
            var (logProbs, entropy) = batch.LogProbs(policy.Model, config.Rollout.Temperature, wantsEntropy: true);
            var mask = Old("mask");
            var (perToken, kl, isClipped) = loss.PerToken(logProbs, Old("logprobs"), config.Grpo.Beta > 0 ? Old("reference") : null, sampling["advantages"].index_select(0, at), mask);
            using (no_grad())
            {
                sampling.Figures.Add("kl", PolicyGradient.Mean(kl, mask).item<float>());
                sampling.Figures.Add("entropy", PolicyGradient.Mean(entropy!, mask).item<float>());
                sampling.Figures.Add("clip_ratio/region_mean", isClipped.to(ScalarType.Float32).expand_as(mask) is var clipped ? PolicyGradient.Mean(clipped, mask).item<float>() : 0);
            }
            return (perToken * mask * loss.Weights(mask, rows.Length, batch.Scored, config.Rollout.MaxNewTokens)).sum().MoveToOuterDisposeScope();
        }
    }
}
