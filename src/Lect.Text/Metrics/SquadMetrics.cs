using System.Text;

namespace Lect.Text;

/// <summary>A question's true answers and the one that was given.</summary>
/// <param name="Answers">True ones; none: it cannot be answered (version 2).</param>
/// <param name="Prediction">Given; empty: none.</param>
/// <param name="NoAnswer">The model's score that there is none, for a threshold.</param>
public sealed record SquadAnswer(IReadOnlyList<string> Answers, string Prediction, double NoAnswer = 0);

/// <summary>Exact match and F1 of answers, 0 to 100, as SQuAD's own scripts (Rajpurkar et al. 2016, section 5; 2018).</summary>
/// <param name="ExactMatch">The share that is a true answer, normalized.</param>
/// <param name="F1">Mean overlap of words with the nearest true answer.</param>
/// <param name="Total">Questions.</param>
public sealed record SquadScore(double ExactMatch, double F1, int Total)
{
    /// <summary>Version 1: every question has an answer.</summary>
    public static SquadScore Of(IReadOnlyList<SquadAnswer> answers) => Mean([.. answers.Select(a => (Exact(a, 1), Overlap(a, 1)))]);

    /// <summary>Version 2: questions may have none; an answer counts as none where its no-answer score is above the threshold.</summary>
    public static SquadScore OfVersion2(IReadOnlyList<SquadAnswer> answers, double threshold = 1) => Mean([.. answers.Select(a => a.NoAnswer > threshold ? (a.Answers.Count == 0 ? 1.0 : 0, a.Answers.Count == 0 ? 1.0 : 0) : (Exact(a, 2), Overlap(a, 2)))]);

    /// <summary>The threshold with the best score of version 2 and that score, 0 to 100.</summary>
    /// <param name="answers">With their no-answer scores.</param>
    /// <param name="f1">By F1; otherwise by exact match.</param>
    public static (double Score, double Threshold) BestThreshold(IReadOnlyList<SquadAnswer> answers, bool f1)
    {
        double now = answers.Count(a => a.Answers.Count == 0), best = now, threshold = 0;
        foreach (var a in answers.OrderBy(a => a.NoAnswer))
        {
            now += a.Answers.Count > 0 ? f1 ? Overlap(a, 2) : Exact(a, 2) : a.Prediction.Length > 0 ? -1 : 0;
            if (now > best) (best, threshold) = (now, a.NoAnswer);
        }
        return (100 * best / answers.Count, threshold);
    }

    private static SquadScore Mean(IReadOnlyList<(double Exact, double F1)> each) => new(each.Count == 0 ? 0 : 100 * each.Average(e => e.Exact), each.Count == 0 ? 0 : 100 * each.Average(e => e.F1), each.Count);

    /// <summary>1 where the answer is a true one, normalized.</summary>
    public static double Exact(SquadAnswer answer, int version) => True(answer, version).Any(t => Normalize(t) == Normalize(answer.Prediction)) ? 1 : 0;

    /// <summary>F1 of the words with the nearest true answer.</summary>
    public static double Overlap(SquadAnswer answer, int version)
    {
        var said = PythonText.Split(Normalize(answer.Prediction));
        return True(answer, version).Max(t => F1(PythonText.Split(Normalize(t)), said));

        double F1(List<string> gold, List<string> words)
        {
            if (version == 2 && (gold.Count == 0 || words.Count == 0)) return gold.Count == words.Count ? 1 : 0;
            var left = gold.GroupBy(w => w, StringComparer.Ordinal).ToDictionary(g => g.Key, g => g.Count(), StringComparer.Ordinal);
            var same = words.Count(w => left.TryGetValue(w, out var n) && n > 0 && (left[w] = n - 1) >= 0);
            return same == 0 ? 0 : 2.0 * same / words.Count * same / gold.Count / ((double)same / words.Count + (double)same / gold.Count);
        }
    }

    private static IReadOnlyList<string> True(SquadAnswer answer, int version)
    {
        if (version == 1) return answer.Answers.Count > 0 ? answer.Answers : throw new InvalidDataException("Found a question without answers. Expected at least one: version 2 has such questions.");
        var some = answer.Answers.Where(a => Normalize(a).Length > 0).ToList();
        return some.Count > 0 ? some : [""];
    }

    /// <summary>Lower case, no ASCII punctuation, no articles, single spaces.</summary>
    public static string Normalize(string text)
    {
        var kept = new StringBuilder();
        foreach (var c in PythonText.Lower(text)) if (!(char.IsAscii(c) && (char.IsPunctuation(c) || char.IsSymbol(c)))) kept.Append(c);
        var plain = kept.ToString();
        var words = new StringBuilder();
        for (var i = 0; i < plain.Length;)
        {
            var article = (i == 0 || !IsWord(plain[i - 1])) ? s_articles.FirstOrDefault(a => string.CompareOrdinal(plain, i, a, 0, a.Length) == 0 && (i + a.Length == plain.Length || !IsWord(plain[i + a.Length]))) : null;
            words.Append(article is null ? plain[i] : ' ');
            i += article?.Length ?? 1;
        }
        return string.Join(' ', PythonText.Split(words.ToString()));
    }

    private static readonly string[] s_articles = ["an", "a", "the"];

    // Python's \w: letters and numbers of any script, not combining marks.
    private static bool IsWord(char c) => char.IsLetter(c) || char.IsNumber(c) || c == '_';
}
