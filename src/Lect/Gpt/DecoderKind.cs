using System.Text.Json.Nodes;
using Lect.Models;

namespace Lect;

/// <summary>A step of the decoder's history, as <c>model.architecture</c> names it.</summary>
/// <param name="Name">In run files.</param>
/// <param name="ModelType">In config.json.</param>
/// <param name="Config">The record of its keys.</param>
/// <param name="Positions">The key of the context's length.</param>
internal sealed record DecoderKind(string Name, string ModelType, Type Config, string Positions = "max_position_embeddings")
{
    /// <summary>From 2018 on.</summary>
    public static IReadOnlyList<DecoderKind> All { get; } =
    [
        new("gpt1", "openai-gpt", typeof(Gpt1Config), "n_positions"), new("gpt2", "gpt2", typeof(Gpt2Config), "n_positions"), new("gpt3", "gpt_neo", typeof(Gpt3Config)), new("gpt_neox", "gpt_neox", typeof(GptNeoXConfig)), new("falcon", "falcon", typeof(FalconConfig)),
        new("llama", "llama", typeof(LlamaConfig)), new("mistral", "mistral", typeof(MistralConfig)), new("qwen2", "qwen2", typeof(Qwen2Config)), new("qwen3", "qwen3", typeof(Qwen3Config)),
    ];

    public static string Names => string.Join(", ", All.Select(k => k.Name));

    /// <summary>The one of that name; gpt2 where none is given, null where it is unknown.</summary>
    public static DecoderKind? Of(string? name) => All.FirstOrDefault(k => k.Name == (name ?? "gpt2"));

    /// <summary>The config.json of a new model: keys as given, and for those that follow from the width where a published model has numbers of its own (inner width, key heads, head width) what its paper's proportions make of the width.</summary>
    /// <param name="given">Keys of the run file.</param>
    /// <param name="vocabulary">V.</param>
    /// <param name="positions">The context.</param>
    /// <param name="endOfText">Id of the token between texts.</param>
    /// <param name="dropout">Of everything that has one, replacing what is given by key; 0 where neither is.</param>
    public JsonObject NewConfig(JsonObject given, int vocabulary, int positions, int? endOfText, double? dropout)
    {
        var json = new JsonObject { ["model_type"] = ModelType };
        ModelFolder.SetDropout(json, dropout ?? 0);
        foreach (var (key, value) in given) if (dropout is null || !json.ContainsKey(key)) json[key] = value?.DeepClone();
        json["vocab_size"] ??= vocabulary;
        json[Positions] ??= positions;
        foreach (var key in (string[])["bos_token_id", "eos_token_id"]) json[key] ??= endOfText;
        if (ModelType is "gpt2" or "openai-gpt" or "gpt_neo" or "falcon" || Whole(json["hidden_size"]) is not { } width) return json;
        json["intermediate_size"] ??= ModelType == "gpt_neox" ? 4 * width : LlamaConfig.InnerOf(width);
        if (ModelType == "gpt_neox") return json;
        json["num_key_value_heads"] ??= json["num_attention_heads"]?.DeepClone();
        if (Whole(json["num_attention_heads"]) is > 0 and var heads) json["head_dim"] ??= width / heads;
        return json;
    }

    // What is no number is refused by the configuration's own reader, which names the key.
    private static int? Whole(JsonNode? node) => node is JsonValue value && value.TryGetValue<int>(out var number) ? number : node is JsonValue wide && wide.TryGetValue<long>(out var large) && large is > 0 and <= int.MaxValue ? (int)large : null;
}

/// <summary>The keys of a decoder's <c>model</c> section: those of the architecture that it names.</summary>
[AttributeUsage(AttributeTargets.Property)]
internal sealed class DecoderKeysAttribute() : KeysOfAttribute(typeof(Gpt2Config), "architecture", "path", "context", "vectors")
{
    internal override IEnumerable<string> Keys(IReadOnlyDictionary<string, string?> given) => (DecoderKind.Of(given.GetValueOrDefault("architecture")) is { } kind ? Of(kind.Config) : DecoderKind.All.SelectMany(k => Of(k.Config))).Concat(More);   // of an unknown one all: Validate names it
}
