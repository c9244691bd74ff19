// Training on pairs: teacher forcing (the decoder reads the true target), cross-entropy with label smoothing (Vaswani et al. 2017, section 5.4).
using System.Text.Json;
using System.Text.Json.Nodes;
using Lect.Models;
using Lect.Text;
using TorchSharp;
using static TorchSharp.torch;

namespace Lect;

/// <summary>The keys of <c>tokenizer</c> for pairs.</summary>
public sealed record PairTokenizerConfig
{
    /// <summary><c>word</c>, <c>char</c> or <c>bpe</c> (bytes). <value>bpe</value></summary>
    public string? Kind { get; init; }
    /// <summary>Tokens at most. <value>8000</value></summary>
    public int? Size { get; init; }
    /// <summary>Words that occur less often are unknown (word only). <value>2</value></summary>
    public int MinFrequency { get; init; } = 2;
    /// <summary>One vocabulary for both sides; a Transformer's is always one.</summary>
    public bool Joint { get; init; }

    internal IEnumerable<string> Faults()
    {
        if (Kind is not (null or "bpe" or "char" or "word")) yield return $"tokenizer.kind = '{Kind}': expected bpe, char or word";
        if (MinFrequency < 1) yield return $"tokenizer.min_frequency = {MinFrequency}: expected at least 1";
    }

    internal Tokenizer Train(IEnumerable<string> texts) => Kind switch
    {
        "char" => TokenizerTrainer.Characters(texts, specialTokens: TrainSeq2Seq.SpecialTokens),
        "word" => TokenizerTrainer.Words(texts, Size ?? 1_000_000, specialTokens: TrainSeq2Seq.SpecialTokens, minFrequency: MinFrequency),
        _ => TokenizerTrainer.ByteLevelBpe(texts, Size ?? 8000, TrainSeq2Seq.SpecialTokens),
    };
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

    /// <inheritdoc/>
    protected internal override IEnumerable<string> Faults()
    {
        foreach (var fault in base.Faults()) yield return fault;
        if (BatchSize is not null && BatchTokens is not null) yield return "train: found both batch_size and batch_tokens, expected one of them";
        if (BatchSize < 1 || BatchTokens < 1 || EvalSentences < 0) yield return "train: found a batch_size or batch_tokens below 1, or eval_sentences below 0";
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
    /// <summary>Keys of the architecture's config.json.</summary>
    [KeysOf(typeof(RnnConfig), "d_model", "heads", "encoder_layers", "decoder_layers", "ff", "activation", "norm_first", "norm", "norm_eps", "positions")]
    public Dictionary<string, object?> Model { get; init; } = [];
    /// <summary>The loop.</summary>
    public PairTrain Train { get; init; } = new();

    LoopConfig IRecipeConfig.Loop => Train;

    /// <summary>Checks everything that can be checked before data are read.</summary>
    /// <exception cref="InvalidDataException">All faults together.</exception>
    public TrainSeq2SeqConfig Validate()
    {
        var faults = Train.Faults().Concat(Tokenizer.Faults()).Concat(Data.Faults()).ToList();
        if (Recipe is not ("seq2seq" or "transformer")) faults.Add($"recipe = '{Recipe}': expected seq2seq or transformer");
        return faults.Count == 0 ? this : throw RunFile.Refused(faults);
    }
}

/// <summary>Training of encoder-decoders on pairs of texts.</summary>
public static class TrainSeq2Seq
{
    internal static IReadOnlyList<string> SpecialTokens { get; } = ["<pad>", "<s>", "</s>", "<unk>"];

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
        static string? Full(string? path) => path is null ? null : Path.GetFullPath(path);
        config = config with { Data = config.Data with { Path = Full(config.Data.Path), TargetPath = Full(config.Data.TargetPath), ValidationPath = Full(config.Data.ValidationPath), ValidationTargetPath = Full(config.Data.ValidationTargetPath) } };
        TorchNative.Load();
        using var run = RunFolder.IsOccupied(folder) ? RunFolder.Open(folder) : RunFolder.Begin(folder, config);
        set_num_threads(config.Train.Threads ?? Environment.ProcessorCount);

        note?.Invoke($"reading {config.Data.Describe}");
        var texts = config.Data.Read(config.Seed).Where(p => p.Split != CorpusSplit.Test && p.Source.Length > 0 && p.Target.Length > 0).ToLookup(p => p.Split);
        var (source, target) = Tokenizers(config, folder, [.. texts[CorpusSplit.Train]]);
        using var translator = new Translator(Model(config, source, target), source, target);
        var (model, unseen) = (translator.Model, texts[CorpusSplit.Validation].ToList());
        var train = Encoded(texts[CorpusSplit.Train], translator, config.Data.MaxLength, note);
        if (train.Count == 0) throw new InvalidDataException($"Found no pairs to train on in {config.Data.Describe}. Expected at least one that is not empty nor longer than data.max_length = {config.Data.MaxLength} tokens.");
        var validation = Encoded(unseen, translator, (int)model.ContextLength - 1, null);
        var batches = new PairBatches(train, config.Train.BatchSize ?? 64, config.Train.BatchTokens, config.Seed);
        config = Resolve(config, batches, model);
        run.SaveSettings(config);
        note?.Invoke($"{config.Recipe}: {ModelFolder.Short(model.parameters().Sum(p => p.numel()))} parameters, {train.Count:N0} pairs to train on, {validation.Count:N0} to validate with, vocabularies of {model.SourceVocabularySize:N0} and {model.TargetVocabularySize:N0}, {config.Train.Steps:N0} steps, {config.Train.Precision}, {config.Train.Threads} threads");

        var compute = config.Train.Precision == "bf16" ? ComputeType.BFloat16 : ComputeType.Float32;
        return TrainLoop.Run(new Training<PairBatch>
        {
            Model = model,
            Batches = step => [batches.At(step)],
            Labels = b => b.LabelCount,
            Loss = (b, scale) => Loss(model, b, scale, config.Train.LabelSmoothing, compute),
            Evaluate = validation.Count == 0 ? null : () => Evaluate(translator, validation, unseen, config.Train.EvalSentences),
            Sample = validation.Count == 0 ? null : () => Sample(translator, unseen),
            Save = to => Save(model, source, target, to),
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

    private static (Tokenizer Source, Tokenizer Target) Tokenizers(TrainSeq2SeqConfig config, string folder, IReadOnlyList<TextPair> train)
    {
        var (source, target) = (Path.Combine(folder, "data", Translator.SourceTokenizerFile), Path.Combine(folder, "data", Translator.TargetTokenizerFile));
        if (File.Exists(source) && File.Exists(target)) return (Tokenizer.Load(source), Tokenizer.Load(target));   // of an earlier start of this run
        Tokenizer left, right;
        if (config.Tokenizer.Joint || config.Recipe == "transformer") left = right = config.Tokenizer.Train(train.SelectMany(p => new[] { p.Source, p.Target }));
        else (left, right) = (config.Tokenizer.Train(train.Select(p => p.Source)), config.Tokenizer.Train(train.Select(p => p.Target)));
        Directory.CreateDirectory(Path.Combine(folder, "data"));
        left.SaveFile(source);
        right.SaveFile(target);
        return (left, right);
    }

    private static EncoderDecoder Model(TrainSeq2SeqConfig config, Tokenizer source, Tokenizer target)
    {
        var json = JsonSerializer.SerializeToNode(config.Model)!.AsObject();
        (json["pad_token_id"], json["bos_token_id"], json["eos_token_id"]) = (0, 1, 2);
        if (config.Train.Dropout is { } dropout) json["dropout"] = dropout;
        json["model_type"] = config.Recipe == "transformer" ? "lect_transformer" : "lect_rnn";
        if (config.Recipe == "transformer") json["vocab_size"] = source.VocabularySize;
        else (json["source_vocab_size"], json["target_vocab_size"]) = (source.VocabularySize, target.VocabularySize);
        var model = ModelFolder.CreateEncoderDecoder(json, Devices.Choose(config.Train.Device), "model");
        model.Initialize(config.Seed);
        return model;
    }

    private static List<IdPair> Encoded(IEnumerable<TextPair> pairs, Translator translator, int most, Action<string>? note)
    {
        var all = pairs.ToList();
        var ids = new IdPair[all.Count];
        Parallel.For(0, ids.Length, i => ids[i] = new(translator.Encode(all[i].Source), translator.EncodeTarget(all[i].Target)));
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
                Threads = get_num_threads(),
                Precision = Precision.Name(Precision.Resolve(train.Precision, train.BatchTokens ?? 20L * (train.BatchSize ?? 64), width, 4 * width)),
            },
        };
    }

    private static List<(string, double)> Evaluate(Translator translator, IReadOnlyList<IdPair> validation, IReadOnlyList<TextPair> texts, int sentences)
    {
        using var noGrad = no_grad();
        var (loss, tokens) = (0.0, 0L);
        foreach (var chunk in validation.OrderBy(p => p.Target.Length).Chunk(64))
        {
            using var scope = NewDisposeScope();
            var batch = new PairBatch([.. chunk.Select(p => p.Source)], [.. chunk.Select(p => p.Target)]);
            loss += Loss(translator.Model, batch, 1, 0, ComputeType.Float32).Number();
            tokens += batch.LabelCount;
        }
        var figures = new List<(string, double)> { ("val_loss", loss / tokens), ("perplexity", Math.Exp(loss / tokens)) };
        if (sentences == 0) return figures;
        var some = texts.Take(sentences).ToList();
        var translations = translator.Translate([.. some.Select(p => p.Source)], new() { Beams = 1, BatchSize = 64 });
        figures.Add(("bleu", new Bleu { Tokenize = "none" }.Corpus([.. translations.Select(t => t.Text)], [.. some.Select(p => (IReadOnlyList<string>)[Reference(translator, p.Target)])]).Value));
        return figures;
    }

    // A reference as the tokenizer would write it, so that blanks and case count on neither side.
    private static string Reference(Translator translator, string text) => translator.TargetTokenizer is { IsByteLevel: false } words ? string.Join(' ', words.Encode(text).Tokens) : text;

    private static string Sample(Translator translator, IReadOnlyList<TextPair> texts)
    {
        var some = texts.Take(3).ToList();
        var translations = translator.Translate([.. some.Select(p => p.Source)], new() { Beams = 1 });
        return string.Join('\n', some.Zip(translations, (p, t) => $"{p.Source}\n  -> {t.Text}\n  == {p.Target}"));
    }

    private static void Save(EncoderDecoder model, Tokenizer source, Tokenizer target, string folder)
    {
        ModelFolder.Save(model, folder);
        if (ReferenceEquals(source, target)) source.Save(folder);
        else
        {
            source.SaveFile(Path.Combine(folder, Translator.SourceTokenizerFile));
            target.SaveFile(Path.Combine(folder, Translator.TargetTokenizerFile));
        }
    }
}
