namespace Lect.Text;

/// <summary>Token ids of which some are to be learned: those of an answer, or of every answer of a conversation.</summary>
/// <param name="Ids">All of them.</param>
/// <param name="Counts">Which are scored; the first never is, nothing predicts it.</param>
public sealed record AnswerRow(int[] Ids, bool[] Counts)
{
    /// <summary>A prompt and its answer, all of which is scored.</summary>
    public static AnswerRow Of(IReadOnlyCollection<int> prompt, IReadOnlyCollection<int> answer) => new([.. prompt, .. answer], [.. Enumerable.Repeat(false, prompt.Count), .. Enumerable.Repeat(true, answer.Count)]);

    /// <summary>Tokens that are scored.</summary>
    public int Scored => Counts.Skip(1).Count(c => c);

    /// <summary>The first tokens.</summary>
    /// <param name="most">How many at most.</param>
    public AnswerRow Cut(int most) => Ids.Length <= most ? this : new(Ids[..most], Counts[..most]);
}
