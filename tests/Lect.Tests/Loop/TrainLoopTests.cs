using System.Security.Cryptography;
using System.Text.Json.Nodes;
using Lect.Models;
using Lect.Testing;
using Lect.Text;
using TorchSharp;
using static TorchSharp.torch;

namespace Lect.Tests;

/// <summary>The loop: exact resume, run folders, averages over micro-batches, precision.</summary>
public sealed class TrainLoopTests : TemporaryFolder
{
    private string Text()
    {
        var path = At("text.txt");
        if (!File.Exists(path)) File.WriteAllText(path, string.Concat(Enumerable.Range(0, 1500).Select(i => $"{i % 7} times {i % 13} is {i % 7 * (i % 13)}.\n")));
        return path;
    }

    private PretrainGptConfig Config(string precision = "fp32", long steps = 24) => new()
    {
        Tokenizer = new() { Kind = "char" },
        Data = new() { Path = Text() },
        Model = new() { ["n_layer"] = 2, ["n_embd"] = 32, ["n_head"] = 2 },
        Train = new() { Steps = steps, BatchSize = 6, MicroBatchSize = 2, Block = 16, Lr = 1e-2, Warmup = 4, EvalEvery = 7, CheckpointEvery = 5, LogEvery = 1, Precision = precision, Dropout = 0.1, EvalTokens = 320, SampleTokens = 8 },
    };

    private static string Hash(string run) => Convert.ToHexString(SHA256.HashData(File.ReadAllBytes(Path.Combine(run, "model.safetensors"))));

    private static List<JsonObject> WithoutTime(string run) => [.. RunFolder.ReadMetrics(run).Select(m => { m.Remove("tokens_per_second"); return m; })];

    [Theory, InlineData("fp32"), InlineData("bf16")]
    public void A_run_that_was_stopped_anywhere_ends_in_the_same_weights_and_metrics(string precision)
    {
        PretrainGpt.Run(Config(precision), At("whole"));
        foreach (var at in (long[])[1, 6, 7, 13, 23])
        {
            using var stop = new CancellationTokenSource();
            var run = At($"stopped-{at}");
            Assert.ThrowsAny<OperationCanceledException>(() => PretrainGpt.Run(Config(precision), run, e => { if (e.Step == at) stop.Cancel(); }, stop: stop.Token));
            Assert.Equal(at, RunFolder.LastState(run).Step);
            PretrainGpt.Run(RunFolder.SettingsOf<PretrainGptConfig>(run, []), run);
            Assert.Equal(Hash(At("whole")), Hash(run));
            Assert.Equal(WithoutTime(At("whole")).Select(m => m.ToJsonString()), WithoutTime(run).Select(m => m.ToJsonString()));
        }
    }

    [Fact]
    public void A_run_that_was_killed_goes_on_from_its_last_whole_checkpoint()
    {
        PretrainGpt.Run(Config(), At("whole"));
        var run = At("killed");
        Assert.Throws<InvalidOperationException>(() => PretrainGpt.Run(Config(), run, e => { if (e.Step == 13) throw new InvalidOperationException("killed"); }));
        File.AppendAllText(Path.Combine(run, "metrics.jsonl"), "{\"step\":14,\"lo");                        // a line cut short
        Directory.CreateDirectory(Path.Combine(run, "checkpoints", "unfinished"));                            // a checkpoint cut short
        File.WriteAllText(Path.Combine(run, "checkpoints", "unfinished", "model.safetensors"), "half");
        PretrainGpt.Run(RunFolder.SettingsOf<PretrainGptConfig>(run, []), run);
        Assert.Equal(Hash(At("whole")), Hash(run));
        Assert.Equal(WithoutTime(At("whole")).Select(m => m.ToJsonString()), WithoutTime(run).Select(m => m.ToJsonString()));
    }

    [Fact]
    public void A_kill_between_checkpoint_and_model_folder_loses_nothing()
    {
        PretrainGpt.Run(Config(), At("whole"));
        File.Delete(At("whole", "model.safetensors"));
        var best = RunFolder.LastState(At("whole")).BestStep;
        foreach (var later in Directory.GetDirectories(At("whole", "checkpoints")).Where(c => !c.EndsWith($"{best:000000}", StringComparison.Ordinal))) Directory.Delete(later, recursive: true);
        PretrainGpt.Run(RunFolder.SettingsOf<PretrainGptConfig>(At("whole"), []), At("whole"));
        Assert.True(File.Exists(At("whole", "model.safetensors")));
    }

    [Fact]
    public void The_folder_holds_what_the_contract_says()
    {
        var run = At("run");
        PretrainGpt.Run(Config("auto"), run);
        var settings = RunFile.Load<PretrainGptConfig>(Path.Combine(run, "run.yaml"));
        Assert.Contains(settings.Train.Precision, (string[])["fp32", "bf16"]);
        Assert.NotNull(settings.Train.Threads);
        var state = RunFolder.LastState(run);
        Assert.Equal(24, state.Step);
        Assert.Contains(24L, Steps(run));   // the last two checkpoints and the best
        Assert.Contains(state.BestStep, Steps(run));
        Assert.InRange(Steps(run).Count, 2, 3);
        var metrics = RunFolder.ReadMetrics(run).ToList();
        Assert.All(metrics, m => Assert.NotNull(m["step"]));
        Assert.Equal(24, metrics.Count(m => m["loss"] is not null && m["lr"] is not null && m["grad_norm"] is not null && m["tokens"] is not null && m["tokens_per_second"] is not null));
        Assert.Equal([7L, 14, 21, 24], metrics.Where(m => m["val_loss"] is not null).Select(m => (long)m["step"]!));
        Assert.Equal(state.Best, metrics.Where(m => m["val_loss"] is not null).Min(m => (double)m["val_loss"]!));
        Assert.NotEmpty(Directory.GetFiles(Path.Combine(run, "tensorboard"), "events.out.tfevents.*"));
        using var model = LanguageModel.Load(run);   // a Hugging Face folder
        Assert.True(model.Generate(model.Encode("3 times"), model.Defaults with { Decoding = model.Defaults.Decoding with { MaxNewTokens = 5 } }).Ids.Length > 0);
    }

    private static List<long> Steps(string run) => [.. Directory.GetDirectories(Path.Combine(run, "checkpoints"), "step-*").Select(c => long.Parse(Path.GetFileName(c)[5..], System.Globalization.CultureInfo.InvariantCulture)).Order()];

    [Fact]
    public void The_model_at_the_root_is_the_best_by_evaluation()
    {
        var run = At("run");
        var characters = File.ReadAllText(Text()).ToCharArray();
        Seeds.Random(1, "shuffle").Shuffle(characters);
        Write("noise.txt", new string(characters));   // the better the text is known, the worse noise is predicted
        PretrainGpt.Run(Config(steps: 60) with { Data = new() { Path = Text(), ValidationPath = At("noise.txt") } }, run);
        var state = RunFolder.LastState(run);
        Assert.True(state.BestStep < 56, $"best at {state.BestStep}");
        Assert.Equal(Hash(Path.Combine(run, "checkpoints", $"step-{state.BestStep:000000}")), Hash(run));
    }

    [Fact]
    public void Without_evaluation_the_last_model_stands_at_the_root()
    {
        var run = At("run");
        PretrainGpt.Run(Config() with { Train = Config().Train with { EvalEvery = 0 } }, run);
        Assert.Equal(Hash(Path.Combine(run, "checkpoints", "step-000024")), Hash(run));
    }

    [Fact]
    public void A_finished_run_can_be_lengthened_but_not_shortened_or_changed()
    {
        var run = At("run");
        PretrainGpt.Run(Config(steps: 10), run);
        var longer = RunFolder.SettingsOf<PretrainGptConfig>(run, ["train.steps=12"]);
        Assert.Equal(12, PretrainGpt.Run(longer, run).Step);
        Assert.Contains("train.steps = 5", Assert.Throws<InvalidDataException>(() => RunFolder.SettingsOf<PretrainGptConfig>(run, ["train.steps=5"])).Message, StringComparison.Ordinal);
        Assert.Equal(12, RunFolder.SettingsOf<PretrainGptConfig>(run, ["seed=1"]).Train.Steps);   // what it has anyway
        Assert.Contains("train.lr=1", Assert.Throws<InvalidDataException>(() => RunFolder.SettingsOf<PretrainGptConfig>(run, ["train.lr=1"])).Message, StringComparison.Ordinal);
        Assert.Contains("no run", Assert.Throws<InvalidDataException>(() => RunFolder.SettingsOf<PretrainGptConfig>(At("nowhere"), [])).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_folder_that_holds_something_is_left_alone()
    {
        PretrainGpt.Run(Config(steps: 1), At("run"));
        Assert.Contains("another run", Assert.Throws<InvalidDataException>(() => RunFolder.Begin(At("run"), Config())).Message, StringComparison.Ordinal);
        Directory.CreateDirectory(At("other"));
        File.WriteAllText(At("other", "thesis.txt"), "mine");
        Assert.Contains("files", Assert.Throws<InvalidDataException>(() => PretrainGpt.Run(Config(), At("other"))).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_folder_is_used_by_one_process_at_a_time()
    {
        using var run = RunFolder.Begin(At("run"), Config());
        Assert.Contains("another process", Assert.Throws<InvalidDataException>(() => RunFolder.Open(At("run"))).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_checkpoint_that_cannot_be_written_leaves_the_ones_before_it()
    {
        PretrainGpt.Run(Config(), At("whole"));
        var run = At("run");
        var inTheWay = Path.Combine(run, "checkpoints", "unfinished");
        var failed = Assert.ThrowsAny<IOException>(() => PretrainGpt.Run(Config(), run, e => { if (e.Step == 9) File.WriteAllText(inTheWay, "no folder can be made here"); }));
        Assert.Contains("checkpoint of step 10", failed.Message, StringComparison.Ordinal);
        Assert.Contains("step-00000", failed.Message, StringComparison.Ordinal);
        Assert.Contains("--resume", failed.Message, StringComparison.Ordinal);
        File.Delete(inTheWay);
        PretrainGpt.Run(RunFolder.SettingsOf<PretrainGptConfig>(run, []), run);
        Assert.Equal(Hash(At("whole")), Hash(run));
    }

    [Fact]
    public void A_start_that_failed_can_be_corrected_in_its_folder()
    {
        var run = At("run");
        Assert.Throws<InvalidDataException>(() => PretrainGpt.Run(Config() with { Data = new() { Path = At("typo.txt") } }, run));
        Assert.Equal(24, PretrainGpt.Run(Config(), run).Step);
        Assert.Contains("another run", Assert.Throws<InvalidDataException>(() => RunFolder.Begin(run, Config())).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_bad_row_is_named_with_its_line_wherever_it_is_read_in_parallel()
    {
        Write("rows.jsonl", string.Concat(Enumerable.Repeat("{\"text\": \"a row of text\"}\n", 50)) + "{\"text\": 5\n");
        foreach (var tokenizer in (TokenizerConfig[])[new() { Kind = "char" }, new() { Size = 300 }])
            Assert.Contains("line 51", Assert.Throws<InvalidDataException>(() => PretrainGpt.Run(Config() with { Tokenizer = tokenizer, Data = new() { Path = At("rows.jsonl") } }, At("run"))).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_schedule_is_checked_where_epochs_are_given_too()
    {
        var config = Config() with { Train = Config().Train with { Steps = null, Epochs = 0.5, Schedule = "cosin" } };
        Assert.Contains("train.schedule = 'cosin'", Assert.Throws<InvalidDataException>(() => PretrainGpt.Run(config, At("run"))).Message, StringComparison.Ordinal);
        Assert.Equal(RunFolder.LastState(At("epochs")), RunState.Start);
        var state = PretrainGpt.Run(config with { Train = config.Train with { Schedule = "wsd", Warmup = 5000 } }, At("epochs"));
        Assert.True(state.Step > 10);
    }

    [Fact]
    public void Keys_beside_prepared_data_and_a_foreign_tokenizer_are_refused()
    {
        TextData.Prepare(Config().Data, Config().Tokenizer, At("tokens"));
        var config = Config() with { Data = new() { Path = At("tokens") } };
        Assert.Contains("tokenizer=null", Assert.Throws<InvalidDataException>(() => PretrainGpt.Run(config, At("run"))).Message, StringComparison.Ordinal);
        TokenizerTrainer.Characters(["another alphabet!!"]).Save(At("foreign"));
        Assert.Contains("another tokenizer", Assert.Throws<InvalidDataException>(() => PretrainGpt.Run(config with { Tokenizer = new() { Path = At("foreign") } }, At("run"))).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Too_little_text_is_refused()
    {
        Write("short.txt", "too short");
        var message = Assert.Throws<InvalidDataException>(() => PretrainGpt.Run(Config() with { Data = new() { Path = At("short.txt"), Validation = 0 } }, At("run"))).Message;
        Assert.Contains("train.block", message, StringComparison.Ordinal);
        Write("empty.txt", "");
        Assert.Contains("no text", Assert.Throws<InvalidDataException>(() => PretrainGpt.Run(Config() with { Data = new() { Path = At("empty.txt") } }, At("run2"))).Message, StringComparison.Ordinal);
        Assert.Contains("Lower tokenizer.size", Assert.Throws<InvalidDataException>(() => PretrainGpt.Run(Config() with { Tokenizer = new() { Size = 50_000 } }, At("run3"))).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_loss_that_explodes_ends_the_run_with_advice()
    {
        var message = Assert.Throws<ArithmeticException>(() => PretrainGpt.Run(Config() with { Train = Config().Train with { Lr = 1e30, Warmup = 0, Clip = 0 } }, At("run"))).Message;
        Assert.Contains("lower train.lr", message, StringComparison.Ordinal);
    }

    [Fact]
    public void Micro_batches_of_any_size_take_the_same_step()
    {
        var losses = ((int[])[6, 3, 1]).Select(micro =>
        {
            var run = At($"micro-{micro}");
            PretrainGpt.Run(Config(steps: 3) with { Train = Config(steps: 3).Train with { MicroBatchSize = micro, Dropout = 0 } }, run);
            return RunFolder.ReadMetrics(run).Where(m => m["loss"] is not null).Select(m => (double)m["loss"]!).ToArray();
        }).ToList();
        for (var s = 0; s < 3; s++)
            foreach (var other in losses) Near.Equal(losses[0][s], other[s], 2e-6, $"step {s}");
    }

    [Theory, InlineData(false), InlineData(true)]
    public void Thirty_steps_in_either_precision_follow_PyTorch(bool bf16)
    {
        using var scope = NewDisposeScope();
        var json = Fixtures.Json(Fixtures.Path_("training", "mixed_precision.json"));
        var c = json["config"]!;
        using var model = TinyGpt((int)c["layers"]!, (int)c["d"]!, (int)c["heads"]!, (int)c["T"]!, ((string)json["alphabet"]!).Length);
        model.train();
        model.Compute = bf16 ? ComputeType.BFloat16 : ComputeType.Float32;
        var ids = SafeTensorsFile.Open(Fixtures.Path_("training", "tiny_gpt.data.safetensors")).Load("ids").to(ScalarType.Int64);
        using var adam = new AdamW(model.named_parameters().Select(p => (p.name, (Tensor)p.parameter)), (double)c["weight_decay"]!);
        var (b, t, lr) = ((int)c["B"]!, (int)c["T"]!, (double)c["lr"]!);
        var equal = 0;
        for (var s = 0; s < 30; s++)
        {
            using var step = NewDisposeScope();
            var (x, labels) = (ids.narrow(0, (long)s * b * t, b * t).view(b, t), ids.narrow(0, (long)s * b * t + 1, b * t).view(b, t));
            adam.ZeroGradients();
            var loss = model.Loss(x, labels, 1.0 / (b * t));
            loss.backward();
            using (no_grad())   // the fixture decays vectors too
                foreach (var (_, p) in model.named_parameters().Where(p => p.parameter.dim() < 2)) p.mul_(1 - lr * (double)c["weight_decay"]!);
            adam.Step(lr, (double)c["clip"]!);
            var expected = (double)json["float32"]!["losses"]![s]!;
            Near.Equal(expected, loss.item<float>(), bf16 ? 5e-3 : 1e-5, $"loss {s}");
            if (Math.Abs(expected - loss.item<float>()) < 1e-7) equal++;
        }
        if (bf16) Assert.True(equal < 10, "the losses are those of fp32: nothing was computed in bf16");
    }

    // The fixture's names and [out, in] weights to GPT-2's.
    private static Gpt2 TinyGpt(int layers, int width, int heads, int positions, int vocabulary)
    {
        var model = new Gpt2(new() { NLayer = layers, NEmbd = width, NHead = heads, NPositions = positions, VocabSize = vocabulary, ResidPdrop = 0, EmbdPdrop = 0, AttnPdrop = 0 });
        var weights = SafeTensorsFile.Open(Fixtures.Path_("training", "tiny_gpt.weights.safetensors"));
        using var noGrad = no_grad();
        foreach (var (name, parameter) in model.named_parameters())
        {
            var key = name["transformer.".Length..].Replace(".mlp.c_proj.", ".mlp_proj.", StringComparison.Ordinal).Replace(".mlp.", ".", StringComparison.Ordinal).Replace(".attn.", ".", StringComparison.Ordinal);
            var stored = weights.Load(key);
            parameter.copy_(parameter.dim() == 2 && key.StartsWith("h.", StringComparison.Ordinal) ? stored.t() : stored);
        }
        return model;
    }

    [Fact]
    public void A_model_goes_on_from_a_folder_with_its_own_tokenizer()
    {
        PretrainGpt.Run(Config(steps: 2), At("first"));
        var second = Config(steps: 3) with { Model = new() { ["path"] = At("first") }, Tokenizer = new() };
        PretrainGpt.Run(second, At("second"));
        Assert.Equal(File.ReadAllText(At("first", "tokenizer.json")), File.ReadAllText(At("second", "tokenizer.json")));
        Assert.True((double)RunFolder.ReadMetrics(At("second")).First()["loss"]! < (double)RunFolder.ReadMetrics(At("first")).First()["loss"]!);
    }

    [Fact]
    public void Prepared_tokens_give_the_same_run_as_their_text()
    {
        TextData.Prepare(Config().Data, Config().Tokenizer, At("tokens"));
        PretrainGpt.Run(Config(steps: 3), At("text"));
        PretrainGpt.Run(Config(steps: 3) with { Data = new() { Path = At("tokens") }, Tokenizer = new() }, At("prepared"));
        Assert.Equal(Hash(At("text")), Hash(At("prepared")));
    }
}
