using System.Diagnostics;
using System.Runtime.CompilerServices;
using System.Text.Json.Nodes;
using System.Threading.Channels;
using Lect.Models;
using Lect.Text;

namespace Lect.Studio;

/// <summary>/v1/chat/completions and /v1/completions.</summary>
internal sealed class Completions(ServedModels models, StudioMetrics metrics, StudioOptions options)
{
    private const int MostPrompts = 32, MostChoices = 8, MostStops = 4, MostTop = 20;

    // So many answers to each prompt; choices are numbered prompt by prompt.
    private sealed record Asked(ServedModel Model, IReadOnlyList<int[]> Prompts, GenerationOptions Settings, int Each, bool IsStreamed, bool WithUsage, bool WithLogProbs)
    {
        // What the texts begin with, one a prompt.
        public IReadOnlyList<string> Echoes { get; init; } = [.. Prompts.Select(_ => "")];

        public int Choices => Prompts.Count * Each;

        public string EchoOf(int choice) => Echoes[choice / Each];
    }

    // A piece of one of the choices.
    private readonly record struct Part(int Choice, AnswerPiece Piece);

    public async Task Chat(HttpContext http)
    {
        var body = await RequestBody.Read(http.Request);
        var (model, host) = Host(body.Text("model"));
        foreach (var name in (string[])["tools", "functions", "audio"]) body.Refuse(name, "this model answers in text");
        if (body["response_format"] is { } format && RequestBody.TextOf((format as JsonObject)?["type"]) != "text") throw ApiError.Bad("Found a response_format that is not text. Expected text: answers are not constrained.", "response_format", "unsupported_parameter");
        var asked = Read(body, model, [host.Encode(Messages(body))], body.Integer("max_completion_tokens", 1, int.MaxValue) ?? body.Integer("max_tokens", 1, int.MaxValue), body.Flag("logprobs"), (int)(body.Integer("top_logprobs", 0, MostTop) ?? 0));
        await Answer(http, asked, new ChatShape(asked));
    }

    public async Task Text(HttpContext http)
    {
        var body = await RequestBody.Read(http.Request);
        var (model, host) = Host(body.Text("model"));
        body.Refuse("suffix", "text is continued at its end");
        if (body.Integer("best_of", 1, 100) is > 1) throw ApiError.Bad("Found best_of. Expected none: ask for n, and choose.", "best_of", "unsupported_parameter");
        var prompts = Prompts(body, host);
        var asked = Read(body, model, prompts, body.Integer("max_tokens", 1, int.MaxValue) ?? 16, body["logprobs"] is not null, (int)(body.Integer("logprobs", 0, MostTop) ?? 0));
        asked = asked with { Settings = asked.Settings with { Continues = true } };
        if (body.Flag("echo")) asked = asked with { Echoes = [.. prompts.Select(p => host.Tokenizer.Decode(p, skipSpecialTokens: true))] };
        await Answer(http, asked, new TextShape(asked, host));
    }

    private (ServedModel, ModelHost) Host(string name) => models.Find(name) is not { } model ? throw ApiError.NoModel(name, models.All.Select(m => m.Name))
        : model.Host is { } host ? (model, host) : throw ApiError.Bad($"Found the model '{name}', which is for {model.Kind}. Expected a decoder.", "model");

    internal static JsonArray Messages(RequestBody body)
    {
        if (body["messages"] is not JsonArray { Count: > 0 } given) throw body.Wrong("messages", "a list of objects with role and content");
        return [.. given.Select((turn, i) =>
        {
            if (turn is not JsonObject message || RequestBody.TextOf(message["role"]) is not { } who) throw body.Wrong("messages", $"an object with role and content at {i}");
            if (message["tool_calls"] is not null || who is "tool" or "function") throw ApiError.Bad($"Found a turn of tools at {i}. Expected texts.", "messages", "unsupported_parameter");
            var content = message["content"] switch
            {
                JsonValue value when value.TryGetValue<string>(out var text) => text,
                JsonArray parts => string.Concat(parts.Select(p => p is JsonObject part && RequestBody.TextOf(part["type"]) == "text" && RequestBody.TextOf(part["text"]) is { } said ? said : throw ApiError.Bad($"Found a part at {i} that is no text. Expected {{\"type\": \"text\", \"text\": …}}.", "messages", "unsupported_parameter"))),
                null when who == "assistant" => "",
                _ => throw body.Wrong("messages", $"a text as content at {i}"),
            };
            return (JsonNode)ChatData.Message(who == "developer" ? "system" : who, content);
        })];
    }

    // One text or its ids, or a list of either.
    private static List<int[]> Prompts(RequestBody body, ModelHost host)
    {
        return body["prompt"] is JsonArray { Count: > 0 and <= MostPrompts } several && several.All(p => p is JsonArray || RequestBody.TextOf(p) is not null) ? [.. several.Select(One)] : [One(body["prompt"])];

        int[] One(JsonNode? prompt) => RequestBody.TextOf(prompt) is { } text ? host.Encode(text)
            : prompt is JsonArray { Count: > 0 } ids && ids.All(i => i is JsonValue v && v.TryGetValue<int>(out _)) ? [.. ids.Select(i => (int)i!)]
            : throw body.Wrong("prompt", $"a text, token ids, or a list of at most {MostPrompts} of either");
    }

    private static Asked Read(RequestBody body, ServedModel model, IReadOnlyList<int[]> prompts, long? most, bool withLogProbs, int top)
    {
        var host = model.Host!;
        if (prompts.Max(p => p.Length) is var longest && longest >= host.ContextLength) throw ApiError.Bad($"Found {longest} tokens. Expected fewer than {host.ContextLength}, the model's context.", "messages", "context_length_exceeded");
        var seed = body.Integer("seed", long.MinValue, long.MaxValue);
        var settings = host.Defaults.Requested(body.Number("temperature", 0, 2), body.Number("top_p", double.Epsilon, 1), (int?)body.Integer("top_k", 0, int.MaxValue), (int)Math.Min(most ?? 512, host.ContextLength), body.Texts("stop", MostStops), body.Number("frequency_penalty", -2, 2), body.Number("presence_penalty", -2, 2), seed, samples: true);
        settings = settings with { Decoding = settings.Decoding with { TopLogProbs = withLogProbs ? top : 0, LogitBias = Biases(body, host), MinP = body.Number("min_p", 0, 1) ?? settings.Decoding.MinP } };
        return new(model, prompts, settings, (int)(body.Integer("n", 1, MostChoices) ?? 1), body.Flag("stream"), (body["stream_options"] as JsonObject)?["include_usage"] is JsonValue usage && usage.TryGetValue<bool>(out var on) && on, withLogProbs);
    }

    private static Dictionary<int, double> Biases(RequestBody body, ModelHost host) => body["logit_bias"] switch
    {
        null => [],
        JsonObject { Count: <= 300 } map => map.ToDictionary(b => int.TryParse(b.Key, out var id) && id >= 0 && id < host.VocabularySize ? id : throw body.Wrong("logit_bias", "ids of tokens"), b => b.Value is JsonValue v && v.TryGetValue<double>(out var bias) && Math.Abs(bias) <= 100 ? bias : throw body.Wrong("logit_bias", "biases from -100 to 100")),
        _ => throw body.Wrong("logit_bias", "an object of token ids and biases"),
    };

    private async Task Answer(HttpContext http, Asked asked, Shape shape)
    {
        using var late = CancellationTokenSource.CreateLinkedTokenSource(http.RequestAborted);
        late.CancelAfter(TimeSpan.FromSeconds(options.RequestSeconds));
        try
        {
            var parts = Parts(asked, late.Token);   // a full queue is told here, before anything is written
            if (asked.IsStreamed) await Stream(http, asked, shape, parts, late.Token);
            else await http.Response.WriteAsJsonAsync(await Whole(asked, shape, parts), http.RequestAborted);
        }
        finally { await late.CancelAsync(); }   // where one of several choices found no place, the others leave theirs
    }

    // All choices are asked for at once; their pieces come as they come.
    private IAsyncEnumerable<Part> Parts(Asked asked, CancellationToken cancel)
    {
        var streams = asked.Prompts.SelectMany(p => Enumerable.Range(0, asked.Each).Select(c => asked.Model.Host!.StreamAsync(p, asked.Settings, c, cancel))).ToList();
        return Merged(asked, streams, cancel);
    }

    private async IAsyncEnumerable<Part> Merged(Asked asked, List<IAsyncEnumerable<AnswerPiece>> streams, [EnumeratorCancellation] CancellationToken cancel)
    {
        var all = Channel.CreateUnbounded<Part>();
        var readers = streams.Select((stream, choice) => Task.Run(async () =>
        {
            var (watch, first, tokens, reason) = (Stopwatch.StartNew(), double.NaN, 0, "cancelled");
            try
            {
                await foreach (var piece in stream.WithCancellation(cancel))
                {
                    if (tokens == 0) first = watch.Elapsed.TotalSeconds;
                    (tokens, reason) = (tokens + piece.Tokens.Count, piece.FinishReason ?? reason);
                    all.Writer.TryWrite(new(choice, piece));
                }
            }
            finally { metrics.Answered(asked.Model.Name, reason, first, tokens, watch.Elapsed.TotalSeconds); }
        }, CancellationToken.None)).ToList();
        _ = Task.WhenAll(readers).ContinueWith(t => all.Writer.TryComplete(t.Exception?.InnerException ?? (t.IsCanceled ? new OperationCanceledException() : null)), TaskScheduler.Default);
        await foreach (var part in all.Reader.ReadAllAsync(cancel)) yield return part;
    }

    private static async Task<JsonObject> Whole(Asked asked, Shape shape, IAsyncEnumerable<Part> parts)
    {
        var said = Enumerable.Range(0, asked.Choices).Select(c => (Text: new System.Text.StringBuilder(asked.EchoOf(c)), Tokens: new List<NewToken>())).ToList();
        var reasons = new string?[asked.Choices];
        try
        {
            await foreach (var (choice, piece) in parts)
            {
                said[choice].Text.Append(piece.Text);
                said[choice].Tokens.AddRange(piece.Tokens);
                reasons[choice] = piece.FinishReason;
            }
        }
        catch (OperationCanceledException) { throw new ApiError(408, "The answer took longer than this server allows. Expected a shorter one: lower max_tokens.", "invalid_request_error", code: "timeout"); }
        var json = shape.Head(isChunk: false);
        json["choices"] = new JsonArray([.. said.Select((s, i) => (JsonNode)shape.Choice(i, s.Text.ToString(), s.Tokens, reasons[i]))]);
        json["usage"] = Usage(asked, said.Sum(s => s.Tokens.Count));
        return json;
    }

    private static JsonObject Usage(Asked asked, int made) => new() { ["prompt_tokens"] = asked.Prompts.Sum(p => p.Length), ["completion_tokens"] = made, ["total_tokens"] = asked.Prompts.Sum(p => p.Length) + made };

    private static async Task Stream(HttpContext http, Asked asked, Shape shape, IAsyncEnumerable<Part> parts, CancellationToken cancel)
    {
        (http.Response.ContentType, http.Response.Headers.CacheControl, http.Response.Headers["X-Accel-Buffering"]) = ("text/event-stream", "no-store", "no");
        var made = 0;
        async Task Write(string data)
        {
            await http.Response.WriteAsync($"data: {data}\n\n", http.RequestAborted);
            await http.Response.Body.FlushAsync(http.RequestAborted);
        }
        async Task Event(IEnumerable<JsonNode> choices, JsonObject? usage = null)
        {
            var json = shape.Head(isChunk: true);
            json["choices"] = new JsonArray([.. choices]);
            if (asked.WithUsage) json["usage"] = usage;
            await Write(json.ToJsonString());
        }
        try
        {
            for (var c = 0; c < asked.Choices; c++)
                if (shape.Opening(c, asked.EchoOf(c)) is { } opening) await Event([opening]);
            await foreach (var (choice, piece) in parts.WithCancellation(cancel))
            {
                made += piece.Tokens.Count;
                await Event([shape.Delta(choice, piece)]);
            }
            if (asked.WithUsage) await Event([], Usage(asked, made));
        }
        catch (Exception) when (http.RequestAborted.IsCancellationRequested) { return; }   // nobody reads any more
        catch (OperationCanceledException) { await Write(new ApiError(408, "The answer took longer than this server allows.", "invalid_request_error", code: "timeout").ToJson().ToJsonString()); }
        catch (Exception e) when (e is not OutOfMemoryException) { await Write(ApiError.Of(e).ToJson().ToJsonString()); }
        await Write("[DONE]");
    }

    // The objects of the two endpoints.
    private abstract class Shape(Asked asked, string prefix, string kind, string chunk)
    {
        private readonly string id = prefix + Guid.NewGuid().ToString("N");
        private readonly long created = DateTimeOffset.UtcNow.ToUnixTimeSeconds();

        protected Asked Request => asked;

        public JsonObject Head(bool isChunk) => new() { ["id"] = id, ["object"] = isChunk ? chunk : kind, ["created"] = created, ["model"] = asked.Model.Name, ["system_fingerprint"] = null };

        public abstract JsonObject Choice(int index, string text, IReadOnlyList<NewToken> tokens, string? reason);

        public abstract JsonObject? Opening(int index, string echo);

        public abstract JsonObject Delta(int index, AnswerPiece piece);
    }

    private sealed class ChatShape(Asked asked) : Shape(asked, "chatcmpl-", "chat.completion", "chat.completion.chunk")
    {
        public override JsonObject Choice(int index, string text, IReadOnlyList<NewToken> tokens, string? reason) => new() { ["index"] = index, ["message"] = new JsonObject { ["role"] = "assistant", ["content"] = text, ["refusal"] = null }, ["logprobs"] = LogProbs(tokens), ["finish_reason"] = reason };

        public override JsonObject Opening(int index, string echo) => new() { ["index"] = index, ["delta"] = new JsonObject { ["role"] = "assistant", ["content"] = "" }, ["logprobs"] = null, ["finish_reason"] = null };

        public override JsonObject Delta(int index, AnswerPiece piece) => new() { ["index"] = index, ["delta"] = piece.Text.Length > 0 ? new JsonObject { ["content"] = piece.Text } : [], ["logprobs"] = LogProbs(piece.Tokens), ["finish_reason"] = piece.FinishReason };

        private JsonObject? LogProbs(IReadOnlyList<NewToken> tokens) => !Request.WithLogProbs ? null : new()
        {
            ["content"] = new JsonArray([.. tokens.Select(t =>
            {
                var entry = Entry(t.Id, t.LogProb);
                entry["top_logprobs"] = new JsonArray([.. (t.Top ?? []).Select(o => (JsonNode)Entry(o.Id, o.LogProb))]);
                return (JsonNode)entry;
            })]),
        };

        private JsonObject Entry(int id, double logProb)
        {
            var text = Request.Model.Host!.Tokenizer.Decode([id], skipSpecialTokens: false);
            return new() { ["token"] = text, ["logprob"] = logProb, ["bytes"] = new JsonArray([.. System.Text.Encoding.UTF8.GetBytes(text).Select(b => (JsonNode)(int)b)]) };
        }
    }

    private sealed class TextShape(Asked asked, ModelHost host) : Shape(asked, "cmpl-", "text_completion", "text_completion")
    {
        public override JsonObject Choice(int index, string text, IReadOnlyList<NewToken> tokens, string? reason) => new() { ["index"] = index, ["text"] = text, ["logprobs"] = LogProbs(index, tokens), ["finish_reason"] = reason };

        public override JsonObject? Opening(int index, string echo) => echo.Length == 0 ? null : Choice(index, echo, [], null);

        public override JsonObject Delta(int index, AnswerPiece piece) => Choice(index, piece.Text, piece.Tokens, piece.FinishReason);

        private JsonObject? LogProbs(int index, IReadOnlyList<NewToken> tokens)
        {
            if (!Request.WithLogProbs) return null;
            string Text(int id) => host.Tokenizer.Decode([id], skipSpecialTokens: false);
            var offsets = new JsonArray();
            var at = Request.EchoOf(index).Length;
            foreach (var token in tokens)
            {
                offsets.Add(at);
                at += Text(token.Id).Length;
            }
            JsonObject Top(NewToken token)
            {
                var top = new JsonObject();
                foreach (var (id, logProb) in token.Top ?? []) top[Text(id)] = logProb;
                return top;
            }
            return new() { ["tokens"] = new JsonArray([.. tokens.Select(t => (JsonNode)Text(t.Id))]), ["token_logprobs"] = new JsonArray([.. tokens.Select(t => (JsonNode)t.LogProb)]), ["top_logprobs"] = new JsonArray([.. tokens.Select(t => (JsonNode)Top(t))]), ["text_offset"] = offsets };
        }
    }
}
