using System.Runtime.InteropServices;
using System.Text.Json.Nodes;

namespace Lect.Studio;

/// <summary>/v1/models and /v1/embeddings.</summary>
internal sealed class ModelsApi(ServedModels models, WaitingRoom room)
{
    private const int MostInputs = 2048;

    public JsonObject All() => new() { ["object"] = "list", ["data"] = new JsonArray([.. models.All.Select(m => (JsonNode)Json(m))]) };

    public JsonObject One(string name) => Json(models.Find(name) ?? throw ApiError.NoModel(name, models.All.Select(m => m.Name)));

    private static JsonObject Json(ServedModel m) => new() { ["id"] = m.Name, ["object"] = "model", ["created"] = m.Created, ["owned_by"] = "lect", ["kind"] = m.Kind, ["context"] = m.Host?.ContextLength };

    public Task<JsonObject> Embeddings(HttpContext http) => room.Run(http, cancel => Embeddings(http, cancel));

    private async Task<JsonObject> Embeddings(HttpContext http, CancellationToken cancel)
    {
        var body = await RequestBody.Read(http.Request);
        var name = body.Text("model");
        var model = models.Find(name) ?? throw ApiError.NoModel(name, models.All.Select(m => m.Name));
        if (model.Embedder is not { } embedder) throw ApiError.Bad($"Found the model '{name}', which is for {model.Kind}. Expected an encoder (BERT, RoBERTa, DistilBERT).", "model");
        if (body["dimensions"] is not null) throw ApiError.Bad("Found dimensions. Expected none: vectors have the model's width.", "dimensions", "unsupported_parameter");
        var format = body.OptionalText("encoding_format") ?? "float";
        if (format is not ("float" or "base64")) throw body.Wrong("encoding_format", "float or base64");
        var inputs = body.Texts("input", MostInputs);
        if (inputs.Length == 0) throw body.Wrong("input", "a text, or several");
        var made = await embedder.GenerateAsync(inputs, cancellationToken: cancel);
        return new()
        {
            ["object"] = "list",
            ["model"] = name,
            ["data"] = new JsonArray([.. made.Select((e, i) => (JsonNode)new JsonObject { ["object"] = "embedding", ["index"] = i, ["embedding"] = format == "base64" ? Convert.ToBase64String(MemoryMarshal.AsBytes(e.Vector.Span)) : new JsonArray([.. e.Vector.ToArray().Select(v => (JsonNode)v)]) })]),
            ["usage"] = new JsonObject { ["prompt_tokens"] = made.Usage!.InputTokenCount, ["total_tokens"] = made.Usage.TotalTokenCount },
        };
    }
}
