using System.Text.Json.Nodes;
using Lect.Testing;

namespace Lect.Text.Tests.Metrics;

/// <summary>ROUGE against Google's rouge-score 0.1.2 (shared/fixtures/metrics: other people's text, not copied here).</summary>
public sealed class RougeTests
{
    [Fact]
    public void Every_score_equals_rouge_scores()
    {
        var rows = File.ReadLines(Fixtures.Shared("fixtures", "metrics", "rouge.jsonl")).Select(l => JsonNode.Parse(l)!.AsObject()).ToList();
        var expected = Fixtures.Json(Fixtures.Shared("fixtures", "metrics", "rouge.expected.json"))["plain"]!;
        foreach (var kind in Rouge.Kinds)
            for (var i = 0; i < rows.Count; i++)
            {
                var targets = rows[i]["targets"]!.AsArray().Select(t => (string)t!).ToList();
                var text = (string)rows[i]["prediction"]!;
                void Same(JsonNode? wanted, RougeScore found)
                {
                    foreach (var (w, f) in wanted!.AsArray().Select(x => (double)x!).Zip([found.Precision, found.Recall, found.F1])) Assert.True(Math.Abs(w - f) <= 1e-9, $"{kind} of row {i}: {f}, expected {w}");
                }
                Same(expected["each"]![kind]![i], Rouge.Score(kind, targets[0], text));
                Same(expected["each_multi"]![kind]![i], Rouge.Score(kind, targets, text));
            }
    }
}
