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

    /// <inheritdoc/>
    public void Dispose() => Model.Dispose();
}
