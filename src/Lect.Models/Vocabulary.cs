namespace Lect.Models;

/// <summary>What every model asks of token ids.</summary>
public static class Vocabulary
{
    /// <summary>Refuses ids that a model has no embedding for.</summary>
    /// <param name="ids">Token ids.</param>
    /// <param name="size">V.</param>
    /// <exception cref="InvalidDataException">The first such id.</exception>
    public static void Check(ReadOnlySpan<int> ids, long size)
    {
        foreach (var id in ids)
            if ((uint)id >= size) throw new InvalidDataException($"Found the id {id}. Expected 0 to {size - 1}: the model's vocabulary has {size} tokens.");
    }
}
