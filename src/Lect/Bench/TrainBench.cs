using System.Diagnostics;
using System.Globalization;
using Lect.Models;
using TorchSharp;
using static TorchSharp.torch;
using F = TorchSharp.torch.nn.functional;

namespace Lect;

/// <summary>A training step of GPT-2 (forward, backward, clipping, AdamW) beside its matrix products alone and beside TorchSharp used the plain way.</summary>
public static class TrainBench
{
    private const int Runs = 7;

    /// <summary>Tokens a second in the precision asked for (auto: the one whose products are faster here).</summary>
    /// <param name="shape">The work.</param>
    /// <param name="plain">Tokens a second of <see cref="Plain"/> in a process of its own, where the heap is as it comes; null: not compared.</param>
    public static BenchResult Run(BenchShape shape, Func<BenchShape, double>? plain = null)
    {
        TorchNative.Load();
        set_num_threads(shape.Threads);
        var tokens = shape.Batch * shape.Seq;
        var bounds = BenchResult.Candidates(shape.Dtype).ToDictionary(c => c, c => Products(shape, c));
        var compute = shape.Dtype == "auto" ? bounds.MinBy(b => b.Value).Key : Precision.Resolve(shape.Dtype, 1, 1, 1);
        using var model = new Gpt2(shape.Model(shape.Seq)) { Compute = compute };
        var seconds = Steps(model, shape);
        bounds = bounds.ToDictionary(b => b.Key, b => Math.Min(b.Value, Products(shape, b.Key)));   // once more: the machine may be shared
        return BenchResult.From("train", (shape with { Dtype = Precision.Name(compute) }).ToJson(), seconds, tokens, "tokens/s") with { ShareOfBound = bounds.Values.Min() / seconds[0], Baseline = plain?.Invoke(shape) };
    }

    /// <summary>Seconds of each run of a training step of a model of that shape, best first.</summary>
    internal static double[] Steps(CausalLanguageModel model, BenchShape shape)
    {
        model.Initialize(1);
        model.train();
        using var adam = new AdamW(model.named_parameters().Where(p => p.parameter.requires_grad).Select(p => (p.name, (Tensor)p.parameter)));
        using var ids = Ids(shape);
        return BenchResult.Seconds(Runs, () => Step(model, adam, ids));
    }

    internal static Tensor Ids(BenchShape shape)
    {
        using var generator = Seeds.Generator(1, "bench");
        return randint(0, shape.Vocab, [shape.Batch, shape.Seq], dtype: ScalarType.Int64, generator: generator);
    }

    private static void Step(CausalLanguageModel model, AdamW adam, Tensor ids)
    {
        using var scope = NewDisposeScope();
        adam.ZeroGradients();
        var loss = model.Loss(ids, ids, 1.0 / ids.numel());
        loss.backward();
        adam.Step(1e-5, clip: 1);
        loss.item<float>();
    }

    // The layers' four matrices and the head.
    private static double Products(BenchShape shape, ComputeType compute)
    {
        var (n, c) = (shape.Batch * shape.Seq, shape.Width);
        return BenchResult.Products(compute, (n, c, 3 * c, shape.Layers), (n, c, c, shape.Layers), (n, c, 4 * c, shape.Layers), (n, 4 * c, c, shape.Layers), (n, c, shape.Vocab, 1));
    }

    /// <summary>The same step by TorchSharp's own modules, losses and optimizer in fp32: what one writes first. Tokens a second, best run.</summary>
    public static double Plain(BenchShape shape)
    {
        TorchNative.Load();
        set_num_threads(shape.Threads);
        using var model = new PlainGpt(shape);
        var adam = optim.AdamW(model.parameters(), 1e-5, 0.9, 0.95, weight_decay: 0.1);
        using var ids = Ids(shape);
        var seconds = BenchResult.Seconds(3, () =>
        {
            using var scope = NewDisposeScope();
            adam.zero_grad();
            var loss = F.cross_entropy(model.call(ids).flatten(0, 1), ids.flatten());
            loss.backward();
            nn.utils.clip_grad_norm_(model.parameters(), 1);
            adam.step();
            loss.item<float>();
        });
        return shape.Batch * shape.Seq / seconds[0];
    }

    /// <summary>Runs a baseline in another process of this program, without the kept heap.</summary>
    /// <param name="arguments">What makes the program call it and print its figure.</param>
    /// <exception cref="InvalidOperationException">It failed.</exception>
    public static double InAnotherProcess(params IReadOnlyList<string> arguments)
    {
        var start = new ProcessStartInfo(Environment.ProcessPath!, arguments) { RedirectStandardOutput = true, UseShellExecute = false };
        start.Environment["LECT_PLAIN_HEAP"] = "1";
        using var process = Process.Start(start)!;
        var output = process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        return process.ExitCode == 0 && double.TryParse(output, CultureInfo.InvariantCulture, out var speed) ? speed : throw new InvalidOperationException($"The baseline's process ended with {process.ExitCode} at {string.Join(' ', arguments)}.");
    }

    private sealed class PlainGpt : nn.Module<Tensor, Tensor>
    {
        private readonly TorchSharp.Modules.Embedding wte, wpe;
        private readonly TorchSharp.Modules.ModuleList<PlainBlock> h;
        private readonly TorchSharp.Modules.LayerNorm ln_f;

        public PlainGpt(BenchShape shape) : base("PlainGpt")
        {
            (wte, wpe, ln_f) = (nn.Embedding(shape.Vocab, shape.Width), nn.Embedding(shape.Seq, shape.Width), nn.LayerNorm(shape.Width));
            h = nn.ModuleList([.. Enumerable.Range(0, shape.Layers).Select(_ => new PlainBlock(shape))]);
            RegisterComponents();
        }

        public override Tensor forward(Tensor ids)
        {
            var x = wte.call(ids) + wpe.call(arange(ids.shape[1]));
            foreach (var block in h) x = block.call(x);
            return F.linear(ln_f.call(x), wte.weight!);
        }
    }

    private sealed class PlainBlock : nn.Module<Tensor, Tensor>
    {
        private readonly TorchSharp.Modules.LayerNorm ln_1, ln_2;
        private readonly TorchSharp.Modules.Linear attn, proj, up, down;
        private readonly int heads;

        public PlainBlock(BenchShape shape) : base("PlainBlock")
        {
            var c = shape.Width;
            (heads, ln_1, ln_2) = (shape.Heads, nn.LayerNorm(c), nn.LayerNorm(c));
            (attn, proj, up, down) = (nn.Linear(c, 3 * c), nn.Linear(c, c), nn.Linear(c, 4 * c), nn.Linear(4 * c, c));
            RegisterComponents();
        }

        public override Tensor forward(Tensor x)
        {
            var (b, t, c) = (x.shape[0], x.shape[1], x.shape[2]);
            var qkv = attn.call(ln_1.call(x)).view(b, t, 3, heads, c / heads).permute(2, 0, 3, 1, 4);
            var y = F.scaled_dot_product_attention(qkv[0], qkv[1], qkv[2], is_casual: true);
            x = x + proj.call(y.transpose(1, 2).reshape(b, t, c));
            return x + down.call(F.gelu(up.call(ln_2.call(x)), TorchSharp.Modules.GELU.Approximate.tanh));
        }
    }
}
