using System.CommandLine;
using System.Globalization;
using System.Text.Json.Nodes;
using Lect.Models;

namespace Lect;

/// <summary>lect inspect: what is in a checkpoint, what a configuration makes, and what differs between two models.</summary>
internal static class InspectCommand
{
    public static Command Create()
    {
        var paths = new Argument<string[]>("path") { Description = "A safetensors file, a model folder, a config.json or a run file of lect train gpt; two of the latter three with --compare", Arity = new(1, 2) };
        var compare = new Option<bool>("--compare") { Description = "What differs between two models" };
        var json = Screen.Json();
        var command = new Command("inspect", "Tensors, shapes, parameters and costs of a model. Example: lect inspect --compare configs/gpt/evolution/gpt2.yaml configs/gpt/evolution/llama.yaml") { compare, json, paths };
        command.SetAction(int (parsed) =>
        {
            var given = parsed.GetValue(paths)!;
            if (parsed.GetValue(compare) != (given.Length == 2)) throw new InvalidDataException($"Found {given.Length} paths. Expected two with --compare, one without.");
            if (given.Length == 2) Compare(given, ModelSummary.Of(Found(given[0])), ModelSummary.Of(Found(given[1])), parsed.GetValue(json));
            else if (Path.GetExtension(given[0]) is ".yaml" or ".yml" or ".json") Summarize(ModelSummary.Of(Found(given[0])), parsed.GetValue(json));
            else Checkpoint(given[0], Weights.Open(given[0]), parsed.GetValue(json));
            return 0;
        });
        return command;
    }

    private static string Found(string path) => Screen.ConfigFile(path)!;

    private static long Count(SafeTensorInfo info) => info.Shape.Aggregate(1L, (a, b) => a * b);

    private static void Checkpoint(string path, Weights weights, bool json)
    {
        if (json)
        {
            Console.WriteLine(new JsonObject
            {
                ["tensors"] = new JsonObject(weights.Names.Select(n => KeyValuePair.Create(n, (JsonNode?)new JsonObject { ["dtype"] = weights.Info(n).Dtype, ["shape"] = JsonLines.Array(weights.Info(n).Shape) }))),
                ["parameters"] = weights.Names.Sum(n => Count(weights.Info(n))),
                ["metadata"] = new JsonObject(weights.Metadata.Select(m => KeyValuePair.Create(m.Key, (JsonNode?)JsonValue.Create(m.Value)))),
            }.ToJsonString());
            return;
        }
        var width = weights.Names.Select(n => n.Length).DefaultIfEmpty(0).Max();
        foreach (var name in weights.Names) Console.WriteLine($"{name.PadRight(width)}  {weights.Info(name).Dtype,-5} [{string.Join(", ", weights.Info(name).Shape)}]");
        Console.WriteLine($"{weights.Names.Count} tensors, {ModelFolder.Short(weights.Names.Sum(n => Count(weights.Info(n))))} parameters, {weights.Names.Sum(n => weights.Info(n).Length) / 1e6:0.0} MB");
        if (ModelSummary.IsKnown(path)) Console.WriteLine(string.Join("\n", Costs(ModelSummary.Of(path)).Select(c => $"{c.Name}: {c.Text}")));
    }

    private static string Shape(ModelPart part) => $"{(part.Count > 1 ? part.Count.ToString(CultureInfo.InvariantCulture) + " x " : "")}[{string.Join(", ", part.Shape)}]";

    private static List<(string Name, string Text)> Costs(ModelSummary model)
    {
        var costs = new List<(string, string)> { ("parameters", ModelFolder.Short(model.Parameters)) };
        if (model.FlopsAToken is { } flops) costs.Add(("operations a token, forward, full context", ModelFolder.Short((long)flops)));
        if (model.CacheBytesAToken is { } bytes) costs.Add(("cache a token, fp32", string.Create(CultureInfo.InvariantCulture, $"{bytes:N0} bytes")));
        if (model.CacheBytes is { } all) costs.Add(("cache of a full context", string.Create(CultureInfo.InvariantCulture, $"{all / 1e6:N1} MB")));
        costs.Add(("training, fp32 with Adam", string.Create(CultureInfo.InvariantCulture, $"{16 * model.Parameters / 1e9:N1} GB for weights, gradients and moments")));
        return costs;
    }

    private static JsonObject Json(ModelSummary model) => new()
    {
        ["parameters"] = model.Parameters,
        ["flops_a_token"] = model.FlopsAToken,
        ["cache_bytes_a_token"] = model.CacheBytesAToken,
        ["cache_bytes"] = model.CacheBytes,
        ["roles"] = new JsonObject(model.Roles.Select(r => KeyValuePair.Create(r.Role, (JsonNode?)r.Parameters))),
        ["parts"] = new JsonObject(model.Parts.Select(p => KeyValuePair.Create(p.Name, (JsonNode?)Json(p)))),
    };

    private static JsonObject? Json(ModelPart? part) => part is null ? null : new() { ["shape"] = JsonLines.Array([.. part.Shape]), ["count"] = part.Count, ["role"] = part.Role };

    private static void Summarize(ModelSummary model, bool json)
    {
        if (json) { Console.WriteLine(Json(model).ToJsonString()); return; }
        var width = model.Parts.Max(p => p.Name.Length);
        foreach (var part in model.Parts) Console.WriteLine($"{part.Name.PadRight(width)}  {Shape(part)}");
        foreach (var (name, text) in Costs(model)) Console.WriteLine($"{name}: {text}");
    }

    private static void Compare(string[] names, ModelSummary a, ModelSummary b, bool json)
    {
        var (config, parts, roles) = (ModelComparison.Config(a, b), ModelComparison.Parts(a, b), ModelComparison.Roles(a, b));
        if (json)
        {
            Console.WriteLine(Screen.OneLine(new JsonObject
            {
                ["a"] = Json(a),
                ["b"] = Json(b),
                ["config"] = new JsonObject(config.Select(c => KeyValuePair.Create(c.Key, (JsonNode?)new JsonArray(c.A?.DeepClone(), c.B?.DeepClone())))),
                ["parts"] = new JsonObject(parts.Select(p => KeyValuePair.Create(p.Name, (JsonNode?)new JsonArray(Json(p.A), Json(p.B))))),
            }));
            return;
        }
        Table("", names[0], names[1], []);
        Table("config.json", "", "", config.Select(c => (c.Key, c.A?.ToJsonString() ?? "-", c.B?.ToJsonString() ?? "-")));
        Table("parts", "", "", parts.Select(p => (p.Name, p.A is null ? "-" : Shape(p.A), p.B is null ? "-" : Shape(p.B))));
        Table("parameters", "", "", roles.Select(r => (r.Role, r.A.ToString("N0", CultureInfo.InvariantCulture), r.B.ToString("N0", CultureInfo.InvariantCulture))));
        var (ofA, ofB) = (Costs(a), Costs(b));
        Table("in all", "", "", ofA.Select(c => c.Name).Union(ofB.Select(c => c.Name)).Select(n => (n, ofA.Find(c => c.Name == n).Text ?? "-", ofB.Find(c => c.Name == n).Text ?? "-")));
    }

    private static void Table(string title, string first, string second, IEnumerable<(string Name, string A, string B)> rows)
    {
        const int Name = 46, Column = 42;
        Console.WriteLine($"{title.PadRight(Name)}  {first.PadRight(Column)}  {second}".TrimEnd());
        foreach (var (name, a, b) in rows) Console.WriteLine($"  {name.PadRight(Name - 2)}  {a.PadRight(Column)}  {b}");
    }
}
