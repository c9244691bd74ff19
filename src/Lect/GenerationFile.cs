using System.Text.Json;
using System.Text.Json.Nodes;
using Lect.Models;

namespace Lect;

/// <summary>A model folder's generation_config.json, as Hugging Face reads it: every key that changes an answer is applied, or refused.</summary>
internal sealed class GenerationFile
{
    public const string Name = "generation_config.json";

    // What Hugging Face applies and Lect does not, with the number that means that it is off (NaN: only null, or nothing in it, does).
    private static readonly (string Key, double Off)[] s_refused =
    [
        ("typical_p", 1), ("epsilon_cutoff", 0), ("eta_cutoff", 0), ("top_h", double.NaN), ("penalty_alpha", 0), ("num_beam_groups", 1), ("diversity_penalty", 0), ("guidance_scale", 1), ("encoder_repetition_penalty", 1), ("encoder_no_repeat_ngram_size", 0),
        ("forced_bos_token_id", double.NaN), ("forced_decoder_ids", double.NaN), ("begin_suppress_tokens", double.NaN), ("sequence_bias", double.NaN), ("exponential_decay_length_penalty", double.NaN), ("constraints", double.NaN), ("force_words_ids", double.NaN),
        ("watermarking_config", double.NaN), ("dola_layers", double.NaN),
    ];

    private readonly string path;
    private readonly JsonObject json;
    private readonly long vocabulary;

    private GenerationFile(string path, JsonObject json, long vocabulary) => (this.path, this.json, this.vocabulary) = (path, json, vocabulary);

    /// <summary>The options of a folder; without the file, greedy decoding to config.json's end token.</summary>
    /// <param name="folder">The model's.</param>
    /// <param name="config">Its config.json.</param>
    /// <param name="vocabulary">Tokens that there are.</param>
    /// <exception cref="InvalidDataException">A value that cannot be read, or a key that is not applied here.</exception>
    public static GenerationOptions Read(string folder, JsonObject config, long vocabulary)
    {
        var file = Path.Combine(folder, Name);
        if (!File.Exists(file)) return new() { Decoding = new() { EosTokenIds = new GenerationFile(Path.Combine(folder, "config.json"), config, vocabulary).Ends() } };
        var read = ModelConfig.ReadFile(file);
        try { _ = read.Count; }
        catch (ArgumentException e) { throw new InvalidDataException($"{file}: found a key twice. Expected each once.", e); }
        return new GenerationFile(file, read, vocabulary).Options(ModelFolder.EncoderDecoders.Contains((string?)config["model_type"] ?? ""));
    }

    private GenerationOptions Options(bool isTranslator)
    {
        foreach (var (key, off) in s_refused)
            if (json[key] is { } node && !(node is JsonArray { Count: 0 } or JsonObject { Count: 0 }) && !(node.GetValueKind() == JsonValueKind.Number && (double)node == off))
                throw new InvalidDataException($"{path}: found {key}, which this version of Lect does not apply. Set it to null to go on without it.");
        var (sample, beams) = (Flag("do_sample"), Whole("num_beams", isTranslator ? new TranslationOptions().Beams : 1));
        if (beams < 1) throw Wrong("num_beams", "at least 1");
        if (sample && beams > 1 && !isTranslator) throw new InvalidDataException($"{path}: found do_sample with num_beams = {beams}. Expected one of the two: Lect samples without beams.");
        var (newTokens, length) = (json["max_new_tokens"] is null ? (int?)null : Whole("max_new_tokens", 0), json["max_length"] is null ? (int?)null : Whole("max_length", 0));
        var decoding = new DecodingOptions
        {
            MaxNewTokens = newTokens ?? (isTranslator && length is { } most ? most - 1 : 64),   // a target's first token is the start
            Sample = sample,
            Temperature = Number("temperature", 1),
            TopK = Whole("top_k", sample ? 50 : 0),
            TopP = Number("top_p", 1),
            MinP = Number("min_p", 0),
            RepetitionPenalty = Number("repetition_penalty", 1),
            NoRepeatNgramSize = Whole("no_repeat_ngram_size", 0),
            MinNewTokens = Math.Max(Whole("min_new_tokens", 0), isTranslator ? Whole("min_length", 0) - 1 : 0),
            MinLength = isTranslator ? 0 : Whole("min_length", 0),
            EosTokenIds = Ends(),
            Renormalize = Flag("renormalize_logits"),
            ForcedEosTokenId = Ids("forced_eos_token_id") switch { [] => null, [var one] => one, _ => throw Wrong("forced_eos_token_id", "one id") },
            BadWordsIds = [.. Lists("bad_words_ids"), .. Ids("suppress_tokens").Select(id => new[] { id })],
        };
        return new()
        {
            Beams = beams,
            LengthPenalty = Number("length_penalty", 1),
            BeamStop = json["early_stopping"]?.GetValueKind() switch
            {
                JsonValueKind.True => BeamStop.AtOnce,
                JsonValueKind.String when (string?)json["early_stopping"] == "never" => BeamStop.WhenNoneCanBeBetter,
                null or JsonValueKind.False or JsonValueKind.Null => BeamStop.WhenNoBetter,
                _ => throw Wrong("early_stopping", "true, false or \"never\""),
            },
            Stop = [.. All("stop_strings").Select(Text)],
            Decoding = newTokens is null && !isTranslator && length is not null ? decoding with { MaxLength = length } : decoding,
        };
    }

    private InvalidDataException Wrong(string key, string expected) => new($"{path}: found {key} = {json[key]?.ToJsonString() ?? "null"}. Expected {expected}.");

    private T Value<T>(string key, T otherwise, string expected) => json[key] is not { } node ? otherwise : node is JsonValue value && value.TryGetValue<T>(out var found) ? found : throw Wrong(key, expected);

    private bool Flag(string key) => Value(key, false, "true or false");

    private int Whole(string key, int otherwise) => Value(key, otherwise, "a whole number");

    private double Number(string key, double otherwise) => Value(key, otherwise, "a number");

    private string Text(JsonNode? node) => node is JsonValue value && value.TryGetValue<string>(out var text) && text.Length > 0 ? text : throw Wrong("stop_strings", "texts");

    // An end outside the vocabulary (-1, or transformers' default of GPT-2's in a smaller model) never comes.
    private int[] Ends() => [.. All("eos_token_id").Select(e => e is JsonValue value && value.TryGetValue<int>(out var id) ? id : throw Wrong("eos_token_id", "whole numbers")).Where(id => id >= 0 && id < vocabulary)];

    private JsonArray All(string key) => json[key] switch { null => [], JsonArray list => list, var one => [one.DeepClone()] };

    private int[] Ids(string key) => [.. All(key).Select(n => Id(key, n))];

    private IEnumerable<int[]> Lists(string key) => json[key] switch
    {
        null => [],
        JsonArray lists when lists.All(l => l is JsonArray { Count: > 0 }) => lists.Select(l => l!.AsArray().Select(n => Id(key, n)).ToArray()),
        _ => throw Wrong(key, "lists of ids, none of them empty"),
    };

    private int Id(string key, JsonNode? node) => node is JsonValue value && value.TryGetValue<int>(out var id) && id >= 0 && id < vocabulary ? id : throw Wrong(key, $"ids from 0 to {vocabulary - 1}");
}
