using Lect.Models;
using Lect.Text;
using TorchSharp;
using static TorchSharp.torch;

namespace Lect;

/// <summary>Rows padded on the right to the longest, and the next token of each place where it is scored.</summary>
internal sealed class AnswerBatch
{
    private readonly long[] ids, documents, positions, labels;

    /// <param name="rows">Each a row of its own.</param>
    /// <param name="padId">What fills.</param>
    public AnswerBatch(IReadOnlyList<AnswerRow> rows, int padId) : this([.. rows.Select(r => new[] { r })], padId)
    {
    }

    /// <param name="rows">Rows of several documents, which do not see each other (packing).</param>
    /// <param name="padId">What fills.</param>
    public AnswerBatch(IReadOnlyList<AnswerRow[]> rows, int padId)
    {
        (Rows, Length) = (rows.Count, rows.Max(r => r.Sum(d => d.Ids.Length)));
        (ids, documents, positions, labels) = (new long[Rows * Length], new long[Rows * Length], new long[Rows * Length], new long[Rows * Length]);
        Array.Fill(ids, padId);
        Array.Fill(labels, -100);
        for (var r = 0; r < Rows; r++)
        {
            var at = r * Length;
            for (var d = 0; d < rows[r].Length; d++)
            {
                var row = rows[r][d];
                for (var t = 0; t < row.Ids.Length; t++, at++)
                {
                    (ids[at], documents[at], positions[at]) = (row.Ids[t], d + 1, t);
                    if (t + 1 < row.Ids.Length && row.Counts[t + 1]) labels[at] = row.Ids[t + 1];
                }
            }
        }
        IsPacked = rows.Any(r => r.Length > 1);
        Tokens = rows.Sum(r => r.Sum(d => (long)d.Ids.Length));
        Scored = labels.LongCount(l => l != -100);
    }

    /// <summary>B.</summary>
    public int Rows { get; }

    /// <summary>T.</summary>
    public int Length { get; }

    /// <summary>Tokens that are no padding.</summary>
    public long Tokens { get; }

    /// <summary>Labels that count.</summary>
    public long Scored { get; }

    /// <summary>Whether a row holds several documents.</summary>
    public bool IsPacked { get; }


    /// <summary>Final activations [B, T, C] of a decoder; the caller owns them.</summary>
    public Tensor Hidden(CausalLanguageModel model)
    {
        using var scope = NewDisposeScope();
        var device = model.HeadWeight.device;
        // Padding behind is nothing to a causal model: only documents in one row need a mask.
        return (IsPacked ? model.Hidden(Matrix(ids, device), Matrix(documents, device), Matrix(positions, device)) : model.Hidden(Matrix(ids, device))).MoveToOuterDisposeScope();
    }

    /// <summary>The next token of each place, or -100: int64 [B, T]; the caller owns it.</summary>
    public Tensor Labels(Device device) => Matrix(labels, device);

    /// <summary>1 where the next token is scored, fp32 [B, T]; the caller owns it.</summary>
    public Tensor Mask(Device device) => tensor(labels.Select(l => l == -100 ? 0f : 1f).ToArray(), Rows, Length, device: device);

    /// <summary>The share of padding in what is computed.</summary>
    public double Padding => 1 - (double)Tokens / (Rows * Length);

    /// <summary>Log-probabilities of the scored tokens and, where asked for, entropies, [B, T] at the places that predict them; owned by the current scope.</summary>
    public (Tensor LogProbs, Tensor? Entropy) LogProbs(CausalLanguageModel model, double temperature = 1, bool wantsEntropy = false) => TokenLogProbs.Of(model, Hidden(model), Labels(model.HeadWeight.device), temperature, wantsEntropy);

    /// <summary>Log-probabilities of the scored tokens by what a policy is compared with, in the policy's precision, [B, T]; owned by the current scope.</summary>
    /// <param name="policy">The policy.</param>
    /// <param name="reference">Null: the policy without its adapters.</param>
    /// <param name="temperature">Of sampling.</param>
    public Tensor ReferenceLogProbs(CausalLanguageModel policy, CausalLanguageModel? reference, double temperature)
    {
        if (reference is not null) reference.Compute = policy.Compute;
        using (reference is null ? Lora.Off(policy) : null) return LogProbs(reference ?? policy, temperature).LogProbs;
    }

    /// <summary>The score at each row's last token, [B, labels]; owned by the current scope. Hugging Face reads it at the last token that is not the padding's id: where that is an answer's last, one before.</summary>
    public Tensor Scores(CausalLanguageModel model, int? padId)
    {
        var last = new long[Rows];
        for (var r = 0; r < Rows; r++)
            for (var t = 0; t < Length; t++)
                if (documents[r * Length + t] != 0 && ids[r * Length + t] != padId) last[r] = t;
        var device = model.HeadWeight.device;
        return model.ScoresOf(Hidden(model)[arange(Rows, device: device), tensor(last, device: device)]);
    }

    private Tensor Matrix(long[] values, Device device) => tensor(values, Rows, Length, device: device);
}
