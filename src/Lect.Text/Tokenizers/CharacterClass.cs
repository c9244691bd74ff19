using System.Globalization;
using System.Runtime.CompilerServices;

namespace Lect.Text;

/// <summary>Unicode classes as the tokenizers' regular expressions mean them: over whole characters, not UTF-16 units.</summary>
internal static class CharacterClass
{
    public const byte Other = 0, Letter = 1, Number = 2, Space = 3;

    private static readonly byte[] s_bmp = BuildTable();

    private static byte[] BuildTable()
    {
        var table = new byte[0x10000];
        for (var i = 0; i < table.Length; i++) table[i] = Of(CharUnicodeInfo.GetUnicodeCategory((char)i), char.IsWhiteSpace((char)i));
        return table;
    }

    private static byte Of(UnicodeCategory category, bool space) => category switch
    {
        <= UnicodeCategory.OtherLetter => Letter,
        UnicodeCategory.DecimalDigitNumber or UnicodeCategory.LetterNumber or UnicodeCategory.OtherNumber => Number,
        _ => space ? Space : Other,
    };

    /// <summary>Class of the character at <paramref name="at"/> and its length in UTF-16 units.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static byte At(ReadOnlySpan<char> text, int at, out int length)
    {
        var c = text[at];
        length = 1;
        return char.IsHighSurrogate(c) ? Astral(text, at, out length) : s_bmp[c];
    }

    private static byte Astral(ReadOnlySpan<char> text, int at, out int length)
    {
        length = 1;
        if (at + 1 >= text.Length || !char.IsLowSurrogate(text[at + 1])) return Other;
        length = 2;
        return Of(CharUnicodeInfo.GetUnicodeCategory(char.ConvertToUtf32(text[at], text[at + 1])), space: false);
    }

    /// <summary>Category of a character given as a string of one or two units; a lone surrogate has its own.</summary>
    public static UnicodeCategory CategoryOf(string c) => CharUnicodeInfo.GetUnicodeCategory(char.ConvertToUtf32Lenient(c));

    /// <summary>Whether a number (Nd, Nl, No), as Rust's char::is_numeric.</summary>
    public static bool IsNumber(string c) => CategoryOf(c) is UnicodeCategory.DecimalDigitNumber or UnicodeCategory.LetterNumber or UnicodeCategory.OtherNumber;

    /// <summary>BERT's punctuation at a place: ASCII that is no letter, digit or control character, and Unicode's P.</summary>
    public static bool IsPunctuation(string text, int at) => text[at] < 128 ? text[at] is > ' ' and < '\x7F' && !char.IsAsciiLetterOrDigit(text[at])
        : CharUnicodeInfo.GetUnicodeCategory(NormalizedText.RuneLength(text, at) == 2 ? char.ConvertToUtf32(text[at], text[at + 1]) : text[at]) is UnicodeCategory.ConnectorPunctuation or UnicodeCategory.DashPunctuation
            or UnicodeCategory.OpenPunctuation or UnicodeCategory.ClosePunctuation or UnicodeCategory.InitialQuotePunctuation or UnicodeCategory.FinalQuotePunctuation or UnicodeCategory.OtherPunctuation;

    public static bool IsMark(int scalar) => CharUnicodeInfo.GetUnicodeCategory(scalar) is UnicodeCategory.NonSpacingMark or UnicodeCategory.SpacingCombiningMark or UnicodeCategory.EnclosingMark;

    /// <summary>Rust's \w: Alphabetic, M, Nd, Pc and Join_Control (Unicode Technical Standard 18, annex C).</summary>
    public static bool IsWord(int scalar) => CharUnicodeInfo.GetUnicodeCategory(scalar) switch
    {
        <= UnicodeCategory.OtherLetter or UnicodeCategory.NonSpacingMark or UnicodeCategory.SpacingCombiningMark or UnicodeCategory.EnclosingMark
            or UnicodeCategory.DecimalDigitNumber or UnicodeCategory.LetterNumber or UnicodeCategory.ConnectorPunctuation => true,
        UnicodeCategory.OtherSymbol => scalar is (>= 0x24B6 and <= 0x24E9) or (>= 0x1F130 and <= 0x1F149) or (>= 0x1F150 and <= 0x1F169) or (>= 0x1F170 and <= 0x1F189),
        _ => scalar is 0x200C or 0x200D,
    };
}
