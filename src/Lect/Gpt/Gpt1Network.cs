// Fine-tuning by input transformation: Radford et al. 2018, sections 3.2 and 3.3.
using Lect.Models;
using Lect.Text;
using TorchSharp;
using static TorchSharp.torch;
using F = TorchSharp.torch.nn.functional;

namespace Lect;

/// <summary>GPT-1 under a task: every task becomes a text with a start token, delimiters and an extract token, whose activations the head reads (figure 1).</summary>
internal sealed class Gpt1Network : FinetuneNetwork
{
    private readonly Gpt1 model;
    private readonly double lmWeight;

    /// <summary>The new tokens' names are those of Hugging Face's example.</summary>
    public const string Start = "_start_", Delimiter = "_delimiter_", Extract = "_classify_";

    public Gpt1Network(FinetuneConfig config, FinetuneTask task, Tokenizer tokenizer) : this(ModelFolder.LoadGpt1(config.ModelPath, task.Head == EncoderHead.ForMultipleChoice ? Gpt1Head.MultipleChoice : Gpt1Head.Classification, config.Seed, json =>
    {
        json["vocab_size"] = Math.Max((int?)json["vocab_size"] ?? 0, tokenizer.VocabularySize);
        if (task.Labels is not null) ModelFolder.SetLabels(json, task.Labels);
        (json["both_orders"], json["delimiter_token_id"]) = (config.Gpt1.Task == "similarity", tokenizer.IdOf(Delimiter));
    }, Devices.Choose(config.Train.Device), config.Train.Dropout, config.FromNothing)) => lmWeight = config.Gpt1.LmWeight;

    private Gpt1Network((Gpt1 Model, IReadOnlyList<string> New) loaded) : base(loaded.Model, loaded.New) => model = loaded.Model;

    /// <summary>The tokenizer with the tokens of the transformations: start text extract, start text delimiter text extract.</summary>
    public static Tokenizer Framed(Tokenizer tokenizer) => tokenizer.Framed(Start, Delimiter, Extract);

    public override long ContextLength => model.ContextLength;
    public override long VocabularySize => model.VocabularySize;
    public override int LayerCount => model.LayerCount;
    public override long Width => model.Width;
    public override ComputeType Compute { set => model.Compute = value; }
    public override int? DepthOf(string key) => Gpt1.DepthOf(key);
    public override void Save(string folder) => ModelFolder.Save(model, folder);

    // Equation 5: the task's loss and, weighted, the language model's mean over the tokens of the batch.
    public override Tensor Loss(IReadOnlyList<FinetuneExample> batch, double scale, Tensor? weights)
    {
        using var scope = NewDisposeScope();
        var rows = new EncoderBatch([.. batch.SelectMany(e => e.Rows)], padId: 0);
        var hidden_BTC = rows.Hidden(model);
        var loss = TaskLoss(Output(hidden_BTC, batch), batch, weights) * scale;
        if (lmWeight == 0) return loss.MoveToOuterDisposeScope();
        var following = rows.Following();
        var count = following.LongCount(l => l >= 0);
        return (loss + model.LossOf(hidden_BTC, tensor(following, rows.Rows, rows.Length, device: hidden_BTC.device), lmWeight * scale * batch.Count / count)).MoveToOuterDisposeScope();
    }

    public override (double Loss, float[][] Outputs) Evaluate(IReadOnlyList<FinetuneExample> batch)
    {
        using var scope = NewDisposeScope();
        var output_NL = Output(new EncoderBatch([.. batch.SelectMany(e => e.Rows)], padId: 0).Hidden(model), batch);
        return (TaskLoss(output_NL, batch, null).item<float>(), [.. output_NL.cpu().contiguous().data<float>().ToArray().Chunk((int)output_NL.shape[1])]);
    }

    // [examples, labels or choices]: of the extract tokens; where pairs stand in both orders the two are added.
    private Tensor Output(Tensor hidden_BTC, IReadOnlyList<FinetuneExample> batch)
    {
        var last = batch.SelectMany(e => e.Rows).Select(r => r.Ids.Length - 1L).ToArray();
        var scores = model.ScoresOf(hidden_BTC[arange(last.Length, device: hidden_BTC.device), tensor(last, device: hidden_BTC.device)]);
        return model.Task == Gpt1Head.MultipleChoice ? scores.view(batch.Count, -1) : scores.view(batch.Count, -1, scores.shape[1]).sum([1L]);
    }

    private Tensor TaskLoss(Tensor output_NL, IReadOnlyList<FinetuneExample> batch, Tensor? weights) => model.Task == Gpt1Head.Classification && model.Labels.Count == 1
        ? (output_NL.squeeze(1) - Numbers(batch, output_NL.device)).square().sum()
        : F.cross_entropy(output_NL, Classes(batch, output_NL.device), weights, reduction: nn.Reduction.Sum);
}
