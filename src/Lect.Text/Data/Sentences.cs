using System.Text.RegularExpressions;

namespace Lect.Text;

/// <summary>Cuts English text into sentences: at line ends between paragraphs, and behind . ! ? where the next word does not begin with a small letter.</summary>
public static partial class Sentences
{
    // Titles and shortenings that a full stop follows within a sentence; a single capital is an initial.
    private static readonly HashSet<string> s_abbreviations = new(["mr", "mrs", "ms", "dr", "prof", "st", "jr", "sr", "vs", "etc", "e.g", "i.e", "no", "vol", "fig", "cf", "approx"], StringComparer.OrdinalIgnoreCase);

    [GeneratedRegex(@"\n[^\S\n]*\n\s*")]
    private static partial Regex BlankLines();

    [GeneratedRegex(@"[.!?]+[""'”’)\]]*\s+(?=[^\p{Ll}\s])")]
    private static partial Regex Ends();

    /// <summary>The sentences of a text, in order, without white space around them; lines of a paragraph are one text.</summary>
    /// <param name="text">Any text.</param>
    /// <param name="lineEnds">Every line is a paragraph, not only those with a blank line between.</param>
    public static IEnumerable<string> Of(string text, bool lineEnds = false) =>
        (lineEnds ? text.Split('\n') : BlankLines().Split(text)).Select(p => p.Trim()).Where(p => p.Length > 0).SelectMany(OfParagraph);

    private static IEnumerable<string> OfParagraph(string paragraph)
    {
        var from = 0;
        foreach (Match end in Ends().Matches(paragraph))
        {
            if (IsAbbreviation(paragraph, end.Index)) continue;
            yield return Joined(paragraph[from..(end.Index + end.Length)]);
            from = end.Index + end.Length;
        }
        if (from < paragraph.Length) yield return Joined(paragraph[from..]);
    }

    private static bool IsAbbreviation(string text, int stop)
    {
        if (text[stop] != '.') return false;
        var from = stop;
        while (from > 0 && (char.IsLetter(text[from - 1]) || text[from - 1] == '.')) from--;
        var word = text[from..stop];
        return (word.Length == 1 && char.IsUpper(word[0])) || s_abbreviations.Contains(word);
    }

    private static string Joined(string sentence) => sentence.ReplaceLineEndings(" ").Trim();
}
