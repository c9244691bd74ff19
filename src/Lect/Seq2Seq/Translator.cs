using Lect.Models;
using Lect.Text;
using TorchSharp;
using static TorchSharp.torch;

namespace Lect;

/// <summary>How translations are made.</summary>
public sealed record TranslationOptions
{
    /// <summary>Beams; 1: the most probable token each time. <value>4</value></summary>
    public int Beams { get; init; } = 4;
    /// <summary>Exponent of the length that a score is divided by. <value>1</value></summary>
    public double LengthPenalty { get; init; } = 1;
    /// <summary>Stops at as many finished hypotheses as beams.</summary>
    public bool EarlyStopping { get; init; }
    /// <summary>Tokens at most. <value>128</value></summary>
    public int MaxNewTokens { get; init; } = 128;
    /// <summary>Sentences side by side. <value>32</value></summary>
    public int BatchSize { get; init; } = 32;
}

/// <summary>A translation.</summary>
/// <param name="Ids">Its tokens, with the end where there is one.</param>
/// <param name="Text">Its text; empty where the folder has no tokenizer.</param>
/// <param name="Score">Sum of log-probabilities / length^penalty.</param>
public sealed record Translation(int[] Ids, string Text, double Score);

/// <summary>An encoder-decoder with its tokenizers. Not thread-safe.</summary>
public sealed class Translator : IDisposable
{
    internal const string SourceTokenizerFile = "source_tokenizer.json", TargetTokenizerFile = "target_tokenizer.json";

    internal Translator(EncoderDecoder model, Tokenizer? source, Tokenizer? target) => (Model, SourceTokenizer, TargetTokenizer) = (model, source, target);

    /// <summary>The network.</summary>
    public EncoderDecoder Model { get; }
    /// <summary>Tokenizer of the source side; null: only ids can be used.</summary>
    public Tokenizer? SourceTokenizer { get; }
    /// <summary>Tokenizer of the target side.</summary>
    public Tokenizer? TargetTokenizer { get; }

    /// <summary>Opens a model folder: config.json, model.safetensors, and tokenizer.json for both sides or one file a side.</summary>
    /// <exception cref="InvalidDataException">Something is missing or damaged; the message says what.</exception>
    public static Translator Load(string folder, string device = "auto")
    {
        var model = ModelFolder.LoadEncoderDecoder(folder, Devices.Choose(device));
        var (source, target) = (Path.Combine(folder, SourceTokenizerFile), Path.Combine(folder, TargetTokenizerFile));
        if (File.Exists(source) && File.Exists(target)) return new(model, Tokenizer.Load(source), Tokenizer.Load(target));
        var joint = Tokenizer.LoadIfThere(folder);
        return new(model, joint, joint);
    }

    /// <summary>Ids of a source text, with the end token.</summary>
    public int[] Encode(string text) => [.. (SourceTokenizer ?? throw Tokenizer.Missing()).EncodeIds(text), Model.EosId];

    /// <summary>Ids of a target text, with the end token.</summary>
    public int[] EncodeTarget(string text) => [.. (TargetTokenizer ?? throw Tokenizer.Missing()).EncodeIds(text), Model.EosId];

    /// <summary>Translates texts, in their order.</summary>
    public IReadOnlyList<Translation> Translate(IReadOnlyList<string> texts, TranslationOptions? options = null) => Translate([.. texts.Select(Encode)], options);

    /// <summary>Translates ids (each ending with the end token), in their order; batches are of about one length, which changes no answer.</summary>
    public IReadOnlyList<Translation> Translate(IReadOnlyList<int[]> sources, TranslationOptions? options = null)
    {
        options ??= new();
        if (options.BatchSize < 1) throw new InvalidDataException($"Found --batch-size {options.BatchSize}. Expected at least 1.");
        var beams = new BeamOptions { Beams = options.Beams, LengthPenalty = options.LengthPenalty, EarlyStopping = options.EarlyStopping, MaxNewTokens = options.MaxNewTokens };
        var found = new Translation[sources.Count];
        Model.Compute = ComputeType.Float32;
        foreach (var batch in Enumerable.Range(0, sources.Count).OrderBy(i => sources[i].Length).Chunk(options.BatchSize))
        {
            var answers = BeamSearch.Search(Model, [.. batch.Select(i => sources[i])], beams);
            for (var i = 0; i < batch.Length; i++) found[batch[i]] = new(answers[i][0].Ids, TargetTokenizer?.Decode(answers[i][0].Ids, skipSpecialTokens: true) ?? "", answers[i][0].Score);
        }
        return found;
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
        return File.Exists(path) && (string?)ModelFolder.ReadConfig(folder)["model_type"] is "lect_rnn" or "lect_transformer";
    }

    /// <inheritdoc/>
    public void Dispose() => Model.Dispose();
}
