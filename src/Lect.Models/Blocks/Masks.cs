using TorchSharp;
using static TorchSharp.torch;

namespace Lect.Models;

/// <summary>Attention masks; true = may attend.</summary>
internal static class Masks
{
    /// <summary>[T, S]: query t, which stands at position S - T + t, sees itself and what is before it: all, or with a window so many with itself.</summary>
    public static Tensor Causal(long queries, long keys, Device? device = null, long? window = null)
    {
        var mask = ones(queries, keys, dtype: ScalarType.Bool, device: device).tril(keys - queries);
        return window < keys ? mask.triu(keys - queries - window.Value + 1) : mask;
    }

    /// <summary>[B, 1, T, S]: causal, and only keys that are real; of rows that hold several documents, only the query's own.</summary>
    /// <param name="real_BS">1 = real, 0 = padding; or the number of the document, from 1.</param>
    /// <param name="queries">T.</param>
    /// <param name="window">As in <see cref="Causal"/>.</param>
    public static Tensor CausalAndReal(Tensor real_BS, long queries, long? window = null)
    {
        var mask_B1TS = Causal(queries, real_BS.shape[1], real_BS.device, window).logical_and(real_BS.ne(0).unsqueeze(1).unsqueeze(1));
        var isPacked = real_BS.shape[1] == queries && real_BS.max().item<long>() > 1;   // a decoding step has more keys than queries, and is not asked
        return isPacked ? mask_B1TS.logical_and(real_BS.unsqueeze(2).eq(real_BS.unsqueeze(1)).unsqueeze(1)) : mask_B1TS;
    }

    /// <summary>Positions of left- or right-padded rows: the running count of real tokens - 1, 0 at padding in front.</summary>
    public static Tensor Positions(Tensor real_BS) => (real_BS.to(ScalarType.Int64).cumsum(1) - 1).clamp_min(0);

    /// <summary>[B]: where each row's last real token stands.</summary>
    public static Tensor Last(Tensor ids_BT, Tensor? real_BT) => real_BT is null ? full([ids_BT.shape[0]], ids_BT.shape[1] - 1, dtype: ScalarType.Int64, device: ids_BT.device) : (real_BT * arange(real_BT.shape[1], device: real_BT.device)).argmax(1);
}
