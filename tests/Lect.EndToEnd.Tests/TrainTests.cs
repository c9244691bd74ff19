using System.Runtime.InteropServices;
using System.Security.Cryptography;
using System.Text.Json.Nodes;
using Lect.Testing;

namespace Lect.EndToEnd.Tests;

/// <summary>Training through the command line: kills, signals, resuming, and what comes of it.</summary>
public sealed class TrainTests : TemporaryFolder
{
    private string[] Train(string name, long steps = 300)
    {
        var text = At("text.txt");
        if (!File.Exists(text)) File.WriteAllText(text, string.Concat(Enumerable.Range(0, 3000).Select(i => $"{i % 7} times {i % 13} is {i % 7 * (i % 13)}.\n")));
        return ["train", "gpt", "-c", "configs/gpt/shakespeare-char.yaml", "--set", $"data.path={text}", $"train.steps={steps}", "train.checkpoint_every=20", "train.eval_every=50", "train.log_every=1", "train.eval_tokens=500", "model.n_layer=2", "model.n_embd=64", "--out", At(name)];
    }

    private string Hash(string name) => Convert.ToHexString(SHA256.HashData(File.ReadAllBytes(At(name, "model.safetensors"))));

    private static long LastStep(string run) => File.Exists(Path.Combine(run, "metrics.jsonl")) ? File.ReadLines(Path.Combine(run, "metrics.jsonl")).Count() : 0;

    // Waits until a run has written so many lines of metrics.
    private static void Await(System.Diagnostics.Process process, string run, long lines)
    {
        for (var i = 0; i < 3000 && LastStep(run) < lines && !process.HasExited; i++) Thread.Sleep(10);
        Assert.False(process.HasExited, "the run ended before it was to be stopped");
    }

    [Fact]
    public void A_run_killed_and_killed_again_ends_in_the_same_weights()
    {
        Assert.Equal(0, Tool.Run(Train("whole")).Code);
        using (var first = Tool.Start(Train("killed")))
        {
            Await(first, At("killed"), 47);
            first.Kill();
            first.WaitForExit();
        }
        using (var second = Tool.Start("train", "gpt", "--resume", "--out", At("killed")))
        {
            Await(second, At("killed"), 130);
            second.Kill();
            second.WaitForExit();
        }
        var last = Tool.Run("train", "gpt", "--resume", "--out", At("killed"));
        Assert.Equal(0, last.Code);
        Assert.Equal(Hash("whole"), Hash("killed"));
        Assert.Equal(LastStep(At("whole")), LastStep(At("killed")));
        Assert.Equal(0, Tool.Run("train", "gpt", "--resume", "--out", At("killed")).Code);   // after the end it says so
    }

    [Theory, InlineData("SIGINT"), InlineData("SIGTERM")]
    public void A_signal_saves_and_ends_with_130(string signal)
    {
        Assert.SkipWhen(OperatingSystem.IsWindows(), "signals are sent by kill");
        using var process = Tool.Start(Train("stopped", steps: 100_000));
        Await(process, At("stopped"), 5);
        using (var kill = System.Diagnostics.Process.Start("kill", ["-s", signal[3..], process.Id.ToString(System.Globalization.CultureInfo.InvariantCulture)])) kill.WaitForExit();
        Assert.True(process.WaitForExit(TimeSpan.FromSeconds(60)));
        Assert.Equal(130, process.ExitCode);
        Assert.Contains("stopping", process.StandardError.ReadToEnd(), StringComparison.Ordinal);
        Assert.NotEmpty(Directory.GetDirectories(At("stopped", "checkpoints"), "step-*"));
    }

    [Fact]
    public void Metrics_come_as_JSON_lines_and_the_folder_generates_scores_and_is_measured()
    {
        var trained = Tool.Run([.. Train("run", steps: 60), "--json"]);
        Assert.Equal(0, trained.Code);
        Assert.Equal(File.ReadAllLines(At("run", "metrics.jsonl")).Length, trained.Json.Count);
        Assert.Contains("tokens/s", trained.Error, StringComparison.Ordinal);

        var generated = Tool.Ask("{\"prompt\":\"3 times\",\"id\":7}\n", "generate", "--model", At("run"), "--max-new-tokens", "5", "--json");
        Assert.Equal((0, 7), (generated.Code, (int)generated.Json[0]["id"]!));
        Assert.Equal(5, generated.Json[0]["ids"]!.AsArray().Count);
        Assert.Equal(generated.Json[0]["text"]!.ToString(), Tool.Run("generate", "--model", At("run"), "--max-new-tokens", "5", "3 times").Output.TrimEnd('\n'));

        var scored = Tool.Ask("{\"text\":\"3 times 4\"}\n", "score", "--model", At("run"), "--json").Json[0];
        Assert.Equal(scored["ids"]!.AsArray().Count, scored["logprobs"]!.AsArray().Count);

        Write("more.txt", "3 times 4 is 12.\n");
        var measured = Tool.Run("evaluate", "perplexity", "--model", At("run"), "--file", At("more.txt"), "--json").Json[0];
        Assert.Equal(Math.Exp((double)measured["loss"]!), (double)measured["perplexity"]!, 6);
        Assert.Equal((double)measured["loss"]! * 16 / Math.Log(2) / 17, (double)measured["bits_per_byte"]!, 6);
        var total = Tool.Ask("{\"text\":\"3 times 4 is 12.\\n\"}\n", "score", "--model", At("run"), "--json").Json[0];
        Assert.Equal((double)total["total"]!, -(double)measured["loss"]! * 16, 3);
    }

    [Fact]
    public void The_demo_ends_with_its_table()
    {
        var demo = Tool.Run("demo", "--out", At("demo"), "--set", "train.steps=4", "tokenizer.size=600", "model.n_layer=1", "model.n_embd=32", "model.n_head=2", "train.eval_tokens=2000");
        Assert.Equal(0, demo.Code);
        foreach (var part in (string[])["unigram", "Kneser-Ney", "GPT-2 (this run)", "bits a byte", "written: …", "lect generate --model"]) Assert.Contains(part, demo.Output, StringComparison.Ordinal);
        Assert.Contains("Going on with the demo", Tool.Run("demo", "--out", At("demo")).Error, StringComparison.Ordinal);
    }

    [Fact]
    public void Prepared_data_are_trained_on()
    {
        _ = Train("x");
        Assert.Equal(0, Tool.Run("data", "prepare", "--input", At("text.txt"), "--size", "300", "--out", At("tokens")).Code);
        Assert.True(File.Exists(At("tokens", "train.bin")));
        Assert.Equal(0, Tool.Run("train", "gpt", "--set", $"data.path={At("tokens")}", "train.steps=2", "train.block=16", "model.n_layer=1", "model.n_embd=16", "model.n_head=2", "--out", At("run")).Code);
        Assert.Equal(300, (int)JsonNode.Parse(File.ReadAllText(At("run", "config.json")))!["vocab_size"]!);
    }
}
