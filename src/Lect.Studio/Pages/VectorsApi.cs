using System.Text.Json.Nodes;

namespace Lect.Studio;

/// <summary>/api/vectors: words beside words.</summary>
internal sealed class VectorsApi : IDisposable
{
    private const int Count = 15, MapWords = 400;
    private readonly Dictionary<string, WordVectors> all = new(StringComparer.Ordinal);
    private readonly Views views;
    private readonly Lock mapping = new();
    private readonly Dictionary<string, string> maps = new(StringComparer.Ordinal);

    public VectorsApi(StudioOptions options, Views views)
    {
        this.views = views;
        foreach (var path in options.Vectors)
        {
            var name = Lect.Models.ModelFolder.NameOf(path);
            all[all.ContainsKey(name) ? $"{name}-{all.Count}" : name] = VectorFiles.Read(path);
        }
    }

    private WordVectors Find(string name) => all.GetValueOrDefault(name) ?? throw new ApiError(404, $"Found no vectors '{name}'. Expected one of: {string.Join(", ", all.Keys)}.", "invalid_request_error");

    public JsonArray All() => [.. all.Select(v => (JsonNode)new JsonObject { ["name"] = v.Key, ["words"] = v.Value.Words.Count, ["dimension"] = v.Value.Dimension })];

    public JsonArray Nearest(string name, string word) => Json(Find(name).Nearest(word, Count));

    public JsonArray Analogy(string name, string a, string b, string c) => Json(Find(name).Analogy(a, b, c, Count));

    private static JsonArray Json(IReadOnlyList<Neighbour> found) => [.. found.Select(n => (JsonNode)new JsonObject { ["word"] = n.Word, ["similarity"] = n.Similarity })];

    /// <summary>The plane of the first words; made once.</summary>
    public JsonObject Map(string name)
    {
        lock (mapping)
        {
            var vectors = Find(name);
            string[] words = [.. vectors.Words.Take(MapWords)];
            if (!maps.TryGetValue(name, out var view)) maps[name] = view = VectorMap.Of(vectors, words).Page($"Words of {name}", vectors.Nearest(words, 8));
            return new() { ["view"] = views.Add(view) };
        }
    }

    public void Dispose()
    {
        foreach (var vectors in all.Values) vectors.Dispose();
    }
}
