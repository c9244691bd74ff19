using System.Text.Json.Nodes;
using Lect.Models;
using TorchSharp;
using static TorchSharp.torch;

namespace Lect.Testing;

/// <summary>The encoder-decoders of fixtures/seq2seq: NAME.json, NAME.weights.safetensors and NAME.safetensors.</summary>
internal static class Seq2SeqFixture
{
    public static (T Model, JsonNode Json, SafeTensorsFile Tensors) Open<T>(string name) where T : EncoderDecoder
    {
        var json = Fixtures.Json(Fixtures.Path_("seq2seq", name + ".json"));
        var (c, source, target) = (json["config"]!, json["source_vocabulary"]!.AsArray().Count, json["target_vocabulary"]!.AsArray().Count);
        EncoderDecoder model = (string)c["kind"]! == "transformer" ? new TransformerSeq2Seq(TransformerConfig(c, source)) : new RnnSeq2Seq(new()
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
        var path = Fixtures.Path_("seq2seq", name + ".weights.safetensors");
        ModelFolder.LoadWeights(model, Weights.Open(path), path);
        return ((T)model, json, SafeTensorsFile.Open(Fixtures.Path_("seq2seq", name + ".safetensors")));
    }

    public static TransformerConfig TransformerConfig(JsonNode c, int words) => new()
    {
        VocabSize = words,
        DModel = (int)c["d"]!,
        Heads = (int)c["heads"]!,
        EncoderLayers = (int)c["encoder_layers"]!,
        DecoderLayers = (int)c["decoder_layers"]!,
        Ff = (int)c["ff"]!,
        Activation = (string)c["activation"]!,
        NormFirst = (bool)c["norm_first"]!,
        NormEps = (double)c["eps"]!,
        Positions = (string?)c["positions"] ?? "paper",
        Dropout = 0,
        MaxPositions = 64,
    };

    public static (Tensor Source, Tensor Target, Tensor Gold) Batch(SafeTensorsFile tensors)
    {
        var gold = tensors.Load("in.gold");
        return (tensors.Load("in.src"), tensors.Load("in.tgt"), gold.masked_fill(gold.eq(0), -100));
    }
}

/// <summary>Keeps the attention of each layer; of several calls, the last.</summary>
internal sealed class AttentionSink : IActivationSink
{
    private readonly Dictionary<int, (float[] Values, long[] Shape)> seen = [];
    public void Attention(int layer, Tensor probs_BHTS) => seen[layer] = (probs_BHTS.contiguous().data<float>().ToArray(), probs_BHTS.shape);
    public void Hidden(int index, Tensor x_BTC) { }
    public Tensor At(int layer) => tensor(seen[layer].Values, seen[layer].Shape);
}
