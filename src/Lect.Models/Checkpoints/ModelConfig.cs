using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.Json.Nodes;
using System.Text.Json.Serialization;

namespace Lect.Models;

/// <summary>Reads and writes config.json: snake_case names, tolerant, unknown keys kept.</summary>
internal static class ModelConfig
{
    private static readonly JsonSerializerOptions s_options = new()
    {
        PropertyNamingPolicy = JsonNamingPolicy.SnakeCaseLower,
        WriteIndented = true,
        Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping,
        DefaultIgnoreCondition = JsonIgnoreCondition.Never,
    };

    public static JsonObject ReadFile(string path)
    {
        if (!File.Exists(path) && File.Exists(Path.Combine(Path.GetDirectoryName(path)!, "adapter_config.json"))) throw new InvalidDataException($"Found an adapter in {Path.GetDirectoryName(path)}. Expected the model that it belongs to (--model MODEL --adapter ADAPTER), or both in one folder: lect convert MODEL --adapter ADAPTER --out FOLDER.");
        if (!File.Exists(path)) throw new InvalidDataException($"Found no {path}. Expected a model folder in Hugging Face's layout (config.json, model.safetensors).");
        try { return JsonNode.Parse(File.ReadAllText(path)) as JsonObject ?? throw new JsonException("not an object"); }
        catch (JsonException e) { throw new InvalidDataException($"{path} is no readable JSON object: {e.Message}", e); }
    }

    // More than any model has; a damaged number would be worked on for hours.
    private const int MostLayers = 4096;
    private static readonly string[] s_layers = ["n_layer", "n_layers", "num_layers", "num_hidden_layers", "encoder_layers", "decoder_layers", "layers"];

    public static T Bind<T>(JsonObject json, string source)
    {
        foreach (var key in s_layers)
            if (json[key] is JsonValue value && value.TryGetValue<long>(out var layers) && layers > MostLayers) throw new InvalidDataException($"{source}: found {key} = {layers}. Expected at most {MostLayers}.");
        try { return json.Deserialize<T>(s_options)!; }
        catch (JsonException e) { throw new InvalidDataException($"{source}: the value of {e.Path} cannot be read: {e.Message}", e); }
    }

    public static JsonObject Write<T>(T config) => JsonSerializer.SerializeToNode<object>(config!, s_options)!.AsObject();

    public static JsonObject Write<T>(T config, string modelType, string architecture)
    {
        var json = Write(config);
        foreach (var part in json.Select(p => p.Value).OfType<JsonObject>())   // what is not set within a part is not written
            foreach (var key in part.Where(p => p.Value is null).Select(p => p.Key).ToList()) part.Remove(key);
        json["model_type"] = modelType;
        json["architectures"] = new JsonArray(architecture);
        json["dtype"] = "float32";
        json.Remove("torch_dtype");
        return json;
    }

    /// <summary>The labels' names in the order of their numbers.</summary>
    public static IReadOnlyList<string> LabelsOf(JsonObject config) => config["id2label"] is JsonObject names
        ? [.. names.OrderBy(n => int.Parse(n.Key, System.Globalization.CultureInfo.InvariantCulture)).Select(n => (string)n.Value!)]
        : [.. Enumerable.Range(0, (int?)config["num_labels"] ?? 2).Select(i => $"LABEL_{i}")];

    public static string ToText(JsonObject json) => json.ToJsonString(s_options) + "\n";
}
