using System.Security.Cryptography;
using System.Text.Json.Nodes;
using Lect.Testing;

namespace Lect.EndToEnd.Tests;

/// <summary>Data-parallel training: <c>mpirun -n N lect …</c>, with Open MPI's own mpirun.</summary>
public sealed class ProcessesTests : TemporaryFolder
{
    private const string Same = "train.precision=fp32";   // what must be equal names it: auto is measured

    public ProcessesTests() => Assert.SkipUnless(Tool.HasMpi, "Needs Open MPI's mpirun (Debian and Ubuntu: openmpi-bin); .ci/run installs it.");

    private string Text() => Write("text.txt", Enumerable.Range(0, 3000).Select(i => $"{i % 7} times {i % 13} is {i % 7 * (i % 13)}."));

    private string[] Gpt(string name, long steps = 12, params string[] sets) =>
        ["train", "gpt", "--set", $"data.path={Text()}", "tokenizer.kind=char", "model.n_layer=2", "model.n_embd=32", "model.n_head=2", "train.block=32", "train.batch_size=8", "train.lr=3e-3", $"train.steps={steps}", "train.log_every=1", "train.eval_every=6", "train.eval_tokens=500", "train.checkpoint_every=4", "train.dropout=0.1", "train.schedule=constant", Same, .. sets, "--out", At(name)];

    private List<JsonObject> Metrics(string name) => [.. File.ReadLines(At(name, "metrics.jsonl")).Select(l => JsonNode.Parse(l)!.AsObject())];

    private string Hash(string name) => Convert.ToHexString(SHA256.HashData(File.ReadAllBytes(At(name, "model.safetensors"))));

    private static void Succeeded(Tool.Answer answer) => Assert.True(answer.Code == 0, answer.Error);

    private static void Near(List<JsonObject> one, List<JsonObject> several)
    {
        Assert.Equal(one.Count, several.Count);
        foreach (var (a, b) in one.Zip(several))
            foreach (var (name, value) in a)
                if (name is "step" or "loss" or "grad_norm" or "tokens" or "lr" || name.StartsWith("val_", StringComparison.Ordinal))
                    Assert.True(Math.Abs((double)value! - (double)b[name]!) <= 2e-4 * Math.Max(1, Math.Abs((double)value!)), $"step {a["step"]}: {name} {value} and {b[name]}");
    }

    // Dropout and hidden words are drawn by micro-batch: one process takes the same ones, one after the other.
    [Theory, InlineData(2, 4), InlineData(3, 3)]
    public void Several_take_the_steps_of_one(int processes, int share)
    {
        Succeeded(Tool.Run(Gpt("one", 12, $"train.micro_batch_size={share}")));
        var together = Tool.Together(processes, Gpt("several"));
        Succeeded(together);
        Near(Metrics("one"), Metrics("several"));
        Assert.Contains($"{processes} processes of 1 threads", together.Error, StringComparison.Ordinal);
        Assert.Single(together.Error.Split("done: 12 steps").Skip(1));   // one of them speaks
        foreach (var key in (string[])["micro_batch_size:", "threads:"]) Assert.DoesNotContain(key, File.ReadAllText(At("several", "run.yaml")), StringComparison.Ordinal);   // those of the next start may be others
    }

    [Fact]
    public void Shares_may_be_uneven_and_their_number_another_one_after_a_stop()
    {
        Succeeded(Tool.Run(Gpt("one", 8, "train.batch_size=4", "train.dropout=0")));
        Succeeded(Tool.Together(3, Gpt("several", 4, "train.batch_size=4", "train.dropout=0")));
        Succeeded(Tool.Together(2, "train", "gpt", "--resume", "--out", At("several"), "--set", "train.steps=8"));
        Near([.. Metrics("one").Where(m => m["val_loss"] is null)], [.. Metrics("several").Where(m => m["val_loss"] is null)]);   // the shorter run evaluated at its end, too
    }

    [Fact]
    public void Every_recipe_that_learns_from_given_data_divides()
    {
        void Compare(string name, params string[] arguments)
        {
            Succeeded(Tool.Run([.. arguments, Same, "--out", At(name + "-one")]));
            Succeeded(Tool.Together(2, [.. arguments, Same, "--out", At(name + "-two")]));
            Near(Metrics(name + "-one"), Metrics(name + "-two"));
        }
        string[] often = ["train.log_every=1", "train.steps=4", "train.eval_every=2", "train.batch_size=6"];
        Succeeded(Tool.Run(Gpt("gpt", 4, "tokenizer.kind=bpe", "tokenizer.size=300", "model.n_positions=64")));
        var pairs = Write("pairs.tsv", ((string[])["source\ttarget"]).Concat(Enumerable.Range(0, 200).Select(i => $"{i} and {i + 1}\t{i + 1} und {i}")));
        Compare("transformer", ["train", "transformer", "--set", $"data.path={pairs}", "tokenizer.kind=bpe", "tokenizer.size=300", "model.d_model=32", "model.encoder_layers=1", "model.decoder_layers=1", "model.heads=2", "model.ff=64", "train.dropout=0", .. often]);
        Compare("bert", ["train", "bert", "--set", $"data.path={Text()}", "tokenizer.size=300", "model.hidden_size=32", "model.num_hidden_layers=1", "model.num_attention_heads=2", "model.intermediate_size=64", "train.block=32", "train.dropout=0", .. often, "train.micro_batch_size=3"]);
        var reviews = Write("reviews.jsonl", Enumerable.Range(0, 60).Select(i => $$"""{"text":"{{i}} times {{i % 5}} is {{i * (i % 5)}}.","label":"{{(i % 2 == 0 ? "even" : "odd")}}"}"""));
        Compare("classify", ["finetune", "classify", "--set", $"model.path={At("bert-one")}", $"data.path={reviews}", "train.dropout=0", "train.max_length=32", .. often]);
        var answers = Write("answers.jsonl", Enumerable.Range(0, 60).Select(i => $$"""{"prompt":"{{i}} times 2?","completion":" {{2 * i}}."}"""));
        Compare("sft", ["align", "sft", "--set", $"model.path={At("gpt")}", $"data.path={answers}", "train.max_length=64", .. often]);
        var preferences = Write("preferences.jsonl", Enumerable.Range(0, 60).Select(i => $$"""{"prompt":"{{i}} times 2?","chosen":" {{2 * i}}.","rejected":" {{i}}."}"""));
        Compare("reward", ["align", "reward", "--set", $"model.path={At("gpt")}", $"data.path={preferences}", "train.max_length=64", .. often]);
        Compare("dpo", ["align", "dpo", "--set", $"model.path={At("gpt")}", $"data.path={preferences}", "train.max_length=64", .. often]);
    }

    [Fact]
    public void A_run_that_was_stopped_and_one_whose_process_was_killed_end_in_the_same_weights()
    {
        Succeeded(Tool.Together(2, Gpt("whole", 400)));
        foreach (var (name, stop) in new[] { ("stopped", "USR1"), ("killed", "KILL") })
        {
            using var mpirun = Tool.StartTogether(2, Gpt(name, 400));
            for (var i = 0; i < 3000 && !(File.Exists(At(name, "metrics.jsonl")) && File.ReadLines(At(name, "metrics.jsonl")).Count() > 60) && !mpirun.HasExited; i++) Thread.Sleep(10);
            Assert.False(mpirun.HasExited, "the run ended before it was to be stopped");
            using (var kill = stop == "USR1" ? System.Diagnostics.Process.Start("kill", ["-USR1", $"{mpirun.Id}"]) : System.Diagnostics.Process.Start("pkill", ["-KILL", "-n", "-f", $"lect train gpt .*{At(name)}$"])) kill.WaitForExit();
            Assert.True(mpirun.WaitForExit(TimeSpan.FromSeconds(60)));
            Assert.NotEqual(0, mpirun.ExitCode);
            Assert.NotEmpty(Directory.GetDirectories(At(name, "checkpoints"), "step-*"));
            Succeeded(Tool.Together(2, "train", "gpt", "--resume", "--out", At(name)));
            Assert.Equal(Hash("whole"), Hash(name));
        }
    }

    [Fact]
    public void What_does_not_divide_is_refused_once_and_with_2()
    {
        void Refused(string says, params string[] arguments)
        {
            var answer = Tool.Together(2, arguments);
            Assert.Equal(2, answer.Code);
            Assert.Single(answer.Error.Split(says).Skip(1));
        }
        Refused("unknown key 'train.speed'", Gpt("a", 4, "train.speed=1"));
        Refused("Found 2 processes and a step of 1 micro-batches", Gpt("b", 4, "train.batch_size=1"));
        Refused("Found 2 processes (mpirun)", "align", "ppo", "--set", $"model.path={Folder}", "--out", At("c"));
        Refused("Found 2 processes (mpirun)", "train", "word2vec", "--out", At("d"));
        Refused("Found 2 processes (mpirun)", "demo", "seq2seq", "--out", At("g"));
        Refused("Found 2 processes (mpirun)", "finetune", "classify", "--set", $"model.path={Fixtures.Path_("hf", "bert-pretraining")}", "--seeds", "2", "--out", At("e"));
        Refused("kto looks at the whole batch", "align", "dpo", "--set", $"model.path={Folder}", "dpo.loss=kto", "--out", At("f"));
    }
}
