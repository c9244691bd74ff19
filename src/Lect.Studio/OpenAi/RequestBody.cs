using System.Globalization;
using System.Text.Json;
using System.Text.Json.Nodes;

namespace Lect.Studio;

/// <summary>A JSON object that somebody sent, with errors that name the field.</summary>
internal sealed class RequestBody(JsonObject json)
{
    public JsonNode? this[string name] => json[name];

    public static async Task<RequestBody> Read(HttpRequest request)
    {
        if (!request.HasJsonContentType()) throw new ApiError(415, $"Found the content type '{request.ContentType}'. Expected application/json.", "invalid_request_error");
        try
        {
            var json = await JsonNode.ParseAsync(request.Body, documentOptions: new() { MaxDepth = 32, AllowDuplicateProperties = false }, cancellationToken: request.HttpContext.RequestAborted) as JsonObject ?? throw ApiError.Bad("Found JSON that is no object. Expected one.");
            Check(json);
            return new(json);
        }
        catch (Exception e) when (e is JsonException or InvalidOperationException or ArgumentException) { throw ApiError.Bad($"Found a body that is no JSON: {e.Message}"); }   // the latter: half of a surrogate pair
    }

    // Every text is read once, so that what is no text is found here.
    private static void Check(JsonNode? node)
    {
        if (node is JsonObject map) foreach (var (_, value) in map) Check(value);
        else if (node is JsonArray list) foreach (var value in list) Check(value);
        else if (node is JsonValue text) text.TryGetValue<string>(out _);
    }

    /// <summary>A text; null where it is anything else.</summary>
    public static string? TextOf(JsonNode? node) => node is JsonValue value && value.TryGetValue<string>(out var text) ? text : null;

    public string Text(string name) => TextOf(json[name]) ?? throw Wrong(name, "a text");

    public string? OptionalText(string name) => json[name] is null ? null : Text(name);

    public bool Flag(string name) => json[name] switch { null => false, JsonValue value when value.TryGetValue<bool>(out var on) => on, _ => throw Wrong(name, "true or false") };

    public double? Number(string name, double least, double most)
    {
        if (json[name] is null) return null;
        return json[name] is JsonValue value && value.TryGetValue<double>(out var number) && number >= least && number <= most ? number : throw Wrong(name, string.Create(CultureInfo.InvariantCulture, $"a number from {least} to {most}"));
    }

    public long? Integer(string name, long least, long most)
    {
        if (json[name] is null) return null;
        return json[name] is JsonValue value && value.TryGetValue<long>(out var number) && number >= least && number <= most ? number : throw Wrong(name, $"a whole number from {least} to {most}");
    }

    public string[] Texts(string name, int most) => json[name] switch
    {
        null => [],
        JsonValue value when value.TryGetValue<string>(out var one) => [one],
        JsonArray list when list.Count <= most && list.All(t => t is JsonValue v && v.TryGetValue<string>(out _)) => [.. list.Select(t => (string)t!)],
        _ => throw Wrong(name, $"a text, or at most {most}"),
    };

    public void Refuse(string name, string why)
    {
        if (json[name] is not (null or JsonArray { Count: 0 })) throw ApiError.Bad($"Found {name}. Expected none: {why}.", name, "unsupported_parameter");
    }

    public ApiError Wrong(string name, string expected) => ApiError.Bad($"Found {name} = {(json[name]?.ToJsonString() is { } found ? found.Length > 60 ? found[..60] + "…" : found : "nothing")}. Expected {expected}.", name);
}
