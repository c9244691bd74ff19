using System.Text.Json.Nodes;
using Lect.Testing;
using TorchSharp;
using static TorchSharp.torch;

namespace Lect.Models.Tests;

/// <summary>Decoding with encoder-decoders (fixtures/seq2seq, parts b and c): greedy, beams, batches.</summary>
[NoTensorLeaks]
public class TranslationTests
{
    public static TheoryData<string> Models => ["bahdanau", "bahdanau_appendix", "fixed_context", "sutskever", "luong_general", "luong_dot", "translation_post_norm", "translation_pre_norm"];

    private static (EncoderDecoder Model, JsonNode Json, int[][] Sources) Open(string name)
    {
        var (model, json, tensors) = Seq2SeqFixture.Open<EncoderDecoder>(name);
        using var source = tensors.Load("in.src");
        return (model, json, [.. Enumerable.Range(0, (int)source.shape[0]).Select(i => { using var row = source[i]; return row.data<long>().ToArray().Where(id => id != 0).Select(id => (int)id).ToArray(); })]);
    }

    [Theory, MemberData(nameof(Models))]
    public void Greedy_and_beams(string name)
    {
        var (model, json, sources) = Open(name);
        using var own = model;
        var (decode, settings) = (json["decode"]!, json["decode"]!["settings"]!);
        var greedy = BeamSearch.Search(model, sources, new() { Beams = 1, MaxNewTokens = (int)settings["max_len"]! });
        for (var i = 0; i < sources.Length; i++) Assert.Equal(decode["greedy"]![i]!.AsArray().Select(t => (int)t!), greedy[i][0].Ids);

        var options = new BeamOptions { Beams = (int)settings["beam"]!, MaxNewTokens = (int)settings["max_len"]!, LengthPenalty = (double)settings["alpha"]!, Gnmt = (string)settings["norm"]! == "gnmt", Stop = BeamStop.AtOnce };
        var together = BeamSearch.Search(model, sources, options);
        for (var i = 0; i < sources.Length; i++)
        {
            var expected = decode["beam"]![i]!;
            if ((bool)decode["beam_same_under_all_stopping_rules"]![i]!)
            {
                Assert.Equal(expected["ids"]!.AsArray().Select(t => (int)t!), together[i][0].Ids);
                Assert.Equal((double)expected["log_prob"]!, together[i][0].LogProb, 1e-4);
            }
            Assert.True(together[i][0].Score >= (double)expected["score"]! - 1e-4, $"sentence {i}: {together[i][0].Score}");
            var alone = BeamSearch.Search(model, [sources[i]], options)[0];
            Assert.Equal(alone.Select(h => string.Join(' ', h.Ids)), together[i].Select(h => string.Join(' ', h.Ids)));
            for (var h = 0; h < alone.Count; h++) Assert.Equal(alone[h].Score, together[i][h].Score, 1e-5);
        }
    }

    [Fact]
    public void Bad_sources_are_refused()
    {
        var (model, _, _) = Open("bahdanau");
        using var own = model;
        Assert.Contains("500", Assert.Throws<InvalidDataException>(() => BeamSearch.Search(model, [[500]], new())).Message, StringComparison.Ordinal);
        Assert.Throws<InvalidDataException>(() => BeamSearch.Search(model, [[]], new()));
        Assert.Empty(BeamSearch.Search(model, [], new()));
    }
}
