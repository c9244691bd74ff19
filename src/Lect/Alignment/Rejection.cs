// Rejection sampling: of several answers to a prompt the one with the highest reward is learned as in step 2. Touvron et al. 2023, "Llama 2", section 3.2.3; RAFT: Dong et al. 2023.
using Lect.Models;
using Lect.Text;

namespace Lect;

/// <summary>Learning from the best of several answers, by the loss of instruction tuning.</summary>
public static class Rejection
{
    /// <summary>Runs the recipe in a new folder, or goes on in one that a run was begun in.</summary>
    /// <inheritdoc cref="Ppo.Run"/>
    public static RunState Run(AlignConfig config, string folder, RewardFunction? reward = null, Action<TrainEvent>? report = null, Action<string>? note = null, CancellationToken stop = default) =>
        SampledRecipe.Run<AnswerRow[]>(config, folder, reward, _ => false, c => $"the best of {c.Rejection.Generations} answers to a prompt", (config, policy, _, sampling) => new()
        {
            Learn = (answers, rewards) =>
            {
                var scores = sampling.Penalized(answers, rewards);
                List<int> best = [.. Enumerable.Range(0, answers.Count).Chunk(config.Rejection.Generations).Select(group => group.MaxBy(i => scores[i]))];
                sampling.Figures.Add("reward", rewards.Average());
                sampling.Figures.Add("reward_best", best.Average(i => rewards[i]));
                return best;
            },
            Batch = chosen => [.. chosen.Select(r => sampling.Rows[r])],
            Labels = rows => rows.Sum(r => (long)r.Scored),
            Tokens = rows => rows.Sum(r => (long)r.Ids.Length),
            Loss = (rows, scale) => Sft.Loss(policy.Model, new AnswerBatch(rows, policy.PadId), scale),
        }, report, note, stop);
}
