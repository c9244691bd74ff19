namespace Lect.Text;

/// <summary>Which of two texts gives way where both together are too long.</summary>
public enum Truncation
{
    /// <summary>Nothing is cut.</summary>
    None,
    /// <summary>The longer one, until both are as long.</summary>
    LongestFirst,
    /// <summary>The first.</summary>
    OnlyFirst,
    /// <summary>The second: a question stays whole, its context is cut.</summary>
    OnlySecond,
}

/// <summary>How many tokens an encoding may have. Results equal those of Hugging Face's tokenizers.</summary>
public sealed record TokenLimit
{
    /// <summary>Tokens at most, special ones included.</summary>
    public required int Length { get; init; }
    /// <summary>What gives way. <value>LongestFirst</value></summary>
    public Truncation Truncation { get; init; } = Truncation.LongestFirst;
    /// <summary>What was cut off comes in further windows.</summary>
    public bool Overflow { get; init; }
    /// <summary>Tokens that two neighbouring windows share.</summary>
    public int Stride { get; init; }
    /// <summary>Cuts at the beginning instead of the end.</summary>
    public bool FromLeft { get; init; }
    /// <summary>Whether the post-processor's tokens are put around. <value>true</value></summary>
    public bool AddSpecialTokens { get; init; } = true;

    internal List<(List<Token> First, List<Token>? Second)> Windows(List<Token> first, List<Token>? second, int special)
    {
        var room = Length - special;
        if (room < 1) throw new InvalidDataException($"Found a limit of {Length} tokens. Expected more than the {special} special ones.");
        var excess = first.Count + (second?.Count ?? 0) - room;
        if (excess <= 0 || Truncation == Truncation.None) return [(first, second)];
        if (Overflow && Truncation == Truncation.LongestFirst && second is not null) throw new InvalidDataException("Found windows over both texts of a pair. Expected only the first or only the second to give way.");
        if (Truncation == Truncation.LongestFirst && second is not null)
        {
            var (a, b) = Balanced(first.Count, second.Count, room);
            return [(Cut(first, a)[0], Cut(second, b)[0])];
        }
        var (cutsSecond, target) = Truncation == Truncation.OnlySecond ? (true, second ?? []) : (false, first);
        if (target.Count <= excess) throw new InvalidDataException($"Found a text of {target.Count} tokens that is to give way by {excess}. Expected it longer: raise the limit of {Length} tokens, or let the other text give way.");
        return [.. Cut(target, target.Count - excess).Select(part => cutsSecond ? (first, part) : (part, second))];
    }

    // Tokens that each text keeps: the shorter one whole where it has at most half.
    private static (int First, int Second) Balanced(int first, int second, int room)
    {
        var (shorter, isSwapped) = (Math.Min(first, second), first > second);
        var longer = shorter > room ? shorter : Math.Max(shorter, room - shorter);
        if (shorter + longer > room) (shorter, longer) = (room / 2, room / 2 + room % 2);
        return isSwapped ? (longer, shorter) : (shorter, longer);
    }

    private List<List<Token>> Cut(List<Token> tokens, int most)
    {
        if (tokens.Count <= most) return [tokens];
        if (!Overflow) return [FromLeft ? tokens[^most..] : tokens[..most]];
        if (Stride >= most) throw new InvalidDataException($"Found windows that share {Stride} tokens. Expected fewer than {most}, what a window holds of the text: lower the stride, or raise the limit of {Length} tokens.");
        var windows = new List<List<Token>>();
        for (var at = 0; ; at += most - Stride)
        {
            var end = FromLeft ? Math.Max(0, tokens.Count - at - most) : Math.Min(tokens.Count, at + most);
            windows.Add(FromLeft ? tokens[end..(tokens.Count - at)] : tokens[at..end]);
            if (end == (FromLeft ? 0 : tokens.Count)) return windows;
        }
    }
}
