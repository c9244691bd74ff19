using System.CommandLine;

namespace Lect;

/// <summary>lect train and lect finetune: the verbs that train, one recipe each.</summary>
internal static class TrainCommands
{
    public static Command Create() => new("train", "Train a model from nothing, or go on with one")
    {
        Vectors<TrainWord2VecConfig>("word2vec", "Word vectors by CBOW or skip-gram. Example: lect train word2vec -c configs/embeddings/sdk-word2vec.yaml --out runs/words", TrainVectors.Run),
        Vectors<TrainGloveConfig>("glove", "Word vectors from counts of pairs. Example: lect train glove -c configs/embeddings/sdk-glove.yaml --out runs/glove", TrainVectors.Run),
        Recipe<TrainSeq2SeqConfig>("seq2seq", "A recurrent encoder-decoder, with or without attention. Example: lect train seq2seq -c configs/seq2seq/reverse.yaml --out runs/reverse", Pairs("seq2seq")),
        Recipe<TrainSeq2SeqConfig>("transformer", "The encoder-decoder Transformer. Example: lect train transformer -c configs/transformer/sdk-small.yaml --out runs/en-de", Pairs("transformer")),
        Recipe<PretrainBertConfig>("bert", "Masked pre-training of an encoder, with next sentences. Example: lect train bert -c configs/bert/sdk-small.yaml --out runs/bert", PretrainBert.Run),
        Recipe<PretrainGptConfig>("gpt", "Generative pre-training of a decoder. Example: lect train gpt -c configs/gpt/sdk-small.yaml --out runs/gpt", PretrainGpt.Run),
    };

    public static Command Finetune() => new("finetune", "Teach a pre-trained model a task")
    {
        Task("classify", "Labels or numbers of texts. Example: lect finetune classify -c configs/bert/sst2.yaml --set model.path=runs/bert data.path=train.tsv --out runs/sst2"),
        Task("pairs", "Labels or numbers of pairs of texts. Example: lect finetune pairs --set model.path=runs/bert data.path=train.jsonl --out runs/pairs"),
        Task("choice", "Which of several texts follows. Example: lect finetune choice --set model.path=runs/bert data.path=swag.csv --out runs/swag"),
        Task("qa", "Answers in texts. Example: lect finetune qa --set model.path=runs/bert data.path=train-v1.1.json data.validation_path=dev-v1.1.json --out runs/squad"),
        Task("tag", "Tags of words. Example: lect finetune tag --set model.path=runs/bert data.path=train.conll --out runs/ner"),
        Gpt1(),
    };

    public static Command Align() => new("align", "Turn a language model into an assistant: instructions, comparisons, reinforcement")
    {
        Step("sft", "Step 2: learn to answer from instructions. Example: lect align sft -c configs/alignment/sdk-sft.yaml --set model.path=runs/gpt --out runs/sft"),
        Step("reward", "Step 3a: one number a text, learned from comparisons. Example: lect align reward -c configs/alignment/sdk-reward.yaml --set model.path=runs/sft --out runs/reward"),
        Step("dpo", "Preferences without a reward model: DPO and its kin, KTO, ORPO, SimPO. Example: lect align dpo -c configs/alignment/sdk-dpo.yaml --set model.path=runs/sft --out runs/dpo"),
        Step("ppo", "Step 3b: reinforcement against a reward. Example: lect align ppo -c configs/alignment/sdk-ppo.yaml --set model.path=runs/sft model.reward=runs/reward --out runs/ppo"),
        Step("online-dpo", "DPO of the best and the worst of the model's own answers, as a reward sees them. Example: lect align online-dpo -c configs/alignment/sdk-online-dpo.yaml --set model.path=runs/sft model.reward=runs/reward --out runs/online-dpo"),
        Step("rejection", "Rejection sampling: the best of several answers is learned as in sft. Example: lect align rejection -c configs/alignment/sdk-rejection.yaml --set model.path=runs/sft model.reward=runs/reward --out runs/rejection"),
        Step("grpo", "Reinforcement by comparing the answers of a group. Example: lect align grpo -c configs/alignment/sdk-grpo.yaml --set model.path=runs/sft model.reward=runs/reward --out runs/grpo"),
    };

    private static Command Step(string kind, string description) => Recipe<AlignConfig>(kind, description + ". Without data: questions about the libraries of the .NET SDK", (_, config, folder, report, note, stop) =>
    {
        var state = Alignment.Run(Named(config, config.Recipe, kind, "align", c => c with { Recipe = kind }), folder, report, note, stop);
        var adapter = config.Lora is null ? "" : $"--model {config.Model.Path} --adapter ";
        return $"done: {state.Step} steps, {state.Tokens:N0} tokens; {(config.Lora is null ? "model" : "adapter")} in {folder}\nNext: lect {(kind == "reward" ? $"evaluate reward {(adapter.Length > 0 ? adapter : "--model ")}{folder} --file comparisons.jsonl" : $"chat {(adapter.Length > 0 ? adapter : "--model ")}{folder}")}";
    });

    private static Command Gpt1()
    {
        var task = new Option<string?>("--task") { Description = $"The transformation of the input: {string.Join(", ", FinetuneGpt1.Tasks)} (gpt1.task)" };
        var command = Task("gpt1", "GPT-1's fine-tuning by input transformation, with its language model's loss beside the task's. Example: lect finetune gpt1 --task entail --set model.path=runs/gpt1 data.path=train.tsv data.task=rte --out runs/rte", (parsed, config, begun) => parsed.GetValue(task) is { } named ? begun && named != config.Gpt1.Task ? throw new InvalidDataException($"Found --task {named} for a run of --task {config.Gpt1.Task}. Expected the same with --resume.") : config with { Gpt1 = config.Gpt1 with { Task = named } } : config);
        command.Add(task);
        return command;
    }

    private static Command Task(string kind, string description, Func<ParseResult, FinetuneConfig, bool, FinetuneConfig>? change = null)
    {
        var seeds = new Option<int?>("--seeds") { Description = "So many runs that differ in their seeds alone, in folders seed-N: mean and deviation of their figures (the run file's seeds)" };
        var command = Recipe<FinetuneConfig>(kind, description + ". Without data: examples of the SDK's documentation", (parsed, config, folder, report, note, stop) =>
        {
            config = Named(config, config.Recipe, kind, "finetune", c => c with { Recipe = kind });
            config = change?.Invoke(parsed, config, parsed.GetValue<bool>("--resume")) ?? config;
            config = config with { Seeds = parsed.GetValue(seeds) ?? config.Seeds };
            if (config.Seeds == 1)
            {
                Lect.Finetune.Run(config, folder, report, note, stop);
                return $"done: model in {folder}\nNext: lect {s_next[kind == "gpt1" ? config.Gpt1.Task : kind]} --model {folder} …";
            }
            var summary = Lect.Finetune.RunSeeds(config, folder, report, note, stop);
            return $"done: {config.Seeds} seeds, best evaluation of each: " + string.Join("  ", summary.Where(f => !f.Name.StartsWith("last/", StringComparison.Ordinal)).Select(f => FormattableString.Invariant($"{f.Name} {f.Mean:0.0000} ± {f.Deviation:0.0000}"))) + $"\nAll of them: {Path.Combine(folder, "seeds.json")}";
        });
        command.Add(seeds);
        return command;
    }

    private static readonly Dictionary<string, string> s_next = new(StringComparer.Ordinal) { ["classify"] = "classify", ["pairs"] = "classify", ["entail"] = "classify", ["similarity"] = "classify", ["choice"] = "choose", ["qa"] = "answer", ["tag"] = "tag" };

    private static T Named<T>(T config, string? found, string recipe, string verb, Func<T, T> name) => found is null or "" || found == recipe ? name(config)
        : throw new InvalidDataException($"The run file cannot be honoured: recipe = '{found}': this file is for another verb than lect {verb} {recipe}.");

    /// <summary>Runs a recipe in a folder: settings, folder, what to tell of metrics and of the rest, when to stop.</summary>
    private delegate RunState Runner<TConfig>(TConfig config, string folder, Action<TrainEvent>? report, Action<string>? note, CancellationToken stop);

    private static Command Recipe<TConfig>(string name, string description, Runner<TConfig> run) where TConfig : IRecipeConfig, new() =>
        Recipe<TConfig>(name, description, (_, config, folder, report, note, stop) => Summary(run(config, folder, report, note, stop), folder, name));

    private static Command Recipe<TConfig>(string name, string description, Func<ParseResult, TConfig, string, Action<TrainEvent>?, Action<string>?, CancellationToken, string> run) where TConfig : IRecipeConfig, new()
    {
        var (config, output, sets, json) = Options();
        var resume = new Option<bool>("--resume") { Description = "Go on with the run in --out from its last checkpoint, with its own settings (run.yaml; -c counts only where there is none yet)" };
        var command = new Command(name, description) { config, output, sets, resume, json };
        command.SetAction(int (parsed) =>
        {
            var folder = parsed.GetValue(output)!;
            var settings = Settings<TConfig>(parsed.GetValue(config), folder, parsed.GetValue(sets) ?? [], parsed.GetValue(resume));
            using var stop = new StopSignals();
            using var progress = new Progress();
            Action<string>? note = Processes.IsFirst ? progress.Note : null;   // of several processes (mpirun) one speaks
            var done = run(parsed, settings, folder, Processes.IsFirst ? Report(progress, parsed.GetValue(json)) : null, note, stop.Token);
            note?.Invoke(done);
            return 0;
        });
        return command;
    }

    private static Runner<TrainSeq2SeqConfig> Pairs(string recipe) => (config, folder, report, note, stop) => TrainSeq2Seq.Run(Named(config, config.Recipe, recipe, "train", c => c with { Recipe = recipe }), folder, report, note, stop);

    /// <summary>Trains word vectors, which cannot be resumed.</summary>
    private delegate void VectorRunner<TConfig>(TConfig config, string folder, Action<TrainEvent>? report, Action<string>? note, CancellationToken stop);

    private static Command Vectors<TConfig>(string name, string description, VectorRunner<TConfig> run) where TConfig : new()
    {
        var (config, output, sets, json) = Options();
        var command = new Command(name, description) { config, output, sets, json };
        command.SetAction(int (parsed) =>
        {
            var folder = parsed.GetValue(output)!;
            Processes.RequireOne("word vectors are learned by threads (train's --set word2vec.threads, glove.threads)");
            var settings = RunFile.Load<TConfig>(Screen.ConfigFile(parsed.GetValue(config)), parsed.GetValue(sets) ?? []);
            using var stop = new StopSignals("stopping; vectors that are being learned are written as they are");
            using var progress = new Progress();
            run(settings, folder, Report(progress, parsed.GetValue(json)), progress.Note, stop.Token);
            progress.Note($"done: vectors in {folder}\nNext: lect nearest --vectors {folder} WORD");
            return 0;
        });
        return command;
    }

    private static (Option<string> Config, Option<string> Out, Option<string[]> Sets, Option<bool> Json) Options() => (
        new("--config", "-c") { Description = "Run file (YAML; its keys: docs/run-files.md); without one every key has its default" },
        new("--out") { Description = "Folder of the run", Required = true },
        Screen.Sets(),
        new("--json") { Description = "Lines of metrics on standard output" });

    private static Action<TrainEvent> Report(Progress progress, bool json) => e =>
    {
        if (json) Console.Out.WriteLine(Screen.OneLine(e.Metrics));
        progress.Show(e);
    };

    private static TConfig Settings<TConfig>(string? config, string folder, string[] sets, bool resume) where TConfig : IRecipeConfig, new()
    {
        if (!resume) return RunFolder.IsOccupied(folder) ? throw RunFolder.Occupied(folder) : RunFile.Load<TConfig>(Screen.ConfigFile(config), sets);
        if (config is not null && Screen.ConfigFile(config) is var file && !File.Exists(file)) throw new InvalidDataException($"Found no run file {config}. Expected none with --resume: the run's own settings are in {folder}.");
        return (RunFolder.IsAt(folder) && Processes.IsFirst) || config is null ? RunFolder.SettingsOf<TConfig>(folder, sets) : RunFile.Load<TConfig>(Screen.ConfigFile(config), sets);
    }

    private static string Summary(RunState state, string folder, string recipe) => $"done: {state.Step} steps, {state.Tokens:N0} tokens; "
        + (state.BestStep >= 0 ? FormattableString.Invariant($"best validation {(double.IsNegative(state.Best) ? $"BLEU {-state.Best:0.00}" : $"loss {state.Best:0.0000}")} at step {state.BestStep}; ") : "") + $"model in {folder}\nNext: " + recipe switch { "gpt" => $"lect generate --model {folder} --temperature 0.8 \"The \"", "bert" => $"lect fill-mask --model {folder} \"returns the [MASK] of items\"", _ => $"lect translate --model {folder} TEXT" };
}
