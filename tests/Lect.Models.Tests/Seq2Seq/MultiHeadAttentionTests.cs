using System.Text.Json.Nodes;
using Lect.Testing;
using TorchSharp;
using static TorchSharp.torch;

namespace Lect.Models.Tests;

/// <summary>The lecture's sizes, d_model 512 and 8 heads of 64, against float64 (fixtures/seq2seq/multihead512.json), and the attention of all architectures (sdpa.json).</summary>
[NoTensorLeaks]
public class MultiHeadAttentionTests
{
    private static float[] Values(int n, uint seed, double scale)
    {
        var values = new float[n];
        for (uint i = 0; i < n; i++)
        {
            var x = unchecked(i + seed * 0x9E3779B9);
            x ^= x >> 16;
            x = unchecked(x * 0x7FEB352D);
            x ^= x >> 15;
            x = unchecked(x * 0x846CA68B);
            x ^= x >> 16;
            values[i] = (float)((x / 4294967296.0 - 0.5) * scale);
        }
        return values;
    }

    [Fact]
    public void Eight_heads_of_sixty_four()
    {
        using var scope = NewDisposeScope();
        var json = Fixtures.Json(Fixtures.Path_("seq2seq", "multihead512.json"));
        var (c, seeds) = (json["config"]!, json["config"]!["seeds"]!);
        using var attention = new MultiHeadAttention(new() { VocabSize = 1 }, CPU);   // the paper's base model
        Tensor Matrix(string name) => tensor(Values(512 * 512, (uint)(int)seeds[name]!, (double)c["weight_scale"]!), 512, 512);
        using (no_grad())
            foreach (var (key, parameter) in attention.named_parameters())
            {
                if (key == "in_proj_weight") parameter.copy_(cat([Matrix("W_Q"), Matrix("W_K"), Matrix("W_V")], 0));
                else if (key == "out_proj.weight") parameter.copy_(Matrix("W_O"));
                else parameter.zero_();
            }
        var (b, t) = ((int)c["B"]!, (int)c["T"]!);
        var x = tensor(Values(b * t * 512, (uint)(int)seeds["x"]!, (double)c["input_scale"]!), b, t, 512);
        foreach (var expected in json["cases"]!.AsArray())
        {
            var (q, k, v) = attention.QueriesKeysValues(x, ComputeType.Float32);
            var mask = (bool)expected!["causal"]! ? null : ones(1, 1, 1, t, dtype: ScalarType.Bool);
            var y = attention.Attend(q, k, v, mask, null, ComputeType.Float32);
            Near.Equal((double)expected["sum_abs"]!, y.abs().sum().item<float>(), 1e-5 * (double)expected["sum_abs"]!, "sum of absolute values");
            Near.Equal((double)expected["l2"]!, y.norm().item<float>(), 1e-5 * (double)expected["l2"]!, "norm");
            for (var i = 0; i < 8; i++) Near.Equal((double)expected["out[0,0,:8]"]![i]!, y[0, 0, i].item<float>(), 5e-6, $"entry {i}");
        }
    }

    // Causal masks of ours are aligned to the last position (a cache), torch's to the first: with as many keys as queries they are one.
    [Theory, InlineData("additive_mask"), InlineData("additive_inf_mask"), InlineData("gqa"), InlineData("mqa_causal"), InlineData("plain"), InlineData("cross_value_width"), InlineData("bool_mask"), InlineData("causal"), InlineData("scale"), InlineData("scale_one_bool")]
    public void Scaled_dot_products_are_pytorchs(string name)
    {
        using var scope = NewDisposeScope();
        var c = Fixtures.Json(Fixtures.Path_("seq2seq", "sdpa.json")).AsArray().Single(n => (string)n!["name"]! == name)!;
        var file = SafeTensorsFile.Open(Fixtures.Path_("seq2seq", "sdpa.safetensors"));
        Tensor Load(string part) => file.Load($"{name}.{part}").clone();
        var (q, k, v) = (Load("q").requires_grad_(true), Load("k").requires_grad_(true), Load("v").requires_grad_(true));
        var mask = (bool)c["causal"]! ? null : file.Tensors.ContainsKey(name + ".mask") ? Load("mask") : ones(1, 1, q.shape[2], k.shape[2], dtype: ScalarType.Bool);
        var y = Attention.ScaledDotProduct(q, k, v, mask, (double?)c["scale"] ?? 1 / Math.Sqrt((int)c["D"]!));
        Near.Equal(Load("out"), y, 5e-6, 0, "output");
        (y * Load("up")).sum().backward();
        foreach (var (what, x) in new[] { ("q", q), ("k", k), ("v", v) }) Near.Equal(Load("grad." + what), x.grad!, 1e-4 * Load("grad." + what).abs().max().item<float>(), 0, "gradient of " + what);
    }
}
