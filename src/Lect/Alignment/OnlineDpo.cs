// Preferences between the policy's own answers: Guo et al. 2024, "Direct Language Model Alignment from Online AI Feedback"; as TRL's OnlineDPOTrainer. What is rejected is what the model would have said itself.
using Lect.Models;
using Lect.Text;
using TorchSharp;
using static TorchSharp.torch;

namespace Lect;

/// <summary>Direct preference optimization of pairs that a reward makes: of several answers to a prompt the best is chosen, the worst rejected.</summary>
public static class OnlineDpo
{
    /// <summary>Runs the recipe in a new folder, or goes on in one that a run was begun in.</summary>
    /// <inheritdoc cref="Ppo.Run"/>
    public static RunState Run(AlignConfig config, string folder, RewardFunction? reward = null, Action<TrainEvent>? report = null, Action<string>? note = null, CancellationToken stop = default) =>
        SampledRecipe.Run<AnswerPair[]>(config, folder, reward, c => c.Dpo.NeedsReference, c => $"loss {c.Dpo.Loss} of the best and the worst of {c.OnlineDpo.Generations} answers to a prompt", (config, policy, reference, sampling) =>
        {
            var compared = new Compared(policy.Model, reference, policy.PadId, config.Dpo);
            return new()
            {
                // The prompts whose answers differ in reward. Where none do, all of them, without a gradient.
                Learn = (answers, rewards) =>
                {
                    using var scope = NewDisposeScope();
                    var scores = sampling.Penalized(answers, rewards);
                    var groups = Enumerable.Range(0, answers.Count).Chunk(config.OnlineDpo.Generations).Select(g => (Best: g.MaxBy(i => scores[i]), Worst: g.MinBy(i => scores[i]))).ToList();
                    sampling["chosen"] = tensor(groups.Select(g => (long)g.Best).ToArray());
                    sampling["rejected"] = tensor(groups.Select(g => (long)g.Worst).ToArray());
                    List<int> differ = [.. Enumerable.Range(0, groups.Count).Where(g => groups[g].Best != groups[g].Worst)];
                    sampling.Figures.Add("reward", rewards.Average());
                    sampling.Figures.Add("reward_margin", groups.Average(g => scores[g.Best] - scores[g.Worst]));
                    sampling.Figures.Add("frac_reward_zero_std", 1 - differ.Count / (double)groups.Count);
                    return differ.Count > 0 ? differ : [.. Enumerable.Range(0, groups.Count)];
                },
                Batch = prompts => [.. prompts.Select(Pair)],
                Labels = pairs => pairs.Length,
                Tokens = pairs => pairs.Sum(p => (long)p.Chosen.Ids.Length + p.Rejected.Ids.Length),
                Loss = (pairs, scale) => compared.Loss(pairs, pairs.All(p => p.Chosen == p.Rejected) ? 0 : scale, sampling.Figures),
            };

            AnswerPair Pair(int prompt)
            {
                using var scope = NewDisposeScope();
                AnswerRow Of(string name) => sampling.Rows[(int)sampling[name][prompt].item<long>()];
                var (chosen, rejected) = (Of("chosen"), Of("rejected"));
                return new(chosen, rejected, Array.IndexOf(chosen.Counts, true));
            }
        }, report, note, stop);
}
