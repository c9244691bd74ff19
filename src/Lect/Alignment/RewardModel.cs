// Step 3a, the reward model: Ouyang et al. 2022, section 3.5, equation 1 (Bradley and Terry 1952); as TRL's RewardTrainer.
using Lect.Models;
using Lect.Text;
using TorchSharp;
using static TorchSharp.torch;

namespace Lect;

/// <summary>The reward model: from comparisons it learns one number a text, higher for the answer that is preferred.</summary>
public static class RewardModel
{
    /// <summary>Runs the recipe in a new folder, or goes on in one that a run was begun in.</summary>
    /// <inheritdoc cref="PretrainGpt.Run"/>
    public static RunState Run(AlignConfig config, string folder, Action<TrainEvent>? report = null, Action<string>? note = null, CancellationToken stop = default)
    {
        config = config.Validate().HereAndNow();
        TorchNative.Load();
        using var run = RunFolder.OpenOrBegin(folder, ref config);
        Processes.UseThreads(config.Train.Threads);

        using var model = RewardNetwork.Open(config, note);
        var longest = config.Longest(model.Classifier.ContextLength);
        note?.Invoke($"reading {config.Data.Describe}");
        var data = new AlignData(config.Data, longest, note);
        var validation = data.Comparisons(CorpusSplit.Validation, model.Encode).Take(config.Train.EvalExamples).ToList();
        using var batches = new StreamedBatches<ComparisonRow>(() => data.Comparisons(CorpusSplit.Train, model.Encode), r => r.Length, config.Train.BatchSize, config.Seed);
        config = AlignRun.Resolve(config, model.Width, batches.StepsOf);
        data.Tell();
        run.SaveSettings(config);
        note?.Invoke($"{model.Describe()}, {validation.Count:N0} comparisons to validate with, {config.Train.Steps:N0} steps of {config.Train.BatchSize} pairs of at most {longest} tokens, {config.Train.Precision}, {config.Train.Workers}");

        var figures = new Averages();
        return TrainLoop.Run(new Training<ComparisonRow[]>
        {
            Model = model.Module,
            Batches = step => { var rows = batches.At(step); data.Tell(); return [.. Processes.Share(rows, config.Train.MicroBatchSize)]; },
            Labels = b => b.Length,
            Tokens = b => b.Sum(r => (long)r.Chosen.Ids.Length + r.Rejected.Ids.Length),
            Loss = (b, scale) => { model.Compute = config.Train.Compute; return Loss(model, b, scale, config.Reward.Centering, figures); },
            Figures = figures.Take,
            Evaluate = validation.All(r => r.Source.IsTie) ? null : () => Evaluate(model, validation),
            TellsStart = true,
            Save = model.Save,
            Load = model.Load,
        }, config.Train, config.Seed, run, report, stop);
    }

    private static Tensor Loss(RewardNetwork model, ComparisonRow[] rows, double scale, double centering, Averages figures)
    {
        using var scope = NewDisposeScope();
        var scores = model.Scores([.. rows.Select(r => r.Chosen), .. rows.Select(r => r.Rejected)]);   // one pass for both
        var (chosen, rejected) = (scores.narrow(0, 0, rows.Length), scores.narrow(0, rows.Length, rows.Length));
        var margin = rows.Any(r => r.Source.Margin is not null) ? tensor(rows.Select(r => (float)(r.Source.Margin ?? 0)).ToArray(), device: chosen.device) : null;
        var ties = rows.Any(r => r.Source.IsTie) ? tensor(rows.Select(r => r.Source.IsTie ? 1f : 0f).ToArray(), device: chosen.device) : null;
        using (no_grad())
        {
            figures.Add("accuracy", chosen.gt(rejected).to(ScalarType.Float32).mean().item<float>(), rows.Length);
            figures.Add("margin", (chosen - rejected).mean().item<float>(), rows.Length);
            figures.Add("mean_reward", ((chosen + rejected) / 2).mean().item<float>(), rows.Length);
        }
        return (PreferenceLoss.Reward(chosen, rejected, margin, ties, centering).sum() * scale).MoveToOuterDisposeScope();
    }

    private static List<(string, double)> Evaluate(RewardNetwork model, List<ComparisonRow> rows)
    {
        var figures = RewardEvaluation.Of(Score(model, rows));
        return [("val_loss", figures.Loss), ("val_accuracy", figures.Accuracy), ("val_margin", figures.Margin), .. figures.ByKind.Select(k => ($"val_accuracy/{k.Kind}", k.Accuracy))];
    }

    /// <summary>The rewards of each pair, in the order of the rows.</summary>
    internal static List<ScoredPair> Score(RewardNetwork model, IReadOnlyList<ComparisonRow> rows)
    {
        var rewards = Score(model, [.. rows.SelectMany(r => new[] { r.Chosen, r.Rejected })]);
        return [.. rows.Select((row, i) => new ScoredPair(rewards[2 * i], rewards[2 * i + 1], row.Source))];
    }

    /// <summary>The reward of each row; rows of like length are computed together.</summary>
    internal static double[] Score(RewardNetwork model, IReadOnlyList<AnswerRow> rows, int batch = 64)
    {
        using var noGrad = no_grad();
        model.Compute = ComputeType.Float32;
        var rewards = new double[rows.Count];
        foreach (var chunk in Enumerable.Range(0, rows.Count).OrderBy(i => rows[i].Ids.Length).Chunk(batch))
        {
            using var scope = NewDisposeScope();
            var scores = model.Scores([.. chunk.Select(i => rows[i])]).cpu().contiguous().data<float>().ToArray();
            for (var i = 0; i < chunk.Length; i++) rewards[chunk[i]] = scores[i];
        }
        return rewards;
    }
}

/// <summary>A comparison with the rewards of its answers.</summary>
/// <param name="Chosen">Of the preferred answer.</param>
/// <param name="Rejected">Of the other.</param>
/// <param name="Source">The comparison.</param>
public sealed record ScoredPair(double Chosen, double Rejected, Comparison Source)
{
    /// <summary>1 where the preferred answer has the higher reward, one half where both have the same.</summary>
    public double Right => Chosen > Rejected ? 1 : Chosen == Rejected ? 0.5 : 0;
}

/// <summary>How well rewards agree with preferences.</summary>
/// <param name="Count">Comparisons, ties left out.</param>
/// <param name="Accuracy">The share in which the preferred answer has the higher reward; equal rewards count one half.</param>
/// <param name="Interval">Wilson's of 95 %.</param>
/// <param name="Margin">Mean of r_chosen - r_rejected.</param>
/// <param name="Loss">Mean of -log σ(r_chosen - r_rejected).</param>
/// <param name="Calibration">Expected calibration error of σ(r_chosen - r_rejected), ten bins from one half to 1.</param>
/// <param name="LongerAnswer">Accuracy of always taking the longer answer.</param>
/// <param name="ByKind">Accuracy of each kind, where comparisons have kinds.</param>
/// <param name="ByLength">Accuracy where the preferred answer is the longer one, and where it is the shorter.</param>
/// <param name="Words">What a bag of words finds; null: none was asked.</param>
public sealed record RewardEvaluation(int Count, double Accuracy, (double Low, double High) Interval, double Margin, double Loss, double Calibration, double LongerAnswer, IReadOnlyList<(string Kind, double Accuracy, int Count)> ByKind, (double Longer, double Shorter) ByLength, BesideWords? Words = null)
{
    /// <summary>The figures of scored comparisons.</summary>
    /// <param name="pairs">At least one that is no tie.</param>
    /// <param name="words">A baseline that is asked the same; null: none.</param>
    public static RewardEvaluation Of(IReadOnlyList<ScoredPair> pairs, BagOfWords? words = null)
    {
        pairs = [.. pairs.Where(p => !p.Source.IsTie)];
        if (pairs.Count == 0) throw new InvalidDataException("Found no comparisons. Expected at least one that is no tie.");
        static double Mean(IEnumerable<double> x) => x.DefaultIfEmpty(double.NaN).Average();
        static int Longer(Comparison c) => c.Chosen.Length.CompareTo(c.Rejected.Length);
        var accuracy = Mean(pairs.Select(p => p.Right));
        var (scores, first) = (pairs.Select(p => new[] { p.Chosen, p.Rejected }).ToList(), new int[pairs.Count]);   // two classes, of which the first is right
        return new(pairs.Count, accuracy, PreferenceStatistics.Wilson(accuracy * pairs.Count, pairs.Count), Mean(pairs.Select(p => p.Chosen - p.Rejected)), RankingMetrics.LogLoss(scores, first),
            RankingMetrics.CalibrationError(scores, first, bins: 20), Mean(pairs.Select(p => (Longer(p.Source) + 1) / 2.0)),
            [.. Kinds(pairs).Select(g => (g.Key, Mean(g.Select(p => p.Right)), g.Count()))],
            (Mean(pairs.Where(p => Longer(p.Source) > 0).Select(p => p.Right)), Mean(pairs.Where(p => Longer(p.Source) < 0).Select(p => p.Right))), words is null ? null : Beside(words));

        BesideWords Beside(BagOfWords words)
        {
            var differences = pairs.Select(p => p.Right - words.Right(p.Source)).ToList();
            var ahead = differences.Average();
            return new(accuracy - ahead, ahead, Math.Sqrt(differences.Sum(d => (d - ahead) * (d - ahead)) / Math.Max(1, pairs.Count - 1) / pairs.Count), [.. Kinds(pairs).Select(g => (g.Key, Mean(g.Select(p => words.Right(p.Source)))))]);
        }
    }

    private static IEnumerable<IGrouping<string, ScoredPair>> Kinds(IReadOnlyList<ScoredPair> pairs) => pairs.Where(p => p.Source.Kind is not null).GroupBy(p => p.Source.Kind!, StringComparer.Ordinal).OrderBy(g => g.Key, StringComparer.Ordinal);
}

/// <summary>What a bag of words finds of the comparisons that a reward model was asked.</summary>
/// <param name="Accuracy">Its accuracy.</param>
/// <param name="Ahead">By how much the reward model's is higher.</param>
/// <param name="StandardError">Of that difference, over comparisons (both are asked the same ones).</param>
/// <param name="ByKind">Its accuracy of each kind.</param>
public sealed record BesideWords(double Accuracy, double Ahead, double StandardError, IReadOnlyList<(string Kind, double Accuracy)> ByKind);
