using System.Globalization;
using System.Text.Json.Nodes;
using TorchSharp;
using static TorchSharp.torch;

namespace Lect.Models;

/// <summary>Models from and to Hugging Face folders. <see cref="Create"/> is the one switch over architectures in the library.</summary>
public static class ModelFolder
{
    /// <summary>A model of a configuration, without weights.</summary>
    /// <param name="config">config.json's content; <c>model_type</c> decides.</param>
    /// <param name="device">Where; <c>torch.META</c> allocates nothing.</param>
    /// <param name="source">What messages call the configuration.</param>
    /// <exception cref="InvalidDataException">An architecture that this version does not know, or values it cannot honour.</exception>
    public static CausalLanguageModel Create(JsonObject config, Device? device = null, string source = "config.json")
    {
        TorchNative.Load();
        if (Architecture(config).EndsWith("ForSequenceClassification", StringComparison.Ordinal)) throw new InvalidDataException($"{source}: found a {Architecture(config)}. Expected a language model; a classifier is for 'lect classify'.");
        return (string?)config["model_type"] switch
        {
            "gpt2" => new Gpt2(ModelConfig.Bind<Gpt2Config>(Gpt2Keys(config), source), device),
            var other => throw Unknown(other, source),
        };
    }

    /// <summary>A folder's config.json.</summary>
    /// <exception cref="InvalidDataException">It is not there, or no JSON object.</exception>
    public static JsonObject ReadConfig(string folder) => ModelConfig.ReadFile(Path.Combine(folder, "config.json"));

    private static string Architecture(JsonObject config) => (config["architectures"] as JsonArray)?.Select(a => (string?)a).FirstOrDefault() ?? "";

    private static InvalidDataException Unknown(string? modelType, string source) => new($"{source}: found model_type '{modelType}'. {(EncoderDecoders.Contains(modelType) ? "That is an encoder-decoder: use 'lect translate'." : "This version of Lect knows gpt2.")}");

    /// <summary>Opens a folder with a model that scores whole sequences.</summary>
    /// <exception cref="InvalidDataException">Something is missing, damaged, or the model is of another kind.</exception>
    public static SequenceClassifier LoadClassifier(string folder, Device? device = null)
    {
        TorchNative.Load();
        var path = Path.Combine(folder, "config.json");
        var config = ModelConfig.ReadFile(path);
        if (!Architecture(config).EndsWith("ForSequenceClassification", StringComparison.Ordinal)) throw new InvalidDataException($"{path}: found {(Architecture(config) is { Length: > 0 } a ? "a " + a : "no architecture")}. Expected a model for sequence classification, which has a 'score' or 'classifier' layer.");
        SequenceClassifier model = (string?)config["model_type"] switch
        {
            "gpt2" => new Gpt2Classifier(ModelConfig.Bind<Gpt2Config>(Gpt2Keys(config), path), device),
            var other => throw Unknown(other, path),
        };
        return Filled(model, folder);
    }

    /// <summary>The <c>model_type</c> of each encoder-decoder.</summary>
    public static IReadOnlyList<string> EncoderDecoders { get; } = ["lect_rnn", "lect_transformer", "marian"];

    /// <summary>An encoder-decoder of a configuration, without weights.</summary>
    /// <inheritdoc cref="Create"/>
    public static EncoderDecoder CreateEncoderDecoder(JsonObject config, Device? device = null, string source = "config.json")
    {
        TorchNative.Load();
        return (string?)config["model_type"] switch
        {
            "lect_rnn" => new RnnSeq2Seq(ModelConfig.Bind<RnnConfig>(config, source), device),
            "lect_transformer" => new TransformerSeq2Seq(ModelConfig.Bind<TransformerConfig>(config, source), device),
            "marian" => new Marian(ModelConfig.Bind<MarianConfig>(config, source), device),
            var other => throw new InvalidDataException($"{source}: found model_type '{other}'. Expected an encoder-decoder: {string.Join(", ", EncoderDecoders)}."),
        };
    }

    /// <summary>Opens a folder with an encoder-decoder.</summary>
    /// <param name="folder">In Hugging Face's layout.</param>
    /// <param name="device">Where; the CPU by default.</param>
    /// <param name="dropout">Replaces the configuration's, for training.</param>
    /// <exception cref="InvalidDataException">Something is missing, damaged, or the model is of another kind.</exception>
    public static EncoderDecoder LoadEncoderDecoder(string folder, Device? device = null, double? dropout = null)
    {
        var path = Path.Combine(folder, "config.json");
        var config = ModelConfig.ReadFile(path);
        if (dropout is not null) config["dropout"] = dropout;
        return Filled(CreateEncoderDecoder(config, device, path), folder);
    }

    /// <summary>Writes config.json and model.safetensors; each file appears whole or not at all.</summary>
    public static void Save(EncoderDecoder model, string folder) => Save(model, model.ConfigJson, folder);

    private static void Save(nn.Module model, JsonObject config, string folder)
    {
        Directory.CreateDirectory(folder);
        WriteText(Path.Combine(folder, "config.json"), ModelConfig.ToText(config));
        SafeTensorsFile.Write(Path.Combine(folder, "model.safetensors"), [.. model.named_parameters().Select(p => (p.name, (Tensor)p.parameter)), .. model.named_buffers().Select(b => (b.name, b.buffer))]);
    }

    private static T Filled<T>(T model, string folder) where T : nn.Module
    {
        try { LoadWeights(model, Weights.Open(folder), folder); }
        catch { model.Dispose(); throw; }
        model.eval();
        return model;
    }

    // Files from before 2019's end call the number of positions n_ctx.
    private static JsonObject Gpt2Keys(JsonObject config)
    {
        if (config["n_positions"] is not null || config["n_ctx"] is not { } context) return config;
        var copy = (JsonObject)config.DeepClone();
        copy["n_positions"] = context.DeepClone();
        return copy;
    }

    /// <summary>Opens a folder: config.json and its weights, widened to fp32.</summary>
    /// <param name="folder">In Hugging Face's layout.</param>
    /// <param name="device">Where; the CPU by default.</param>
    /// <param name="dropout">Replaces the configuration's, for training.</param>
    /// <exception cref="InvalidDataException">Something is missing, damaged, or of another shape than the configuration says.</exception>
    public static CausalLanguageModel Load(string folder, Device? device = null, double? dropout = null)
    {
        var path = Path.Combine(folder, "config.json");
        var config = ModelConfig.ReadFile(path);
        if (dropout is not null) foreach (var key in (string[])["resid_pdrop", "embd_pdrop", "attn_pdrop"]) config[key] = dropout;
        return Filled(Create(config, device, path), folder);
    }

    /// <summary>Fills a model's parameters; every one must be there, in its shape. Causal-mask buffers of old files are left out.</summary>
    public static void LoadWeights(nn.Module model, Weights weights, string source)
    {
        using var noGrad = no_grad();
        var unused = new HashSet<string>(weights.Names, StringComparer.Ordinal);
        foreach (var (key, parameter) in model.named_parameters().Select(p => (p.name, (Tensor)p.parameter)).Concat(model.named_buffers().Select(b => (b.name, b.buffer))))
        {
            using var scope = NewDisposeScope();
            var name = Find(key, weights) ?? throw new InvalidDataException($"{source}: found no tensor '{key}', which this architecture has. The checkpoint is of another architecture, or not whole.");
            unused.Remove(name);
            var stored = weights.Info(name);
            if (!stored.Shape.SequenceEqual(parameter.shape))
                throw new InvalidDataException($"{source}: found '{name}' of shape [{string.Join(", ", stored.Shape)}]. Expected [{string.Join(", ", parameter.shape)}] by config.json.");
            parameter.copy_(weights.Load(name));
        }
        unused.RemoveWhere(IsBuffer);
        unused.RemoveWhere(n => n is "lm_head.weight" || (model is Marian { Config.ShareEncoderDecoderEmbeddings: true } && n is "model.encoder.embed_tokens.weight" or "model.decoder.embed_tokens.weight"));   // copies of the embeddings
        if (unused.Count > 0) throw new InvalidDataException($"{source}: found {unused.Count} tensors that this architecture has no place for, among them '{unused.Order(StringComparer.Ordinal).First()}'. The checkpoint is of another architecture.");
    }

    private static string? Find(string key, Weights weights)
    {
        if (weights.Names.Contains(key)) return key;
        const string Prefix = "transformer.";
        return key.StartsWith(Prefix, StringComparison.Ordinal) && weights.Names.Contains(key[Prefix.Length..]) ? key[Prefix.Length..] : null;
    }

    private static bool IsBuffer(string name) => name.EndsWith(".attn.bias", StringComparison.Ordinal) || name.EndsWith(".attn.masked_bias", StringComparison.Ordinal) || name is "model.encoder.embed_positions.weight" or "model.decoder.embed_positions.weight";

    /// <summary>Writes config.json and model.safetensors, as save_pretrained does; each file appears whole or not at all.</summary>
    public static void Save(CausalLanguageModel model, string folder) => Save(model, model.ConfigJson, folder);

    /// <summary>Writes a text file whole or not at all.</summary>
    public static void WriteText(string path, string text)
    {
        using (var stream = File.Create(path + ".tmp"))
        {
            stream.Write(System.Text.Encoding.UTF8.GetBytes(text));
            stream.Flush(flushToDisk: true);
        }
        File.Move(path + ".tmp", path, overwrite: true);
    }

    /// <summary>Copies a file whole or not at all.</summary>
    public static void CopyFile(string from, string to)
    {
        File.Copy(from, to + ".tmp", overwrite: true);
        File.Move(to + ".tmp", to, overwrite: true);
    }

    /// <summary>Number of parameters of a configuration, counted without allocating them.</summary>
    public static long CountParameters(JsonObject config)
    {
        using var scope = NewDisposeScope();
        using var model = Create(config, META);
        return model.parameters().Sum(p => p.numel());
    }

    /// <summary>A number of parameters as people write it: 124.4M.</summary>
    public static string Short(long count) => count switch
    {
        >= 1_000_000_000 => string.Create(CultureInfo.InvariantCulture, $"{count / 1e9:0.##}B"),
        >= 1_000_000 => string.Create(CultureInfo.InvariantCulture, $"{count / 1e6:0.#}M"),
        >= 1_000 => string.Create(CultureInfo.InvariantCulture, $"{count / 1e3:0.#}K"),
        _ => count.ToString(CultureInfo.InvariantCulture),
    };
}
