using Lect.Models;
using Lect.Text;
using TorchSharp;
using static TorchSharp.torch;

namespace Lect;

/// <summary>A pre-trained network under the head of a task, as fine-tuning sees it.</summary>
/// <param name="module">The network.</param>
/// <param name="made">The keys of its weights that are new.</param>
internal abstract class FinetuneNetwork(nn.Module module, IReadOnlyList<string> made) : IDisposable
{
    public nn.Module Module => module;

    public IReadOnlyList<string> New => made;

    /// <summary>The most positions.</summary>
    public abstract long ContextLength { get; }

    /// <summary>V.</summary>
    public abstract long VocabularySize { get; }

    /// <summary>N.</summary>
    public abstract int LayerCount { get; }

    /// <summary>C.</summary>
    public abstract long Width { get; }

    /// <summary>The precision of matrix products.</summary>
    public abstract ComputeType Compute { set; }

    /// <summary>0 for the embeddings' parameters, i + 1 for layer i's, null for the head's.</summary>
    public abstract int? DepthOf(string key);

    /// <summary>scale * the sum of a batch's losses, nats.</summary>
    public abstract Tensor Loss(IReadOnlyList<FinetuneExample> batch, double scale, Tensor? weights);

    /// <summary>The sum of a batch's losses, and for each example what the head says.</summary>
    public abstract (double Loss, float[][] Outputs) Evaluate(IReadOnlyList<FinetuneExample> batch);

    /// <summary>Writes a model folder.</summary>
    public abstract void Save(string folder);

    public void Dispose() => module.Dispose();

    private protected static Tensor Classes(IReadOnlyList<FinetuneExample> batch, Device device) => tensor(batch.Select(e => (long)e.Labels[0]).ToArray(), device: device);

    private protected static Tensor Numbers(IReadOnlyList<FinetuneExample> batch, Device device) => tensor(batch.Select(e => (float)e.Labels[0]).ToArray(), device: device);
}

/// <summary>An encoder: a head for each kind of task (Devlin et al. 2019, figure 4).</summary>
internal sealed class EncoderNetwork : FinetuneNetwork
{
    private readonly EncoderModel model;

    public EncoderNetwork(FinetuneConfig config, FinetuneTask task) : this(ModelFolder.LoadEncoder(config.ModelPath, task.Head, config.Seed, task.Labels, Devices.Choose(config.Train.Device), config.Train.Dropout, config.FromNothing)) { }

    private EncoderNetwork((EncoderModel Model, IReadOnlyList<string> New) loaded) : base(loaded.Model, loaded.New) => model = loaded.Model;

    public override long ContextLength => model.ContextLength;
    public override long VocabularySize => model.VocabularySize;
    public override int LayerCount => model.LayerCount;
    public override long Width => model.Width;
    public override ComputeType Compute { set => model.Compute = value; }
    public override int? DepthOf(string key) => model.DepthOf(key);
    public override void Save(string folder) => ModelFolder.Save(model, folder);

    public override Tensor Loss(IReadOnlyList<FinetuneExample> batch, double scale, Tensor? weights)
    {
        using var scope = NewDisposeScope();
        var rows = Rows(batch);
        return model.Loss(rows.Hidden(model), Labels(batch, rows.Length), scale, weights).MoveToOuterDisposeScope();
    }

    public override (double Loss, float[][] Outputs) Evaluate(IReadOnlyList<FinetuneExample> batch)
    {
        using var scope = NewDisposeScope();
        var rows = Rows(batch);
        var hidden_BTC = rows.Hidden(model);
        var loss = model.Loss(hidden_BTC, Labels(batch, rows.Length), 1).item<float>();
        var output = model.Output(hidden_BTC).cpu();
        var (values, each) = (output.contiguous().data<float>().ToArray(), (int)(output.numel() / batch.Count));
        return (loss, [.. batch.Select((example, i) => values[(i * each)..(i * each + (model.Head is EncoderHead.ForTokenClassification or EncoderHead.ForQuestionAnswering ? each / rows.Length * example.Length : each))])]);
    }

    private EncoderBatch Rows(IReadOnlyList<FinetuneExample> batch) => new([.. batch.SelectMany(e => e.Rows)], model.PadId);

    private Tensor Labels(IReadOnlyList<FinetuneExample> batch, int length)
    {
        var device = model.Embeddings.device;
        if (model.Head == EncoderHead.ForSequenceClassification && model.Labels.Count == 1) return Numbers(batch, device);
        if (model.Head is not (EncoderHead.ForTokenClassification or EncoderHead.ForQuestionAnswering)) return Classes(batch, device);
        var columns = model.Head == EncoderHead.ForTokenClassification ? length : 2;
        var labels = new long[batch.Count * columns];
        Array.Fill(labels, -100);
        for (var r = 0; r < batch.Count; r++)
            for (var c = 0; c < batch[r].Labels.Length; c++) labels[r * columns + c] = (long)batch[r].Labels[c];
        return tensor(labels, batch.Count, columns, device: device);
    }
}
