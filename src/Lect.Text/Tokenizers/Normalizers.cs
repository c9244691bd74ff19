using System.Globalization;
using System.Text;
using System.Text.Json.Nodes;

namespace Lect.Text;

/// <summary>The first step of a tokenizer: rewrites the text, keeping track of where each character came from.</summary>
internal abstract class Normalizer
{
    public abstract NormalizedText Normalize(NormalizedText text);

    /// <summary>The component as tokenizer.json writes it.</summary>
    public abstract JsonObject ToJson();

    /// <summary>True where plain ASCII text passes unchanged, so that the fast path may skip this step.</summary>
    public virtual bool KeepsAscii => false;
}

/// <summary>Unicode normalization forms NFC, NFD, NFKC, NFKD (Unicode Standard Annex 15).</summary>
internal sealed class UnicodeNormalizer(NormalizationForm form) : Normalizer
{
    public override bool KeepsAscii => true;

    public override JsonObject ToJson() => new()
    {
        ["type"] = form switch { NormalizationForm.FormC => "NFC", NormalizationForm.FormD => "NFD", NormalizationForm.FormKC => "NFKC", _ => "NFKD" },
    };

    public override NormalizedText Normalize(NormalizedText text)
    {
        RequireUnicodeData();
        return Ascii.IsValid(text.Text) || Pieces(text.Text).All(p => Apply(p) == p) ? text : text.Rewrite(Pieces(text.Text).SelectMany(Steps));
    }

    // A piece starts at an ASCII character: nothing composes or reorders across it.
    private static IEnumerable<string> Pieces(string text)
    {
        var start = 0;
        for (var i = 1; i <= text.Length; i++)
            if (i == text.Length || char.IsAscii(text[i])) { if (i > start) yield return text[start..i]; start = i; }
    }

    private string Apply(string piece)
    {
        if (piece.Length == 1 && char.IsAscii(piece[0])) return piece;
        if (IsWellFormed(piece)) return NormalizeAssigned(piece);
        return string.Concat(NormalizedText.Characters(piece).Select(c => IsWellFormed(c) ? NormalizeAssigned(c) : c));
    }

    private static bool IsWellFormed(string s)
    {
        for (var i = 0; i < s.Length; i++)
            if (char.IsSurrogate(s[i]) && (NormalizedText.RuneLength(s, i) == 1 || i++ < 0)) return false;
        return true;
    }

    // .NET refuses some noncharacters such as U+FFFF; they normalize to themselves.
    private string NormalizeAssigned(string s)
    {
        try { return s.Normalize(form); }
        catch (ArgumentException) { return string.Concat(NormalizedText.Characters(s).Select(c => { try { return c.Normalize(form); } catch (ArgumentException) { return c; } })); }
    }

    private IEnumerable<(string, int)> Steps(string piece)
    {
        var result = Apply(piece);
        if (result == piece) { foreach (var c in NormalizedText.Characters(piece)) yield return (c, 0); yield break; }

        // Every character decomposed: the first of its parts replaces it, the others are added. Marks may then change places.
        var decomposition = form is NormalizationForm.FormC or NormalizationForm.FormD ? NormalizationForm.FormD : NormalizationForm.FormKD;
        var parts = new LinkedList<(string Character, int Change)>();
        foreach (var c in NormalizedText.Characters(piece))
        {
            var first = true;
            foreach (var part in NormalizedText.Characters(new UnicodeNormalizer(decomposition).Apply(c))) { parts.AddLast((part, first ? 0 : 1)); first = false; }
        }

        // Every character of the result takes its parts; composing n of them drops n - 1.
        foreach (var c in NormalizedText.Characters(result))
        {
            int change = 0, taken = 0;
            foreach (var part in NormalizedText.Characters(new UnicodeNormalizer(decomposition).Apply(c)))
            {
                var node = parts.First;
                while (node is not null && node.Value.Character != part) node = node.Next;
                if (node is null) continue;
                change += node.Value.Change;
                taken++;
                parts.Remove(node);
            }
            yield return (c, change - Math.Max(0, taken - 1));
        }
    }

    private static readonly bool s_hasData = "é".Normalize(NormalizationForm.FormD).Length == 2;

    private static void RequireUnicodeData()
    {
        if (!s_hasData)
            throw new InvalidDataException("This .NET runs in globalization-invariant mode and cannot normalize Unicode text, which this tokenizer needs. Install ICU (Debian: libicu72 or later) and unset DOTNET_SYSTEM_GLOBALIZATION_INVARIANT.");
    }
}

/// <summary>Lower case, character by character, as Rust's char::to_lowercase (no final sigma).</summary>
internal sealed class LowercaseNormalizer : Normalizer
{
    public override JsonObject ToJson() => new() { ["type"] = "Lowercase" };

    public override NormalizedText Normalize(NormalizedText text) => text.Rewrite(NormalizedText.Characters(text.Text).SelectMany(Lower));

    private static IEnumerable<(string, int)> Lower(string c) => c == "İ"
        ? [("i", 0), ("\u0307", 1)]
        : [(c.ToLowerInvariant(), 0)];
}

/// <summary>Drops combining marks (categories Mn, Mc, Me); wants decomposed text.</summary>
internal sealed class StripAccentsNormalizer : Normalizer
{
    public override bool KeepsAscii => true;

    public override JsonObject ToJson() => new() { ["type"] = "StripAccents" };

    public override NormalizedText Normalize(NormalizedText text) => text.Where(c => !CharacterClass.IsMark(char.ConvertToUtf32Lenient(c)));
}

/// <summary>Trims white space at the ends.</summary>
internal sealed class StripNormalizer(bool left, bool right) : Normalizer
{
    public override JsonObject ToJson() => new() { ["type"] = "Strip", ["strip_left"] = left, ["strip_right"] = right };

    public override NormalizedText Normalize(NormalizedText text)
    {
        int start = 0, end = text.Text.Length;
        while (left && start < end && char.IsWhiteSpace(text.Text[start])) start++;
        while (right && end > start && char.IsWhiteSpace(text.Text[end - 1])) end--;
        return text.Slice(start, end);
    }
}

/// <summary>Puts a text in front of one that is not empty.</summary>
internal sealed class PrependNormalizer(string prefix) : Normalizer
{
    public override JsonObject ToJson() => new() { ["type"] = "Prepend", ["prepend"] = prefix };

    public override NormalizedText Normalize(NormalizedText text) => text.Prepend(prefix);
}

/// <summary>Puts a text in the place of every match of a string or regular expression.</summary>
internal sealed class ReplaceNormalizer(TextPattern pattern, string content) : Normalizer
{
    private readonly Func<string, IEnumerable<(int Start, int End)>> matches = pattern.Matcher();

    public override JsonObject ToJson() => new() { ["type"] = "Replace", ["pattern"] = pattern.ToJson(), ["content"] = content };

    public override NormalizedText Normalize(NormalizedText text) => text.Replace(matches(text.Text), content);
}

/// <summary>The clean-up of SentencePiece's "nmt" rules: control characters are dropped, separators and invisible spaces become spaces.</summary>
internal sealed class NmtNormalizer : Normalizer
{
    public override JsonObject ToJson() => new() { ["type"] = "Nmt" };

    public override NormalizedText Normalize(NormalizedText text)
    {
        var kept = text.Where(c => c[0] is not ((>= '\u0001' and <= '\u0008') or '\u000B' or (>= '\u000E' and <= '\u001F') or '\u007F' or '\u008F' or '\u009F'));
        return kept.Rewrite(NormalizedText.Characters(kept.Text).Select(c => (IsSpace(c[0]) ? " " : c, 0)));
    }

    private static bool IsSpace(char c) => c is '\t' or '\n' or '\f' or '\r' or '\u1680' or (>= '\u200B' and <= '\u200F') or '\u2028' or '\u2029' or '\u2581' or '\uFEFF' or '\uFFFD';
}

/// <summary>Normalizers one after the other.</summary>
internal sealed class SequenceNormalizer(IReadOnlyList<Normalizer> parts) : Normalizer
{
    public override bool KeepsAscii => parts.All(p => p.KeepsAscii);

    public override JsonObject ToJson() => new() { ["type"] = "Sequence", ["normalizers"] = new JsonArray([.. parts.Select(p => p.ToJson())]) };

    public override NormalizedText Normalize(NormalizedText text) => parts.Aggregate(text, (t, p) => p.Normalize(t));
}

internal static class NormalizedTextExtensions
{
    extension(char)
    {
        /// <summary>The scalar value of a one-character string; a lone surrogate gives its own code.</summary>
        public static int ConvertToUtf32Lenient(string c) => c.Length == 2 ? char.ConvertToUtf32(c[0], c[1]) : c[0];
    }

    /// <summary>Keeps the characters that <paramref name="keep"/> accepts, each with its own range (what follows a kept one is dropped with it).</summary>
    public static NormalizedText Where(this NormalizedText text, Func<string, bool> keep)
    {
        var steps = new List<(string, int)>();
        var dropped = 0;
        foreach (var c in NormalizedText.Characters(text.Text))
        {
            if (keep(c)) steps.Add((c, 0));
            else if (steps.Count == 0) dropped++;
            else steps[^1] = (steps[^1].Item1, steps[^1].Item2 - 1);
        }
        return text.Rewrite(steps, dropped);
    }
}
