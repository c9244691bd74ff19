using System.Text.Json;
using System.Text.Json.Nodes;
using Microsoft.Extensions.Hosting;

namespace Lect.Studio;

/// <summary>/api/runs: the run folders below one folder, their settings and metrics, live.</summary>
internal sealed class RunsApi(StudioOptions options, IHostApplicationLifetime life)
{
    private const int Depth = 3;

    // Names are looked up among what is there: none is used as a path.
    private Dictionary<string, string> Find()
    {
        var root = Path.GetFullPath(options.Runs);
        return Directory.Exists(root) ? Directory.EnumerateFiles(root, "metrics.jsonl", new EnumerationOptions { RecurseSubdirectories = true, MaxRecursionDepth = Depth, IgnoreInaccessible = true }).Select(f => Path.GetDirectoryName(f)!).ToDictionary(d => Path.GetRelativePath(root, d).Replace('\\', '/')) : [];
    }

    private string At(string name) => Find().GetValueOrDefault(name) ?? throw new ApiError(404, $"Found no run '{name}'. Expected a folder with metrics.jsonl in {options.Runs}.", "invalid_request_error");

    public JsonArray All() => [.. Find().OrderBy(r => r.Key, StringComparer.Ordinal).Select(run =>
    {
        var file = new FileInfo(Path.Combine(run.Value, "metrics.jsonl"));
        return (JsonNode)new JsonObject { ["name"] = run.Key, ["changed"] = new DateTimeOffset(file.LastWriteTimeUtc, TimeSpan.Zero), ["is_live"] = DateTime.UtcNow - file.LastWriteTimeUtc < TimeSpan.FromMinutes(2) };
    })];

    public JsonObject One(string name)
    {
        var file = Path.Combine(At(name), "run.yaml");
        return new() { ["name"] = name, ["config"] = File.Exists(file) ? File.ReadAllText(file) : null };
    }

    /// <summary>The lines of metrics so far, and then each new one as it is written, as server-sent events.</summary>
    public async Task Stream(string name, HttpContext http)
    {
        var file = Path.Combine(At(name), "metrics.jsonl");
        (http.Response.ContentType, http.Response.Headers.CacheControl) = ("text/event-stream", "no-store");
        using var over = CancellationTokenSource.CreateLinkedTokenSource(http.RequestAborted, life.ApplicationStopping);   // a page that looks on must not hold the server up
        var (read, batch) = (0L, new List<string>());
        while (!over.Token.IsCancellationRequested)
        {
            var size = File.Exists(file) ? new FileInfo(file).Length : 0;
            if (size < read) { read = 0; await Send("reset", "{}"); }   // a resumed run cuts its lines
            if (size > read)
            {
                await using var stream = new FileStream(file, FileMode.Open, FileAccess.Read, FileShare.ReadWrite | FileShare.Delete);
                stream.Position = read;
                var bytes = new byte[size - read];
                await stream.ReadExactlyAsync(bytes, over.Token);
                var end = Array.LastIndexOf(bytes, (byte)'\n') + 1;   // whole lines
                batch.AddRange(System.Text.Encoding.UTF8.GetString(bytes, 0, end).Split('\n', StringSplitOptions.RemoveEmptyEntries).Where(IsObject));
                read += end;
            }
            if (batch.Count > 0) await Send("lines", "[" + string.Join(',', batch) + "]");
            batch.Clear();
            try { await Task.Delay(500, over.Token); }
            catch (OperationCanceledException) { return; }
        }

        async Task Send(string what, string data)
        {
            await http.Response.WriteAsync($"event: {what}\ndata: {data}\n\n", over.Token);
            await http.Response.Body.FlushAsync(over.Token);
        }
    }

    private static bool IsObject(string line)
    {
        try { return JsonNode.Parse(line) is JsonObject; }
        catch (JsonException) { return false; }
    }
}
