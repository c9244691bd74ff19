// Rejection sampling: of several answers to a prompt the one with the highest reward is learned as in step 2. Touvron et al. 2023, "Llama 2", section 3.2.3; RAFT: Dong et al. 2023.
using Lect.Models;
using Lect.Text;
using TorchSharp;
using static TorchSharp.torch;

namespace Lect;

/// <summary>Learning from the best of several answers, by the loss of instruction tuning.</summary>
public static class Rejection
{
    /// <summary>Runs the recipe in a new folder, or goes on in one that a run was begun in.</summary>
    /// <inheritdoc cref="Ppo.Run"/>
    public static RunState Run(AlignConfig config, string folder, RewardFunction? reward = null, Action<TrainEvent>? report = null, Action<string>? note = null, CancellationToken stop = default)
    {
        config = config.Validate().HereAndNow();
        TorchNative.Load();
        using var run = RunFolder.OpenOrBegin(folder, config);
        set_num_threads(config.Train.Threads ?? Environment.ProcessorCount);

        using var policy = AlignedModel.Open(config, isScorer: false, note);
        using var reference = config.Model.Judge is null ? null : policy.Reference(config);
        using var sampling = new Sampling(config, policy, reward, note);
        config = AlignRun.Resolve(config, policy.Model.Width, sampling.StepsOf);
        run.SaveSettings(config);
        note?.Invoke($"{policy.Describe()}, the best of {config.Rejection.Generations} answers to a prompt, {config.Train.Steps:N0} steps of {config.Train.BatchSize} of them, iterations of {config.Rollout.Batch} answers, {config.Train.Threads} threads");

        return TrainLoop.Run(new Training<AnswerRow[]>
        {
            Model = policy.Model,
            Batches = _ => [[.. sampling.Next(Learn).Select(r => sampling.Rows[r])]],
            Labels = rows => rows.Sum(r => (long)r.Scored),
            Tokens = rows => rows.Sum(r => (long)r.Ids.Length),
            Loss = (rows, scale) => { policy.Model.Compute = config.Train.Compute; return Sft.Loss(policy.Model, new AnswerBatch(rows, policy.PadId), scale); },
            Figures = sampling.Figures.Take,
            Evaluate = sampling.Evaluation(config.Model.Judge is null ? null : batch => sampling.Divergence(batch, reference)),
            HighestOf = "eval/reward",
            Sample = () => AlignRun.Sample(policy, config),
            TellsStart = true,
            Save = to => { policy.Save(to); if (to != run.Path) sampling.Save(to); },
            Load = from => { policy.Load(from); sampling.Load(from); },
        }, config.Train, config.Seed, run, report, stop);

        IReadOnlyList<int> Learn(IReadOnlyList<SampledAnswer> answers, double[] rewards)
        {
            var scores = sampling.Penalized(answers, rewards);
            List<int> best = [.. Enumerable.Range(0, answers.Count).Chunk(config.Rejection.Generations).Select(group => group.MaxBy(i => scores[i]))];
            sampling.Figures.Add("reward", rewards.Average());
            sampling.Figures.Add("reward_best", best.Average(i => rewards[i]));
            return best;
        }
    }
}
