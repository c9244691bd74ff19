using Lect.Testing;
using Lect.Text;

namespace Lect.Tests;

/// <summary>The README's example is the code below, and it runs.</summary>
public sealed class ReadmeTests : TemporaryFolder
{
    private static void Example(string text, string run)
    {
        // README: begin
        var config = new PretrainGptConfig
        {
            Data = new() { Path = text },                                        // a file, folder or glob; leave it away for the SDK's documentation
            Tokenizer = new() { Kind = "bpe", Size = 300 },
            Model = new() { ["n_layer"] = 2, ["n_embd"] = 64, ["n_head"] = 2 },  // config.json's own names
            Train = new() { Steps = 20, Block = 32, BatchSize = 8, Lr = 3e-3 },
        };
        PretrainGpt.Run(config, run, report: e => Console.WriteLine(e.Metrics));

        using var model = LanguageModel.Load(run);                               // any decoder's folder of Hugging Face's
        foreach (var piece in model.Stream("Once upon a time"))
            Console.Write(piece);
        // README: end
    }

    [Fact]
    public void The_example_runs()
    {
        var text = At("text.txt");
        File.WriteAllText(text, string.Concat(Enumerable.Range(0, 500).Select(i => $"Once upon a time there were {i} trees in a wood.\n")));
        Example(text, At("run"));
        Assert.True(File.Exists(At("run", "model.safetensors")));
    }

    [Fact]
    public void The_README_shows_this_code()
    {
        var source = File.ReadAllText(Path.Combine(Fixtures.Root, "tests", "Lect.Tests", "Readme", "ReadmeTests.cs")).ReplaceLineEndings("\n");
        var code = source[(source.IndexOf("// README: begin\n", StringComparison.Ordinal) + 17)..source.IndexOf("        // README: end", StringComparison.Ordinal)];
        var lines = code.Split('\n').Select(l => l.Length > 8 ? l[8..] : l.TrimStart());
        Assert.Contains(string.Join('\n', lines).TrimEnd(), File.ReadAllText(Path.Combine(Fixtures.Root, "README.md")).ReplaceLineEndings("\n"), StringComparison.Ordinal);
    }
}
