// Fine-tuning of a pre-trained encoder: Devlin et al. 2019, section 3.2 and appendix A.3.
using System.Globalization;
using System.Text.Json;
using System.Text.Json.Nodes;
using Lect.Models;
using Lect.Text;
using TorchSharp;
using static TorchSharp.torch;

namespace Lect;

/// <summary>The run file of <c>lect finetune</c>.</summary>
public sealed record FinetuneConfig : IRecipeConfig
{
    /// <summary>The kinds, one verb each.</summary>
    public static IReadOnlyList<string> Kinds { get; } = ["classify", "pairs", "choice", "qa", "tag", "gpt1"];

    /// <summary>Which kind: <c>classify</c>, <c>pairs</c>, <c>choice</c>, <c>qa</c> or <c>tag</c> of an encoder, or <c>gpt1</c>.</summary>
    public string? Recipe { get; init; }
    /// <summary>Key of all randomness: the new head, dropout, order. <value>1</value></summary>
    public long Seed { get; init; } = 1;
    /// <summary>So many runs that differ in their seeds alone, which count up from <see cref="Seed"/> (<c>--seeds</c>). <value>1</value></summary>
    public int Seeds { get; init; } = 1;
    /// <summary>Another tokenizer than the model's own: <c>path</c>.</summary>
    public TokenizerConfig Tokenizer { get; init; } = new();
    /// <summary>The examples.</summary>
    public TaskDataConfig Data { get; init; } = new();
    /// <summary><c>path</c>: the pre-trained folder; <c>from_nothing: true</c>: the same network with new weights, to see what the pre-training is worth.</summary>
    [KeysOf(typeof(FinetuneModel))]
    public Dictionary<string, object?> Model { get; init; } = [];
    /// <summary>The loop.</summary>
    public FinetuneTrain Train { get; init; } = new();
    /// <summary>What is GPT-1's own.</summary>
    public FinetuneGpt1 Gpt1 { get; init; } = new();

    LoopConfig IRecipeConfig.Loop => Train;

    internal string ModelPath => (string)Model["path"]!;

    internal bool FromNothing => Model.GetValueOrDefault("from_nothing") is true;

    /// <summary>Checks everything that can be checked before data are read.</summary>
    /// <exception cref="InvalidDataException">All faults together.</exception>
    public FinetuneConfig Validate()
    {
        var faults = Train.Faults().Concat(Tokenizer.Faults()).Concat(Data.Faults()).ToList();
        if (Seeds < 1) faults.Add($"seeds = {Seeds}: expected at least 1");
        if (!Kinds.Contains(Recipe)) faults.Add($"recipe = '{Recipe}': expected {string.Join(", ", Kinds)}");
        if (Model.GetValueOrDefault("path") is not string { Length: > 0 }) faults.Add("model.path: found none, expected the folder of a pre-trained model (--set model.path=runs/bert)");
        if (Model.GetValueOrDefault("from_nothing") is not (null or bool)) faults.Add($"model.from_nothing = {Model["from_nothing"]}: expected true or false");
        if ((Tokenizer.Kind ?? (object?)Tokenizer.Size) is not null) faults.Add("tokenizer: found kind or size, expected none: a pre-trained model has its tokenizer (tokenizer.path names another)");
        var kind = Recipe == "gpt1" ? Gpt1.Task : Recipe;
        if (!FinetuneGpt1.Tasks.Contains(Gpt1.Task)) faults.Add($"gpt1.task = '{Gpt1.Task}': expected {string.Join(", ", FinetuneGpt1.Tasks)}");
        if (!(Gpt1.LmWeight >= 0)) faults.Add(FormattableString.Invariant($"gpt1.lm_weight = {Gpt1.LmWeight}: expected 0 or more"));
        if (Recipe == "gpt1" && Gpt1.LmWeight > 0 && (Train.MicroBatchSize is not null || Processes.Count > 1)) faults.Add("train.micro_batch_size, or several processes (mpirun): the language model's loss is a mean over the whole batch's tokens; do without, or set gpt1.lm_weight to 0");
        if (Recipe != "gpt1" && Gpt1 != new FinetuneGpt1()) faults.Add("gpt1: only lect finetune gpt1 reads this section");
        if (Data.Task is not null && kind is "qa" or "choice" or "tag") faults.Add($"data.task = '{Data.Task}': the tasks of GLUE have labels or numbers of texts and pairs");
        if (Data.Regression && kind is "qa" or "choice" or "tag") faults.Add("data.regression: only classification has numbers as labels");
        if (Train.ClassWeights is not null && (kind is "qa" or "choice" || Data.IsRegression)) faults.Add("train.class_weights: found without classes");
        return faults.Count == 0 ? this : throw RunFile.Refused(faults);
    }

    internal FinetuneConfig WithFullPaths() => this with { Model = RunFile.FullPaths(Model, "path"), Tokenizer = Tokenizer with { Path = RunFile.FullPath(Tokenizer.Path) }, Data = Data with { Path = RunFile.FullPath(Data.Path), ValidationPath = RunFile.FullPath(Data.ValidationPath) } };
}

/// <summary>The keys of <c>model</c> for fine-tuning.</summary>
public sealed record FinetuneModel
{
    /// <summary>The pre-trained folder.</summary>
    public string? Path { get; init; }
    /// <summary>New weights for all of it.</summary>
    public bool FromNothing { get; init; }
}

/// <summary>The keys of <c>gpt1</c>.</summary>
public sealed record FinetuneGpt1
{
    /// <summary>The input transformations (Radford et al. 2018, figure 1).</summary>
    public static IReadOnlyList<string> Tasks { get; } = ["classify", "entail", "similarity", "choice"];

    /// <summary><c>classify</c> (one text), <c>entail</c> (premise, delimiter, hypothesis), <c>similarity</c> (both orders, summed) or <c>choice</c> (each answer scored). <value>classify</value></summary>
    public string Task { get; init; } = "classify";
    /// <summary>Weight of the language model's loss beside the task's (equation 5). <value>0.5, section 4.1</value></summary>
    public double LmWeight { get; init; } = 0.5;
}

/// <summary>The keys of <c>train</c> for fine-tuning; what the loop has defaults for has those of BERT's authors here (appendix A.3).</summary>
public sealed record FinetuneTrain : LoopConfig
{
    /// <summary>Epochs 3, lr 5e-5 falling linearly to 0, weight decay 0.01, beta2 0.999, an evaluation every 100 steps.</summary>
    public FinetuneTrain() => (Epochs, Lr, Schedule, Floor, WeightDecay, Beta2, EvalEvery) = (3, 5e-5, "linear", 0, 0.01, 0.999, 100);

    /// <summary>Examples of a step. <value>32</value></summary>
    public int BatchSize { get; init; } = 32;
    /// <summary>Examples of a forward pass; absent: the whole batch.</summary>
    public int? MicroBatchSize { get; init; }
    /// <summary>Tokens of a row at most; what is longer is cut (questions: comes in windows). <value>128; qa: 384; or the model's positions, if they are fewer</value></summary>
    public int? MaxLength { get; init; }
    /// <summary>Tokens that two windows of a question share. <value>128</value></summary>
    public int Stride { get; init; } = 128;
    /// <summary>Dropout. <value>0.1 (appendix A.2)</value></summary>
    public double? Dropout { get; init; } = 0.1;
    /// <summary>The embeddings and so many of the lowest layers stay as they are; absent: none does.</summary>
    public int? Freeze { get; init; }
    /// <summary>Each layer's learning rate is so much of that of the layer above it. <value>1</value></summary>
    public double LayerDecay { get; init; } = 1;
    /// <summary><c>balanced</c> (the rarer a class, the more each of its examples counts), or a number for each class in the order of the labels; absent: all alike.</summary>
    public string[]? ClassWeights { get; init; }
    /// <summary>What the best evaluation is: the highest <c>metric</c> of the task or the lowest <c>val_loss</c>. <value>metric</value></summary>
    public string Best { get; init; } = "metric";

    internal int Longest(string kind, long positions) => MaxLength ?? (int)Math.Min(positions, kind == "qa" ? 384 : 128);

    /// <inheritdoc/>
    protected internal override IEnumerable<string> Faults()
    {
        foreach (var fault in base.Faults()) yield return fault;
        if (BatchSize < 1 || MicroBatchSize < 1) yield return "train: found a batch_size or micro_batch_size below 1";
        if (MaxLength < 8 || Stride < 0) yield return $"train.max_length = {MaxLength}, train.stride = {Stride}: expected at least 8 and 0";
        if (Dropout is < 0 or >= 1) yield return FormattableString.Invariant($"train.dropout = {Dropout}: expected at least 0 and less than 1");
        if (Freeze < 0) yield return $"train.freeze = {Freeze}: expected 0 (the embeddings) or more";
        if (LayerDecay is <= 0 or > 1) yield return FormattableString.Invariant($"train.layer_decay = {LayerDecay}: expected more than 0 and at most 1");
        if (Best is not ("metric" or "val_loss")) yield return $"train.best = '{Best}': expected metric or val_loss";
        if (ClassWeights is not (null or ["balanced"]) && ClassWeights.Any(w => !double.TryParse(w, NumberStyles.Float, CultureInfo.InvariantCulture, out var x) || !(x >= 0 && double.IsFinite(x)))) yield return $"train.class_weights = {string.Join(", ", ClassWeights)}: expected balanced, or a number for each class, 0 or more";
    }
}

/// <summary>Fine-tuning of an encoder for one of the five kinds of tasks.</summary>
public static class Finetune
{
    private const int EvaluationRows = 64;

    /// <summary>Runs the recipe in a new folder, or goes on in one that a run was begun in. At its end the folder holds the best model, its predictions of the validation examples, and report.html.</summary>
    /// <inheritdoc cref="PretrainGpt.Run"/>
    public static RunState Run(FinetuneConfig config, string folder, Action<TrainEvent>? report = null, Action<string>? note = null, CancellationToken stop = default)
    {
        config = config.Validate().WithFullPaths();
        if (config.Seeds > 1) throw new InvalidDataException($"Found seeds = {config.Seeds}. Expected 1: Finetune.RunSeeds runs several.");
        TorchNative.Load();
        using var run = RunFolder.OpenOrBegin(folder, ref config);
        Processes.UseThreads(config.Train.Threads);

        var positions = ModelFolder.PositionsOf(config.ModelPath, config.Recipe == "gpt1");
        config = config with { Train = config.Train with { MaxLength = config.Train.Longest(config.Recipe!, positions) } };
        if (config.Train.MaxLength > positions) throw new InvalidDataException($"Found train.max_length = {config.Train.MaxLength}. Expected at most {positions}, the model's positions.");
        var tokenizer = Tokenizer.Load(config.Tokenizer.Path ?? config.ModelPath);
        if (config.Recipe == "gpt1") tokenizer = Gpt1Network.Framed(tokenizer);
        note?.Invoke($"reading {config.Data.Describe}");
        var task = Task(config, tokenizer, note);
        using FinetuneNetwork network = config.Recipe == "gpt1" ? new Gpt1Network(config, task, tokenizer) : new EncoderNetwork(config, task);
        TokenizerConfig.RequireFit(tokenizer, network.VocabularySize, config.ModelPath);
        Freeze(network, config.Train.Freeze);
        // In transformers' order: it matters. With the batches of a pool shuffled, a small BERT on MRPC fits and overfits faster (docs/log.md).
        var pool = config.Train.BatchSize * Math.Clamp(task.Train.Count / (4 * config.Train.BatchSize), 1, 50);
        var batches = new LengthBatches<FinetuneExample>(_ => task.Train, e => (e.Length, 0), (batch, _) => batch.Count == config.Train.BatchSize, pool, config.Seed, "examples", isMixed: false);
        config = Resolve(config, network, batches);
        run.SaveSettings(config);
        var padding = EncoderBatch.Padding(batches.Begin().Select(b => (IReadOnlyList<int>)[.. b.SelectMany(e => e.Rows).Select(r => r.Ids.Length)]));
        note?.Invoke(FormattableString.Invariant($"{network.Module.GetName()}: {ModelFolder.Short(network.Module.parameters().Sum(p => p.numel()))} parameters ({(config.FromNothing ? "all new" : network.New.Count == 0 ? "none new" : "new: " + string.Join(", ", network.New))}), {task.Train.Count:N0} examples to train on, {task.Validation.Count:N0} to validate with, {100 * padding:0.0} % of what is computed is padding, {config.Train.Steps:N0} steps, {config.Train.Precision}, {config.Train.Workers}"));

        var compute = config.Train.Compute;
        using var weights = ClassWeights(config.Train.ClassWeights, task);
        var state = TrainLoop.Run(new Training<FinetuneExample[]>
        {
            Model = network.Module,
            Batches = step => [.. Processes.Share(batches.At(step), config.Train.MicroBatchSize)],
            Labels = b => b.Sum(e => LabelCount(task.Head, e)),
            Tokens = b => b.Sum(e => e.Rows.Sum(r => (long)r.Ids.Length)),
            Loss = (b, scale) => { network.Compute = compute; return network.Loss(b, scale, weights); },
            Evaluate = task.Validation.Count == 0 ? null : () => Evaluate(network, task).Figures,
            HighestOf = config.Train.Best == "metric" ? task.Metric : null,
            RateOf = config.Train.LayerDecay < 1 ? key => Math.Pow(config.Train.LayerDecay, network.LayerCount + 1 - (network.DepthOf(key) ?? network.LayerCount + 1)) : null,
            Save = to => { network.Save(to); tokenizer.Save(to); },
        }, config.Train, config.Seed, run, report, stop);
        if (task.Validation.Count > 0 && run.IsOurs) Finish(config, network, task, run.Path, note);
        Processes.Meet();
        return state;
    }

    private static FinetuneTask Task(FinetuneConfig config, Tokenizer tokenizer, Action<string>? note)
    {
        var (data, most) = (config.Data, config.Train.MaxLength!.Value);
        return (config.Recipe == "gpt1" ? config.Gpt1.Task : config.Recipe) switch
        {
            "choice" => new ChoiceTask(data, tokenizer, most),
            "qa" => new AnswerTask(data, tokenizer, most, config.Train.Stride, note),
            "tag" => new TagTask(data, tokenizer, most, note),
            var kind => new ClassifyTask(data, kind != "classify", tokenizer, most, bothOrders: kind == "similarity"),
        };
    }

    private static void Freeze(FinetuneNetwork network, int? layers)
    {
        if (layers > network.LayerCount) throw new InvalidDataException($"Found train.freeze = {layers}. Expected at most {network.LayerCount}, the model's layers.");
        foreach (var (key, parameter) in network.Module.named_parameters()) parameter.requires_grad = layers is null || network.DepthOf(key) is not { } depth || depth > layers;
    }

    private static Tensor? ClassWeights(string[]? given, FinetuneTask task)
    {
        if (given is null) return null;
        var counts = new double[task.Labels!.Count];
        foreach (var label in task.Train.SelectMany(e => e.Labels).Where(l => l >= 0)) counts[(int)label]++;
        if (given is not ["balanced"] && given.Length != counts.Length) throw new InvalidDataException($"Found {given.Length} numbers in train.class_weights. Expected {counts.Length}: {string.Join(", ", task.Labels)}.");
        var weights = given is ["balanced"] ? [.. counts.Select(c => 1 / Math.Max(1, c))] : given.Select(w => double.Parse(w, CultureInfo.InvariantCulture)).ToArray();
        if (weights.Zip(counts).All(p => p.First * p.Second == 0)) throw new InvalidDataException($"Found train.class_weights = {string.Join(", ", given)}, which leave no example any weight. Expected one above 0 for a label of the training examples: {string.Join(", ", task.Labels)}.");
        var mean = weights.Zip(counts, (w, c) => w * c).Sum() / counts.Sum();   // of an example: 1, so that the learning rate means the same
        return tensor(weights.Select(w => (float)(w / mean)).ToArray()).DetachFromDisposeScope();
    }

    private static long LabelCount(EncoderHead head, FinetuneExample example) => head == EncoderHead.ForTokenClassification ? example.Labels.LongCount(l => l >= 0) : 1;

    // Rows of like length together; the outputs in the order of the examples.
    private static (List<(string, double)> Figures, float[][] Outputs) Evaluate(FinetuneNetwork network, FinetuneTask task)
    {
        using var noGrad = no_grad();
        network.Compute = ComputeType.Float32;
        var (loss, labels, outputs) = (0.0, 0L, new float[task.Validation.Count][]);
        foreach (var chunk in Enumerable.Range(0, outputs.Length).OrderBy(i => task.Validation[i].Length).Chunk(EvaluationRows))
        {
            var batch = chunk.Select(i => task.Validation[i]).ToList();
            var (sum, found) = network.Evaluate(batch);
            loss += sum;
            labels += batch.Sum(e => LabelCount(task.Head, e));
            for (var i = 0; i < chunk.Length; i++) outputs[chunk[i]] = found[i];
        }
        return ([("val_loss", loss / labels), .. task.Figures(outputs)], outputs);
    }

    private static FinetuneConfig Resolve(FinetuneConfig config, FinetuneNetwork network, LengthBatches<FinetuneExample> batches)
    {
        var train = config.Train;
        return config with
        {
            Train = train with
            {
                Steps = train.Steps ?? batches.StepsOf(train.Epochs!.Value),
                Epochs = null,
                Threads = Processes.Kept(train.Threads),
                Precision = Precision.Name(Precision.Resolve(train.Precision, 32L * Math.Min(train.BatchSize, train.MicroBatchSize ?? train.BatchSize), network.Width, 4 * network.Width)),
            },
        };
    }

    // The model at the root is the best one, not always the last.
    private static void Finish(FinetuneConfig config, FinetuneNetwork network, FinetuneTask task, string folder, Action<string>? note)
    {
        ModelFolder.LoadWeights(network.Module, Weights.Open(folder), folder);
        network.Module.eval();
        var (figures, outputs) = Evaluate(network, task);
        task.WritePredictions(outputs, folder);
        var (confusion, mistakes) = task.Review(outputs);
        File.WriteAllText(Path.Combine(folder, "report.html"), FinetuneReport.Page(config, figures, task, confusion, mistakes));
        note?.Invoke("the best model: " + string.Join("  ", figures.Select(f => FormattableString.Invariant($"{f.Item1} {f.Item2:0.0000}"))) + (task.Baseline is { } b ? FormattableString.Invariant($" (always the most frequent: {task.Metric} {b:0.0000})") : "") + $"; report in {Path.Combine(folder, "report.html")}");
    }

    /// <summary>Several runs that differ in their seeds alone, in folders seed-N; one that is there already goes on with its own settings (<c>train.steps</c> may lengthen it), or is done.</summary>
    /// <param name="config">The first run's; the others' seeds count up, <see cref="FinetuneConfig.Seeds"/> of them.</param>
    /// <param name="folder">Where their folders are; run.yaml says what was asked, seeds.json gets the summary.</param>
    /// <param name="report">Told each line of metrics.</param>
    /// <param name="note">Told what happens besides.</param>
    /// <param name="stop">Stops after the step in work, with a checkpoint.</param>
    /// <returns>Mean and standard deviation (of a sample) of each figure: of the best evaluation of each run, and of the last one (<c>last/…</c>).</returns>
    public static IReadOnlyList<(string Name, double Mean, double Deviation)> RunSeeds(FinetuneConfig config, string folder, Action<TrainEvent>? report = null, Action<string>? note = null, CancellationToken stop = default)
    {
        config = config.Validate().WithFullPaths();
        Processes.RequireOne("several seeds are as many runs, one after the other");
        if (Directory.Exists(folder) && Directory.EnumerateFileSystemEntries(folder).Select(Path.GetFileName).Any(n => !n!.StartsWith("seed-", StringComparison.Ordinal) && n is not ("run.yaml" or "seeds.json"))) throw RunFolder.Occupied(folder);
        string At(long seed) => Path.Combine(folder, $"seed-{seed}");
        var runs = Enumerable.Range(0, config.Seeds).Select(s => config.Seed + s).Select(seed => RunFolder.IsOccupied(At(seed)) ? RunFolder.SettingsOf<FinetuneConfig>(At(seed), config.Train.Steps is { } steps ? [$"train.steps={steps}"] : []) : config with { Seed = seed, Seeds = 1 }).ToList();
        RunFolder.SaveSettings(folder, config);
        var all = new List<Dictionary<string, double>>();
        foreach (var own in runs)
        {
            var run = At(own.Seed);
            note?.Invoke($"seed {own.Seed}, {all.Count + 1} of {config.Seeds}");
            var state = Run(own, run, report, note, stop);
            var lines = RunFolder.ReadMetrics(run).Where(l => l["val_loss"] is not null).ToList();
            if (lines.Count == 0) throw new InvalidDataException("Found no evaluations to compare the runs by. Expected validation examples and train.eval_every above 0.");
            Dictionary<string, double> Of(JsonObject line, string prefix) => line.Where(f => f.Key != "step" && f.Value?.GetValueKind() == JsonValueKind.Number).ToDictionary(f => prefix + f.Key, f => (double)f.Value!);
            all.Add(Of(lines.First(l => (long)l["step"]! == state.BestStep), "").Concat(Of(lines[^1], "last/")).ToDictionary(f => f.Key, f => f.Value));
        }
        var summary = all[0].Keys.Where(k => all.TrueForAll(a => a.ContainsKey(k))).Select(k =>
        {
            var each = all.ConvertAll(a => a[k]);
            return (Name: k, Mean: each.Average(), Deviation: Correlations.Deviation(each));
        }).ToList();
        ModelFolder.WriteText(Path.Combine(folder, "seeds.json"), new JsonObject(summary.Select(f => KeyValuePair.Create(f.Name, (JsonNode?)new JsonObject { ["mean"] = f.Mean, ["deviation"] = f.Deviation, ["each"] = new JsonArray([.. all.Select(a => (JsonNode)a[f.Name])]) }))).ToJsonString(new() { WriteIndented = true }) + "\n");
        return summary;
    }
}
