using Lect.Models;
using Lect.Text;
using TorchSharp;
using static TorchSharp.torch;

namespace Lect;

/// <summary>How well a decoder predicts a text.</summary>
/// <param name="Loss">Mean -log p(token | tokens before it in its block), nats.</param>
/// <param name="Tokens">Tokens predicted.</param>
/// <param name="Bytes">UTF-8 bytes they stand for; 0: not known.</param>
public sealed record Perplexity(double Loss, long Tokens, double Bytes)
{
    /// <summary>e^loss.</summary>
    public double Value => Math.Exp(Loss);

    /// <summary>loss * tokens / (ln 2 * bytes): comparable between vocabularies.</summary>
    public double BitsPerByte => Loss * Tokens / (Math.Log(2) * Bytes);

    /// <summary>The figures by their usual names, the loss first.</summary>
    public IReadOnlyList<(string Name, double Value)> Figures(string loss = "loss") => Bytes > 0 ? [(loss, Loss), ("perplexity", Value), ("bits_per_byte", BitsPerByte)] : [(loss, Loss), ("perplexity", Value)];

    /// <summary>The perplexity of documents, one after the other with the tokenizer's end of text between them.</summary>
    /// <param name="model">Network and tokenizer.</param>
    /// <param name="documents">Texts.</param>
    /// <param name="stride">Tokens that each window of the context's length predicts anew, the ones before them being context; absent: windows do not overlap.</param>
    /// <exception cref="InvalidDataException">Fewer than two tokens, no tokenizer, or a stride outside the context.</exception>
    public static Perplexity Of(LanguageModel model, IEnumerable<string> documents, int? stride = null)
    {
        var tokenizer = model.Tokenizer ?? throw Tokenizer.Missing();
        var (ids, bytes, count) = (new List<int>(), 0L, 0L);
        foreach (var text in documents)
        {
            if (count++ > 0 && tokenizer.EndOfText is { } end) ids.Add(end);
            tokenizer.EncodeIds(text, ids);
            bytes += System.Text.Encoding.UTF8.GetByteCount(text);
        }
        if (ids.Count < 2) throw new InvalidDataException($"Found a text of {ids.Count} tokens. Expected at least two: one to predict from, one to predict.");
        using var tokens = new TokenIds([.. ids]);
        return Of(model, tokens, new(count, ids.Count, bytes), stride);
    }

    /// <summary>The perplexity of token ids in windows of the model's context; see <see cref="Of(LanguageModel, IEnumerable{string}, int?)"/>.</summary>
    public static Perplexity Of(LanguageModel model, TokenIds ids, TokenCount size, int? stride = null)
    {
        var context = (int)model.Model.ContextLength;
        if (stride < 1 || stride > context) throw new InvalidDataException($"Found a stride of {stride}. Expected 1 to {context}, the model's context.");
        var found = Of(model.Model, PackedBatches.InOrder(ids, context, Math.Max(1, 2048 / context), stride: stride ?? context), size);
        return double.IsNaN(found.Loss) ? throw LanguageModel.NoNumbers() : found;
    }

    /// <summary>The perplexity of token ids, in blocks without overlap, in fp32.</summary>
    /// <param name="model">The decoder.</param>
    /// <param name="ids">At least two.</param>
    /// <param name="block">Tokens a block.</param>
    /// <param name="size">The tokens' bytes.</param>
    /// <param name="most">Stops after so many tokens; 0: all.</param>
    public static Perplexity Of(CausalLanguageModel model, TokenIds ids, int block, TokenCount size, long most = 0) =>
        Of(model, PackedBatches.InOrder(ids, block, Math.Max(1, 2048 / block), most: most), size);

    private static Perplexity Of(CausalLanguageModel model, IEnumerable<TokenBatch> batches, TokenCount size)
    {
        using var noGrad = no_grad();
        model.eval();
        double sum = 0;
        long tokens = 0;
        foreach (var batch in batches)
        {
            using var scope = NewDisposeScope();
            sum += PretrainGpt.Loss(model, batch, 1, ComputeType.Float32).item<float>();
            tokens += batch.LabelCount;
        }
        return new(sum / tokens, tokens, (double)size.Bytes * tokens / Math.Max(1, size.Tokens - 1));
    }
}
