using System.Text.Json.Nodes;
using Lect.Testing;

namespace Lect.Text.Tests.Chat;

/// <summary>The field's formats of instructions and comparisons.</summary>
public sealed class ChatDataTests
{
    private static JsonObject Row(string json) => JsonNode.Parse(json)!.AsObject();

    private static string Turns(JsonArray? turns) => string.Join(" | ", turns!.Select(t => $"{t!["role"]}: {t["content"]}"));

    [Theory]
    [InlineData("""{"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]}""", "user: q | assistant: a")]
    [InlineData("""{"conversations": [{"from": "system", "value": "s"}, {"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]}""", "system: s | user: q | assistant: a")]
    [InlineData("""{"instruction": "q", "context": "", "response": "a", "category": "x"}""", "user: q | assistant: a")]
    [InlineData("""{"instruction": "q", "input": "about this", "output": "a"}""", "user: q\n\nabout this | assistant: a")]
    [InlineData("""{"prompt": [{"role": "user", "content": "q"}], "completion": [{"role": "assistant", "content": "a"}]}""", "user: q | assistant: a")]
    public void Conversations(string row, string turns) => Assert.Equal(turns, Turns(new ChatData("x.jsonl").Example(Row(row)).Messages));

    [Theory]
    [InlineData("""{"prompt": "q", "completion": "a"}""", "q", "a")]
    [InlineData("""{"question": "q", "answer": "a"}""", "q", "a")]
    public void Plain_prompts_and_completions(string row, string prompt, string completion)
    {
        var example = new ChatData("x.jsonl").Example(Row(row));
        Assert.Equal((prompt, completion), (example.Prompt, example.Completion));
    }

    [Fact]
    public void Columns_may_be_named_and_what_is_missing_is_said_with_what_is_there()
    {
        var data = new ChatData("x.jsonl", new Dictionary<string, string> { ["prompt"] = "ask", ["completion"] = "say" });
        Assert.Equal("a", data.Example(Row("""{"ask": "q", "say": "a"}""")).Completion);
        Assert.Contains("none 'ask'", Assert.Throws<InvalidDataException>(() => data.Example(Row("""{"say": "a"}"""))).Message, StringComparison.Ordinal);
        Assert.Contains("columns a, b", Assert.Throws<InvalidDataException>(() => new ChatData("x.jsonl").Example(Row("""{"a": 1, "b": 2}"""))).Message, StringComparison.Ordinal);
        Assert.Contains("from and value", Assert.Throws<InvalidDataException>(() => new ChatData("x.jsonl").Example(Row("""{"messages": [{"content": "q"}]}"""))).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Answers_to_different_conversations_are_no_comparison()
    {
        var told = new List<string>();
        var data = new ChatData("x.jsonl", null, told.Add);
        Assert.Empty(data.Comparisons(Row("""{"chosen": "\n\nHuman: a\n\nAssistant: b\n\nHuman: c\n\nAssistant: d", "rejected": "\n\nHuman: a\n\nAssistant: B\n\nHuman: c\n\nAssistant: e"}""")));
        Assert.Contains("part before", Assert.Single(told), StringComparison.Ordinal);
        // Turns that both completions have in common belong to the prompt.
        var several = Assert.Single(data.Comparisons(Row("""{"prompt": "q", "chosen": [{"role": "assistant", "content": "x"}, {"role": "user", "content": "y"}, {"role": "assistant", "content": "good"}], "rejected": [{"role": "assistant", "content": "x"}, {"role": "user", "content": "y"}, {"role": "assistant", "content": "bad"}]}""")));
        Assert.Equal(("user: q | assistant: x | user: y", "good", "bad"), (Turns(several.Prompt), several.Chosen, several.Rejected));
        Assert.Contains("3 responses and 2 ranks", Assert.Throws<InvalidDataException>(() => data.Comparisons(Row("""{"prompt": "q", "responses": ["a", "b", "c"], "ranks": [0, 1]}""")).ToList()).Message, StringComparison.Ordinal);
        Assert.Equal("user: i | assistant: told", Turns(new ChatData("x.jsonl", new Dictionary<string, string> { ["completion"] = "other" }).Example(Row("""{"instruction": "i", "other": "told"}""")).Messages));
    }

    [Fact]
    public void Comparisons_of_each_format()
    {
        var data = new ChatData("x.jsonl");
        Comparison One(string row) => Assert.Single(data.Comparisons(Row(row)));
        var plain = One("""{"prompt": "q", "chosen": "a", "rejected": "b", "margin": 0.5, "kind": "k"}""");
        Assert.Equal(("q", "a", "b", 0.5, "k"), (plain.PromptText, plain.Chosen, plain.Rejected, plain.Margin, plain.Kind));
        var turns = One("""{"chosen": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}], "rejected": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "b"}], "tie": true}""");
        Assert.Equal(("user: q", "a", "b", true), (Turns(turns.Prompt), turns.Chosen, turns.Rejected, turns.IsTie));
        var dialogue = One("""{"chosen": "\n\nHuman: q\n\nAssistant: more?\n\nHuman: yes\n\nAssistant: a", "rejected": "\n\nHuman: q\n\nAssistant: more?\n\nHuman: yes\n\nAssistant: b"}""");
        Assert.Equal(("user: q | assistant: more? | user: yes", "a", "b"), (Turns(dialogue.Prompt), dialogue.Chosen, dialogue.Rejected));
        var ranked = data.Comparisons(Row("""{"prompt": "q", "responses": ["best", "good", "bad"]}""")).ToList();
        Assert.Equal([("best", "good"), ("best", "bad"), ("good", "bad")], ranked.Select(c => (c.Chosen, c.Rejected)));
        var ranks = data.Comparisons(Row("""{"prompt": "q", "responses": ["b", "a", "c"], "ranks": [1, 0, 1]}""")).ToList();
        Assert.Equal([("a", "b"), ("a", "c")], ranks.Select(c => (c.Chosen, c.Rejected)));   // equal ranks are no comparison
        Assert.Contains("Human", Assert.Throws<InvalidDataException>(() => One("""{"chosen": "a", "rejected": "b"}""")).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Published_files_are_read()
    {
        var hh = Fixtures.Shared("data", "preference", "hh-rlhf-test", "helpful-base.test.jsonl.gz");
        var parted = 0;   // nine of its dialogues are not the same before the last answer
        Assert.Equal(2345, Rows.Read(hh).SelectMany(new ChatData(hh, null, _ => parted++).Comparisons).Count());
        Assert.Equal(9, parted);
        var ranked = Fixtures.Shared("data", "preference", "oasst-ranked-100", "pairs.jsonl.gz");
        Assert.Equal(754, Rows.Read(ranked).SelectMany(new ChatData(ranked).Comparisons).Count());
        var dolly = Fixtures.Shared("data", "instruction", "dolly-6400", "dolly-first-6400.jsonl.gz");
        Assert.Equal(6400, Rows.Read(dolly).Select(new ChatData(dolly).Example).Count());
    }

    [Fact]
    public void The_SDKs_instructions_and_comparisons_are_many_and_their_splits_share_no_answer()
    {
        var train = SdkInstructions.Examples(CorpusSplit.Train).ToList();
        var test = SdkInstructions.Examples(CorpusSplit.Test).Select(e => (string)e.Messages![^1]!["content"]!).ToHashSet(StringComparer.Ordinal);
        Assert.InRange(train.Count, 20_000, 200_000);
        Assert.Contains(train, e => e.Messages!.Count == 4);
        var shared = train.Count(e => test.Contains((string)e.Messages![^1]!["content"]!));
        Assert.True(shared <= train.Count / 200, $"{shared}");   // answers that are a member's name come again
        var kinds = SdkInstructions.Comparisons(CorpusSplit.Train, 5_000).CountBy(c => c.Kind!).ToDictionary();
        Assert.Equal(SdkInstructions.Corruptions.Order(StringComparer.Ordinal), kinds.Keys.Order(StringComparer.Ordinal));
        Assert.DoesNotContain(SdkInstructions.Comparisons(CorpusSplit.Train, 5_000), c => c.Chosen == c.Rejected);
        Assert.Equal(30_000, SdkInstructions.Comparisons(CorpusSplit.Train, 30_000).LongCount());
    }
}
