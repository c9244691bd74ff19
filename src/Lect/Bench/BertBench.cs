using Lect.Models;
using TorchSharp;
using static TorchSharp.torch;
using F = TorchSharp.torch.nn.functional;

namespace Lect;

/// <summary>A pre-training step of BERT (forward, backward, clipping, AdamW; dropout 0.1, 15 % of the tokens to be told, next sentences) beside its matrix products alone and beside TorchSharp used the plain way.</summary>
public static class BertBench
{
    private const int Runs = 7;
    private const double Dropped = 0.1, Masked = 0.15;

    /// <summary>Tokens a second in the precision asked for (auto: the one whose products are faster here).</summary>
    /// <param name="shape">The work.</param>
    /// <param name="plain">Tokens a second of <see cref="Plain"/> in a process of its own; null: not compared.</param>
    public static BenchResult Run(BenchShape shape, Func<BenchShape, double>? plain = null)
    {
        TorchNative.Load();
        set_num_threads(shape.Threads);
        var bounds = BenchResult.Candidates(shape.Dtype).ToDictionary(c => c, c => Products(shape, c));
        var compute = shape.Dtype == "auto" ? bounds.MinBy(b => b.Value).Key : Precision.Resolve(shape.Dtype, 1, 1, 1);
        using var model = new Bert(new() { VocabSize = shape.Vocab, HiddenSize = shape.Width, NumHiddenLayers = shape.Layers, NumAttentionHeads = shape.Heads, IntermediateSize = 4 * shape.Width, MaxPositionEmbeddings = shape.Seq, HiddenDropoutProb = Dropped, AttentionProbsDropoutProb = Dropped }, EncoderHead.ForPreTraining);
        model.Initialize(1);
        model.train();
        using var adam = new AdamW(model.named_parameters().Select(p => (p.name, (Tensor)p.parameter)), decay: 0.01, beta2: 0.999);
        var batch = Batch(shape);
        var seconds = BenchResult.Seconds(Runs, () =>
        {
            using var scope = NewDisposeScope();
            adam.ZeroGradients();
            Dropout.Begin(1);
            var loss = PretrainBert.Loss(model, batch, 1.0 / batch.Labels.Length, compute);
            loss.backward();
            adam.Step(1e-5, clip: 1);
            loss.item<float>();
        });
        bounds = bounds.ToDictionary(b => b.Key, b => Math.Min(b.Value, Products(shape, b.Key)));   // once more: the machine may be shared
        return BenchResult.From("bert", (shape with { Dtype = Precision.Name(compute) }).ToJson(), seconds, shape.Batch * shape.Seq, "tokens/s") with { ShareOfBound = bounds.Values.Min() / seconds[0], Baseline = plain?.Invoke(shape) };
    }

    /// <summary>Sentences of 5 to T tokens classified in batches of like length (B rows) and, as the baseline, one by one.</summary>
    /// <param name="shape">The work.</param>
    /// <param name="count">How many.</param>
    public static BenchResult Sentences(BenchShape shape, int count)
    {
        TorchNative.Load();
        set_num_threads(shape.Threads);
        using var noGrad = no_grad();
        using var model = new Bert(new() { VocabSize = shape.Vocab, HiddenSize = shape.Width, NumHiddenLayers = shape.Layers, NumAttentionHeads = shape.Heads, IntermediateSize = 4 * shape.Width, MaxPositionEmbeddings = shape.Seq, Rest = new() { ["num_labels"] = System.Text.Json.JsonSerializer.SerializeToElement(2) } }, EncoderHead.ForSequenceClassification);
        model.Initialize(1);
        model.eval();
        var random = new Random(1);
        List<EncoderRow> rows = [.. Enumerable.Range(0, count).Select(_ => new EncoderRow([.. Enumerable.Range(0, random.Next(5, shape.Seq + 1)).Select(_ => random.Next(1, shape.Vocab))]))];
        double[] Seconds(int batch) => BenchResult.Seconds(2, () =>
        {
            foreach (var chunk in rows.OrderBy(r => r.Ids.Length).Chunk(batch))
            {
                using var scope = NewDisposeScope();
                model.Output(new EncoderBatch(chunk, 0).Hidden(model)).sum().item<float>();
            }
        });
        var (together, alone) = (Seconds(shape.Batch), Seconds(1));
        return BenchResult.From("bert-sentences", (shape with { Dtype = "fp32" }).ToJson(), together, count, "sentences/s") with { Baseline = count / alone[0], Against = "one by one" };
    }

    private static MaskedBatch Batch(BenchShape shape)
    {
        var random = new Random(1);
        EncoderRow[] rows = [.. Enumerable.Range(0, shape.Batch).Select(_ => new EncoderRow([.. Enumerable.Range(0, shape.Seq).Select(_ => random.Next(1, shape.Vocab))], [.. Enumerable.Range(0, shape.Seq).Select(t => t * 2 / shape.Seq)]))];
        long[] places = [.. Enumerable.Range(0, shape.Batch * shape.Seq).Where(_ => random.NextDouble() < Masked).Select(p => (long)p)];
        return new(new(rows, 0), places, [.. places.Select(_ => (long)random.Next(shape.Vocab))], [.. rows.Select(_ => (long)random.Next(2))]);
    }

    // The layers' products, the attention's, and the vocabulary's at the places that are to be told.
    private static double Products(BenchShape shape, ComputeType compute)
    {
        var (n, c) = (shape.Batch * shape.Seq, shape.Width);
        var told = (int)(n * Masked);
        // In bf16 queries, keys and values are one product.
        (int, int, int, int)[] attention = compute == ComputeType.BFloat16 ? [(n, c, 3 * c, shape.Layers), (n, c, c, shape.Layers)] : [(n, c, c, 4 * shape.Layers)];
        return BenchResult.Products(compute, [.. attention, (n, c, 4 * c, shape.Layers), (n, 4 * c, c, shape.Layers), (told, c, shape.Vocab, 1)]);
    }

    /// <summary>The same step by TorchSharp's own modules, losses and optimizer in fp32: what one writes first. Tokens a second, best run.</summary>
    public static double Plain(BenchShape shape)
    {
        TorchNative.Load();
        set_num_threads(shape.Threads);
        using var model = new PlainBert(shape);
        var adam = optim.AdamW(model.parameters(), 1e-5, 0.9, 0.999, weight_decay: 0.01);
        var batch = Batch(shape);
        using Tensor ids = tensor(batch.Rows.Ids.ToArray(), shape.Batch, shape.Seq), places = tensor(batch.Positions), labels = tensor(batch.Labels), next = tensor(batch.Next!);
        var seconds = BenchResult.Seconds(3, () =>
        {
            using var scope = NewDisposeScope();
            adam.zero_grad();
            var (told, follows) = model.Both(ids, places);
            var loss = F.cross_entropy(told, labels) + F.cross_entropy(follows, next);
            loss.backward();
            nn.utils.clip_grad_norm_(model.parameters(), 1);
            adam.step();
            loss.item<float>();
        });
        return shape.Batch * shape.Seq / seconds[0];
    }

    private sealed class PlainBert : nn.Module
    {
        private readonly TorchSharp.Modules.Embedding words, positions, types;
        private readonly TorchSharp.Modules.ModuleList<PlainLayer> layers;
        private readonly TorchSharp.Modules.LayerNorm norm, headNorm;
        private readonly TorchSharp.Modules.Linear pooler, next, transform;
        private readonly TorchSharp.Modules.Dropout dropout = nn.Dropout(Dropped);

        public PlainBert(BenchShape shape) : base("PlainBert")
        {
            var c = shape.Width;
            (words, positions, types) = (nn.Embedding(shape.Vocab, c), nn.Embedding(shape.Seq, c), nn.Embedding(2, c));
            (norm, headNorm, pooler, next, transform) = (nn.LayerNorm(c), nn.LayerNorm(c), nn.Linear(c, c), nn.Linear(c, 2), nn.Linear(c, c));
            layers = nn.ModuleList([.. Enumerable.Range(0, shape.Layers).Select(_ => new PlainLayer(shape))]);
            RegisterComponents();
        }

        public (Tensor Told, Tensor Next) Both(Tensor ids, Tensor places)
        {
            var x = dropout.call(norm.call(words.call(ids) + positions.call(arange(ids.shape[1])) + types.call(zeros_like(ids))));
            foreach (var layer in layers) x = layer.call(x);
            var told = headNorm.call(F.gelu(transform.call(x.flatten(0, 1).index_select(0, places))));
            return (F.linear(told, words.weight!), next.call(pooler.call(x.select(1, 0)).tanh()));
        }
    }

    private sealed class PlainLayer : nn.Module<Tensor, Tensor>
    {
        private readonly TorchSharp.Modules.LayerNorm norm1, norm2;
        private readonly TorchSharp.Modules.Linear query, key, value, output, up, down;
        private readonly TorchSharp.Modules.Dropout dropout = nn.Dropout(Dropped);
        private readonly int heads;

        public PlainLayer(BenchShape shape) : base("PlainLayer")
        {
            var c = shape.Width;
            (heads, norm1, norm2) = (shape.Heads, nn.LayerNorm(c), nn.LayerNorm(c));
            (query, key, value, output, up, down) = (nn.Linear(c, c), nn.Linear(c, c), nn.Linear(c, c), nn.Linear(c, c), nn.Linear(c, 4 * c), nn.Linear(4 * c, c));
            RegisterComponents();
        }

        public override Tensor forward(Tensor x)
        {
            var (b, t, c) = (x.shape[0], x.shape[1], x.shape[2]);
            Tensor Split(TorchSharp.Modules.Linear layer) => layer.call(x).view(b, t, heads, c / heads).transpose(1, 2);
            var y = F.scaled_dot_product_attention(Split(query), Split(key), Split(value), p: Dropped);
            x = norm1.call(x + dropout.call(output.call(y.transpose(1, 2).reshape(b, t, c))));
            return norm2.call(x + dropout.call(down.call(F.gelu(up.call(x)))));
        }
    }
}
