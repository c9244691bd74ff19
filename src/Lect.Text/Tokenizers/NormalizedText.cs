using System.Text;

namespace Lect.Text;

/// <summary>A text on its way through normalizers and pre-tokenizers, each UTF-16 unit of it tied to a range of the original.</summary>
/// <remarks>
/// The alignment follows Hugging Face's NormalizedString: a replaced character keeps the range of the first character it
/// replaces, an added one takes the range of the character before it.
/// </remarks>
internal sealed class NormalizedText
{
    private readonly (int Start, int End)[]? ranges;   // null: unit i is unit (shift + i) of the original
    private readonly int shift;

    private NormalizedText(string text, (int, int)[]? ranges, int shift) => (Text, this.ranges, this.shift) = (text, ranges, shift);

    public NormalizedText(string original) : this(original, null, 0) { }

    public string Text { get; }

    /// <summary>The range of the original text that the units [from, to) come from.</summary>
    public (int Start, int End) Original(int from, int to)
    {
        if (from >= to) { var at = from < Text.Length ? RangeOf(from).Start : Text.Length == 0 ? shift : RangeOf(Text.Length - 1).End; return (at, at); }
        return (RangeOf(from).Start, RangeOf(to - 1).End);
    }

    private (int Start, int End) RangeOf(int unit)
    {
        if (ranges is not null) return ranges[unit];
        var first = unit > 0 && char.IsLowSurrogate(Text[unit]) && char.IsHighSurrogate(Text[unit - 1]) ? unit - 1 : unit;
        return (shift + first, shift + first + RuneLength(Text, first));
    }

    public NormalizedText Slice(int from, int to) => from == 0 && to == Text.Length
        ? this
        : new(Text[from..to], ranges?[from..to], shift + from);

    /// <summary>
    /// Rewrites the text. Each step gives a new character and how it came about: 0 replaces one character, +1 is added after the
    /// last one, -n replaces one and drops the n that follow it. <paramref name="dropped"/> characters are dropped in front.
    /// </summary>
    public NormalizedText Rewrite(IEnumerable<(string Character, int Change)> steps, int dropped = 0)
    {
        var text = new StringBuilder(Text.Length);
        var aligned = new List<(int, int)>(Text.Length);
        var at = 0;
        for (var i = 0; i < dropped; i++) at += RuneLength(Text, at);
        foreach (var (character, change) in steps)
        {
            var range = change > 0 ? at == 0 ? (0, 0) : RangeOf(at - 1) : RangeOf(at);
            for (var i = change; i <= 0; i++) at += RuneLength(Text, at);
            text.Append(character);
            for (var i = 0; i < character.Length; i++) aligned.Add(range);
        }
        return new(text.ToString(), [.. aligned], 0);
    }

    /// <summary>Puts <paramref name="content"/> in the place of each match; its range is that of the match's last character.</summary>
    public NormalizedText Replace(IEnumerable<(int Start, int End)> matches, string content)
    {
        StringBuilder? text = null;
        List<(int, int)>? aligned = null;
        var done = 0;
        foreach (var (start, end) in matches.Where(m => m.End > m.Start))
        {
            (text, aligned) = (text ?? new(), aligned ?? []);
            Keep(start);
            text.Append(content);
            for (var i = 0; i < content.Length; i++) aligned.Add(RangeOf(end - 1));
            done = end;
        }
        if (text is null) return this;
        Keep(Text.Length);
        return new(text.ToString(), [.. aligned!], 0);

        void Keep(int to)
        {
            text!.Append(Text, done, to - done);
            for (var i = done; i < to; i++) aligned!.Add(RangeOf(i));
        }
    }

    /// <summary>A text whose units come from these ranges of the original.</summary>
    public static NormalizedText Of(string text, (int Start, int End)[] ranges) => new(text, ranges, 0);

    /// <summary>Puts <paramref name="prefix"/> in front; its range is that of the first character.</summary>
    public NormalizedText Prepend(string prefix)
    {
        if (Text.Length == 0) return this;
        var first = RangeOf(0);
        var all = new (int, int)[prefix.Length + Text.Length];
        Array.Fill(all, (first.Start, first.End), 0, prefix.Length);
        for (var i = 0; i < Text.Length; i++) all[prefix.Length + i] = RangeOf(i);
        return new(prefix + Text, all, 0);
    }

    /// <summary>The characters (Unicode scalar values; a lone surrogate counts as one) of a text.</summary>
    public static IEnumerable<string> Characters(string text)
    {
        for (int at = 0, n; at < text.Length; at += n)
        {
            n = RuneLength(text, at);
            yield return n == 1 ? text[at].ToString() : text.Substring(at, n);
        }
    }

    internal static int RuneLength(string text, int at) =>
        char.IsHighSurrogate(text[at]) && at + 1 < text.Length && char.IsLowSurrogate(text[at + 1]) ? 2 : 1;
}
