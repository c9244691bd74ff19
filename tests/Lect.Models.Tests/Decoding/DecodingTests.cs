using System.Text.Json.Nodes;
using Lect.Testing;
using TorchSharp;
using static TorchSharp.torch;

namespace Lect.Models.Tests;

/// <summary>Greedy, beams and processors against transformers (fixtures/hf/README.md, "Generation" and "processors").</summary>
[NoTensorLeaks]
public class DecodingTests
{
    private static readonly string s_folder = Fixtures.Path_("hf", "gpt2");

    public static TheoryData<string> Architectures => [.. HuggingFaceFixture.Decoders];

    private static (SafeTensorsFile Tensors, JsonNode Json, List<int[]> Prompts) Expected(string folder)
    {
        var file = SafeTensorsFile.Open(Path.Combine(folder, "expected.safetensors"));
        long[] ids = Values(file, "gen.in.input_ids"), real = Values(file, "gen.in.attention_mask");
        var rows = (int)file.Tensors["gen.in.input_ids"].Shape[0];
        var prompts = Enumerable.Range(0, rows).Select(r => Enumerable.Range(r * ids.Length / rows, ids.Length / rows).Where(i => real[i] == 1).Select(i => (int)ids[i]).ToArray()).ToList();
        return (file, Fixtures.Json(Path.Combine(folder, "expected.json"))["generation"]!, prompts);
    }

    private static long[] Values(SafeTensorsFile file, string name)
    {
        using var t = file.Load(name);
        return t.data<long>().ToArray();
    }

    private static int[] Row(SafeTensorsFile file, string name, int row, int prompt)
    {
        var width = (int)file.Tensors[name].Shape[1];
        return [.. Values(file, name).Skip(row * width + prompt).Take(width - prompt).Select(i => (int)i)];
    }

    [Theory, MemberData(nameof(Architectures))]
    public void Greedy_rows_equal_hugging_face_alone_and_in_a_batch(string name)
    {
        var (file, json, prompts) = Expected(Fixtures.Path_("hf", name));
        using var model = ModelFolder.Load(Fixtures.Path_("hf", name));
        var eos = (int)(json["eos_token_id"] ?? Fixtures.Json(Fixtures.Path_("hf", name, "config.json"))["eos_token_id"])!;
        foreach (var (key, ends) in new[] { ("gen.greedy.sequences", Array.Empty<int>()), ("gen.greedy_eos.sequences", [eos]) })
        {
            var options = new DecodingOptions { MaxNewTokens = 16, EosTokenIds = ends };
            var together = Generator.Stream(model, prompts, options).GroupBy(t => t.Row).ToDictionary(g => g.Key, g => g.Select(t => t.Id).ToArray());
            for (var r = 0; r < prompts.Count; r++)
            {
                var width = (int)(file.Tensors["gen.in.input_ids"].Shape[1]);
                var expected = Row(file, key, r, width);
                var alone = Generator.Stream(model, [prompts[r]], options).Select(t => t.Id).ToArray();
                Assert.Equal(expected[..alone.Length], alone);
                Assert.Equal(alone, together[r]);
                Assert.True(alone.Length == 16 || alone[^1] == eos);
            }
        }
    }

    [Theory, MemberData(nameof(Architectures))]
    public void Rows_that_join_and_leave_say_what_they_say_alone(string name)
    {
        using var model = ModelFolder.Load(Fixtures.Path_("hf", name));
        var prompts = Expected(Fixtures.Path_("hf", name)).Prompts;
        Together(model, [.. prompts.Select((p, i) => (i * 3, p, 12)), (2, prompts[0][..2], 5), (7, [.. prompts[^1], .. prompts[0]], 9)]);
    }

    [Fact]
    public void A_batch_forgets_what_is_padding_in_every_row()
    {
        using var model = new Llama(new() { NumHiddenLayers = 2, NumAttentionHeads = 2, HiddenSize = 16, IntermediateSize = 32, VocabSize = 50, MaxPositionEmbeddings = 512 });
        model.Initialize(1);
        var random = new Random(1);
        int[] Prompt(int length) => [.. Enumerable.Range(0, length).Select(_ => random.Next(50))];
        Together(model, [(0, Prompt(200), 30), (5, Prompt(40), 150), (60, Prompt(10), 60), (100, Prompt(90), 80), (170, Prompt(3), 40)]);
    }

    // Requests by the step at which they come: prompt and number of tokens; the second one is taken out after four tokens.
    private static void Together(CausalLanguageModel model, List<(int At, int[] Prompt, int Tokens)> requests)
    {
        DecodingRow Row(int i) => new(i, requests[i].Prompt, new() { MaxNewTokens = requests[i].Tokens, Sample = i % 2 == 1, Seed = 3 }, Stream: i);
        var said = requests.ConvertAll(_ => new List<int>());
        DecodingBatch? batch = null;
        for (var step = 0; step < 400; step++)
        {
            if (batch?.Count > 0) foreach (var token in batch.Step()) said[token.Row].Add(token.Id);
            if (said[1].Count == 4) batch!.Remove(1);
            var come = Enumerable.Range(0, requests.Count).Where(i => requests[i].At == step).Select(Row).ToList();
            if (come.Count == 0) continue;
            var fresh = new DecodingBatch(model, come);
            foreach (var token in fresh.Step()) said[token.Row].Add(token.Id);
            if (batch is { Count: > 0 }) { batch.Join(fresh); fresh.Dispose(); }
            else { batch?.Dispose(); batch = fresh; }
        }
        batch!.Dispose();
        for (var i = 0; i < requests.Count; i++)
        {
            var row = Row(i);
            var alone = Generator.Stream(model, [row.Prompt], row.Options, [i]).Select(t => t.Id).ToList();
            Assert.Equal(i == 1 ? alone[..4] : alone, said[i]);
        }
    }

    [Fact]
    public void Penalties_of_what_was_said_and_biases_are_openais()
    {
        float[] scores = [1, 2, 3, 4];
        LogitsProcessors.Apply(scores, [0, 1, 2, 2, 3], 3, new() { FrequencyPenalty = 0.5, PresencePenalty = 0.25, LogitBias = new Dictionary<int, double> { [0] = 10 } });
        Assert.Equal([11f, 2, 3 - 1.25f, 4 - 0.75f], scores);
        using var model = ModelFolder.Load(s_folder);
        var token = Generator.Stream(model, [[1, 2]], new() { MaxNewTokens = 1, TopLogProbs = 3 }).Single();
        Assert.Equal(3, token.Top!.Count);
        Assert.Equal((token.Id, token.LogProb), token.Top[0]);
    }

    [Theory, MemberData(nameof(Architectures))]
    public void Beams_equal_hugging_face(string name)
    {
        var (file, json, prompts) = Expected(Fixtures.Path_("hf", name));
        using var model = ModelFolder.Load(Fixtures.Path_("hf", name));
        var eos = (int)(json["eos_token_id"] ?? Fixtures.Json(Fixtures.Path_("hf", name, "config.json"))["eos_token_id"])!;
        var beams = json["beams"]!.AsArray();
        var width = (int)file.Tensors["gen.in.input_ids"].Shape[1];
        for (var i = 0; i < beams.Count; i++)
        {
            using var scores = file.Load($"gen.beam.{i}.scores");
            var wanted = scores.data<float>().ToArray();
            for (var r = 0; r < prompts.Count; r++)
            {
                var found = BeamSearch.Search(model, prompts[r], new() { MaxNewTokens = 16, EosTokenIds = [eos] }, 4, (double)beams[i]!["length_penalty"]!, HuggingFaceFixture.Stop(beams[i]!["early_stopping"]!));
                Assert.Equal(4, found.Count);
                for (var b = 0; b < 4; b++)
                {
                    Assert.Equal(Row(file, $"gen.beam.{i}.sequences", r * 4 + b, width).Take(found[b].Ids.Length), found[b].Ids);
                    Near.Equal(wanted[r * 4 + b], found[b].Score, 1e-4, $"beams {i} row {r} hypothesis {b}");
                }
            }
        }
    }

    [Fact]
    public void Processors_equal_hugging_face()
    {
        using var scope = NewDisposeScope();
        var folder = Fixtures.Path_("hf", "processors");
        var file = SafeTensorsFile.Open(Path.Combine(folder, "expected.safetensors"));
        var json = Fixtures.Json(Path.Combine(folder, "expected.json"));
        using var logits = file.Load("logits");
        var ids = Values(file, "input_ids");
        var (v, t) = ((int)logits.shape[1], ids.Length / 3);
        var cases = json["cases"]!.AsArray();
        for (var i = 0; i < cases.Count; i++)
        {
            var o = cases[i]!["options"]!;
            if (o.AsObject().Any(p => p.Key is "typical_p" or "epsilon_cutoff")) continue;   // not offered
            var options = new DecodingOptions
            {
                Sample = true,
                Temperature = (double?)o["temperature"] ?? 1,
                TopK = (int?)o["top_k"] ?? 0,
                TopP = (double?)o["top_p"] ?? 1,
                MinP = (double?)o["min_p"] ?? 0,
                RepetitionPenalty = (double?)o["repetition_penalty"] ?? 1,
                NoRepeatNgramSize = (int?)o["no_repeat_ngram_size"] ?? 0,
                MinNewTokens = (int?)o["min_new_tokens"] ?? 0,
                Renormalize = (bool?)o["renormalize_logits"] ?? false,
                BadWordsIds = [.. o["bad_words_ids"]?.AsArray().Select(w => w!.AsArray().Select(n => (int)n!).ToArray()) ?? []],
                EosTokenIds = o["eos_token_id"] is JsonValue e ? [(int)e] : json["eos_token_id"] is JsonValue je ? [(int)je] : [],
            };
            using var expected = file.Load($"case.{i}.scores");
            for (var r = 0; r < 3; r++)
            {
                var row = logits[r].data<float>().ToArray();
                // Hugging Face counts padding in n-grams, which would make an answer depend on its batch; shown here on rows without.
                if (r == 1 && options.NoRepeatNgramSize > 0) continue;
                var real = ids.Skip(r * t).Take(t).Select(n => (int)n).Skip(r == 1 ? 3 : 0).ToArray();
                LogitsProcessors.Apply(row, real, 2, options);
                using var found = tensor(row);
                using var kept = expected[r].masked_fill(expected[r].isinf(), -1e30);
                using var mine = found.masked_fill(found.isinf(), -1e30);
                Near.Equal(kept, mine, 2e-5, 1e-5, $"case {i} row {r} {o.ToJsonString()}");
            }
        }
    }

    [Fact]
    public void Sampling_is_keyed_by_seed_and_row_not_by_the_batch()
    {
        using var model = ModelFolder.Load(s_folder);
        var options = new DecodingOptions { MaxNewTokens = 12, Sample = true, Seed = 7 };
        int[][] prompts = [[5, 6, 7], [9], [4, 4, 8, 20]];
        int[] Of(IEnumerable<NewToken> tokens, int row) => [.. tokens.Where(t => t.Row == row).Select(t => t.Id)];
        var together = Generator.Stream(model, prompts, options).ToList();
        for (var r = 0; r < prompts.Length; r++) Assert.Equal(Of(together, r), Of(Generator.Stream(model, [prompts[r]], options, [r]), 0));
        Assert.NotEqual(Of(together, 0), Of(Generator.Stream(model, prompts, options with { Seed = 8 }), 0));
    }

    [Fact]
    public void A_padded_row_that_outlives_the_others_answers_as_if_alone()
    {
        using var model = ModelFolder.Load(s_folder);
        int[][] prompts = [[5, 35, 98, 74, 64, 86, 8, 94], [9]];
        var first = Generator.Stream(model, [prompts[0]], new() { MaxNewTokens = 1 }).Single().Id;
        var options = new DecodingOptions { MaxNewTokens = 12, EosTokenIds = [first] };   // the long row ends at once
        var alone = Generator.Stream(model, [prompts[1]], options).Select(t => t.Id).ToArray();
        Assert.True(alone.Length > 2, "the short row must go on");
        Assert.Equal(alone, Generator.Stream(model, prompts, options).Where(t => t.Row == 1).Select(t => t.Id));
    }

    [Fact]
    public void Prompts_that_cannot_be_continued_are_refused()
    {
        using var model = ModelFolder.Load(s_folder);
        string Refusal(params int[] prompt) => Assert.Throws<InvalidDataException>(() => Generator.Stream(model, [prompt], new())).Message;
        Assert.Contains("empty prompt", Refusal(), StringComparison.Ordinal);
        Assert.Contains("--truncate", Refusal([.. Enumerable.Repeat(1, (int)model.ContextLength)]), StringComparison.Ordinal);
        Assert.Contains("vocabulary", Refusal(5000), StringComparison.Ordinal);
        Assert.Contains("--temperature", Assert.Throws<InvalidDataException>(() => Generator.Stream(model, [[1]], new() { Temperature = 0 })).Message, StringComparison.Ordinal);
    }

    [Theory, MemberData(nameof(Architectures))]
    public void A_beginning_that_prompts_share_is_read_once_and_changes_no_answer(string name)
    {
        using var model = ModelFolder.Load(Fixtures.Path_("hf", name));
        int[] shared = [5, 9, 2, 7, 11, 30, 31, 8, 6, 40], other = [4, 3];
        int[][] prompts = [[.. shared, 12], [.. shared, 50, 51, 52], [.. shared, 13], [.. shared, 9, 9]];
        var options = new DecodingOptions { MaxNewTokens = 8 };
        var together = Generator.Stream(model, prompts, options).GroupBy(t => t.Row).ToDictionary(g => g.Key, g => g.ToArray());
        for (var r = 0; r < prompts.Length; r++)
        {
            var alone = Generator.Stream(model, [prompts[r]], options).ToArray();
            Assert.Equal(alone.Select(t => t.Id), together[r].Select(t => t.Id));
            foreach (var (a, b) in alone.Zip(together[r])) Near.Equal(a.LogProb, b.LogProb, 2e-4, $"{name} row {r}");
        }
        Assert.Equal(2, Generator.Stream(model, [other, [.. shared, 1]], options with { MaxNewTokens = 1 }).Count());
    }

    [Theory, MemberData(nameof(Architectures))]
    public void Rounded_weights_decode_as_they_read(string name)
    {
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        using CausalLanguageModel exact = ModelFolder.Load(Fixtures.Path_("hf", name)), model = ModelFolder.Load(Fixtures.Path_("hf", name));
        model.RoundWeights();
        long[] text = [5, 9, 2, 7, 11, 30, 31, 8, 6, 40, 12, 3];
        var whole = model.Logits(tensor(text, 1, text.Length));   // many rows: fp32 products with the rounded weights
        Assert.True((whole - exact.Logits(tensor(text, 1, text.Length))).abs().max().item<float>() > 1e-4, "nothing was rounded");
        using var cache = model.NewCache(text.Length);
        for (var i = 0; i < text.Length; i++) Near.Equal(whole[0, i], model.Logits(tensor(new[] { text[i] }, 1, 1), cache: cache)[0, 0], 2e-4, 1e-4, $"{name}, token {i}");
    }

    [Fact]
    public void A_longer_context_is_made_by_interpolation_and_refused_where_positions_are_learned()
    {
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        var folder = Fixtures.Path_("hf", "llama");
        using CausalLanguageModel model = ModelFolder.Load(folder), longer = ModelFolder.Load(folder, context: 128);
        Assert.Equal(128, longer.ContextLength);
        Assert.Equal(("linear", 2.0), ((string)longer.ConfigJson["rope_parameters"]!["rope_type"]!, (double)longer.ConfigJson["rope_parameters"]!["factor"]!));
        // Twice the distance turns as far as the distance did.
        var ids = tensor(new long[,] { { 5, 9, 2, 7 } });
        Near.Equal(model.Logits(ids), longer.Logits(ids, positions_BT: tensor(new long[,] { { 0, 2, 4, 6 } })), 2e-5, 1e-5, "positions halved");
        Assert.Equal(100, Generator.Stream(longer, [[5]], new() { MaxNewTokens = 100 }).Count());
        var config = Fixtures.Json(Path.Combine(folder, "config.json")).AsObject();
        config["rope_parameters"] = JsonNode.Parse("""{"rope_type":"dynamic","factor":3,"rope_theta":10000}""");
        using (var dynamic = ModelFolder.Create(config, META)) Assert.Equal(3 * 64, dynamic.ContextLength);
        string Refusal(string name, long context) => Assert.Throws<InvalidDataException>(() => ModelFolder.Load(Fixtures.Path_("hf", name), context: context)).Message;
        Assert.Contains("learned positions", Refusal("gpt2", 5000), StringComparison.Ordinal);
        Assert.Contains("learned positions", Refusal("gpt_neo", 5000), StringComparison.Ordinal);
        Assert.Contains("stretched already", Refusal("llama3", 5000), StringComparison.Ordinal);
        Assert.Contains("more than the model's 64", Refusal("llama", 64), StringComparison.Ordinal);
    }
}
