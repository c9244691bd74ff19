using System.Net;
using System.Net.Http.Headers;
using System.Net.Http.Json;
using System.Text.Json.Nodes;

namespace Lect.Studio.Tests;

/// <summary>Who may ask, how much, and what happens to requests that come together.</summary>
public sealed class ServerTests(TinyStudio studio)
{
    private static JsonObject Ask(string what, int tokens = 20) => new() { ["model"] = "llama", ["messages"] = new JsonArray(new JsonObject { ["role"] = "user", ["content"] = what }), ["max_tokens"] = tokens, ["temperature"] = 1, ["seed"] = what.Length };

    [Fact]
    public async Task Answers_do_not_depend_on_who_asks_at_the_same_time()
    {
        string[] prompts = ["what is a cat?", "what is a dog? what is a sun?", "a", "what is a tree? what is a bird? what is a fish?", "moon", "sea sea"];
        async Task<string> Answer(string prompt) => JsonNode.Parse(await (await studio.Http.PostAsJsonAsync("v1/chat/completions", Ask(prompt))).Content.ReadAsStringAsync())!["choices"]![0]!["message"]!["content"]!.ToString();
        var alone = new List<string>();
        foreach (var prompt in prompts) alone.Add(await Answer(prompt));
        for (var round = 0; round < 3; round++) Assert.Equal(alone, await Task.WhenAll(prompts.Select(async (p, i) => { await Task.Delay(i * round * 7); return await Answer(p); })));
    }

    [Fact]
    public async Task Sixty_four_clients_lose_nothing_and_who_comes_later_need_not_wait_for_the_end()
    {
        var (app, url) = await TinyStudio.Start(TinyStudio.Options(studio.Folder) with { Hosting = new() { MaxBatch = 64 }, Db = studio.At("load.db"), Vectors = [] });
        await using (app)
        {
            using var http = new HttpClient { BaseAddress = new(url + "/") };
            JsonObject Greedy(int i) => new() { ["model"] = "llama", ["prompt"] = $"what is a {i % 8}?", ["max_tokens"] = 24, ["temperature"] = 0 };
            async Task<string> Answer(int i) => JsonNode.Parse(await (await http.PostAsJsonAsync("v1/completions", Greedy(i))).Content.ReadAsStringAsync())!["choices"]![0]!["text"]!.ToString();
            var alone = new List<string>();
            for (var i = 0; i < 8; i++) alone.Add(await Answer(i));
            var together = await Task.WhenAll(Enumerable.Range(0, 64).Select(Answer));
            Assert.Equal(Enumerable.Range(0, 64).Select(i => alone[i % 8]), together);

            var host = ((ServedModels)app.Services.GetService(typeof(ServedModels))!).Find("llama")!.Host!;
            GenerationOptions Long(int tokens) => host.Defaults with { Decoding = host.Defaults.Decoding with { MaxNewTokens = tokens, EosTokenIds = [] } };
            Task<int>? later = null;
            var said = 0;
            async Task<int> First()   // how much the earlier one had said when the later one said its first
            {
                await foreach (var _ in host.StreamAsync(host.Encode("a dog"), Long(5))) return Volatile.Read(ref said);
                return int.MaxValue;
            }
            await foreach (var piece in host.StreamAsync(host.Encode("a cat"), Long(200)))
            {
                Interlocked.Add(ref said, piece.Tokens.Count);
                if (said >= 50) later ??= First();
            }
            Assert.True(await later! < 200, $"{await later!} of {said}");
        }
    }

    [Fact]
    public async Task A_full_queue_and_too_many_requests_are_told_at_once()
    {
        var (app, url) = await TinyStudio.Start(TinyStudio.Options(studio.Folder) with { Hosting = new() { MaxBatch = 1, MaxQueue = 1 }, Db = studio.At("full.db"), Vectors = [] });
        await using (app)
        {
            using var http = new HttpClient { BaseAddress = new(url + "/") };
            var answers = await Task.WhenAll(Enumerable.Range(0, 12).Select(i => http.PostAsJsonAsync("v1/chat/completions", Ask($"what is a cat? {i}", 60))));
            Assert.Contains(answers, a => a.StatusCode == HttpStatusCode.OK);
            var refused = answers.First(a => a.StatusCode == HttpStatusCode.TooManyRequests);
            Assert.Contains("queue_full", await refused.Content.ReadAsStringAsync(), StringComparison.Ordinal);
            Assert.NotNull(refused.Headers.RetryAfter);
        }
        var (limited, address) = await TinyStudio.Start(TinyStudio.Options(studio.Folder) with { RequestsPerMinute = 3, Db = studio.At("limited.db"), Vectors = [] });
        await using (limited)
        {
            using var http = new HttpClient { BaseAddress = new(address + "/") };
            for (var i = 0; i < 3; i++) Assert.Equal(HttpStatusCode.OK, (await http.GetAsync("v1/models")).StatusCode);
            Assert.Contains("rate_limit_exceeded", await (await http.GetAsync("v1/models")).Content.ReadAsStringAsync(), StringComparison.Ordinal);
            Assert.Equal(HttpStatusCode.OK, (await http.GetAsync("health")).StatusCode);
        }
    }

    [Fact]
    public async Task Requests_in_work_are_finished_when_the_server_ends()
    {
        var (app, url) = await TinyStudio.Start(TinyStudio.Options(studio.Folder) with { Db = studio.At("ends.db"), Vectors = [] });
        using var http = new HttpClient { BaseAddress = new(url + "/") };
        var asked = http.PostAsJsonAsync("v1/chat/completions", Ask("what is a cat?", 80));
        var host = ((ServedModels)app.Services.GetService(typeof(ServedModels))!).Find("llama")!.Host!;
        for (var i = 0; i < 500 && host.Active == 0 && !asked.IsCompleted; i++) await Task.Delay(2);
        await app.StopAsync();
        Assert.Equal(HttpStatusCode.OK, (await asked).StatusCode);
        await app.DisposeAsync();
    }

    [Fact]
    public async Task Keys_origins_and_hosts()
    {
        Assert.Contains("--api-key", Assert.Throws<InvalidDataException>(() => StudioServer.Create(TinyStudio.Options(studio.Folder) with { Host = "0.0.0.0" })).Message, StringComparison.Ordinal);
        var (app, url) = await TinyStudio.Start(TinyStudio.Options(studio.Folder) with { ApiKeys = ["a-long-secret"], Db = studio.At("keys.db"), Vectors = [] });
        await using (app)
        {
            using var http = new HttpClient { BaseAddress = new(url + "/") };
            foreach (var path in (string[])["v1/models", "api/votes", "metrics", "openapi/v1.json"]) Assert.Equal(HttpStatusCode.Unauthorized, (await http.GetAsync(path)).StatusCode);
            Assert.Equal(HttpStatusCode.OK, (await http.GetAsync("")).StatusCode);   // the page asks for the key
            http.DefaultRequestHeaders.Authorization = new("Bearer", "a-long-secreT");
            Assert.Equal(HttpStatusCode.Unauthorized, (await http.GetAsync("v1/models")).StatusCode);
            http.DefaultRequestHeaders.Authorization = new AuthenticationHeaderValue("Bearer", "a-long-secret");
            Assert.Equal(HttpStatusCode.OK, (await http.GetAsync("v1/models")).StatusCode);
        }
        foreach (var (header, value) in (ReadOnlySpan<(string, string)>)[("Origin", "http://elsewhere.example"), ("Origin", "null"), ("Host", "elsewhere.example")])
        {
            using var request = new HttpRequestMessage(HttpMethod.Get, "api/conversations");
            request.Headers.TryAddWithoutValidation(header, value);
            Assert.Equal(HttpStatusCode.Forbidden, studio.Http.Send(request).StatusCode);
        }
    }

    [Fact]
    public async Task Names_are_never_paths_and_pages_allow_no_script_of_their_own()
    {
        foreach (var path in (string[])["api/run?name=../../etc", "api/data/page?file=../text.txt", "v1/models/..%2Fllama", "views/nothing"]) Assert.Equal(HttpStatusCode.NotFound, (await studio.Http.GetAsync(path)).StatusCode);
        var page = await studio.Http.GetAsync("");
        var policy = page.Headers.GetValues("Content-Security-Policy").Single();
        Assert.DoesNotContain("unsafe", policy, StringComparison.Ordinal);
        Assert.StartsWith("default-src 'self'", policy, StringComparison.Ordinal);
        var metrics = await studio.Http.GetStringAsync("metrics");
        Assert.Contains("lect_requests_waiting", metrics, StringComparison.Ordinal);
        Assert.Contains("/v1/chat/completions", await studio.Http.GetStringAsync("openapi/v1.json"), StringComparison.Ordinal);
    }

    [Fact]
    public async Task Runs_data_vectors_and_attention_answer()
    {
        Assert.Contains("llama", await studio.Http.GetStringAsync("api/runs"), StringComparison.Ordinal);
        Assert.Contains("architecture: llama", (string)JsonNode.Parse(await studio.Http.GetStringAsync("api/run?name=llama"))!["config"]!, StringComparison.Ordinal);
        var data = JsonNode.Parse(await studio.Http.GetStringAsync("api/data/page?file=chat.jsonl&from=40&model=llama"))!;
        Assert.Equal((5, false), (data["rows"]!.AsArray().Count, (bool)data["more"]!));
        var learned = data["rows"]![0]!["tokens"]!.AsArray().Where(t => (bool)t!["learned"]!).Select(t => (string)t!["text"]!);
        Assert.StartsWith("a dog.", string.Concat(learned), StringComparison.Ordinal);   // row 40: what is a cat?
        Assert.Equal("fish", (string)JsonNode.Parse(await studio.Http.GetStringAsync("api/vectors/words.vec/nearest?word=cat"))![0]!["word"]!);
        Assert.Equal(HttpStatusCode.BadRequest, (await studio.Http.GetAsync("api/vectors/words.vec/nearest?word=zebra")).StatusCode);
        foreach (var model in (string[])["llama", "bert"])
        {
            var view = (string)JsonNode.Parse(await (await studio.Http.PostAsJsonAsync("api/attention", new JsonObject { ["model"] = model, ["text"] = "a cat" })).Content.ReadAsStringAsync())!["view"]!;
            var html = await studio.Http.GetStringAsync(view);
            Assert.DoesNotContain("<script>", html, StringComparison.Ordinal);
            Assert.Contains("const data = {", await studio.Http.GetStringAsync(view + "/page.js"), StringComparison.Ordinal);
        }
    }

    [Fact]
    public void What_cannot_be_served_is_named()
    {
        var options = TinyStudio.Options(studio.Folder);
        Assert.Contains("nowhere", Assert.Throws<InvalidDataException>(() => StudioServer.Create(options with { Models = ["nowhere"], Db = studio.At("x.db") })).Message, StringComparison.Ordinal);
        Assert.Contains("database", Assert.Throws<InvalidDataException>(() => StudioServer.Create(options with { Db = "Host=127.0.0.1;Port=1;Database=x;Username=y;Timeout=2" })).Message, StringComparison.Ordinal);
        Assert.Contains("--port 70000", Assert.Throws<InvalidDataException>(() => StudioServer.Create(options with { Port = 70000, Data = "no-such-folder" })).Message, StringComparison.Ordinal);
    }
}
