// Mistral: Jiang et al. 2023, "Mistral 7B". Against Llama: each layer's queries see a window of keys only (section 2), which a cache need keep no more than.
namespace Lect.Models;

/// <summary>Mistral's config.json.</summary>
public sealed record MistralConfig : LlamaConfig
{
    /// <summary>Defaults of the 7B model.</summary>
    public MistralConfig() => (IntermediateSize, NumKeyValueHeads, MaxPositionEmbeddings) = (14336, 8, 131072);

    /// <summary>Keys that a query sees, itself among them; null: all before it. <value>4096, table 1</value></summary>
    public int? SlidingWindow { get; init; } = 4096;

    internal override string ModelType => "mistral";
    internal override string ClassName => "MistralForCausalLM";
    internal override bool InputBias => false;
    internal override bool OutputBias => false;
    internal override bool InnerBias => false;
    internal override long? WindowOf(int layer) => SlidingWindow;

    private protected override IEnumerable<string> OwnFaults()
    {
        if (SlidingWindow < 1) yield return $"sliding_window = {SlidingWindow}: expected at least 1, or null";
    }
}
