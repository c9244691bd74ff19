using System.Text.Json;
using TorchSharp;

namespace Lect.Models;

/// <summary>The tensors of a model folder: one model.safetensors, or shards with their index. Nothing outside the folder is ever read.</summary>
public sealed class Weights
{
    private readonly Dictionary<string, SafeTensorsFile> fileOf = new(StringComparer.Ordinal);

    private Weights() { }

    /// <summary>Names of all tensors.</summary>
    public IReadOnlyCollection<string> Names => fileOf.Keys;

    /// <summary>What the header says of a tensor.</summary>
    public SafeTensorInfo Info(string name) => fileOf[name].Tensors[name];

    /// <summary>Metadata of the file, or of all shards together.</summary>
    public IReadOnlyDictionary<string, string> Metadata => fileOf.Values.Distinct().SelectMany(f => f.Metadata ?? new Dictionary<string, string>()).GroupBy(p => p.Key).ToDictionary(g => g.Key, g => g.First().Value, StringComparer.Ordinal);

    /// <summary>A tensor, mapped from its file; the caller owns it.</summary>
    public torch.Tensor Load(string name) => fileOf[name].Load(name);

    /// <summary>Opens a .safetensors file, or a folder with model.safetensors or model.safetensors.index.json.</summary>
    /// <exception cref="InvalidDataException">Nothing to open, or something in it is wrong.</exception>
    public static Weights Open(string path)
    {
        var weights = new Weights();
        if (File.Exists(path)) { weights.Add(SafeTensorsFile.Open(path)); return weights; }
        string single = Path.Combine(path, "model.safetensors"), index = Path.Combine(path, "model.safetensors.index.json");
        if (File.Exists(single)) weights.Add(SafeTensorsFile.Open(single));
        else if (File.Exists(index)) weights.AddShards(path, index);
        else throw new InvalidDataException(Directory.Exists(path)
            ? $"Found no weights in the folder {path}. Expected model.safetensors, or model.safetensors.index.json with its shards. (Lect reads no pickled pytorch_model.bin: convert it with transformers' save_pretrained.)"
            : $"Found no file or folder {path}. Expected a safetensors file or a model folder.");
        return weights;
    }

    private void Add(SafeTensorsFile file)
    {
        foreach (var name in file.Tensors.Keys) fileOf[name] = file;
    }

    private void AddShards(string folder, string index)
    {
        InvalidDataException Bad(string fault, Exception? cause = null) => new($"{index}: {fault}", cause);
        var shardOf = new Dictionary<string, string>(StringComparer.Ordinal);
        try
        {
            using var json = JsonDocument.Parse(File.ReadAllBytes(index));
            if (!json.RootElement.TryGetProperty("weight_map", out var map) || map.ValueKind != JsonValueKind.Object) throw Bad("found no \"weight_map\" object. Expected tensor names and their shards.");
            foreach (var entry in map.EnumerateObject())
            {
                var shard = entry.Value.ValueKind == JsonValueKind.String ? entry.Value.GetString()! : throw Bad($"the shard of '{entry.Name}' is no string.");
                if (!IsPlainFileName(shard)) throw Bad($"found the shard name '{shard}'. Expected a plain file name that ends in .safetensors, in the index's own folder; nothing outside it is read.");
                if (!shardOf.TryAdd(entry.Name, shard)) throw Bad($"the tensor '{entry.Name}' is listed twice.");
            }
        }
        catch (Exception e) when (e is JsonException or InvalidOperationException) { throw Bad($"is no readable JSON: {e.Message}", e); }

        foreach (var shard in shardOf.Values.Distinct().ToList())
        {
            var path = Path.Combine(folder, shard);
            if (!File.Exists(path)) throw Bad($"the shard {shard} is not in the folder. Download the rest of the model.");
            var file = SafeTensorsFile.Open(path);
            foreach (var name in file.Tensors.Keys.Where(n => shardOf.GetValueOrDefault(n) == shard)) fileOf[name] = file;
        }
        foreach (var (name, shard) in shardOf)
            if (!fileOf.ContainsKey(name)) throw Bad($"lists the tensor '{name}' in {shard}, which does not hold it.");
    }

    private static bool IsPlainFileName(string name) => name.EndsWith(".safetensors", StringComparison.Ordinal) && name.Length > ".safetensors".Length && !name.StartsWith('.') && name.IndexOfAny(['/', '\\', ':', '\0']) < 0;
}
