namespace Lect.Text;

/// <summary>Token ids of which some are to be learned: those of an answer, or of every answer of a conversation.</summary>
/// <param name="Ids">All of them.</param>
/// <param name="Counts">Which are scored; the first never is, nothing predicts it.</param>
public sealed record AnswerRow(int[] Ids, bool[] Counts)
{
    /// <summary>A prompt and its answer, all of which is scored.</summary>
    public static AnswerRow Of(IReadOnlyCollection<int> prompt, IReadOnlyCollection<int> answer) => Behind([.. prompt, .. answer], prompt.Count);

    /// <summary>Tokens that are scored.</summary>
    public int Scored => Counts.Skip(1).Count(c => c);

    /// <summary>Tokens of which the first are given and the others scored.</summary>
    internal static AnswerRow Behind(int[] ids, int given) => new(ids, [.. ids.Select((_, i) => i >= given)]);

    /// <summary>The first tokens.</summary>
    /// <param name="most">How many at most.</param>
    public AnswerRow Cut(int most) => Ids.Length <= most ? this : new(Ids[..most], Counts[..most]);
}
