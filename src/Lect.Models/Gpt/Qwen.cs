// Qwen2: Yang et al. 2024, "Qwen2 Technical Report". Against Llama: biases on queries, keys and values (section 2.2.1).
// Qwen3: Yang et al. 2025, "Qwen3 Technical Report". Against Qwen2: no biases, but queries and keys are normalized head by head (section 2).
namespace Lect.Models;

/// <summary>What the config.json of Qwen2 and Qwen3 have in common.</summary>
public abstract record QwenConfig : LlamaConfig
{
    private protected QwenConfig() => (VocabSize, IntermediateSize, NumKeyValueHeads, MaxPositionEmbeddings, BosTokenId, EosTokenId) = (151936, 22016, 32, 32768, null, null);

    /// <summary>Whether there are layers with a window.</summary>
    public bool UseSlidingWindow { get; init; }
    /// <summary>Keys that a query of such a layer sees, itself among them. <value>4096</value></summary>
    public int? SlidingWindow { get; init; } = 4096;
    /// <summary>The layers below this one have no window. <value>28</value></summary>
    public int MaxWindowLayers { get; init; } = 28;
    /// <summary>Of each layer <c>full_attention</c> or <c>sliding_attention</c>; null: by the three above.</summary>
    public IReadOnlyList<string>? LayerTypes { get; init; }

    internal override bool InnerBias => false;
    internal override long? WindowOf(int layer) => !UseSlidingWindow || SlidingWindow is null ? null : (LayerTypes?[layer] ?? (layer >= MaxWindowLayers ? "sliding_attention" : "")) == "sliding_attention" ? SlidingWindow : null;

    private protected override LlamaConfig SpeltOut() => this with { LayerTypes = [.. Enumerable.Range(0, NumHiddenLayers).Select(layer => WindowOf(layer) is null ? "full_attention" : "sliding_attention")] };

    private protected override IEnumerable<string> OwnFaults()
    {
        if (SlidingWindow < 1) yield return $"sliding_window = {SlidingWindow}: expected at least 1, or null";
        if (LayerTypes is not null && LayerTypes.Count != NumHiddenLayers) yield return $"layer_types: found {LayerTypes.Count}, expected num_hidden_layers = {NumHiddenLayers}";
        foreach (var type in (LayerTypes ?? []).Where(t => t is not ("full_attention" or "sliding_attention")).Distinct()) yield return $"layer_types: found '{type}', expected full_attention or sliding_attention";
    }
}

/// <summary>Qwen2's config.json.</summary>
public sealed record Qwen2Config : QwenConfig
{
    internal override string ModelType => "qwen2";
    internal override string ClassName => "Qwen2ForCausalLM";
    internal override bool InputBias => true;
    internal override bool OutputBias => false;
}

/// <summary>Qwen3's config.json.</summary>
public sealed record Qwen3Config : QwenConfig
{
    /// <summary>Defaults of the first models.</summary>
    public Qwen3Config() => HeadDim = 128;

    internal override string ModelType => "qwen3";
    internal override string ClassName => "Qwen3ForCausalLM";
    internal override bool NormsHeads => true;
}
