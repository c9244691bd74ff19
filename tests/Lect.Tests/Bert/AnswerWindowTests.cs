using Lect.Testing;
using Lect.Text;

namespace Lect.Tests.Bert;

/// <summary>Windows over long contexts: no answer is lost, every place is right.</summary>
public sealed class AnswerWindowTests
{
    private static readonly Tokenizer s_tokenizer = Tokenizer.Load(Fixtures.Path_("tokenizers", "bert-uncased"));

    [Fact]
    public void Windows_never_lose_an_answer()
    {
        var random = new Random(1);
        string[] words = ["The", "hotel", "naïve", "extraordinary", "in", "Zürich's", "1843,", "(international)", "and", "co-operation", "𝒳y", "was"];
        for (var round = 0; round < 40; round++)
        {
            var context = string.Join(' ', Enumerable.Range(0, random.Next(5, 160)).Select(_ => words[random.Next(words.Length)]));
            var starts = Enumerable.Range(0, context.Length).Where(i => i == 0 || context[i - 1] == ' ').ToList();
            var windows = AnswerWindow.Of(s_tokenizer, "Where was the hotel?", context, maxLength: 64, stride: 24);
            foreach (var window in windows) Assert.InRange(window.Row.Ids.Length, 1, 64);
            foreach (var start in starts)
            {
                // One or two words: fewer than 24 tokens, which two windows share.
                var end = context.IndexOf(' ', start) is > 0 and var one ? one : context.Length;
                if (random.Next(2) == 0 && end < context.Length) end = context.IndexOf(' ', end + 1) is > 0 and var two ? two : context.Length;
                var found = windows.Where(w => w.Find(start, end) != (0, 0)).ToList();
                Assert.NotEmpty(found);
                foreach (var window in found)
                {
                    var (first, last) = window.Find(start, end);
                    Assert.Equal(context[start..end], context[window.Offsets[first]!.Value.Start..window.Offsets[last]!.Value.End]);
                    // Scores that point at it give it back.
                    var outputs = windows.Select(w => new float[2 * w.Row.Ids.Length]).ToList();
                    var at = windows.IndexOf(window);
                    (outputs[at][2 * first], outputs[at][2 * last + 1]) = (10, 10);
                    if (last - first < BestAnswers.LongestAnswer) Assert.Equal((context[start..end], start, end), BestAnswers.Of(context, windows, outputs)[0] is var a ? (a.Text, a.Start, a.End) : default);
                }
            }
        }
    }

    [Fact]
    public void That_there_is_no_answer_competes()
    {
        const string context = "It was fine.";
        var windows = AnswerWindow.Of(s_tokenizer, "Who?", context, 64, 8);
        var scores = new float[2 * windows[0].Row.Ids.Length];
        (scores[0], scores[1]) = (3, 3);
        Assert.Equal("", BestAnswers.Of(context, windows, [scores], withNone: true)[0].Text);
        Assert.NotEqual("", BestAnswers.Of(context, windows, [scores])[0].Text);
    }

    [Fact]
    public void A_question_that_fills_the_window_is_refused() =>
        Assert.Contains("--max-length", Assert.Throws<InvalidDataException>(() => AnswerWindow.Of(s_tokenizer, string.Join(' ', Enumerable.Repeat("word", 100)), "context", 64, 8)).Message, StringComparison.Ordinal);
}
