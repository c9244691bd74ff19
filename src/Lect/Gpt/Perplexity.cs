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

    /// <summary>The perplexity of token ids, in blocks without overlap, in fp32.</summary>
    /// <param name="model">The decoder.</param>
    /// <param name="ids">At least two.</param>
    /// <param name="block">Tokens a block.</param>
    /// <param name="size">The tokens' bytes.</param>
    /// <param name="most">Stops after so many tokens; 0: all.</param>
    public static Perplexity Of(CausalLanguageModel model, TokenIds ids, int block, TokenCount size, long most = 0)
    {
        using var noGrad = no_grad();
        model.Compute = ComputeType.Float32;
        model.eval();
        double sum = 0;
        long tokens = 0;
        foreach (var batch in PackedBatches.InOrder(ids, block, Math.Max(1, 2048 / block), most))
        {
            using var scope = NewDisposeScope();
            sum += PretrainGpt.Loss(model, batch, 1, ComputeType.Float32).item<float>();
            tokens += batch.LabelCount;
        }
        return new(sum / tokens, tokens, (double)size.Bytes * tokens / Math.Max(1, size.Tokens - 1));
    }
}
