namespace Lect.Text;

/// <summary>
/// The regular expressions of GPT-2 and of today's byte-level tokenizers as one hand-written scanner: it gives where the match
/// that begins at a position ends. Every position of every text begins a match, so a text falls into pieces without gaps.
/// </summary>
/// <remarks>
/// It exists since .NET's Regex works on UTF-16 units (a letter outside the first plane is no \p{L} to it) and is some ten times slower.
/// Source of the patterns: Radford et al. 2019 (openai/gpt-2, encoder.py); tiktoken's cl100k_base; Qwen2's tokenizer.json.
/// </remarks>
internal sealed class PatternScanner
{
    public const string Gpt2Pattern = @"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";
    public const string Llama3Pattern = @"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
    public const string Qwen2Pattern = @"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
    private const string Gpt2PatternAsReleased = @"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";

    public static readonly PatternScanner Gpt2 = new(modern: false, digits: int.MaxValue);
    private static readonly PatternScanner s_llama3 = new(modern: true, digits: 3), s_qwen2 = new(modern: true, digits: 1);

    private readonly bool modern;   // cl100k and its kin: any mark may lead a word, line breaks end a piece
    private readonly int digits;    // digits of a number in one piece

    private PatternScanner(bool modern, int digits) => (this.modern, this.digits) = (modern, digits);

    /// <summary>The scanner of a known pattern, or null.</summary>
    public static PatternScanner? For(string regex) => regex switch
    {
        Gpt2Pattern or Gpt2PatternAsReleased => Gpt2,
        Llama3Pattern => s_llama3,
        Qwen2Pattern => s_qwen2,
        _ => null,
    };

    /// <summary>Where the piece that begins at <paramref name="at"/> ends.</summary>
    public int End(ReadOnlySpan<char> text, int at)
    {
        var c = text[at];
        if (c == '\'' && Contraction(text, at) is > 0 and var contraction) return at + contraction;
        var kind = CharacterClass.At(text, at, out var length);
        if (kind == CharacterClass.Letter) return Run(text, at + length, CharacterClass.Letter, int.MaxValue);
        if (kind == CharacterClass.Number) return Run(text, at + length, CharacterClass.Number, digits - 1);

        var next = at + length;
        var nextKind = CharacterClass.Other;
        var nextLength = 0;
        if (next < text.Length) nextKind = CharacterClass.At(text, next, out nextLength);
        if (nextLength > 0 && nextKind == CharacterClass.Letter && (c == ' ' || (modern && c is not ('\r' or '\n'))))
            return Run(text, next + nextLength, CharacterClass.Letter, int.MaxValue);
        if (nextLength > 0 && c == ' ' && nextKind == CharacterClass.Number && !modern) return Run(text, next + nextLength, CharacterClass.Number, int.MaxValue);
        if (kind == CharacterClass.Other) return Marks(text, next);
        if (nextLength > 0 && c == ' ' && nextKind == CharacterClass.Other) return Marks(text, next + nextLength);
        return Spaces(text, at);
    }

    private int Marks(ReadOnlySpan<char> text, int at)
    {
        at = Run(text, at, CharacterClass.Other, int.MaxValue);
        while (modern && at < text.Length && text[at] is '\r' or '\n') at++;
        return at;
    }

    private int Spaces(ReadOnlySpan<char> text, int at)
    {
        int end = at, lineBreak = -1;
        for (; end < text.Length && CharacterClass.At(text, end, out _) == CharacterClass.Space; end++)
            if (text[end] is '\r' or '\n') lineBreak = end;
        if (modern && lineBreak >= 0) return lineBreak + 1;
        return end == text.Length || end - at == 1 ? end : end - 1;   // the last space goes to the word behind it
    }

    private static int Run(ReadOnlySpan<char> text, int at, byte kind, int most)
    {
        while (at < text.Length && most-- > 0 && CharacterClass.At(text, at, out var length) == kind) at += length;
        return at;
    }

    private int Contraction(ReadOnlySpan<char> text, int at)
    {
        if (at + 1 >= text.Length) return 0;
        var a = Fold(text[at + 1]);
        if (a is 's' or 't' or 'm' or 'd') return 2;
        if (at + 2 >= text.Length) return 0;
        return (a, Fold(text[at + 2])) is ('r', 'e') or ('v', 'e') or ('l', 'l') ? 3 : 0;
    }

    // Unicode's simple folding has a third s: U+017F.
    private char Fold(char c) => !modern ? c : c == 'ſ' ? 's' : char.ToLowerInvariant(c);
}
