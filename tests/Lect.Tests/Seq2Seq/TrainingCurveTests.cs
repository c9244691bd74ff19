using System.Text.Json.Nodes;
using Lect.Models;
using Lect.Testing;
using TorchSharp;
using static TorchSharp.torch;

namespace Lect.Tests.Seq2Seq;

/// <summary>Twenty steps of Adam on one batch against PyTorch (fixtures/seq2seq, "training").</summary>
public sealed class TrainingCurveTests
{
    public static TheoryData<string> Models => ["bahdanau", "bahdanau_appendix", "fixed_context", "sutskever", "luong_general", "luong_dot", "translation_post_norm", "translation_pre_norm"];

    private static EncoderDecoder Model(JsonNode json)
    {
        var (c, source, target) = (json["config"]!, json["source_vocabulary"]!.AsArray().Count, json["target_vocabulary"]!.AsArray().Count);
        if ((string)c["kind"]! == "transformer")
            return new TransformerSeq2Seq(new()
            {
                VocabSize = source,
                DModel = (int)c["d"]!,
                Heads = (int)c["heads"]!,
                EncoderLayers = (int)c["encoder_layers"]!,
                DecoderLayers = (int)c["decoder_layers"]!,
                Ff = (int)c["ff"]!,
                Activation = (string)c["activation"]!,
                NormFirst = (bool)c["norm_first"]!,
                NormEps = (double)c["eps"]!,
                Positions = (string)c["positions"]!,
                Dropout = 0,
                MaxPositions = 64,
            });
        return new RnnSeq2Seq(new()
        {
            Kind = (string)c["kind"]! switch { "luong" => "luong_" + (string)c["score"]!, "bahdanau" when (string)c["context"]! == "fixed" => "fixed_context", var k => k },
            SourceVocabSize = source,
            TargetVocabSize = target,
            Embed = (int)c["embed"]!,
            Hidden = (int)c["hidden"]!,
            DecoderHidden = (int?)c["decoder_hidden"] ?? 1,
            Attention = (int?)c["attention"] ?? 1,
            Maxout = (int?)c["maxout"] ?? 1,
            Layers = (int?)c["layers"] ?? 1,
            Readout = (string?)c["readout"] ?? "s",
        });
    }

    [Theory, MemberData(nameof(Models))]
    public void Losses_fall_as_pytorchs(string name)
    {
        using var outer = NewDisposeScope();
        var json = Fixtures.Json(Fixtures.Path_("seq2seq", name + ".json"));
        using var model = Model(json);
        var path = Fixtures.Path_("seq2seq", name + ".weights.safetensors");
        ModelFolder.LoadWeights(model, Weights.Open(path), path);
        var tensors = SafeTensorsFile.Open(Fixtures.Path_("seq2seq", name + ".safetensors"));
        var (source, target, gold) = (tensors.Load("in.src"), tensors.Load("in.tgt"), tensors.Load("in.gold"));
        gold = gold.masked_fill(gold.eq(0), -100);
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
