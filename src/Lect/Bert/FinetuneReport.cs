using System.Text.Json.Nodes;
using Lect.Text;

namespace Lect;

/// <summary>What a fine-tuned model gets right and wrong, as a page.</summary>
internal static class FinetuneReport
{
    private const int MostMistakes = 100;

    public static string Page(FinetuneConfig config, IReadOnlyList<(string Name, double Value)> figures, FinetuneTask task, Confusion? confusion, IReadOnlyList<Mistake> mistakes)
    {
        var title = $"{config.Recipe}: {config.Data.Task ?? Path.GetFileName(config.Data.Describe)}";
        var data = new JsonObject
        {
            ["title"] = title,
            ["about"] = $"{Path.GetFileName(Path.TrimEndingDirectorySeparator(config.ModelPath))}{(config.FromNothing ? ", from new weights" : "")}, {task.Train.Count:N0} examples to train on, {task.Validation.Count:N0} to validate with, seed {config.Seed}",
            ["figures"] = new JsonArray([.. figures.Select(f => (JsonNode)new JsonObject { ["name"] = f.Name, ["value"] = f.Value, ["baseline"] = f.Name == task.Metric ? task.Baseline : null })]),
            ["labels"] = new JsonArray([.. (confusion is null ? [] : task.Labels!).Select(l => (JsonNode)l)]),
            ["confusion"] = confusion is null ? null : new JsonArray([.. Enumerable.Range(0, confusion.Classes).Select(g => (JsonNode)new JsonArray([.. Enumerable.Range(0, confusion.Classes).Select(p => (JsonNode)confusion[g, p])]))]),
            ["wrong"] = mistakes.Count,
            ["mistakes"] = new JsonArray([.. mistakes.Take(MostMistakes).Select(m => (JsonNode)new JsonObject { ["text"] = m.Text, ["gold"] = m.Gold, ["said"] = m.Said, ["confidence"] = m.Confidence })]),
        };
        return HtmlPage.Fill("report", title, data);
    }
}
