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
    public static RunState Run(AlignConfig config, string folder, RewardFunction? reward = null, Action<TrainEvent>? report = null, Action<string>? note = null, CancellationToken stop = default)
    {
        config = config.Validate().HereAndNow();
        TorchNative.Load();
        using var run = RunFolder.OpenOrBegin(folder, config);
        set_num_threads(config.Train.Threads ?? Environment.ProcessorCount);

        using var policy = AlignedModel.Open(config, isScorer: false, note);
        var compares = config.Dpo.NeedsReference || config.Model.Judge is not null;
        using var reference = compares ? policy.Reference(config) : null;
        using var sampling = new Sampling(config, policy, reward, note);
        config = AlignRun.Resolve(config, policy.Model.Width, sampling.StepsOf);
        run.SaveSettings(config);
        note?.Invoke($"{policy.Describe()}, loss {config.Dpo.Loss} of the best and the worst of {config.OnlineDpo.Generations} answers to a prompt, {config.Train.Steps:N0} steps of {config.Train.BatchSize} pairs, iterations of {config.Rollout.Batch} answers, {config.Train.Threads} threads");

        var compared = new Compared(policy.Model, reference, policy.PadId, config.Dpo);
        return TrainLoop.Run(new Training<AnswerPair[]>
        {
            Model = policy.Model,
            Batches = _ => [[.. sampling.Next(Learn).Select(Pair)]],
            Labels = pairs => pairs.Length,
            Tokens = pairs => pairs.Sum(p => (long)p.Chosen.Ids.Length + p.Rejected.Ids.Length),
            Loss = (pairs, scale) => { policy.Model.Compute = config.Train.Compute; return compared.Loss(pairs, pairs.All(p => p.Chosen == p.Rejected) ? 0 : scale, sampling.Figures); },
            Figures = sampling.Figures.Take,
            Evaluate = sampling.Evaluation(compares ? batch => sampling.Divergence(batch, reference) : null),
            HighestOf = "eval/reward",
            Sample = () => AlignRun.Sample(policy, config),
            TellsStart = true,
            Save = to => { policy.Save(to); if (to != run.Path) sampling.Save(to); },
            Load = from => { policy.Load(from); sampling.Load(from); },
        }, config.Train, config.Seed, run, report, stop);

        // The prompts whose answers differ in reward. Where none do, all of them, without a gradient.
        IReadOnlyList<int> Learn(IReadOnlyList<SampledAnswer> answers, double[] rewards)
        {
            using var scope = NewDisposeScope();
            var scores = sampling.Penalized(answers, rewards);
            var groups = Enumerable.Range(0, answers.Count).Chunk(config.OnlineDpo.Generations).Select(g => (Best: g.MaxBy(i => scores[i]), Worst: g.MinBy(i => scores[i]))).ToList();
            sampling["chosen"] = tensor(groups.Select(g => (long)g.Best).ToArray());
            sampling["rejected"] = tensor(groups.Select(g => (long)g.Worst).ToArray());
            sampling.Figures.Add("reward", rewards.Average());
            sampling.Figures.Add("reward_margin", groups.Average(g => scores[g.Best] - scores[g.Worst]));
            List<int> differ = [.. Enumerable.Range(0, groups.Count).Where(g => groups[g].Best != groups[g].Worst)];
            sampling.Figures.Add("frac_reward_zero_std", 1 - differ.Count / (double)groups.Count);
            return differ.Count > 0 ? differ : [.. Enumerable.Range(0, groups.Count)];
        }

        AnswerPair Pair(int prompt)
        {
            using var scope = NewDisposeScope();
            AnswerRow Of(string name) => sampling.Rows[(int)sampling[name][prompt].item<long>()];
            var (chosen, rejected) = (Of("chosen"), Of("rejected"));
            return new(chosen, rejected, Array.IndexOf(chosen.Counts, true));
        }
    }
}
