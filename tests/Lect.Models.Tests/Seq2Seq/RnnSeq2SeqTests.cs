using Lect.Testing;
using TorchSharp;
using static TorchSharp.torch;

namespace Lect.Models.Tests;

/// <summary>Recurrent encoder-decoders against PyTorch (fixtures/seq2seq, part b).</summary>
[NoTensorLeaks]
public class RnnSeq2SeqTests
{
    public static TheoryData<string> Kinds => ["bahdanau", "bahdanau_appendix", "fixed_context", "sutskever", "luong_general", "luong_dot"];

    [Theory, MemberData(nameof(Kinds))]
    public void Logits_attention_and_gradients(string name)
    {
        using var scope = NewDisposeScope();
        var (model, json, tensors) = Seq2SeqFixture.Open<RnnSeq2Seq>(name);
        using var own = model;
        var (source, target, gold) = Seq2SeqFixture.Batch(tensors);
        var sink = new AttentionSink();
        using (no_grad())
        using (var state = model.Encode(source))
        {
            if (name != "sutskever" && tensors.Tensors.ContainsKey("out.encoder_states")) Near.Equal(tensors.Load("out.encoder_states"), state["source"], 2e-5, 0, "encoder states");
            Near.Equal(tensors.Load("out.logits"), model.Logits(state, target, sink), 2e-5, 0, "logits");
        }
        if (tensors.Tensors.ContainsKey("out.attention"))
        {
            var real = gold.ne(-100).unsqueeze(-1);
            Near.Equal(tensors.Load("out.attention") * real, sink.At(0).squeeze(1) * real, 2e-5, 0, "attention");
        }
        var loss = model.Loss(source, target, gold, 1.0 / (long)json["tokens"]!);
        loss.backward();
        Near.Equal((double)json["loss"]!, loss.item<float>(), 1e-5, "loss");
        var norms = json["grad_norms"]!["by_parameter"]!.AsObject();
        foreach (var (key, parameter) in model.named_parameters()) Near.Equal((double)norms[key]!, parameter.grad!.norm().item<float>(), 1e-4 * Math.Max(1, (double)norms[key]!), "gradient of " + key);
    }

    [Theory, MemberData(nameof(Kinds))]
    public void Steps_one_by_one_are_the_whole(string name)
    {
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        var (model, _, tensors) = Seq2SeqFixture.Open<RnnSeq2Seq>(name);
        using var own = model;
        var (source, target, _) = Seq2SeqFixture.Batch(tensors);
        using var whole = model.Encode(source);
        using var stepwise = model.Encode(source);
        var expected = model.Logits(whole, target);
        for (var t = 0; t < target.shape[1]; t++) Near.Equal(expected.select(1, t), model.Logits(stepwise, target.narrow(1, t, 1)).squeeze(1), 1e-5, 0, $"step {t}");
    }
}
