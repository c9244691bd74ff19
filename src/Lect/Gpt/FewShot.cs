// In-context learning: Brown et al. 2020, section 2.4: examples stand in the prompt, no weight is changed; the model answers with the most probable choice.
using Lect.Models;
using Lect.Text;

namespace Lect;

/// <summary>How few-shot prompting is measured.</summary>
public sealed record FewShotOptions
{
    /// <summary>The kinds of tasks.</summary>
    public static IReadOnlyList<string> Kinds { get; } = ["classify", "pairs", "choice"];

    /// <summary><c>classify</c>: labels of texts; <c>pairs</c>: of pairs; <c>choice</c>: which text follows.</summary>
    public string Kind { get; init; } = "classify";
    /// <summary>The examples: training ones for the prompt, validation ones to answer.</summary>
    public TaskDataConfig Data { get; init; } = new();
    /// <summary>k: examples in the prompt, one evaluation each. <value>0, 1, 8</value></summary>
    public IReadOnlyList<int> Shots { get; init; } = [0, 1, 8];
    /// <summary>Questions at most, the first ones; 0: all.</summary>
    public int Limit { get; init; }
    /// <summary>What labels are called in the prompt: 1 is positive; those that are not here by their own names.</summary>
    public IReadOnlyDictionary<string, string> LabelNames { get; init; } = new Dictionary<string, string>();
    /// <summary>Key of the draw of examples.</summary>
    public long Seed { get; init; } = 1;

    internal void Validate()
    {
        var faults = Data.Faults().ToList();
        if (!Kinds.Contains(Kind)) faults.Add($"--kind {Kind}: expected {string.Join(", ", Kinds)}");
        if (Shots.Count == 0 || Shots.Any(k => k < 0)) faults.Add($"--shots {string.Join(",", Shots)}: expected numbers of 0 or more, as 0,1,8");
        if (Limit < 0) faults.Add($"--limit {Limit}: expected 0 (all) or more");
        if (Data.IsRegression) faults.Add("few-shot: found a task of numbers, expected one of labels or choices");
        if (Kind == "choice" && Data.Task is not null) faults.Add($"--task {Data.Task}: the tasks of GLUE have labels of texts and pairs");
        if (faults.Count > 0) throw new InvalidDataException("The evaluation cannot be done: " + string.Join("; ", faults) + ".");
    }
}

/// <summary>What a model answers with k examples in its prompt.</summary>
/// <param name="Shots">k.</param>
/// <param name="Accuracy">Share of questions whose right choice has the highest log-probability.</param>
/// <param name="AccuracyNorm">The same by log-probability per byte, so that long choices do not lose by their length.</param>
/// <param name="Questions">How many.</param>
/// <param name="Left">Examples a question, on average, that did not fit into the context and were left out.</param>
public sealed record FewShotFigures(int Shots, double Accuracy, double AccuracyNorm, int Questions, double Left);

/// <summary>Few-shot evaluation of a decoder: each choice is scored by its log-probability behind the prompt, which is read once for all of them.</summary>
public static class FewShot
{
    /// <summary>One question as text.</summary>
    /// <param name="Prompt">Without a blank at its end.</param>
    /// <param name="Choices">Each with the blank in front.</param>
    /// <param name="Label">The right one.</param>
    internal sealed record Item(string Prompt, IReadOnlyList<string> Choices, int Label)
    {
        public string Solved => Prompt + Choices[Label];
    }

    /// <summary>Figures for each k.</summary>
    /// <param name="model">The decoder, with its tokenizer.</param>
    /// <param name="options">Which questions, and how many examples.</param>
    /// <param name="note">Told how it goes.</param>
    /// <param name="stop">Ends it before the next question.</param>
    /// <returns>For each k, and the share of the most frequent answer, which needs no model.</returns>
    /// <exception cref="InvalidDataException">Something given cannot be used; the message says what.</exception>
    public static (IReadOnlyList<FewShotFigures> Figures, double Majority) Of(LanguageModel model, FewShotOptions options, Action<string>? note = null, CancellationToken stop = default)
    {
        options.Validate();
        var (examples, questions) = Read(options);
        if (options.Limit > 0) questions = [.. questions.Take(options.Limit)];
        if (options.Shots.Max() > examples.Count) throw new InvalidDataException($"Found --shots {options.Shots.Max()} and {examples.Count} examples. Expected no more than there are.");
        if (questions.Count == 0) throw new InvalidDataException("Found no questions to answer. Expected validation examples: --file, or a share of --examples.");
        var figures = new List<FewShotFigures>();
        foreach (var k in options.Shots)
        {
            var (right, rightNorm, left) = (0, 0, 0L);
            for (var q = 0; q < questions.Count; q++)
            {
                stop.ThrowIfCancellationRequested();
                var (scores, dropped) = Answer(model, questions[q], Draw(examples, k, options.Seed, q));
                left += dropped;
                if (Best(scores) == questions[q].Label) right++;
                if (Best([.. scores.Zip(questions[q].Choices, (s, c) => s / System.Text.Encoding.UTF8.GetByteCount(c))]) == questions[q].Label) rightNorm++;
                if ((q + 1) % 100 == 0) note?.Invoke(FormattableString.Invariant($"{k} examples in the prompt: {q + 1} of {questions.Count} questions, {100.0 * right / (q + 1):0.0} % right"));
            }
            figures.Add(new(k, right / (double)questions.Count, rightNorm / (double)questions.Count, questions.Count, left / (double)questions.Count));
        }
        return (figures, questions.GroupBy(q => q.Label).Max(g => g.Count()) / (double)questions.Count);
    }

    private static int Best(double[] scores) => Array.IndexOf(scores, scores.Max());

    // For each question its own (section 2.4), the same whatever the other questions are.
    private static List<Item> Draw(List<Item> examples, int k, long seed, int question)
    {
        var random = Seeds.Random(seed, "few-shot", question);
        var picked = new HashSet<int>();
        while (picked.Count < k) picked.Add(random.Next(examples.Count));
        return [.. picked.Select(i => examples[i])];
    }

    // Examples that do not fit are left out, the first ones first.
    private static (double[] Scores, int Dropped) Answer(LanguageModel model, Item question, List<Item> shots)
    {
        for (var dropped = 0; ; dropped++)
        {
            var prompt = string.Concat(shots.Skip(dropped).Select(s => s.Solved + "\n\n")) + question.Prompt;
            if (model.ScoreContinuations(prompt, question.Choices) is { } scores) return (scores, dropped);
            if (dropped == shots.Count) throw new InvalidDataException($"Found a question that is longer than the model's {model.Model.ContextLength} positions: '{(question.Prompt.Length > 60 ? question.Prompt[..60] + "…" : question.Prompt)}'. Expected questions that fit, or a model with a longer context (--context).");
        }
    }

    internal static (List<Item> Examples, List<Item> Questions) Read(FewShotOptions options)
    {
        if (options.Kind == "choice")
        {
            var (train, validation) = ChoiceTask.Read(options.Data);
            static Item Of(Choice c) => new(c.Prompt.TrimEnd(), [.. c.Choices.Select(x => " " + x.TrimStart())], c.Label);
            return (train.ConvertAll(Of), validation.ConvertAll(Of));
        }
        var (labelled, asked) = ClassifyTask.Read(options.Data, options.Kind == "pairs");
        var labels = labelled.Concat(asked).Select(e => e.Label).Distinct().Order(StringComparer.Ordinal).ToList();
        if (labels.Count < 2) throw new InvalidDataException($"Found the label '{labels[0]}' alone. Expected at least two.");
        if (options.LabelNames.Keys.FirstOrDefault(l => !labels.Contains(l)) is { } unknown) throw new InvalidDataException($"Found --labels {unknown}=…. Expected names of the labels {string.Join(", ", labels)}.");
        var choices = labels.ConvertAll(l => " " + options.LabelNames.GetValueOrDefault(l, l));
        Item From(LabelledText e) => new(e.Pair is null ? $"Text: {e.Text.Trim()}\nLabel:" : $"Text 1: {e.Text.Trim()}\nText 2: {e.Pair.Trim()}\nLabel:", choices, labels.IndexOf(e.Label));
        return (labelled.ConvertAll(From), asked.ConvertAll(From));
    }
}
