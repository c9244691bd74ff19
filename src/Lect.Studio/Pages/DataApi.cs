using System.Text.Json.Nodes;
using Lect.Text;

namespace Lect.Studio;

/// <summary>/api/data: data sets of one folder page by page, and conversations as a model's template renders them.</summary>
internal sealed class DataApi(ServedModels models, StudioOptions options)
{
    private const int PageRows = 20, MostCharacters = 4000;
    private static readonly string[] s_endings = [".jsonl", ".json", ".csv", ".tsv", ".parquet", ".jsonl.gz", ".csv.gz", ".tsv.gz", ".txt"];

    private Dictionary<string, string> Find()
    {
        if (options.Data is not { } data) return [];
        var root = Path.GetFullPath(data);
        return Directory.EnumerateFiles(root, "*", new EnumerationOptions { RecurseSubdirectories = true, MaxRecursionDepth = 4, IgnoreInaccessible = true }).Where(f => s_endings.Any(e => f.EndsWith(e, StringComparison.OrdinalIgnoreCase))).Take(1000).ToDictionary(f => Path.GetRelativePath(root, f).Replace('\\', '/'));
    }

    public JsonArray All() => [.. Find().Keys.Order(StringComparer.Ordinal).Select(n => (JsonNode)n)];

    /// <summary>Twenty rows from one on; with a model, conversations as its tokens with those that are learned.</summary>
    public JsonObject Page(HttpContext http)
    {
        var (name, from, of) = (http.Request.Query["file"].ToString(), int.TryParse(http.Request.Query["from"], out var f) && f > 0 ? f : 0, http.Request.Query["model"].ToString());
        var path = Find().GetValueOrDefault(name) ?? throw new ApiError(404, $"Found no data set '{name}'. Expected a file of the folder that lect serve --data names.", "invalid_request_error");
        var rows = Rows.Read(path).Skip(from).Take(PageRows + 1).ToList();
        var encoder = of.Length == 0 ? null : (models.Find(of)?.Host ?? throw ApiError.NoModel(of, models.All.Where(m => m.Host is not null).Select(m => m.Name))).Chat;
        var data = new ChatData(path);
        return new()
        {
            ["from"] = from,
            ["more"] = rows.Count > PageRows,
            ["rows"] = new JsonArray([.. rows.Take(PageRows).Select(row => (JsonNode)new JsonObject { ["row"] = Short(row), ["tokens"] = encoder is null ? null : Rendered(row, data, encoder) })]),
        };
    }

    private static JsonNode? Short(JsonNode? node) => node switch
    {
        JsonObject o => new JsonObject(o.Select(p => KeyValuePair.Create(p.Key, Short(p.Value)))),
        JsonArray a => new JsonArray([.. a.Take(100).Select(Short)]),
        JsonValue v when v.TryGetValue<string>(out var text) && text.Length > MostCharacters => text[..MostCharacters] + "…",
        _ => node?.DeepClone(),
    };

    // Pieces of text, and whether they are learned.
    private static JsonNode? Rendered(JsonObject row, ChatData data, ChatEncoder encoder)
    {
        try
        {
            var encoded = encoder.Encode(data.Example(row).Turns);
            var pieces = new JsonArray();
            for (int from = 0, to; from < encoded.Ids.Length; from = to)
            {
                to = from + 1;
                while (to < encoded.Ids.Length && encoded.Counts[to] == encoded.Counts[from]) to++;
                pieces.Add(new JsonObject { ["text"] = encoder.Tokenizer.Decode(encoded.Ids[from..to], skipSpecialTokens: false), ["learned"] = encoded.Counts[from], ["tokens"] = to - from });
            }
            return pieces;
        }
        catch (InvalidDataException e) { return new JsonObject { ["error"] = e.Message }; }
    }
}
