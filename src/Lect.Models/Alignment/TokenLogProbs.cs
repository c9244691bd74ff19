using TorchSharp;
using static TorchSharp.torch;

namespace Lect.Models;

/// <summary>Log-probabilities of given tokens, with gradients: what preference losses and policy gradients are made of.</summary>
public static class TokenLogProbs
{
    /// <summary>log softmax(logits / temperature)[label] and the distribution's entropy, both in nats, at each place that has a label; 0 elsewhere. The output layer runs at those places alone.</summary>
    /// <param name="model">The decoder.</param>
    /// <param name="hidden_BTC">Its final activations.</param>
    /// <param name="labels_BT">The next token of each place, or -100.</param>
    /// <param name="temperature">Of the sampling that the tokens came from.</param>
    /// <param name="wantsEntropy">Whether the entropy is asked for.</param>
    /// <returns>[B, T] fp32 each, owned by the current dispose scope; entropy null where it is not asked for.</returns>
    public static (Tensor LogProbs_BT, Tensor? Entropy_BT) Of(CausalLanguageModel model, Tensor hidden_BTC, Tensor labels_BT, double temperature = 1, bool wantsEntropy = false)
    {
        var labels = labels_BT.flatten();
        var places = labels.ne(-100).nonzero().flatten();
        var logits_NV = model.Head(hidden_BTC.flatten(0, -2).index_select(0, places));
        var logProbs_NV = (temperature == 1 ? logits_NV : logits_NV / temperature).log_softmax(-1);
        Tensor Placed(Tensor values) => zeros(labels.shape[0], device: labels.device).scatter(0, places, values).view(labels_BT.shape);
        var own = Placed(logProbs_NV.gather(1, labels.index_select(0, places).unsqueeze(1)).squeeze(1));
        return (own, wantsEntropy ? Placed(-(logProbs_NV.exp() * logProbs_NV).sum(-1)) : null);
    }
}
