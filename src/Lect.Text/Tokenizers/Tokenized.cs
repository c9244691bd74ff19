namespace Lect.Text;

/// <summary>What a tokenizer makes of one text (or pair of texts). All lists have one entry a token.</summary>
/// <param name="Ids">Token ids.</param>
/// <param name="Tokens">Tokens as the vocabulary spells them (byte-level tokens in GPT-2's byte alphabet).</param>
/// <param name="Offsets">Half-open ranges in UTF-16 units of the original text; (0, 0) for tokens the post-processor put in.</param>
/// <param name="SpecialTokensMask">1 where the post-processor put the token in, else 0.</param>
/// <param name="TypeIds">0 for the first text, 1 for the second.</param>
/// <param name="WordIds">Index of the pre-tokenizer's piece the token comes from; null for tokens that were put in.</param>
/// <param name="SequenceIds">0 for tokens of the first text, 1 for those of the second; null for tokens that were put in.</param>
public sealed record Tokenized(int[] Ids, string[] Tokens, (int Start, int End)[] Offsets, int[] SpecialTokensMask, int[] TypeIds, int?[] WordIds, int?[] SequenceIds)
{
    internal static Tokenized From(IReadOnlyList<Token> tokens) => new(
        [.. tokens.Select(t => t.Id)], [.. tokens.Select(t => t.Text)], [.. tokens.Select(t => (t.Start, t.End))],
        [.. tokens.Select(t => t.Special ? 1 : 0)], [.. tokens.Select(t => t.TypeId)], [.. tokens.Select(t => t.Word)], [.. tokens.Select(t => t.Special ? (int?)null : t.Sequence)]);
}

/// <summary>One token on its way through the pipeline; offsets in UTF-16 units of the original text.</summary>
internal readonly record struct Token(int Id, string Text, int Start, int End, int? Word = null, bool Special = false, int TypeId = 0, int Sequence = 0);
