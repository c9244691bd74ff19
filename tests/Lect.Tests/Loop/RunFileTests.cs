using Lect.Testing;

namespace Lect.Tests;

/// <summary>Run files: strict keys, typed values, --set, and what is written can be read again.</summary>
public sealed class RunFileTests : TemporaryFolder
{
    private string Refused(string yaml, params string[] sets) => Assert.Throws<InvalidDataException>(() => RunFile.Load<PretrainGptConfig>(Write("run.yaml", yaml), sets)).Message;

    [Theory]
    [InlineData("seed: 1\ntrain:\n  stepz: 5\n", "line 3", "'train.stepz'", "steps")]
    [InlineData("sed: 1\n", "line 1", "'sed'", "seed")]
    [InlineData("model:\n  n_layer: 2\n  n_heads: 2\n", "line 3", "'model.n_heads'", "n_head")]
    [InlineData("train:\n  lr: fast\n", "line 2", "train.lr = 'fast'", "a number")]
    [InlineData("train:\n  steps: 1.5\n", "line 2", "train.steps = '1.5'", "a whole number")]
    [InlineData("train: 5\n", "line 1", "train = 5", "section")]
    [InlineData("seed: {a: b}\n", "line 1", "seed", "a whole number")]
    [InlineData("seed: [1\n", "line 2", "run.yaml", "line")]
    [InlineData("seed: 1\n---\nseed: 2\n", "line 3", "second document")]
    [InlineData("train:\n  eval-every: 1\n  eval_every: 2\n", "line 3", "'train.eval_every' twice")]
    [InlineData("seed: 1\n? [a]\n: 1\n", "line 2", "[ a ]", "a word")]
    [InlineData("model:\n  ? [a]\n  : 1\n", "line 2", "[ a ]", "a word")]
    [InlineData("train:\n  clip: Infinity\n", "line 2", "train.clip = 'Infinity'", "a number")]
    [InlineData("train:\n  clip: NaN\n", "line 2", "train.clip = 'NaN'", "a number")]
    public void What_is_wrong_is_named_with_its_line(string yaml, params string[] says)
    {
        var message = Refused(yaml);
        foreach (var part in says) Assert.Contains(part, message, StringComparison.Ordinal);
        Assert.Contains("run.yaml", message, StringComparison.Ordinal);
    }

    [Fact]
    public void What_is_wrong_on_the_command_line_is_named_with_its_flag()
    {
        Assert.Contains("--set train.stepz=5: found the unknown key 'train.stepz'", Refused("seed: 1\n", "train.stepz=5"), StringComparison.Ordinal);
        Assert.Contains("--set train.lr=x: found train.lr = 'x'", Refused("seed: 1\n", "train.lr=x"), StringComparison.Ordinal);
        Assert.Contains("key=value", Refused("seed: 1\n", "train.lr"), StringComparison.Ordinal);
        Assert.Contains("no run file", Assert.Throws<InvalidDataException>(() => RunFile.Load<PretrainGptConfig>("nowhere.yaml")).Message, StringComparison.Ordinal);
    }

    [Theory, InlineData("*.txt"), InlineData("notes #1.txt"), InlineData("&a: b"), InlineData("!x"), InlineData("a: b - c")]
    public void A_value_of_the_command_line_is_what_it_says(string text) => Assert.Equal(text, RunFile.Load<PretrainGptConfig>(null, [$"data.path={text}"]).Data.Path);

    [Fact]
    public void The_command_line_wins_over_another_spelling_of_the_key() => Assert.Equal(7, RunFile.Load<PretrainGptConfig>(Write("run.yaml", "train: {eval-every: 5}\n"), ["train.eval_every=7"]).Train.EvalEvery);

    [Fact]
    public void The_command_line_wins_over_the_file()
    {
        var config = RunFile.Load<PretrainGptConfig>(Write("run.yaml", "train:\n  lr: 1e-3\n  steps: 7\nmodel: { n_layer: 2, activation_function: relu }\n"), ["train.lr=3e-4", "data.columns.text=body", "model.n_embd=64", "seed=9", "train.epochs=null"]);
        Assert.Equal((3e-4, 7L, 9L, "body"), (config.Train.Lr, config.Train.Steps, config.Seed, config.Data.Columns["text"]));
        Assert.Equal((2L, 64L, "relu"), (config.Model["n_layer"], config.Model["n_embd"], config.Model["activation_function"]));
    }

    [Fact]
    public void What_is_written_is_read_again()
    {
        var config = new PretrainGptConfig
        {
            Seed = 5,
            Tokenizer = new() { Kind = "bpe", Size = 300 },
            Data = new() { Path = "a: b #c", Columns = new() { ["text"] = "null" } },
            Model = new() { ["n_layer"] = 2L, ["layer_norm_epsilon"] = 1e-12, ["activation_function"] = "relu", ["scale_attn_weights"] = false },
            Train = new() { Steps = 3, Lr = 1.0 / 3, Epsilon = 1e-9, Precision = "bf16" },
        };
        var read = RunFile.Load<PretrainGptConfig>(Write("run.yaml", RunFile.Write(config)));
        Assert.Equal(config.Train, read.Train);
        Assert.Equal(config.Tokenizer, read.Tokenizer);
        Assert.Equal((config.Data.Path, config.Data.Columns["text"], config.Seed), (read.Data.Path, read.Data.Columns["text"], read.Seed));
        Assert.Equal(config.Model, read.Model);
    }

    [Fact]
    public void All_faults_are_told_together()
    {
        var config = new PretrainGptConfig
        {
            Recipe = "bert",
            Tokenizer = new() { Kind = "words" },
            Data = new() { Source = "web", Split = "half", ValidationPath = "x", Validation = double.NaN },
            Model = new() { ["architecture"] = "gpt5" },
            Train = new() { Precision = "fp8", Lr = 0, Block = 0, Dropout = 1, Sampling = "all", Threads = 0, Schedule = "up", Decay = 5 },
        };
        var message = Assert.Throws<InvalidDataException>(config.Validate).Message;
        foreach (var part in (string[])["recipe = 'bert'", "tokenizer.kind = 'words'", "data.source = 'web'", "data.split = 'half'", "architecture = 'gpt5'", "neither steps nor epochs", "precision = 'fp8'", "block below 1", "dropout = 1", "sampling = 'all'", "threads = 0", "train.decay = 5", "both split and validation_path", "data.validation = NaN"])
            Assert.Contains(part, message, StringComparison.Ordinal);
    }

    public static TheoryData<string> Presets => [.. Directory.EnumerateFiles(Path.Combine(Fixtures.Root, "configs", "gpt"), "*.yaml", SearchOption.AllDirectories).Select(f => Path.GetRelativePath(Fixtures.Root, f))];

    [Theory, MemberData(nameof(Presets))]
    public void Every_preset_is_read_and_a_shrunken_copy_of_it_runs(string preset)
    {
        var text = At("text.txt");
        File.WriteAllText(text, string.Concat(Enumerable.Range(0, 500).Select(i => $"The {i}th line of a small text.\n")));
        var own = RunFile.Load<PretrainGptConfig>(Path.Combine(Fixtures.Root, preset)).Model.Keys;
        string[] Shrunk((string Key, int Value)[] keys) => [.. keys.Where(k => own.Contains(k.Key)).Select(k => $"model.{k.Key}={k.Value}")];
        var config = RunFile.Load<PretrainGptConfig>(Path.Combine(Fixtures.Root, preset), [$"data.path={text}", "data.split=tail", "train.steps=2", "train.warmup=1", "train.micro_batch_size=2", "train.batch_tokens=null", "train.batch_size=4", "train.block=16",
            .. Shrunk([("n_layer", 1), ("n_embd", 16), ("n_head", 2), ("num_layers", 2), ("num_hidden_layers", 1), ("hidden_size", 16), ("num_heads", 2), ("num_attention_heads", 2), ("num_key_value_heads", 1), ("intermediate_size", 24), ("window_size", 4), ("sliding_window", 4)])]);
        config = config with { Tokenizer = config.Tokenizer with { Size = config.Tokenizer.Kind == "char" ? null : 300 } };
        var state = PretrainGpt.Run(config, At("run"));
        Assert.Equal((2, 2 * 4 * 16), (state.Step, state.Tokens));
        using var model = LanguageModel.Load(At("run"));   // what was written is a folder of that architecture
        Assert.Equal(16, model.Model.ContextLength);
        Assert.Equal(5, model.Score([1, 2, 3, 4, 5]).LogProbs.Length);
    }

    private static long Parameters(string preset)
    {
        var config = RunFile.Load<PretrainGptConfig>(Path.Combine(Fixtures.Root, "configs", "gpt", preset + ".yaml"));
        return Lect.Models.ModelFolder.CountParameters(config.ModelJson(config.Tokenizer.Size ?? 67, endOfText: null));   // the 65 characters of tinyshakespeare and two special tokens
    }

    // GPT-3's: N (12 C² + 10 C) in the layers (GPT-Neo has no biases on queries, keys and values), (V + T) C embeddings, 2 C in the last norm.
    [Theory, InlineData("gpt2-124m", 124_439_808), InlineData("shakespeare-char", 810_112), InlineData("gpt3/125m", 125_198_592), InlineData("gpt3/350m", 355_798_016), InlineData("gpt3/175b", 174_600_720_384)]
    public void Presets_have_the_parameters_they_claim(string preset, long parameters) => Assert.Equal(parameters, Parameters(preset));

    [Fact]
    public void The_steps_of_the_history_are_of_one_size()
    {
        var sizes = Directory.EnumerateFiles(Path.Combine(Fixtures.Root, "configs", "gpt", "evolution")).Select(f => Parameters("evolution/" + Path.GetFileNameWithoutExtension(f))).ToList();
        Assert.Equal(7, sizes.Count);
        Assert.InRange(sizes.Max() / (double)sizes.Min(), 1, 1.02);
    }

    [Fact]
    public void A_model_that_memory_cannot_hold_is_refused_before_it_is_made()
    {
        var text = At("text.txt");
        File.WriteAllText(text, string.Concat(Enumerable.Range(0, 500).Select(i => $"The {i}th line of a small text.\n")));
        var config = RunFile.Load<PretrainGptConfig>(Path.Combine(Fixtures.Root, "configs", "gpt", "gpt3", "175b.yaml"), [$"data.path={text}", "data.split=tail", "tokenizer.size=300", "train.block=8"]);
        Assert.Contains("parameters, whose training takes", Assert.Throws<InvalidDataException>(() => PretrainGpt.Run(config, At("run"))).Message, StringComparison.Ordinal);
    }
}
