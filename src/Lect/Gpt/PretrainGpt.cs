// Generative pre-training: Radford et al. 2018, equation 1; the models of Lect.Models/Gpt, GPT-3's optimizer settings (Brown et al. 2020, appendix B).
using System.Globalization;
using System.Text.Json;
using System.Text.Json.Nodes;
using Lect.Models;
using Lect.Text;
using TorchSharp;
using static TorchSharp.torch;

namespace Lect;

/// <summary>The run file of <c>lect train gpt</c>.</summary>
public sealed record PretrainGptConfig : IRecipeConfig
{
    /// <summary>Which recipe the file is for, if it says so: <c>gpt</c>.</summary>
    public string? Recipe { get; init; }
    /// <summary>Key of all randomness. <value>1</value></summary>
    public long Seed { get; init; } = 1;
    /// <summary>The vocabulary; absent: that of <c>model.path</c> or of prepared data, else a new byte-level BPE.</summary>
    public TokenizerConfig Tokenizer { get; init; } = new();
    /// <summary>The text.</summary>
    public TextDataConfig Data { get; init; } = new();
    /// <summary>
    /// <c>path</c> (a folder to continue from; <c>context</c>: with so many positions, by interpolation of rotary ones), or <c>architecture</c> (gpt1, gpt2, gpt3, gpt_neox, falcon, llama, mistral, qwen2, qwen3; gpt2 where it is not given) and keys of its config.json (the context is the block and <c>vocab_size</c> the
    /// tokenizer's unless given) and <c>vectors</c>, word vectors that the embeddings begin with.
    /// </summary>
    [DecoderKeys]
    public Dictionary<string, object?> Model { get; init; } = [];
    /// <summary>The loop.</summary>
    public PretrainGptTrain Train { get; init; } = new();

    LoopConfig IRecipeConfig.Loop => Train;

    /// <summary>Checks everything that can be checked before data are read.</summary>
    /// <exception cref="InvalidDataException">All faults together.</exception>
    public PretrainGptConfig Validate()
    {
        var faults = Train.Faults().Concat(Tokenizer.Faults()).Concat(Data.Faults()).ToList();
        if (Recipe is not (null or "gpt")) faults.Add(RunFile.OtherRecipe(Recipe, "gpt"));
        if (Model.GetValueOrDefault("architecture") is { } a && DecoderKind.Of(a as string ?? "") is null) faults.Add($"model.architecture = '{a}': expected {DecoderKind.Names}");
        faults.AddRange(RunFile.ContinuedModelFaults(Model));
        return faults.Count == 0 ? this : throw RunFile.Refused(faults);
    }

    /// <summary>config.json of the new model that the file describes.</summary>
    internal JsonObject ModelJson(int vocabulary, int? endOfText)
    {
        var json = JsonSerializer.SerializeToNode(Model)!.AsObject();
        var kind = DecoderKind.Of((string?)json["architecture"])!;
        foreach (var key in (string[])["architecture", "vectors"]) json.Remove(key);
        return kind.NewConfig(json, vocabulary, Train.Block, endOfText, Train.Dropout);
    }

    // A run may be resumed from another folder.
    internal PretrainGptConfig WithFullPaths() => this with { Model = RunFile.FullPaths(Model, "path", "vectors"), Tokenizer = Tokenizer with { Path = RunFile.FullPath(Tokenizer.Path) }, Data = Data.WithFullPaths() };
}

/// <summary>The keys of <c>train</c> for generative pre-training.</summary>
public sealed record PretrainGptTrain : LoopConfig
{
    /// <summary>Rows of a step; absent: by <see cref="BatchTokens"/>, else 16.</summary>
    public int? BatchSize { get; init; }
    /// <summary>Tokens of a step, instead of <see cref="BatchSize"/>.</summary>
    public int? BatchTokens { get; init; }
    /// <summary>Rows of a forward pass; absent: the whole batch.</summary>
    public int? MicroBatchSize { get; init; }
    /// <summary>Tokens a row, T. <value>128</value></summary>
    public int Block { get; init; } = 128;
    /// <summary><c>random</c>: windows at random places (nanoGPT); <c>shuffle</c>: every block once an epoch. Absent: shuffle where <c>epochs</c> is given.</summary>
    public string? Sampling { get; init; }
    /// <summary>Dropout of embeddings, attention and residuals; absent: the model's own, 0 in a new one.</summary>
    public double? Dropout { get; init; }
    /// <summary>Tokens of the validation split that an evaluation reads; 0: all.</summary>
    public long EvalTokens { get; init; }
    /// <summary>Tokens of the text shown after an evaluation; 0: none. <value>40</value></summary>
    public int SampleTokens { get; init; } = 40;

    internal string Order => Sampling ?? (Epochs is null ? "random" : "shuffle");

    internal int Rows => BatchSize ?? Math.Max(1, (BatchTokens ?? 16 * Block) / Math.Max(1, Block));

    /// <inheritdoc/>
    protected internal override IEnumerable<string> Faults()
    {
        foreach (var fault in base.Faults()) yield return fault;
        if (BatchSize is not null && BatchTokens is not null) yield return "train: found both batch_size and batch_tokens, expected one of them";
        if (BatchSize < 1 || BatchTokens < 1 || MicroBatchSize < 1 || Block < 1) yield return "train: found a batch_size, batch_tokens, micro_batch_size or block below 1";
        if (Sampling is not (null or "random" or "shuffle")) yield return $"train.sampling = '{Sampling}': expected random or shuffle";
        if (Dropout is < 0 or >= 1) yield return FormattableString.Invariant($"train.dropout = {Dropout}: expected at least 0 and less than 1");
        if (EvalTokens < 0 || SampleTokens < 0) yield return "train: found eval_tokens or sample_tokens below 0";
    }
}

/// <summary>Generative pre-training of a decoder.</summary>
public static class PretrainGpt
{
    /// <summary>Runs the recipe in a new folder, or goes on in one that a run was begun in.</summary>
    /// <param name="config">What to do.</param>
    /// <param name="folder">Where the run is kept.</param>
    /// <param name="report">Told each line of metrics.</param>
    /// <param name="note">Told what happens besides.</param>
    /// <param name="stop">Stops after the step in work, with a checkpoint.</param>
    /// <returns>Where the run stands: at its end.</returns>
    /// <exception cref="InvalidDataException">Something given cannot be used; the message says what.</exception>
    public static RunState Run(PretrainGptConfig config, string folder, Action<TrainEvent>? report = null, Action<string>? note = null, CancellationToken stop = default)
    {
        config = config.Validate().WithFullPaths() with { Recipe = "gpt" };
        TorchNative.Load();
        if (!config.Model.ContainsKey("path")) Affordable(config.ModelJson(config.Tokenizer.Size ?? 1, endOfText: null));   // before a vocabulary is learned
        using var run = RunFolder.OpenOrBegin(folder, ref config);
        Processes.UseThreads(config.Train.Threads);

        var (tokenizer, tokens) = TextData.Prepare(config.Data, config.Tokenizer, config.Model.GetValueOrDefault("path") as string, folder, note);
        using var train = tokens.Ids(CorpusSplit.Train);
        using var validation = tokens.Ids(CorpusSplit.Validation);
        using var model = Model(config, tokenizer, isNew: run.Checkpoints.Count == 0, note);
        var batches = new PackedBatches(train, config.Train.Block, config.Train.Rows, config.Train.MicroBatchSize, config.Seed, config.Train.Order == "shuffle");
        config = Resolve(config, model, batches).Validate();
        run.SaveSettings(config);
        note?.Invoke($"{model.ConfigJson["model_type"]}: {ModelFolder.Short(model.parameters().Sum(p => p.numel()))} parameters, {tokens.Count(CorpusSplit.Train).Tokens:N0} tokens to train on, {config.Train.Steps:N0} steps of {config.Train.Rows} x {config.Train.Block} tokens, {config.Train.Precision}, {config.Train.Workers}");

        var compute = config.Train.Compute;
        return TrainLoop.Run(new Training<TokenBatch>
        {
            Model = model,
            Batches = batches.At,
            Labels = b => b.LabelCount,
            Loss = (b, scale) => Loss(model, b, scale, compute),
            Evaluate = validation.Count < 2 ? null : () => Perplexity.Of(model, validation, config.Train.Block, tokens.Count(CorpusSplit.Validation), config.Train.EvalTokens).Figures("val_loss"),
            Sample = config.Train.SampleTokens == 0 || model.ContextLength < 2 ? null : () => Sample(model, tokenizer, config),
            Save = to => Save(model, tokenizer, to),
        }, config.Train, config.Seed, run, report, stop);
    }

    /// <summary>-scale * sum of log p(x_{t+1} | x_{≤t}) over a micro-batch, nats (Radford et al. 2018, equation 1).</summary>
    internal static Tensor Loss(CausalLanguageModel model, TokenBatch batch, double scale, ComputeType compute)
    {
        using var scope = NewDisposeScope();
        model.Compute = compute;
        var (ids_BT, labels_BT) = batch.ToTensors(model.HeadWeight.device);
        return model.Loss(ids_BT, labels_BT, scale).MoveToOuterDisposeScope();
    }

    private static CausalLanguageModel Model(PretrainGptConfig config, Tokenizer tokenizer, bool isNew, Action<string>? note)
    {
        var device = Devices.Choose(config.Train.Device);
        var dropout = config.Train.Dropout;
        if (config.Model.GetValueOrDefault("path") is string path)
        {
            var loaded = ModelFolder.Load(path, device, dropout, config.Model.GetValueOrDefault("context") is { } context ? Convert.ToInt64(context, CultureInfo.InvariantCulture) : null);
            TokenizerConfig.RequireFit(tokenizer, loaded.VocabularySize, path);
            return loaded;
        }
        var model = ModelFolder.Create(Affordable(config.ModelJson(tokenizer.VocabularySize, tokenizer.EndOfText)), device, "model");
        if (model.VocabularySize < tokenizer.VocabularySize) throw new InvalidDataException($"Found model.vocab_size = {model.VocabularySize}. Expected at least {tokenizer.VocabularySize}, the tokens of the tokenizer; leave the key away to get that.");
        model.Initialize(config.Seed);
        if (isNew && config.Model.GetValueOrDefault("vectors") is string vectors)
        {
            using var read = VectorFiles.Read(vectors, note);
            var filled = read.Fill(model.Embeddings, tokenizer);
            note?.Invoke($"{filled:N0} of {tokenizer.VocabularySize:N0} embeddings begin as the vectors of {vectors}");
        }
        return model;
    }

    // Weights, gradients and Adam's two moments, fp32; counted before anything is allocated.
    private static JsonObject Affordable(JsonObject model)
    {
        const int BytesAParameter = 16;
        var (parameters, memory) = (ModelFolder.CountParameters(model, "model"), GC.GetGCMemoryInfo().TotalAvailableMemoryBytes);
        return parameters * BytesAParameter <= memory ? model : throw new InvalidDataException(FormattableString.Invariant($"Found a model of {ModelFolder.Short(parameters)} parameters, whose training takes {parameters * BytesAParameter / 1e9:0} GB for weights, gradients and moments alone. Expected at most the {memory / 1e9:0} GB of this machine: choose a smaller one ('lect inspect FILE.yaml' counts the parameters of a run file)."));
    }

    // Everything that was left open, so that run.yaml repeats this run on this machine.
    private static PretrainGptConfig Resolve(PretrainGptConfig config, CausalLanguageModel model, PackedBatches batches)
    {
        var train = config.Train;
        if (model.ContextLength < train.Block) throw new InvalidDataException($"Found train.block = {train.Block}. Expected at most {model.ContextLength}, the model's positions.");
        var rows = Math.Min(train.Rows, train.MicroBatchSize ?? train.Rows);
        return config with
        {
            Recipe = "gpt",
            Train = train with
            {
                Steps = train.Steps ?? batches.StepsOf(train.Epochs!.Value),
                Epochs = null,
                Sampling = train.Order,
                BatchSize = train.Rows,
                BatchTokens = null,
                Threads = Processes.Kept(train.Threads),
                Precision = Precision.Name(Precision.Resolve(train.Precision, (long)rows * train.Block, model.Width, 4 * model.Width)),
            },
        };
    }

    private static string Sample(CausalLanguageModel model, Tokenizer tokenizer, PretrainGptConfig config)
    {
        var options = new DecodingOptions { Sample = true, TopK = 50, MaxNewTokens = Math.Max(1, Math.Min(config.Train.SampleTokens, (int)model.ContextLength - 1)), Seed = config.Seed, EosTokenIds = tokenizer.EndOfText is { } end ? [end] : [] };
        model.Compute = ComputeType.Float32;
        return tokenizer.Decode([.. Lect.Models.Generator.Stream(model, [[tokenizer.EndOfText ?? 0]], options).Select(t => t.Id)], skipSpecialTokens: true);
    }

    private static void Save(CausalLanguageModel model, Tokenizer tokenizer, string folder)
    {
        ModelFolder.Save(model, folder);
        tokenizer.Save(folder);
        ModelFolder.WriteText(Path.Combine(folder, "generation_config.json"), new JsonObject { ["bos_token_id"] = tokenizer.EndOfText, ["eos_token_id"] = tokenizer.EndOfText }.ToJsonString() + "\n");
    }
}
