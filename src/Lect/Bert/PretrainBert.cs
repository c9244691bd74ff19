// Pre-training of BERT: Devlin et al. 2019, section 3.1 and appendix A.2; without next sentences, as RoBERTa (Liu et al. 2019).
using System.Text.Json;
using System.Text.Json.Nodes;
using Lect.Models;
using Lect.Text;
using TorchSharp;
using static TorchSharp.torch;

namespace Lect;

/// <summary>The run file of <c>lect train bert</c>.</summary>
public sealed record PretrainBertConfig : IRecipeConfig
{
    /// <summary>Which recipe the file is for, if it says so: <c>bert</c>.</summary>
    public string? Recipe { get; init; }
    /// <summary>Key of all randomness. <value>1</value></summary>
    public long Seed { get; init; } = 1;
    /// <summary>The vocabulary; absent: that of <c>model.path</c>, else a new WordPiece one.</summary>
    public TokenizerConfig Tokenizer { get; init; } = new();
    /// <summary>The text.</summary>
    public TextDataConfig Data { get; init; } = new();
    /// <summary><c>path</c> (a folder to continue from), or keys of BERT's config.json (<c>max_position_embeddings</c> is the longest block and <c>vocab_size</c> the tokenizer's unless given)
    /// and <c>vectors</c>: word vectors that the embeddings begin with, or <c>skip-gram</c> to learn some of the same text first.</summary>
    [KeysOf(typeof(BertConfig), "architecture", "path", "vectors")]
    public Dictionary<string, object?> Model { get; init; } = [];
    /// <summary>The loop.</summary>
    public PretrainBertTrain Train { get; init; } = new();

    LoopConfig IRecipeConfig.Loop => Train;

    /// <summary>Checks everything that can be checked before data are read.</summary>
    /// <exception cref="InvalidDataException">All faults together.</exception>
    public PretrainBertConfig Validate()
    {
        var faults = Train.Faults().Concat(Tokenizer.Faults()).Concat(Data.Faults()).ToList();
        if (Recipe is not (null or "bert")) faults.Add(RunFile.OtherRecipe(Recipe, "bert"));
        if (Model.GetValueOrDefault("architecture") is { } a and not "bert") faults.Add($"model.architecture = '{a}': a new model is a bert; RoBERTa and DistilBERT can be continued (model.path)");
        faults.AddRange(RunFile.ContinuedModelFaults(Model));
        return faults.Count == 0 ? this : throw RunFile.Refused(faults);
    }

    internal PretrainBertConfig WithFullPaths() => this with { Model = RunFile.FullPaths(Model, Model.GetValueOrDefault("vectors") is PretrainBert.SkipGram ? ["path"] : ["path", "vectors"]), Tokenizer = Tokenizer with { Path = RunFile.FullPath(Tokenizer.Path) }, Data = Data.WithFullPaths() };
}

/// <summary>The keys of <c>train</c> for masked pre-training.</summary>
public sealed record PretrainBertTrain : LoopConfig
{
    /// <summary>Rows of a step. <value>32</value></summary>
    public int BatchSize { get; init; } = 32;
    /// <summary>Rows of a forward pass; absent: the whole batch.</summary>
    public int? MicroBatchSize { get; init; }
    /// <summary>Tokens of a row at most. <value>128</value></summary>
    public int Block { get; init; } = 128;
    /// <summary>Tokens of a row at most in the second stage; a step has as many tokens there. <value>512 (appendix A.2)</value></summary>
    public int LongBlock { get; init; } = 512;
    /// <summary>The share of the steps, the last ones, that the second stage has; 0: there is none. <value>0 (appendix A.2: 0.1)</value></summary>
    public double LongShare { get; init; }
    /// <summary>The share of tokens that are to be told. <value>0.15 (section 3.1)</value></summary>
    public double Mask { get; init; } = 0.15;
    /// <summary>Masks all pieces of a word or none. <value>false</value></summary>
    public bool WholeWords { get; init; }
    /// <summary>Two texts a row, and whether the second follows the first is to be told. Absent: where the model has a head for it.</summary>
    public bool? NextSentence { get; init; }
    /// <summary>Dropout; absent: the model's own.</summary>
    public double? Dropout { get; init; }
    /// <summary>Rows of the validation split that an evaluation reads; 0: all. <value>1000</value></summary>
    public int EvalRows { get; init; } = 1000;

    internal int Longest => LongShare > 0 ? Math.Max(Block, LongBlock) : Block;

    internal int LongRows => Math.Max(1, BatchSize * Block / LongBlock);

    internal long LongFrom => LongShare > 0 ? (long)Math.Round(Steps!.Value * (1 - LongShare)) : long.MaxValue;

    /// <inheritdoc/>
    protected internal override IEnumerable<string> Faults()
    {
        foreach (var fault in base.Faults()) yield return fault;
        if (BatchSize < 1 || MicroBatchSize < 1 || EvalRows < 0) yield return "train: found a batch_size or micro_batch_size below 1, or eval_rows below 0";
        if (Block < 8 || LongBlock < 8) yield return $"train.block = {Block}, train.long_block = {LongBlock}: expected at least 8";
        if (LongShare is < 0 or >= 1) yield return FormattableString.Invariant($"train.long_share = {LongShare}: expected at least 0 and less than 1");
        if (Mask is <= 0 or >= 1) yield return FormattableString.Invariant($"train.mask = {Mask}: expected more than 0 and less than 1");
        if (Dropout is < 0 or >= 1) yield return FormattableString.Invariant($"train.dropout = {Dropout}: expected at least 0 and less than 1");
    }
}

/// <summary>Masked language model and next sentence prediction.</summary>
public static class PretrainBert
{
    internal const string SkipGram = "skip-gram";

    /// <summary>Runs the recipe in a new folder, or goes on in one that a run was begun in.</summary>
    /// <inheritdoc cref="PretrainGpt.Run"/>
    public static RunState Run(PretrainBertConfig config, string folder, Action<TrainEvent>? report = null, Action<string>? note = null, CancellationToken stop = default)
    {
        config = config.Validate().WithFullPaths() with { Recipe = "bert" };
        TorchNative.Load();
        using var run = RunFolder.OpenOrBegin(folder, ref config);
        Processes.UseThreads(config.Train.Threads);

        note?.Invoke($"reading {config.Data.Describe}");
        var texts = PassageDocuments.Read(config.Data).Where(d => d.Split != CorpusSplit.Test).ToLookup(d => d.Split, d => d.Sentences);
        var tokenizer = Tokenizer(config, Path.Combine(folder, "data"), texts[CorpusSplit.Train], note);
        var train = Encoded(tokenizer, texts[CorpusSplit.Train]);
        if (train.Count == 0) throw new InvalidDataException($"Found no text to train on in {config.Data.Describe}. Expected at least one sentence.");
        using var model = Model(config, tokenizer, note);
        if (run.Checkpoints.Count == 0 && config.Model.GetValueOrDefault("vectors") is string vectors) FillEmbeddings(model, tokenizer, vectors, train, config, folder, note, stop);

        var data = new Examples(config, model, tokenizer, train, Encoded(tokenizer, texts[CorpusSplit.Validation]));
        config = Resolve(config, model, data);
        data.LongFrom = config.Train.LongFrom;
        run.SaveSettings(config);
        note?.Invoke(FormattableString.Invariant($"{model.GetName()}: {ModelFolder.Short(model.parameters().Sum(p => p.numel()))} parameters, {train.Sum(d => d.Sum(s => (long)s.Length)):N0} tokens in {train.Count:N0} documents to train on, {config.Train.Steps:N0} steps of {config.Train.BatchSize} x {config.Train.Block} tokens at most, {config.Train.Precision}, {config.Train.Workers}"));
        note?.Invoke(data.Describe());

        var compute = config.Train.Compute;
        return TrainLoop.Run(new Training<MaskedBatch>
        {
            Model = model,
            Batches = data.At,
            Labels = b => b.Labels.Length,
            Tokens = b => b.Rows.Tokens,
            Loss = (b, scale) => Loss(model, b, scale, compute),
            Evaluate = data.Validation.Count == 0 ? null : () => Evaluate(model, data),
            Save = to => Save(model, tokenizer, to),
        }, config.Train, config.Seed, run, report, stop);
    }

    /// <summary>The mean loss of masked tokens (scale is 1 / their number in the step) plus the mean loss of next sentences, nats (section A.2).</summary>
    internal static Tensor Loss(EncoderModel model, MaskedBatch batch, double scale, ComputeType compute)
    {
        using var scope = NewDisposeScope();
        model.Compute = compute;
        var hidden_BTC = batch.Rows.Hidden(model);
        var loss = model.MaskedLoss(Masked(hidden_BTC, batch), tensor(batch.Labels, device: hidden_BTC.device), scale);
        // Rows count by their share of the step's masked tokens: the mean over the step, up to chance where it comes in parts.
        if (batch.Next is { } next) loss += model.NextSentenceLoss(hidden_BTC, tensor(next, device: hidden_BTC.device), scale * batch.Labels.Length / next.Length);
        return loss.MoveToOuterDisposeScope();
    }

    private static Tensor Masked(Tensor hidden_BTC, MaskedBatch batch) => hidden_BTC.flatten(0, 1).index_select(0, tensor(batch.Positions, device: hidden_BTC.device));

    private static List<(string, double)> Evaluate(EncoderModel model, Examples data)
    {
        using var noGrad = no_grad();
        model.Compute = ComputeType.Float32;
        var (masked, loss, right) = (0L, 0.0, 0L);
        var (rows, nextLoss, nextRight) = (0L, 0.0, 0L);
        foreach (var batch in data.Validation)
        {
            using var scope = NewDisposeScope();
            var hidden_BTC = batch.Rows.Hidden(model);
            var labels = tensor(batch.Labels, device: hidden_BTC.device);
            var logits_NV = model.MaskedLogits(Masked(hidden_BTC, batch));
            loss += nn.functional.cross_entropy(logits_NV, labels, reduction: nn.Reduction.Sum).item<float>();
            right += logits_NV.argmax(1).eq(labels).sum().item<long>();
            masked += batch.Labels.Length;
            if (batch.Next is not { } next) continue;
            var gold = tensor(next, device: hidden_BTC.device);
            nextLoss += model.NextSentenceLoss(hidden_BTC, gold, 1).item<float>();
            nextRight += model.NextSentence(hidden_BTC).argmax(1).eq(gold).sum().item<long>();
            rows += next.Length;
        }
        var figures = new List<(string, double)> { ("val_loss", loss / masked + (rows > 0 ? nextLoss / rows : 0)), ("masked_loss", loss / masked), ("masked_accuracy", (double)right / masked), ("unigram_loss", data.Unigram.Loss), ("unigram_accuracy", data.Unigram.Accuracy) };
        if (rows > 0) figures.AddRange([("next_sentence_loss", nextLoss / rows), ("next_sentence_accuracy", (double)nextRight / rows)]);
        return figures;
    }

    private static Tokenizer Tokenizer(PretrainBertConfig config, string folder, IEnumerable<IReadOnlyList<string>> train, Action<string>? note)
    {
        var isThere = Directory.Exists(folder) && File.Exists(Path.Combine(folder, "tokenizer.json"));   // of an earlier start of this run
        if ((isThere ? folder : config.Tokenizer.GivenBy(config.Model.GetValueOrDefault("path") as string)) is { } given) return Lect.Text.Tokenizer.Load(given);
        note?.Invoke($"learning a tokenizer from {config.Data.Describe}");
        var learned = (config.Tokenizer with { Kind = config.Tokenizer.Kind ?? "wordpiece" }).Train(train.SelectMany(d => d));
        learned.Save(folder);
        return learned;
    }

    private static List<int[][]> Encoded(Tokenizer tokenizer, IEnumerable<IReadOnlyList<string>> documents)
    {
        var ids = InParallel.Select(documents.ToList(), d => d.Select(s => tokenizer.EncodeIds(s, addSpecialTokens: false)).Where(s => s.Length > 0).ToArray());
        return [.. ids.Where(d => d.Length > 0)];
    }

    private static EncoderModel Model(PretrainBertConfig config, Tokenizer tokenizer, Action<string>? note)
    {
        var device = Devices.Choose(config.Train.Device);
        if (config.Model.GetValueOrDefault("path") is string path)
        {
            var type = (string?)ModelConfig.ReadFile(Path.Combine(path, "config.json"))["model_type"];
            var (loaded, made) = ModelFolder.LoadEncoder(path, config.Train.NextSentence ?? type == "bert" ? EncoderHead.ForPreTraining : EncoderHead.ForMaskedLM, config.Seed, device: device, dropout: config.Train.Dropout);
            if (made.Count > 0) note?.Invoke($"new weights: {string.Join(", ", made)}");
            TokenizerConfig.RequireFit(tokenizer, loaded.VocabularySize, path);
            return loaded;
        }
        var json = JsonSerializer.SerializeToNode(config.Model)!.AsObject();
        json.Remove("architecture");
        json.Remove("vectors");
        json["model_type"] = "bert";
        json["vocab_size"] ??= tokenizer.VocabularySize;
        json["max_position_embeddings"] ??= config.Train.Longest;
        json["pad_token_id"] ??= tokenizer.Padding ?? 0;
        if (config.Train.Dropout is { } dropout) foreach (var key in (string[])["hidden_dropout_prob", "attention_probs_dropout_prob"]) json[key] = dropout;
        var model = ModelFolder.CreateEncoder(json, config.Train.NextSentence ?? true ? EncoderHead.ForPreTraining : EncoderHead.ForMaskedLM, device, "model");
        if (model.VocabularySize < tokenizer.VocabularySize) throw new InvalidDataException($"Found model.vocab_size = {model.VocabularySize}. Expected at least {tokenizer.VocabularySize}, the tokens of the tokenizer; leave the key away to get that.");
        model.Initialize(config.Seed, (double?)json["initializer_range"] ?? 0.02);
        return model;
    }

    // Skip-gram over the pieces themselves: a small BERT that begins without knows for long no more than how frequent each piece is.
    private static void FillEmbeddings(EncoderModel model, Tokenizer tokenizer, string vectors, IReadOnlyList<int[][]> train, PretrainBertConfig config, string folder, Action<string>? note, CancellationToken stop)
    {
        if (vectors == SkipGram)
        {
            vectors = Path.Combine(folder, "data", "vectors");
            if (!File.Exists(Path.Combine(vectors, VectorFiles.Vectors)))
            {
                note?.Invoke("learning skip-gram vectors of the pieces");
                var pieces = Path.Combine(folder, "data", "pieces.txt");
                File.WriteAllLines(pieces, train.SelectMany(d => d).Select(s => string.Join(' ', s.Select(tokenizer.TokenOf))));
                TrainVectors.Run(new TrainWord2VecConfig { Seed = config.Seed, Data = new() { Path = pieces }, Word2vec = new() { Size = (int)model.Width, Cbow = false, Negative = 5, Window = 5, MinCount = 1, Iter = 3, Threads = config.Train.Threads } }, vectors, note: note, stop: stop);
                File.Delete(pieces);
            }
        }
        using var read = VectorFiles.Read(vectors, note);
        // Twice the size of positions and types, which they are added to: what a token is outweighs where it stands.
        note?.Invoke($"{read.Fill(model.Embeddings, tokenizer, size: 2):N0} of {tokenizer.VocabularySize:N0} embeddings begin as the vectors of {vectors}");
    }

    // Everything that was left open, so that run.yaml repeats this run on this machine.
    private static PretrainBertConfig Resolve(PretrainBertConfig config, EncoderModel model, Examples data)
    {
        var train = config.Train;
        if (model.ContextLength < train.Longest) throw new InvalidDataException($"Found rows of {train.Longest} tokens (train.block, train.long_block). Expected at most {model.ContextLength}, the model's positions.");
        var rows = Math.Min(train.BatchSize, train.MicroBatchSize ?? train.BatchSize);
        return config with
        {
            Recipe = "bert",
            Train = train with
            {
                Steps = train.Steps ?? data.StepsOf(train.Epochs!.Value),
                Epochs = null,
                NextSentence = data.HasPairs,
                Threads = Processes.Kept(train.Threads),
                Precision = Precision.Name(Precision.Resolve(train.Precision, (long)rows * train.Block, model.Width, 4 * model.Width)),
            },
        };
    }

    private static void Save(EncoderModel model, Tokenizer tokenizer, string folder)
    {
        ModelFolder.Save(model, folder);
        tokenizer.Save(folder);
    }

    /// <summary>The rows of each step, and those that are evaluated.</summary>
    private sealed class Examples
    {
        private readonly LengthBatches<Passage> first, second;
        private readonly Masking masking;
        private readonly PretrainBertTrain train;
        private readonly long seed;

        public Examples(PretrainBertConfig config, EncoderModel model, Tokenizer tokenizer, IReadOnlyList<int[][]> documents, IReadOnlyList<int[][]> validation)
        {
            (train, seed, HasPairs) = (config.Train, config.Seed, model.Head == EncoderHead.ForPreTraining);
            var mask = tokenizer.Mask ?? throw new InvalidDataException("Found a tokenizer without [MASK] or <mask>. Expected one, the token that stands for a hidden one.");
            var (cls, sep) = tokenizer.Around;
            masking = new(tokenizer, mask, model.PadId, train.Mask, train.WholeWords);
            LengthBatches<Passage> Batches(int block, int rows, string purpose) => new(epoch => Make(documents, block, purpose, epoch), p => (p.Row.Ids.Length, 0), (batch, _) => batch.Count == rows, rows * 50, seed, purpose);
            List<Passage> Make(IReadOnlyList<int[][]> from, int block, string purpose, long epoch) => new PassageMaker(from, cls, sep, HasPairs).Make(block, Seeds.Random(seed, "passages " + purpose, epoch));
            (first, second) = (Batches(train.Block, train.BatchSize, "masked"), Batches(train.LongBlock, train.LongRows, "masked long"));

            // As long as the longest rows: the second stage's places count too, and the best evaluation is one that has learned them.
            var unseen = validation.Count == 0 ? [] : Make(validation, train.Longest, "validation", 0);
            if (train.EvalRows > 0 && unseen.Count > train.EvalRows)
            {
                var order = unseen.ToArray();
                Seeds.Random(seed, "validation").Shuffle(order);
                unseen = [.. order.Take(train.EvalRows)];
            }
            Validation = [.. unseen.OrderBy(p => p.Row.Ids.Length).Chunk(64).Select((rows, i) => masking.Apply(rows, Seeds.Random(seed, "validation masks", i)))];
            Unigram = Guess(documents, Validation, tokenizer.VocabularySize);
        }

        public bool HasPairs { get; }
        public IReadOnlyList<MaskedBatch> Validation { get; }
        public (double Loss, double Accuracy) Unigram { get; }

        /// <summary>The first step of the second stage; known when the steps are counted.</summary>
        public long LongFrom { get; set; }

        public long StepsOf(double epochs) => first.StepsOf(epochs);

        public IReadOnlyList<MaskedBatch> At(long step)
        {
            var isLong = step >= LongFrom;
            var rows = isLong ? second.At(step - LongFrom) : first.At(step);
            return [.. Processes.Share(rows, isLong ? train.MicroBatchSize * train.Block / train.LongBlock is { } most ? Math.Max(1, most) : null : train.MicroBatchSize).Select((part, i) => masking.Apply(part, Seeds.Random(seed, "masks", step, i)))];
        }

        public string Describe()
        {
            var epoch = first.Begin();
            var padding = EncoderBatch.Padding(epoch.Select(b => (IReadOnlyList<int>)[.. b.Select(p => p.Row.Ids.Length)]));
            var nexts = epoch.SelectMany(b => b).Count(p => p.IsNext == true) / (double)Math.Max(1, epoch.Sum(b => b.Length));
            return FormattableString.Invariant($"{epoch.Sum(b => b.Length):N0} rows an epoch, {100 * padding:0.0} % of what is computed is padding")
                + (HasPairs ? FormattableString.Invariant($", {100 * nexts:0.0} % of the second texts are the next ones") : "")
                + (Validation.Count == 0 ? "; no validation text" : FormattableString.Invariant($"; {Validation.Sum(b => b.Rows.Rows):N0} rows to validate with, where guessing by frequency has a loss of {Unigram.Loss:0.000} and is right in {100 * Unigram.Accuracy:0.0} %"));
        }

        // What knowing only how frequent each token is gives: add-one counts of the training text.
        private static (double, double) Guess(IReadOnlyList<int[][]> documents, IReadOnlyList<MaskedBatch> validation, int size)
        {
            var counts = new long[size];
            foreach (var id in documents.SelectMany(d => d).SelectMany(s => s)) counts[id]++;
            var (total, labels, best) = ((double)counts.Sum() + size, validation.SelectMany(b => b.Labels).ToList(), (long)Array.IndexOf(counts, counts.Max()));
            return labels.Count == 0 ? (0, 0) : (labels.Average(l => -Math.Log((counts[l] + 1) / total)), labels.Count(l => l == best) / (double)labels.Count);
        }
    }
}
