using System.Text.Json.Nodes;
using Lect.Models;
using Lect.Text;
using TorchSharp;
using static TorchSharp.torch;

namespace Lect;

/// <summary>Model folders from other formats, and between the precisions of their files.</summary>
public static class ModelConversion
{
    /// <summary>What the files' numbers may be.</summary>
    public static IReadOnlyList<string> Types { get; } = ["F32", "F16", "BF16"];

    /// <summary>Writes a Hugging Face folder.</summary>
    /// <param name="source">A model folder, or a .bin of llama2.c.</param>
    /// <param name="folder">Where to; it must not hold a model yet.</param>
    /// <param name="type">F32, F16 or BF16; null: as the source has it.</param>
    /// <param name="tokenizer">The tokenizer.bin of a llama2.c model; null: none.</param>
    /// <param name="adapters">Folders of LoRA adapters, merged into the weights in order; tokenizer and template are the last one's where it has them.</param>
    /// <exception cref="InvalidDataException">Something given cannot be used, or a number does not fit into the type.</exception>
    public static void Run(string source, string folder, string? type = null, string? tokenizer = null, IReadOnlyList<string>? adapters = null)
    {
        TorchNative.Load();
        if (type is not null && !Types.Contains(type)) throw new InvalidDataException($"Found --dtype {type}. Expected {string.Join(", ", Types)}.");
        if (File.Exists(folder)) throw new InvalidDataException($"Found the file {folder} for --out. Expected a new folder.");
        if (File.Exists(Path.Combine(folder, "config.json"))) throw new InvalidDataException($"Found a model in {folder}. Expected a new folder.");
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        if (File.Exists(source))
        {
            if (adapters is { Count: > 0 }) throw new InvalidDataException("Found --adapter with a .bin of llama2.c. Expected it with a model folder.");
            var words = tokenizer is null ? null : Llama2CTokenizer.Load(tokenizer);
            using var model = Llama2C.Load(source);
            Write(model.named_parameters().Select(p => (p.name, Converted(p.name, p.parameter, type))).ToList(), model.ConfigJson, type ?? "F32", folder, () =>
            {
                words?.Save(folder);
                ModelFolder.WriteText(Path.Combine(folder, "generation_config.json"), new JsonObject { ["bos_token_id"] = 1, ["eos_token_id"] = new JsonArray(1, 2) }.ToJsonString() + "\n");   // its program stops at a new beginning too
            });
            return;
        }
        if (tokenizer is not null) throw new InvalidDataException("Found --tokenizer with a model folder. Expected it with a .bin of llama2.c; a folder has its own.");
        if (adapters is { Count: > 0 })
        {
            using var merged = Merged(source, adapters);
            Write(merged.named_parameters().Select(p => (p.name, Converted(p.name, p.parameter, type))).ToList(), merged.ConfigJson, type ?? "F32", folder, () => CopyBeside([source, AlignedModel.WordsOf(source, adapters).Folder], folder));
            return;
        }
        var weights = Weights.Open(source);
        var most = weights.Names.Select(n => weights.Info(n).Dtype).Where(Types.Contains).GroupBy(t => t).MaxBy(g => g.Count())?.Key ?? "F32";
        Write(weights.Names.Order(StringComparer.Ordinal).Select(name => (name, Converted(name, weights.Load(name), type))).ToList(), ModelFolder.ReadConfig(source), type ?? most, folder, () => CopyBeside([source], folder));
    }

    // An adapter that saves a score makes a reward model of a language model.
    private static CausalLanguageModel Merged(string source, IReadOnlyList<string> adapters)
    {
        var hasScore = ModelFolder.HeadOf(ModelFolder.ReadConfig(source)) == EncoderHead.ForSequenceClassification || adapters.Any(a => Lora.ReadConfig(a).ModulesToSave?.Contains("score") == true);
        var model = hasScore ? ModelFolder.LoadScorer(source, Tokenizer.LoadIfThere(source)?.Padding).Model : ModelFolder.Load(source);
        try
        {
            foreach (var adapter in adapters) Lora.Merge(model, adapter);
            return model;
        }
        catch { model.Dispose(); throw; }
    }

    // The last folder's files count.
    private static void CopyBeside(IEnumerable<string> sources, string folder)
    {
        foreach (var source in sources)
            foreach (var file in s_beside.Select(f => Path.Combine(source, f)).Where(File.Exists)) ModelFolder.CopyFile(file, Path.Combine(folder, Path.GetFileName(file)));
    }

    // What belongs to a model besides its weights: tokenizers, templates, defaults of generation. Not the traces of a run, nor weights in other formats.
    private static readonly string[] s_beside = ["generation_config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "chat_template.jinja", "chat_template.json", "vocab.json", "merges.txt", "vocab.txt", "tokenizer.model", "spiece.model", "sentencepiece.bpe.model", "source.spm", "target.spm", "source_tokenizer.json", "target_tokenizer.json"];

    // config.json comes last: with it the folder is a model.
    private static void Write(IReadOnlyList<(string, Tensor)> tensors, JsonObject config, string type, string folder, Action beside)
    {
        Directory.CreateDirectory(folder);
        SafeTensorsFile.Write(Path.Combine(folder, "model.safetensors"), tensors, new Dictionary<string, string> { ["format"] = "pt" });
        beside();
        config.Remove("torch_dtype");
        config["dtype"] = type switch { "F16" => "float16", "BF16" => "bfloat16", _ => "float32" };
        ModelFolder.WriteText(Path.Combine(folder, "config.json"), ModelConfig.ToText(config));
    }

    // Numbers change their type; ids and masks stay.
    private static Tensor Converted(string name, Tensor tensor, string? type)
    {
        if (type is null || !tensor.is_floating_point()) return tensor;
        var converted = tensor.to(type switch { "F16" => ScalarType.Float16, "BF16" => ScalarType.BFloat16, _ => ScalarType.Float32 });
        return converted.isfinite().all().item<bool>() || !tensor.isfinite().all().item<bool>() ? converted : throw new InvalidDataException($"Found numbers in '{name}' that are too large for {type}. Expected at most 65504: BF16 holds them.");
    }
}
