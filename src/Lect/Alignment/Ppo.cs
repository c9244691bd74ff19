// Step 3b, reinforcement learning from human feedback: Ziegler et al. 2019; Ouyang et al. 2022, section 3.5, equation 2; Schulman et al. 2017.
using Lect.Models;
using Lect.Text;
using TorchSharp;
using static TorchSharp.torch;

namespace Lect;

/// <summary>Proximal policy optimization of a language model against a reward.</summary>
public static class Ppo
{
    /// <summary>Runs the recipe in a new folder, or goes on in one that a run was begun in.</summary>
    /// <param name="config">What to do.</param>
    /// <param name="folder">Where the run is kept.</param>
    /// <param name="reward">Who judges; null: as the run file says.</param>
    /// <param name="report">Told each line of metrics.</param>
    /// <param name="note">Told what happens besides.</param>
    /// <param name="stop">Stops after the step in work, with a checkpoint.</param>
    /// <returns>Where the run stands: at its end.</returns>
    /// <exception cref="InvalidDataException">Something given cannot be used; the message says what.</exception>
    /// <exception cref="ArithmeticException">The policy has run away from the reference; checkpoints are whole.</exception>
    public static RunState Run(AlignConfig config, string folder, RewardFunction? reward = null, Action<TrainEvent>? report = null, Action<string>? note = null, CancellationToken stop = default)
    {
        config = config.Validate().HereAndNow();
        Processes.RequireOne(Sampling.OneProcess);
        TorchNative.Load();
        using var run = RunFolder.OpenOrBegin(folder, ref config);
        Processes.UseThreads(config.Train.Threads);

        using var policy = AlignedModel.Open(config, isScorer: false, note);
        using var reference = policy.Reference(config);
        using nn.Module value = config.Model.Value is { } path ? ModelFolder.LoadScorer(path, policy.PadId, config.Seed, policy.Model.HeadWeight.device, dropout: 0).Model : new ValueHead(policy.Model.Width, policy.Model.HeadWeight.device);
        if (value is CausalLanguageModel own) policy.Fits(own, "model.value");
        using var both = new ActorCritic(policy.Model, value);
        using var sampling = new Sampling(config, policy, reward, note) { Number = config.Ppo.KlCoef };
        config = AlignRun.Resolve(config, policy.Model.Width, sampling.StepsOf);
        run.SaveSettings(config);
        note?.Invoke($"{policy.Describe()}, values by {(value is ValueHead ? "a head on the policy" : "a model of their own")}, {config.Train.Steps:N0} steps of {config.Train.BatchSize} answers, iterations of {config.Rollout.Batch}, {config.Train.Workers}");

        var update = new Update(config, policy, value, reference, sampling);
        var evaluation = sampling.Evaluation(batch => sampling.Divergence(batch, reference));
        return TrainLoop.Run(new Training<int[]>
        {
            Model = both,
            Batches = _ => [sampling.Next(update.Learn)],
            Labels = _ => 1,
            Tokens = rows => rows.Sum(r => (long)sampling.Rows[r].Ids.Length),
            Loss = (rows, _) => update.Loss(rows),
            Figures = sampling.Figures.Take,
            Evaluate = evaluation is null ? null : () => WithObjective(evaluation(), config.Ppo.KlCoef),
            HighestOf = "eval/rlhf_reward",
            Sample = () => AlignRun.Sample(policy, config),
            TellsStart = true,
            Save = to => { policy.Save(to); if (to != run.Path) { sampling.Save(to); SafeTensorsFile.Write(Path.Combine(to, "value.safetensors"), value.named_parameters().Select(p => (p.name, (Tensor)p.parameter))); } },
            Load = from => { policy.Load(from); sampling.Load(from); ModelFolder.LoadWeights(value, Weights.Open(Path.Combine(from, "value.safetensors")), from); },
        }, config.Train, config.Seed, run, report, stop);
    }

    // What is maximized, as the run began with it: equation 2 without its pre-training term.
    private static List<(string, double)> WithObjective(IReadOnlyList<(string Name, double Value)> figures, double coefficient)
    {
        double Of(string name) => figures.First(f => f.Name == name).Value;
        return [("eval/rlhf_reward", Of("eval/reward") - coefficient * Of("eval/kl")), .. figures];
    }

    private sealed class ActorCritic : nn.Module
    {
        private readonly nn.Module policy, value;

        public ActorCritic(nn.Module policy, nn.Module value) : base("ActorCritic")
        {
            (this.policy, this.value) = (policy, value);
            RegisterComponents();
        }
    }

    private sealed class Update(AlignConfig config, AlignedModel policy, nn.Module value, CausalLanguageModel? reference, Sampling sampling)
    {
        private readonly PpoClipping clipping = new(config.Ppo.CliprangePolicy, config.Ppo.CliprangeValue, config.Ppo.VfCoef, config.Ppo.EntCoef);
        private readonly Lazy<List<int[]>> pretraining = new(() => [.. SdkCorpus.Texts().Where(t => SdkCorpus.SplitOf(t.Text) == CorpusSplit.Train).Take(20_000).Select(t => policy.Tokenizer.EncodeIds(t.Text)).Where(ids => ids.Length is > 4 and <= 128)]);

        // What an iteration's answers are worth, token by token.
        public IReadOnlyList<int> Learn(IReadOnlyList<SampledAnswer> answers, double[] rewards)
        {
            using var scope = NewDisposeScope();
            using var noGrad = no_grad();
            var p = config.Ppo;
            policy.Model.Compute = config.Train.Compute;   // as in learning, so that a ratio begins as 1
            var scores = tensor(sampling.Penalized(answers, rewards).Select(r => (float)r).ToArray(), device: policy.Model.HeadWeight.device);
            var rollout = Rollout.Of(policy.Model, value, reference, new AnswerBatch(sampling.Rows, policy.PadId), config.Rollout.Temperature);
            var mask = rollout.Mask;
            var kl = PolicyGradient.Kl(rollout.LogProbs, rollout.Reference, p.KlEstimator) * mask;
            var divergence = (PolicyGradient.Kl(rollout.LogProbs, rollout.Reference, "k1") * mask).sum(1).mean().item<float>();
            if (divergence > p.MaxKl) throw new ArithmeticException(FormattableString.Invariant($"Found a divergence of {divergence:0.0} nats an answer from the reference. Expected at most ppo.max_kl = {p.MaxKl}: raise ppo.kl_coef ({sampling.Number:0.####} now), lower train.lr, or set ppo.target_kl or ppo.stop_kl. The checkpoints before this iteration are whole."));
            var perToken = PolicyGradient.Rewards(kl, scores, mask, sampling.Number);
            if (p.WhitenRewards) perToken = PolicyGradient.Whiten(perToken, mask, shiftsMean: false, unbiased: true);
            var (advantages, returns) = PolicyGradient.Gae(perToken, rollout.Values, mask, p.Gamma, p.Lambda);
            (sampling["logprobs"], sampling["reference"], sampling["values"], sampling["entropy"], sampling["mask"]) = (rollout.LogProbs, rollout.Reference, rollout.Values, rollout.Entropy, mask);
            (sampling["advantages"], sampling["returns"]) = (PolicyGradient.Whiten(advantages, mask, shiftsMean: true, unbiased: true), returns);
            var f = sampling.Figures;
            var nonScore = (kl * -sampling.Number).sum(1).mean().item<float>();
            f.Add("objective/kl", divergence);
            f.Add("objective/entropy", (rollout.Entropy * mask).sum(1).mean().item<float>());
            f.Add("objective/scores", rewards.Average());
            f.Add("objective/non_score_reward", nonScore);
            f.Add("objective/rlhf_reward", rewards.Average() + nonScore);
            f.Add("objective/kl_coef", sampling.Number);
            f.Add("val/explained_variance", Rollout.ExplainedVariance(rollout.Values, returns, mask));
            if (p.TargetKl is { } target) sampling.Number = PolicyGradient.NextCoefficient(sampling.Number, divergence, target, p.KlHorizon, answers.Count);
            return [.. Enumerable.Range(0, answers.Count)];
        }

        public Tensor Loss(int[] rows)
        {
            using var scope = NewDisposeScope();
            policy.Model.Compute = config.Train.Compute;
            var rollout = new Rollout(sampling["logprobs"], sampling["reference"], sampling["values"], sampling["entropy"], sampling["mask"]) { Advantages = sampling["advantages"], Returns = sampling["returns"] };
            var figures = rollout.Loss(policy.Model, value, [.. rows.Select(r => sampling.Rows[r])], rows, policy.PadId, config.Rollout.Temperature, clipping);
            var f = sampling.Figures;
            f.Add("policy/loss", figures.Policy);
            f.Add("policy/entropy", figures.Entropy);
            f.Add("policy/approxkl", figures.ApproxKl);
            f.Add("policy/clipfrac", figures.ClipFraction);
            f.Add("val/loss", figures.Value);
            f.Add("val/clipfrac", figures.ValueClipFraction);
            f.Add("val/ratio", figures.Ratio);
            if (figures.ApproxKl > config.Ppo.StopKl) sampling.End();
            var loss = config.Ppo.PretrainWeight > 0 ? figures.Loss + Pretraining(rows) * config.Ppo.PretrainWeight : figures.Loss;
            return loss.MoveToOuterDisposeScope();
        }

        // InstructGPT's pre-training mix (equation 2's last term): as many texts as answers, chosen by the answers' ids.
        private Tensor Pretraining(int[] rows)
        {
            var random = Seeds.Random(config.Seed, "pretraining", rows.Aggregate(17L, (h, r) => h * 31 + r), sampling.Rows[rows[0]].Ids.Length);
            var batch = new AnswerBatch([.. rows.Select(_ => pretraining.Value[random.Next(pretraining.Value.Count)]).Select(ids => AnswerRow.Of([], ids))], policy.PadId);
            return Sft.Loss(policy.Model, batch, 1.0 / batch.Scored);
        }
    }
}
