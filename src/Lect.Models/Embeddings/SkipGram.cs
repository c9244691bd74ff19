// Skip-gram with negative sampling: Mikolov et al. 2013, "Distributed Representations of Words and Phrases and their Compositionality", equation 4.
using TorchSharp;
using static TorchSharp.torch;

namespace Lect.Models;

/// <summary>
/// Skip-gram with negative sampling in tensors, to read and to check others with; training is done by <c>lect train word2vec</c>, hundreds of times faster.
/// Keys: <c>syn0</c> (inputs, the word vectors) and <c>syn1neg</c> (outputs), both [V, D].
/// </summary>
public sealed class SkipGram : nn.Module
{
    private readonly TorchSharp.Modules.Parameter syn0, syn1neg;

    /// <param name="words">V.</param>
    /// <param name="dimension">D.</param>
    /// <param name="seed">Of the inputs, uniform in ±1 / 2D; the outputs begin at 0.</param>
    public SkipGram(long words, long dimension, long seed = 1) : base(nameof(SkipGram))
    {
        using var generator = Seeds.Generator(seed, "init");
        syn0 = nn.Parameter((rand(words, dimension, generator: generator) - 0.5) / dimension);
        syn1neg = nn.Parameter(zeros(words, dimension));
        RegisterComponents();
        this.OwnParameters();
    }

    /// <summary>The word vectors, [V, D].</summary>
    public Tensor Vectors => syn0;

    /// <summary>The output vectors, [V, D].</summary>
    public Tensor Outputs => syn1neg;

    /// <summary>sum over B of -log σ(v_in·v_out) - sum over k of log σ(-v_in·v_k), nats.</summary>
    /// <param name="inputs_B">Words, [B] int64.</param>
    /// <param name="targets_B">A word that stands near each, [B].</param>
    /// <param name="negatives_BK">Words drawn by count^0.75, [B, K]; one that is the target does not count.</param>
    /// <returns>A scalar; the caller owns it.</returns>
    public Tensor Loss(Tensor inputs_B, Tensor targets_B, Tensor negatives_BK)
    {
        using var scope = NewDisposeScope();
        var h_BD = EmbeddingLookup.Of(syn0, inputs_B);
        var positive_B = (h_BD * EmbeddingLookup.Of(syn1neg, targets_B)).sum(-1);
        var negative_BK = EmbeddingLookup.Of(syn1neg, negatives_BK).matmul(h_BD.unsqueeze(-1)).squeeze(-1);
        var counts_BK = negatives_BK.ne(targets_B.unsqueeze(-1));
        return (-(nn.functional.logsigmoid(positive_B).sum() + (nn.functional.logsigmoid(-negative_BK) * counts_BK).sum())).MoveToOuterDisposeScope();
    }
}
