using System.CommandLine;
using System.Text.Json.Nodes;
using Lect.Models;

namespace Lect;

/// <summary>lect inspect: what is in a checkpoint.</summary>
internal static class InspectCommand
{
    public static Command Create()
    {
        var path = new Argument<string>("path") { Description = "A safetensors file or a model folder" };
        var json = Screen.Json();
        var command = new Command("inspect", "Tensors, shapes and memory of a checkpoint. Example: lect inspect my-model") { path, json };
        command.SetAction(int (parsed) =>
        {
            var weights = Weights.Open(parsed.GetValue(path)!);
            if (parsed.GetValue(json)) Console.WriteLine(Json(weights).ToJsonString());
            else Show(weights);
            return 0;
        });
        return command;
    }

    private static long Count(SafeTensorInfo info) => info.Shape.Aggregate(1L, (a, b) => a * b);

    private static JsonObject Json(Weights weights) => new()
    {
        ["tensors"] = new JsonObject(weights.Names.Select(n => KeyValuePair.Create(n, (JsonNode?)new JsonObject { ["dtype"] = weights.Info(n).Dtype, ["shape"] = JsonLines.Array(weights.Info(n).Shape) }))),
        ["parameters"] = weights.Names.Sum(n => Count(weights.Info(n))),
        ["metadata"] = new JsonObject(weights.Metadata.Select(m => KeyValuePair.Create(m.Key, (JsonNode?)JsonValue.Create(m.Value)))),
    };

    private static void Show(Weights weights)
    {
        var width = weights.Names.Select(n => n.Length).DefaultIfEmpty(0).Max();
        foreach (var name in weights.Names) Console.WriteLine($"{name.PadRight(width)}  {weights.Info(name).Dtype,-5} [{string.Join(", ", weights.Info(name).Shape)}]");
        Console.WriteLine($"{weights.Names.Count} tensors, {ModelFolder.Short(weights.Names.Sum(n => Count(weights.Info(n))))} parameters, {weights.Names.Sum(n => weights.Info(n).Length) / 1e6:0.0} MB");
    }
}
