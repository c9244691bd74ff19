using System.Globalization;

namespace Lect.Text;

/// <summary>How sacreBLEU cuts text into words before it counts: mteval-v13a's rules (<c>13a</c>), mteval-v14's (<c>intl</c>), Chinese characters one by one (<c>zh</c>), <c>char</c>, <c>none</c>; and Tercom's.</summary>
internal static class MetricTokenizers
{
    /// <summary>The names of BLEU's.</summary>
    public static IReadOnlyList<string> Names { get; } = ["13a", "intl", "zh", "char", "none"];

    /// <summary>Words separated by single spaces.</summary>
    /// <exception cref="InvalidDataException">No such tokenizer.</exception>
    public static string Tokenize(string name, string text) => name switch
    {
        "13a" => Western([' ', .. PythonText.CodePoints(Unescape(text.Replace("<skipped>", "", StringComparison.Ordinal).Replace("-\n", "", StringComparison.Ordinal).Replace('\n', ' '))), ' ']),
        "intl" => International(PythonText.CodePoints(text)),
        "zh" => Western(Around(PythonText.CodePoints(PythonText.Trim(text)), IsChinese)),
        "char" => string.Join(' ', PythonText.CodePoints(text).Select(p => PythonText.Text([p]))),
        "none" => text,
        _ => throw new InvalidDataException($"Found the tokenizer '{name}'. Expected one of {string.Join(", ", Names)}."),
    };

    private static string Unescape(string text) => !text.Contains('&', StringComparison.Ordinal) ? text
        : text.Replace("&quot;", "\"", StringComparison.Ordinal).Replace("&amp;", "&", StringComparison.Ordinal).Replace("&lt;", "<", StringComparison.Ordinal).Replace("&gt;", ">", StringComparison.Ordinal);

    // Blanks around each code point of a kind.
    private static List<int> Around(IReadOnlyList<int> points, Func<int, bool> isOfKind)
    {
        var made = new List<int>(points.Count + 16);
        foreach (var point in points)
        {
            if (isOfKind(point)) made.AddRange([' ', point, ' ']);
            else made.Add(point);
        }
        return made;
    }

    // Neighbours (a, b) of two kinds, from left to right and none in two pairs, get blanks: before, between and behind as told.
    private static List<int> Pairs(IReadOnlyList<int> points, Func<int, bool> first, Func<int, bool> second, bool before, bool between, bool behind)
    {
        var made = new List<int>(points.Count + 16);
        for (var i = 0; i < points.Count; i++)
        {
            if (i + 1 == points.Count || !first(points[i]) || !second(points[i + 1])) { made.Add(points[i]); continue; }
            if (before) made.Add(' ');
            made.Add(points[i++]);
            if (between) made.Add(' ');
            made.Add(points[i]);
            if (behind) made.Add(' ');
        }
        return made;
    }

    private static bool IsDigit(int p) => p is >= '0' and <= '9';

    private static bool IsNoDigit(int p) => !IsDigit(p);

    private static bool IsStop(int p) => p is '.' or ',';

    private static bool IsAsciiPunctuation(int p) => p is (>= '{' and <= '~') or (>= '[' and <= '`') or (>= ' ' and <= '&') or (>= '(' and <= '+') or (>= ':' and <= '@') or '/';

    // Punctuation stands alone; stops and commas do unless digits are beside them; so does a dash behind a digit.
    private static List<int> SplitWestern(IReadOnlyList<int> points)
    {
        var made = Around(points, IsAsciiPunctuation);
        return SplitStops(made);
    }

    private static List<int> SplitStops(IReadOnlyList<int> points)
    {
        var made = Pairs(points, IsNoDigit, IsStop, before: false, between: true, behind: true);
        made = Pairs(made, IsStop, IsNoDigit, before: true, between: true, behind: false);
        return Pairs(made, IsDigit, p => p == '-', before: false, between: true, behind: true);
    }

    private static string Joined(IReadOnlyList<int> points) => string.Join(' ', PythonText.Split(PythonText.Text(points)));

    private static string Western(IReadOnlyList<int> points) => Joined(SplitWestern(points));

    private static string International(IReadOnlyList<int> points)
    {
        var made = Pairs(points, p => !IsNumber(p), IsPunctuation, before: false, between: true, behind: true);
        made = Pairs(made, IsPunctuation, p => !IsNumber(p), before: true, between: true, behind: false);
        return Joined(Around(made, IsSymbol));
    }

    private static UnicodeCategory Category(int point) => CharUnicodeInfo.GetUnicodeCategory(point);

    private static bool IsNumber(int p) => Category(p) is UnicodeCategory.DecimalDigitNumber or UnicodeCategory.LetterNumber or UnicodeCategory.OtherNumber;

    private static bool IsPunctuation(int p) => Category(p) is UnicodeCategory.ConnectorPunctuation or UnicodeCategory.DashPunctuation or UnicodeCategory.OpenPunctuation or UnicodeCategory.ClosePunctuation or UnicodeCategory.InitialQuotePunctuation or UnicodeCategory.FinalQuotePunctuation or UnicodeCategory.OtherPunctuation;

    private static bool IsSymbol(int p) => Category(p) is UnicodeCategory.MathSymbol or UnicodeCategory.CurrencySymbol or UnicodeCategory.ModifierSymbol or UnicodeCategory.OtherSymbol;

    // sacreBLEU compares strings where it means U+20000 to U+2A6D6 and U+2F800 to U+2FA1D: what is written there are U+2000 'and 0' to U+2A6D 'and 6', and U+2F80 'and 0' to U+2FA1 'and D'.
    private static bool IsChinese(int p) => p is (>= 0x3400 and <= 0x4db5) or (>= 0x4e00 and <= 0x9fa5) or (>= 0x9fa6 and <= 0x9fbb) or (>= 0xf900 and <= 0xfa2d) or (>= 0xfa30 and <= 0xfa6a) or (>= 0xfa70 and <= 0xfad9)
        or (>= 0x2001 and <= 0x2a6d) or (>= 0x2f81 and <= 0x2fa1) or (>= 0xff00 and <= 0xffef) or (>= 0x2e80 and <= 0x2eff) or (>= 0x3000 and <= 0x303f) or (>= 0x31c0 and <= 0x31ef) or (>= 0x2f00 and <= 0x2fdf)
        or (>= 0x2ff0 and <= 0x2fff) or (>= 0x3100 and <= 0x312f) or (>= 0x31a0 and <= 0x31bf) or (>= 0xfe10 and <= 0xfe1f) or (>= 0xfe30 and <= 0xfe4f) or (>= 0x2600 and <= 0x26ff) or (>= 0x2700 and <= 0x27bf) or (>= 0x3200 and <= 0x32ff) or (>= 0x3300 and <= 0x33ff);

    /// <summary>Tercom's words.</summary>
    public static string Tercom(string text, bool normalized, bool noPunctuation, bool asian, bool caseSensitive)
    {
        if (text.Length == 0) return "";
        if (!caseSensitive) text = PythonText.Lower(text);
        IReadOnlyList<int> points = PythonText.CodePoints(text);
        if (normalized) points = NormalizeTercom(text, asian);
        if (noPunctuation) points = [.. points.Where(p => !IsTercomPunctuation(p) && !(asian && IsAsianPunctuation(p)))];
        return Joined(points);
    }

    private static List<int> NormalizeTercom(string text, bool asian)
    {
        text = " " + Unescape(text.Replace("\n-", "", StringComparison.Ordinal).Replace('\n', ' ')) + " ";
        var split = PythonText.Text(Around(PythonText.CodePoints(text), IsAsciiPunctuation)).Replace("'s ", " 's ", StringComparison.Ordinal);
        var points = SplitStops(PythonText.CodePoints(split));
        if (!asian) return points;
        points = Around(points, p => p is (>= 0x4e00 and <= 0x9fff) or (>= 0x3400 and <= 0x4dbf));
        points = Around(points, p => p is (>= 0x31c0 and <= 0x31ef) or (>= 0x2e80 and <= 0x2eff));
        points = Around(points, p => p is (>= 0x3300 and <= 0x33ff) or (>= 0xf900 and <= 0xfaff) or (>= 0xfe30 and <= 0xfe4f));
        points = Around(points, p => p is >= 0x3200 and <= 0x3f22);
        // Kana are to be split from others, but the patterns for it only match a text that is nothing else: between the blanks that stand around it here, never.
        return Around(points, IsAsianPunctuation);
    }

    private static bool IsTercomPunctuation(int p) => p is '.' or ',' or '?' or ':' or ';' or '!' or '"' or '(' or ')';

    private static bool IsAsianPunctuation(int p) => p is 0x3001 or 0x3002 or (>= 0x3008 and <= 0x3011) or (>= 0x3014 and <= 0x301f) or (>= 0xff61 and <= 0xff65) or 0x30fb or 0xff0e or 0xff0c or 0xff1f or 0xff1a or 0xff1b or 0xff01 or 0xff02 or 0xff08 or 0xff09;
}
