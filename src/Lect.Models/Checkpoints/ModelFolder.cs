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
        if (VerbOf(config) is { } verb) throw new InvalidDataException($"{source}: found a {Architecture(config)}. Expected a decoder that continues texts; this one is for '{verb}'.");
        return CreateDecoder(config, device, source);
    }

    /// <summary>A decoder of a configuration with whatever head it has, without weights.</summary>
    /// <inheritdoc cref="Create"/>
    public static CausalLanguageModel CreateDecoder(JsonObject config, Device? device = null, string source = "config.json")
    {
        TorchNative.Load();
        var isClassifier = HeadOf(config) == EncoderHead.ForSequenceClassification;
        return TypeOf(config) switch
        {
            "openai-gpt" => new Gpt1(ModelConfig.Bind<Gpt1Config>(config, source), isClassifier ? Gpt1Head.Classification : Architecture(config) == Gpt1.ClassOf(Gpt1Head.MultipleChoice) ? Gpt1Head.MultipleChoice : Gpt1Head.LanguageModel, device),
            "gpt2" => new Gpt2(ModelConfig.Bind<Gpt2Config>(Gpt2Keys(config), source), device, isClassifier),
            "gpt_neo" => new Gpt3(ModelConfig.Bind<Gpt3Config>(config, source), device, isClassifier),
            "gpt_neox" => new GptNeoX(ModelConfig.Bind<GptNeoXConfig>(RotaryConfig.Normalized(config, partly: 0.25), source), device, isClassifier),
            "falcon" => new Falcon(ModelConfig.Bind<FalconConfig>(RotaryConfig.Normalized(config), source), device, isClassifier),
            "llama" => new Llama(ModelConfig.Bind<LlamaConfig>(RotaryConfig.Normalized(config), source), device, isClassifier),
            "mistral" => new Llama(ModelConfig.Bind<MistralConfig>(RotaryConfig.Normalized(config), source), device, isClassifier),
            "qwen2" => new Llama(ModelConfig.Bind<Qwen2Config>(RotaryConfig.Normalized(config), source), device, isClassifier),
            "qwen3" => new Llama(ModelConfig.Bind<Qwen3Config>(RotaryConfig.Normalized(config), source), device, isClassifier),
            var other => throw Unknown(other, source),
        };
    }

    // A type that is no text is none that is known.
    private static string? TypeOf(JsonObject config) => config["model_type"] is JsonValue value && value.GetValueKind() == System.Text.Json.JsonValueKind.String ? (string)value! : config["model_type"]?.ToJsonString();

    /// <summary>A folder's config.json.</summary>
    /// <exception cref="InvalidDataException">It is not there, or no JSON object.</exception>
    public static JsonObject ReadConfig(string folder) => ModelConfig.ReadFile(Path.Combine(folder, "config.json"));

    /// <summary>The most positions of a folder's encoder, or of its GPT-1, by its configuration alone.</summary>
    /// <exception cref="InvalidDataException">It is another model.</exception>
    internal static long PositionsOf(string folder, bool isGpt1)
    {
        TorchNative.Load();
        var path = Path.Combine(folder, "config.json");
        var config = ModelConfig.ReadFile(path);
        if (isGpt1)
        {
            RequireGpt1(config, path);
            return ModelConfig.Bind<Gpt1Config>(config, path).NPositions;
        }
        using var model = CreateEncoder(config, EncoderHead.Model, META, path);
        return model.ContextLength;
    }

    private static string Architecture(JsonObject config) => (config["architectures"] as JsonArray)?.Select(a => (string?)a).FirstOrDefault() ?? "";

    private static InvalidDataException Unknown(string? modelType, string source)
    {
        var known = (string[])[.. Decoders, .. Encoders, .. EncoderDecoders];
        var nearest = modelType is null ? null : s_kin.FirstOrDefault(k => modelType.StartsWith(k.Name, StringComparison.OrdinalIgnoreCase)).Nearest ?? known.MaxBy(k => k.Zip(modelType).TakeWhile(p => p.First == char.ToLowerInvariant(p.Second)).Count() is >= 2 and var n ? n : 0);
        return new($"{source}: found model_type '{modelType}'. This version of Lect knows {string.Join(", ", known)}.{(nearest is null ? "" : $" Nearest is {nearest}, but its tensors or its arithmetic differ.")}");
    }

    // Published architectures that are built on one of ours.
    private static readonly (string Name, string? Nearest)[] s_kin = [("gemma", "llama"), ("phi3", "llama"), ("phi", "gpt_neox"), ("olmo", "llama"), ("smollm", "llama"), ("deepseek", "llama"), ("granite", "llama"), ("internlm", "llama"), ("mixtral", "mistral"), ("ministral", "mistral"), ("stablelm", "gpt_neox"), ("gptj", "gpt_neox"),
        ("gpt_bigcode", "gpt2"), ("opt", "gpt2"), ("bloom", "falcon"), ("mpt", "falcon"), ("camembert", "roberta"), ("xlm", "roberta"), ("deberta", "roberta"), ("albert", "bert"), ("electra", "bert"), ("mpnet", "bert"), ("modernbert", "bert"), ("bart", "marian"), ("mbart", "marian"), ("pegasus", "marian"), ("m2m_100", "marian"), ("t5", "marian"), ("mt5", "marian")];

    /// <summary>The <c>model_type</c> of each decoder.</summary>
    public static IReadOnlyList<string> Decoders { get; } = ["openai-gpt", "gpt2", "gpt_neo", "gpt_neox", "falcon", "llama", "mistral", "qwen2", "qwen3"];

    /// <summary>The verb that a folder's model is for, where it is no language model that continues texts.</summary>
    private static string? VerbOf(JsonObject config) => EncoderDecoders.Contains(TypeOf(config)) ? "lect translate" : HeadOf(config) switch
    {
        EncoderHead.ForPreTraining or EncoderHead.ForMaskedLM => "lect fill-mask",
        EncoderHead.ForNextSentencePrediction => "lect next-sentence",
        EncoderHead.ForSequenceClassification => ModelConfig.LabelsOf(config).Count == 1 ? "lect reward, or lect classify" : "lect classify",
        EncoderHead.ForMultipleChoice => "lect choose",
        EncoderHead.ForQuestionAnswering => "lect answer",
        EncoderHead.ForTokenClassification => "lect tag",
        _ when Architecture(config) == Gpt1.ClassOf(Gpt1Head.MultipleChoice) => "lect choose",
        _ => Encoders.Contains(TypeOf(config)) ? "lect embed, or lect finetune" : null,
    };

    /// <summary>What stands on top of a folder's encoder, by the ending of its class name.</summary>
    public static EncoderHead HeadOf(JsonObject config)
    {
        var name = Architecture(config);
        var at = name.IndexOf("For", StringComparison.Ordinal);
        return at > 0 && Enum.TryParse<EncoderHead>(name[at..], out var head) ? head : EncoderHead.Model;
    }

    /// <summary>Opens a folder with a model that scores whole sequences.</summary>
    /// <exception cref="InvalidDataException">Something is missing, damaged, or the model is of another kind.</exception>
    public static ISequenceClassifier LoadClassifier(string folder, Device? device = null)
    {
        TorchNative.Load();
        var path = Path.Combine(folder, "config.json");
        var config = ModelConfig.ReadFile(path);
        if (HeadOf(config) != EncoderHead.ForSequenceClassification) throw Misfit(config, path, "a model for sequence classification");
        return Decoders.Contains(TypeOf(config)) ? Filled(CreateDecoder(config, device, path), folder) : LoadEncoder(folder, device);
    }

    /// <summary>Opens a folder with a model that scores continuations.</summary>
    /// <exception cref="InvalidDataException">Something is missing, damaged, or the model is of another kind.</exception>
    public static ISequenceClassifier LoadChooser(string folder, Device? device = null)
    {
        TorchNative.Load();
        var path = Path.Combine(folder, "config.json");
        var config = ModelConfig.ReadFile(path);
        return Architecture(config) == Gpt1.ClassOf(Gpt1Head.MultipleChoice) ? Filled(new Gpt1(ModelConfig.Bind<Gpt1Config>(config, path), Gpt1Head.MultipleChoice, device), folder) : LoadEncoder(folder, device, EncoderHead.ForMultipleChoice);
    }

    private static InvalidDataException Misfit(JsonObject config, string path, string expected) => new($"{path}: found {(Architecture(config) is { Length: > 0 } a ? "a " + a : "no architecture")}. Expected {expected}; this one is for '{VerbOf(config) ?? "lect generate"}'.");

    /// <summary>The <c>model_type</c> of each encoder.</summary>
    public static IReadOnlyList<string> Encoders { get; } = ["bert", "roberta", "distilbert"];

    /// <summary>What a folder is called by: the last part of its path.</summary>
    public static string NameOf(string folder) => Path.GetFileName(Path.TrimEndingDirectorySeparator(Path.GetFullPath(folder)));

    /// <summary>Whether a folder holds an encoder.</summary>
    public static bool IsEncoder(string folder) => Path.Combine(folder, "config.json") is var path && File.Exists(path) && Encoders.Contains(TypeOf(ModelConfig.ReadFile(path)));

    /// <summary>An encoder of a configuration with a head, without weights.</summary>
    /// <inheritdoc cref="Create"/>
    public static EncoderModel CreateEncoder(JsonObject config, EncoderHead head, Device? device = null, string source = "config.json")
    {
        TorchNative.Load();
        return TypeOf(config) switch
        {
            "bert" => new Bert(ModelConfig.Bind<BertConfig>(config, source), head, device),
            "roberta" => new Roberta(ModelConfig.Bind<BertConfig>(config, source), head, device),
            "distilbert" => new DistilBert(ModelConfig.Bind<DistilBertConfig>(config, source), head, device),
            _ => throw Misfit(config, source, $"an encoder ({string.Join(", ", Encoders)})"),
        };
    }

    /// <summary>Opens a folder with an encoder and its own head.</summary>
    /// <param name="folder">In Hugging Face's layout.</param>
    /// <param name="device">Where; the CPU by default.</param>
    /// <param name="heads">Those that will do; none: any.</param>
    /// <exception cref="InvalidDataException">Something is missing, damaged, or the model is of another kind.</exception>
    public static EncoderModel LoadEncoder(string folder, Device? device = null, params ReadOnlySpan<EncoderHead> heads)
    {
        var path = Path.Combine(folder, "config.json");
        var config = ModelConfig.ReadFile(path);
        if (!heads.IsEmpty && !heads.Contains(HeadOf(config))) throw Misfit(config, path, $"an encoder {string.Join(" or ", heads.ToArray())}");
        return Filled(CreateEncoder(config, HeadOf(config), device, path), folder);
    }

    /// <summary>Opens a folder's encoder under a head that it may not have yet: then the head is new.</summary>
    /// <param name="folder">In Hugging Face's layout.</param>
    /// <param name="head">What is to stand on top.</param>
    /// <param name="seed">Key of the new weights.</param>
    /// <param name="labels">Names of the labels, in order; null: the folder's own. A head of the same names is taken, each label's row by its name; one of other names is not.</param>
    /// <param name="device">Where.</param>
    /// <param name="dropout">Replaces the configuration's of activations and attention; null: the configuration's own.</param>
    /// <param name="fromNothing">All weights are new: the folder gives the configuration alone.</param>
    /// <returns>The model, and the keys that are new.</returns>
    /// <exception cref="InvalidDataException">Something of the encoder is missing or of another shape.</exception>
    public static (EncoderModel Model, IReadOnlyList<string> New) LoadEncoder(string folder, EncoderHead head, long seed, IReadOnlyList<string>? labels = null, Device? device = null, double? dropout = null, bool fromNothing = false)
    {
        var path = Path.Combine(folder, "config.json");
        var config = ModelConfig.ReadFile(path);
        var rows = labels is null ? null : RowsOf(labels, config, head);
        if (labels is not null) SetLabels(config, labels);
        if (dropout is not null) foreach (var key in (string[])["hidden_dropout_prob", "attention_probs_dropout_prob", "dropout", "attention_dropout", "classifier_dropout", "seq_classif_dropout", "qa_dropout"]) if (config.ContainsKey(key) || (key.EndsWith("_prob", StringComparison.Ordinal) && TypeOf(config) != "distilbert")) config[key] = dropout;
        return Filled(CreateEncoder(config, head, device, path), model =>
        {
            model.Initialize(seed, (double?)config["initializer_range"] ?? 0.02);
            return fromNothing ? Keys(model) : FillUnderHead(model, model.DepthOf, Weights.Open(folder), folder, labels is not null, rows);
        });
    }

    // What has a row for each label.
    private static readonly string[] s_labelRows = ["classifier.weight", "classifier.bias", "classifier.out_proj.weight", "classifier.out_proj.bias", "score.weight"];

    // Labels without names of their own (LABEL_0 …) are taken in order, as is a single number.
    private static long[]? RowsOf(IReadOnlyList<string> labels, JsonObject config, EncoderHead head)
    {
        var own = ModelConfig.LabelsOf(config).ToList();
        if (HeadOf(config) != head || labels.Count != own.Count) return [];
        if (labels.Count == 1 || own.Index().All(l => l.Item == $"LABEL_{l.Index}")) return null;
        return labels.All(own.Contains) ? [.. labels.Select(l => (long)own.IndexOf(l))] : [];
    }

    private static List<string> Keys(nn.Module model) => [.. model.named_parameters().Select(p => p.name)];

    // What has a depth must be whole, but for tokens that were added behind the embeddings' rows; a head is taken as far as it is there in the right shape. Gives what is new.
    // labelRows says which of the folder's rows each label of the head takes: none of them, where its labels are others; null: they stand in order.
    private static List<string> FillUnderHead(nn.Module model, Func<string, int?> depthOf, Weights weights, string source, bool labelsMayDiffer, long[]? labelRows = null)
    {
        using var noGrad = no_grad();
        var missing = new List<string>();
        foreach (var (key, parameter) in model.named_parameters())
        {
            using var scope = NewDisposeScope();
            var name = Find(key, weights) ?? TiedName(model, key, weights);
            var shape = name is null ? [] : weights.Info(name).Shape;
            var own = s_labelRows.Contains(key) ? labelRows : null;
            if (name is not null && shape.SequenceEqual(parameter.shape) && own is not []) parameter.copy_(own is null ? weights.Load(name) : weights.Load(name)[tensor(own)]);
            else if (depthOf(key) is null && (name is null || labelsMayDiffer)) missing.Add(key);
            else if (name is not null && model is Gpt1 && IsEmbedding(key) && shape is [var rows, var width] && width == parameter.shape[1] && rows < parameter.shape[0])
            {
                parameter.narrow(0, 0, rows).copy_(weights.Load(name));
                missing.Add($"{parameter.shape[0] - rows} rows of {key}");
            }
            else throw name is null ? Absent(key, source) : WrongShape(name, weights, parameter, source);
        }
        return missing;
    }

    /// <summary>Opens a folder's GPT-1 under a second head that it may not have yet: then the head is new, as are the embeddings of tokens that were added.</summary>
    /// <param name="folder">In Hugging Face's layout.</param>
    /// <param name="head">What it is to have besides its language model.</param>
    /// <param name="seed">Key of the new weights.</param>
    /// <param name="change">Changes the configuration: labels, tokens.</param>
    /// <param name="device">Where.</param>
    /// <param name="dropout">Replaces the configuration's; null: the configuration's own.</param>
    /// <param name="fromNothing">All weights are new: the folder gives the configuration alone.</param>
    /// <returns>The model, and the keys that are new.</returns>
    /// <exception cref="InvalidDataException">It is no GPT-1, or something of the decoder is missing or of another shape.</exception>
    public static (Gpt1 Model, IReadOnlyList<string> New) LoadGpt1(string folder, Gpt1Head head, long seed = 1, Action<JsonObject>? change = null, Device? device = null, double? dropout = null, bool fromNothing = false)
    {
        TorchNative.Load();
        var path = Path.Combine(folder, "config.json");
        var config = ModelConfig.ReadFile(path);
        RequireGpt1(config, path);
        if (dropout is not null) { SetDropout(config, dropout.Value); config["summary_first_dropout"] = dropout; }
        var before = (JsonObject)config.DeepClone();
        change?.Invoke(config);
        var rows = head == Gpt1Head.Classification ? RowsOf(ModelConfig.LabelsOf(config), before, EncoderHead.ForSequenceClassification) : null;
        return Filled(new Gpt1(ModelConfig.Bind<Gpt1Config>(config, path), head, device), model =>
        {
            model.Initialize(seed);
            return fromNothing ? Keys(model) : FillUnderHead(model, Gpt1.DepthOf, Weights.Open(folder), folder, labelsMayDiffer: true, rows);
        });
    }

    private static void RequireGpt1(JsonObject config, string path)
    {
        if (TypeOf(config) != "openai-gpt") throw new InvalidDataException($"{path}: found model_type '{TypeOf(config)}'. Expected a GPT-1 (openai-gpt).");
    }

    /// <summary>Opens a decoder's folder to score whole texts with one number: as it is where it does already, else with a new head in place of the language model's.</summary>
    /// <param name="folder">In Hugging Face's layout.</param>
    /// <param name="padId">Id of padding, where the configuration names none.</param>
    /// <param name="seed">Key of the new head.</param>
    /// <param name="device">Where.</param>
    /// <param name="dropout">Replaces the configuration's; null: the configuration's own.</param>
    /// <returns>The model, and the keys that are new.</returns>
    /// <exception cref="InvalidDataException">It is no decoder, scores several labels, or something of it is missing.</exception>
    public static (CausalLanguageModel Model, IReadOnlyList<string> New) LoadScorer(string folder, int? padId, long seed = 1, Device? device = null, double? dropout = null)
    {
        TorchNative.Load();
        var path = Path.Combine(folder, "config.json");
        var config = ModelConfig.ReadFile(path);
        if (!Decoders.Contains(TypeOf(config))) throw new InvalidDataException($"{path}: found model_type '{TypeOf(config)}'. Expected a decoder: {string.Join(", ", Decoders)}.");
        if (HeadOf(config) == EncoderHead.ForSequenceClassification && ModelConfig.LabelsOf(config).Count != 1) throw new InvalidDataException($"{path}: found a classifier of {ModelConfig.LabelsOf(config).Count} labels. Expected one with a single score, or a language model.");
        if (dropout is not null) SetDropout(config, dropout.Value);
        if (HeadOf(config) != EncoderHead.ForSequenceClassification)
        {
            SetLabels(config, ["LABEL_0"]);
            config["architectures"] = new JsonArray("DecoderForSequenceClassification");   // the model writes its own full name
        }
        config["pad_token_id"] ??= padId;
        return Filled(CreateDecoder(config, device, path), model =>
        {
            model.Initialize(seed);
            return FillUnderHead(model, key => key.StartsWith("score.", StringComparison.Ordinal) ? null : 0, Weights.Open(folder), folder, labelsMayDiffer: false);
        });
    }

    /// <summary>The labels of a classifier in its configuration.</summary>
    internal static void SetLabels(JsonObject config, IReadOnlyList<string> labels)
    {
        config["id2label"] = new JsonObject(labels.Select((l, i) => KeyValuePair.Create(i.ToString(CultureInfo.InvariantCulture), (JsonNode?)l)));
        config["label2id"] = new JsonObject(labels.Select((l, i) => KeyValuePair.Create(l, (JsonNode?)i)));
        config.Remove("num_labels");
    }

    private static InvalidDataException Absent(string key, string source) => new($"{source}: found no tensor '{key}', which this architecture has. The checkpoint is of another architecture, or not whole.");

    private static InvalidDataException WrongShape(string name, Weights weights, Tensor parameter, string source) => new($"{source}: found '{name}' of shape [{string.Join(", ", weights.Info(name).Shape)}]. Expected [{string.Join(", ", parameter.shape)}] by config.json.");

    /// <summary>Writes config.json and model.safetensors; each file appears whole or not at all.</summary>
    public static void Save(EncoderModel model, string folder) => Save(model, model.ConfigJson, folder);

    /// <summary>The <c>model_type</c> of each encoder-decoder.</summary>
    public static IReadOnlyList<string> EncoderDecoders { get; } = ["lect_rnn", "lect_transformer", "marian"];

    /// <summary>An encoder-decoder of a configuration, without weights.</summary>
    /// <inheritdoc cref="Create"/>
    public static EncoderDecoder CreateEncoderDecoder(JsonObject config, Device? device = null, string source = "config.json")
    {
        TorchNative.Load();
        return TypeOf(config) switch
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

    private static T Filled<T>(T model, string folder) where T : nn.Module => Filled(model, m =>
    {
        LoadWeights(m, Weights.Open(folder), folder);
        return [];
    }).Model;

    // Fills a model, which is nobody's if that fails; gives the keys that are new.
    private static (T Model, IReadOnlyList<string> New) Filled<T>(T model, Func<T, List<string>> fill) where T : nn.Module
    {
        try
        {
            var made = fill(model);
            model.eval();
            return (model, made);
        }
        catch { model.Dispose(); throw; }
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
    /// <param name="context">A longer context, by interpolation of rotary positions; null: the model's own.</param>
    /// <exception cref="InvalidDataException">Something is missing, damaged, or of another shape than the configuration says.</exception>
    public static CausalLanguageModel Load(string folder, Device? device = null, double? dropout = null, long? context = null)
    {
        var path = Path.Combine(folder, "config.json");
        var config = ModelConfig.ReadFile(path);
        if (dropout is not null) SetDropout(config, dropout.Value);
        if (context is not null) RotaryConfig.Interpolate(config, context.Value, path);
        return Filled(Create(config, device, path), folder);
    }

    /// <summary>Sets every dropout that an architecture has.</summary>
    internal static void SetDropout(JsonObject config, double dropout)
    {
        foreach (var key in TypeOf(config) switch
        {
            "openai-gpt" or "gpt2" => (string[])["resid_pdrop", "embd_pdrop", "attn_pdrop"],
            "gpt_neo" => ["resid_dropout", "embed_dropout", "attention_dropout"],
            "gpt_neox" or "falcon" => ["hidden_dropout", "attention_dropout"],
            _ => ["attention_dropout"],
        }) config[key] = dropout;
    }

    /// <summary>Fills a model's parameters; every one must be there, in its shape. Causal-mask buffers of old files are left out.</summary>
    public static void LoadWeights(nn.Module model, Weights weights, string source)
    {
        using var noGrad = no_grad();
        var unused = new HashSet<string>(weights.Names, StringComparer.Ordinal);
        foreach (var (key, parameter) in model.named_parameters().Select(p => (p.name, (Tensor)p.parameter)).Concat(model.named_buffers().Select(b => (b.name, b.buffer))))
        {
            using var scope = NewDisposeScope();
            var name = Find(key, weights) ?? TiedName(model, key, weights) ?? throw Absent(key, source);
            unused.Remove(name);
            if (!weights.Info(name).Shape.SequenceEqual(parameter.shape)) throw WrongShape(name, weights, parameter, source);
            parameter.copy_(weights.Load(name));
        }
        unused.RemoveWhere(IsBuffer);
        if (unused.FirstOrDefault(s_heads.Contains) is { } head && model.named_parameters().FirstOrDefault(p => IsEmbedding(p.name)) is { parameter: { } embeddings } && !IsCopy(weights, head, embeddings))
            throw new InvalidDataException($"{source}: found '{head}' with other numbers than the embeddings, where config.json says that they are one (tie_word_embeddings). Expected one of the two: set it to false to keep both, or take the tensor out of the file.");
        unused.RemoveWhere(n => s_heads.Contains(n) || n is "cls.predictions.decoder.weight" or "cls.predictions.decoder.bias" or "lm_head.decoder.weight" or "lm_head.decoder.bias" or "vocab_projector.weight" || (model is Marian { Config.ShareEncoderDecoderEmbeddings: true } && n is "model.encoder.embed_tokens.weight" or "model.decoder.embed_tokens.weight"));   // copies of the embeddings
        if (unused.Count > 0) throw new InvalidDataException($"{source}: found {unused.Count} tensors that this architecture has no place for, among them '{unused.Order(StringComparer.Ordinal).First()}'. The checkpoint is of another architecture.");
    }

    private static bool IsCopy(Weights weights, string head, Tensor embeddings)
    {
        using var scope = NewDisposeScope();
        using var loaded = weights.Load(head);
        return loaded.shape.SequenceEqual(embeddings.shape) && loaded.to(embeddings.dtype).to(embeddings.device).eq(embeddings).all().item<bool>();
    }

    private static readonly string[] s_heads = ["lm_head.weight", "embed_out.weight"], s_embeddings = ["tokens_embed.weight", "wte.weight", "embed_tokens.weight", "word_embeddings.weight", "embed_in.weight"];

    // Of a tied pair, embeddings and output layer, either name may be the one that is there.
    private static string? TiedName(nn.Module model, string key, Weights weights) => IsEmbedding(key) && !model.named_parameters().Any(p => s_heads.Contains(p.name)) ? s_heads.FirstOrDefault(weights.Names.Contains) : null;

    private static bool IsEmbedding(string key) => s_embeddings.Any(e => key.EndsWith(e, StringComparison.Ordinal));

    // Old files leave the first part of a key away, and call a norm's weight and bias gamma and beta.
    private static string? Find(string key, Weights weights)
    {
        foreach (var name in (string[])[key, key.Replace("LayerNorm.weight", "LayerNorm.gamma", StringComparison.Ordinal).Replace("LayerNorm.bias", "LayerNorm.beta", StringComparison.Ordinal)])
        {
            if (weights.Names.Contains(name)) return name;
            if (s_prefixes.FirstOrDefault(p => name.StartsWith(p, StringComparison.Ordinal)) is { } prefix && weights.Names.Contains(name[prefix.Length..])) return name[prefix.Length..];
        }
        return null;
    }

    private static readonly string[] s_prefixes = ["transformer.", "model.", "gpt_neox.", "bert.", "roberta.", "distilbert."];

    private static bool IsBuffer(string name) => s_buffers.Any(b => name.EndsWith(b, StringComparison.Ordinal)) || name is "model.encoder.embed_positions.weight" or "model.decoder.embed_positions.weight";

    // Causal masks and tables of positions, which files of older versions hold.
    private static readonly string[] s_buffers = [".attn.bias", ".attn.masked_bias", ".attention.bias", ".attention.masked_bias", "rotary_emb.inv_freq", "embeddings.position_ids"];

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
    /// <param name="config">config.json's content.</param>
    /// <param name="source">What messages call it.</param>
    public static long CountParameters(JsonObject config, string source = "config.json")
    {
        using var scope = NewDisposeScope();
        using var model = Create(config, META, source);
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
