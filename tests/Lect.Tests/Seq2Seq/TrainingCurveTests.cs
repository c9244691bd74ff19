using Lect.Models;
using Lect.Testing;
using TorchSharp;
using static TorchSharp.torch;

namespace Lect.Tests.Seq2Seq;

/// <summary>Twenty steps of Adam on one batch against PyTorch (fixtures/seq2seq, "training").</summary>
public sealed class TrainingCurveTests
{
    public static TheoryData<string> Models => ["bahdanau", "bahdanau_appendix", "fixed_context", "sutskever", "luong_general", "luong_dot", "translation_post_norm", "translation_pre_norm"];

    [Theory, MemberData(nameof(Models))]
    public void Losses_fall_as_pytorchs(string name)
    {
        using var outer = NewDisposeScope();
        var (model, json, tensors) = Seq2SeqFixture.Open<EncoderDecoder>(name);
        using var own = model;
        var (source, target, gold) = Seq2SeqFixture.Batch(tensors);
        var (training, smoothing) = (json["training"]!, (double?)json["config"]!["label_smoothing"] ?? 0);
        using var adam = new AdamW(model.named_parameters().Select(p => (p.name, (Tensor)p.parameter)), decay: 0, (double)training["adam"]!["betas"]![0]!, (double)training["adam"]!["betas"]![1]!, (double)training["adam"]!["eps"]!);
        var losses = training["losses"]!.AsArray();
        for (var step = 0; step < losses.Count; step++)
        {
            using var scope = NewDisposeScope();
            adam.ZeroGradients();
            var loss = model.Loss(source, target, gold, 1.0 / (long)json["tokens"]!, smoothing);
            Assert.Equal((double)losses[step]!, loss.item<float>(), 1e-3);
            if (step == losses.Count - 1) break;
            loss.backward();
            adam.Step((double)training["learning_rates"]![step]!);
        }
    }
}
