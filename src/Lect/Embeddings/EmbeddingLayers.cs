using Lect.Text;
using TorchSharp;
using static TorchSharp.torch;

namespace Lect;

/// <summary>Word vectors as the beginning of a model's embeddings.</summary>
public static class EmbeddingLayers
{
    /// <summary>Puts vectors into the embedding rows of the tokens that are words, scaled (all by one factor) to the size that the rows have on average, or to a multiple of it.</summary>
    /// <param name="vectors">Words and vectors.</param>
    /// <param name="weight_VC">Embeddings, [V, C]; C is the vectors' dimension.</param>
    /// <param name="tokenizer">Says what the tokens are; the blank before a word does not count.</param>
    /// <param name="size">How much larger than the rows are they become.</param>
    /// <returns>Rows that were filled.</returns>
    /// <exception cref="InvalidDataException">Another width, or no token that is a word.</exception>
    public static int Fill(this WordVectors vectors, Tensor weight_VC, Tokenizer tokenizer, double size = 1)
    {
        if (weight_VC.shape[1] != vectors.Dimension) throw new InvalidDataException($"Found word vectors of {vectors.Dimension} numbers for a model of width {weight_VC.shape[1]}. Expected the same: train vectors of that size (word2vec.size, glove.vector_size).");
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        var found = Enumerable.Range(0, (int)Math.Min(weight_VC.shape[0], tokenizer.VocabularySize)).Select(id => (Id: (long)id, Word: vectors.IndexOf(tokenizer.Decode([id]).Trim()))).Where(f => f.Word >= 0).ToList();
        if (found.Count == 0) throw new InvalidDataException("Found no token of the tokenizer among the words that have vectors. Expected some: are the vectors of the same language and case?");
        var rows_NC = tensor(found.SelectMany(f => vectors[f.Word].ToArray()).ToArray(), found.Count, vectors.Dimension, device: weight_VC.device);
        var factor = size * weight_VC.square().mean().sqrt() / rows_NC.square().mean().sqrt();
        weight_VC.index_copy_(0, tensor(found.Select(f => f.Id).ToArray(), device: weight_VC.device), rows_NC * factor);
        return found.Count;
    }
}
