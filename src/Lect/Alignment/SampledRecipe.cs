using Lect.Models;
using TorchSharp;
using static TorchSharp.torch;

namespace Lect;

/// <summary>What is a recipe's own where a policy learns from answers that it samples.</summary>
/// <typeparam name="TBatch">What a step learns from.</typeparam>
internal sealed record SampledLearning<TBatch>
{
    /// <summary>Told an iteration's answers with their rewards; computes what will be learned from them, and says from which.</summary>
    public required Func<IReadOnlyList<SampledAnswer>, double[], IReadOnlyList<int>> Learn { get; init; }
    /// <summary>A minibatch of those.</summary>
    public required Func<int[], TBatch> Batch { get; init; }
    /// <summary>See <see cref="Training{TBatch}.Labels"/>.</summary>
    public required Func<TBatch, long> Labels { get; init; }
    /// <summary>See <see cref="Training{TBatch}.Tokens"/>.</summary>
    public required Func<TBatch, long> Tokens { get; init; }
    /// <summary>See <see cref="Training{TBatch}.Loss"/>.</summary>
    public required Func<TBatch, double, Tensor> Loss { get; init; }
}

/// <summary>What group-relative optimization, online DPO and rejection sampling share: a policy, perhaps what it was, answers and rewards, and the loop.</summary>
internal static class SampledRecipe
{
    /// <param name="config">What to do.</param>
    /// <param name="folder">Where the run is kept.</param>
    /// <param name="reward">Who judges; null: as the run file says.</param>
    /// <param name="compares">Whether the recipe compares with the policy as it was; a judge does in any case, to see what a divergence buys.</param>
    /// <param name="about">The recipe in words.</param>
    /// <param name="own">Its parts, for the run as it is resolved.</param>
    /// <param name="report">Told each line of metrics.</param>
    /// <param name="note">Told what happens besides.</param>
    /// <param name="stop">Stops after the step in work, with a checkpoint.</param>
    public static RunState Run<TBatch>(AlignConfig config, string folder, RewardFunction? reward, Func<AlignConfig, bool> compares, Func<AlignConfig, string> about, Func<AlignConfig, AlignedModel, CausalLanguageModel?, Sampling, SampledLearning<TBatch>> own, Action<TrainEvent>? report, Action<string>? note, CancellationToken stop)
    {
        config = config.Validate().HereAndNow();
        Processes.RequireOne(Sampling.OneProcess);
        TorchNative.Load();
        using var run = RunFolder.OpenOrBegin(folder, ref config);
        Processes.UseThreads(config.Train.Threads);

        using var policy = AlignedModel.Open(config, isScorer: false, note);
        var isCompared = compares(config) || config.Model.Judge is not null;
        using var reference = isCompared ? policy.Reference(config) : null;
        using var sampling = new Sampling(config, policy, reward, note);
        config = AlignRun.Resolve(config, policy.Model.Width, sampling.StepsOf);
        run.SaveSettings(config);
        note?.Invoke($"{policy.Describe()}, {about(config)}, {config.Train.Steps:N0} steps of {config.Train.BatchSize}, iterations of {config.Rollout.Batch} answers, {config.Train.Workers}");

        var learning = own(config, policy, reference, sampling);
        return TrainLoop.Run(new Training<TBatch>
        {
            Model = policy.Model,
            Batches = _ => [learning.Batch(sampling.Next(learning.Learn))],
            Labels = learning.Labels,
            Tokens = learning.Tokens,
            Loss = (batch, scale) => { policy.Model.Compute = config.Train.Compute; return learning.Loss(batch, scale); },
            Figures = sampling.Figures.Take,
            Evaluate = sampling.Evaluation(isCompared ? batch => sampling.Divergence(batch, reference) : null),
            HighestOf = "eval/reward",
            Sample = () => AlignRun.Sample(policy, config),
            TellsStart = true,
            Save = to => { policy.Save(to); if (to != run.Path) sampling.Save(to); },
            Load = from => { policy.Load(from); sampling.Load(from); },
        }, config.Train, config.Seed, run, report, stop);
    }
}
