using System.Text;
using System.Text.Json.Nodes;
using Lect.Models;
using Lect.Text;
using TorchSharp;
using static TorchSharp.torch;

namespace Lect;

/// <summary>How a decoder's texts are made: <see cref="DecodingOptions"/>, beams and stop strings.</summary>
public sealed record GenerationOptions
{
    /// <summary>Choice of tokens.</summary>
    public DecodingOptions Decoding { get; init; } = new();
    /// <summary>Hypotheses of beam search; 1: none.</summary>
    public int Beams { get; init; } = 1;
    /// <summary>Exponent of the length in beam scores.</summary>
    public double LengthPenalty { get; init; } = 1;
    /// <summary>When beam search has enough.</summary>
    public BeamStop BeamStop { get; init; }
    /// <summary>Texts at which generation stops; they are left out.</summary>
    public IReadOnlyList<string> Stop { get; init; } = [];
    /// <summary>The text goes on with the prompt's, with the blank that may stand between them (a prompt that is given as text sets it); otherwise it is one of its own, as an answer in a conversation is.</summary>
    public bool Continues { get; init; }
    /// <summary>Keeps the last tokens of a prompt that leaves no room for the new ones (at least half of the context), instead of refusing one that is too long.</summary>
    public bool Truncate { get; init; }

    /// <summary>A request's settings over these.</summary>
    /// <param name="temperature">0: greedy.</param>
    /// <param name="topP">Nucleus.</param>
    /// <param name="topK">Most probable tokens.</param>
    /// <param name="maxTokens">Of the answer.</param>
    /// <param name="stop">Texts to stop at.</param>
    /// <param name="frequency">Frequency penalty.</param>
    /// <param name="presence">Presence penalty.</param>
    /// <param name="seed">Null: a different one each time.</param>
    /// <param name="samples">Whether tokens are drawn where no temperature is given.</param>
    internal GenerationOptions Requested(double? temperature, double? topP, int? topK, int? maxTokens, string[] stop, double? frequency, double? presence, long? seed, bool samples) => this with
    {
        Beams = 1,
        Stop = stop,
        Decoding = (maxTokens is { } most ? Decoding with { MaxNewTokens = most } : Decoding) with
        {
            Sample = temperature is null ? samples : temperature >= DecodingOptions.LeastTemperature,
            Temperature = temperature is >= DecodingOptions.LeastTemperature and var t ? t : Decoding.Temperature,
            TopP = topP ?? Decoding.TopP,
            TopK = topK ?? (Decoding.Sample ? Decoding.TopK : 0),
            FrequencyPenalty = frequency ?? 0,
            PresencePenalty = presence ?? 0,
            Seed = seed ?? BitConverter.ToInt64(System.Security.Cryptography.RandomNumberGenerator.GetBytes(8)),
        },
    };
}

/// <summary>A continuation.</summary>
/// <param name="Ids">New tokens.</param>
/// <param name="Text">Their text without special tokens; empty where the folder has no tokenizer.</param>
/// <param name="FinishReason"><c>stop</c> (end token or stop string) or <c>length</c>.</param>
/// <param name="LogProbs">Natural log-probability of each token by the model itself.</param>
public sealed record Generated(int[] Ids, string Text, string FinishReason, double[] LogProbs);

/// <summary>A scored text.</summary>
/// <param name="Ids">Tokens.</param>
/// <param name="LogProbs">log p(token | tokens before it), natural; null for the first.</param>
/// <param name="Total">Their sum.</param>
public sealed record Scored(int[] Ids, double?[] LogProbs, double Total);

/// <summary>A decoder with its tokenizer and generation settings, from a Hugging Face folder. Not thread-safe.</summary>
public sealed class LanguageModel : IDisposable
{
    private readonly Lazy<ChatEncoder> chat;

    private LanguageModel(CausalLanguageModel model, Tokenizer? tokenizer, GenerationOptions defaults, string folder) => (Model, Tokenizer, Defaults, chat) = (model, tokenizer, defaults, new(() => AlignedModel.EncoderOf(folder, tokenizer ?? throw Text.Tokenizer.Missing()).Encoder));

    /// <summary>The network.</summary>
    public CausalLanguageModel Model { get; }

    /// <summary>Its tokenizer; null where the folder has none, and only ids can be used.</summary>
    public Tokenizer? Tokenizer { get; }

    /// <summary>The folder's generation_config.json as Hugging Face reads it; greedy where it is silent.</summary>
    public GenerationOptions Defaults { get; }

    /// <summary>Opens a model folder.</summary>
    /// <param name="folder">config.json, model.safetensors (or shards), optionally tokenizer and generation_config.json.</param>
    /// <param name="device">auto, cpu, cuda, cuda:N or mps.</param>
    /// <param name="context">A longer context than the model was made for, by interpolation of its rotary positions; null: its own.</param>
    /// <param name="adapters">Folders of LoRA adapters, merged into the weights in order; the last one's tokenizer and template count where it has them.</param>
    /// <param name="type">fp32, or bf16: weights of matrix products are rounded to it (<see cref="CausalLanguageModel.RoundWeights"/>).</param>
    /// <exception cref="InvalidDataException">Something is missing or damaged; the message says what.</exception>
    public static LanguageModel Load(string folder, string device = "auto", long? context = null, IReadOnlyList<string>? adapters = null, string type = "fp32")
    {
        if (type is not ("fp32" or "bf16")) throw new InvalidDataException($"Found --dtype {type}. Expected fp32 or bf16.");
        var model = ModelFolder.Load(folder, Devices.Choose(device), context: context);
        try
        {
            foreach (var adapter in adapters ?? []) Lora.Merge(model, adapter);
            if (type == "bf16") model.RoundWeights();
            var (words, tokenizer) = AlignedModel.WordsOf(folder, adapters);
            return new(model, tokenizer, GenerationFile.Read(File.Exists(Path.Combine(words, GenerationFile.Name)) ? words : folder, model.ConfigJson, model.VocabularySize), words);
        }
        catch { model.Dispose(); throw; }
    }

    /// <summary>Ids of a conversation that ends with the beginning of an answer, by the folder's chat template, or where it has none by Lect's plain one.</summary>
    /// <param name="messages">Objects with role and content.</param>
    /// <param name="options">Tools and variables of the template.</param>
    /// <exception cref="InvalidDataException">The folder has no tokenizer, or the template refuses the messages.</exception>
    public int[] Encode(System.Text.Json.Nodes.JsonArray messages, TemplateOptions? options = null) => chat.Value.Prompt(messages, options);

    /// <summary>log p(chosen) - log p(rejected) behind their prompt, nats.</summary>
    internal double Preference(Comparison comparison)
    {
        var row = ComparisonRow.Of(Chat, comparison);
        double Of(AnswerRow answer) => Score(answer.Cut((int)Math.Min(int.MaxValue, Model.ContextLength)).Ids).LogProbs.Skip(row.PromptLength).Sum(p => p ?? 0);
        return Of(row.Chosen) - Of(row.Rejected);
    }

    /// <summary>Its template, and how conversations become tokens.</summary>
    internal ChatEncoder Chat => chat.Value;

    /// <summary>Number of parameters.</summary>
    public long ParameterCount => Model.parameters().Sum(p => p.numel());

    /// <summary>Ids of a prompt.</summary>
    /// <exception cref="InvalidDataException">The folder has no tokenizer, or one with a token that the model has no embedding for.</exception>
    public int[] Encode(string text)
    {
        var ids = (Tokenizer ?? throw Tokenizer.Missing()).EncodeIds(text);
        foreach (var id in ids)
            if (id >= Model.VocabularySize) throw new InvalidDataException($"Found the token '{Tokenizer.TokenOf(id)}' of id {id} in the text. Expected ids below {Model.VocabularySize}, the model's embeddings: its tokenizer has {Tokenizer.VocabularySize} tokens, and is of another model or has tokens that were added without training.");
        return ids;
    }

    /// <summary>Streams an answer, piece by piece; no character is ever broken.</summary>
    /// <param name="prompt">Text to continue.</param>
    /// <param name="options">Null: <see cref="Defaults"/>. Beam search cannot be streamed.</param>
    /// <param name="stream">Number that the random stream is keyed with, beside the seed.</param>
    public IEnumerable<string> Stream(string prompt, GenerationOptions? options = null, long stream = 0) => Stream(Encode(prompt), (options ?? Defaults) with { Continues = true }, stream);

    /// <summary>Streams the answer to ids.</summary>
    /// <inheritdoc cref="Stream(string, GenerationOptions?, long)"/>
    public IEnumerable<string> Stream(int[] prompt, GenerationOptions? options = null, long stream = 0)
    {
        options = Whole(options);
        if (options.Beams > 1) throw new InvalidDataException("Found beam search, which knows its text only at the end. Use Generate, or beams = 1 to stream.");
        var text = Behind(prompt, options) ?? throw Tokenizer.Missing();
        var stop = new StopText(options.Stop);
        foreach (var token in Lect.Models.Generator.Stream(Model, [Fit(prompt, options)], options.Decoding, [stream]))
        {
            if (double.IsNaN(token.LogProb)) throw NoNumbers();
            if (text.Add(token.Id) is { } piece && stop.Add(piece) is { Length: > 0 } shown) yield return shown;
            if (stop.Found) yield break;
        }
        if (stop.Add(text.Flush()) + stop.Flush() is { Length: > 0 } rest) yield return rest;
    }

    /// <summary>Continues a prompt.</summary>
    /// <param name="prompt">Ids.</param>
    /// <param name="options">Null: <see cref="Defaults"/>.</param>
    /// <param name="stream">Number that the random stream is keyed with, beside the seed.</param>
    public Generated Generate(int[] prompt, GenerationOptions? options = null, long stream = 0) => Generate([prompt], options, [stream])[0];

    /// <summary>Continues prompts, one batch (beam search: one after the other).</summary>
    /// <param name="prompts">Ids.</param>
    /// <param name="options">Null: <see cref="Defaults"/>.</param>
    /// <param name="streams">For each prompt the number that its random stream is keyed with; null: its index.</param>
    public IReadOnlyList<Generated> Generate(IReadOnlyList<int[]> prompts, GenerationOptions? options, IReadOnlyList<long>? streams = null)
    {
        options = Whole(options);
        if (options.Beams > 1 && options.Stop.Count > 0) throw new InvalidDataException("Found beam search with texts to stop at (--stop, stop_strings), which it does not know. Expected one of the two.");
        prompts = [.. prompts.Select(p => Fit(p, options))];
        if (options.Beams > 1) return [.. prompts.Select(p => Search(p, options))];
        var answers = prompts.Select(p => new Answer(options.Stop.Count == 0 ? null : Behind(p, options), options.Stop)).ToList();
        foreach (var token in Lect.Models.Generator.Stream(Model, prompts, options.Decoding, streams))
        {
            if (double.IsNaN(token.LogProb)) throw NoNumbers();
            answers[token.Row].Add(token);
            if (answers.TrueForAll(a => a.IsStopped)) break;
        }
        return [.. answers.Zip(prompts, (a, p) => Finish(p, [.. a.Ids], [.. a.LogProbs], options, a.IsStopped, a.Text()))];
    }

    internal static InvalidDataException NoNumbers() => new("Found a model whose log-probabilities are no numbers (NaN): its weights are damaged, or its config.json is another model's.");

    /// <summary>The options with what they leave to the model.</summary>
    internal GenerationOptions Whole(GenerationOptions? options) => options is null ? Defaults : options.Decoding.EosTokenIds is not null ? options : options with { Decoding = options.Decoding with { EosTokenIds = Defaults.Decoding.EosTokenIds } };

    /// <summary>What makes text of the tokens behind a prompt; null: the folder has no tokenizer.</summary>
    internal DecodeStream? Behind(int[] prompt, GenerationOptions options) => Tokenizer is null ? null : options.Continues ? new(Tokenizer, prompt, skipSpecialTokens: true) : new(Tokenizer, skipSpecialTokens: true);

    private Generated Search(int[] prompt, GenerationOptions options)
    {
        var best = BeamSearch.Search(Model, prompt, options.Decoding, options.Beams, options.LengthPenalty, options.BeamStop)[0];
        return Finish(prompt, best.Ids, [.. Score([.. prompt, .. best.Ids]).LogProbs.Skip(prompt.Length).Select(p => p!.Value)], options, stopped: false, text: null);
    }

    // One row of a batch as it grows: what comes behind its stop string is not taken.
    private sealed class Answer(DecodeStream? decode, IReadOnlyList<string> stops)
    {
        private readonly StopText stop = new(stops);
        private readonly StringBuilder text = new();

        public List<int> Ids { get; } = [];
        public List<double> LogProbs { get; } = [];
        public bool IsStopped => stop.Found;

        public void Add(NewToken token)
        {
            if (IsStopped) return;
            Ids.Add(token.Id);
            LogProbs.Add(token.LogProb);
            if (decode?.Add(token.Id) is { } piece) text.Append(stop.Add(piece));
        }

        /// <summary>The text before the stop string; null where no stop strings are looked for.</summary>
        public string? Text() => decode is null ? null : (IsStopped ? text : text.Append(stop.Add(decode.Flush())).Append(stop.Flush())).ToString();
    }

    private Generated Finish(int[] prompt, int[] ids, double[] logProbs, GenerationOptions options, bool stopped, string? text) => new(ids, text ?? Behind(prompt, options)?.Rest(ids) ?? "",
        stopped || (ids.Length > 0 && options.Decoding.IsEnd(ids[^1])) ? "stop" : "length", logProbs);

    internal int[] Fit(int[] prompt, GenerationOptions options)
    {
        var most = Math.Min(Model.ContextLength, options.Decoding.MaxLength ?? long.MaxValue);
        var room = (int)Math.Max(most / 2, most - options.Decoding.MaxNewTokens);
        return options.Truncate && prompt.Length > room ? prompt[^room..] : prompt;
    }

    /// <summary>The log-probability of each token given those before it.</summary>
    /// <exception cref="InvalidDataException">No ids, too many for the context, or one outside the vocabulary.</exception>
    public Scored Score(int[] ids)
    {
        if (ids.Length == 0) throw new InvalidDataException("Found nothing to score. Expected at least one token.");
        if (ids.Length > Model.ContextLength) throw new InvalidDataException($"Found {ids.Length} tokens. Expected at most {Model.ContextLength}, the model's context. Score shorter pieces, or use 'lect evaluate perplexity'.");
        Vocabulary.Check(ids, Model.VocabularySize);
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        var logProbs = new double?[ids.Length];
        var input = tensor(ids.Select(i => (long)i).ToArray(), device: Model.HeadWeight.device).unsqueeze(0);
        var predicted = Model.Logits(input).squeeze(0).narrow(0, 0, ids.Length - 1).log_softmax(-1);
        if (ids.Length > 1)
        {
            using var own = predicted.gather(1, input.narrow(1, 1, ids.Length - 1).t()).squeeze(1).cpu().contiguous();
            var values = own.data<float>().ToArray();
            for (var i = 0; i < values.Length; i++) logProbs[i + 1] = values[i];
        }
        return logProbs.Any(p => p is double.NaN) ? throw NoNumbers() : new(ids, logProbs, logProbs.Sum(p => p ?? 0));
    }

    /// <summary>The log-probability of each of several continuations behind a prompt, which is read once.</summary>
    /// <param name="prompt">Text; the tokens are those of prompt and continuation together.</param>
    /// <param name="continuations">Texts, with the blank that they begin with.</param>
    /// <returns>The sum of the natural log-probabilities of each one's tokens; null where the longest does not fit into the context.</returns>
    public double[]? ScoreContinuations(string prompt, IReadOnlyList<string> continuations)
    {
        var rows = continuations.Select(c => Encode(prompt + c)).ToList();
        if (rows.Exists(r => r.Length == 0) || rows.Exists(r => r[0] != rows[0][0]) || rows.Exists(r => r.Length == 1)) rows = rows.ConvertAll<int[]>(r => [Tokenizer!.EndOfText ?? throw new InvalidDataException("Found a prompt without a token. Expected at least one: the tokenizer has none to begin a text with."), .. r]);
        if (rows.Exists(r => r.Length < 2)) throw new InvalidDataException("Found an empty continuation. Expected at least one token in each.");
        var from = Math.Min(Lect.Models.Generator.Shared(rows), Math.Max(1, Encode(prompt).Length));   // what stands behind the prompt is scored, alike or not
        if (rows.Max(r => r.Length) > Model.ContextLength) return null;
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        using var cache = Model.NewCache(rows.Max(r => r.Length));
        var device = Model.HeadWeight.device;
        var hidden = Model.Hidden(tensor(rows[0][..from].Select(i => (long)i).ToArray(), 1, from, device: device), cache: cache);
        var first = Model.Head(hidden.narrow(1, from - 1, 1)).log_softmax(-1).flatten();
        var scores = rows.Select(r => (double)first[r[from]].item<float>()).ToArray();
        var longest = rows.Max(r => r.Length) - from;
        if (longest == 1) return scores;
        cache.Reorder(zeros(rows.Count, dtype: ScalarType.Int64, device: device));
        long[] ids = new long[rows.Count * (longest - 1)], next = new long[ids.Length];
        for (var r = 0; r < rows.Count; r++)
            for (var i = 0; i < longest - 1; i++) (ids[r * (longest - 1) + i], next[r * (longest - 1) + i]) = from + i < rows[r].Length ? (rows[r][from + i], from + i + 1 < rows[r].Length ? rows[r][from + i + 1] : -1) : (0, -1);
        var logProbs_RT = Model.Head(Model.Hidden(tensor(ids, rows.Count, longest - 1, device: device), cache: cache)).log_softmax(-1).gather(2, tensor(next, rows.Count, longest - 1, device: device).clamp_min(0).unsqueeze(2)).squeeze(2).to(ScalarType.Float64).cpu().contiguous();
        var found = logProbs_RT.data<double>().ToArray();
        for (var i = 0; i < next.Length; i++) if (next[i] >= 0) scores[i / (longest - 1)] += found[i];
        return scores;
    }

    /// <inheritdoc/>
    public void Dispose() => Model.Dispose();
}

/// <summary>Finds stop strings in a streamed text; holds back what may be the beginning of one.</summary>
internal sealed class StopText(IReadOnlyList<string> stops)
{
    private string held = "";

    public bool Found { get; private set; }

    /// <summary>Takes a piece; gives what can be shown now, nothing of or behind a stop string.</summary>
    public string Add(string piece)
    {
        held += piece;
        var first = stops.Select(s => held.IndexOf(s, StringComparison.Ordinal)).Where(i => i >= 0).DefaultIfEmpty(-1).Min();
        Found = first >= 0;
        var show = Found ? first : held.Length - stops.Select(Overlap).DefaultIfEmpty(0).Max();
        var shown = held[..show];
        held = Found ? "" : held[show..];
        return shown;
    }

    /// <summary>What is still held back: no stop string came of it.</summary>
    public string Flush()
    {
        var rest = held;
        held = "";
        return Found ? "" : rest;
    }

    private int Overlap(string stop)
    {
        for (var n = Math.Min(stop.Length - 1, held.Length); n > 0; n--)
            if (held.EndsWith(stop[..n], StringComparison.Ordinal)) return n;
        return 0;
    }
}
