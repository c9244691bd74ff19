using System.Text.Json.Nodes;
using Lect.Testing;

namespace Lect.Tests.Gpt;

/// <summary>The history as an experiment: the same text and vocabulary for all, a curve a seed, intervals by Student's t.</summary>
public sealed class EvolutionTests : TemporaryFolder
{
    [Fact]
    public void Every_architecture_reads_the_same_tokens_and_what_is_done_is_not_done_again()
    {
        var text = At("text.txt");
        File.WriteAllText(text, string.Concat(Enumerable.Range(0, 800).Select(i => $"The {i % 50}th line is line number {i} of a small text.\n")));
        string[] presets = [.. new[] { "gpt1", "mistral" }.Select(n => Path.Combine(Fixtures.Root, "configs", "gpt", "evolution", n + ".yaml"))];
        string[] sets = [$"data.path={text}", "data.validation=0.1", "tokenizer.size=300", "train.steps=8", "train.warmup=2", "train.batch_size=4", "train.block=16", "train.eval_every=4", "train.log_every=2", "train.precision=fp32"];
        var (told, notes) = (0, new List<string>());
        var runs = Evolution.Run(presets, 2, At("out"), sets, _ => told++, notes.Add);
        Assert.Equal(["gpt1", "mistral"], runs.Select(r => r.Name));
        foreach (var curve in runs.SelectMany(r => r.Curves))
        {
            Assert.Equal([256L, 512L], curve.Select(p => p.Tokens));
            Assert.True(curve[1].Seconds > curve[0].Seconds && curve[0].Seconds > 0);
            Assert.True(curve[1].Loss < curve[0].Loss);
        }
        // Student's t for one degree of freedom.
        var (a, b) = (runs[0].Curves[0][^1].Loss, runs[0].Curves[1][^1].Loss);
        Assert.Equal(12.706 * Math.Abs(a - b) / 2, runs[0].HalfInterval(^1), 1e-9);
        Assert.Equal(File.ReadAllText(At("out", "gpt1-1", "tokenizer.json")), File.ReadAllText(At("out", "mistral-2", "tokenizer.json")));
        var json = JsonNode.Parse(File.ReadAllText(At("out", "evolution.json")))!;
        Assert.Equal(runs[1].Mean, (double)json["runs"]![1]!["points"]![1]!["loss"]!, 1e-9);
        Assert.Contains("<svg", File.ReadAllText(At("out", "evolution.html")), StringComparison.Ordinal);

        told = 0;
        Assert.Equal(runs.Select(r => r.Mean), Evolution.Run(presets, 2, At("out"), sets, _ => told++).Select(r => r.Mean));
        Assert.Equal(0, told);
        Assert.Contains("begun with", Assert.Throws<InvalidDataException>(() => Evolution.Run(presets, 2, At("out"), [.. sets, "train.lr=1e-4"])).Message, StringComparison.Ordinal);
    }
}
