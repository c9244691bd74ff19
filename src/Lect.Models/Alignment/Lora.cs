// LoRA: Hu et al. 2021, "LoRA: Low-Rank Adaptation of Large Language Models"; rsLoRA: Kalajdzievski 2023; DoRA: Liu et al. 2024. Folders as PEFT writes them.
using System.Text.Json;
using System.Text.Json.Nodes;
using System.Text.Json.Serialization;
using System.Text.RegularExpressions;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace Lect.Models;

/// <summary>adapter_config.json under PEFT's names; unknown keys are kept.</summary>
public sealed record LoraConfig
{
    /// <summary>Always LORA.</summary>
    public string PeftType { get; init; } = "LORA";
    /// <summary>The model that the adapter was trained on.</summary>
    public string? BaseModelNameOrPath { get; init; }
    /// <summary>CAUSAL_LM or SEQ_CLS.</summary>
    public string? TaskType { get; init; }
    /// <summary>r. <value>8, PEFT's</value></summary>
    public int R { get; init; } = 8;
    /// <summary>The change is multiplied by alpha / r. <value>8, PEFT's</value></summary>
    public double LoraAlpha { get; init; } = 8;
    /// <summary>Dropout of the adapter's input.</summary>
    public double LoraDropout { get; init; }
    /// <summary>alpha / sqrt(r) instead (Kalajdzievski 2023).</summary>
    public bool UseRslora { get; init; }
    /// <summary>A magnitude for each output besides (DoRA).</summary>
    public bool UseDora { get; init; }
    /// <summary>Last parts of the names of the projections, a regular expression of whole names, or <c>all-linear</c>; null: the architecture's queries and values.</summary>
    public JsonNode? TargetModules { get; init; }
    /// <summary>Parts that are trained whole and saved with the adapter, such as <c>score</c>.</summary>
    public IReadOnlyList<string>? ModulesToSave { get; init; }
    /// <summary>r of some modules, by the end of their names.</summary>
    public Dictionary<string, int> RankPattern { get; init; } = [];
    /// <summary>alpha of some modules, by the end of their names.</summary>
    public Dictionary<string, double> AlphaPattern { get; init; } = [];
    /// <summary>Whether the weights are [in, out], as GPT-2's.</summary>
    public bool FanInFanOut { get; init; }
    /// <summary>Always none.</summary>
    public string Bias { get; init; } = "none";
    /// <summary>The adapter is there to be used.</summary>
    public bool InferenceMode { get; init; } = true;
    /// <summary>Everything else in the file.</summary>
    [JsonExtensionData] public Dictionary<string, JsonElement>? Rest { get; init; }

    /// <summary>What is wrong with it.</summary>
    internal IEnumerable<string> Faults()
    {
        if (PeftType != "LORA") yield return $"peft_type = '{PeftType}': expected LORA";
        if (R < 1 || RankPattern.Values.Any(r => r < 1)) yield return $"r = {R}: expected at least 1";
        if (LoraDropout is < 0 or >= 1) yield return FormattableString.Invariant($"lora_dropout = {LoraDropout}: expected at least 0 and less than 1");
        if (Bias != "none") yield return $"bias = '{Bias}': expected none";
        if (TargetModules is not (null or JsonArray or JsonValue)) yield return "target_modules: expected names, or one text";
        foreach (var (key, empty) in new[] { ("lora_bias", "False"), ("layers_to_transform", ""), ("layer_replication", ""), ("exclude_modules", ""), ("target_parameters", ""), ("trainable_token_indices", ""), ("use_qalora", "False"), ("alora_invocation_tokens", "") })
            if (Rest?.TryGetValue(key, out var value) == true && value.ToString() != empty && value.ValueKind != JsonValueKind.Null) yield return $"{key} = {value}: this version of Lect does not apply it";
    }
}

/// <summary>Low-rank adapters of a decoder: attached for training, in PEFT's folders, merged into the weights for use.</summary>
public static class Lora
{
    private const string Prefix = "base_model.model.", ConfigFile = "adapter_config.json", WeightsFile = "adapter_model.safetensors";

    /// <summary>Whether a folder holds an adapter.</summary>
    public static bool IsAt(string folder) => File.Exists(Path.Combine(folder, ConfigFile));

    /// <summary>Attaches new adapters; from then on they and <c>modules_to_save</c> alone are trained.</summary>
    /// <param name="model">What is to be changed.</param>
    /// <param name="config">Where and how.</param>
    /// <param name="seed">Key of the new weights.</param>
    /// <returns>The configuration with everything resolved.</returns>
    /// <exception cref="InvalidDataException">A configuration that cannot be honoured, or one that names no projection of this model.</exception>
    public static LoraConfig Attach(CausalLanguageModel model, LoraConfig config, long seed = 1)
    {
        var changes = Changes(model, config, seed);
        foreach (var parameter in model.parameters()) parameter.requires_grad = false;
        foreach (var (_, layer, change) in changes) layer.Adapter = change;
        foreach (var (_, parameter) in Whole(model, config)) parameter.requires_grad = true;
        return config with
        {
            TargetModules = new JsonArray([.. changes.Select(c => Last(c.Name)).Distinct().Order(StringComparer.Ordinal).Select(n => (JsonNode)n)]),
            FanInFanOut = changes[0].Layer.IsInOut,
            TaskType = config.TaskType ?? (model.GetName().EndsWith("ForSequenceClassification", StringComparison.Ordinal) ? "SEQ_CLS" : "CAUSAL_LM"),
        };
    }

    private static List<(string Name, ProjectionLayer Layer, LowRank Change)> Changes(CausalLanguageModel model, LoraConfig config, long seed)
    {
        if (config.Faults().ToList() is { Count: > 0 } faults) throw new InvalidDataException($"The adapter's configuration cannot be honoured: {string.Join("; ", faults)}.");
        var (layers, isTarget) = (Layers(model).ToList(), Target(config));
        var chosen = layers.Where(l => isTarget(l.Name)).ToList();
        foreach (var whole in config.ModulesToSave ?? [])
            if (whole != "classifier" && !model.named_parameters().Any(p => p.name.Split('.').Contains(whole))) throw new InvalidDataException($"Found modules_to_save = {whole}, which names no part of {model.GetName()}. Expected a part of a parameter's name, such as embed_tokens or score (the output layer of a tied model is its embeddings).");
        if (chosen.Count == 0) throw new InvalidDataException($"Found target_modules = {config.TargetModules?.ToJsonString()}, which name no projection of {model.GetName()}. Expected some of {string.Join(", ", layers.Select(l => Last(l.Name)).Distinct())}, or \"all-linear\".");
        using var generator = Seeds.Generator(seed, "lora");
        return chosen.ConvertAll(l =>
        {
            var (rank, alpha) = (Pattern(config.RankPattern, l.Name, config.R), Pattern(config.AlphaPattern, l.Name, config.LoraAlpha));
            return (l.Name, l.Layer, new LowRank(l.Layer, rank, config.UseRslora ? alpha / Math.Sqrt(rank) : alpha / rank, config.LoraDropout, config.UseDora, generator));
        });
    }

    // What is trained whole beside the adapters.
    private static IEnumerable<(string Key, Parameter Parameter)> Whole(CausalLanguageModel model, LoraConfig config) => model.named_parameters().Where(p => config.ModulesToSave?.Any(m => p.name.Split('.').Contains(m)) == true && !p.name.Contains(".lora_", StringComparison.Ordinal)).Select(p => (p.name, p.parameter));

    private static IEnumerable<(string Name, ProjectionLayer Layer)> Layers(nn.Module model) => model.named_modules().Where(m => m.module is ProjectionLayer).Select(m => (m.name, (ProjectionLayer)m.module));

    private static string Last(string name) => name[(name.LastIndexOf('.') + 1)..];

    private static T Pattern<T>(Dictionary<string, T> patterns, string name, T otherwise)
    {
        foreach (var (pattern, value) in patterns)
            if (Regex.IsMatch(name, $"(.*\\.)?({pattern})$", RegexOptions.CultureInvariant, TimeSpan.FromSeconds(1))) return value;
        return otherwise;
    }

    private static Func<string, bool> Target(LoraConfig config)
    {
        if (config.TargetModules is JsonArray names) return name => names.Any(n => (string?)n is { } end && (name == end || name.EndsWith("." + end, StringComparison.Ordinal)));
        if ((string?)config.TargetModules is not { } text) return name => Last(name) is "q_proj" or "v_proj" or "c_attn" or "query_key_value";   // PEFT's choice for these architectures
        if (text == "all-linear") return _ => true;
        return name => Regex.IsMatch(name, $"^(?:{text})$", RegexOptions.CultureInvariant, TimeSpan.FromSeconds(1));
    }

    /// <summary>Attaches the adapter of a folder, to be trained on.</summary>
    /// <param name="model">The model it was trained on.</param>
    /// <param name="folder">As PEFT writes it.</param>
    /// <exception cref="InvalidDataException">The folder holds none, one that cannot be honoured, or one of another model.</exception>
    public static LoraConfig Load(CausalLanguageModel model, string folder)
    {
        var config = Named(folder, () => Attach(model, ReadConfig(folder)));
        Fill(model, config, folder);
        return config;
    }

    /// <summary>Merges an adapter's folder into a model's weights, which then is as it would be had it been trained whole. Several are merged one after the other.</summary>
    /// <inheritdoc cref="Load"/>
    public static LoraConfig Merge(CausalLanguageModel model, string folder) => Changed(model, folder, ReadConfig(folder), (change, layer) => change.Merge(layer));

    /// <summary>Takes an adapter out of weights that it was merged into: W - s B A, exact up to rounding.</summary>
    /// <param name="model">The merged model.</param>
    /// <param name="folder">The adapter.</param>
    /// <exception cref="InvalidDataException">The folder holds none or one of another model, DoRA's, or one with parts that were trained whole: what these were before is not in it.</exception>
    public static LoraConfig Unmerge(CausalLanguageModel model, string folder)
    {
        var config = ReadConfig(folder);
        if (config.UseDora || config.ModulesToSave is { Count: > 0 }) throw new InvalidDataException($"{folder}: found an adapter with {(config.UseDora ? "magnitudes (use_dora)" : "modules_to_save")}, which cannot be taken out of merged weights. Expected a plain one: load the model that it was trained on instead.");
        return Changed(model, folder, config, (change, layer) => change.Unmerge(layer));
    }

    private static LoraConfig Changed(CausalLanguageModel model, string folder, LoraConfig config, Action<LowRank, ProjectionLayer> apply)
    {
        var changes = Named(folder, () => Changes(model, config, seed: 1));
        try
        {
            Fill([.. Keys(changes.Select(c => (c.Name, c.Change))), .. Whole(model, config)], Path.Combine(folder, WeightsFile));
            foreach (var (_, layer, change) in changes) apply(change, layer);
            return config;
        }
        finally { foreach (var (_, _, change) in changes) change.Dispose(); }
    }

    /// <summary>The configuration of an adapter's folder.</summary>
    /// <exception cref="InvalidDataException">The folder holds none.</exception>
    public static LoraConfig ReadConfig(string folder)
    {
        if (!IsAt(folder)) throw new InvalidDataException($"Found no {ConfigFile} in {folder}. Expected the folder of a LoRA adapter, as PEFT or lect align write it.");
        var path = Path.Combine(folder, ConfigFile);
        return ModelConfig.Bind<LoraConfig>(ModelConfig.ReadFile(path), path);
    }

    private static T Named<T>(string folder, Func<T> read)
    {
        try { return read(); }
        catch (InvalidDataException e) when (!e.Message.StartsWith(folder, StringComparison.Ordinal)) { throw new InvalidDataException($"{Path.Combine(folder, ConfigFile)}: {e.Message}", e); }
    }

    /// <summary>Fills the attached adapters, and what is trained beside them, from a folder.</summary>
    /// <exception cref="InvalidDataException">A tensor is missing, of another shape, or has no place.</exception>
    public static void Fill(CausalLanguageModel model, LoraConfig config, string folder) => Fill(Trained(model, config), Path.Combine(folder, WeightsFile));

    private static void Fill(IReadOnlyList<(string Key, Parameter Parameter)> parameters, string file)
    {
        using var noGrad = no_grad();
        var weights = Weights.Open(file);
        var unused = new HashSet<string>(weights.Names, StringComparer.Ordinal);
        foreach (var (key, parameter) in parameters)
        {
            using var scope = NewDisposeScope();
            if (!unused.Remove(Prefix + key)) throw new InvalidDataException($"{file}: found no tensor '{Prefix + key}', which the configuration asks for. The adapter is not whole, or of another model.");
            var shape = weights.Info(Prefix + key).Shape;
            if (!shape.SequenceEqual(parameter.shape)) throw new InvalidDataException($"{file}: found '{Prefix + key}' of shape [{string.Join(", ", shape)}]. Expected [{string.Join(", ", parameter.shape)}]: the adapter is of a model of another size.");
            parameter.copy_(weights.Load(Prefix + key));
        }
        if (unused.Count > 0) throw new InvalidDataException($"{file}: found the tensor '{unused.Order(StringComparer.Ordinal).First()}', for which this model has no place. The adapter is of another model.");
    }

    // PEFT's keys, without the prefix.
    private static IEnumerable<(string Key, Parameter Parameter)> Keys(IEnumerable<(string Name, LowRank Change)> changes) => changes.SelectMany(c => c.Change.Parameters.Select(p => ($"{c.Name}.{p.Key}", p.Parameter)));

    private static List<(string Key, Parameter Parameter)> Trained(CausalLanguageModel model, LoraConfig config) => [.. Keys(Layers(model).Where(l => l.Layer.Adapter is not null).Select(l => (l.Name, l.Layer.Adapter!))), .. Whole(model, config)];

    /// <summary>Writes the adapter's folder.</summary>
    public static void Save(CausalLanguageModel model, LoraConfig config, string folder)
    {
        Directory.CreateDirectory(folder);
        ModelFolder.WriteText(Path.Combine(folder, ConfigFile), ModelConfig.ToText(ModelConfig.Write(config)));
        SafeTensorsFile.Write(Path.Combine(folder, WeightsFile), [.. Trained(model, config).Select(p => (Prefix + p.Key, (Tensor)p.Parameter))]);
    }

    /// <summary>The model without its adapters until the result is disposed: the reference of the policy that it is.</summary>
    public static IDisposable Off(CausalLanguageModel model) => new Switch([.. Layers(model).Select(l => l.Layer.Adapter).OfType<LowRank>()]);

    private sealed class Switch : IDisposable
    {
        private readonly List<LowRank> adapters;

        public Switch(List<LowRank> adapters)
        {
            this.adapters = adapters;
            foreach (var adapter in adapters) adapter.IsOn = false;
        }

        public void Dispose()
        {
            foreach (var adapter in adapters) adapter.IsOn = true;
        }
    }
}
