using System.ClientModel;
using System.Net;
using System.Net.Http.Json;
using System.Text.Json.Nodes;
using Microsoft.Extensions.AI;
using Microsoft.Extensions.DependencyInjection;
using OpenAI;
using OpenAI.Chat;
using AiMessage = Microsoft.Extensions.AI.ChatMessage;
using ChatFinishReason = OpenAI.Chat.ChatFinishReason;

namespace Lect.Studio.Tests;

/// <summary>The official client and Microsoft's abstractions against the server, and what it refuses.</summary>
public sealed class OpenAiTests(TinyStudio studio)
{
    private OpenAIClient Client => new(new ApiKeyCredential("none"), new() { Endpoint = new(studio.Url + "/v1") });
    private ChatClient Chat => Client.GetChatClient("llama");
    private static readonly ChatCompletionOptions s_greedy = new() { Temperature = 0, MaxOutputTokenCount = 12 };

    private static UserChatMessage Asked => new("what is a cat?");

    [Fact]
    public async Task The_official_client_completes_and_streams_the_same_answer()
    {
        ChatCompletion whole = await Chat.CompleteChatAsync([Asked], s_greedy);
        Assert.NotEmpty(whole.Content[0].Text);
        Assert.Equal((ChatFinishReason.Length, 12), (whole.FinishReason, whole.Usage.OutputTokenCount));
        var (text, usage) = ("", 0);
        await foreach (var update in Chat.CompleteChatStreamingAsync([Asked], s_greedy))
        {
            text += string.Concat(update.ContentUpdate.Select(c => c.Text));
            usage = update.Usage?.OutputTokenCount ?? usage;
        }
        Assert.Equal(whole.Content[0].Text, text);
        Assert.Equal(12, usage);
        using var model = LanguageModel.Load(studio.Chat);
        var alone = model.Generate(model.Encode(new JsonArray(new JsonObject { ["role"] = "user", ["content"] = "what is a cat?" })), model.Defaults with { Decoding = model.Defaults.Decoding with { Sample = false, MaxNewTokens = 12 } });
        Assert.Equal(alone.Text, text);
    }

    [Fact]
    public async Task Seeds_repeat_stops_stop_and_log_probabilities_are_told()
    {
#pragma warning disable OPENAI001
        var seeded = new ChatCompletionOptions { Temperature = 1, MaxOutputTokenCount = 16, Seed = 7, IncludeLogProbabilities = true, TopLogProbabilityCount = 3 };
#pragma warning restore OPENAI001
        ChatCompletion first = await Chat.CompleteChatAsync([Asked], seeded), again = await Chat.CompleteChatAsync([Asked], seeded);
        Assert.Equal(first.Content[0].Text, again.Content[0].Text);
        Assert.Equal(16, first.ContentTokenLogProbabilities.Count);
        Assert.All(first.ContentTokenLogProbabilities, t => Assert.True(t.LogProbability <= 0 && t.TopLogProbabilities.Count == 3 && t.TopLogProbabilities[0].LogProbability >= t.TopLogProbabilities[2].LogProbability));
        ChatCompletion greedy = await Chat.CompleteChatAsync([Asked], s_greedy);
        var stop = greedy.Content[0].Text[2..4];
        ChatCompletion stopped = await Chat.CompleteChatAsync([Asked], new() { Temperature = 0, MaxOutputTokenCount = 12, StopSequences = { stop } });
        Assert.Equal(greedy.Content[0].Text[..greedy.Content[0].Text.IndexOf(stop, StringComparison.Ordinal)], stopped.Content[0].Text);
        Assert.Equal(ChatFinishReason.Stop, stopped.FinishReason);
    }

    [Fact]
    public async Task Several_choices_completions_and_models()
    {
        var json = await Post("v1/chat/completions", new() { ["model"] = "llama", ["messages"] = new JsonArray(new JsonObject { ["role"] = "user", ["content"] = new JsonArray(new JsonObject { ["type"] = "text", ["text"] = "what is a sun?" }) }), ["n"] = 3, ["seed"] = 1, ["max_tokens"] = 8 });
        Assert.Equal(3, json["choices"]!.AsArray().Select(c => (string)c!["message"]!["content"]!).Distinct().Count());
        Assert.Equal(24, (int)json["usage"]!["completion_tokens"]!);
        var text = await Post("v1/completions", new() { ["model"] = "llama", ["prompt"] = "a cat", ["max_tokens"] = 6, ["temperature"] = 0, ["logprobs"] = 2, ["echo"] = true });
        Assert.StartsWith("a cat", (string)text["choices"]![0]!["text"]!, StringComparison.Ordinal);
        Assert.Equal(6, text["choices"]![0]!["logprobs"]!["tokens"]!.AsArray().Count);
        Assert.Equal(["llama", "bert"], Client.GetOpenAIModelClient().GetModels().Value.Select(m => m.Id));
        var biased = await Post("v1/completions", new() { ["model"] = "llama", ["prompt"] = "a cat", ["max_tokens"] = 3, ["temperature"] = 0, ["logit_bias"] = new JsonObject { ["5"] = 100 } });
        Assert.Equal(studio.Get<ServedModels>().Find("llama")!.Host!.Tokenizer.Decode([5, 5, 5], skipSpecialTokens: true), (string)biased["choices"]![0]!["text"]!);
    }

    [Fact]
    public async Task Several_prompts_are_completed_as_each_alone()
    {
        JsonObject Body(JsonNode prompt) => new() { ["model"] = "llama", ["prompt"] = prompt, ["max_tokens"] = 5, ["seed"] = 3, ["n"] = 2, ["echo"] = true };
        var ids = studio.Get<ServedModels>().Find("llama")!.Host!.Encode("a long tree");
        JsonNode[] prompts = ["a cat", "what is a sun?", new JsonArray([.. ids.Select(i => (JsonNode)i)])];
        string[] Texts(JsonNode answer) => [.. answer["choices"]!.AsArray().Select(c => (string)c!["text"]!)];
        var (alone, tokens) = (new List<string>(), 0);
        foreach (var prompt in prompts)
        {
            var answer = await Post("v1/completions", Body(prompt.DeepClone()));
            alone.AddRange(Texts(answer));
            tokens += (int)answer["usage"]!["prompt_tokens"]!;
        }
        var together = await Post("v1/completions", Body(new JsonArray([.. prompts.Select(p => p.DeepClone())])));
        Assert.Equal(alone, Texts(together));
        Assert.Equal([0, 1, 2, 3, 4, 5], together["choices"]!.AsArray().Select(c => (int)c!["index"]!));
        Assert.Equal(tokens, (int)together["usage"]!["prompt_tokens"]!);
        foreach (var wrong in (JsonNode[])[new JsonArray(), new JsonArray("a", 1), new JsonArray([.. Enumerable.Range(0, 33).Select(_ => (JsonNode)"a")])])
            Assert.Equal(400, (int)(await studio.Http.PostAsJsonAsync("v1/completions", Body(wrong))).StatusCode);
    }

    [Fact]
    public async Task Vectors_of_texts_are_the_encoders()
    {
        var vectors = await Client.GetEmbeddingClient("bert").GenerateEmbeddingsAsync(["what is a cat ?", "a dog ."]);
        using var embedder = TextEmbedder.Load(studio.At("bert"));
        foreach (var (expected, found) in embedder.Embed([embedder.Encode("a dog .")])[0].Zip(vectors.Value[1].ToFloats().ToArray())) Assert.Equal(expected, found, 1e-5f);
        var plain = await Post("v1/embeddings", new() { ["model"] = "bert", ["input"] = "a dog ." });
        Assert.Equal(32, plain["data"]![0]!["embedding"]!.AsArray().Count);
        var generator = Client.GetEmbeddingClient("bert").AsIEmbeddingGenerator();
        Assert.Equal(32, (await generator.GenerateVectorAsync("a cat")).Length);
    }

    [Fact]
    public async Task A_program_needs_no_server()
    {
        using var services = new ServiceCollection().AddLect(studio.Chat).AddLect(studio.At("bert")).BuildServiceProvider();
        var local = services.GetRequiredService<IChatClient>();
        using var remote = Chat.AsIChatClient();
        var options = new ChatOptions { Temperature = 0, MaxOutputTokens = 10 };
        var (here, there) = (await local.GetResponseAsync([new AiMessage(ChatRole.User, "what is a moon?")], options), await remote.GetResponseAsync([new AiMessage(ChatRole.User, "what is a moon?")], options));
        Assert.Equal(there.Text, here.Text);
        Assert.Equal(10, here.Usage!.OutputTokenCount);
        var streamed = "";
        await foreach (var update in local.GetStreamingResponseAsync([new AiMessage(ChatRole.User, "what is a moon?")], options)) streamed += update.Text;
        Assert.Equal(here.Text, streamed);
        Assert.NotNull(local.GetService<ChatClientMetadata>());
        await Assert.ThrowsAsync<NotSupportedException>(() => local.GetResponseAsync("x", new() { Tools = [AIFunctionFactory.Create(() => 1)] }));
        await Assert.ThrowsAsync<NotSupportedException>(() => local.GetResponseAsync("x", new() { ResponseFormat = Microsoft.Extensions.AI.ChatResponseFormat.Json }));
        Assert.Equal(32, (await services.GetRequiredService<IEmbeddingGenerator<string, Embedding<float>>>().GenerateVectorAsync("a cat")).Length);
        Assert.Contains("bf16", Assert.Throws<ArgumentException>(() => new ServiceCollection().AddLect(studio.At("bert"), type: "bf16")).Message, StringComparison.Ordinal);
        using var rounded = new ServiceCollection().AddLect(studio.Chat, device: "cpu", type: "bf16").BuildServiceProvider();
        Assert.Equal(10, (await rounded.GetRequiredService<IChatClient>().GetResponseAsync([new AiMessage(ChatRole.User, "what is a moon?")], options)).Usage!.OutputTokenCount);
    }

    [Fact]
    public async Task What_cannot_be_done_is_refused_in_openais_words()
    {
        var missing = await Assert.ThrowsAsync<ClientResultException>(() => Client.GetChatClient("none").CompleteChatAsync([Asked]));
        Assert.Equal(404, missing.Status);
        Assert.Contains("llama, bert", missing.Message, StringComparison.Ordinal);
        var tools = await Assert.ThrowsAsync<ClientResultException>(() => Chat.CompleteChatAsync([Asked], new() { Tools = { ChatTool.CreateFunctionTool("f") } }));
        Assert.Equal(400, tools.Status);
        JsonObject With(string name, JsonNode? value) => new() { ["model"] = "llama", ["messages"] = new JsonArray(new JsonObject { ["role"] = "user", ["content"] = "x" }), [name] = value };
        foreach (var (body, status, param) in new[]
        {
            (With("response_format", new JsonObject { ["type"] = "json_object" }), 400, "response_format"), (With("temperature", 3), 400, "temperature"), (With("n", 100), 400, "n"), (With("messages", "x"), 400, "messages"), (With("messages", new JsonArray()), 400, "messages"),
            (With("messages", new JsonArray(new JsonObject { ["role"] = "user", ["content"] = new JsonArray(new JsonObject { ["type"] = "image_url" }) })), 400, "messages"), (With("stop", new JsonArray("a", "b", "c", "d", "e")), 400, "stop"), (With("logit_bias", new JsonObject { ["999999"] = 1 }), 400, "logit_bias"),
            (With("messages", new JsonArray(new JsonObject { ["role"] = "user", ["content"] = string.Concat(Enumerable.Repeat("what is a cat? ", 400)) })), 400, "messages"), (With("model", "bert"), 400, "model"), (With("response_format", new JsonObject { ["type"] = 1 }), 400, "response_format"), (With("messages", new JsonArray(new JsonObject { ["role"] = "user", ["content"] = new JsonArray("x") })), 400, "messages"),
        })
        {
            var (found, error) = await Refused("v1/chat/completions", JsonContent.Create(body));
            Assert.Equal((status, param), ((int)found, (string?)error["param"]));
        }
        Assert.Equal(HttpStatusCode.BadRequest, (await Refused("v1/chat/completions", new StringContent("{", null, "application/json"))).Status);
        foreach (var bad in (string[])["{\"model\": \"llama\", \"model\": \"bert\"}", "{\"model\": \"\\ud83d\"}", string.Concat(Enumerable.Repeat("{\"a\":", 5000))]) Assert.Equal(HttpStatusCode.BadRequest, (await Refused("v1/chat/completions", new StringContent(bad, null, "application/json"))).Status);
        Assert.Equal(HttpStatusCode.OK, (await studio.Http.PostAsJsonAsync("v1/chat/completions", With("temperature", 1e-50))).StatusCode);   // greedy
        Assert.Equal(HttpStatusCode.UnsupportedMediaType, (await Refused("v1/chat/completions", new StringContent("{}", null, "text/plain"))).Status);
        Assert.Equal(HttpStatusCode.RequestEntityTooLarge, (await Refused("v1/chat/completions", JsonContent.Create(With("user", new string('x', 2 << 20))))).Status);
        Assert.Equal("unknown_url", (string?)(await Refused("v1/images", JsonContent.Create(new JsonObject()))).Error["code"]);
    }

    [Fact]
    public async Task A_caller_that_leaves_frees_its_place()
    {
        var host = studio.Get<ServedModels>().Find("llama")!.Host!;
        using (var cancel = new CancellationTokenSource())
        {
            var stream = host.StreamAsync(host.Encode("a cat"), host.Defaults with { Decoding = host.Defaults.Decoding with { MaxNewTokens = 100, EosTokenIds = [] } }, cancel: cancel.Token);
            await Assert.ThrowsAnyAsync<OperationCanceledException>(async () => { await foreach (var _ in stream) await cancel.CancelAsync(); });
        }
        await foreach (var _ in host.StreamAsync(host.Encode("a dog"), host.Defaults with { Decoding = host.Defaults.Decoding with { MaxNewTokens = 100, EosTokenIds = [] } })) break;
        for (var i = 0; i < 100 && host.Active > 0; i++) await Task.Delay(20);
        Assert.Equal(0, host.Active);
    }

    private async Task<JsonObject> Post(string path, JsonObject body)
    {
        using var response = await studio.Http.PostAsJsonAsync(path, body);
        var json = JsonNode.Parse(await response.Content.ReadAsStringAsync())!.AsObject();
        Assert.True(response.IsSuccessStatusCode, json.ToJsonString());
        return json;
    }

    private async Task<(HttpStatusCode Status, JsonNode Error)> Refused(string path, HttpContent content)
    {
        using var response = await studio.Http.PostAsync(path, content);
        return (response.StatusCode, JsonNode.Parse(await response.Content.ReadAsStringAsync())!["error"]!);
    }
}
