using System.Text.Json.Nodes;
using System.Text.RegularExpressions;
using Lect.Models;
using TorchSharp;
using static TorchSharp.torch;

namespace Lect;

/// <summary>A kind of tensor of a model, over all its layers.</summary>
/// <param name="Name">Its key, with * for the number of the layer.</param>
/// <param name="Role">What it is for, in words that mean the same in every architecture.</param>
/// <param name="Shape">Of one.</param>
/// <param name="Count">How many there are.</param>
public sealed record ModelPart(string Name, string Role, IReadOnlyList<long> Shape, int Count)
{
    /// <summary>Numbers in all of them.</summary>
    public long Parameters => Count * Shape.Aggregate(1L, (a, b) => a * b);
}

/// <summary>What a model is made of and what it costs, from its configuration alone: nothing is allocated.</summary>
public sealed partial record ModelSummary
{
    private ModelSummary() { }

    /// <summary>config.json, as the model writes it.</summary>
    public required JsonObject Config { get; init; }
    /// <summary>Its tensors in the order of the checkpoint.</summary>
    public required IReadOnlyList<ModelPart> Parts { get; init; }
    /// <summary>Numbers that are learned.</summary>
    public long Parameters => Parts.Sum(p => p.Parameters);
    /// <summary>Parameters by role.</summary>
    public IReadOnlyList<(string Role, long Parameters)> Roles => [.. Parts.GroupBy(p => p.Role).Select(g => (g.Key, g.Sum(p => p.Parameters)))];
    /// <summary>Floating-point operations of a forward pass for one token of a full context: 2 for each weight that is multiplied, and the scores and sums of attention. Decoders only.</summary>
    public double? FlopsAToken { get; init; }
    /// <summary>Bytes of keys and values that a token adds to the cache in fp32, as long as no window is full. Decoders only.</summary>
    public long? CacheBytesAToken { get; init; }
    /// <summary>Bytes of the cache of a full context. Decoders only.</summary>
    public long? CacheBytes { get; init; }

    /// <summary>Reads a model folder, a config.json, or a run file of <c>lect train gpt</c>.</summary>
    /// <exception cref="InvalidDataException">None of them, or of an architecture that this version does not know.</exception>
    public static ModelSummary Of(string path)
    {
        TorchNative.Load();
        if (Path.GetExtension(path) is ".yaml" or ".yml")
        {
            var run = RunFile.Load<PretrainGptConfig>(path).Validate();
            if (run.Model.GetValueOrDefault("path") is string continued)
            {
                var (config, source) = (ModelFolder.ReadConfig(continued), Path.Combine(continued, "config.json"));
                if (run.Model.GetValueOrDefault("context") is { } context) RotaryConfig.Interpolate(config, Convert.ToInt64(context, System.Globalization.CultureInfo.InvariantCulture), source);
                return OfConfig(config, source);
            }
            var vocabulary = run.Model.GetValueOrDefault("vocab_size") is { } given ? Convert.ToInt32(given, System.Globalization.CultureInfo.InvariantCulture) : run.Tokenizer.Path is { } tokenizer ? Lect.Text.Tokenizer.Load(tokenizer).VocabularySize
                : run.Tokenizer.Kind != "char" ? run.Tokenizer.Size ?? 8000 : throw new InvalidDataException($"{path}: found a vocabulary of characters, whose size the text decides. Expected --set-able model.vocab_size in the file, or a run's folder.");
            return OfConfig(run.ModelJson(vocabulary, endOfText: null), path);
        }
        var file = Directory.Exists(path) ? Path.Combine(path, "config.json") : path;
        return OfConfig(ModelConfig.ReadFile(file), file);
    }

    /// <summary>Whether a path is a model folder of an architecture that this version knows.</summary>
    public static bool IsKnown(string path) => Path.Combine(path, "config.json") is var file && File.Exists(file) && ModelConfig.ReadFile(file)["model_type"] is JsonValue type && type.GetValueKind() == System.Text.Json.JsonValueKind.String && ModelFolder.Decoders.Concat(ModelFolder.Encoders).Concat(ModelFolder.EncoderDecoders).Contains((string)type!);

    private static ModelSummary OfConfig(JsonObject config, string source)
    {
        using var scope = NewDisposeScope();
        var type = (string?)config["model_type"];
        using nn.Module model = ModelFolder.Encoders.Contains(type!) ? ModelFolder.CreateEncoder(config, ModelFolder.HeadOf(config), META, source) : ModelFolder.EncoderDecoders.Contains(type!) ? ModelFolder.CreateEncoderDecoder(config, META, source) : ModelFolder.CreateDecoder(config, META, source);
        var parts = model.named_parameters().GroupBy(p => (Name: LayerNumber().Replace(p.name, ".*."), Shape: string.Join(',', p.parameter.shape)))
            .Select(g => new ModelPart(g.Key.Name, RoleOf(g.Key.Name), g.First().parameter.shape, g.Count())).ToList();
        var summary = new ModelSummary { Config = model is CausalLanguageModel decoder ? decoder.ConfigJson : config, Parts = parts };
        return model is CausalLanguageModel causal ? summary with { FlopsAToken = Flops(causal, parts), CacheBytesAToken = Cache(causal).AToken, CacheBytes = Cache(causal).All } : summary;
    }

    // Every matrix but the embeddings that are looked up; a tied output layer is multiplied too.
    private static double Flops(CausalLanguageModel model, List<ModelPart> parts)
    {
        var multiplied = parts.Where(p => p.Shape.Count == 2 && p.Role is not ("token embeddings" or "position embeddings")).Sum(p => p.Parameters);
        if (!parts.Exists(p => p.Role == "output layer")) multiplied += model.VocabularySize * model.Width;
        // Scores and weighted sums: twice 2 (heads x head width) for each key that is seen, half of the context on average.
        var attention = Enumerable.Range(0, model.LayerCount).Sum(layer => 4.0 * QueryWidth(parts, model) * MeanKeys(model.ContextLength, model.Windows?[layer] ?? model.ContextLength));
        return 2.0 * multiplied + attention;
    }

    private static double MeanKeys(long context, long window)
    {
        window = Math.Min(window, context);
        return ((window * (window + 1) / 2.0) + ((double)(context - window) * window)) / context;
    }

    // The inner width of attention: what its way back into the stream reads.
    private static long QueryWidth(List<ModelPart> parts, CausalLanguageModel model) => parts.FirstOrDefault(p => p.Name.EndsWith("o_proj.weight", StringComparison.Ordinal))?.Shape[1] ?? model.Width;

    private static (long AToken, long All) Cache(CausalLanguageModel model)
    {
        var layer = 2 * sizeof(float) * model.KeyWidth;
        return (layer * model.LayerCount, Enumerable.Range(0, model.LayerCount).Sum(i => layer * Math.Min(model.ContextLength, model.Windows?[i] ?? model.ContextLength)));
    }

    private static string RoleOf(string name) => name switch
    {
        _ when Regex.IsMatch(name, "lm_head|embed_out|score\\.|classifier|multiple_choice_head|cls\\.|qa_outputs|pooler|final_logits_bias") => "output layer",
        _ when Regex.IsMatch(name, "wpe|positions_embed|position_embeddings") => "position embeddings",
        _ when Regex.IsMatch(name, "wte|tokens_embed|embed_tokens|embed_in|word_embeddings|token_type_embeddings|shared\\.weight|embed") && !name.Contains("norm", StringComparison.OrdinalIgnoreCase) => "token embeddings",
        _ when Regex.IsMatch(name, "ln_|layernorm|layer_norm|LayerNorm|norm\\.|norm\\d") => "norms",
        _ when Regex.IsMatch(name, "attn|attention") => "attention",
        _ when Regex.IsMatch(name, "mlp|ffn|fc\\d|linear\\d|intermediate|output\\.dense|lin\\d") => "feed-forward",
        _ => "other",
    };

    [GeneratedRegex(@"\.\d+\.")]
    private static partial Regex LayerNumber();
}

/// <summary>What differs between two models.</summary>
public static class ModelComparison
{
    private static readonly string[] s_unimportant = ["architectures", "transformers_version", "dtype", "torch_dtype", "_name_or_path"];

    /// <summary>The keys of config.json that differ, with both values (null where one has none).</summary>
    public static IReadOnlyList<(string Key, JsonNode? A, JsonNode? B)> Config(ModelSummary a, ModelSummary b) =>
        [.. a.Config.Select(p => p.Key).Union(b.Config.Select(p => p.Key)).Where(k => !s_unimportant.Contains(k) && !JsonNode.DeepEquals(a.Config[k], b.Config[k])).Select(k => (k, a.Config[k], b.Config[k]))];

    /// <summary>The parts that one has and the other has not, or in another shape or number.</summary>
    public static IReadOnlyList<(string Name, ModelPart? A, ModelPart? B)> Parts(ModelSummary a, ModelSummary b)
    {
        static Dictionary<string, ModelPart> ByName(ModelSummary model) => model.Parts.GroupBy(p => p.Name).ToDictionary(g => g.Key, g => g.First(), StringComparer.Ordinal);
        var (inA, inB) = (ByName(a), ByName(b));
        return [.. inA.Keys.Union(inB.Keys).Select(n => (n, inA.GetValueOrDefault(n), inB.GetValueOrDefault(n))).Where(p => p.Item2 is null || p.Item3 is null || p.Item2.Count != p.Item3.Count || !p.Item2.Shape.SequenceEqual(p.Item3.Shape))];
    }

    /// <summary>Parameters by role of both.</summary>
    public static IReadOnlyList<(string Role, long A, long B)> Roles(ModelSummary a, ModelSummary b) =>
        [.. a.Roles.Select(r => r.Role).Union(b.Roles.Select(r => r.Role)).Select(role => (role, a.Roles.FirstOrDefault(r => r.Role == role).Parameters, b.Roles.FirstOrDefault(r => r.Role == role).Parameters))];
}
