using Lect.Models;
using TorchSharp;
using static TorchSharp.torch;

namespace Lect.Benchmarks;

/// <summary>A training step of GPT-2 124M beside the time of its matrix products alone, in fp32 and bf16.</summary>
internal static class GptBench
{
    public static void Run(int batch, int tokens)
    {
        TorchNative.Load();
        set_num_threads(Environment.ProcessorCount);
        var n = batch * tokens;
        var bounds = new[] { ScalarType.Float32, ScalarType.BFloat16 }.ToDictionary(t => t, t => Products(n, t));
        using var model = new Gpt2(new Gpt2Config { ResidPdrop = 0, EmbdPdrop = 0, AttnPdrop = 0 });
        model.Initialize(1);
        model.train();
        using var adam = new AdamW(model.named_parameters().Select(p => (p.name, (Tensor)p.parameter)));
        using var ids = randint(0, 50257, [batch, tokens], dtype: ScalarType.Int64);
        foreach (var (type, compute) in new[] { (ScalarType.Float32, ComputeType.Float32), (ScalarType.BFloat16, ComputeType.BFloat16) })
        {
            model.Compute = compute;
            Step(model, adam, ids);
            var (seconds, loss) = Timing.Best(5, () => Step(model, adam, ids));
            Console.WriteLine($"gpt2-124m B{batch} T{tokens} {type}: {seconds * 1e3:0} ms a step, {n / seconds:0} tokens/s, loss {loss:0.000}; products alone {bounds[type] * 1e3:0} ms; share of the better bound {bounds.Values.Min() / seconds:0.00}");
        }
    }

    private static double Step(CausalLanguageModel model, AdamW adam, Tensor ids)
    {
        using var scope = NewDisposeScope();
        adam.ZeroGradients();
        var loss = model.Loss(ids, ids, 1.0 / ids.numel());
        loss.backward();
        adam.ClipGradients(1);
        adam.Step(1e-5);
        return loss.item<float>();
    }

    // Every product of a step: forward, gradient of the input, gradient of the weight, for the layers' four matrices and the head.
    private static double Products(int n, ScalarType type)
    {
        using var noGrad = no_grad();
        double total = 0;
        foreach (var (inputs, outputs, count) in new[] { (768, 2304, 12), (768, 768, 12), (768, 3072, 12), (3072, 768, 12), (768, 50257, 1) })
        {
            using var scope = NewDisposeScope();
            Tensor x = randn(n, inputs).to(type), w = randn(outputs, inputs).to(type), g = randn(n, outputs).to(type);
            double Time(Func<Tensor> product) { product().Dispose(); return Timing.Best(5, () => { product().Dispose(); return 0; }).Seconds; }
            total += count * (Time(() => x.mm(w.t())) + Time(() => g.mm(w)) + Time(() => g.t().mm(x)));
        }
        return total;
    }
}
