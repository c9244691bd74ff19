using System.Text.Json.Nodes;
using Lect.Testing;
using TorchSharp;
using static TorchSharp.torch;

namespace Lect.Models.Tests;

/// <summary>Marian against transformers' MarianMTModel on tiny random checkpoints, at the tolerances of fixtures/hf/README.md.</summary>
[NoTensorLeaks]
public class MarianTests
{
    public static TheoryData<string> Names => ["marian", "marian-relu"];

    [Theory, MemberData(nameof(Names))]
    public void Logits_hidden_states_and_attentions(string name)
    {
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        var fixture = new HuggingFaceFixture(name);
        using var model = (Marian)ModelFolder.LoadEncoderDecoder(fixture.Folder);
        var e = fixture.Tensors;
        var real = e.Load("in.attention_mask").to(ScalarType.Bool);
        using Recorder encoder = new(), decoder = new();
        using var state = model.Encode(e.Load("in.input_ids"), encoder);
        var logits = model.Logits(state, HuggingFaceFixture.Shifted(model, e.Load("in.labels")), decoder);
        Near.Equal(e.Load("out.logits"), logits, 2e-5, 1e-5, "logits");
        foreach (var (i, x) in encoder.Hiddens) Near.Equal(e.Load($"out.encoder_hidden_states.{i}")[real], x[real], 2e-5, 1e-5, $"encoder {i}");
        foreach (var (i, x) in decoder.Hiddens) Near.Equal(e.Load($"out.decoder_hidden_states.{i}"), x, 2e-5, 1e-5, $"decoder {i}");
        foreach (var (i, p) in encoder.Probs) Near.Equal(e.Load($"out.encoder_attentions.{i}").transpose(1, 2)[real], p.transpose(1, 2)[real], 2e-5, 1e-5, $"encoder attention {i}");
        foreach (var (i, p) in decoder.Probs) Near.Equal(e.Load(i >= 0 ? $"out.decoder_attentions.{i}" : $"out.cross_attentions.{-1 - i}"), p, 2e-5, 1e-5, $"decoder attention {i}");
        Assert.Equal(2 * model.Config.DecoderLayers, decoder.Probs.Count);
        Assert.Equal(model.Config.EncoderLayers + 1, encoder.Hiddens.Count);
    }

    [Theory, MemberData(nameof(Names))]
    public void Loss_and_gradients(string name)
    {
        using var scope = NewDisposeScope();
        var fixture = new HuggingFaceFixture(name);
        using var model = (Marian)ModelFolder.LoadEncoderDecoder(fixture.Folder);
        fixture.CheckGradients(model, HuggingFaceFixture.Loss(model, fixture.Tensors.Load("in.input_ids"), fixture.Tensors.Load("in.labels")));
    }

    [Theory, MemberData(nameof(Names))]
    public void Greedy_and_beams(string name)
    {
        var fixture = new HuggingFaceFixture(name);
        using var model = (Marian)ModelFolder.LoadEncoderDecoder(fixture.Folder);
        var g = fixture.Json["generation"]!;
        int[][] Rows(string key, int pad) { using var t = fixture.Tensors.Load(key); return [.. t.data<long>().ToArray().Select(i => (int)i).Chunk((int)t.shape[1]).Select(r => r.ToArray())]; }
        var sources = Rows("gen.in.input_ids", model.PadId).Select(r => r.Where(i => i != model.PadId).ToArray()).ToArray();
        var options = new BeamOptions { MaxNewTokens = (int)g["max_new_tokens"]!, NeverIds = [(int)g["extra_options"]!["bad_words_ids"]![0]![0]!], ForcedEosTokenId = (int?)g["extra_options"]!["forced_eos_token_id"] };
        var greedy = BeamSearch.Search(model, sources, options with { Beams = 1 });
        var wanted = Rows("gen.greedy_eos.sequences", model.PadId);
        for (var r = 0; r < sources.Length; r++) Assert.Equal(wanted[r].Skip(1).Take(greedy[r][0].Ids.Length), greedy[r][0].Ids);   // the first is the start
        for (var i = 0; i < g["beams"]!.AsArray().Count; i++)
        {
            var settings = g["beams"]![i]!;
            var found = BeamSearch.Search(model, sources, options with { Beams = 4, LengthPenalty = (double)settings["length_penalty"]!, Stop = HuggingFaceFixture.Stop(settings["early_stopping"]!) });
            var sequences = Rows($"gen.beam.{i}.sequences", model.PadId);
            using var scores = fixture.Tensors.Load($"gen.beam.{i}.scores");
            for (var r = 0; r < sources.Length; r++)
                for (var b = 0; b < 4; b++)
                {
                    Assert.Equal(sequences[r * 4 + b].Skip(1).Take(found[r][b].Ids.Length), found[r][b].Ids);
                    Near.Equal(scores.data<float>()[r * 4 + b], found[r][b].Score, 1e-4, $"beams {i} row {r} hypothesis {b}");
                }
        }
    }

    [Fact]
    public void Saved_as_it_was_and_separate_embeddings()
    {
        using var scope = NewDisposeScope();
        var fixture = new HuggingFaceFixture("marian");
        var folder = Directory.CreateTempSubdirectory().FullName;
        using (var model = ModelFolder.LoadEncoderDecoder(fixture.Folder)) ModelFolder.Save(model, folder);
        Assert.Equal(SafeTensorsFile.Open(Path.Combine(fixture.Folder, "model.safetensors")).Tensors.Keys.Order(StringComparer.Ordinal), SafeTensorsFile.Open(Path.Combine(folder, "model.safetensors")).Tensors.Keys.Order(StringComparer.Ordinal));
        JsonNode before = Fixtures.Json(Path.Combine(fixture.Folder, "config.json")), after = Fixtures.Json(Path.Combine(folder, "config.json"));
        foreach (var (key, value) in before.AsObject()) if (key != "transformers_version") Assert.True(JsonNode.DeepEquals(value, after[key]), key);

        using var separate = new Marian(new() { VocabSize = 11, DecoderVocabSize = 7, DModel = 8, EncoderLayers = 1, DecoderLayers = 1, EncoderAttentionHeads = 2, DecoderAttentionHeads = 2, EncoderFfnDim = 8, DecoderFfnDim = 8, ShareEncoderDecoderEmbeddings = false, PadTokenId = 1, DecoderStartTokenId = 1 });
        Assert.Equal([7L, 8L], separate.HeadWeight.shape);
        var keys = separate.named_parameters().Select(p => p.name).ToList();
        Assert.Contains("model.encoder.embed_tokens.weight", keys);
        Assert.Contains("model.decoder.embed_tokens.weight", keys);
        Assert.Contains("decoder_start_token_id", Assert.Throws<InvalidDataException>(() => new Marian(new() { VocabSize = 5, DModel = 16, PadTokenId = 4 })).Message, StringComparison.Ordinal);
        Directory.Delete(folder, recursive: true);
    }
}
