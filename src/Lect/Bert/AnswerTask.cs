using System.Text.Json;
using System.Text.Json.Nodes;
using Lect.Models;
using Lect.Text;

namespace Lect;

/// <summary>An answer in a text.</summary>
/// <param name="Text">Its words; empty: there is none.</param>
/// <param name="Start">Where it begins in the context, in UTF-16 units.</param>
/// <param name="End">The unit behind its end.</param>
/// <param name="Score">Sum of the scores of its two ends.</param>
/// <param name="Probability">Among the candidates.</param>
public readonly record struct Answer(string Text, int Start, int End, double Score, double Probability);

/// <summary>A stretch of a context with its question, as the model reads it.</summary>
/// <param name="Row">[CLS] question [SEP] stretch [SEP].</param>
/// <param name="Offsets">Where each token stands in the context; null: it is not of the context.</param>
internal sealed record AnswerWindow(EncoderRow Row, (int Start, int End)?[] Offsets)
{
    /// <summary>The windows of a question: contexts that are too long come in several, which overlap.</summary>
    public static List<AnswerWindow> Of(Tokenizer tokenizer, string question, string context, int maxLength, int stride)
    {
        var special = tokenizer.Encode("", "").Ids.Length;
        var words = tokenizer.EncodeIds(question.Trim(), addSpecialTokens: false).Length;
        if (words + special + 2 > maxLength) throw new InvalidDataException($"Found a question of {words} tokens. Expected fewer than {maxLength - special - 1}: a window has {maxLength} (train.max_length, --max-length).");
        var limit = new TokenLimit { Length = maxLength, Truncation = Truncation.OnlySecond, Overflow = true, Stride = Math.Min(stride, (maxLength - special - words) / 2) };
        return [.. tokenizer.Encode(question.Trim(), context, limit).Select(w => new AnswerWindow(new(w.Ids, w.TypeIds), [.. w.SequenceIds.Zip(w.Offsets, (s, o) => s == 1 ? ((int, int)?)o : null)]))];
    }

    /// <summary>First and last token of a stretch of the context, or (0, 0), [CLS], where this window does not hold all of it.</summary>
    public (int First, int Last) Find(int start, int end)
    {
        var (first, last) = (-1, -1);
        for (var t = 0; t < Offsets.Length; t++)
        {
            if (Offsets[t] is not { } o || o.End == o.Start) continue;
            if (first < 0 && o.Start <= start && start < o.End) first = t;
            if (o.Start < end && end <= o.End) last = t;
        }
        return first < 0 || last < first ? (0, 0) : (first, last);
    }
}

/// <summary>The best stretches of all windows of a question (as run_squad.py: the 20 best starts and ends, at most 30 tokens).</summary>
internal static class BestAnswers
{
    public const int Candidates = 20, LongestAnswer = 30;

    /// <param name="context">What the answers stand in.</param>
    /// <param name="windows">Of the question.</param>
    /// <param name="outputs">Of each window the scores of start and end of each token, [T, 2].</param>
    /// <param name="most">Answers to give.</param>
    /// <param name="withNone">That there is none competes too (version 2): its score is that of [CLS] in the window where it is lowest.</param>
    /// <param name="longest">Tokens of an answer at most.</param>
    /// <returns>Best first; never none.</returns>
    public static List<Answer> Of(string context, IReadOnlyList<AnswerWindow> windows, IReadOnlyList<float[]> outputs, int most = 1, bool withNone = false, int longest = LongestAnswer)
    {
        var found = new List<(double Score, int Start, int End)>();
        for (var w = 0; w < windows.Count; w++)
        {
            var (offsets, scores) = (windows[w].Offsets, outputs[w]);
            List<int> Best(int side) => [.. Enumerable.Range(0, offsets.Length).Where(t => offsets[t] is { } o && o.End > o.Start).OrderByDescending(t => scores[2 * t + side]).Take(Candidates)];
            var ends = Best(1);
            foreach (var s in Best(0))
                foreach (var e in ends.Where(e => e >= s && e - s < longest)) found.Add(((double)scores[2 * s] + scores[2 * e + 1], offsets[s]!.Value.Start, offsets[e]!.Value.End));
        }
        if (withNone) found.Add((outputs.Min(o => (double)o[0] + o[1]), 0, 0));
        if (found.Count == 0) return [new("", 0, 0, double.NegativeInfinity, 1)];
        // The same words of overlapping windows are one answer.
        var ranked = found.GroupBy(f => (f.Start, f.End)).Select(g => g.MaxBy(f => f.Score)).OrderByDescending(f => f.Score).Take(Math.Max(most, Candidates)).ToList();
        var sum = ranked.Sum(f => Math.Exp(f.Score - ranked[0].Score));
        return [.. ranked.Take(most).Select(f => new Answer(context[f.Start..f.End], f.Start, f.End, f.Score, Math.Exp(f.Score - ranked[0].Score) / sum))];
    }
}

/// <summary>Span question answering: two scores a token, start and end (Devlin et al. 2019, sections 4.2 and 4.3; SQuAD).</summary>
internal sealed class AnswerTask : FinetuneTask
{
    private readonly List<Question> validation;
    private readonly List<AnswerWindow>[] windows;
    private readonly bool hasUnanswerable;

    public AnswerTask(TaskDataConfig data, Tokenizer tokenizer, int maxLength, int stride, Action<string>? note)
    {
        (var train, validation) = data.Read(path => Question.All(path, data.Format, data.Column), SdkTasks.Exceptions, e => e.Context);
        var broken = train.Where(q => !q.IsWhole).ToList();
        if (broken.Count > 0) note?.Invoke($"{broken.Count:N0} of {train.Count:N0} training questions have an answer that does not stand in its context and are left out, the first one '{broken[0].Id}': '{broken[0].Answers[0].Text}'");
        train.RemoveAll(q => !q.IsWhole);
        if (validation.GroupBy(q => q.Id, StringComparer.Ordinal).FirstOrDefault(g => g.Skip(1).Any()) is { } twice) throw new InvalidDataException($"Found {twice.Count()} validation questions with the id '{twice.Key}'. Expected ids that differ: predictions are told apart by them.");
        hasUnanswerable = train.Concat(validation).Any(q => q.Answers.Count == 0);
        var lost = 0;
        List<FinetuneExample> Examples(Question q)
        {
            var all = AnswerWindow.Of(tokenizer, q.Text, q.Context, maxLength, stride);
            var places = all.ConvertAll(q.In);
            if (q.Answers.Count > 0 && places.TrueForAll(p => p == (0, 0))) Interlocked.Increment(ref lost);
            return [.. all.Zip(places, (w, p) => new FinetuneExample([w.Row], [p.Item1, p.Item2]))];
        }
        Train = [.. InParallel.Select(train, Examples).SelectMany(e => e)];
        if (lost > 0) note?.Invoke($"{lost:N0} answers stand whole in no window of {maxLength} tokens (raise train.max_length or train.stride)");
        windows = InParallel.Select(validation, q => AnswerWindow.Of(tokenizer, q.Text, q.Context, maxLength, stride));
        Validation = [.. windows.Zip(validation).SelectMany(p => p.First.Select(w => new FinetuneExample([w.Row], p.Second.IsWhole && p.Second.In(w) is var (a, b) ? [a, b] : [0.0, 0.0])))];
    }

    public override EncoderHead Head => EncoderHead.ForQuestionAnswering;
    public override string Metric => "f1";
    public override IReadOnlyList<FinetuneExample> Train { get; }
    public override IReadOnlyList<FinetuneExample> Validation { get; }

    private List<Answer> Answers(IReadOnlyList<float[]> outputs)
    {
        var at = 0;
        return [.. windows.Zip(validation).Select(p =>
        {
            var own = outputs.Skip(at).Take(p.First.Count).ToList();
            at += p.First.Count;
            return BestAnswers.Of(p.Second.Context, p.First, own, 1, hasUnanswerable)[0];
        })];
    }

    private List<SquadAnswer> Compared(IReadOnlyList<Answer> said) => [.. said.Zip(validation, (a, q) => new SquadAnswer([.. q.Answers.Select(x => x.Text)], a.Text))];

    public override IReadOnlyList<(string, double)> Figures(IReadOnlyList<float[]> outputs)
    {
        var compared = Compared(Answers(outputs));
        var score = hasUnanswerable ? SquadScore.OfVersion2(compared) : SquadScore.Of(compared);
        return [("f1", score.F1), ("exact_match", score.ExactMatch)];
    }

    public override void WritePredictions(IReadOnlyList<float[]> outputs, string folder) =>
        ModelFolder.WriteText(Path.Combine(folder, "predictions.json"), new JsonObject(Answers(outputs).Zip(validation, (a, q) => KeyValuePair.Create(q.Id, (JsonNode?)a.Text))).ToJsonString(new JsonSerializerOptions { Encoder = System.Text.Encodings.Web.JavaScriptEncoder.UnsafeRelaxedJsonEscaping }) + "\n");

    public override (Confusion?, IReadOnlyList<Mistake>) Review(IReadOnlyList<float[]> outputs)
    {
        var said = Answers(outputs);
        var overlaps = Compared(said).Select(c => SquadScore.Overlap(c, hasUnanswerable ? 2 : 1)).ToList();
        return (null, [.. Enumerable.Range(0, said.Count).Where(i => overlaps[i] < 1).OrderBy(i => overlaps[i]).ThenByDescending(i => said[i].Probability)
            .Select(i => new Mistake($"{validation[i].Text} — {validation[i].Context}", validation[i].Answers.Count == 0 ? "(no answer)" : validation[i].Answers[0].Text, said[i].Text.Length == 0 ? "(no answer)" : said[i].Text, said[i].Probability))]);
    }
}
