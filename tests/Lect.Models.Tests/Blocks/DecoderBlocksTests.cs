using Lect.Testing;
using TorchSharp;
using static TorchSharp.torch;

namespace Lect.Models.Tests;

/// <summary>The parts of today's decoders against PyTorch's values (fixtures/seq2seq) and, with their kernels for whole vectors, against the plain formulas in double precision.</summary>
[NoTensorLeaks]
public class DecoderBlocksTests
{
    private static readonly SafeTensorsFile s_norms = SafeTensorsFile.Open(Fixtures.Path_("seq2seq", "norms.safetensors")), s_blocks = SafeTensorsFile.Open(Fixtures.Path_("seq2seq", "llama_blocks.safetensors"));

    private static Tensor Leaf(Tensor t) => t.clone().detach().requires_grad_(true);

    // Drawn, in fp32 or bf16.
    private static Tensor New(ScalarType type, torch.Generator generator, params long[] shape) => Leaf(randn(shape, generator: generator).to(type));

    private static Tensor Double(Tensor t) => t.to(ScalarType.Float64);

    private static void SameGradients(Tensor expected, Tensor found, Tensor[] of, torch.Generator generator, double tolerance, string what)
    {
        Near.Equal(expected, found, tolerance, tolerance, what);
        var g = randn(found.shape, generator: generator).to(found.dtype);
        Tensor[] Gradients(Tensor y, Tensor upstream)   // not autograd.grad: some kernels hand a leaf its gradient themselves
        {
            foreach (var leaf in of) leaf.grad = null;
            y.backward([upstream]);
            return [.. of.Select(leaf => leaf.grad!.clone())];
        }
        foreach (var (i, (want, have)) in Gradients(expected, Double(g)).Zip(Gradients(found, g)).Index()) Near.Equal(want, have, tolerance * (1 + want.abs().max().to(ScalarType.Float32).item<float>()), tolerance, $"{what}: gradient {i}");
    }

    [Theory, InlineData(1), InlineData(3), InlineData(4), InlineData(8)]
    public void Products_of_a_few_rows_are_those_of_many(int rows)
    {
        using var scope = NewDisposeScope();
        using var generator = new torch.Generator(1);
        foreach (var (inputs, outputs) in new[] { (16, 3), (50, 64), (37, 130), (256, 1000) })
        {
            Tensor x = randn([rows, 1, inputs], generator: generator), weight = randn([outputs + 2, inputs], generator: generator).narrow(0, 2, outputs), bias = randn([outputs], generator: generator);
            var expected = nn.functional.linear(x, weight, bias);
            using var noGrad = no_grad();
            Assert.True(FewRows.Takes(x, weight, inputs));
            Near.Equal(expected, Projection.OutIn(x, weight, bias, ComputeType.Float32), 1e-4, 1e-5, $"{inputs} to {outputs}");
            Near.Equal(expected, Projection.InOut(x, weight.t().contiguous(), bias, ComputeType.Float32), 1e-4, 1e-5, $"{inputs} to {outputs}, [in, out]");
            var rounded = weight.to(ScalarType.BFloat16);
            expected = nn.functional.linear(x, rounded.to(ScalarType.Float32), bias);
            Near.Equal(expected, FewRows.OutIn(x, rounded, bias), 1e-4, 1e-5, $"{inputs} to {outputs}, bf16");
            Near.Equal(expected, FewRows.InOut(x, rounded.t().contiguous(), bias), 1e-4, 1e-5, $"{inputs} to {outputs}, [in, out], bf16");
        }
    }

    [Theory]
    [InlineData(1, 1, 1, false, null)]
    [InlineData(1, 4, 40, false, null)]
    [InlineData(3, 1, 5, true, null)]
    [InlineData(3, 2, 40, false, 4L)]
    [InlineData(3, 2, 40, true, null)]
    [InlineData(1, 2, 5, true, null)]
    public void A_step_of_decoding_attends_as_a_pass_that_keeps_gradients(int rows, int groups, int keys, bool masked, long? window)
    {
        using var scope = NewDisposeScope();
        using var generator = new torch.Generator(1);
        // Keys of a cache with room; keys of one projection that holds values too.
        Tensor InCache() => randn([rows, groups, keys + 7, 20], generator: generator).narrow(2, 0, keys);
        Tensor Projected() => randn([rows, keys, 2, groups, 20], generator: generator).permute(2, 0, 3, 1, 4).unbind(0)[1];
        foreach (var make in new[] { InCache, Projected })
        {
            Tensor q = randn([rows, 1, 4, 20], generator: generator).transpose(1, 2), k = make(), v = make();
            var mask = masked ? cat([zeros(rows, 1, 1, keys - 1, dtype: ScalarType.Bool), ones(rows, 1, 1, 1, dtype: ScalarType.Bool)], -1) : null;
            if (masked && keys > 2) mask!.narrow(-1, 0, 2).fill_(true);
            Tensor Attend() => Attention.ScaledDotProduct(q, k, v, mask, 0.2, window: window);
            var expected = Attend();
            using var noGrad = no_grad();
            Near.Equal(expected, Attend(), 1e-5, 1e-5, "attention");
        }
    }

    [Theory, InlineData("rms_norm", 1e-6), InlineData("rms_norm_default_eps", 1.1920929e-7)]
    public void Root_mean_square_norms_are_pytorchs(string kind, double eps)
    {
        using var scope = NewDisposeScope();
        var (x, weight) = (s_norms.Load("in.x"), Leaf(s_norms.Load("weight")));
        for (var r = 0; r < 3; r++) Near.Equal(s_norms.Load($"{kind}.train.{r}.out"), RmsNorm.Of(x[r], weight, eps, ScalarType.Float32), 2e-5, 0, $"batch {r}");
        var last = Leaf(x[2]);
        (RmsNorm.Of(last, weight, eps, ScalarType.Float32) * s_norms.Load("up")).sum().backward();
        Near.Equal(s_norms.Load($"{kind}.grad.x"), last.grad!, 2e-5, 1e-4, "gradient of x");
        Near.Equal(s_norms.Load($"{kind}.grad.weight"), weight.grad!, 2e-5, 1e-4, "gradient of the weight");
    }

    [Theory, InlineData("f32", 1e-6), InlineData("bf16", 1 / 128.0)]
    public void Llamas_norm_is_hugging_faces(string type, double relative)
    {
        using var scope = NewDisposeScope();
        Tensor Load(string part) => s_blocks.Load($"llama_rms_norm.{type}.{part}");
        var x = Load("in");
        Near.Equal(Load("out"), RmsNorm.Of(x, Load("weight").to(ScalarType.Float32), 1e-6, x.dtype), 1e-6, relative, type);
    }

    [Fact]
    public void A_gated_unit_is_hugging_faces()
    {
        using var scope = NewDisposeScope();
        var (x, gate, up, down) = (Leaf(s_blocks.Load("swiglu.in.x")), Leaf(s_blocks.Load("swiglu.weight.gate_proj.weight")), Leaf(s_blocks.Load("swiglu.weight.up_proj.weight")), Leaf(s_blocks.Load("swiglu.weight.down_proj.weight")));
        var y = SwiGlu.Of(x.matmul(gate.t()), x.matmul(up.t())).matmul(down.t());
        Near.Equal(s_blocks.Load("swiglu.out"), y, 2e-5, 0, "output");
        (y * s_blocks.Load("swiglu.up")).sum().backward();
        foreach (var (name, leaf) in new[] { ("x", x), ("gate_proj.weight", gate), ("up_proj.weight", up), ("down_proj.weight", down) }) Near.Equal(s_blocks.Load("swiglu.grad." + name), leaf.grad!, 2e-5, 1e-4, name);
    }

    [Theory, InlineData(false), InlineData(true)]
    public void Kernels_equal_the_plain_formulas(bool bf16)
    {
        using var scope = NewDisposeScope();
        using var generator = Seeds.Generator(1, "test");
        var (type, tolerance) = bf16 ? (ScalarType.BFloat16, 6e-2) : (ScalarType.Float32, 1e-5);

        Tensor x = New(type, generator, 5, 7, 53), w = New(ScalarType.Float32, generator, 53);
        SameGradients(Double(w) * Double(x) * (Double(x).square().mean([-1L], keepdim: true) + 1e-3).rsqrt(), RmsNorm.Of(x, w, 1e-3, type), [x, w], generator, tolerance, "norm");

        Tensor lw = New(ScalarType.Float32, generator, 53), lb = New(ScalarType.Float32, generator, 53);
        SameGradients(nn.functional.layer_norm(Double(x), [53], Double(lw), Double(lb), 1e-3), LayerNorm.Of(x, lw, lb, 1e-3, type), [x, lw, lb], generator, tolerance, "layer norm");

        Tensor a = New(type, generator, 7, 53), b = New(type, generator, 7, 53);
        SameGradients(nn.functional.silu(Double(a)) * Double(b), SwiGlu.Of(a, b), [a, b], generator, tolerance, "gated unit");

        var rotary = new Rotary(new() { PartialRotaryFactor = 0.75 }, 48, 100);
        var positions = tensor(new long[,] { { 0, 1, 2, 3, 4 }, { 0, 0, 7, 8, 90 } });
        var (cos, sin) = rotary.At(positions);
        var q = New(type, generator, 2, 5, 3 * 48);
        var heads = Double(q).view(2, 5, 3, 48).transpose(1, 2);
        var (first, second, rest) = (heads.narrow(-1, 0, 18), heads.narrow(-1, 18, 18), heads.narrow(-1, 36, 12));
        var (c, s) = (Double(cos).unsqueeze(1), Double(sin).unsqueeze(1));
        SameGradients(cat([first * c - second * s, second * c + first * s, rest], -1), Rotary.Heads(q, 3, (cos, sin)), [q], generator, tolerance, "rotary");
    }

    // What is dropped by a key is what dropout alone drops, forward and backward, in one pass with the sum and with the norm behind it.
    [Theory, InlineData(false), InlineData(true)]
    public void The_way_back_into_the_stream_equals_the_plain_formulas(bool bf16)
    {
        using var scope = NewDisposeScope();
        using var generator = Seeds.Generator(1, "test");
        var (type, tolerance) = bf16 ? (ScalarType.BFloat16, 3e-2) : (ScalarType.Float32, 1e-5);
        Tensor residual = New(ScalarType.Float32, generator, 5, 7, 53), x = New(type, generator, 5, 7, 53), w = New(ScalarType.Float32, generator, 53), b = New(ScalarType.Float32, generator, 53);
        using var module = nn.Identity();
        Tensor Kept(double p) { Dropout.Begin(3); return Double(Dropout.Apply(ones(5, 7, 53), p)); }
        T Keyed<T>(Func<T> f) { Dropout.Begin(3); return f(); }
        foreach (var p in (double[])[0, 0.3])
        {
            Tensor Sum() => Double(residual) + Double(x) * Kept(p);
            SameGradients(Sum(), Keyed(() => module.AddDropped(residual, x, p)), [residual, x], generator, tolerance, $"sum, dropout {p}");
            SameGradients(nn.functional.layer_norm(Sum(), [53], Double(w), Double(b), 1e-3), Keyed(() => LayerNorm.OfSum(residual, x, p, w, b, 1e-3)), [residual, x, w, b], generator, tolerance, $"norm of the sum, dropout {p}");
        }
        Assert.InRange(Kept(0.3).eq(0).to(ScalarType.Float32).mean().item<float>(), 0.27f, 0.33f);
    }

    [Theory, InlineData(3, 67), InlineData(200, 192), InlineData(1, 16)]
    public void Layers_of_one_input_are_multiplied_together(int rows, int width)
    {
        using var scope = NewDisposeScope();
        using var generator = Seeds.Generator(1, "test");
        (Tensor Weight, Tensor? Bias)[] layers = [.. new[] { width, 2 * width, width }.Select(w => (New(ScalarType.Float32, generator, w, 40), (Tensor?)New(ScalarType.Float32, generator, w)))];
        layers[1].Weight.requires_grad = false;
        var x = New(ScalarType.Float32, generator, 2, rows, 40);
        Tensor[] leaves = [x, layers[0].Weight, layers[0].Bias!, layers[1].Bias!, layers[2].Weight, layers[2].Bias!];
        (Tensor Y, Tensor[] Gradients) Run(Func<Tensor[]> f)
        {
            foreach (var leaf in leaves) leaf.grad = null;
            var y = cat(f(), -1);
            (y * linspace(-1, 1, y.shape[^1])).sum().backward();
            return (y, [.. leaves.Select(l => l.grad!.clone())]);
        }
        var (expected, found) = (Run(() => [.. layers.Select(l => Projection.OutIn(x, l.Weight, l.Bias, ComputeType.BFloat16))]), Run(() => Projection.OutIn(x, layers, ComputeType.BFloat16)));
        Near.Equal(expected.Y, found.Y, 0, 0, "outputs");
        foreach (var (i, (want, have)) in expected.Gradients.Zip(found.Gradients).Index()) Near.Equal(want, have, 1e-2 * want.abs().max().item<float>(), 1e-2, $"gradient {i}");
        Near.Equal(linspace(-1, 1, 4 * width).narrow(0, 0, width).to(ScalarType.BFloat16).to(ScalarType.Float32) * 2 * rows, found.Gradients[2], 1e-5, 1e-5, "a bias's gradient is the sum over rows");
        Assert.Null(layers[1].Weight.grad);
    }

    [Theory]
    [InlineData(19, 19, 5, false), InlineData(19, 43, 20, false), InlineData(40, 40, 17, true), InlineData(1, 33, 4, false), InlineData(6, 6, 100, false)]
    public void Grouped_heads_within_a_window_equal_the_plain_formula(int t, int s, int window, bool bf16)
    {
        using var scope = NewDisposeScope();
        using var generator = Seeds.Generator(1, "test");
        var (type, tolerance) = bf16 ? (ScalarType.BFloat16, 5e-2) : (ScalarType.Float32, 1e-5);
        Tensor q = New(type, generator, 2, 6, t, 8), k = New(type, generator, 2, 2, s, 8), v = New(type, generator, 2, 2, s, 8);
        Tensor Each(Tensor x) => Double(x).repeat_interleave(3, 1);
        var mask = tensor([.. Enumerable.Range(0, t * s).Select(i => (i % s) - (s - t + i / s) is <= 0 and var d && d > -window)]).view(t, s);
        Tensor Expected() => (Double(q).matmul(Each(k).transpose(-2, -1)) * 0.3).masked_fill(mask.logical_not(), double.NegativeInfinity).softmax(-1).matmul(Each(v));
        SameGradients(Expected(), Attention.ScaledDotProduct(q, k, v, null, 0.3, window: window), [q, k, v], generator, tolerance, "fused");
        if (!bf16) SameGradients(Expected(), Attention.ScaledDotProduct(q, k, v, null, 0.3, watch: p => Assert.Equal([2L, 6, t, s], p.shape), window: window), [q, k, v], generator, tolerance, "explicit");
    }

    // The values of the rules in transformers' modeling_rope_utils.py, computed apart from it and us in double precision.
    [Fact]
    public void Positions_stretch_as_published()
    {
        void Same(double[] expected, double factor, RotaryConfig config, long context, long length)
        {
            var (frequencies, scale) = new Rotary(config, 16, context).Frequencies(length);
            Assert.Equal(expected.Length, frequencies.Length);
            for (var i = 0; i < expected.Length; i++) Near.Equal(expected[i], frequencies[i], 1e-6 * expected[i], $"{config.RopeType} pair {i}");
            Near.Equal(factor, scale, 1e-9, "factor");
        }
        Same([1, 0.23717082451262847, 0.05, 0.007905694150420948, 0.0025, 0.0007905694150420948, 0.00025, 7.905694150420948e-05], 1.138629436111989, new() { RopeType = "yarn", Factor = 4, OriginalMaxPositionEmbeddings = 64 }, 256, 1);
        Same([1, 0.23717082451262847, 0.05, 0.007905694150420948, 0.0025, 0.0007905694150420948, 0.00025, 7.905694150420948e-05], 1.5, new() { RopeType = "yarn", OriginalMaxPositionEmbeddings = 64, AttentionFactor = 1.5 }, 256, 1);
        Same([1, 0.28641497097875973, 0.08203353560076379, 0.023495632718377818, 0.006729500963161781, 0.0019274298230655173, 0.0005520447568369062, 0.00015811388300841897], 1, new() { RopeType = "dynamic", Factor = 2 }, 64, 96);
        double[] plain = [1, 0.31622776601683794, 0.1, 0.031622776601683791, 0.01, 0.0031622776601683794, 0.001, 0.00031622776601683794];
        Same(plain, 1, new() { RopeType = "dynamic", Factor = 2 }, 64, 64);
        Same([.. plain.Select(f => f / 4)], 1, new() { RopeType = "linear", Factor = 4 }, 64, 1);
    }

    [Fact]
    public void A_window_keeps_no_more_than_it_needs()
    {
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        using KvCache all = new(1, 1000), window = new(1, 1000, [4L]);
        for (var i = 0; i < 50; i++)
        {
            var one = full([1, 1, 1, 2], i, dtype: ScalarType.Float32);
            var (k, _) = window.Append(0, one, one);
            Assert.Equal(i, k[0, 0, k.shape[2] - 1, 0].item<float>());
            Assert.InRange(k.shape[2], Math.Min(i + 1, 4), 8);
            Assert.Equal(Math.Max(0, i - 3), k[0, 0, Math.Max(0, k.shape[2] - 4), 0].item<float>());
            window.Advance(1);
            all.Append(0, one, one);
            all.Advance(1);
        }
        Assert.Equal(50, window.Length);
        Assert.Equal(7 * 2 * 2 * 4, window.Bytes);
        Assert.Equal(1000 * 2 * 2 * 4, all.Bytes);
    }
}
