using System.Text.Json.Nodes;
using Lect.Models;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;
using F = TorchSharp.torch.nn.functional;

namespace Lect;

/// <summary>The shape of work of a benchmark of encoder-decoders: by default that of the Multi30k presets.</summary>
public sealed record PairsShape
{
    /// <summary><c>transformer</c>, <c>attention</c> (Bahdanau) or <c>fixed</c> (the same without attention).</summary>
    public string Kind { get; init; } = "transformer";
    /// <summary>Layers of each side of the Transformer.</summary>
    public int Layers { get; init; } = 3;
    /// <summary>H.</summary>
    public int Heads { get; init; } = 8;
    /// <summary>C of the Transformer (its inner width is twice that); embeddings of the recurrent ones, whose states are twice as wide.</summary>
    public int Width { get; init; } = 256;
    /// <summary>V of each side.</summary>
    public int Vocab { get; init; } = 8000;
    /// <summary>B.</summary>
    public int Batch { get; init; } = 128;
    /// <summary>S and T.</summary>
    public int Seq { get; init; } = 14;
    /// <summary><c>fp32</c>, <c>bf16</c> or <c>auto</c>.</summary>
    public string Dtype { get; init; } = "auto";
    /// <summary>Threads of libtorch.</summary>
    public int Threads { get; init; } = Environment.ProcessorCount;
    /// <summary>Dropout. <value>0.2</value></summary>
    public double Dropout { get; init; } = 0.2;

    /// <summary>As benchmarks print it.</summary>
    public JsonObject ToJson() => new() { ["kind"] = Kind, ["layers"] = Layers, ["heads"] = Heads, ["width"] = Width, ["vocab"] = Vocab, ["batch"] = Batch, ["seq"] = Seq, ["dtype"] = Dtype, ["threads"] = Threads, ["dropout"] = Dropout };

    internal TransformerConfig Transformer => new() { VocabSize = Vocab, DModel = Width, Heads = Heads, EncoderLayers = Layers, DecoderLayers = Layers, Ff = 2 * Width, NormFirst = true, Dropout = Dropout };
    internal RnnConfig Rnn => new() { Kind = Kind == "fixed" ? "fixed_context" : "bahdanau", SourceVocabSize = Vocab, TargetVocabSize = Vocab, Embed = Width, Hidden = 2 * Width, DecoderHidden = 2 * Width, Attention = 2 * Width, Maxout = Width, Dropout = Dropout };
}

/// <summary>A training step of an encoder-decoder (forward, backward, clipping, AdamW) beside its matrix products and libtorch's recurrent kernel alone, and beside TorchSharp's modules used the plain way.</summary>
public static class PairsBench
{
    private const int Runs = 5;

    /// <summary>Target tokens a second in the precision asked for (auto: the one whose products are faster here).</summary>
    /// <param name="shape">The work.</param>
    /// <param name="plain">Tokens a second of <see cref="Plain"/> in a process of its own; null: not compared.</param>
    public static BenchResult Run(PairsShape shape, Func<PairsShape, double>? plain = null)
    {
        TorchNative.Load();
        set_num_threads(shape.Threads);
        if (shape.Kind is not ("transformer" or "attention" or "fixed")) throw new InvalidDataException($"Found --kind {shape.Kind}. Expected transformer, attention or fixed.");
        var bounds = BenchResult.Candidates(shape.Dtype).ToDictionary(c => c, c => Bound(shape, c));
        var compute = shape.Dtype == "auto" ? bounds.MinBy(b => b.Value).Key : Precision.Resolve(shape.Dtype, 1, 1, 1);
        using EncoderDecoder model = shape.Kind == "transformer" ? new TransformerSeq2Seq(shape.Transformer) : new RnnSeq2Seq(shape.Rnn);
        model.Initialize(1);
        model.train();
        using var adam = new AdamW(model.named_parameters().Select(p => (p.name, (Tensor)p.parameter)));
        var rows = Rows(shape);
        var batch = new PairBatch(rows, rows);
        var seconds = BenchResult.Seconds(Runs, () =>
        {
            using var scope = NewDisposeScope();
            adam.ZeroGradients();
            var loss = TrainSeq2Seq.Loss(model, batch, 1.0 / batch.LabelCount, 0.1, compute);
            loss.backward();
            adam.Step(1e-5, clip: 1);
            loss.item<float>();
        });
        bounds = bounds.ToDictionary(b => b.Key, b => Math.Min(b.Value, Bound(shape, b.Key)));   // once more: the machine may be shared
        return BenchResult.From("pairs", (shape with { Dtype = Precision.Name(compute) }).ToJson(), seconds, batch.LabelCount, "tokens/s") with { ShareOfBound = bounds.Values.Min() / seconds[0], Baseline = plain?.Invoke(shape) };
    }

    private static int[][] Rows(PairsShape shape)
    {
        var random = Seeds.Random(1, "bench");
        return [.. Enumerable.Range(0, shape.Batch).Select(_ => Enumerable.Range(0, shape.Seq).Select(_ => random.Next(4, shape.Vocab)).ToArray())];
    }

    // Seconds of the products of a step alone, and of libtorch's GRU over the source.
    private static double Bound(PairsShape shape, ComputeType compute)
    {
        var (n, b, c, t, h) = (shape.Batch * shape.Seq, shape.Batch, shape.Width, shape.Seq, 2 * shape.Width);
        var total = shape.Kind == "transformer"
            ? BenchResult.Products(compute, (n, c, 3 * c, 2 * shape.Layers), (n, c, c, 4 * shape.Layers), (n, c, 2 * c, shape.Layers), (n, c, 2 * c, 2 * shape.Layers), (n, 2 * c, c, 2 * shape.Layers), (n, c, shape.Vocab, 1))
            : BenchResult.Products(compute, [(n, c, 3 * h, 1), (b, h, 3 * h, t), (n, h, 2 * c, 1), (n, c, 2 * c, 1), (n, 2 * h, 2 * c, 1), (n, c, shape.Vocab, 1), .. shape.Kind == "attention" ? [(n, 2 * h, h, 1), (b, h, h, t), (b, 2 * h, 3 * h, t)] : ((int, int, int, int)[])[(b, 2 * h, 3 * h, 1)]]);
        if (shape.Kind == "transformer") return total;
        using var gru = nn.GRU(c, h, batchFirst: true, bidirectional: true);
        using var source = randn(b, t, c, requires_grad: true);
        return total + BenchResult.Seconds(5, () =>
        {
            using var scope = NewDisposeScope();
            gru.zero_grad();
            gru.call(source).Item1.sum().backward();
        })[0];
    }

    /// <summary>The same step by TorchSharp's own modules, losses and optimizer in fp32: what one writes first. Tokens a second, best run.</summary>
    public static double Plain(PairsShape shape)
    {
        TorchNative.Load();
        set_num_threads(shape.Threads);
        using nn.Module<Tensor, Tensor, Tensor> model = shape.Kind == "transformer" ? new PlainTransformer(shape) : new PlainRnn(shape);
        var adam = optim.AdamW(model.parameters(), 1e-5);
        var rows = Rows(shape);
        using var ids = EncoderDecoder.Padded(rows, 0);
        var seconds = BenchResult.Seconds(3, () =>
        {
            using var scope = NewDisposeScope();
            adam.zero_grad();
            var loss = F.cross_entropy(model.call(ids, ids).flatten(0, 1), ids.flatten(), label_smoothing: 0.1);
            loss.backward();
            nn.utils.clip_grad_norm_(model.parameters(), 1);
            adam.step();
            loss.item<float>();
        });
        return shape.Batch * shape.Seq / seconds[0];
    }

    private sealed class PlainTransformer : nn.Module<Tensor, Tensor, Tensor>
    {
        private readonly Embedding embedding;
        private readonly TransformerEncoder encoder;
        private readonly TransformerDecoder decoder;
        private readonly TorchSharp.Modules.Dropout dropout;
        private readonly Tensor positions;

        public PlainTransformer(PairsShape shape) : base("PlainTransformer")
        {
            embedding = nn.Embedding(shape.Vocab, shape.Width);
            encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(shape.Width, shape.Heads, 2 * shape.Width, shape.Dropout), shape.Layers);
            decoder = nn.TransformerDecoder(nn.TransformerDecoderLayer(shape.Width, shape.Heads, 2 * shape.Width, shape.Dropout), shape.Layers);
            dropout = nn.Dropout(shape.Dropout);
            positions = SinusoidalPositions.Paper(shape.Seq, shape.Width);
            RegisterComponents();
        }

        private Tensor Embed(Tensor ids) => dropout.call(embedding.call(ids) * Math.Sqrt(positions.shape[1]) + positions).transpose(0, 1);

        public override Tensor forward(Tensor source, Tensor target)
        {
            var t = target.shape[1];
            var mask = full(t, t, float.NegativeInfinity).triu(1);
            var padding = source.eq(0);
            var memory = encoder.call(Embed(source), null, padding);
            return F.linear(decoder.call(Embed(target), memory, mask, null, null, padding).transpose(0, 1), embedding.weight!);
        }
    }

    private sealed class PlainRnn : nn.Module<Tensor, Tensor, Tensor>
    {
        private readonly Embedding source, target;
        private readonly GRU encoder;
        private readonly GRUCell cell;
        private readonly Linear init, w, u, v, u_o, v_o, c_o, @out;
        private readonly TorchSharp.Modules.Dropout dropout;
        private readonly bool attends;
        private readonly int maxout;

        public PlainRnn(PairsShape shape) : base("PlainRnn")
        {
            var (c, h) = (shape.Width, 2 * shape.Width);
            (attends, maxout) = (shape.Kind == "attention", c);
            (source, target, encoder) = (nn.Embedding(shape.Vocab, c), nn.Embedding(shape.Vocab, c), nn.GRU(c, h, batchFirst: true, bidirectional: true));
            (cell, init, w, u, v) = (nn.GRUCell(c + 2 * h, h), nn.Linear(h, h), nn.Linear(h, h), nn.Linear(2 * h, h), nn.Linear(h, 1));
            (u_o, v_o, c_o, @out, dropout) = (nn.Linear(h, 2 * c), nn.Linear(c, 2 * c), nn.Linear(2 * h, 2 * c), nn.Linear(c, shape.Vocab), nn.Dropout(shape.Dropout));
            RegisterComponents();
        }

        public override Tensor forward(Tensor ids, Tensor labels)
        {
            var (memory, last) = encoder.call(dropout.call(source.call(ids)));
            var padding = ids.eq(0);
            var s = init.call(last[1]).tanh();
            var whole = cat([last[0], last[1]], 1);
            var keys = attends ? u.call(memory) : memory;
            var y = dropout.call(target.call(labels));
            var logits = new List<Tensor>();
            for (var t = 0; t < labels.shape[1]; t++)
            {
                var context = whole;
                if (attends)
                {
                    var a = v.call((w.call(s).unsqueeze(1) + keys).tanh()).squeeze(-1).masked_fill(padding, float.NegativeInfinity).softmax(1);
                    context = a.unsqueeze(1).bmm(memory).squeeze(1);
                }
                var y_t = y.select(1, t);
                s = cell.call(cat([y_t, context], 1), s);
                var m = (u_o.call(s) + v_o.call(y_t) + c_o.call(context)).view(s.shape[0], maxout, 2).amax([2L]);
                logits.Add(@out.call(dropout.call(m)));
            }
            return stack(logits, 1);
        }
    }
}
