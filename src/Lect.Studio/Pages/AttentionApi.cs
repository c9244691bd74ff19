using System.Collections.Concurrent;
using System.Text.Json.Nodes;
using System.Text.RegularExpressions;

namespace Lect.Studio;

/// <summary>The pages of <c>lect attention</c> and <c>lect map</c>, whose script and styles become files of their own: the studio allows none within a page.</summary>
internal sealed partial class Views
{
    private const int Kept = 32;
    private const long MostCharacters = 100_000_000;
    private readonly ConcurrentDictionary<string, (string Html, string Script, string Style)> pages = new(StringComparer.Ordinal);
    private readonly ConcurrentQueue<string> order = new();

    /// <summary>Keeps a page for a while; gives its address.</summary>
    public string Add(string page)
    {
        var id = Guid.NewGuid().ToString("N");
        var (script, style) = (Script().Match(page).Groups[1].Value, Style().Match(page).Groups[1].Value);
        page = Style().Replace(page, $"<link rel=\"stylesheet\" href=\"{id}/page.css\">", 1);
        page = Script().Replace(page, $"<script src=\"{id}/page.js\"></script>", 1);
        pages[id] = (page, script, style);
        order.Enqueue(id);
        while ((order.Count > Kept || (order.Count > 1 && pages.Values.Sum(p => (long)p.Script.Length) > MostCharacters)) && order.TryDequeue(out var old)) pages.TryRemove(old, out _);
        return $"/views/{id}";
    }

    public IResult Get(string id, string? part)
    {
        if (!pages.TryGetValue(id, out var page)) return Results.NotFound();
        return part switch { null => Results.Text(page.Html, "text/html; charset=utf-8"), "page.js" => Results.Text(page.Script, "text/javascript; charset=utf-8"), "page.css" => Results.Text(page.Style, "text/css; charset=utf-8"), _ => Results.NotFound() };
    }

    [GeneratedRegex("<script>(.*?)</script>", RegexOptions.Singleline)]
    private static partial Regex Script();

    [GeneratedRegex("<style>(.*?)</style>", RegexOptions.Singleline)]
    private static partial Regex Style();
}

/// <summary>/api/attention: every layer and head of a model that is served, for a text.</summary>
internal sealed class AttentionApi(ServedModels models, Views views, WaitingRoom room)
{
    private const int MostCharacters = 4000, MostTokens = 256;   // layers x heads x tokens² numbers are drawn
    private readonly Lock translating = new();

    public Task<JsonObject> Show(HttpContext http) => room.Run(http, async cancel =>
    {
        var body = await RequestBody.Read(http.Request);
        var (name, text, pair) = (body.Text("model"), body.Text("text"), body.OptionalText("pair") is { Length: > 0 } given ? given : null);
        if (string.IsNullOrWhiteSpace(text) || text.Length + (pair?.Length ?? 0) > MostCharacters) throw body.Wrong("text", $"1 to {MostCharacters} characters");
        var model = models.Find(name) ?? throw ApiError.NoModel(name, models.All.Select(m => m.Name));
        var tokens = model switch { { Host: { } h } => h.Encode(text).Length, { Embedder: { } e } => e.Tokens(text, pair), _ => 0 };
        if (tokens > MostTokens) throw body.Wrong("text", $"at most {MostTokens} tokens (found {tokens})");
        var found = model switch
        {
            { Host: { } host } => await host.RunAsync(m => AttentionMap.Of(m, text), cancel),
            { Embedder: { } embedder } => await embedder.RunAsync(e => AttentionMap.Of(e, text, pair), cancel),
            _ => await Task.Run(() => { lock (translating) return AttentionMap.Of(model.Translator!, text, pair); }, cancel),
        };
        return new JsonObject { ["view"] = views.Add(AttentionMap.Page(text, found)) };
    });
}
