using System.Text;
using System.Text.Json.Nodes;
using Lect.Text;
using Microsoft.AspNetCore.Http.Features;

namespace Lect.Studio;

/// <summary>/api/votes, /api/prompts and /api/conversations.</summary>
internal sealed class PreferencesApi(StudioStore store, StudioOptions options)
{
    private const long MostImported = 256L << 20;   // what was exported comes in again
    private static readonly string[] s_prompts = ["What does String.Trim do?", "When does File.Open throw an ArgumentNullException?", "What is a dictionary for?", "Explain in one sentence what a language model is.", "Write a short greeting."];

    public async Task<JsonObject> Vote(HttpContext http)
    {
        var body = await RequestBody.Read(http.Request);
        var (rater, choice, prompt) = (Votes.Clean(body.Text("rater")).Trim(), body.Text("choice"), Completions.Messages(body).ToJsonString());
        if (rater.Length is 0 or > 100) throw body.Wrong("rater", "a name of 1 to 100 characters");
        if (!Votes.Choices.Contains(choice)) throw body.Wrong("choice", string.Join(", ", Votes.Choices));
        var (first, second) = (Votes.Clean(body.Text("first")), Votes.Clean(body.Text("second")));
        var isNew = await store.Add(new()
        {
            Rater = rater,
            Prompt = prompt,
            First = first,
            Second = second,
            FirstModel = body.Text("first_model"),
            SecondModel = body.Text("second_model"),
            Choice = choice,
            Comment = body.OptionalText("comment") is { Length: > 0 } comment ? Votes.Clean(comment.Length > 2000 ? comment[..2000] : comment) : null,
            Fingerprint = StudioStore.FingerprintOf(rater, prompt, first, second, choice),
        });
        return new() { ["stored"] = isNew };
    }

    /// <summary>Training data, a line a vote.</summary>
    public async Task Export(HttpContext http)
    {
        var ties = http.Request.Query["ties"] == "true";
        http.Response.ContentType = "application/x-ndjson; charset=utf-8";
        http.Response.Headers.ContentDisposition = "attachment; filename=votes.jsonl";
        foreach (var vote in await store.Votes())
            if (Votes.Row(vote, ties) is { } row) await http.Response.WriteAsync(row.ToJsonString() + "\n", http.RequestAborted);
    }

    /// <summary>Votes of a file that was exported, or of any comparisons, one JSON object a line.</summary>
    public async Task<JsonObject> Import(HttpContext http)
    {
        if (http.Features.Get<IHttpMaxRequestBodySizeFeature>() is { IsReadOnly: false } size) size.MaxRequestBodySize = MostImported;
        using var reader = new StreamReader(http.Request.Body, Encoding.UTF8);
        var (votes, number) = (new List<StoredVote>(), 0);
        while (await reader.ReadLineAsync(http.RequestAborted) is { } line)
        {
            number++;
            if (string.IsNullOrWhiteSpace(line)) continue;
            try { votes.Add(Votes.Read(JsonNode.Parse(line) as JsonObject ?? throw new InvalidDataException("found no object."))); }
            catch (Exception e) when (e is InvalidDataException or System.Text.Json.JsonException) { throw ApiError.Bad($"line {number}: {e.Message} Nothing was imported."); }   // all or nothing
        }
        var stored = await store.AddAll(votes);
        return new() { ["read"] = votes.Count, ["stored"] = stored, ["known"] = votes.Count - stored };
    }

    public async Task<JsonObject> Statistics() => Votes.Statistics(await store.Votes());

    public JsonArray Prompts() => options.Prompts is { } path ? [.. Rows.Read(path).Take(1000).Select(r => (JsonNode)new ChatData(path).Prompt(r).Last()!["content"]!.DeepClone())] : [.. s_prompts.Select(p => (JsonNode)p)];

    // Conversations

    public async Task<JsonArray> Conversations() => [.. (await store.Conversations()).Select(c => (JsonNode)new JsonObject { ["id"] = c.Id, ["title"] = c.Title, ["model"] = c.Model, ["updated"] = c.Updated })];

    public async Task<JsonObject> Conversation(Guid id) => await store.Conversation(id) is { } c ? new() { ["id"] = c.Id, ["title"] = c.Title, ["model"] = c.Model, ["messages"] = JsonNode.Parse(c.Messages) } : throw new ApiError(404, "Found no such conversation.", "invalid_request_error");

    public async Task<JsonObject> Keep(Guid id, HttpContext http)
    {
        var body = await RequestBody.Read(http.Request);
        var (title, messages) = (Votes.Clean(body.Text("title")), Completions.Messages(body).ToJsonString());
        await store.Keep(id, title.Length > 200 ? title[..200] : title, body.Text("model"), messages);
        return new() { ["id"] = id };
    }

    public async Task<JsonObject> Forget(Guid id)
    {
        await store.Forget(id);
        return [];
    }
}
