// Step 2, instruction tuning: Ouyang et al. 2022, section 3.5 (supervised fine-tuning); losses as TRL's SFTTrainer.
using Lect.Models;
using Lect.Text;
using TorchSharp;
using static TorchSharp.torch;

namespace Lect;

/// <summary>Instruction tuning: a language model learns to answer.</summary>
public static class Sft
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
        var longest = config.Longest(model.Model.ContextLength);
        note?.Invoke($"reading {config.Data.Describe}");
        var data = new AlignData(config.Data, longest, note);
        var validation = data.Examples(CorpusSplit.Validation, model.Encoder, config.Sft.Part).Take(config.Train.EvalExamples).Chunk(config.Train.Pass).Select(b => new AnswerBatch(b, model.PadId)).ToList();
        using var batches = new StreamedBatches<AnswerRow>(() => data.Examples(CorpusSplit.Train, model.Encoder, config.Sft.Part), r => r.Ids.Length, config.Train.BatchSize, config.Seed);
        config = AlignRun.Resolve(config, model.Model.Width, batches.StepsOf);
        data.Tell();
        run.SaveSettings(config);
        note?.Invoke($"{model.Describe()}, {config.Train.Steps:N0} steps of {config.Train.BatchSize} texts of at most {longest} tokens, {config.Train.Precision}, {config.Train.Workers}");

        return TrainLoop.Run(new Training<AnswerBatch>
        {
            Model = model.Model,
            Batches = step => { var rows = batches.At(step); data.Tell(); return Batches(rows, config, longest, model.PadId); },
            Labels = b => b.Scored,
            Tokens = b => b.Tokens,
            Loss = (b, scale) => { model.Model.Compute = config.Train.Compute; return Loss(model.Model, b, scale); },
            Evaluate = validation.Count == 0 ? null : () => Evaluate(model.Model, validation),
            Sample = () => AlignRun.Sample(model, config),
            TellsStart = true,
            Save = model.Save,
            Load = model.Load,
        }, config.Train, config.Seed, run, report, stop);
    }

    private static List<AnswerBatch> Batches(AnswerRow[] rows, AlignConfig config, int longest, int padId)
    {
        var packed = config.Sft.Packing ? Packing.BestFit([.. rows.Select(r => r.Ids.Length)], longest).ConvertAll(p => p.Select(i => rows[i]).ToArray()) : [.. rows.Select(r => new[] { r })];
        return [.. Processes.Share(packed, config.Train.MicroBatchSize).Select(b => new AnswerBatch(b, padId))];
    }

    /// <summary>-scale * sum of log p(token) over the tokens that are learned.</summary>
    internal static Tensor Loss(CausalLanguageModel model, AnswerBatch batch, double scale)
    {
        using var scope = NewDisposeScope();
        return model.LossOf(batch.Hidden(model), batch.Labels(model.HeadWeight.device), scale).MoveToOuterDisposeScope();
    }

    private static List<(string, double)> Evaluate(CausalLanguageModel model, List<AnswerBatch> validation)
    {
        using var noGrad = no_grad();
        model.Compute = ComputeType.Float32;
        var (loss, right, count) = (0.0, 0.0, validation.Sum(b => b.Scored));
        foreach (var batch in validation)
        {
            using var scope = NewDisposeScope();
            var (labels, hidden) = (batch.Labels(model.HeadWeight.device).flatten(), batch.Hidden(model).flatten(0, -2));
            var places = labels.ne(-100).nonzero().flatten();
            var (logits, own) = (model.Head(hidden.index_select(0, places)), labels.index_select(0, places));
            loss += nn.functional.cross_entropy(logits, own, reduction: nn.Reduction.Sum).item<float>();
            right += logits.argmax(-1).eq(own).sum().item<long>();
        }
        return [("val_loss", loss / count), ("perplexity", Math.Exp(loss / count)), ("mean_token_accuracy", right / count)];
    }
}
