using TorchSharp;
using static TorchSharp.torch;

namespace Lect.Models;

/// <summary>One new token of one row.</summary>
/// <param name="Row">Which prompt.</param>
/// <param name="Id">The token.</param>
/// <param name="LogProb">Its natural log-probability by the model itself, before any processor.</param>
/// <param name="IsEnd">Whether the row is done: an end token, or as many tokens as were asked for.</param>
/// <param name="Top">The most probable tokens at its place, where <see cref="DecodingOptions.TopLogProbs"/> asks for them.</param>
public readonly record struct NewToken(int Row, int Id, double LogProb, bool IsEnd, IReadOnlyList<(int Id, double LogProb)>? Top = null);

/// <summary>Continues prompts token by token with a cache, so that a token costs the same however long the text is. Ids only; no tensor leaves it.</summary>
public static class Generator
{
    /// <summary>Continues each prompt; rows that are done leave the batch.</summary>
    /// <param name="model">The decoder.</param>
    /// <param name="prompts">Ids, each at least one.</param>
    /// <param name="options">How tokens are chosen.</param>
    /// <param name="streams">The number each row's random stream is keyed with; by default its index.</param>
    /// <returns>Tokens as they come; rows in turn.</returns>
    /// <exception cref="InvalidDataException">A prompt is empty, longer than the context, or holds an id outside the vocabulary.</exception>
    public static IEnumerable<NewToken> Stream(CausalLanguageModel model, IReadOnlyList<int[]> prompts, DecodingOptions options, IReadOnlyList<long>? streams = null)
    {
        Check(model, prompts, options);
        return StreamChecked(model, prompts, options, streams);
    }

    /// <summary>Tokens that all rows begin with alike, at least one of each being left.</summary>
    internal static int Shared(IReadOnlyList<int[]> rows)
    {
        var (shared, most) = (0, rows.Min(r => r.Length) - 1);
        while (shared < most && rows.All(r => r[shared] == rows[0][shared])) shared++;
        return shared;
    }

    internal static void Check(CausalLanguageModel model, IReadOnlyList<int[]> prompts, DecodingOptions options)
    {
        options.Validate();
        foreach (var prompt in prompts)
        {
            CheckPrompt(model, prompt);
            options.For(prompt.Length);
        }
    }

    internal static void CheckPrompt(CausalLanguageModel model, int[] prompt)
    {
        if (prompt.Length == 0) throw new InvalidDataException("Found an empty prompt. Expected at least one token to continue from (for text from nothing, give the model's begin or end-of-text token).");
        if (prompt.Length >= model.ContextLength) throw new InvalidDataException($"Found a prompt of {prompt.Length} tokens. Expected fewer than {model.ContextLength}, the model's context. Shorten it, or let its last tokens be kept (--truncate, GenerationOptions.Truncate).");
        Vocabulary.Check(prompt, model.VocabularySize);
    }

    // A dispose scope is tied to its thread and must not stay open across a yield: each step is one call.
    private static IEnumerable<NewToken> StreamChecked(CausalLanguageModel model, IReadOnlyList<int[]> prompts, DecodingOptions options, IReadOnlyList<long>? streams)
    {
        using var batch = new DecodingBatch(model, [.. prompts.Select((p, i) => new DecodingRow(i, p, options, streams?[i] ?? i))]);
        while (batch.Count > 0)
            foreach (var token in batch.Step()) yield return token;
    }
}
