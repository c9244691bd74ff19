using Lect.Models;
using Lect.Text;
using TorchSharp;
using static TorchSharp.torch;

namespace Lect;

/// <summary>How translations are made: <see cref="BeamOptions"/> with 4 beams and 128 tokens at most, and what becomes of the hypotheses.</summary>
public sealed record TranslationOptions : BeamOptions
{
    /// <summary>With the defaults of translating.</summary>
    public TranslationOptions() => MaxNewTokens = 128;

    /// <summary>Of the finished hypotheses the one that looks at all of the source is preferred: penalty * sum over source tokens of log(min(its attention, 1)) is added to their scores (Wu et al. 2016, equation 14). <value>0</value></summary>
    public double CoveragePenalty { get; init; }
    /// <summary>Hypotheses to give of each sentence, best first; at most as many as beams. <value>1</value></summary>
    public int Best { get; init; } = 1;
    /// <summary>Where the model says that a word is unknown, the source word that it attends to most stands in the text. <value>true</value></summary>
    public bool CopyUnknown { get; init; } = true;
    /// <summary>Whether attention to the source is given.</summary>
    public bool WithAttention { get; init; }
    /// <summary>Sentences side by side. <value>32</value></summary>
    public int BatchSize { get; init; } = 32;

    /// <summary>Checks ranges, by the names of the command line's options.</summary>
    /// <exception cref="InvalidDataException">A value outside its range.</exception>
    public TranslationOptions Validate()
    {
        if (BatchSize < 1 || MaxNewTokens < 1) throw new InvalidDataException($"Found --batch-size {BatchSize} and --max-new-tokens {MaxNewTokens}. Expected at least 1.");
        if (Best < 1 || Best > Beams) throw new InvalidDataException($"Found --n-best {Best} with --beams {Beams}. Expected at least 1 and at most as many as beams.");
        if (!(CoveragePenalty >= 0)) throw new InvalidDataException(FormattableString.Invariant($"Found --coverage-penalty {CoveragePenalty}. Expected at least 0."));
        if (!double.IsFinite(LengthPenalty)) throw new InvalidDataException(FormattableString.Invariant($"Found --length-penalty {LengthPenalty}. Expected a number."));
        return this;
    }
}

/// <summary>A translation.</summary>
/// <param name="Ids">Its tokens, with the end where there is one.</param>
/// <param name="Text">Its text; empty where the folder has no tokenizer.</param>
/// <param name="Score">Sum of log-probabilities / length^penalty.</param>
/// <param name="Attention">How much each of its tokens attends to each source token (the mean of all heads of all layers), where it was asked for.</param>
/// <param name="Others">The next best ones, where they were asked for.</param>
public sealed record Translation(int[] Ids, string Text, double Score, float[][]? Attention, IReadOnlyList<Translation> Others);

/// <summary>An encoder-decoder with its tokenizers. Not thread-safe.</summary>
public sealed class Translator : IDisposable
{
    internal const string SourceTokenizerFile = "source_tokenizer.json", TargetTokenizerFile = "target_tokenizer.json";

    internal Translator(EncoderDecoder model, Tokenizer? source, Tokenizer? target, TranslationOptions? defaults = null) => (Model, SourceTokenizer, TargetTokenizer, Defaults) = (model, source, target, defaults ?? new());

    /// <summary>The network.</summary>
    public EncoderDecoder Model { get; }
    /// <summary>Tokenizer of the source side; null: only ids can be used.</summary>
    public Tokenizer? SourceTokenizer { get; }
    /// <summary>Tokenizer of the target side.</summary>
    public Tokenizer? TargetTokenizer { get; }
    /// <summary>The folder's generation_config.json as Hugging Face reads it; four beams where it is silent.</summary>
    public TranslationOptions Defaults { get; }

    /// <summary>Opens a model folder: config.json, model.safetensors, and the tokenizers: Marian's files, one file a side, or one for both.</summary>
    /// <param name="folder">In Hugging Face's layout.</param>
    /// <param name="device">auto, cpu, cuda, cuda:N or mps.</param>
    /// <exception cref="InvalidDataException">Something is missing or damaged; the message says what.</exception>
    public static Translator Load(string folder, string device = "auto")
    {
        var model = ModelFolder.LoadEncoderDecoder(folder, Devices.Choose(device));
        var (source, target) = Tokenizers(folder);
        return new(model, source, target, ReadDefaults(folder, model));
    }

    /// <summary>The files that a folder's tokenizers may be in.</summary>
    internal static IEnumerable<string> TokenizerFiles => [.. Tokenizer.Files, SourceTokenizerFile, TargetTokenizerFile, .. MarianTokenizers.Files];

    /// <summary>The tokenizers of a folder; null where it has none.</summary>
    internal static (Tokenizer? Source, Tokenizer? Target) Tokenizers(string folder)
    {
        if (MarianTokenizers.AreIn(folder)) return MarianTokenizers.Load(folder);
        var (source, target) = (Path.Combine(folder, SourceTokenizerFile), Path.Combine(folder, TargetTokenizerFile));
        if (File.Exists(source) && File.Exists(target)) return (Tokenizer.Load(source), Tokenizer.Load(target));
        var joint = Tokenizer.LoadIfThere(folder);
        return (joint, joint);
    }

    private static TranslationOptions ReadDefaults(string folder, EncoderDecoder model)
    {
        var path = Path.Combine(folder, GenerationFile.Name);
        if (!File.Exists(path)) return new();
        var read = GenerationFile.Read(folder, model.ConfigJson, model.TargetVocabularySize);
        var (decoding, bad) = (read.Decoding, read.Decoding.BadWordsIds);
        foreach (var (key, isFound) in new[] { ("bad_words_ids of several tokens", bad.Any(b => b.Length != 1)), ("repetition_penalty", decoding.RepetitionPenalty != 1), ("no_repeat_ngram_size", decoding.NoRepeatNgramSize > 0), ("min_new_tokens or min_length", decoding.MinNewTokens > 0), ("do_sample", decoding.Sample), ("stop_strings", read.Stop.Count > 0) })
            if (isFound) throw new InvalidDataException($"{path}: found {key}, which this version of Lect applies to decoders only. Set it to null to go on without it.");
        return new()
        {
            Beams = read.Beams,
            LengthPenalty = read.LengthPenalty,
            Stop = read.BeamStop,
            MaxNewTokens = read.Decoding.MaxNewTokens,
            NeverIds = [.. bad.Select(b => b[0])],
            EosTokenIds = decoding.EosTokenIds ?? [],
            Renormalize = decoding.Renormalize,
            ForcedEosTokenId = read.Decoding.ForcedEosTokenId,
        };
    }

    /// <summary>Ids of a source text, with the end token.</summary>
    public int[] Encode(string text) => [.. (SourceTokenizer ?? throw Tokenizer.Missing()).EncodeIds(text, addSpecialTokens: false), Model.EosId];

    /// <summary>Ids of a target text, with the end token.</summary>
    public int[] EncodeTarget(string text) => [.. (TargetTokenizer ?? throw Tokenizer.Missing()).EncodeIds(text, addSpecialTokens: false), Model.EosId];

    /// <summary>Translates texts, in their order.</summary>
    public IReadOnlyList<Translation> Translate(IReadOnlyList<string> texts, TranslationOptions? options = null) => Translate([.. texts.Select(Encode)], options, texts);

    /// <summary>Translates ids (each ending with the end token), in their order; batches are of about one length, which changes no answer.</summary>
    /// <param name="sources">Ids of each sentence.</param>
    /// <param name="options">Null: <see cref="Defaults"/>.</param>
    /// <param name="texts">The sentences themselves, where unknown words are to be copied from them.</param>
    public IReadOnlyList<Translation> Translate(IReadOnlyList<int[]> sources, TranslationOptions? options = null, IReadOnlyList<string?>? texts = null)
    {
        options = (options ?? Defaults).Validate();
        var found = new Translation[sources.Count];
        Model.Compute = ComputeType.Float32;
        foreach (var batch in Enumerable.Range(0, sources.Count).OrderBy(i => sources[i].Length).Chunk(options.BatchSize))
        {
            var answers = BeamSearch.Search(Model, [.. batch.Select(i => sources[i])], options);
            // Only coverage asks for the attention of hypotheses that are not given.
            var looked = batch.SelectMany((source, i) => answers[i].Take(options.CoveragePenalty > 0 ? int.MaxValue : options.Best).Select(h => (Source: source, Hypothesis: h))).ToList();
            var attention = WantsAttention(looked.Select(l => l.Hypothesis), options) ? Attention([.. looked.Select(l => (sources[l.Source], l.Hypothesis.Ids))]) : null;
            if (attention is null && (options.WithAttention || options.CoveragePenalty > 0)) throw new InvalidDataException("Found a model without attention, and --attention or --coverage-penalty. Expected one that has it.");
            foreach (var group in looked.Select((l, i) => (l.Source, l.Hypothesis, Attention: attention?[i])).GroupBy(l => l.Source))
            {
                var best = group.Select(l => (l.Hypothesis, l.Attention, Score: l.Hypothesis.Score + Coverage(l.Attention, options))).OrderByDescending(l => l.Score).Take(options.Best)
                    .Select(l => new Translation(l.Hypothesis.Ids, Text(l.Hypothesis.Ids, sources[group.Key], texts?[group.Key], l.Attention, options), l.Score, options.WithAttention ? l.Attention : null, [])).ToList();
                found[group.Key] = best[0] with { Others = best[1..] };
            }
        }
        return found;
    }

    private int UnknownId => TargetTokenizer?.IdOf(TokenizerTrainer.Unknown) ?? -1;

    private bool WantsAttention(IEnumerable<Hypothesis> hypotheses, TranslationOptions options) =>
        options.WithAttention || options.CoveragePenalty > 0 || (options.CopyUnknown && SourceTokenizer is not null && UnknownId is >= 0 and var unknown && hypotheses.Any(h => h.Ids.Contains(unknown)));

    private static double Coverage(float[][]? attention, TranslationOptions options) => attention is null || options.CoveragePenalty == 0 ? 0
        : options.CoveragePenalty * Enumerable.Range(0, attention[0].Length).Sum(s => Math.Log(Math.Clamp(attention.Sum(row => row[s]), 1e-9, 1)));

    private string Text(int[] ids, int[] source, string? text, float[][]? attention, TranslationOptions options) =>
        TargetTokenizer?.Decode(ids, skipSpecialTokens: true, attention is not null && options.CopyUnknown && SourceTokenizer is not null ? Copies(ids, source, text, attention) : null) ?? "";

    // What stands for each unknown token: the source word that it attends to most.
    private Dictionary<int, string> Copies(int[] ids, int[] source, string? text, float[][] attention)
    {
        var copies = new Dictionary<int, string>();
        var encoded = text is null ? null : SourceTokenizer!.Encode(text, addSpecialTokens: false);
        for (var t = 0; t < ids.Length; t++)
        {
            if (ids[t] != UnknownId) continue;
            var at = Enumerable.Range(0, Math.Max(1, source.Length - 1)).MaxBy(s => attention[t][s]);   // the end token has no word
            if (encoded is null || at >= encoded.Ids.Length) { copies[t] = SourceTokenizer!.Decode([source[at]]).Trim(); continue; }
            var word = Enumerable.Range(0, encoded.Ids.Length).Where(i => encoded.WordIds[i] == encoded.WordIds[at]).ToList();
            copies[t] = text![encoded.Offsets[word[0]].Start..encoded.Offsets[word[^1]].End].Trim();
        }
        return copies;
    }

    // Of each pair [target tokens][source tokens]: one pass over the finished targets. Null: the model has no attention.
    private float[][][]? Attention(IReadOnlyList<(int[] Source, int[] Target)> pairs)
    {
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        Model.eval();
        var mean = new MeanAttention(Model);
        using (var state = Model.Encode(EncoderDecoder.Padded([.. pairs.Select(p => p.Source)], Model.PadId)))
            Model.Decode(state, EncoderDecoder.Padded([.. pairs.Select(p => (int[])[Model.BosId, .. p.Target[..^1]])], Model.PadId), mean);
        if (mean.Sum_BTS is null) return null;
        using var own = (mean.Sum_BTS / mean.Layers).cpu().contiguous();
        var (values, targets, sources) = (own.data<float>().ToArray(), own.shape[1], own.shape[2]);
        return [.. pairs.Select((p, b) => p.Target.Select((_, t) => values.AsSpan((int)((b * targets + t) * sources), p.Source.Length).ToArray()).ToArray())];
    }

    private sealed class MeanAttention(EncoderDecoder model) : IActivationSink
    {
        public Tensor? Sum_BTS { get; private set; }
        public int Layers { get; private set; }

        public void Attention(int layer, Tensor probs_BHTS)
        {
            if (!model.AttendsToSource(layer)) return;
            var mean_BTS = probs_BHTS.mean([1L]);
            Sum_BTS = (Sum_BTS is null ? mean_BTS : Sum_BTS + mean_BTS).MoveToOuterDisposeScope();
            Layers++;
        }

        public void Hidden(int index, Tensor x_BTC) { }
    }

    /// <summary>The log-probability of each token of a target, given the source and the tokens before it.</summary>
    /// <param name="source">Ids, ending with the end token.</param>
    /// <param name="target">Ids, as a rule ending with it too.</param>
    /// <exception cref="InvalidDataException">No ids, too many, or one outside the vocabulary.</exception>
    public Scored Score(int[] source, int[] target)
    {
        if (source.Length == 0 || target.Length == 0 || source.Length > Model.ContextLength || target.Length > Model.ContextLength) throw new InvalidDataException($"Found a source of {source.Length} and a target of {target.Length} tokens. Expected 1 to {Model.ContextLength} each.");
        Vocabulary.Check(source, Model.SourceVocabularySize);
        Vocabulary.Check(target, Model.TargetVocabularySize);
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        Model.eval();
        Model.Compute = ComputeType.Float32;
        using var state = Model.Encode(EncoderDecoder.Padded([source], Model.PadId));
        var logProbs_TV = Model.Logits(state, EncoderDecoder.Padded([[Model.BosId, .. target[..^1]]], Model.PadId)).squeeze(0).log_softmax(-1);
        using var own = logProbs_TV.gather(1, tensor(target.Select(t => (long)t).ToArray()).unsqueeze(1)).squeeze(1).cpu().contiguous();
        var values = own.data<float>().ToArray();
        return new(target, [.. values.Select(v => (double?)v)], values.Sum(v => (double)v));
    }

    /// <summary>Whether a model folder holds an encoder-decoder.</summary>
    public static bool IsAt(string folder)
    {
        var path = Path.Combine(folder, "config.json");
        return File.Exists(path) && ModelFolder.EncoderDecoders.Contains((string?)ModelFolder.ReadConfig(folder)["model_type"] ?? "");
    }

    /// <inheritdoc/>
    public void Dispose() => Model.Dispose();
}
