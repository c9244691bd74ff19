using TorchSharp;
using static TorchSharp.torch;

namespace Lect.Models;

/// <summary>Attention masks; true = may attend.</summary>
internal static class Masks
{
    /// <summary>[T, S]: query t, which stands at position S - T + t, sees itself and what is before it.</summary>
    public static Tensor Causal(long queries, long keys, Device? device = null) => ones(queries, keys, dtype: ScalarType.Bool, device: device).tril(keys - queries);

    /// <summary>[B, 1, T, S]: causal, and only keys that are real.</summary>
    /// <param name="real_BS">1 = real, 0 = padding.</param>
    /// <param name="queries">T.</param>
    public static Tensor CausalAndReal(Tensor real_BS, long queries) => Causal(queries, real_BS.shape[1], real_BS.device).logical_and(real_BS.to(ScalarType.Bool).unsqueeze(1).unsqueeze(1));

    /// <summary>Positions of left- or right-padded rows: the running count of real tokens - 1, 0 at padding in front.</summary>
    public static Tensor Positions(Tensor real_BS) => (real_BS.to(ScalarType.Int64).cumsum(1) - 1).clamp_min(0);
}
