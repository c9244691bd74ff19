using System.Text.Json.Nodes;
using Lect.Models;
using Lect.Testing;
using Lect.Text;
using TorchSharp;
using static Lect.Tests.Alignment.AlignmentFixture;
using static TorchSharp.torch;

namespace Lect.Tests.Alignment;

/// <summary>Instruction tuning against TRL's SFTTrainer: what is learned of a text, packing, losses, steps.</summary>
[NoTensorLeaks]
public sealed class InstructionTests
{
    private static AnswerRow Row(JsonNode? row) => new(Ids(row!["input_ids"]), [.. row["labels"]!.AsArray().Select(l => (int)l! != -100)]);

    private static List<AnswerRow> Prepared(string mode) => [.. Json("sft", "examples.json")["prepared"]![mode]!.AsArray().Select(Row)];

    private static void Same(IReadOnlyList<AnswerRow> expected, IReadOnlyList<AnswerRow> found)
    {
        Assert.Equal(expected.Count, found.Count);
        for (var i = 0; i < expected.Count; i++)
        {
            Assert.Equal(expected[i].Ids, found[i].Ids);
            Assert.Equal(expected[i].Counts, found[i].Counts);
        }
    }

    [Fact]
    public void What_is_learned_of_prompts_completions_and_conversations_is_TRLs()
    {
        var examples = Json("sft", "examples.json");
        var encoder = new ChatEncoder(Tokenizer.Load(At("tokenizer")), new((string)examples["chat_template"]!, new Dictionary<string, string> { ["eos_token"] = "<eos>" }), "<eos>");
        var pairs = examples["prompt_completion"]!.AsArray().Select(p => ((string)p!["prompt"]!, (string)p["completion"]!)).ToList();
        var chats = examples["conversations"]!.AsArray().Select(c => c!.AsArray()).ToList();
        Same(Prepared("completion_only"), pairs.ConvertAll(p => encoder.Encode(p.Item1, p.Item2 + " ")));
        Same(Prepared("whole_sequence"), pairs.ConvertAll(p => encoder.Encode(p.Item1, p.Item2 + " ", LearnedPart.Everything)));
        Same(Prepared("assistant_only"), chats.ConvertAll(c => encoder.Encode(c)));
        Same(Prepared("whole_conversation"), chats.ConvertAll(c => encoder.Encode(c, LearnedPart.Everything)));
        Same(Prepared("last_turn_only"), chats.ConvertAll(c => encoder.Encode(c, LearnedPart.LastAnswer)));
        Same(Prepared("truncated"), [.. pairs.Select(p => encoder.Encode(p.Item1, p.Item2 + " ").Cut((int)examples["truncated_max_length"]!)).Where(r => r.Scored > 0)]);
    }

    [Fact]
    public void Answers_are_found_where_a_template_marks_none()
    {
        var examples = Json("sft", "examples.json");
        var unmarked = ((string)examples["chat_template"]!).Replace("{% generation %}", "", StringComparison.Ordinal).Replace("{% endgeneration %}", "", StringComparison.Ordinal);
        var encoder = new ChatEncoder(Tokenizer.Load(At("tokenizer")), new(unmarked), "<eos>");
        Same(Prepared("assistant_only"), [.. examples["conversations"]!.AsArray().Select(c => encoder.Encode(c!.AsArray()))]);
        var forgetful = new ChatEncoder(Tokenizer.Load(At("tokenizer")), new("{{ messages[-1].content }}"), null);
        Assert.Contains("generation", Assert.Throws<InvalidDataException>(() => forgetful.Encode(examples["conversations"]![1]!.AsArray())).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Rows_are_packed_as_TRL_packs_them()
    {
        var collated = Json("sft", "collated.json");
        var examples = collated["packed_examples"]!.AsArray().Select(Row).ToList();
        foreach (var (length, strategies) in collated["packed_by_length_and_strategy"]!.AsObject())
        {
            var most = int.Parse(length, System.Globalization.CultureInfo.InvariantCulture);
            var cut = examples.ConvertAll(e => e.Cut(most));
            var rows = Packing.BestFit(cut.ConvertAll(e => e.Ids.Length), most);
            var expected = strategies!["bfd"]!.AsArray();
            Assert.Equal(expected.Select(e => string.Join(",", Ids(e!["input_ids"]))), rows.Select(r => string.Join(",", r.SelectMany(i => cut[i].Ids))));
        }
    }

    [Theory]
    [InlineData("gpt2")]
    [InlineData("llama")]
    public void Losses_of_examples_are_TRLs_packed_or_not(string kind)
    {
        using var model = Model(kind);
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        var expected = Json("sft", "expected.json")["values"]![kind]!;
        var rows = Prepared("completion_only");
        var (logProbs, entropy) = new AnswerBatch(rows, 0).LogProbs(model, wantsEntropy: true);
        Near(Numbers(expected["sum_of_token_losses"]), ToArray(-logProbs.sum(1)), Values, "sums");
        Near((double)expected["entropy"]!, entropy!.sum().item<float>() / rows.Sum(r => r.Scored), Values, "entropy");
        var tensors = Tensors("sft", "losses.safetensors");
        Near(ToArray(tensors.Load($"{kind}.token_loss")), ToArray(-logProbs.narrow(1, 0, logProbs.shape[1] - 1)), Values, "each token");
        Near((double)expected["mean_token_loss"]!, Sft.Loss(model, new AnswerBatch(rows, 0), 1.0 / rows.Sum(r => r.Scored)).item<float>(), Values, "mean");

        var order = Ids(expected["packed_order"]);
        var packed = new AnswerBatch([[.. order.Select(i => rows[i])]], 0);
        var losses = -packed.LogProbs(model).LogProbs.flatten();
        var (sums, at) = (new List<double>(), 0);
        foreach (var i in order)
        {
            sums.Add(losses.narrow(0, at, rows[i].Ids.Length).sum().item<float>());
            at += rows[i].Ids.Length;
        }
        Near(Numbers(expected["packed_sum_of_token_losses"]), sums, Values, "packed");
    }

    [Theory]
    [InlineData("gpt2")]
    [InlineData("llama")]
    public void Steps_with_accumulated_gradients_masked_and_packed_are_TRLs(string kind)
    {
        foreach (var mode in (string[])["completion_only", "assistant_only", "packed completion_only"])
        {
            var run = Json("sft", "expected.json")["runs"]![$"{kind}/{mode}"]!;
            var rows = Prepared(mode.Replace("packed ", "", StringComparison.Ordinal));
            var packs = rows.ConvertAll(r => new[] { r });
            if (mode.StartsWith("packed", StringComparison.Ordinal))
            {
                var most = (int)Json("sft", "collated.json")["packed_bfd_collated_length"]!;
                packs = Packing.BestFit(rows.ConvertAll(r => r.Ids.Length), most).ConvertAll(r => r.Select(i => rows[i]).ToArray());
            }
            var (batch, accumulate) = ((int)run["batch"]!, (int)run["accumulate"]!);
            var groups = packs.Chunk(batch).Chunk(accumulate).ToList();   // the last batch of an epoch may be short, and so may its group
            using var model = Model(kind);
            Train(model, run, step =>
            {
                var micro = groups[step % groups.Count].Select(m => new AnswerBatch(m, 0)).ToList();
                var total = micro.Sum(m => m.Scored);
                return micro.Select(m => Sft.Loss(model, m, 1.0 / total)).Aggregate((a, b) => a + b);
            }, $"{kind} {mode}");
            Final(Parameters(model), run["final_parameters"]!, $"{kind} {mode}");
        }
    }

    [Theory]
    [InlineData("gpt2")]
    [InlineData("llama")]
    public void Log_probabilities_under_a_temperature_are_those_that_tokens_were_sampled_with(string kind)
    {
        using var model = Model(kind);
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        var expected = Json("generation", "expected.json");
        var rows = expected["rows"]!.AsArray().Zip(expected["prompt_lengths"]!.AsArray(), (r, n) => AnswerRow.Of(Ids(r)[..(int)n!], Ids(r)[(int)n!..])).ToList();
        foreach (var (temperature, values) in expected["by_temperature"]![kind]!.AsObject())
        {
            var (logProbs, entropy) = new AnswerBatch(rows, 0).LogProbs(model, double.Parse(temperature, System.Globalization.CultureInfo.InvariantCulture), wantsEntropy: true);
            Near(Numbers(values!["sum_logps"]), ToArray(logProbs.sum(1)), Values, temperature);
            Near((double)values["mean_entropy"]!, entropy!.sum().item<float>() / rows.Sum(r => r.Scored), Values, "entropy");
        }
    }
}
