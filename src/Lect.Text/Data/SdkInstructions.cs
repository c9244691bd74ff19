using System.Text.Json.Nodes;

namespace Lect.Text;

/// <summary>Questions about the .NET libraries with their documentation's answers, comparisons of true answers with false ones, and prompts: the lecture's three steps at its scale, from what every machine with the SDK has. Streamed; an example is in the split of its answer's text.</summary>
public static class SdkInstructions
{
    /// <summary>How a rejected answer came about.</summary>
    public static IReadOnlyList<string> Corruptions { get; } = ["sibling", "truncated", "shuffled", "off_topic", "too_long"];

    private static readonly string[] s_summary = ["What does {0} do?", "What is {0} for?", "Explain {0}.", "Describe {0} in a sentence.", "Tell me about {0}."];
    private static readonly string[] s_param = ["What does the parameter {1} of {0} mean?", "In {0}, what is {1}?", "What do I pass to {0} as {1}?"];
    private static readonly string[] s_returns = ["What does {0} return?", "What is the result of {0}?", "What do I get from {0}?"];
    private static readonly string[] s_exception = ["When does {0} throw {1}?", "Why would {0} throw {1}?", "What makes {0} throw {1}?"];
    private static readonly string[] s_which = ["Which member does this: {0}", "What is this the documentation of: {0}"];

    // Of one text: how people would ask for it, and the answer.
    private static (string Question, string Answer) Ask(SdkText text, ulong which) => text.Kind switch
    {
        "param" => (string.Format(null, s_param[which % 3], text.Name, text.Subject), text.Text),
        "returns" or "value" => (string.Format(null, s_returns[which % 3], text.Name), text.Text),
        "exception" => (string.Format(null, s_exception[which % 3], text.Name, text.Subject), text.Text),
        _ when which % 7 == 6 => (string.Format(null, s_which[which / 7 % 2], text.Text), text.Name + "."),
        _ => (string.Format(null, s_summary[which % 5], text.Name), text.Text),
    };

    private static IEnumerable<SdkText> Texts() => SdkCorpus.Members().Where(t => (t.Kind is "summary" or "returns" or "value" || (t.Kind is "param" or "exception" && t.Subject is not null)) && t.Text.Length is >= 15 and <= 400 && !t.Text.Contains('\n', StringComparison.Ordinal));

    // In an order that has nothing to do with the libraries', so that any beginning of it is a sample of all.
    private static List<SdkText> Mixed(CorpusSplit split) => [.. Texts().Where(t => SdkCorpus.SplitOf(t.Text) == split).DistinctBy(t => (t.Text, t.Kind)).OrderBy(Key)];

    private static ulong Key(SdkText text) => SdkCorpus.Fnv1a($"{text.Member} {text.Kind} {text.Subject}");

    /// <summary>Conversations of one question, and for one member in ten of two.</summary>
    /// <param name="split">Which part.</param>
    public static IEnumerable<ChatExample> Examples(CorpusSplit split)
    {
        var texts = Mixed(split);
        var members = texts.ToLookup(t => t.Member);
        foreach (var text in texts)
        {
            var (question, answer) = Ask(text, Key(text));
            var turns = new JsonArray(ChatData.Message("user", question), ChatData.Message("assistant", answer));
            if (Key(text) % 10 == 0 && members[text.Member].FirstOrDefault(t => t != text) is { } before)
            {
                var (first, said) = Ask(before, 0);
                turns = new JsonArray([ChatData.Message("user", first), ChatData.Message("assistant", said), .. turns.Select(t => t!.DeepClone())]);
            }
            yield return new(turns);
        }
    }

    /// <summary>Prompts: the questions alone, in other words than <see cref="Examples"/> asks them where there are more.</summary>
    /// <param name="split">Which part.</param>
    public static IEnumerable<(JsonArray Prompt, SdkText Fact)> Prompts(CorpusSplit split) => Mixed(split)
        .Select(t => (new JsonArray(ChatData.Message("user", Ask(t, Key(t) / 3 % 5).Question)), t));

    /// <summary>True answers against corrupted ones; each text comes once for each of the corruptions, and again in other words until there are enough.</summary>
    /// <param name="split">Which part.</param>
    /// <param name="most">How many at most.</param>
    public static IEnumerable<Comparison> Comparisons(CorpusSplit split, long most = 1_000_000)
    {
        var texts = Mixed(split);
        var siblings = texts.ToLookup(t => (SdkCorpus.TypeOf(t.Member), t.Kind));
        long given = 0;
        for (var round = 0u; texts.Count > 1; round++)
            for (var i = 0; i < texts.Count; i++)
                foreach (var kind in round < 1 ? [Corruptions[i % Corruptions.Count]] : Corruptions)   // first every text once, so that a short run sees all of them
                {
                    var text = texts[i];
                    var key = Key(text) + round * 0x9e3779b97f4a7c15;
                    var question = Ask(text, key % 5).Question;
                    if (Corrupt(kind, text, key, siblings, texts) is not { } worse || worse == text.Text) continue;
                    if (given++ >= most) yield break;
                    yield return new(new JsonArray(ChatData.Message("user", question)), text.Text, worse, Kind: kind);
                }
    }

    private static string? Corrupt(string kind, SdkText text, ulong key, ILookup<(string, string), SdkText> siblings, List<SdkText> all)
    {
        var words = text.Text.Split(' ');
        var other = all[(int)(key % (ulong)all.Count)];
        switch (kind)
        {
            case "sibling":
                var near = siblings[(SdkCorpus.TypeOf(text.Member), text.Kind)].Where(s => s.Text != text.Text).ToList();
                var overloads = near.Where(s => s.Name == text.Name).ToList();
                if (overloads.Count > 0) near = overloads;
                return near.Count == 0 ? null : near[(int)(key % (ulong)near.Count)].Text;
            case "truncated": return words.Length < 4 ? null : string.Join(' ', words.Take(Math.Max(1, (int)(words.Length * (0.3 + key % 40 / 100.0)))));
            case "shuffled":
                var order = words.Select((w, i) => (Word: w, Place: SdkCorpus.Fnv1a($"{key} {i}"))).OrderBy(w => w.Place).Select(w => w.Word);
                return words.Length < 4 ? null : string.Join(' ', order);
            case "off_topic": return SdkCorpus.TypeOf(other.Member) == SdkCorpus.TypeOf(text.Member) ? null : other.Text;
            default: return text.Text + " " + other.Text;
        }
    }
}
