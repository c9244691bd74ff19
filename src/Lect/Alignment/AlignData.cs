using System.Text.Json.Nodes;
using Lect.Text;

namespace Lect;

/// <summary>Two answers as token rows.</summary>
/// <param name="Chosen">The better one behind its prompt.</param>
/// <param name="Rejected">The worse one.</param>
/// <param name="PromptLength">Tokens of the prompt.</param>
internal record AnswerPair(AnswerRow Chosen, AnswerRow Rejected, int PromptLength)
{
    public int Length => Math.Max(Chosen.Ids.Length, Rejected.Ids.Length);
}

/// <summary>A comparison of data as token rows.</summary>
internal sealed record ComparisonRow(AnswerRow Chosen, AnswerRow Rejected, int PromptLength, Comparison Source) : AnswerPair(Chosen, Rejected, PromptLength)
{
    /// <summary>By a template; the prompt is tokenized once for both.</summary>
    public static ComparisonRow Of(ChatEncoder encoder, Comparison c)
    {
        var prompt = encoder.Prompt(c.Prompt).Length;
        AnswerRow Answer(string text) => AnswerRow.Behind(encoder.Encode(ChatData.Answered(c.Prompt, text), LearnedPart.Everything).Ids, prompt);
        var (chosen, rejected) = (Answer(c.Chosen), Answer(c.Rejected));
        return new(chosen, rejected, Math.Min(prompt, Math.Min(chosen.Ids.Length, rejected.Ids.Length)), c);
    }
}

/// <summary>Data of alignment as token rows; streamed, with a count of what was left out and why.</summary>
internal sealed class AlignData(AlignDataConfig config, int longest, Action<string>? note)
{
    private readonly Dictionary<string, long> leftOut = new(StringComparer.Ordinal);

    private bool Refuse(string why)
    {
        leftOut[why] = leftOut.GetValueOrDefault(why) + 1;
        return false;
    }

    /// <summary>Tells what was left out so far, once.</summary>
    public void Tell()
    {
        if (leftOut.Count > 0) note?.Invoke("left out: " + string.Join(", ", leftOut.Select(l => $"{l.Value:N0} {l.Key}")));
        leftOut.Clear();
    }

    // Rows of a file by the split that a text's hash says; the SDK's examples know theirs.
    private IEnumerable<T> Split<T>(CorpusSplit split, Func<IEnumerable<T>> sdk, Func<JsonObject, ChatData, IEnumerable<T>> read, Func<T, string> key)
    {
        if (config.Path is null) return sdk();
        var isValidation = split == CorpusSplit.Validation;
        var path = isValidation && config.ValidationPath is not null ? config.ValidationPath : config.Path;
        var data = new ChatData(path, config.Columns, why => Refuse(why));
        var all = Rows.Read(path, config.Format).SelectMany(row => read(row, data));
        return config.ValidationPath is not null ? all : all.Where(e => SdkCorpus.IsKept(key(e), config.Validation ?? 0.05) == isValidation);
    }

    private IEnumerable<T> Limited<T>(CorpusSplit split, IEnumerable<T> all) => split != CorpusSplit.Train ? all : all.Skip((int)Math.Min(int.MaxValue, config.Skip)).Take(config.Limit > 0 ? (int)Math.Min(int.MaxValue, config.Limit) : int.MaxValue);

    /// <summary>Texts to learn, cut to the longest length.</summary>
    /// <param name="split">Which part.</param>
    /// <param name="encoder">Their template.</param>
    /// <param name="part">What of them is learned.</param>
    public IEnumerable<AnswerRow> Examples(CorpusSplit split, ChatEncoder encoder, LearnedPart part) => Told(EachExample(split, encoder, part));

    private IEnumerable<AnswerRow> EachExample(CorpusSplit split, ChatEncoder encoder, LearnedPart part)
    {
        var examples = Split(split, () => SdkInstructions.Examples(split), (row, data) => [data.Example(row)], e => e.Key);
        foreach (var example in Limited(split, examples))
        {
            static bool Answers(JsonNode? turn) => (string?)turn?["role"] == "assistant" && !string.IsNullOrWhiteSpace(turn["content"]?.ToString());
            var turns = example.Turns;
            if (part switch { LearnedPart.Answers => !turns.Any(Answers), LearnedPart.LastAnswer => !Answers(turns.LastOrDefault()), _ => turns.Count == 0 }) { Refuse("without an answer"); continue; }
            var row = encoder.Encode(turns, part).Cut(longest);
            if (row.Scored > 0 || Refuse($"whose answer begins behind {longest} tokens")) yield return row;
        }
    }

    // What was left out is told before somebody finds that nothing is left.
    private IEnumerable<T> Told<T>(IEnumerable<T> rows)
    {
        var any = false;
        foreach (var row in rows)
        {
            any = true;
            yield return row;
        }
        if (!any) Tell();
    }

    /// <summary>Comparisons whose texts fit.</summary>
    /// <param name="split">Which part.</param>
    /// <param name="encode">As a model reads them.</param>
    /// <param name="ties">Whether ties are wanted.</param>
    public IEnumerable<ComparisonRow> Comparisons(CorpusSplit split, Func<Comparison, ComparisonRow> encode, bool ties = true) => Rowed(Limited(split, Split(split, () => SdkInstructions.Comparisons(split), (row, data) => data.Comparisons(row), c => c.PromptText)).Where(c => ties || !c.IsTie || Refuse("that are ties")), encode);

    /// <summary>Comparisons as token rows; those that cannot be compared are left out.</summary>
    public IEnumerable<ComparisonRow> Rowed(IEnumerable<Comparison> comparisons, Func<Comparison, ComparisonRow> encode) => Told(EachRow(comparisons, encode));

    private IEnumerable<ComparisonRow> EachRow(IEnumerable<Comparison> comparisons, Func<Comparison, ComparisonRow> encode)
    {
        foreach (var c in comparisons)
        {
            if (c.Chosen == c.Rejected && !c.IsTie) { Refuse("whose two answers are the same"); continue; }
            if (string.IsNullOrWhiteSpace(c.Chosen) || string.IsNullOrWhiteSpace(c.Rejected)) { Refuse("with an empty answer"); continue; }
            var row = encode(c);
            if (row.Length <= longest || Refuse($"longer than {longest} tokens")) yield return row;
        }
    }

    /// <summary>Prompts that leave room for an answer, with what is known about them.</summary>
    /// <param name="split">Which part.</param>
    /// <param name="encoder">Their template.</param>
    /// <param name="room">Tokens of an answer.</param>
    public IEnumerable<PromptRow> Prompts(CorpusSplit split, ChatEncoder encoder, int room) => Told(EachPrompt(split, encoder, room));

    private IEnumerable<PromptRow> EachPrompt(CorpusSplit split, ChatEncoder encoder, int room)
    {
        var prompts = Split(split, () => SdkInstructions.Prompts(split).Select(p => (p.Prompt, (SdkText?)p.Fact)), (row, data) => [(data.Prompt(row), (SdkText?)null)], p => p.Prompt.ToJsonString());
        foreach (var (prompt, fact) in Limited(split, prompts))
        {
            var ids = encoder.Prompt(prompt);
            if (ids.Length + room <= longest || Refuse($"of more than {longest - room} tokens")) yield return new(ids, prompt, fact);
        }
    }
}

/// <summary>A prompt to be answered.</summary>
/// <param name="Ids">With the beginning of an answer.</param>
/// <param name="Messages">As turns.</param>
/// <param name="Fact">The documentation it asks for; null: none.</param>
internal sealed record PromptRow(int[] Ids, JsonArray Messages, SdkText? Fact);
