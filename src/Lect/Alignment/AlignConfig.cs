using System.Globalization;
using Lect.Models;
using Lect.Text;

namespace Lect;

/// <summary>The run file of <c>lect align</c>: the lecture's steps 2 and 3.</summary>
public sealed record AlignConfig : IRecipeConfig
{
    /// <summary>The steps, one verb each.</summary>
    public static IReadOnlyList<string> Kinds { get; } = ["sft", "reward", "dpo", "ppo", "grpo", "online-dpo", "rejection"];

    /// <summary>Which: <c>sft</c>, <c>reward</c>, <c>dpo</c>, <c>ppo</c>, <c>grpo</c>, <c>online-dpo</c> or <c>rejection</c>.</summary>
    public string? Recipe { get; init; }
    /// <summary>Key of all randomness: order, dropout, new weights, sampling. <value>1</value></summary>
    public long Seed { get; init; } = 1;
    /// <summary>Instructions, comparisons or prompts.</summary>
    public AlignDataConfig Data { get; init; } = new();
    /// <summary>Folders by their roles.</summary>
    public AlignModels Model { get; init; } = new();
    /// <summary>A low-rank adapter instead of all weights; absent: all weights.</summary>
    public LoraSection? Lora { get; init; }
    /// <summary>What is the instruction tuning's own.</summary>
    public SftSection Sft { get; init; } = new();
    /// <summary>What is the reward model's own.</summary>
    public RewardSection Reward { get; init; } = new();
    /// <summary>What is the preference losses' own.</summary>
    public DpoSection Dpo { get; init; } = new();
    /// <summary>What PPO, GRPO, online DPO and rejection sampling have in common: sampling, and where rewards come from.</summary>
    public RolloutSection Rollout { get; init; } = new();
    /// <summary>What is PPO's own.</summary>
    public PpoSection Ppo { get; init; } = new();
    /// <summary>What is GRPO's own.</summary>
    public GrpoSection Grpo { get; init; } = new();
    /// <summary>What is online DPO's own, beside the preference losses'.</summary>
    public OnlineDpoSection OnlineDpo { get; init; } = new();
    /// <summary>What is rejection sampling's own.</summary>
    public RejectionSection Rejection { get; init; } = new();
    /// <summary>The loop.</summary>
    public AlignTrain Train { get; init; } = new();

    LoopConfig IRecipeConfig.Loop => Train;

    internal bool Samples => Recipe is "ppo" or "grpo" or "online-dpo" or "rejection";

    internal bool Prefers => Recipe is "dpo" or "online-dpo";

    // Answers of a prompt, and how many of them are learned from.
    internal (int Generations, int Learned) Group => Recipe switch { "grpo" => (Grpo.Generations, Grpo.Generations), "online-dpo" => (OnlineDpo.Generations, 1), "rejection" => (Rejection.Generations, 1), _ => (1, 1) };

    /// <summary>Checks everything that can be checked before data are read.</summary>
    /// <exception cref="InvalidDataException">All faults together.</exception>
    public AlignConfig Validate()
    {
        var faults = Train.Faults().Concat(Data.Faults()).ToList();
        if (!Kinds.Contains(Recipe)) faults.Add($"recipe = '{Recipe}': expected {string.Join(", ", Kinds)}");
        if (Model.Path is not { Length: > 0 }) faults.Add("model.path: found none, expected the folder of a model to go on from (--set model.path=runs/gpt)");
        if (Lora is { } lora) faults.AddRange(lora.Faults());
        foreach (var (name, isOwn, isDefault) in new[] { ("sft", Recipe == "sft", Sft == new SftSection()), ("reward", Recipe == "reward", Reward == new RewardSection()), ("dpo", Prefers, Dpo == new DpoSection()), ("rollout", Samples, Rollout == new RolloutSection()), ("ppo", Recipe == "ppo", Ppo == new PpoSection()), ("grpo", Recipe == "grpo", Grpo == new GrpoSection()), ("online_dpo", Recipe == "online-dpo", OnlineDpo == new OnlineDpoSection()), ("rejection", Recipe == "rejection", Rejection == new RejectionSection()) })
            if (!isOwn && !isDefault) faults.Add($"{name}: lect align {Recipe} does not read this section");
        faults.AddRange(Recipe switch { "sft" => Sft.Faults(), "reward" => Reward.Faults(), "dpo" => Dpo.Faults(Train.BatchSize, Train.MicroBatchSize), "ppo" => Rollout.Faults(this).Concat(Ppo.Faults()), "grpo" => Rollout.Faults(this).Concat(Grpo.Faults()), "online-dpo" => Rollout.Faults(this).Concat(Dpo.Faults(Train.BatchSize, null)).Concat(OnlineDpo.Faults(this)), "rejection" => Rollout.Faults(this).Concat(Rejection.Faults()), _ => [] });
        if (Model.Reference is not null && (Recipe is "sft" or "reward" || (Prefers && !Dpo.NeedsReference))) faults.Add("model.reference: this loss compares with none");
        foreach (var (name, folders) in new[] { ("reward", Model.Reward), ("judge", Model.Judge) })
            if (folders is { Length: 0 }) faults.Add($"model.{name}: found an empty list, expected folders of reward models");
        if (Model.Date is { } date && !DateTime.TryParseExact(date, AlignModels.Day, CultureInfo.InvariantCulture, DateTimeStyles.None, out _)) faults.Add($"model.date = '{date}': expected a day, such as 2026-11-27");
        if (Model.Value is not null && Recipe != "ppo") faults.Add("model.value: only lect align ppo has values");
        if ((Model.Reward ?? Model.Judge) is not null && !Samples) faults.Add("model.reward, model.judge: only lect align ppo, grpo, online-dpo and rejection ask for rewards");
        return faults.Count == 0 ? this : throw RunFile.Refused(faults);
    }

    /// <summary>Tokens of a text at most, of a model with so many positions.</summary>
    internal int Longest(long context) => Train.MaxLength > context ? throw new InvalidDataException($"Found train.max_length = {Train.MaxLength}. Expected at most {context}, the model's positions.") : Train.MaxLength ?? (int)Math.Min(256, context);

    /// <summary>What depends on where and when a run begins.</summary>
    internal AlignConfig HereAndNow() => this with
    {
        Model = Model with { Date = Model.Date ?? DateTime.Now.ToString(AlignModels.Day, CultureInfo.InvariantCulture), Path = RunFile.FullPath(Model.Path), Template = Model.Template is { } template && !ChatTemplate.BuiltIn.ContainsKey(template) ? RunFile.FullPath(template) : Model.Template, Reference = RunFile.FullPath(Model.Reference), Value = RunFile.FullPath(Model.Value), Reward = FullPaths(Model.Reward), Judge = FullPaths(Model.Judge) },
        Data = Data with { Path = RunFile.FullPath(Data.Path), ValidationPath = RunFile.FullPath(Data.ValidationPath) },
    };

    private static string[]? FullPaths(string[]? paths) => paths?.Select(p => RunFile.FullPath(p)!).ToArray();
}

/// <summary>The keys of <c>model</c> in alignment.</summary>
public sealed record AlignModels
{
    /// <summary>What is trained: the folder it begins as.</summary>
    public string? Path { get; init; }
    /// <summary>What it is compared with; absent: as it was at the beginning.</summary>
    public string? Reference { get; init; }
    /// <summary>Reward models; several are averaged.</summary>
    public string[]? Reward { get; init; }
    /// <summary>Reward models that training does not listen to: what they think of the answers is told at evaluations, and shows where the reward is over-optimized (Gao et al. 2023).</summary>
    public string[]? Judge { get; init; }
    /// <summary>A model of its own for values (a reward model's folder); absent: a head on the policy.</summary>
    public string? Value { get; init; }
    /// <summary>The chat template: a file, or <c>chatml</c>, <c>llama3</c>, <c>zephyr</c>, <c>plain</c>; absent: the model's own, else plain.</summary>
    public string? Template { get; init; }
    /// <summary>The day that templates write which name one (strftime_now), such as 2026-11-27, so that a run reads the same tokens however long it takes. <value>the day on which the run begins</value></summary>
    public string? Date { get; init; }

    internal DateTime? Now => Date is { } day ? DateTime.ParseExact(day, Day, CultureInfo.InvariantCulture) : null;

    internal const string Day = "yyyy-MM-dd";
}

/// <summary>The keys of <c>data</c> in alignment.</summary>
public sealed record AlignDataConfig
{
    /// <summary><c>sdk</c>: questions about the .NET libraries, unless <see cref="Path"/> is given.</summary>
    public string? Source { get; init; }
    /// <summary>A file, folder or glob.</summary>
    public string? Path { get; init; }
    /// <summary>What to validate on.</summary>
    public string? ValidationPath { get; init; }
    /// <summary>The share kept for validation, by the prompt's hash, where there is no <see cref="ValidationPath"/>. <value>0.05</value></summary>
    public double? Validation { get; init; }
    /// <summary>The format (an ending without dot) where the file's name does not tell.</summary>
    public string? Format { get; init; }
    /// <summary>Our names to the file's: <c>messages</c>, <c>prompt</c>, <c>completion</c>, <c>chosen</c>, <c>rejected</c>.</summary>
    public Dictionary<string, string> Columns { get; init; } = [];
    /// <summary>Examples of training that are left out at the beginning, so that two models learn from different ones.</summary>
    public long Skip { get; init; }
    /// <summary>Examples of training at most, the first ones; 0: all.</summary>
    public long Limit { get; init; }

    internal string Describe => Path ?? "questions about the libraries of the .NET SDK";

    internal IEnumerable<string> Faults()
    {
        if (Path is "" || ValidationPath is "") yield return "data: found an empty path";
        if (Source is not (null or "sdk")) yield return $"data.source = '{Source}': expected sdk, or data.path";
        if (Path is null && ((ValidationPath ?? Format) is not null || Columns.Count > 0 || Validation is not null)) yield return "data: found validation, validation_path, format or columns without path; the SDK's examples have their own splits";
        if (ValidationPath is not null && Validation is not null) yield return "data: found both validation and validation_path, expected one of them";
        if (Validation is < 0 or >= 1) yield return FormattableString.Invariant($"data.validation = {Validation}: expected at least 0 and less than 1");
        if (Limit < 0 || Skip < 0) yield return $"data.limit = {Limit}, data.skip = {Skip}: expected 0 or more";
        foreach (var column in Columns.Keys.Where(c => !ChatData.Columns.Contains(c))) yield return $"data.columns.{column}: expected {string.Join(", ", ChatData.Columns)}";
    }
}

/// <summary>The keys of <c>lora</c>.</summary>
public sealed record LoraSection
{
    /// <summary>Rank. <value>8</value></summary>
    public int R { get; init; } = 8;
    /// <summary>The change is multiplied by alpha / r. <value>16</value></summary>
    public double Alpha { get; init; } = 16;
    /// <summary>Dropout of the adapter's input.</summary>
    public double Dropout { get; init; }
    /// <summary>alpha / sqrt(r) instead.</summary>
    public bool Rslora { get; init; }
    /// <summary>A magnitude for each output besides.</summary>
    public bool Dora { get; init; }
    /// <summary>The projections' names; absent: queries and values. <c>all-linear</c>: all of them.</summary>
    public string[]? TargetModules { get; init; }
    /// <summary>Parts that are trained whole; a reward model's score always is.</summary>
    public string[]? ModulesToSave { get; init; }

    internal IEnumerable<string> Faults()
    {
        if (R < 1) yield return $"lora.r = {R}: expected at least 1";
        if (Dropout is < 0 or >= 1) yield return FormattableString.Invariant($"lora.dropout = {Dropout}: expected at least 0 and less than 1");
    }

    internal LoraConfig Config(string basePath, bool isScorer) => new()
    {
        R = R,
        LoraAlpha = Alpha,
        LoraDropout = Dropout,
        UseRslora = Rslora,
        UseDora = Dora,
        TargetModules = TargetModules switch { null => null, ["all-linear"] => "all-linear", var names => new System.Text.Json.Nodes.JsonArray([.. names.Select(n => (System.Text.Json.Nodes.JsonNode)n)]) },
        ModulesToSave = isScorer ? [.. ModulesToSave ?? [], "score"] : ModulesToSave,
        BaseModelNameOrPath = basePath,
        TaskType = isScorer ? "SEQ_CLS" : "CAUSAL_LM",
    };
}

/// <summary>The keys of <c>sft</c>.</summary>
public sealed record SftSection
{
    /// <summary>What is learned: <c>answers</c> (the completion; all that the assistant says), <c>last</c> (the last answer), <c>all</c>. <value>answers</value></summary>
    public string Learn { get; init; } = "answers";
    /// <summary>Several texts in a row of <c>train.max_length</c> tokens, which do not see each other.</summary>
    public bool Packing { get; init; }

    internal LearnedPart Part => Learn switch { "last" => LearnedPart.LastAnswer, "all" => LearnedPart.Everything, _ => LearnedPart.Answers };

    internal IEnumerable<string> Faults()
    {
        if (Learn is not ("answers" or "last" or "all")) yield return $"sft.learn = '{Learn}': expected answers, last or all";
    }
}

/// <summary>The keys of <c>reward</c>.</summary>
public sealed record RewardSection
{
    /// <summary>Coefficient of (r_chosen + r_rejected)², which keeps rewards about 0 (Eisenstein et al. 2023). <value>0.01</value></summary>
    public double Centering { get; init; } = 0.01;

    internal IEnumerable<string> Faults()
    {
        if (Centering < 0) yield return FormattableString.Invariant($"reward.centering = {Centering}: expected at least 0");
    }
}

/// <summary>The keys of <c>dpo</c>.</summary>
public sealed record DpoSection
{
    /// <summary>The loss: one of pairs (<see cref="PreferenceLoss.Kinds"/>), or <c>kto</c> or <c>apo_zero_unpaired</c> of single answers. <value>sigmoid</value></summary>
    public string Loss { get; init; } = "sigmoid";
    /// <summary>How much a difference to the reference counts. <value>0.1</value></summary>
    public double Beta { get; init; } = 0.1;
    /// <summary>How often a preference is taken to be the wrong way round.</summary>
    public double LabelSmoothing { get; init; }
    /// <summary>SimPO's margin. <value>0.5</value></summary>
    public double Gamma { get; init; } = 0.5;
    /// <summary>Weight of the language model's loss of the chosen answers beside it.</summary>
    public double SftWeight { get; init; }
    /// <summary>KTO: weight of good answers. <value>1</value></summary>
    public double DesirableWeight { get; init; } = 1;
    /// <summary>KTO: weight of bad answers. <value>1</value></summary>
    public double UndesirableWeight { get; init; } = 1;

    internal bool IsUnpaired => Loss is "kto" or "apo_zero_unpaired";

    internal bool NeedsReference => IsUnpaired || Pairs.NeedsReference;

    internal PreferenceLoss Pairs => new() { Kind = Loss, Beta = Beta, LabelSmoothing = LabelSmoothing, Gamma = Gamma };

    internal IEnumerable<string> Faults(int batch, int? micro)
    {
        if (!IsUnpaired && !PreferenceLoss.Kinds.Contains(Loss)) yield return $"dpo.loss = '{Loss}': expected {string.Join(", ", PreferenceLoss.Kinds)}, kto or apo_zero_unpaired";
        if (!(Beta > 0)) yield return FormattableString.Invariant($"dpo.beta = {Beta}: expected more than 0");
        if (LabelSmoothing is < 0 or >= 0.5) yield return FormattableString.Invariant($"dpo.label_smoothing = {LabelSmoothing}: expected at least 0 and less than 0.5");
        if (Loss == "exo_pair" && LabelSmoothing == 0) yield return "dpo.label_smoothing = 0: exo_pair needs more than 0";
        if (SftWeight < 0 || DesirableWeight < 0 || UndesirableWeight < 0) yield return "dpo: found a weight below 0";
        if (SftWeight > 0 && (IsUnpaired || Loss is "orpo" or "sft")) yield return $"dpo.sft_weight: expected 0 with {Loss}";
        if (LabelSmoothing > 0 && Loss is not ("conservative" or "robust" or "exo_pair" or "aot" or "aot_unpaired")) yield return $"dpo.label_smoothing: {Loss} does not read it ('conservative' is DPO with it)";
        if (Gamma != new DpoSection().Gamma && Loss != "simpo") yield return $"dpo.gamma: {Loss} does not read it";
        if ((DesirableWeight != 1 || UndesirableWeight != 1) && !IsUnpaired) yield return $"dpo.desirable_weight, dpo.undesirable_weight: {Loss} does not read them";
        if ((micro is not null || Processes.Count > 1) && (IsUnpaired || SftWeight > 0 || Loss is "orpo" or "sft" or "aot" or "aot_unpaired")) yield return $"{(micro is null ? $"found {Processes.Count} processes (mpirun)" : "train.micro_batch_size")}: {Loss} looks at the whole batch at once; {(micro is null ? "start it without mpirun" : "leave the key away")}";
        if (Loss == "kto" && batch < 2) yield return $"train.batch_size = {batch}: kto compares with answers to other prompts, expected at least 2";
    }
}

/// <summary>The keys of <c>rollout</c>: what is sampled, and who judges it.</summary>
public sealed record RolloutSection
{
    /// <summary>Answers of an iteration. <value>64</value></summary>
    public int Batch { get; init; } = 64;
    /// <summary>Tokens of an answer at most. <value>48</value></summary>
    public int MaxNewTokens { get; init; } = 48;
    /// <summary>Of sampling. <value>1</value></summary>
    public double Temperature { get; init; } = 1;
    /// <summary>Taken off an answer that does not end. <value>1</value></summary>
    public double MissingEosPenalty { get; init; } = 1;
    /// <summary>A command that reads {"prompt","response"} a line and writes a number a line; instead of reward models.</summary>
    public string? Program { get; init; }
    /// <summary>How long the program may think about an answer. <value>60</value></summary>
    public double ProgramSeconds { get; init; } = 60;
    /// <summary>Passes over an iteration's answers. <value>2</value></summary>
    public int Epochs { get; init; } = 2;

    internal IEnumerable<string> Faults(AlignConfig config)
    {
        if (Batch < 1 || MaxNewTokens < 1 || Epochs < 1) yield return "rollout: found a batch, max_new_tokens or epochs below 1";
        else if (config.Group is { Generations: > 0 } group)
        {
            var learned = Batch / group.Generations * group.Learned;
            if (Batch % group.Generations != 0) yield return $"{config.Recipe!.Replace('-', '_')}.generations = {group.Generations}: expected a divisor of rollout.batch = {Batch}, the answers of an iteration";
            else if (config.Train.BatchSize > 0 && learned % config.Train.BatchSize != 0) yield return $"train.batch_size = {config.Train.BatchSize}: expected a divisor of {learned}, the answers of an iteration that are learned from";
        }
        if (config.Train.MicroBatchSize is not null) yield return "train.micro_batch_size: means are taken over whole minibatches here; leave the key away, or lower train.batch_size";
        if (!(Temperature > 0)) yield return FormattableString.Invariant($"rollout.temperature = {Temperature}: expected more than 0");
        if (config.Train.Dropout > 0) yield return FormattableString.Invariant($"train.dropout = {config.Train.Dropout}: what is learned from must be what was sampled; leave the key away");
        if (config.Lora?.Dropout > 0) yield return FormattableString.Invariant($"lora.dropout = {config.Lora.Dropout}: what is learned from must be what was sampled; leave the key away");
        if (!(ProgramSeconds is > 0 and <= 86_400)) yield return FormattableString.Invariant($"rollout.program_seconds = {ProgramSeconds}: expected more than 0, and at most a day's 86400");
        if (Program is not null && config.Model.Reward is not null) yield return "rollout.program: found together with model.reward, expected one of them";
    }
}

/// <summary>The keys of <c>ppo</c>; defaults of Ziegler et al. 2019 and Ouyang et al. 2022, appendix C.4.</summary>
public sealed record PpoSection
{
    /// <summary>Coefficient of the divergence from the reference. <value>0.05</value></summary>
    public double KlCoef { get; init; } = 0.05;
    /// <summary>Its estimator in the rewards: <c>k1</c> or <c>k3</c>. <value>k1</value></summary>
    public string KlEstimator { get; init; } = "k1";
    /// <summary>The divergence of an answer to which the coefficient adapts; absent: it stays.</summary>
    public double? TargetKl { get; init; }
    /// <summary>Answers over which it adapts. <value>10,000</value></summary>
    public double KlHorizon { get; init; } = 10_000;
    /// <summary>An iteration ends once the policy has moved so far within it (mean of half the squared log-ratio); absent: never.</summary>
    public double? StopKl { get; init; }
    /// <summary>The run ends, with its last good checkpoint, once the divergence of an answer is more than this. <value>100</value></summary>
    public double MaxKl { get; init; } = 100;
    /// <summary>γ. <value>1</value></summary>
    public double Gamma { get; init; } = 1;
    /// <summary>λ. <value>0.95</value></summary>
    public double Lambda { get; init; } = 0.95;
    /// <summary>How far a ratio may go. <value>0.2</value></summary>
    public double CliprangePolicy { get; init; } = 0.2;
    /// <summary>How far a value may go. <value>0.2</value></summary>
    public double CliprangeValue { get; init; } = 0.2;
    /// <summary>Weight of the value's loss. <value>0.1</value></summary>
    public double VfCoef { get; init; } = 0.1;
    /// <summary>Weight of the entropy.</summary>
    public double EntCoef { get; init; }
    /// <summary>Rewards are scaled to a standard deviation of 1.</summary>
    public bool WhitenRewards { get; init; }
    /// <summary>Weight of the language model's loss on pre-training text (InstructGPT's pre-training mix); 0: none.</summary>
    public double PretrainWeight { get; init; }

    internal IEnumerable<string> Faults()
    {
        if (KlCoef < 0) yield return FormattableString.Invariant($"ppo.kl_coef = {KlCoef}: expected at least 0");
        if (KlEstimator is not ("k1" or "k2" or "k3")) yield return $"ppo.kl_estimator = '{KlEstimator}': expected k1, k2 or k3";
        if (TargetKl <= 0 || KlHorizon <= 0 || StopKl <= 0 || MaxKl <= 0) yield return "ppo: found a target_kl, kl_horizon, stop_kl or max_kl of 0 or below";
        if (Gamma is < 0 or > 1 || Lambda is < 0 or > 1) yield return string.Create(CultureInfo.InvariantCulture, $"ppo.gamma = {Gamma}, ppo.lambda = {Lambda}: expected 0 to 1");
        if (!(CliprangePolicy > 0) || !(CliprangeValue > 0) || VfCoef < 0 || EntCoef < 0 || PretrainWeight < 0) yield return "ppo: found a cliprange, vf_coef, ent_coef or pretrain_weight out of range";
    }
}

/// <summary>The keys of <c>grpo</c>.</summary>
public sealed record GrpoSection
{
    /// <summary>Answers of a prompt. <value>8</value></summary>
    public int Generations { get; init; } = 8;
    /// <summary>How token losses become one: grpo, bnpo, dr_grpo, dapo or cispo. <value>dapo</value></summary>
    public string Loss { get; init; } = "dapo";
    /// <summary>What advantages are divided by: <c>group</c>, <c>batch</c> or <c>none</c>. <value>group</value></summary>
    public string ScaleRewards { get; init; } = "group";
    /// <summary>Coefficient of the divergence from the reference. <value>0.04</value></summary>
    public double Beta { get; init; } = 0.04;
    /// <summary>How far a ratio may fall. <value>0.2</value></summary>
    public double Epsilon { get; init; } = 0.2;
    /// <summary>How far it may rise; absent: as far.</summary>
    public double? EpsilonHigh { get; init; }
    /// <summary><c>token</c> or <c>sequence</c> (GSPO). <value>token</value></summary>
    public string ImportanceSampling { get; init; } = "token";

    internal GroupLoss GroupLoss => new() { Kind = Loss, Beta = Beta, Epsilon = Epsilon, EpsilonHigh = EpsilonHigh, Level = ImportanceSampling };

    internal IEnumerable<string> Faults()
    {
        if (Generations < 2) yield return $"grpo.generations = {Generations}: expected at least 2, whose mean each is compared with";
        if (!GroupLoss.Kinds.Contains(Loss)) yield return $"grpo.loss = '{Loss}': expected {string.Join(", ", GroupLoss.Kinds)}";
        if (ScaleRewards is not ("group" or "batch" or "none")) yield return $"grpo.scale_rewards = '{ScaleRewards}': expected group, batch or none";
        if (ImportanceSampling is not ("token" or "sequence")) yield return $"grpo.importance_sampling = '{ImportanceSampling}': expected token or sequence";
        if (Beta < 0 || !(Epsilon > 0) || EpsilonHigh <= 0) yield return "grpo: found a beta, epsilon or epsilon_high out of range";
    }
}

/// <summary>The keys of <c>online_dpo</c>.</summary>
public sealed record OnlineDpoSection
{
    /// <summary>Answers of a prompt, of which the best is chosen and the worst rejected. <value>4</value></summary>
    public int Generations { get; init; } = 4;

    internal IEnumerable<string> Faults(AlignConfig config)
    {
        if (Generations < 2) yield return $"online_dpo.generations = {Generations}: expected at least 2, a pair";
        if (config.Dpo.IsUnpaired) yield return $"dpo.loss = '{config.Dpo.Loss}': a loss of single answers; lect align online-dpo makes pairs";
    }
}

/// <summary>The keys of <c>rejection</c>.</summary>
public sealed record RejectionSection
{
    /// <summary>Answers of a prompt, of which the best is learned. <value>8</value></summary>
    public int Generations { get; init; } = 8;

    internal IEnumerable<string> Faults()
    {
        if (Generations < 2) yield return $"rejection.generations = {Generations}: expected at least 2, of which the best is learned";
    }
}

/// <summary>The keys of <c>train</c> in alignment.</summary>
public sealed record AlignTrain : LoopConfig
{
    /// <summary>One epoch, lr 1e-4 falling linearly, no weight decay, beta2 0.999.</summary>
    public AlignTrain() => (Epochs, Lr, Schedule, Floor, WeightDecay, Beta2, EvalEvery) = (1, 1e-4, "linear", 0.1, 0, 0.999, 100);

    /// <summary>Examples of a step: conversations, pairs. <value>16</value></summary>
    public int BatchSize { get; init; } = 16;
    /// <summary>Examples of a forward pass; absent: the whole batch.</summary>
    public int? MicroBatchSize { get; init; }
    internal int Pass => MicroBatchSize ?? BatchSize;

    /// <summary>Tokens of a text at most. <value>256, or the model's context where it is shorter</value></summary>
    public int? MaxLength { get; init; }
    /// <summary>Dropout; absent: none.</summary>
    public double Dropout { get; init; }
    /// <summary>Examples that an evaluation reads at most. <value>512</value></summary>
    public int EvalExamples { get; init; } = 512;

    /// <inheritdoc/>
    protected internal override IEnumerable<string> Faults()
    {
        foreach (var fault in base.Faults()) yield return fault;
        if (BatchSize < 1 || MicroBatchSize < 1 || EvalExamples < 1) yield return "train: found a batch_size, micro_batch_size or eval_examples below 1";
        if (MaxLength < 2) yield return $"train.max_length = {MaxLength}: expected at least 2";
        if (Dropout is < 0 or >= 1) yield return FormattableString.Invariant($"train.dropout = {Dropout}: expected at least 0 and less than 1");
    }
}
