using System.Security.Cryptography;
using System.Text.Json.Nodes;
using Lect.Models;
using Lect.Testing;
using Lect.Text;

namespace Lect.Tests.Alignment;

/// <summary>The recipes of alignment, small: they reach known optima, stop and go on exactly, and refuse what cannot be.</summary>
public sealed class AlignRecipesTests : TemporaryFolder
{
    private static readonly string[] s_things = ["cat", "dog", "sun", "sea", "tree", "bird", "fish", "moon"];

    // A language model of two layers that has read a little.
    private string Base()
    {
        if (Directory.Exists(At("base"))) return At("base");
        var text = Write("text.txt", Enumerable.Range(0, 400).Select(i => $"### User:\nwhat is a {s_things[i % 8]}?\n\n### Assistant:\na {s_things[i % 8]} is a {s_things[(i + 1) % 8]}.\n"));
        PretrainGpt.Run(new()
        {
            Tokenizer = new() { Kind = "bpe", Size = 300 },
            Data = new() { Path = text },
            Model = new() { ["architecture"] = "llama", ["hidden_size"] = 32, ["num_hidden_layers"] = 2, ["num_attention_heads"] = 2, ["max_position_embeddings"] = 64, ["tie_word_embeddings"] = true },
            Train = new() { Steps = 40, BatchSize = 8, Block = 32, Lr = 5e-3, EvalEvery = 0, CheckpointEvery = 0, Precision = "fp32", SampleTokens = 0 },
        }, At("base"));
        return At("base");
    }

    private string Instructions() => Write("instructions.jsonl", Enumerable.Range(0, 64).Select(i => new JsonObject { ["prompt"] = $"what is a {s_things[i % 8]}?", ["completion"] = $"a {s_things[(i + 3) % 8]}." }.ToJsonString()));

    private string Comparisons() => Write("comparisons.jsonl", Enumerable.Range(0, 64).Select(i => new JsonObject { ["prompt"] = $"what is a {s_things[i % 8]}?", ["chosen"] = $"yes {s_things[(i + 3) % 8]}.", ["rejected"] = $"no {s_things[(i + 5) % 8]}." }.ToJsonString()));

    private string Prompts() => Write("prompts.jsonl", Enumerable.Range(0, 64).Select(i => new JsonObject { ["prompt"] = $"what is a {s_things[i % 8]}?" }.ToJsonString()));

    private AlignConfig Config(string recipe, string data, int steps) => new()
    {
        Recipe = recipe,
        Model = new() { Path = Base() },
        Data = new() { Path = data, Validation = 0.2 },
        Rollout = recipe is "ppo" or "grpo" or "online-dpo" or "rejection" ? new() { Batch = recipe is "rejection" or "online-dpo" ? 64 : 16, MaxNewTokens = 4, Epochs = 2 } : new(),
        Grpo = recipe == "grpo" ? new() { Generations = 4 } : new(),
        OnlineDpo = recipe == "online-dpo" ? new() { Generations = 4 } : new(),
        Rejection = recipe == "rejection" ? new() { Generations = 4 } : new(),
        Train = new() { Steps = steps, BatchSize = 8, MaxLength = 60, Lr = 2e-3, Schedule = "constant", EvalEvery = 5, CheckpointEvery = 4, LogEvery = 1, Precision = "fp32", EvalExamples = 8 },
    };

    private static string Hash(string run) => Convert.ToHexString(SHA256.HashData(File.ReadAllBytes(Directory.GetFiles(run, "*.safetensors").Order(StringComparer.Ordinal).Last(f => Path.GetFileName(f) is "model.safetensors" or "adapter_model.safetensors"))));

    private static List<string> WithoutTime(string run) => [.. RunFolder.ReadMetrics(run).Select(m =>
    {
        foreach (var key in m.Select(f => f.Key).Where(k => k.EndsWith("tokens_per_second", StringComparison.Ordinal) || k.StartsWith("time/", StringComparison.Ordinal)).ToList()) m.Remove(key);
        return m.ToJsonString();
    })];

    private static double Judge(SampledAnswer answer) => answer.Response.Length > 0 && answer.Response[0] is >= 'a' and <= 'h' ? 1 : 0;

    private static RunState Run(AlignConfig config, string to, Action<TrainEvent>? report = null, CancellationToken stop = default) => config.Recipe switch
    {
        "ppo" => Ppo.Run(config, to, answers => [.. answers.Select(Judge)], report, stop: stop),
        "grpo" => Grpo.Run(config, to, answers => [.. answers.Select(Judge)], report, stop: stop),
        "online-dpo" => OnlineDpo.Run(config, to, answers => [.. answers.Select(Judge)], report, stop: stop),
        "rejection" => Rejection.Run(config, to, answers => [.. answers.Select(Judge)], report, stop: stop),
        _ => Lect.Alignment.Run(config, to, report, stop: stop),
    };

    [Theory]
    [InlineData("sft", false)]
    [InlineData("sft", true)]
    [InlineData("reward", false)]
    [InlineData("reward", true)]
    [InlineData("dpo", false)]
    [InlineData("dpo", true)]
    [InlineData("ppo", false)]
    [InlineData("ppo", true)]
    [InlineData("grpo", false)]
    [InlineData("online-dpo", true)]
    [InlineData("rejection", false)]
    public void A_run_that_was_stopped_anywhere_ends_in_the_same_weights_and_figures(string recipe, bool adapter)
    {
        var data = recipe switch { "sft" => Instructions(), "ppo" or "grpo" or "online-dpo" or "rejection" => Prompts(), _ => Comparisons() };
        var config = Config(recipe, data, 10) with { Lora = adapter ? new() { R = 2, TargetModules = ["all-linear"] } : null, Ppo = recipe == "ppo" ? new() { TargetKl = 0.1, KlHorizon = 100 } : new() };
        Run(config, At("whole"));
        foreach (var at in (long[])[3, 7])   // of the four steps of an iteration: in the middle of one, and of another
        {
            using var stop = new CancellationTokenSource();
            Assert.ThrowsAny<OperationCanceledException>(() => Run(RunFolder.IsOccupied(At("cut")) ? RunFolder.SettingsOf<AlignConfig>(At("cut"), []) : config, At("cut"), e => { if (e.Step == at) stop.Cancel(); }, stop.Token));
        }
        Run(RunFolder.SettingsOf<AlignConfig>(At("cut"), []), At("cut"));
        Assert.Equal(Hash(At("whole")), Hash(At("cut")));
        Assert.Equal(WithoutTime(At("whole")).Count, WithoutTime(At("cut")).Count);
        if (recipe is "sft" or "reward" or "dpo") Assert.Equal(WithoutTime(At("whole")), WithoutTime(At("cut")));
    }

    [Fact]
    public void Templates_that_name_the_day_name_the_day_on_which_the_run_began()
    {
        Write("dated.jinja", "{{ strftime_now('%d %b %Y') }}: {% for m in messages %}### {{ m.role }}: {{ m.content }}{% if m.role == 'assistant' %}{{ eos_token }}{% endif %}\n{% endfor %}{% if add_generation_prompt %}### assistant: {% endif %}");
        var config = Config("sft", Instructions(), 6);
        AlignConfig On(string? day) => config with { Model = config.Model with { Template = At("dated.jinja"), Date = day } };
        Run(On("2020-01-02"), At("whole"));
        Run(On("2021-11-30"), At("other"));
        using var stop = new CancellationTokenSource();
        Assert.ThrowsAny<OperationCanceledException>(() => Run(On("2020-01-02"), At("cut"), e => { if (e.Step == 3) stop.Cancel(); }, stop.Token));
        Run(RunFolder.SettingsOf<AlignConfig>(At("cut"), []), At("cut"));   // today
        Assert.Equal(Hash(At("whole")), Hash(At("cut")));
        Assert.NotEqual(Hash(At("whole")), Hash(At("other")));
        Assert.Equal(DateTime.Now.Year, DateTime.Parse(On(null).HereAndNow().Model.Date!, System.Globalization.CultureInfo.InvariantCulture).Year);
        Assert.Contains("model.date", Assert.Throws<InvalidDataException>(() => On("yesterday").Validate()).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Ties_teach_dpo_nothing_and_validate_no_reward_model()
    {
        var ties = Write("ties.jsonl", Enumerable.Range(0, 8).Select(i => new JsonObject { ["prompt"] = $"what is a {s_things[i]}?", ["chosen"] = "yes.", ["rejected"] = "no.", ["tie"] = true }.ToJsonString()));
        var told = new List<string>();
        var config = Config("dpo", ties, 2) with { Data = new() { Path = ties, Validation = 0 } };
        var refusal = Assert.Throws<InvalidDataException>(() => Dpo.Run(config, At("dpo"), note: told.Add));
        Assert.Contains("no examples", refusal.Message, StringComparison.Ordinal);
        Assert.Contains(told, t => t.Contains("8 that are ties", StringComparison.Ordinal));
        Run(Config("reward", ties, 2) with { Data = new() { Path = Comparisons(), ValidationPath = ties } }, At("reward"));
        Assert.DoesNotContain(RunFolder.ReadMetrics(At("reward")), m => m["val_loss"] is not null);
    }

    [Fact]
    public void A_low_rank_change_with_magnitudes_learns_in_bf16()
    {
        Run(Config("sft", Instructions(), 2) with { Lora = new() { R = 2, Dora = true, TargetModules = ["q_proj", "v_proj"] }, Train = Config("sft", "", 2).Train with { Precision = "bf16" } }, At("run"));
        Assert.All(RunFolder.ReadMetrics(At("run")).Where(m => m["loss"] is not null), m => Assert.True(double.IsFinite((double)m["loss"]!)));
    }

    [Fact]
    public void What_is_trained_on_is_measured_before_the_first_step()
    {
        Run(Config("sft", Instructions(), 5), At("run"));
        var first = RunFolder.ReadMetrics(At("run")).First();
        Assert.Equal(0, (long)first["step"]!);
        Assert.True((double)first["val_loss"]! > (double)RunFolder.ReadMetrics(At("run")).Last(m => m["val_loss"] is not null)["val_loss"]!);
        Assert.NotNull(first["sample"]);
    }

    [Fact]
    public void A_reward_model_reads_the_end_of_what_is_too_long()
    {
        Run(Config("reward", Comparisons(), 2), At("reward"));
        var told = new List<string>();
        var (reward, held) = Rewards.FromModel(At("reward"), note: told.Add);
        using (held)
        {
            using var scorer = RewardScorer.Load(At("reward"));
            JsonArray Prompt(int words) => [new JsonObject { ["role"] = "user", ["content"] = string.Join(' ', Enumerable.Repeat("cat", words)) }];
            SampledAnswer Answer(JsonArray prompt) => new(prompt, "a dog.", [], [], true, null);
            Assert.Single(reward([Answer(Prompt(3))]));
            Assert.Empty(told);
            Assert.Equal(reward([Answer(Prompt(300))])[0], reward([Answer(Prompt(400))])[0]);   // the same end
            Assert.Contains("64 tokens", Assert.Single(told), StringComparison.Ordinal);
            Assert.Equal(0, scorer.Best(Prompt(300), ["a dog.", "a dog."]).Index);
        }
    }

    [Theory]
    [InlineData(100, 20)]   // the prompt is too long: its beginning goes
    [InlineData(10, 100)]   // the answer alone is: its end goes, and all of the prompt
    public void An_encoder_reads_the_ends_of_prompts_and_the_beginnings_of_answers(int prompt, int answer)
    {
        using var encoder = RewardNetwork.Load(Fixtures.Path_("hf", "bert-regression"), TorchSharp.torch.CPU, null, null);
        var most = (int)encoder.Classifier.ContextLength;
        // [CLS] prompt [SEP] answer [SEP], each token its own place.
        var length = prompt + answer + 3;
        var row = new AnswerRow([.. Enumerable.Range(0, length)], [.. Enumerable.Range(0, length).Select(i => i >= prompt + 2)]);
        var fitted = encoder.Fitted(row);
        var kept = Math.Max(0, most - answer - 3);   // of the prompt
        int[] expected = [0, .. Enumerable.Range(1 + prompt - kept, kept + 1), .. Enumerable.Range(prompt + 2, Math.Min(answer, most - 3)), length - 1];
        Assert.Equal(expected, fitted.Ids);
        Assert.Equal(expected.Select(i => i >= prompt + 2), fitted.Counts);
    }

    [Fact]
    public void A_reward_program_that_does_not_read_is_not_waited_for()
    {
        var (reward, held) = Rewards.FromProgram(OperatingSystem.IsWindows() ? "ping -n 60 127.0.0.1 > nul" : "sleep 60", seconds: 1);
        using (held)
        {
            JsonArray prompt = [new JsonObject { ["role"] = "user", ["content"] = new string('x', 1 << 20) }];   // more than a pipe holds
            Assert.Contains("no line in 1 seconds", Assert.Throws<InvalidDataException>(() => reward([new(prompt, "answer", [], [], true, null)])).Message, StringComparison.Ordinal);
        }
    }

    [Fact]
    public void A_section_that_may_be_absent_is_absent_where_the_command_line_says_null()
    {
        Write("run.yaml", "recipe: sft\nlora: { r: 16 }\nsft: { packing: true }\n");
        var read = RunFile.Load<AlignConfig>(At("run.yaml"), ["lora=null", "sft=null"]);
        Assert.Null(read.Lora);
        Assert.Equal(new SftSection(), read.Sft);
    }

    [Fact]
    public void An_adapter_comes_out_of_the_weights_again()
    {
        Run(Config("sft", Instructions(), 20) with { Lora = new() { R = 4, TargetModules = ["all-linear"] } }, At("lora"));
        using CausalLanguageModel plain = ModelFolder.Load(Base()), model = ModelFolder.Load(Base());
        Lora.Merge(model, At("lora"));
        double Apart() { using var scope = TorchSharp.torch.NewDisposeScope(); using var noGrad = TorchSharp.torch.no_grad(); return plain.parameters().Zip(model.parameters(), (p, q) => (double)(p - q).abs().max().item<float>()).Max(); }
        Assert.True(Apart() > 1e-3);
        Lora.Unmerge(model, At("lora"));
        Assert.True(Apart() < 1e-6, $"{Apart()}");
    }

    [Fact]
    public void A_pass_over_prompts_counts_the_steps_of_its_short_last_iteration()
    {
        var prompts = Write("ten.jsonl", Enumerable.Range(0, 10).Select(i => new JsonObject { ["prompt"] = $"what is a {s_things[i % 8]}?" }.ToJsonString()));
        var config = Config("ppo", prompts, 0);
        Run(config with { Data = new() { Path = prompts, ValidationPath = prompts }, Rollout = config.Rollout with { Batch = 8 }, Train = config.Train with { Steps = null, Epochs = 1, BatchSize = 4 } }, At("run"));
        Assert.Equal(2 * (8 / 4) + 2 * 1, RunFolder.SettingsOf<AlignConfig>(At("run"), []).Train.Steps);   // eight answers, then two, twice each
    }

    [Fact]
    public void Instructions_are_learned_and_the_folder_talks()
    {
        foreach (var packing in (bool[])[false, true])
        {
            var to = At($"sft-{packing}");
            Run(Config("sft", Instructions(), 150) with { Sft = new() { Packing = packing }, Data = new() { Path = Instructions(), ValidationPath = Instructions() }, Train = Config("sft", "", 150).Train with { Lr = 1e-2, EvalEvery = 10, CheckpointEvery = 0 } }, to);
            var losses = RunFolder.ReadMetrics(to).Where(m => m["val_loss"] is not null).Select(m => (double)m["val_loss"]!).ToList();
            Assert.True(losses[^1] < losses[0] / 3, $"{losses[0]} to {losses[^1]}");
            using var model = LanguageModel.Load(to);
            var ids = model.Encode(new JsonArray(new JsonObject { ["role"] = "user", ["content"] = "what is a cat?" }));
            Assert.Equal("a sea.", model.Generate(ids).Text.Trim());
            Assert.Equal("stop", model.Generate(ids).FinishReason);
        }
    }

    [Fact]
    public void An_adapter_is_learned_saved_and_merged()
    {
        var to = At("lora");
        Run(Config("sft", Instructions(), 60) with { Lora = new() { R = 8, Alpha = 32, TargetModules = ["all-linear"] }, Data = new() { Path = Instructions(), ValidationPath = Instructions() }, Train = Config("sft", "", 60).Train with { Lr = 1e-2 } }, to);
        Assert.True(File.Exists(Path.Combine(to, "adapter_model.safetensors")) && !File.Exists(Path.Combine(to, "model.safetensors")));
        using LanguageModel plain = LanguageModel.Load(Base()), adapted = LanguageModel.Load(Base(), adapters: [to]);
        JsonArray prompt = [new JsonObject { ["role"] = "user", ["content"] = "what is a cat?" }];
        var asked = adapted.Encode(prompt);
        double Answer(LanguageModel model) => model.Score([.. asked, .. adapted.Encode("a sea.")]).LogProbs.Skip(asked.Length).Sum(p => p!.Value);
        Assert.True(Answer(adapted) > Answer(plain) + 1, $"{Answer(adapted)} and {Answer(plain)}");
    }

    [Fact]
    public void A_reward_model_learns_which_answers_are_preferred()
    {
        Run(Config("reward", Comparisons(), 40), At("reward"));
        var last = RunFolder.ReadMetrics(At("reward")).Last(m => m["val_accuracy"] is not null);
        Assert.Equal(1, (double)last["val_accuracy"]!, 6);
        using var scorer = RewardScorer.Load(At("reward"));
        JsonArray prompt = [new JsonObject { ["role"] = "user", ["content"] = "what is a cat?" }];
        Assert.True(scorer.Score([scorer.Encode(prompt, "yes sea.")])[0] > scorer.Score([scorer.Encode(prompt, "no sea.")])[0]);
        var told = new List<string>();
        var found = scorer.Evaluate([new(prompt, "yes sea.", "no sun."), new(prompt, "same", "same"), new(prompt, new string('z', 200), "b")], told.Add);
        Assert.Equal((1, 1.0), (found.Count, found.Accuracy));
        Assert.Contains("1 whose two answers are the same, 1 longer than 64 tokens", Assert.Single(told), StringComparison.Ordinal);

        // Two models: the mean of their rewards.
        Run(Config("reward", Comparisons(), 5) with { Seed = 2 }, At("other"));
        using var other = RewardScorer.Load(At("other"));
        Comparison[] asked = [new(prompt, "yes sea.", "no sun."), new(prompt, "yes cat.", "no cat.")];
        RewardScorer[] both = [scorer, other];
        Assert.Equal(both.Average(s => s.Evaluate(asked).Margin), RewardScorer.Evaluate(both, asked).Margin, 1e-6);
        Assert.True(other.Evaluate(asked).Margin < RewardScorer.Evaluate(both, asked).Margin);   // it has learned for five steps instead of forty
    }

    [Fact]
    public void An_encoder_learns_which_answers_are_preferred()
    {
        var vocabulary = Write("words.txt", ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "what", "is", "a", "yes", "no", "?", ".", .. s_things]);
        Directory.CreateDirectory(At("bert"));
        File.Copy(vocabulary, At("bert", "vocab.txt"));
        using (var model = ModelFolder.CreateEncoder(new() { ["model_type"] = "bert", ["hidden_size"] = 32, ["num_hidden_layers"] = 2, ["num_attention_heads"] = 2, ["intermediate_size"] = 64, ["max_position_embeddings"] = 64, ["vocab_size"] = 20, ["pad_token_id"] = 0 }, EncoderHead.ForMaskedLM))
        {
            model.Initialize(1);
            ModelFolder.Save(model, At("bert"));
        }
        var config = Config("reward", Comparisons(), 40) with { Model = new() { Path = At("bert") } };
        Run(config, At("reward"));
        using var scorer = RewardScorer.Load(At("reward"));
        JsonArray prompt = [new JsonObject { ["role"] = "user", ["content"] = "what is a cat?" }];
        var row = scorer.Encode(prompt, "yes sea.");
        Assert.Equal([2, 5, 6, 7, 12, 10, 3, 8, 15, 11, 3], row.Ids);   // [CLS] what is a cat ? [SEP] yes sea . [SEP]
        Assert.Equal(4, row.Counts.Count(c => c));                      // the second text
        Assert.Equal(1, scorer.Best(prompt, ["no sea.", "yes sea.", "no sun."]).Index);
        Assert.Equal(1, scorer.Evaluate([new(prompt, "yes sea.", "no sun.")]).Accuracy);
        Assert.Contains("lora", Assert.Throws<InvalidDataException>(() => Run(config with { Lora = new() }, At("lora"))).Message, StringComparison.Ordinal);
        Assert.Contains("without a score", Assert.Throws<InvalidDataException>(() => RewardScorer.Load(At("bert"))).Message, StringComparison.Ordinal);
        Assert.Equal(2, Lect.Alignment.Run(Config("ppo", Prompts(), 2) with { Model = new() { Path = Base(), Reward = [At("reward")] } }, At("judged")).Step);
    }

    [Fact]
    public void A_judge_that_training_does_not_listen_to_shows_what_a_divergence_buys()
    {
        Run(Config("reward", Comparisons(), 10), At("judge"));
        foreach (var recipe in (string[])["ppo", "grpo", "online-dpo", "rejection"])
        {
            var config = Config(recipe, Prompts(), 10);
            Run(config with { Model = config.Model with { Judge = [At("judge")] }, Grpo = config.Grpo with { Beta = recipe == "grpo" ? 0 : config.Grpo.Beta } }, At(recipe));
            var told = RunFolder.ReadMetrics(At(recipe)).Where(m => m["eval/judge_reward"] is not null).ToList();
            Assert.NotEmpty(told);
            Assert.All(told, m => Assert.True(double.IsFinite((double)m["eval/kl"]!)));
            Assert.NotEqual((double)told[0]["eval/reward"]!, (double)told[0]["eval/judge_reward"]!);
        }
    }

    [Fact]
    public void An_adapter_becomes_a_folder_that_answers_as_both_together()
    {
        Run(Config("sft", Instructions(), 20) with { Lora = new() { R = 4, TargetModules = ["all-linear"] } }, At("lora"));
        ModelConversion.Run(Base(), At("merged"), adapters: [At("lora")]);
        using LanguageModel both = LanguageModel.Load(Base(), adapters: [At("lora")]), merged = LanguageModel.Load(At("merged"));
        JsonArray prompt = [new JsonObject { ["role"] = "user", ["content"] = "what is a cat?" }];
        Assert.Equal(both.Encode(prompt), merged.Encode(prompt));
        Assert.Equal(both.Score(both.Encode(prompt)).LogProbs, merged.Score(merged.Encode(prompt)).LogProbs);
        Assert.Equal(2, Run(Config("dpo", Comparisons(), 2) with { Model = new() { Path = At("merged") } }, At("next")).Step);
        Run(Config("reward", Comparisons(), 4) with { Lora = new() { R = 2 } }, At("reward-lora"));
        ModelConversion.Run(Base(), At("reward"), adapters: [At("reward-lora")]);
        using RewardScorer whole = RewardScorer.Load(At("reward")), stacked = RewardScorer.Load(Base(), adapters: [At("reward-lora")]);
        Assert.Equal(stacked.Score([stacked.Encode(prompt, "yes")]), whole.Score([whole.Encode(prompt, "yes")]));
    }

    public static TheoryData<string> Losses { get; } = [.. PreferenceLoss.Kinds, "kto", "apo_zero_unpaired"];

    [Theory]
    [MemberData(nameof(Losses))]
    public void Each_loss_of_preferences_raises_the_chosen_above_the_rejected(string loss)
    {
        var config = Config("dpo", Comparisons(), 12) with { Dpo = new() { Loss = loss, LabelSmoothing = loss is "exo_pair" or "conservative" or "robust" ? 0.1 : 0 } };
        Run(config, At("dpo"));
        var figures = RunFolder.ReadMetrics(At("dpo")).Where(m => m["eval_rewards/chosen"] is not null && (long)m["step"]! > 0).ToList();   // discopop goes the wrong way at first
        double Margin(JsonObject m) => (double)m["eval_rewards/chosen"]! - (double)m["eval_rewards/rejected"]!;
        if (loss == "sft") Assert.True((double)figures[^1]["val_loss"]! < (double)figures[0]["val_loss"]!);
        else Assert.True(Margin(figures[^1]) > Margin(figures[0]), $"{Margin(figures[0])} to {Margin(figures[^1])}");
    }

    [Theory]
    [InlineData("ppo")]
    [InlineData("grpo")]
    [InlineData("online-dpo")]
    [InlineData("rejection")]
    public void A_known_optimum_is_reached(string recipe)
    {
        // A bandit: 1 for an answer that begins with one of the letters a to h.
        var config = Config(recipe, Prompts(), 160) with { Ppo = recipe == "ppo" ? new() { KlCoef = 0, VfCoef = 0.5 } : new(), Grpo = recipe == "grpo" ? new() { Generations = 4, Beta = 0 } : new(), Rollout = new() { Batch = 32, MaxNewTokens = 2, Epochs = 2, MissingEosPenalty = 0 }, Train = Config(recipe, "", 160).Train with { EvalEvery = 20, CheckpointEvery = 0 } };
        Run(config, At(recipe));
        var rewards = RunFolder.ReadMetrics(At(recipe)).Where(m => m["eval/reward"] is not null).Select(m => (double)m["eval/reward"]!).ToList();
        Assert.True(rewards.Max() >= 0.95, string.Join(" ", rewards));
    }

    [Fact]
    public void Answers_that_no_reward_tells_apart_teach_online_dpo_nothing()
    {
        var config = Config("online-dpo", Prompts(), 4);
        List<JsonObject> Steps(string name, RewardFunction reward)
        {
            OnlineDpo.Run(config with { Rollout = config.Rollout with { MissingEosPenalty = 0 }, Train = config.Train with { BatchSize = 4, EvalEvery = 0 } }, At(name), reward);
            return [.. RunFolder.ReadMetrics(At(name))];
        }
        Assert.All(Steps("alike", answers => [.. answers.Select(_ => 1.0)]), m => Assert.Equal((0, 1), ((double)m["grad_norm"]!, (double?)m["frac_reward_zero_std"] ?? 1)));
        // The answers to one prompt in two differ: pairs come from these alone.
        Assert.All(Steps("some", answers => [.. answers.Select((_, i) => i / 4 % 2 == 0 ? i % 4 : 1.0)]), m => Assert.True((double)m["grad_norm"]! > 0 && ((double?)m["frac_reward_zero_std"] ?? 0.5) == 0.5));
    }

    [Fact]
    public void Rewards_come_from_programs_and_models_and_a_program_that_dies_is_named()
    {
        var program = OperatingSystem.IsWindows() ? "" : "while read line; do case \"$line\" in *'\"response\":\"a'*) echo 1;; *) echo 0.25;; esac; done";
        Assert.SkipWhen(program.Length == 0, "needs a POSIX shell");
        var (reward, process) = Rewards.FromProgram(program);
        SampledAnswer Answer(string text) => new([new JsonObject { ["role"] = "user", ["content"] = "q" }], text, [1], [true], true, null);
        using (process) Assert.Equal([1, 0.25], reward([Answer("a b"), Answer("b")]));
        foreach (var (command, says) in (ReadOnlySpan<(string, string)>)[("exit 3", "ended"), ("while read line; do echo good; done", "'good'"), ("while read line; do echo NaN; done", "'NaN'"), ("sleep 30", "flushed")])
        {
            var (bad, held) = Rewards.FromProgram(command, seconds: 2);
            using (held) Assert.Contains(says, Assert.Throws<InvalidDataException>(() => bad([Answer("a")])).Message, StringComparison.Ordinal);
        }
        Run(Config("reward", Comparisons(), 10), At("judge"));
        Assert.True(Lect.Alignment.Run(Config("grpo", Prompts(), 4) with { Model = new() { Path = Base(), Reward = [At("judge"), At("judge")] } }, At("judged")).Step == 4);
    }

    [Fact]
    public void A_policy_that_runs_away_stops_with_its_checkpoints()
    {
        var config = Config("ppo", Prompts(), 40) with { Ppo = new() { KlCoef = 0, MaxKl = 0.5 }, Train = Config("ppo", "", 40).Train with { Lr = 5e-2, CheckpointEvery = 1 } };
        Assert.Contains("ppo.kl_coef", Assert.Throws<ArithmeticException>(() => Run(config, At("away"))).Message, StringComparison.Ordinal);
        Assert.NotEmpty(Directory.GetDirectories(At("away", "checkpoints")));
    }

    [Fact]
    public void What_cannot_be_learned_from_is_left_out_and_counted()
    {
        var notes = new List<string>();
        var data = Write("odd.jsonl", [.. File.ReadLines(Comparisons()), """{"prompt": "x", "chosen": "same", "rejected": "same"}""", """{"prompt": "x", "chosen": "", "rejected": "b"}""", $$"""{"prompt": "{{new string('z', 300)}}", "chosen": "a", "rejected": "b"}"""]);
        Lect.Alignment.Run(Config("reward", data, 2), At("odd"), note: notes.Add);
        var told = Assert.Single(notes, n => n.StartsWith("left out", StringComparison.Ordinal));
        Assert.Contains("1 whose two answers are the same", told, StringComparison.Ordinal);
        Assert.Contains("1 with an empty answer", told, StringComparison.Ordinal);
        Assert.Contains("1 longer than 60 tokens", told, StringComparison.Ordinal);
    }

    [Fact]
    public void Run_files_that_cannot_be_honoured_name_every_fault()
    {
        void Refused(AlignConfig config, params ReadOnlySpan<string> says)
        {
            var message = Assert.Throws<InvalidDataException>(() => Lect.Alignment.Run(config, At("bad"))).Message;
            foreach (var part in says) Assert.Contains(part, message, StringComparison.Ordinal);
        }
        Refused(new() { Recipe = "sft" }, "model.path");
        Refused(Config("dpo", Comparisons(), 2) with { Dpo = new() { Loss = "dpoo", Beta = 0 } }, "dpo.loss = 'dpoo'", "dpo.beta = 0");
        Refused(Config("sft", Instructions(), 2) with { Ppo = new() { KlCoef = 1 }, Model = new() { Path = Base(), Reward = ["x"] } }, "ppo: lect align sft does not read", "model.reward");
        Refused(Config("dpo", Comparisons(), 2) with { Dpo = new() { LabelSmoothing = 0.1, Gamma = 1, DesirableWeight = 2 } }, "dpo.label_smoothing", "dpo.gamma", "dpo.desirable_weight");
        Refused(Config("dpo", Comparisons(), 2) with { Dpo = new() { Loss = "kto" }, Train = Config("dpo", "", 2).Train with { BatchSize = 1, MicroBatchSize = 1 } }, "train.micro_batch_size", "train.batch_size = 1");
        Refused(Config("online-dpo", Prompts(), 2) with { Dpo = new() { Loss = "kto" }, OnlineDpo = new() { Generations = 1 } }, "online_dpo.generations = 1", "dpo.loss = 'kto'");
        Refused(Config("sft", Instructions(), 2) with { Model = new() { Path = Base(), Template = "chatml" } }, "<|im_end|>");
        Refused(Config("sft", Instructions(), 2) with { Lora = new() { ModulesToSave = ["lm_head"] } }, "lm_head");
        Refused(Config("ppo", Prompts(), 2), "model.reward");
        Refused(Config("grpo", Prompts(), 2) with { Rollout = new() { Batch = 20 } }, "train.batch_size = 8");
        Refused(Config("sft", Comparisons(), 2) with { Data = new() { Path = Write("none.jsonl", ["""{"a": 1}"""]) } }, "columns a");
        Refused(Config("sft", Instructions(), 2) with { Train = Config("sft", "", 2).Train with { MaxLength = 100 } }, "train.max_length = 100");
        Refused(Config("sft", Instructions(), 2) with { Lora = new() { TargetModules = ["qq_proj"] } }, "qq_proj", "q_proj");
        Refused(Config("ppo", Prompts(), 2) with { Model = new() { Path = Base(), Reward = [Base()] } }, "score");
    }

    public static TheoryData<string> Presets { get; } = [.. Directory.EnumerateFiles(Path.Combine(Fixtures.Root, "configs", "alignment"), "*.yaml").Select(f => Path.GetFileName(f)!).Where(f => f != "sdk-base.yaml").Order(StringComparer.Ordinal)];

    [Theory]
    [MemberData(nameof(Presets))]
    public void A_shrunken_copy_of_each_preset_runs(string preset)
    {
        var recipe = RunFile.Load<AlignConfig>(Path.Combine(Fixtures.Root, "configs", "alignment", preset)).Recipe!;
        var data = recipe switch { "sft" => Instructions(), "ppo" or "grpo" or "online-dpo" or "rejection" => Prompts(), _ => Comparisons() };
        var sets = new List<string> { $"model.path={Base()}", $"data.path={data}", "train.steps=2", "train.max_length=60", "train.eval_examples=4" };
        if (recipe is "ppo" or "grpo" or "online-dpo" or "rejection") sets.AddRange(["rollout.max_new_tokens=4", "rollout.batch=32", $"train.batch_size={(recipe is "rejection" or "online-dpo" ? 4 : 16)}"]);
        Assert.Equal(2, Run(RunFile.Load<AlignConfig>(Path.Combine(Fixtures.Root, "configs", "alignment", preset), sets), At("preset")).Step);
    }
}
