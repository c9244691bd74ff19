using System.Runtime.InteropServices;
using System.Text.Json.Nodes;
using Lect.Models;
using Lect.Testing;

namespace Lect.Tests.Pages;

/// <summary>The attention page's data are the model's, and the slides' numbers are the lecture's.</summary>
public sealed class PagesTests : TemporaryFolder
{
    private static JsonNode Data(string page)
    {
        var from = page.IndexOf("const data = ", StringComparison.Ordinal) + "const data = ".Length;
        return JsonNode.Parse(page[from..page.IndexOf(";\nconst $", StringComparison.Ordinal)])!;
    }

    [Fact]
    public void Cells_of_the_page_are_the_probabilities()
    {
        var random = new Random(1);
        var layers = Enumerable.Range(0, 3).Select(_ => Enumerable.Range(0, 2 * 4 * 5).Select(_ => random.NextSingle()).ToArray()).ToList();
        var view = new AttentionView("decoder", ["a", "</script>", "c", "d"], ["1", "2", "3", "4", "5"], [0, 0, 1, 2], [0, 1, 2, 3, 4], layers, 2);
        var page = AttentionMap.Page("<b>", [view]);
        Assert.Equal(2, page.Split("</script>").Length);
        var data = Data(page)["views"]![0]!;
        var values = MemoryMarshal.Cast<byte, ushort>(Convert.FromBase64String((string)data["data"]!)).ToArray();
        Assert.Equal(3 * 2 * 4 * 5, values.Length);
        for (var i = 0; i < values.Length; i++) Assert.Equal(layers[i / 40][i % 40], values[i] / 65535.0, 1e-4);
        Assert.Equal(["a", "</script>", "c", "d"], data["queries"]!.AsArray().Select(q => (string)q!));
    }

    [Theory, InlineData("seq2seq"), InlineData("transformer")]
    public void Translation_models_show_all_their_attention(string recipe)
    {
        var sets = new List<string> { "data.source=copy", "data.pairs=60", "data.letters=5", "tokenizer.kind=word", "tokenizer.min_frequency=1", "train.steps=1", "train.batch_size=4", "train.eval_every=0" };
        sets.AddRange(recipe == "transformer" ? ["model.d_model=16", "model.heads=2", "model.ff=16", "model.encoder_layers=2", "model.decoder_layers=3"] : ["model.hidden=8", "model.decoder_hidden=8", "model.attention=8", "model.maxout=8", "model.embed=8"]);
        TrainSeq2Seq.Run(RunFile.Load<TrainSeq2SeqConfig>(null, sets) with { Recipe = recipe }, At("run"));
        using var translator = Translator.Load(At("run"));
        var views = AttentionMap.Of(translator, "a b c", "c b");
        Assert.Equal(recipe == "transformer" ? ["target to source", "encoder", "decoder"] : ["target to source"], views.Select(v => v.Name));
        Assert.Equal(["c", "b", "</s>"], views[0].Queries);
        Assert.Equal(["a", "b", "c", "</s>"], views[0].Keys);
        if (recipe == "transformer") Assert.Equal((3, 2, 3), (views[0].Layers.Count, views[1].Layers.Count, views[2].Layers.Count));
        foreach (var view in views)
            foreach (var layer in view.Layers)
            {
                Assert.Equal(view.Heads * view.Queries.Count * view.Keys.Count, layer.Length);
                foreach (var row in layer.Chunk(view.Keys.Count)) Assert.Equal(1, row.Sum(), 1e-4);
            }
    }

    [Fact]
    public void The_slides_have_the_lectures_numbers()
    {
        var masked = Slides.Masked(Slides.Scores);
        Assert.Equal(1.1, masked[0, 0]);
        Assert.True(double.IsNegativeInfinity(masked[0, 1]) && double.IsNegativeInfinity(masked[3, 4]));
        var probabilities = Slides.Softmax(masked);
        Assert.Equal(1, probabilities[0, 0]);
        Assert.Equal(Math.Exp(-0.1) / (Math.Exp(-0.1) + Math.Exp(0.5)), probabilities[1, 0], 1e-12);
        for (var r = 0; r < 5; r++) Assert.Equal(1, Enumerable.Range(0, 5).Sum(c => probabilities[r, c]), 1e-12);
        using var table = SinusoidalPositions.Paper(7, 5);
        var values = table.data<float>().ToArray();
        var ours = Slides.Positions(7, 5);
        for (var i = 0; i < 35; i++) Assert.Equal(values[i], ours[i / 5, i % 5], 1e-6);
        var layer = Slides.LayerNorm(Slides.Scores);
        for (var r = 0; r < 5; r++) Assert.Equal(0, Enumerable.Range(0, 5).Sum(c => layer[r, c]), 1e-9);
        var batch = Slides.BatchNorm(Slides.Scores);
        for (var c = 0; c < 5; c++) Assert.Equal(0, Enumerable.Range(0, 5).Sum(r => batch[r, c]), 1e-9);
    }
}
