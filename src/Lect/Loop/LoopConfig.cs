using Lect.Models;
using YamlDotNet.Serialization;

namespace Lect;

/// <summary>The run file of a recipe that trains.</summary>
public interface IRecipeConfig
{
    /// <summary>Its keys of <c>train</c>.</summary>
    LoopConfig Loop { get; }
}

/// <summary>The keys of <c>train</c> that the loop itself honours; a recipe's own come in a record derived from it.</summary>
public abstract record LoopConfig
{
    /// <summary>Optimizer steps; absent: as many as <see cref="Epochs"/> take.</summary>
    public long? Steps { get; init; }
    /// <summary>Passes over the training data; <see cref="Steps"/> wins where both are given.</summary>
    public double? Epochs { get; init; }
    /// <summary>The highest learning rate. <value>3e-4</value></summary>
    public double Lr { get; init; } = 3e-4;
    /// <summary><c>constant</c>, <c>linear</c>, <c>cosine</c>, <c>inverse_sqrt</c> or <c>wsd</c>.</summary>
    public string Schedule { get; init; } = "cosine";
    /// <summary>Steps of linear warm-up; a shorter run is warm-up to its end.</summary>
    public long Warmup { get; init; }
    /// <summary>The last rate as a share of the highest. <value>0.1 (GPT-3, appendix B)</value></summary>
    public double Floor { get; init; } = 0.1;
    /// <summary>Steps of decay at the end (wsd); absent: a fifth of all.</summary>
    public long? Decay { get; init; }
    /// <summary>AdamW's decay of matrices. <value>0.1 (GPT-3, appendix B)</value></summary>
    public double WeightDecay { get; init; } = 0.1;
    /// <summary>AdamW's decay of the first moment. <value>0.9</value></summary>
    public double Beta1 { get; init; } = 0.9;
    /// <summary>AdamW's decay of the second moment. <value>0.95 (GPT-3, appendix B)</value></summary>
    public double Beta2 { get; init; } = 0.95;
    /// <summary>AdamW's epsilon. <value>1e-8</value></summary>
    public double Epsilon { get; init; } = 1e-8;
    /// <summary>The largest norm of all gradients together; 0: no clipping. <value>1 (GPT-3, appendix B)</value></summary>
    public double Clip { get; init; } = 1;
    /// <summary>Steps between lines of metrics. <value>10</value></summary>
    public long LogEvery { get; init; } = 10;
    /// <summary>Steps between evaluations; 0: none. <value>250</value></summary>
    public long EvalEvery { get; init; } = 250;
    /// <summary>Stops after so many evaluations in a row that were no better than the best; 0: never. <value>0</value></summary>
    public long Patience { get; init; }
    /// <summary>At the end the mean of the last so many checkpoints' weights is tried, and taken where it is better than the best of them; 0: not. <value>0</value></summary>
    public int Average { get; init; }
    /// <summary>Steps between checkpoints; 0: at the end (and where training is interrupted) only. <value>250</value></summary>
    public long CheckpointEvery { get; init; } = 250;
    /// <summary><c>fp32</c>, <c>bf16</c> (products only) or <c>auto</c>: what this machine is faster with, measured at start.</summary>
    public string Precision { get; init; } = "auto";
    /// <summary>Threads of libtorch; absent: all cores.</summary>
    public int? Threads { get; init; }
    /// <summary><c>auto</c>, <c>cpu</c>, <c>cuda</c>, <c>cuda:N</c> or <c>mps</c>; anything but the CPU is untested.</summary>
    public string Device { get; init; } = "auto";

    /// <summary>The precision of products, once <see cref="Precision"/> is resolved.</summary>
    internal ComputeType Compute => Precision == "bf16" ? ComputeType.BFloat16 : ComputeType.Float32;

    /// <summary>Who computes, for people.</summary>
    internal string Workers => Processes.Count > 1 ? $"{Processes.Count} processes of {TorchSharp.torch.get_num_threads()} threads" : $"{Threads} threads";

    /// <summary>The learning rate of each step.</summary>
    [YamlIgnore]
    public Schedule Rates
    {
        get
        {
            var steps = Steps ?? 1;
            var warmup = Math.Min(Warmup, Schedule == "wsd" ? steps - 1 : steps);
            return new() { Kind = Schedule, Rate = Lr, Steps = steps, Warmup = warmup, Floor = Floor, Decay = Schedule == "wsd" ? Math.Max(1, Math.Min(Decay ?? steps / 5, steps - warmup)) : 0 };
        }
    }

    /// <summary>What is wrong with these keys.</summary>
    protected internal virtual IEnumerable<string> Faults()
    {
        if (Steps is null && Epochs is null) yield return "train: found neither steps nor epochs, expected one of them";
        if (Steps < 1) yield return $"train.steps = {Steps}: expected at least 1";
        if (Epochs <= 0) yield return FormattableString.Invariant($"train.epochs = {Epochs}: expected more than 0");
        if (Precision is not ("fp32" or "bf16" or "auto")) yield return $"train.precision = '{Precision}': expected fp32, bf16 or auto";
        if (Decay is not null && Schedule != "wsd") yield return $"train.decay = {Decay}: only train.schedule: wsd has it, found {Schedule}";
        if (Threads < 1) yield return $"train.threads = {Threads}: expected at least 1";
        if (LogEvery < 1) yield return $"train.log_every = {LogEvery}: expected at least 1";
        if (EvalEvery < 0 || CheckpointEvery < 0) yield return $"train.eval_every = {EvalEvery}, train.checkpoint_every = {CheckpointEvery}: expected 0 (never) or more";
        if (Patience < 0 || (Patience > 0 && EvalEvery == 0)) yield return $"train.patience = {Patience}: expected 0, or more with train.eval_every above 0";
        if (Average is < 0 or 1 || (Average > 0 && (EvalEvery == 0 || CheckpointEvery == 0))) yield return $"train.average = {Average}: expected 0, or 2 and more with train.eval_every and train.checkpoint_every above 0";
        if (WeightDecay < 0 || Clip < 0 || Epsilon <= 0) yield return FormattableString.Invariant($"train.weight_decay = {WeightDecay}, train.clip = {Clip}, train.epsilon = {Epsilon}: expected none below 0");
        if (Beta1 is < 0 or >= 1 || Beta2 is < 0 or >= 1) yield return FormattableString.Invariant($"train.beta1 = {Beta1}, train.beta2 = {Beta2}: expected at least 0 and less than 1");
        if (Steps is null or >= 1) foreach (var fault in Rates.Faults()) yield return fault;
    }
}
