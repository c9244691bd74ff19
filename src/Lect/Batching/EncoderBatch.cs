using Lect.Models;
using Lect.Text;
using TorchSharp;
using static TorchSharp.torch;

namespace Lect;

/// <summary>Token ids of one or two texts with the special tokens around them.</summary>
/// <param name="Ids">Token ids.</param>
/// <param name="Types">0 for the first text, 1 for the second; null: all of the first.</param>
public readonly record struct EncoderRow(int[] Ids, int[]? Types = null)
{
    /// <summary>The row of a text or a pair.</summary>
    /// <param name="tokenizer">Its words.</param>
    /// <param name="text">The text.</param>
    /// <param name="pair">The second one.</param>
    /// <param name="most">Tokens at most: what is more is cut, of a pair from the longer text; null: all.</param>
    internal static EncoderRow Of(Tokenizer tokenizer, string text, string? pair, long? most)
    {
        var encoded = most is null ? tokenizer.Encode(text, pair) : tokenizer.Encode(text, pair, new TokenLimit { Length = (int)most })[0];
        return new(encoded.Ids, encoded.TypeIds);
    }

    /// <summary>Checks that a model can read the row.</summary>
    /// <exception cref="InvalidDataException">No ids, too many, one outside the vocabulary, or types that are not as many or too high.</exception>
    internal void Check(ISequenceClassifier model, int typeCount)
    {
        if (Ids.Length == 0 || Ids.Length > model.ContextLength) throw new InvalidDataException($"Found {Ids.Length} tokens. Expected 1 to {model.ContextLength}, the model's positions. Shorten the text, or let it be cut (--truncate).");
        Vocabulary.Check(Ids, model.VocabularySize);
        if (Types is null) return;
        if (Types.Length != Ids.Length) throw new InvalidDataException($"Found {Types.Length} token_type_ids for {Ids.Length} ids. Expected as many.");
        if (typeCount < 2) return;   // a model that tells no types apart
        foreach (var type in Types)
            if (type < 0 || type >= typeCount) throw new InvalidDataException($"Found the token type {type}. Expected 0 to {typeCount - 1}.");
    }
}

/// <summary>Rows padded on the right to the longest.</summary>
internal sealed class EncoderBatch
{
    private readonly long[] ids, real, types;

    /// <param name="rows">At least one.</param>
    /// <param name="padId">What fills.</param>
    public EncoderBatch(IReadOnlyList<EncoderRow> rows, int padId)
    {
        (Rows, Length) = (rows.Count, rows.Max(r => r.Ids.Length));
        (ids, real, types) = (new long[Rows * Length], new long[Rows * Length], new long[Rows * Length]);
        Array.Fill(ids, padId);
        for (var r = 0; r < Rows; r++)
            for (var t = 0; t < rows[r].Ids.Length; t++)
                (ids[r * Length + t], real[r * Length + t], types[r * Length + t]) = (rows[r].Ids[t], 1, rows[r].Types?[t] ?? 0);
    }

    /// <summary>B.</summary>
    public int Rows { get; }

    /// <summary>T.</summary>
    public int Length { get; }

    /// <summary>[B, T], row by row.</summary>
    public IReadOnlyList<long> Ids => ids;

    /// <summary>Tokens that are no padding.</summary>
    public long Tokens => real.Sum();

    /// <summary>Final activations [B, T, C]; the caller owns them.</summary>
    public Tensor Hidden(EncoderModel model)
    {
        using var scope = NewDisposeScope();
        var (ids_BT, real_BT, types_BT) = Tensors(model.Embeddings.device);
        return model.Hidden(ids_BT, real_BT, model.TypeCount > 1 ? types_BT : null).MoveToOuterDisposeScope();
    }

    /// <summary>Final activations of a decoder [B, T, C], to which the padding behind is nothing; the caller owns them.</summary>
    public Tensor Hidden(CausalLanguageModel model)
    {
        using var scope = NewDisposeScope();
        return model.Hidden(Tensors(model.HeadWeight.device).Ids).MoveToOuterDisposeScope();
    }

    /// <summary>What a classifier, encoder or decoder, says of each row, [B, labels]; the caller owns it.</summary>
    /// <exception cref="InvalidDataException">A row that it cannot read.</exception>
    public static Tensor Scores(ISequenceClassifier model, IReadOnlyList<EncoderRow> rows)
    {
        var encoder = model as EncoderModel;
        foreach (var row in rows) row.Check(model, encoder?.TypeCount ?? 0);
        using var scope = NewDisposeScope();
        var (ids_BT, real_BT, types_BT) = new EncoderBatch(rows, encoder?.PadId ?? 0).Tensors(((nn.Module)model).parameters().First().device);
        return model.Scores(ids_BT, real_BT, encoder?.TypeCount > 1 ? types_BT : null).MoveToOuterDisposeScope();
    }

    private (Tensor Ids, Tensor Real, Tensor Types) Tensors(Device device)
    {
        Tensor Matrix(long[] values) => tensor(values, Rows, Length, device: device);
        return (Matrix(ids), Matrix(real), Matrix(types));
    }

    /// <summary>The token that follows each one, row by row; -100 behind a row's last.</summary>
    public long[] Following()
    {
        var next = new long[ids.Length];
        for (var i = 0; i < ids.Length; i++) next[i] = (i + 1) % Length != 0 && real[i + 1] == 1 ? ids[i + 1] : -100;
        return next;
    }

    /// <summary>The share of padding in rows that are computed together.</summary>
    public static double Padding(IEnumerable<IReadOnlyList<int>> batches)
    {
        var (all, real) = (0L, 0L);
        foreach (var lengths in batches) (all, real) = (all + (long)lengths.Count * lengths.Max(), real + lengths.Sum(l => (long)l));
        return all == 0 ? 0 : 1 - (double)real / all;
    }
}
