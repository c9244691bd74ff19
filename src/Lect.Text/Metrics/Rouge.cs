// ROUGE: Lin 2004, "ROUGE: A Package for Automatic Evaluation of Summaries", as Google's rouge-score 0.1.2 computes it (without stemming).
using System.Text;

namespace Lect.Text;

/// <summary>Precision, recall and their harmonic mean.</summary>
public readonly record struct RougeScore(double Precision, double Recall, double F1)
{
    internal static RougeScore Of(double hits, double found, double wanted)
    {
        var (p, r) = (found > 0 ? hits / found : 0, wanted > 0 ? hits / wanted : 0);
        return new(p, r, p + r > 0 ? 2 * p * r / (p + r) : 0);
    }
}

/// <summary>Overlap of a text with references: single words, pairs of words, longest common subsequence.</summary>
public static class Rouge
{
    /// <summary>The kinds, as figures are called.</summary>
    public static IReadOnlyList<string> Kinds { get; } = ["rouge1", "rouge2", "rougeL", "rougeLsum"];

    /// <summary>Lower-cased runs of a-z and 0-9.</summary>
    public static IReadOnlyList<string> Tokens(string text)
    {
        var (tokens, word) = (new List<string>(), new StringBuilder());
        foreach (var c in PythonText.Lower(text) + " ")
        {
            if (char.IsAsciiLetterLower(c) || char.IsAsciiDigit(c)) word.Append(c);
            else if (word.Length > 0)
            {
                tokens.Add(word.ToString());
                word.Clear();
            }
        }
        return tokens;
    }

    /// <summary>The score of a text against one reference.</summary>
    /// <param name="kind">One of <see cref="Kinds"/>.</param>
    /// <param name="reference">What was wanted.</param>
    /// <param name="text">What is scored.</param>
    public static RougeScore Score(string kind, string reference, string text) => kind switch
    {
        "rouge1" => Grams(Tokens(reference), Tokens(text), 1),
        "rouge2" => Grams(Tokens(reference), Tokens(text), 2),
        "rougeL" => Tokens(reference) is var r && Tokens(text) is var t ? RougeScore.Of(Common(r, t).Count, t.Count, r.Count) : default,
        "rougeLsum" => Union([.. reference.Split('\n').Select(Tokens).Where(s => s.Count > 0)], [.. text.Split('\n').Select(Tokens).Where(s => s.Count > 0)]),
        _ => throw new ArgumentException($"Found the kind '{kind}'. Expected {string.Join(", ", Kinds)}."),
    };

    /// <summary>The best score by F1 over several references.</summary>
    public static RougeScore Score(string kind, IReadOnlyList<string> references, string text) => references.Select(r => Score(kind, r, text)).MaxBy(s => s.F1);

    private static RougeScore Grams(IReadOnlyList<string> reference, IReadOnlyList<string> text, int n)
    {
        Dictionary<string, int> Count(IReadOnlyList<string> tokens) => Enumerable.Range(0, Math.Max(0, tokens.Count - n + 1)).Select(i => string.Join(' ', tokens.Skip(i).Take(n))).CountBy(g => g).ToDictionary();
        var (wanted, found) = (Count(reference), Count(text));
        return RougeScore.Of(wanted.Sum(g => Math.Min(g.Value, found.GetValueOrDefault(g.Key))), found.Values.Sum(), wanted.Values.Sum());
    }

    // Places in the reference of one longest common subsequence.
    private static List<int> Common(IReadOnlyList<string> reference, IReadOnlyList<string> text)
    {
        var table = new int[reference.Count + 1, text.Count + 1];
        for (var i = 1; i <= reference.Count; i++)
            for (var j = 1; j <= text.Count; j++)
                table[i, j] = reference[i - 1] == text[j - 1] ? table[i - 1, j - 1] + 1 : Math.Max(table[i - 1, j], table[i, j - 1]);
        var places = new List<int>();
        for (int i = reference.Count, j = text.Count; i > 0 && j > 0;)
        {
            if (reference[i - 1] == text[j - 1]) { places.Add(i - 1); (i, j) = (i - 1, j - 1); }
            else if (table[i, j - 1] > table[i - 1, j]) j--;
            else i--;
        }
        places.Reverse();
        return places;
    }

    // Section 3.2: of each reference sentence the union of what it has in common with any sentence; a token counts as often as both sides have it.
    private static RougeScore Union(IReadOnlyList<IReadOnlyList<string>> reference, IReadOnlyList<IReadOnlyList<string>> text)
    {
        var (wanted, found) = (reference.SelectMany(s => s).CountBy(t => t).ToDictionary(), text.SelectMany(s => s).CountBy(t => t).ToDictionary());
        var (wantedCount, foundCount, hits) = (wanted.Values.Sum(), found.Values.Sum(), 0);
        foreach (var sentence in reference)
            foreach (var place in text.SelectMany(s => Common(sentence, s)).Distinct().Order())
            {
                var token = sentence[place];
                if (wanted.GetValueOrDefault(token) < 1 || found.GetValueOrDefault(token) < 1) continue;
                hits++;
                wanted[token]--;
                found[token]--;
            }
        return RougeScore.Of(hits, foundCount, wantedCount);
    }
}
