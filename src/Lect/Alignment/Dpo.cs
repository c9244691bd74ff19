// Beyond the lecture: preferences without a reward model. Rafailov et al. 2023, "Direct Preference Optimization", equation 7, its variants, and KTO (Ethayarajh et al. 2024); as TRL's DPOTrainer and KTOTrainer.
using Lect.Models;
using Lect.Text;
using TorchSharp;
using static TorchSharp.torch;

namespace Lect;

/// <summary>Direct preference optimization and its kin.</summary>
public static class Dpo
{
    /// <summary>Runs the recipe in a new folder, or goes on in one that a run was begun in.</summary>
    /// <inheritdoc cref="PretrainGpt.Run"/>
    public static RunState Run(AlignConfig config, string folder, Action<TrainEvent>? report = null, Action<string>? note = null, CancellationToken stop = default)
    {
        config = config.Validate().HereAndNow();
        TorchNative.Load();
        using var run = RunFolder.OpenOrBegin(folder, ref config);
        Processes.UseThreads(config.Train.Threads);

        using var model = AlignedModel.Open(config, isScorer: false, note);
        using var reference = config.Dpo.NeedsReference ? model.Reference(config) : null;
        var longest = config.Longest(model.Model.ContextLength);
        note?.Invoke($"reading {config.Data.Describe}");
        var data = new AlignData(config.Data, longest, note);
        ComparisonRow Encode(Comparison c) => ComparisonRow.Of(model.Encoder, c);
        var validation = data.Comparisons(CorpusSplit.Validation, Encode, ties: false).Take(config.Train.EvalExamples).ToList();
        using var batches = new StreamedBatches<ComparisonRow>(() => data.Comparisons(CorpusSplit.Train, Encode, ties: false), r => r.Length, config.Train.BatchSize, config.Seed);
        config = AlignRun.Resolve(config, model.Model.Width, batches.StepsOf);
        data.Tell();
        run.SaveSettings(config);
        note?.Invoke($"{model.Describe()}, loss {config.Dpo.Loss}, {validation.Count:N0} comparisons to validate with, {config.Train.Steps:N0} steps of {config.Train.BatchSize} pairs of at most {longest} tokens, {config.Train.Precision}, {config.Train.Workers}");

        var (figures, seen) = (new Averages(), new Averages());
        var policy = new Compared(model.Model, reference, model.PadId, config.Dpo);
        return TrainLoop.Run(new Training<ComparisonRow[]>
        {
            Model = model.Model,
            Batches = step => { var rows = batches.At(step); data.Tell(); return [.. Processes.Share(rows, config.Train.MicroBatchSize)]; },
            Labels = b => b.Length,
            Tokens = b => b.Sum(r => (long)r.Chosen.Ids.Length + r.Rejected.Ids.Length),
            Loss = (b, scale) => { policy.Compute(config.Train.Compute); return policy.Loss(b, scale, figures); },
            Figures = figures.Take,
            Evaluate = validation.Count == 0 ? null : () => Evaluate(policy, validation, config.Train.Pass, seen),
            Sample = () => AlignRun.Sample(model, config),
            TellsStart = true,
            Save = model.Save,
            Load = model.Load,
        }, config.Train, config.Seed, run, report, stop);
    }

    private static List<(string, double)> Evaluate(Compared policy, List<ComparisonRow> validation, int size, Averages seen)
    {
        using var noGrad = no_grad();
        policy.Compute(ComputeType.Float32);
        var loss = 0.0;
        foreach (var batch in validation.OrderBy(r => r.Length).Chunk(size))
        {
            using var scope = NewDisposeScope();
            loss += policy.Loss(batch, 1, seen).item<float>();
        }
        return [("val_loss", loss / validation.Count), .. seen.Take().Select(f => ("eval_" + f.Item1, f.Item2))];
    }
}

/// <summary>A policy, and what it is compared with: the losses of preferences.</summary>
internal sealed class Compared(CausalLanguageModel policy, CausalLanguageModel? reference, int padId, DpoSection dpo)
{
    public void Compute(ComputeType type) => policy.Compute = type;

    public Tensor Loss(AnswerPair[] rows, double scale, Averages figures)
    {
        using var scope = NewDisposeScope();
        return ((dpo.IsUnpaired ? Single(rows, figures) : Pairs(rows, figures)) * scale).MoveToOuterDisposeScope();
    }

    private Tensor Pairs(AnswerPair[] rows, Averages figures)
    {
        var batch = new AnswerBatch([.. rows.Select(r => r.Chosen), .. rows.Select(r => r.Rejected)], padId);
        Tensor Half(Tensor x, int which) => x.narrow(0, which * rows.Length, rows.Length);
        var hidden = batch.Hidden(policy);
        var (labels, counts) = (batch.Labels(hidden.device), batch.Mask(hidden.device).sum(1));
        var own = TokenLogProbs.Of(policy, hidden, labels).LogProbs_BT.sum(1);
        var others = dpo.NeedsReference ? ReferenceSums(batch) : null;
        var pairs = new PairLogProbs(Half(own, 0), Half(own, 1), others is null ? null : Half(others, 0), others is null ? null : Half(others, 1), Half(counts, 0), Half(counts, 1));
        var loss = dpo.Pairs.PerPair(pairs).sum();
        Tell(pairs, figures, rows.Length);
        // ORPO's other part is the language model's loss of prompt and chosen answer; elsewhere it may be asked for, of the answer.
        if (dpo.Loss == "orpo") loss = loss + LanguageModel([.. rows.Select(r => r.Chosen with { Counts = [.. r.Chosen.Counts.Select(_ => true)] })]) * rows.Length;
        else if (dpo.SftWeight > 0) loss = loss + LanguageModel([.. rows.Select(r => r.Chosen)]) * (dpo.SftWeight * rows.Length);
        return loss;
    }

    private Tensor LanguageModel(IReadOnlyList<AnswerRow> rows) => new AnswerBatch(rows, padId) is var batch ? Sft.Loss(policy, batch, 1.0 / batch.Scored) : null!;

    private Tensor ReferenceSums(AnswerBatch batch)
    {
        using var noGrad = no_grad();
        return batch.ReferenceLogProbs(policy, reference, temperature: 1).sum(1);
    }

    private void Tell(PairLogProbs pairs, Averages figures, int count)
    {
        using var noGrad = no_grad();
        // Of losses that compare means, the means, as TRL's trainers of these.
        if (dpo.Loss is "simpo" or "orpo") pairs = pairs with { Chosen = pairs.Chosen / pairs.ChosenTokens!, Rejected = pairs.Rejected / pairs.RejectedTokens! };
        var (chosen, rejected) = pairs.ReferenceChosen is null ? (pairs.Chosen * dpo.Beta, pairs.Rejected * dpo.Beta) : ((pairs.Chosen - pairs.ReferenceChosen) * dpo.Beta, (pairs.Rejected - pairs.ReferenceRejected!) * dpo.Beta);
        void Add(string name, Tensor x) => figures.Add(name, x.mean().item<float>(), count);
        Add("rewards/chosen", chosen);
        Add("rewards/rejected", rejected);
        Add("rewards/margins", chosen - rejected);
        Add("rewards/accuracies", chosen.gt(rejected).to(ScalarType.Float32));
        Add("logps/chosen", pairs.Chosen);
        Add("logps/rejected", pairs.Rejected);
    }

    // Each pair is a good answer and a bad one; good ones first, so that the answer before each one's own is to another prompt.
    private Tensor Single(AnswerPair[] rows, Averages figures)
    {
        var answers = rows.Select(r => r.Chosen).Concat(rows.Select(r => r.Rejected)).ToList();
        var prompts = rows.Concat(rows).Select(r => r.PromptLength).ToList();
        var good = tensor(answers.Select((_, i) => i < rows.Length).ToArray(), device: policy.HeadWeight.device);
        var (ratio, kl) = UnpairedLogProbs.Of(policy, reference, answers, prompts, padId, withKl: dpo.Loss == "kto");
        using (no_grad())
        {
            figures.Add("kl", kl.item<float>(), rows.Length);
            figures.Add("rewards/chosen", (ratio[good].mean() * dpo.Beta).item<float>(), rows.Length);
            figures.Add("rewards/rejected", (ratio[good.logical_not()].mean() * dpo.Beta).item<float>(), rows.Length);
        }
        return PreferenceLoss.PerExample(ratio, good, kl, dpo.Beta, dpo.DesirableWeight, dpo.UndesirableWeight).mean() * rows.Length;
    }
}
