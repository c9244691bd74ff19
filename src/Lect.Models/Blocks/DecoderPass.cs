using TorchSharp;
using static TorchSharp.torch;

namespace Lect.Models;

/// <summary>A pass through a decoder as its layers see it: the tokens and where they stand, what they may attend to, the cache, who watches, the precision. Its tensors belong to the dispose scope of <see cref="CausalLanguageModel.Hidden"/>.</summary>
/// <param name="ids_BT">Token ids.</param>
/// <param name="real_BS">1 = real, 0 = padding, over all positions seen; null: all real.</param>
/// <param name="positions_BT">Position of each token; null: counted from the cache's length.</param>
/// <param name="cache">Keys and values of earlier positions.</param>
/// <param name="sink">Who watches.</param>
/// <param name="compute">Precision of products.</param>
internal sealed class DecoderPass(Tensor ids_BT, Tensor? real_BS, Tensor? positions_BT, KvCache? cache, IActivationSink? sink, ComputeType compute)
{
    private readonly Dictionary<long, Tensor> masks = [];   // by window; 0: none

    public Tensor Ids => ids_BT;

    /// <summary>[B or 1, T].</summary>
    public Tensor Positions { get; } = positions_BT ?? arange(cache?.Length ?? 0, (cache?.Length ?? 0) + ids_BT.shape[1], device: ids_BT.device).unsqueeze(0);

    public ComputeType Compute => compute;

    /// <summary>Tells who watches the stream of activations.</summary>
    public void Tell(int index, Tensor x_BTC) => sink?.Hidden(index, x_BTC);

    /// <summary>A layer's attention, to what the cache has too: [B, T, H d of values].</summary>
    /// <param name="layer">From 0.</param>
    /// <param name="q">[B, H, T, d].</param>
    /// <param name="k">[B, G, T, d].</param>
    /// <param name="v">[B, G, T, d of values].</param>
    /// <param name="scale">Factor of the scores.</param>
    /// <param name="dropout">Of attention weights; 0 outside training.</param>
    /// <param name="window">Keys that a query sees at most, its own the last; null: all.</param>
    public Tensor Attend(int layer, Tensor q, Tensor k, Tensor v, double scale, double dropout, long? window = null)
    {
        if (cache is not null) (k, v) = cache.Append(layer, k, v);
        return Attention.Merge(Attention.ScaledDotProduct(q, k, v, Mask(window), scale, dropout, sink is null ? null : probs => sink.Attention(layer, probs), window));
    }

    // Without padding none is needed: the kernel knows what is causal.
    private Tensor? Mask(long? window)
    {
        if (real_BS is null) return null;
        if (!masks.TryGetValue(window ?? 0, out var mask)) masks[window ?? 0] = mask = Masks.CausalAndReal(real_BS, ids_BT.shape[1], window);
        return mask;
    }
}
