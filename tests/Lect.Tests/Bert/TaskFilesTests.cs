using System.Text.Json.Nodes;
using Lect.Models;
using Lect.Testing;
using Lect.Text;

namespace Lect.Tests.Bert;

/// <summary>The files of tasks as people have them: places of answers, empty ones, words with blanks, layouts of others.</summary>
public sealed class TaskFilesTests : TemporaryFolder
{
    private static string Squad(string context, string answer, object? start, string id = "\"q\"") => $$$"""{"data":[{"paragraphs":[{"context":{{{JsonValue.Create(context).ToJsonString()}}},"qas":[{"id":{{{id}}},"question":"?","answers":[{"text":{{{JsonValue.Create(answer).ToJsonString()}}},"answer_start":{{{start}}}}]}]}]}]}""";

    [Fact]
    public void An_answer_begins_after_so_many_characters_not_units()
    {
        var question = Assert.Single(Question.All(Write("a.json", Squad("😀 𠀀 says zhé.", "zhé", 9))));
        Assert.True(question.IsWhole);
        Assert.Equal(("zhé", 11), question.Answers[0]);
        Assert.Equal(("zhé", 11), Assert.Single(Question.All(Write("units.json", Squad("😀 𠀀 says zhé.", "zhé", 11)))).Answers[0]);   // who wrote it counted units
        Assert.False(Assert.Single(Question.All(Write("b.json", Squad("short", "zhé", 900)))).IsWhole);
    }

    [Fact]
    public void Rows_have_answers_as_Hugging_Face_writes_them_or_one_of_their_own()
    {
        List<Question> Read(string name, params string[] lines) => [.. Question.All(Write(name, lines))];
        var rows = Read("hf.jsonl", """{"id":"x","context":"Ada lived in London.","question":"Where?","answers":{"text":["London","in London"],"answer_start":[13,10]}}""", """{"id":7,"context":"Ada.","question":"When?","answers":{"text":[],"answer_start":[]}}""");
        Assert.Equal([("London", 13), ("in London", 10)], rows[0].Answers);
        Assert.Equal(("7", 0), (rows[1].Id, rows[1].Answers.Count));
        Assert.Equal([("Ada", 0)], Read("list.jsonl", """{"context":"Ada.","question":"Who?","answers":[{"text":"Ada"}]}""")[0].Answers);
        var csv = Read("flat.csv", "question,context,answer,answer_start", "Who?,It is Ada.,Ada,6", "Why?,It is Ada.,,", "Who?,It is Ada.,Ada,");
        Assert.Equal([("Ada", 6)], csv[0].Answers);
        Assert.Empty(csv[1].Answers);
        Assert.Equal([("Ada", 6)], csv[2].Answers);
        Assert.Equal(["1", "2", "3"], csv.Select(q => q.Id));
        Assert.Empty(Read("null.jsonl", """{"context":"Ada.","question":"Why?","answer":null}""")[0].Answers);
        Assert.Equal([0, 1], Read("some.jsonl", """{"context":"Ada.","question":"Why?"}""", """{"context":"Ada.","question":"Who?","answer":"Ada"}""").Select(q => q.Answers.Count));
        Assert.Equal([("Ada", 0)], Question.All(Write("named.jsonl", """{"context":"Ada.","question":"Who?","replies":{"text":["Ada"],"answer_start":[0]}}"""), null, n => n == "answer" ? "replies" : n).Single().Answers);
    }

    [Fact]
    public void What_is_no_question_is_refused_with_its_file()
    {
        void Refused(string expected, string name, params string[] lines)
        {
            var message = Assert.Throws<InvalidDataException>(() => Question.All(Write(name, lines)).ToList()).Message;
            Assert.Contains(expected, message, StringComparison.Ordinal);
            Assert.Contains(name, message, StringComparison.Ordinal);
        }
        Refused("data.columns.answer", "none.jsonl", """{"context":"Ada.","question":"Who?","reply":"Ada"}""");
        Refused("answer_start", "start.csv", "question,context,answer,answer_start", "Who?,It is Ada.,Ada,six");
        Refused("paragraphs", "p.json", """{"data":[{"title":"t"}]}""");
        Refused("\"text\"", "t.json", """{"data":[{"paragraphs":[{"context":"c","qas":[{"id":"1","question":"q","answers":[{"answer_start":0}]}]}]}]}""");
        Refused("answer_starts", "two.jsonl", """{"context":"Ada.","question":"Who?","answers":{"text":["Ada"],"answer_start":[]}}""");
        Assert.Equal("5", Assert.Single(Question.All(Write("number.json", Squad("Ada", "Ada", 0, id: "5")))).Id);
    }

    [Fact]
    public void Blanks_and_loose_accents_at_an_answers_edges_lose_no_answer()
    {
        var tokenizer = Tokenizer.Load(Fixtures.Path_("tokenizers", "bert-uncased"));
        foreach (var (context, answer) in new[] { ("It was written by Ada.", " Ada"), ("It was written by Ada.", "Ada. "), ("at the cafe\u0301 of her", "cafe\u0301") })
        {
            var question = new Question("q", "Who?", context + " ", [(answer, context.IndexOf(answer.Trim(), StringComparison.Ordinal) - (answer[0] == ' ' ? 1 : 0))]);
            Assert.True(question.IsWhole);
            var (first, last) = question.In(AnswerWindow.Of(tokenizer, question.Text, question.Context, 48, 8)[0]);
            Assert.InRange(first, 1, last);
        }
    }

    [Fact]
    public void Words_may_hold_blanks_where_tabs_stand_between_columns_and_come_back_from_what_is_written()
    {
        var read = TaggedSentence.Read(Write("t.conll", "New York\tB-LOC", " \tO", "\tO", "1 000\tB-first name", "", "EU\tB-ORG")).ToList();
        Assert.Equal(["New York", "", "", "1 000"], read[0].Words);
        Assert.Equal(["B-LOC", "O", "O", "B-first name"], read[0].Tags);
        Assert.Equal(["EU"], read[1].Words);
        foreach (var mixed in new[] { new[] { "EU NNP B-ORG", "x\tO" }, ["EU NNP I-NP\tB-ORG", "x NN I-NP\tO"] })   // columns between blanks, tabs here and there
        {
            var sentence = Assert.Single(TaggedSentence.Read(Write("mixed.conll", mixed)));
            Assert.Equal(["EU", "x", "B-ORG", "O"], sentence.Words.Concat(sentence.Tags));
        }
        var again = TaggedSentence.Read(Write("u.conll", [.. TaggedSentence.Lines(read)])).ToList();
        Assert.Equal(read.SelectMany(s => s.Words), again.SelectMany(s => s.Words));
        Assert.Equal(read.SelectMany(s => s.Tags), again.SelectMany(s => s.Tags));
        Assert.Contains("line 1", Assert.Throws<InvalidDataException>(() => TaggedSentence.Read(Write("v.conll", "word\t")).ToList()).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_format_says_what_a_files_name_does_not()
    {
        var sentence = Assert.Single(TaggedSentence.Read(Write("n.txt", """{"words":["a","b"],"tags":["O","B-X"]}"""), "jsonl"));
        Assert.Equal(["O", "B-X"], sentence.Tags);
        Assert.Equal("Who?", Assert.Single(Question.All(Write("lines.json", """{"question":"Who?","context":"Ada.","answer":"Ada"}"""), "jsonl", n => n)).Text);
        Assert.Equal("?", Assert.Single(Question.All(Write("squad.txt", Squad("Ada", "Ada", 0)), "json", n => n)).Text);
        foreach (var bad in (string[])["""{"words":["a"],"tags":[null]}""", """{"words":["a"],"tags":[""]}""", """{"words":[null],"tags":["O"]}"""])
            Assert.Contains("bad.jsonl", Assert.Throws<InvalidDataException>(() => TaggedSentence.Read(Write("bad.jsonl", bad)).ToList()).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_character_of_two_units_is_one_word() => Assert.Equal(["Hi", "😀", "there", "𠀀", "x", "!"], TagModel.Split("Hi 😀 there 𠀀 x!").Select(w => "Hi 😀 there 𠀀 x!"[w.Start..w.End]));
}
