using System.Text.Json.Nodes;
using Lect.Testing;
using TorchSharp;
using static TorchSharp.torch;

namespace Lect.Models.Tests;

/// <summary>The encoder-decoder Transformer against torch.nn.Transformer (fixtures/seq2seq, parts c, e and f).</summary>
[NoTensorLeaks]
public class TransformerTests
{
    [Theory, InlineData("translation_post_norm"), InlineData("translation_pre_norm")]
    public void Logits_smoothed_loss_and_gradients(string name)
    {
        using var scope = NewDisposeScope();
        var (model, json, tensors) = Seq2SeqFixture.Open<TransformerSeq2Seq>(name);
        using var own = model;
        var (source, target, gold) = Seq2SeqFixture.Batch(tensors);
        using (no_grad())
        using (var state = model.Encode(source))
        {
            var real = source.ne(0).unsqueeze(-1);
            Near.Equal(tensors.Load("out.embedded_src"), model.Embed(source, 0), 2e-5, 0, "embedded source");
            Near.Equal(tensors.Load("out.memory") * real, state["source"] * real, 2e-5, 0, "memory");
            var counts = gold.ne(-100).unsqueeze(-1);
            Near.Equal(tensors.Load("out.logits") * counts, model.Logits(state, target) * counts, 2e-5, 0, "logits");
        }
        var smoothed = json["smoothed_losses"]!;
        var loss = model.Loss(source, target, gold, 1.0 / (long)json["tokens"]!, (double)smoothed["eps"]!);
        loss.backward();
        Near.Equal((double)json["loss"]!, loss.item<float>(), 1e-5, "loss");
        var norms = json["grad_norms"]!["by_parameter"]!.AsObject();
        foreach (var (key, parameter) in model.named_parameters()) Near.Equal((double)norms[key]!, parameter.grad!.norm().item<float>(), 1e-4 * Math.Max(1, (double)norms[key]!), "gradient of " + key);
        using (no_grad()) Near.Equal((double)smoothed["nll_per_token"]!, model.Loss(source, target, gold, 1.0 / (long)json["tokens"]!).item<float>(), 1e-5, "nll");
    }

    [Theory, InlineData("translation_post_norm"), InlineData("translation_pre_norm")]
    public void Steps_one_by_one_are_the_whole(string name)
    {
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        var (model, _, tensors) = Seq2SeqFixture.Open<TransformerSeq2Seq>(name);
        using var own = model;
        model.eval();
        var (source, target, gold) = Seq2SeqFixture.Batch(tensors);
        using var whole = model.Encode(source);
        using var stepwise = model.Encode(source);
        var counts = gold.ne(-100).unsqueeze(-1);
        var expected = model.Logits(whole, target) * counts;
        for (var t = 0; t < target.shape[1]; t++) Near.Equal(expected.select(1, t), model.Logits(stepwise, target.narrow(1, t, 1)).squeeze(1) * counts.select(1, t), 1e-5, 0, $"step {t}");
    }

    [Theory, InlineData("post_norm"), InlineData("pre_norm")]
    public void Stacks_and_attention_maps(string name)
    {
        using var scope = NewDisposeScope();
        var json = Fixtures.Json(Fixtures.Path_("seq2seq", "transformer.json"))[name]!;
        var tensors = SafeTensorsFile.Open(Fixtures.Path_("seq2seq", $"transformer_{name}.safetensors"));
        var config = Seq2SeqFixture.TransformerConfig(json, 5);
        using var stacks = new TransformerStacks(config, CPU);
        using (no_grad())
            foreach (var (key, parameter) in stacks.named_parameters()) parameter.copy_(tensors.Load("weight." + key));
        stacks.eval();
        var (source, target) = (tensors.Load("in.src").clone().requires_grad_(true), tensors.Load("in.tgt").clone().requires_grad_(true));
        var (sourceReal, targetReal) = (tensors.Load("in.src_pad").logical_not(), tensors.Load("in.tgt_pad").logical_not());
        var (encoderSink, decoderSink) = (new AttentionSink(), new AttentionSink());
        using var state = new DecoderState();
        var memory = stacks.encoder.forward(source, sourceReal, encoderSink, ComputeType.Float32);
        Near.Equal(tensors.Load("out.memory") * sourceReal.unsqueeze(-1), memory * sourceReal.unsqueeze(-1), 2e-5, 0, "memory");
        (state["real"], state["source"]) = (sourceReal, memory.alias());
        var output = stacks.decoder.forward(target, targetReal, state, decoderSink, ComputeType.Float32);
        var valid = targetReal.unsqueeze(-1);
        Near.Equal(tensors.Load("out.output") * valid, output * valid, 2e-5, 0, "output");
        for (var i = 0; i < config.EncoderLayers; i++)
            Near.Equal(tensors.Load($"out.attention.encoder.layers.{i}.self_attn") * sourceReal.unsqueeze(1).unsqueeze(-1), encoderSink.At(i) * sourceReal.unsqueeze(1).unsqueeze(-1), 2e-5, 0, $"encoder {i}");
        for (var i = 0; i < config.DecoderLayers; i++)
        {
            Near.Equal(tensors.Load($"out.attention.decoder.layers.{i}.self_attn") * targetReal.unsqueeze(1).unsqueeze(-1), decoderSink.At(i) * targetReal.unsqueeze(1).unsqueeze(-1), 2e-5, 0, $"decoder {i}");
            Near.Equal(tensors.Load($"out.attention.decoder.layers.{i}.multihead_attn") * targetReal.unsqueeze(1).unsqueeze(-1), decoderSink.At(-1 - i) * targetReal.unsqueeze(1).unsqueeze(-1), 2e-5, 0, $"cross {i}");
        }
        var loss = (output * tensors.Load("up.output")).sum();
        loss.backward();
        Near.Equal((double)json["loss"]!, loss.item<float>(), 1e-4 * Math.Max(1, Math.Abs((double)json["loss"]!)), "loss");
        Near.Equal(tensors.Load("grad.src"), source.grad!, 1e-4 * tensors.Load("grad.src").abs().max().item<float>(), 0, "gradient of the source");
        Near.Equal(tensors.Load("grad.tgt"), target.grad!, 1e-4 * tensors.Load("grad.tgt").abs().max().item<float>(), 0, "gradient of the target");
        foreach (var (key, parameter) in stacks.named_parameters()) Near.Equal((double)json["grad_norms"]!["by_parameter"]![key]!, parameter.grad!.norm().item<float>(), 1e-4 * Math.Max(1, (double)json["grad_norms"]!["by_parameter"]![key]!), key);
    }

    [Fact]
    public void Positions_are_the_papers()
    {
        using var scope = NewDisposeScope();
        foreach (var table in Fixtures.Json(Fixtures.Path_("seq2seq", "positions.json")).AsArray())
            foreach (var (layout, make) in new (string, Func<long, long, Tensor>)[] { ("paper", SinusoidalPositions.Paper), ("marian", SinusoidalPositions.Marian) })
            {
                if (table![layout] is not JsonArray values) continue;
                long[] rows = [.. table["rows"]!.AsArray().Select(r => (long)r!)], columns = [.. table["columns"]!.AsArray().Select(r => (long)r!)];
                var found = make(rows.Max() + 1, (long)table["d"]!);
                for (var r = 0; r < rows.Length; r++)
                    for (var c = 0; c < columns.Length; c++) Near.Equal((double)values[r]![c]!, found[rows[r], columns[c]].item<float>(), 1e-6, $"{layout} {rows[r]}, {columns[c]}");
            }
        Assert.Equal([3L, 5L], SinusoidalPositions.Paper(3, 5).shape);   // an odd width, as the slide draws it
    }

    [Fact]
    public void Norms_are_pytorchs()
    {
        using var scope = NewDisposeScope();
        var tensors = SafeTensorsFile.Open(Fixtures.Path_("seq2seq", "norms.safetensors"));
        var (x, mask) = (tensors.Load("in.x"), tensors.Load("in.mask").to(ScalarType.Bool));
        foreach (var (kind, overBatch) in new[] { ("layer_norm", false), ("batch_norm_valid", true), ("batch_norm_all", true) })
        {
            using var norm = new SequenceNorm(x.shape[^1], 1e-5, overBatch, CPU);
            using (no_grad())
                foreach (var (key, parameter) in norm.named_parameters()) parameter.copy_(tensors.Load(key));
            norm.train();
            var real = kind == "batch_norm_all" ? ones_like(mask) : mask;
            for (var r = 0; r < x.shape[0]; r++)
            {
                Near.Equal(tensors.Load($"{kind}.train.{r}.out"), norm.forward(x[r], real), 2e-5, 0, $"{kind}, batch {r}");
                if (!overBatch) continue;
                Near.Equal(tensors.Load($"{kind}.train.{r}.running_mean"), norm.get_buffer("running_mean")!, 2e-5, 0, "mean");
                Near.Equal(tensors.Load($"{kind}.train.{r}.running_var"), norm.get_buffer("running_var")!, 2e-5, 0, "variance");
            }
            norm.eval();
            Near.Equal(tensors.Load($"{kind}.eval.out"), norm.forward(x[0], real), 2e-5, 0, kind);
        }
    }
}
