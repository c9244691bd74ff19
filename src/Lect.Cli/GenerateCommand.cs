using System.CommandLine;
using System.Text.Json.Nodes;
using Lect.Models;

namespace Lect;

/// <summary>lect generate: continues prompts.</summary>
internal static class GenerateCommand
{
    private static readonly Option<string> s_model = Screen.Model();
    private static readonly Option<string[]> s_adapter = Screen.Adapter();
    private static readonly Option<string> s_device = Screen.Device();
    private static readonly Option<string> s_dtype = Screen.Dtype();
    private static readonly Option<long?> s_context = Screen.Context();
    private static readonly Option<int?> s_maxNewTokens = new("--max-new-tokens") { Description = "Tokens to add at most" };
    private static readonly Option<bool> s_greedy = new("--greedy") { Description = "Always the most probable token" };
    private static readonly Option<int?> s_beams = new("--beams") { Description = "Hypotheses of beam search" };
    private static readonly Option<double?> s_lengthPenalty = new("--length-penalty") { Description = "Exponent of the length in beam scores" };
    private static readonly Option<bool> s_earlyStopping = new("--early-stopping") { Description = "Stop at as many finished hypotheses as beams" };
    private static readonly Option<double?> s_temperature = new("--temperature") { Description = "Sample; logits are divided by it" };
    private static readonly Option<int?> s_topK = new("--top-k") { Description = "Sample from the k most probable tokens" };
    private static readonly Option<double?> s_topP = new("--top-p") { Description = "Sample from the tokens that make up this probability" };
    private static readonly Option<double?> s_minP = new("--min-p") { Description = "Sample from tokens of at least this share of the best one's probability" };
    private static readonly Option<double?> s_repetitionPenalty = new("--repetition-penalty") { Description = "Above 1: tokens seen before become less probable" };
    private static readonly Option<int?> s_noRepeatNgram = new("--no-repeat-ngram") { Description = "No sequence of this many tokens twice" };
    private static readonly Option<string[]> s_stop = new("--stop") { Description = "Texts to stop at", AllowMultipleArgumentsPerToken = true };
    private static readonly Option<long> s_seed = new("--seed") { Description = "Key of the random numbers" };
    private static readonly Option<int> s_samples = new("--num-samples") { Description = "Several continuations of each prompt", DefaultValueFactory = _ => 1 };
    private static readonly Option<string?> s_reward = new("--reward") { Description = "Best-of-n: of the --num-samples the one that this reward model prefers" };
    private static readonly Option<int> s_batchSize = new("--batch-size") { Description = "Lines read and answered together", DefaultValueFactory = _ => 1 };
    private static readonly Option<bool> s_truncate = new("--truncate") { Description = "Keep the last tokens of a prompt that leaves no room for --max-new-tokens (at least half of the context)" };

    public static Command Create()
    {
        var command = new Command("generate", "Continue a prompt. Example: lect generate --model gpt2 --temperature 0.8 \"Once upon a time\"")
        {
            s_model, s_adapter, s_device, s_dtype, s_context, s_maxNewTokens, s_greedy, s_beams, s_lengthPenalty, s_earlyStopping, s_temperature, s_topK, s_topP, s_minP, s_repetitionPenalty, s_noRepeatNgram, s_stop, s_seed, s_samples, s_reward, s_batchSize, s_truncate,
        };
        var lines = new JsonLines(command, "prompt");
        command.SetAction(int (parsed) =>
        {
            using var model = LanguageModel.Load(parsed.GetValue(s_model)!, parsed.GetValue(s_device)!, parsed.GetValue(s_context), parsed.GetValue(s_adapter), parsed.GetValue(s_dtype)!);
            var options = Options(parsed, model.Defaults);
            var (samples, batchSize) = (parsed.GetValue(s_samples), parsed.GetValue(s_batchSize));
            if (samples < 1 || batchSize < 1) throw new InvalidDataException($"Found --num-samples {samples} and --batch-size {batchSize}. Expected at least 1.");
            if (samples > 1 && options.Beams > 1) throw new InvalidDataException($"Found --num-samples {samples} with beam search, which has one answer. Expected sampling (--temperature).");
            if (parsed.GetValue(s_reward) is not null && samples < 2) throw new InvalidDataException($"Found --reward with --num-samples {samples}. Expected at least 2, of which the best is taken.");
            if (lines.Shown(parsed) is { } prompt && model.Tokenizer is not null && options.Beams == 1 && samples == 1) return Stream(model, prompt, options);
            using var scorer = parsed.GetValue(s_reward) is { } folder ? RewardScorer.Load(folder, parsed.GetValue(s_device)!) : null;
            return lines.Run(parsed, batchSize, batch => Answers(model, batch, options, samples, scorer), answer => Show(answer, model.Tokenizer is not null));
        });
        return command;
    }

    private static GenerationOptions Options(ParseResult p, GenerationOptions d)
    {
        var asksToSample = p.GetValue(s_temperature) is not null || p.GetValue(s_topK) is not null || p.GetValue(s_topP) is not null || p.GetValue(s_minP) is not null;
        var beams = p.GetValue(s_beams) ?? (p.GetValue(s_greedy) || asksToSample ? 1 : d.Beams);
        if (p.GetValue(s_greedy) && p.GetValue(s_beams) > 1) throw new InvalidDataException("Found --greedy together with --beams. Expected one of the two.");
        if (beams == 1 && (p.GetValue(s_earlyStopping) || p.GetValue(s_lengthPenalty) is not null)) throw new InvalidDataException("Found --length-penalty or --early-stopping without beam search. Expected them with --beams.");
        if (p.GetValue(s_stop)?.Contains("") == true) throw new InvalidDataException("Found an empty --stop. Expected a text.");
        if (asksToSample && (p.GetValue(s_greedy) || beams > 1)) throw new InvalidDataException("Found options for sampling together with --greedy or --beams. Expected one of the three.");
        return new()
        {
            Beams = beams,
            LengthPenalty = p.GetValue(s_lengthPenalty) ?? d.LengthPenalty,
            BeamStop = p.GetValue(s_earlyStopping) ? BeamStop.AtOnce : d.BeamStop,
            Stop = p.GetValue(s_stop) is { Length: > 0 } stops ? stops : d.Stop,
            Truncate = p.GetValue(s_truncate),
            Decoding = (p.GetValue(s_maxNewTokens) is { } most ? d.Decoding with { MaxNewTokens = most } : d.Decoding) with
            {
                Sample = asksToSample || (d.Decoding.Sample && beams == 1 && !p.GetValue(s_greedy)),
                Temperature = p.GetValue(s_temperature) ?? d.Decoding.Temperature,
                TopK = p.GetValue(s_topK) ?? d.Decoding.TopK,
                TopP = p.GetValue(s_topP) ?? d.Decoding.TopP,
                MinP = p.GetValue(s_minP) ?? d.Decoding.MinP,
                RepetitionPenalty = p.GetValue(s_repetitionPenalty) ?? d.Decoding.RepetitionPenalty,
                NoRepeatNgramSize = p.GetValue(s_noRepeatNgram) ?? d.Decoding.NoRepeatNgramSize,
                Seed = p.GetValue(s_seed),
            },
        };
    }

    // A person reads along.
    private static int Stream(LanguageModel model, string prompt, GenerationOptions options)
    {
        foreach (var piece in model.Stream(prompt, options, Seeds.For(0, "sample"))) Console.Write(piece);
        Console.WriteLine();
        return 0;
    }

    private static List<JsonObject> Answers(LanguageModel model, IReadOnlyList<(JsonObject Json, int Number)> lines, GenerationOptions options, int samples, RewardScorer? scorer)
    {
        var rows = lines.Select(l => (Ids: l.Json["messages"] is JsonArray messages ? model.Encode(messages, ChatCommands.Options(l.Json)) : JsonLines.Ids(l.Json, "prompt", model.Encode), IsChat: l.Json["messages"] is not null, l.Number)).SelectMany(l => Enumerable.Range(0, samples).Select(s => (l.Ids, l.IsChat, Stream: Seeds.For(l.Number, "sample", s)))).Index().ToList();
        var said = new JsonObject[rows.Count];
        foreach (var alike in rows.GroupBy(r => r.Item.IsChat))
            foreach (var (found, row) in model.Generate([.. alike.Select(r => r.Item.Ids)], options with { Continues = !alike.Key }, [.. alike.Select(r => r.Item.Stream)]).Zip(alike)) said[row.Index] = Json(found);
        var answers = said.Chunk(samples);
        return [.. answers.Zip(lines, (a, line) => JsonLines.Echo(line.Json, samples == 1 ? a[0] : scorer is not null ? Best(scorer, line.Json, a) : new() { ["samples"] = new JsonArray([.. a]) }))];
    }

    private static JsonObject Best(RewardScorer scorer, JsonObject line, JsonObject[] answers)
    {
        var prompt = line["messages"] as JsonArray ?? (line["prompt"] is JsonValue text ? [ChatCommands.Turn("user", (string)text!)] : throw new InvalidDataException("found only \"ids\", with --reward. Expected \"prompt\" or \"messages\": a reward model reads text."));
        var (index, reward) = scorer.Best(prompt, [.. answers.Select(a => ((string)a["text"]!).Trim())]);
        answers[index]["reward"] = reward;
        return answers[index];
    }

    private static JsonObject Json(Generated g) => new() { ["ids"] = JsonLines.Array(g.Ids), ["text"] = g.Text, ["finish_reason"] = g.FinishReason, ["logprobs"] = JsonLines.Array(g.LogProbs) };

    // Without a tokenizer there are ids only.
    private static string Show(JsonObject answer, bool hasText) => answer["samples"] is JsonArray samples ? string.Join("\n---\n", samples.Select(s => Show(s!.AsObject(), hasText)))
        : hasText ? (string)answer["text"]! : answer["ids"]!.ToJsonString();
}
