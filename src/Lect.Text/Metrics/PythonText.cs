using System.Globalization;
using System.Text;

namespace Lect.Text;

/// <summary>Text as Python sees it, which the field's metrics are defined in: code points, its white space, its lower case.</summary>
internal static class PythonText
{
    /// <summary>The code points of a text; a lone surrogate counts as itself.</summary>
    public static int[] CodePoints(string text)
    {
        var points = new List<int>(text.Length);
        for (var i = 0; i < text.Length; i++)
        {
            if (char.IsHighSurrogate(text[i]) && i + 1 < text.Length && char.IsLowSurrogate(text[i + 1])) points.Add(char.ConvertToUtf32(text[i], text[++i]));
            else points.Add(text[i]);
        }
        return [.. points];
    }

    /// <summary>The text of code points.</summary>
    public static string Text(IReadOnlyList<int> points)
    {
        var text = new StringBuilder(points.Count);
        foreach (var point in points)
        {
            if (point > char.MaxValue) text.Append(char.ConvertFromUtf32(point));
            else text.Append((char)point);
        }
        return text.ToString();
    }

    /// <summary>str.isspace: white space and U+001C to U+001F.</summary>
    public static bool IsSpace(int point) => point <= char.MaxValue && (char.IsWhiteSpace((char)point) || point is >= 0x1c and <= 0x1f);

    /// <summary>str.split(): pieces between runs of white space.</summary>
    public static List<string> Split(string text)
    {
        var (pieces, start) = (new List<string>(), -1);
        for (var i = 0; i <= text.Length; i++)
        {
            var isSpace = i == text.Length || IsSpace(text[i]);
            if (!isSpace && start < 0) start = i;
            if (isSpace && start >= 0)
            {
                pieces.Add(text[start..i]);
                start = -1;
            }
        }
        return pieces;
    }

    /// <summary>str.rstrip().</summary>
    public static string TrimEnd(string text)
    {
        var end = text.Length;
        while (end > 0 && IsSpace(text[end - 1])) end--;
        return text[..end];
    }

    /// <summary>str.strip().</summary>
    public static string Trim(string text)
    {
        var start = 0;
        text = TrimEnd(text);
        while (start < text.Length && IsSpace(text[start])) start++;
        return text[start..];
    }

    /// <summary>str.lower(): Unicode's full mapping, with the final sigma.</summary>
    public static string Lower(string text)
    {
        var lower = new StringBuilder(text.ToLowerInvariant());
        if (!text.AsSpan().ContainsAny('Σ', 'İ')) return lower.ToString();
        for (var i = text.Length - 1; i >= 0; i--)
        {
            if (text[i] == 'Σ' && IsFinal(text, i)) lower[i] = 'ς';
            if (text[i] == 'İ') lower.Remove(i, 1).Insert(i, "i̇");
        }
        return lower.ToString();
    }

    // Unicode 3.13, Final_Sigma: a cased letter before it, none behind it, what is case-ignorable left out of account.
    private static bool IsFinal(string text, int at)
    {
        int before = at - 1, behind = at + 1;
        while (before >= 0 && IsIgnorable(text[before])) before--;
        while (behind < text.Length && IsIgnorable(text[behind])) behind++;
        return before >= 0 && IsCased(text[before]) && !(behind < text.Length && IsCased(text[behind]));
    }

    private static bool IsCased(char c) => char.IsUpper(c) || char.IsLower(c) || char.GetUnicodeCategory(c) == UnicodeCategory.TitlecaseLetter;

    private static bool IsIgnorable(char c) => c is '\'' or '.' or ':' or '·' or '’' or '‘' || char.GetUnicodeCategory(c) is UnicodeCategory.NonSpacingMark or UnicodeCategory.EnclosingMark or UnicodeCategory.Format or UnicodeCategory.ModifierLetter or UnicodeCategory.ModifierSymbol;
}
