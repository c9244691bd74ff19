using System.Buffers;

namespace Lect.Text;

/// <summary>A token that is found in the text as it stands, before the model sees anything.</summary>
/// <param name="Id">Its id.</param>
/// <param name="Content">Its text.</param>
/// <param name="Special">Whether decoding may leave it out (end of text, padding, …).</param>
/// <param name="SingleWord">Only where no word character touches it.</param>
/// <param name="LStrip">Takes the white space before it.</param>
/// <param name="RStrip">Takes the white space behind it.</param>
/// <param name="Normalized">Looked for in the normalized text, itself normalized.</param>
public sealed record AddedToken(int Id, string Content, bool Special = true, bool SingleWord = false, bool LStrip = false, bool RStrip = false, bool Normalized = false);

/// <summary>Finds added tokens: leftmost first, of those the longest.</summary>
internal sealed class AddedTokenFinder
{
    private readonly (string Content, AddedToken Token)[] byLength;
    private readonly SearchValues<string>? search;

    public AddedTokenFinder(IEnumerable<(string Content, AddedToken Token)> tokens)
    {
        byLength = [.. tokens.Where(t => t.Content.Length > 0).OrderByDescending(t => t.Content.Length)];
        if (byLength.Length > 0) search = SearchValues.Create([.. byLength.Select(t => t.Content).Distinct(StringComparer.Ordinal)], StringComparison.Ordinal);
    }

    /// <summary>True where the text holds none of them (the fast answer).</summary>
    public bool None(ReadOnlySpan<char> text) => search is null || !text.ContainsAny(search);

    /// <summary>The text in order: stretches without a token (null) and tokens with what they strip.</summary>
    public IEnumerable<(AddedToken? Token, int Start, int End)> Find(string text)
    {
        var done = 0;
        for (var from = 0; search is not null && from < text.Length;)
        {
            var found = text.AsSpan(from).IndexOfAny(search);
            if (found < 0) break;
            var start = from + found;
            var (content, token) = byLength.First(t => text.AsSpan(start).StartsWith(t.Content, StringComparison.Ordinal));
            var end = from = start + content.Length;
            if (token.SingleWord && (TouchesWordBefore(text, start) || TouchesWordAfter(text, end))) continue;
            if (token.LStrip) while (start > done && char.IsWhiteSpace(text[start - 1])) start--;
            start = Math.Max(start, done);
            if (token.RStrip) while (end < text.Length && char.IsWhiteSpace(text[end])) end++;
            if (start > done) yield return (null, done, start);
            yield return (token, start, end);
            done = end;
        }
        if (done < text.Length) yield return (null, done, text.Length);
    }

    private static bool TouchesWordBefore(string text, int at) =>
        at > 0 && CharacterClass.IsWord(at > 1 && char.IsSurrogatePair(text[at - 2], text[at - 1]) ? char.ConvertToUtf32(text[at - 2], text[at - 1]) : text[at - 1]);

    private static bool TouchesWordAfter(string text, int at) =>
        at < text.Length && CharacterClass.IsWord(NormalizedText.RuneLength(text, at) == 2 ? char.ConvertToUtf32(text[at], text[at + 1]) : text[at]);
}
