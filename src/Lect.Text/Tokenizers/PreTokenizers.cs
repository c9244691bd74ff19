using System.Globalization;
using System.Text;
using System.Text.Json.Nodes;
using System.Text.RegularExpressions;

namespace Lect.Text;

/// <summary>Cuts a normalized text into the pieces that the model sees one by one; tokens never cross a piece.</summary>
internal abstract class PreTokenizer
{
    public abstract IEnumerable<NormalizedText> Split(NormalizedText text);

    public abstract JsonObject ToJson();
}

/// <summary>GPT-2's: optionally a space in front, its regular expression, then every byte as a printable character.</summary>
internal sealed class ByteLevelPreTokenizer(bool addPrefixSpace, bool trimOffsets, bool useRegex) : PreTokenizer
{
    public bool AddPrefixSpace => addPrefixSpace;
    public bool UseRegex => useRegex;

    public override JsonObject ToJson() => Json(addPrefixSpace, trimOffsets, useRegex);

    internal static JsonObject Json(bool addPrefixSpace, bool trimOffsets, bool useRegex) => new()
    {
        ["type"] = "ByteLevel",
        ["add_prefix_space"] = addPrefixSpace,
        ["trim_offsets"] = trimOffsets,
        ["use_regex"] = useRegex,
    };

    public override IEnumerable<NormalizedText> Split(NormalizedText text)
    {
        if (addPrefixSpace && !text.Text.StartsWith(' ')) text = text.Prepend(" ");
        for (int at = 0, end; at < text.Text.Length; at = end)
        {
            end = useRegex ? PatternScanner.Gpt2.End(text.Text, at) : text.Text.Length;
            yield return ByteAlphabet.Spell(text.Slice(at, end));
        }
    }
}

/// <summary>Cuts at the matches of a string or regular expression.</summary>
internal sealed class SplitPreTokenizer : PreTokenizer
{
    private readonly TextPattern pattern;
    private readonly string behavior;
    private readonly bool invert;
    private readonly Func<string, IEnumerable<(int Start, int End)>> matches;

    public SplitPreTokenizer(TextPattern pattern, string behavior, bool invert)
    {
        (this.pattern, this.behavior, this.invert) = (pattern, behavior, invert);
        RequireBehavior(behavior);
        Scanner = pattern.IsRegex ? PatternScanner.For(pattern.Text) : null;
        matches = Scanner is not null ? t => Scan(Scanner, t) : pattern.Matcher();
    }

    /// <summary>The hand-written scanner of this pattern, where there is one and the pieces are its matches.</summary>
    public PatternScanner? Scanner { get; }

    public bool IsPlainScan => Scanner is not null && behavior == "Isolated" && !invert;

    public override JsonObject ToJson() => new()
    {
        ["type"] = "Split",
        ["pattern"] = pattern.ToJson(),
        ["behavior"] = behavior,
        ["invert"] = invert,
    };

    private static IEnumerable<(int, int)> Scan(PatternScanner scanner, string text)
    {
        for (int at = 0, end; at < text.Length; at = end) yield return (at, end = scanner.End(text, at));
    }

    internal static void RequireBehavior(string behavior)
    {
        if (behavior is not ("Removed" or "Isolated" or "MergedWithPrevious" or "MergedWithNext" or "Contiguous"))
            throw new InvalidDataException($"Found the Split behavior '{behavior}' in tokenizer.json. Expected Removed, Isolated, MergedWithPrevious, MergedWithNext or Contiguous.");
    }

    public override IEnumerable<NormalizedText> Split(NormalizedText text) => Pieces(text, matches(text.Text), behavior, invert);

    internal static IEnumerable<NormalizedText> Pieces(NormalizedText text, IEnumerable<(int Start, int End)> matches, string behavior, bool invert)
    {
        var spans = new List<(int Start, int End, bool Match)>();
        var last = 0;
        foreach (var (start, end) in matches)
        {
            if (start > last) spans.Add((last, start, invert));
            if (end > start) spans.Add((start, end, !invert));
            last = end;
        }
        if (last < text.Text.Length) spans.Add((last, text.Text.Length, invert));
        return Arrange(spans, behavior).Select(s => text.Slice(s.Start, s.End));
    }

    private static IEnumerable<(int Start, int End)> Arrange(List<(int Start, int End, bool Match)> spans, string behavior) => behavior switch
    {
        "Removed" => spans.Where(s => !s.Match).Select(s => (s.Start, s.End)),
        "Isolated" => spans.Select(s => (s.Start, s.End)),
        "Contiguous" => Merge(spans, (previous, s) => previous.Match == s.Match),
        "MergedWithPrevious" => Merge(spans, (previous, s) => s.Match && !previous.Match),
        _ => Merge(spans, (previous, s) => previous.Match && !s.Match),
    };

    // Joins a span with the one before it where the rule says so; the rule sees the two original spans.
    private static List<(int Start, int End)> Merge(List<(int Start, int End, bool Match)> spans, Func<(int, int, bool Match), (int, int, bool Match), bool> joins)
    {
        var result = new List<(int Start, int End)>();
        for (var i = 0; i < spans.Count; i++)
            if (i > 0 && joins(spans[i - 1], spans[i])) result[^1] = (result[^1].Start, spans[i].End);
            else result.Add((spans[i].Start, spans[i].End));
        return result;
    }
}

/// <summary>Words and runs of punctuation: \w+|[^\w\s]+ .</summary>
internal sealed class WhitespacePreTokenizer : PreTokenizer
{
    public override JsonObject ToJson() => new() { ["type"] = "Whitespace" };

    public override IEnumerable<NormalizedText> Split(NormalizedText text) => Runs(text, Class).Where(r => r.Class != 0).Select(r => text.Slice(r.Start, r.End));

    private static int Class(string c)
    {
        var scalar = char.ConvertToUtf32Lenient(c);
        return CharacterClass.IsWord(scalar) ? 1 : c.Length == 1 && char.IsWhiteSpace(c[0]) ? 0 : 2;
    }

    internal static IEnumerable<(int Start, int End, int Class)> Runs(NormalizedText text, Func<string, int> classify)
    {
        int start = 0, at = 0, current = -1;
        foreach (var c in NormalizedText.Characters(text.Text))
        {
            var next = classify(c);
            if (next != current && at > start) { yield return (start, at, current); start = at; }
            current = next;
            at += c.Length;
        }
        if (at > start) yield return (start, at, current);
    }
}

/// <summary>Cuts at punctuation: ASCII's and Unicode's.</summary>
internal sealed class PunctuationPreTokenizer : PreTokenizer
{
    private readonly string behavior;

    public PunctuationPreTokenizer(string behavior) => SplitPreTokenizer.RequireBehavior(this.behavior = behavior);

    public override JsonObject ToJson() => new() { ["type"] = "Punctuation", ["behavior"] = behavior };

    public override IEnumerable<NormalizedText> Split(NormalizedText text) => SplitPreTokenizer.Pieces(text, Marks(text.Text), behavior, invert: false);

    private static IEnumerable<(int, int)> Marks(string text)
    {
        for (int at = 0, n; at < text.Length; at += n)
        {
            n = NormalizedText.RuneLength(text, at);
            if (CharacterClass.IsPunctuation(text, at)) yield return (at, at + n);
        }
    }
}

/// <summary>Numbers on their own, a digit each or a run each.</summary>
internal sealed class DigitsPreTokenizer(bool individually) : PreTokenizer
{
    public override JsonObject ToJson() => new() { ["type"] = "Digits", ["individual_digits"] = individually };

    public override IEnumerable<NormalizedText> Split(NormalizedText text)
    {
        var next = 1;
        return WhitespacePreTokenizer.Runs(text, c => !CharacterClass.IsNumber(c) ? 0 : individually ? next++ : 1).Select(r => text.Slice(r.Start, r.End));
    }
}

/// <summary>Cuts at white space and drops it.</summary>
internal sealed class WhitespaceSplitPreTokenizer : PreTokenizer
{
    public override JsonObject ToJson() => new() { ["type"] = "WhitespaceSplit" };

    public override IEnumerable<NormalizedText> Split(NormalizedText text) =>
        WhitespacePreTokenizer.Runs(text, c => c.Length == 1 && char.IsWhiteSpace(c[0]) ? 0 : 1).Where(r => r.Class == 1).Select(r => text.Slice(r.Start, r.End));
}

/// <summary>SentencePiece's: spaces become a visible mark, one is put in front, and each piece begins with one.</summary>
internal sealed class MetaspacePreTokenizer(string replacement, string prependScheme, bool split) : PreTokenizer
{
    private readonly SplitPreTokenizer pieces = new(new(replacement, IsRegex: false), "MergedWithNext", invert: false);

    public override JsonObject ToJson() => Json(replacement, prependScheme, split);

    internal static JsonObject Json(string replacement, string prependScheme, bool split) => new() { ["type"] = "Metaspace", ["replacement"] = replacement, ["prepend_scheme"] = prependScheme, ["split"] = split };

    public override IEnumerable<NormalizedText> Split(NormalizedText text)
    {
        text = text.Replace(Spaces(text.Text), replacement);
        if (!text.Text.StartsWith(replacement, StringComparison.Ordinal) && (prependScheme == "always" || (prependScheme == "first" && text.Original(0, text.Text.Length).Start == 0))) text = text.Prepend(replacement);
        return split ? pieces.Split(text) : [text];
    }

    private static IEnumerable<(int, int)> Spaces(string text)
    {
        for (var i = 0; i < text.Length; i++) if (text[i] == ' ') yield return (i, i + 1);
    }
}

/// <summary>Pre-tokenizers one after the other.</summary>
internal sealed class SequencePreTokenizer(IReadOnlyList<PreTokenizer> parts) : PreTokenizer
{
    public IReadOnlyList<PreTokenizer> Parts => parts;

    public override JsonObject ToJson() => new() { ["type"] = "Sequence", ["pretokenizers"] = new JsonArray([.. parts.Select(p => p.ToJson())]) };

    public override IEnumerable<NormalizedText> Split(NormalizedText text) =>
        parts.Aggregate((IEnumerable<NormalizedText>)[text], (pieces, part) => pieces.SelectMany(part.Split).Where(p => p.Text.Length > 0));
}

/// <summary>A string or regular expression to look for, as tokenizer.json writes it.</summary>
internal sealed record TextPattern(string Text, bool IsRegex)
{
    public static TextPattern Read(JsonNode pattern) => pattern["Regex"] is { } regex ? new((string)regex!, true) : new((string)pattern["String"]!, false);

    public JsonObject ToJson() => new() { [IsRegex ? "Regex" : "String"] = Text };

    /// <summary>Finds it in a text, over whole Unicode characters.</summary>
    public Func<string, IEnumerable<(int Start, int End)>> Matcher() => UnicodeRegex.Matcher(IsRegex ? Text : Regex.Escape(Text));
}

/// <summary>Regular expressions over whole Unicode characters: each character outside the first plane is shown to .NET as one unit of its own category.</summary>
internal static class UnicodeRegex
{
    public static Func<string, IEnumerable<(int Start, int End)>> Matcher(string pattern)
    {
        Regex regex;
        try { regex = new Regex(pattern, RegexOptions.Compiled | RegexOptions.CultureInvariant, TimeSpan.FromSeconds(10)); }
        catch (ArgumentException e) { throw new InvalidDataException($"Found a regular expression that .NET cannot read in tokenizer.json: {pattern} ({e.Message})", e); }
        return text => Find(regex, text);
    }

    private static IEnumerable<(int Start, int End)> Find(Regex regex, string text)
    {
        if (!text.Any(char.IsSurrogate)) return regex.Matches(text).Select(m => (m.Index, m.Index + m.Length));
        var shown = new StringBuilder(text.Length);
        var starts = new List<int>(text.Length + 1);
        var at = 0;
        foreach (var c in NormalizedText.Characters(text))
        {
            starts.Add(at);
            shown.Append(c.Length == 1 ? c[0] : StandIn(CharUnicodeInfo.GetUnicodeCategory(char.ConvertToUtf32(c[0], c[1]))));
            at += c.Length;
        }
        starts.Add(at);
        return regex.Matches(shown.ToString()).Select(m => (starts[m.Index], starts[m.Index + m.Length]));
    }

    private static char StandIn(UnicodeCategory category) => category switch
    {
        UnicodeCategory.UppercaseLetter => 'Ʊ',
        UnicodeCategory.LowercaseLetter => 'ƺ',
        UnicodeCategory.TitlecaseLetter => 'ᾈ',
        UnicodeCategory.ModifierLetter => 'ʰ',
        UnicodeCategory.OtherLetter => '一',
        UnicodeCategory.NonSpacingMark => '\u0316',
        UnicodeCategory.SpacingCombiningMark => '\u0903',
        UnicodeCategory.EnclosingMark => '\u20DD',
        UnicodeCategory.DecimalDigitNumber => '٠',
        UnicodeCategory.LetterNumber => 'Ⅻ',
        UnicodeCategory.OtherNumber => '½',
        UnicodeCategory.Format => '\u2060',
        UnicodeCategory.OtherPunctuation => '§',
        UnicodeCategory.MathSymbol => '±',
        UnicodeCategory.OtherSymbol => '©',
        UnicodeCategory.ModifierSymbol => '¨',
        _ => '\uE000',
    };
}
