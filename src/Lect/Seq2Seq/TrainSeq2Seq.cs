// Training on pairs: teacher forcing (the decoder reads the true target), cross-entropy with label smoothing (Vaswani et al. 2017, section 5.4).
using System.Text.Json;
using System.Text.Json.Nodes;
using Lect.Models;
using Lect.Text;
using TorchSharp;
using static TorchSharp.torch;

namespace Lect;

/// <summary>The keys of <c>tokenizer</c> for pairs; one that is there (<c>path</c>) is for both sides.</summary>
public sealed record PairTokenizerConfig : TokenizerConfig
{
    /// <summary>Words that occur less often are unknown (word only). <value>2</value></summary>
    public int? MinFrequency { get; init; }
    /// <summary>One vocabulary for both sides; a Transformer's is always one.</summary>
    public bool Joint { get; init; }

    internal override IEnumerable<string> Faults()
    {
        foreach (var fault in base.Faults()) yield return fault;
        if (MinFrequency < 1) yield return $"tokenizer.min_frequency = {MinFrequency}: expected at least 1";
        if (MinFrequency is not null && Kind != "word") yield return $"tokenizer.min_frequency = {MinFrequency}: only a vocabulary of words (kind: word) has it";
    }

    /// <inheritdoc/>
    public override Tokenizer Train(IEnumerable<string> texts) => Train(texts, TrainSeq2Seq.SpecialTokens, words: 1_000_000, MinFrequency ?? 2);
}

/// <summary>The keys of <c>train</c> for pairs.</summary>
public sealed record PairTrain : LoopConfig
{
    /// <summary>Pairs of a step. <value>64</value></summary>
    public int? BatchSize { get; init; }
    /// <summary>Tokens of a step instead: rows times the longest.</summary>
    public int? BatchTokens { get; init; }
    /// <summary>Share of the probability that all tokens get alike. <value>0</value></summary>
    public double LabelSmoothing { get; init; }
    /// <summary>Dropout; absent: the model's own.</summary>
    public double? Dropout { get; init; }
    /// <summary>Validation sentences that are translated (greedily) for BLEU; 0: none. <value>500</value></summary>
    public int EvalSentences { get; init; } = 500;
    /// <summary>What the best evaluation is: the lowest <c>val_loss</c> or the highest <c>bleu</c>. <value>val_loss</value></summary>
    public string Best { get; init; } = "val_loss";

    /// <inheritdoc/>
    protected internal override IEnumerable<string> Faults()
    {
        foreach (var fault in base.Faults()) yield return fault;
        if (BatchSize is not null && BatchTokens is not null) yield return "train: found both batch_size and batch_tokens, expected one of them";
        if (BatchSize < 1 || BatchTokens < 1 || EvalSentences < 0) yield return "train: found a batch_size or batch_tokens below 1, or eval_sentences below 0";
        if (Best is not ("val_loss" or "bleu")) yield return $"train.best = '{Best}': expected val_loss or bleu";
        if (Best == "bleu" && EvalSentences == 0) yield return "train.best = 'bleu' with train.eval_sentences = 0: expected sentences to translate";
        if (LabelSmoothing is < 0 or >= 1) yield return FormattableString.Invariant($"train.label_smoothing = {LabelSmoothing}: expected at least 0 and less than 1");
        if (Dropout is < 0 or >= 1) yield return FormattableString.Invariant($"train.dropout = {Dropout}: expected at least 0 and less than 1");
    }
}

/// <summary>The run file of <c>lect train seq2seq</c> and <c>lect train transformer</c>.</summary>
public sealed record TrainSeq2SeqConfig : IRecipeConfig
{
    /// <summary><c>seq2seq</c> (recurrent) or <c>transformer</c>.</summary>
    public string? Recipe { get; init; }
    /// <summary>Key of all randomness. <value>1</value></summary>
    public long Seed { get; init; } = 1;
    /// <summary>The vocabularies.</summary>
    public PairTokenizerConfig Tokenizer { get; init; } = new();
    /// <summary>The pairs.</summary>
    public PairDataConfig Data { get; init; } = new();
    /// <summary><c>path</c> (a folder to continue from, one of Marian's too), or keys of the architecture's config.json.</summary>
    [KeysOf(typeof(RnnConfig), "path", "d_model", "heads", "encoder_layers", "decoder_layers", "ff", "activation", "norm_first", "norm", "norm_eps", "positions")]
    public Dictionary<string, object?> Model { get; init; } = [];
    /// <summary>The loop.</summary>
    public PairTrain Train { get; init; } = new();

    LoopConfig IRecipeConfig.Loop => Train;

    // Of the architecture, all that the vocabulary does not give. A recurrent model's kinds share their keys, so that one file can be run with several.
    private IEnumerable<string> ModelKeys => RunFile.Keys(Recipe == "transformer" ? typeof(TransformerConfig) : typeof(RnnConfig)).Keys.Where(k => !k.EndsWith("_token_id", StringComparison.Ordinal) && !k.EndsWith("vocab_size", StringComparison.Ordinal)).Order(StringComparer.Ordinal);

    /// <summary>Checks everything that can be checked before data are read.</summary>
    /// <exception cref="InvalidDataException">All faults together.</exception>
    public TrainSeq2SeqConfig Validate()
    {
        var faults = Train.Faults().Concat(Tokenizer.Faults()).Concat(Data.Faults()).ToList();
        faults.AddRange(RunFile.ContinuedModelFaults(Model));
        if (Model.ContainsKey("path") && (Tokenizer.Path ?? Tokenizer.Kind) is not null) faults.Add("tokenizer: a model that is continued (model.path) keeps its own");
        if (Recipe is not ("seq2seq" or "transformer")) faults.Add($"recipe = '{Recipe}': expected seq2seq or transformer");
        else if (!Model.ContainsKey("path") && Model.Keys.Except(ModelKeys).FirstOrDefault() is { } other) faults.Add($"model.{other}: the {Recipe} has no such key, or gets it from the vocabulary; expected {string.Join(", ", ModelKeys)}");
        return faults.Count == 0 ? this : throw RunFile.Refused(faults);
    }
}

/// <summary>Training of encoder-decoders on pairs of texts.</summary>
public static class TrainSeq2Seq
{
    internal static IReadOnlyList<string> SpecialTokens { get; } = ["<pad>", "<s>", "</s>", "<unk>"];

    private static readonly string[] s_padding = ["<pad>", "[PAD]"], s_ends = ["</s>", "<eos>", "[SEP]"], s_begins = ["<s>", "<bos>", "[CLS]", .. s_padding];

    /// <summary>Runs the recipe in a new folder, or goes on in one that a run was begun in.</summary>
    /// <param name="config">What to do.</param>
    /// <param name="folder">Where the run is kept.</param>
    /// <param name="report">Told each line of metrics.</param>
    /// <param name="note">Told what happens besides.</param>
    /// <param name="stop">Stops after the step in work, with a checkpoint.</param>
    /// <exception cref="InvalidDataException">Something given cannot be used; the message says what.</exception>
    public static RunState Run(TrainSeq2SeqConfig config, string folder, Action<TrainEvent>? report = null, Action<string>? note = null, CancellationToken stop = default)
    {
        config = config.Validate();
        var data = config.Data;
        config = config with { Model = RunFile.FullPaths(config.Model, "path"), Tokenizer = config.Tokenizer with { Path = RunFile.FullPath(config.Tokenizer.Path) }, Data = data with { Path = RunFile.FullPath(data.Path), TargetPath = RunFile.FullPath(data.TargetPath), ValidationPath = RunFile.FullPath(data.ValidationPath), ValidationTargetPath = RunFile.FullPath(data.ValidationTargetPath) } };
        TorchNative.Load();
        using var run = RunFolder.OpenOrBegin(folder, ref config);
        Processes.UseThreads(config.Train.Threads);

        note?.Invoke($"reading {config.Data.Describe}");
        var empty = 0;
        var texts = config.Data.Read(config.Seed).Where(p => p.Split != CorpusSplit.Test && !IsEmpty(p)).ToLookup(p => p.Split);
        bool IsEmpty(TextPair p) => (string.IsNullOrWhiteSpace(p.Source) || string.IsNullOrWhiteSpace(p.Target)) && ++empty > 0;
        if (empty > 0) note?.Invoke($"{empty:N0} pairs with an empty side are left out");
        var vocabulary = Path.Combine(folder, "data");
        var (source, target) = Tokenizers(config, vocabulary, [.. texts[CorpusSplit.Train]]);
        using var translator = new Translator(Model(config, source, target), source, target);
        var (model, unseen) = (translator.Model, texts[CorpusSplit.Validation].ToList());
        var train = Encoded(texts[CorpusSplit.Train], translator, config.Data.MaxLength, note);
        if (train.Count == 0) throw new InvalidDataException($"Found no pairs to train on in {config.Data.Describe}. Expected at least one that is not empty nor longer than data.max_length = {config.Data.MaxLength} tokens.");
        var validation = Encoded(unseen, translator, (int)model.ContextLength - 1, null);
        var batches = new PairBatches(train, config.Train.BatchSize ?? 64, config.Train.BatchTokens, config.Seed);
        config = Resolve(config, batches, model);
        run.SaveSettings(config);
        note?.Invoke($"{config.Recipe}: {ModelFolder.Short(model.parameters().Sum(p => p.numel()))} parameters, {train.Count:N0} pairs to train on, {validation.Count:N0} to validate with, vocabularies of {model.SourceVocabularySize:N0} and {model.TargetVocabularySize:N0}, {config.Train.Steps:N0} steps, {config.Train.Precision}, {config.Train.Workers}");

        var compute = config.Train.Compute;
        return TrainLoop.Run(new Training<PairBatch>
        {
            Model = model,
            Batches = batches.At,
            Labels = b => b.LabelCount,
            Loss = (b, scale) => Loss(model, b, scale, config.Train.LabelSmoothing, compute),
            Evaluate = validation.Count == 0 ? null : () => Evaluate(translator, validation, unseen, config.Data, config.Train.EvalSentences),
            Sample = validation.Count == 0 ? null : () => Sample(translator, unseen),
            HighestOf = config.Train.Best == "bleu" ? "bleu" : null,
            Save = to => Save(model, vocabulary, to),
        }, config.Train, config.Seed, run, report, stop);
    }

    /// <summary>scale * the smoothed loss of a batch, nats.</summary>
    internal static Tensor Loss(EncoderDecoder model, PairBatch batch, double scale, double smoothing, ComputeType compute)
    {
        using var scope = NewDisposeScope();
        model.Compute = compute;
        var (source_BS, target_BT) = (EncoderDecoder.Padded(batch.Source, model.PadId), EncoderDecoder.Padded([.. batch.Target.Select(t => (int[])[model.BosId, .. t[..^1]])], model.PadId));
        var gold_BT = EncoderDecoder.Padded(batch.Target, -100);
        return model.Loss(source_BS, target_BT, gold_BT, scale, smoothing).MoveToOuterDisposeScope();
    }

    // A folder of their own, in the layout of the model folder, which gets copies.
    private static (Tokenizer Source, Tokenizer Target) Tokenizers(TrainSeq2SeqConfig config, string folder, IReadOnlyList<TextPair> train)
    {
        if (Translator.Tokenizers(folder) is ({ } source, { } target)) return (source, target);   // of an earlier start of this run
        Directory.CreateDirectory(folder);
        if (config.Model.GetValueOrDefault("path") is string path)
        {
            ModelFolder.ReadConfig(path);   // says it where there is no model at all
            foreach (var file in Translator.TokenizerFiles.Append("generation_config.json").Where(f => File.Exists(Path.Combine(path, f)))) File.Copy(Path.Combine(path, file), Path.Combine(folder, file), overwrite: true);
            return Translator.Tokenizers(folder) is ({ } left, { } right) ? (left, right) : throw new InvalidDataException($"Found no tokenizer in {path}. Expected the folder of a whole model.");
        }
        if (config.Tokenizer.Path is not null || config.Tokenizer.Joint || config.Recipe == "transformer")
        {
            var joint = config.Tokenizer.Path is { } own ? Tokenizer.Load(own) : config.Tokenizer.Train(train.SelectMany(p => new[] { p.Source, p.Target }));
            joint.Save(folder);
            return (joint, joint);
        }
        var (first, second) = (config.Tokenizer.Train(train.Select(p => p.Source)), config.Tokenizer.Train(train.Select(p => p.Target)));
        first.SaveFile(Path.Combine(folder, Translator.SourceTokenizerFile));
        second.SaveFile(Path.Combine(folder, Translator.TargetTokenizerFile));
        return (first, second);
    }

    private static EncoderDecoder Model(TrainSeq2SeqConfig config, Tokenizer source, Tokenizer target)
    {
        var device = Devices.Choose(config.Train.Device);
        if (config.Model.GetValueOrDefault("path") is string path) return ModelFolder.LoadEncoderDecoder(path, device, config.Train.Dropout);
        var json = JsonSerializer.SerializeToNode(config.Model)!.AsObject();
        foreach (var (key, names) in new[] { ("pad_token_id", s_padding), ("eos_token_id", s_ends), ("bos_token_id", s_begins) })
            json[key] = names.Select(source.IdOf).FirstOrDefault(id => id is not null) ?? throw new InvalidDataException($"Found none of the tokens {string.Join(", ", names)} in {config.Tokenizer.Path}. Expected tokens for padding, the end and the beginning, or tokenizer.kind to learn a vocabulary.");
        if (config.Train.Dropout is { } dropout) json["dropout"] = dropout;
        json["model_type"] = config.Recipe == "transformer" ? "lect_transformer" : "lect_rnn";
        if (config.Recipe == "transformer") json["vocab_size"] = source.VocabularySize;
        else (json["source_vocab_size"], json["target_vocab_size"]) = (source.VocabularySize, target.VocabularySize);
        var model = ModelFolder.CreateEncoderDecoder(json, device, "model");
        model.Initialize(config.Seed);
        return model;
    }

    private static List<IdPair> Encoded(IEnumerable<TextPair> pairs, Translator translator, int most, Action<string>? note)
    {
        var all = pairs.ToList();
        var ids = InParallel.Select(all, p => new IdPair(translator.Encode(p.Source), translator.EncodeTarget(p.Target)));
        var kept = ids.Where(p => p.Source.Length <= most + 1 && p.Target.Length <= most + 1).ToList();
        if (kept.Count < ids.Length) note?.Invoke($"{ids.Length - kept.Count:N0} of {ids.Length:N0} pairs are longer than {most} tokens and left out (data.max_length)");
        return kept;
    }

    private static TrainSeq2SeqConfig Resolve(TrainSeq2SeqConfig config, PairBatches batches, EncoderDecoder model)
    {
        var train = config.Train;
        var width = model.HeadWeight.shape[1];
        return config with
        {
            Train = train with
            {
                Steps = train.Steps ?? batches.StepsOf(train.Epochs!.Value),
                Epochs = null,
                Threads = Processes.Kept(train.Threads),
                Precision = Precision.Name(Precision.Resolve(train.Precision, train.BatchTokens ?? 20L * (train.BatchSize ?? 64), width, 4 * width)),
            },
        };
    }

    private static List<(string, double)> Evaluate(Translator translator, IReadOnlyList<IdPair> validation, IReadOnlyList<TextPair> texts, PairDataConfig data, int sentences)
    {
        using var noGrad = no_grad();
        var (loss, tokens) = (0.0, 0L);
        foreach (var chunk in validation.OrderBy(p => p.Target.Length).Chunk(64))
        {
            using var scope = NewDisposeScope();
            var batch = new PairBatch([.. chunk.Select(p => p.Source)], [.. chunk.Select(p => p.Target)]);
            loss += Loss(translator.Model, batch, 1, 0, ComputeType.Float32).item<float>();
            tokens += batch.LabelCount;
        }
        var figures = new List<(string, double)> { ("val_loss", loss / tokens), ("perplexity", Math.Exp(loss / tokens)) };
        if (sentences == 0) return figures;
        var some = texts.Take(sentences).ToList();
        var translations = translator.Translate([.. some.Select(p => p.Source)], new() { Beams = 1, BatchSize = 64, CopyUnknown = false });
        figures.Add(("bleu", new Bleu { Tokenize = data.TokenizeByCharacters ?? "none" }.Corpus([.. translations.Select(t => t.Text)], [.. some.Select(p => (IReadOnlyList<string>)[Reference(translator, p.Target)])]).Value));
        return figures;
    }

    // A reference as the tokenizer would write it, so that blanks and case count on neither side.
    private static string Reference(Translator translator, string text) => translator.TargetTokenizer is { IsByteLevel: false } words ? string.Join(' ', words.Encode(text).Tokens) : text;

    private static string Sample(Translator translator, IReadOnlyList<TextPair> texts)
    {
        var some = texts.Take(3).ToList();
        var translations = translator.Translate([.. some.Select(p => p.Source)], new() { Beams = 1, CopyUnknown = false });
        return string.Join('\n', some.Zip(translations, (p, t) => $"{p.Source}\n  -> {t.Text}\n  == {p.Target}"));
    }

    private static void Save(EncoderDecoder model, string vocabulary, string folder)
    {
        ModelFolder.Save(model, folder);
        foreach (var file in Directory.GetFiles(vocabulary)) ModelFolder.CopyFile(file, Path.Combine(folder, Path.GetFileName(file)));
    }
}
