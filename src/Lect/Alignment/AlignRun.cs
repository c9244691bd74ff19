using Lect.Models;
using Lect.Text;
using TorchSharp;
using static TorchSharp.torch;

namespace Lect;

/// <summary>The lecture's steps 2 and 3.</summary>
public static class Alignment
{
    /// <summary>Runs the recipe that a run file names.</summary>
    /// <inheritdoc cref="PretrainGpt.Run"/>
    public static RunState Run(AlignConfig config, string folder, Action<TrainEvent>? report = null, Action<string>? note = null, CancellationToken stop = default) => config.Validate().Recipe switch
    {
        "sft" => Sft.Run(config, folder, report, note, stop),
        "reward" => RewardModel.Run(config, folder, report, note, stop),
        "dpo" => Dpo.Run(config, folder, report, note, stop),
        "ppo" => Ppo.Run(config, folder, report: report, note: note, stop: stop),
        "grpo" => Grpo.Run(config, folder, report: report, note: note, stop: stop),
        "online-dpo" => OnlineDpo.Run(config, folder, report: report, note: note, stop: stop),
        _ => Rejection.Run(config, folder, report: report, note: note, stop: stop),
    };
}

/// <summary>What the recipes of alignment share.</summary>
internal static class AlignRun
{
    /// <summary>Everything that was left open, so that run.yaml repeats this run on this machine.</summary>
    public static AlignConfig Resolve(AlignConfig config, long width, Func<double, long> stepsOf)
    {
        var train = config.Train;
        return config with
        {
            Train = train with
            {
                Steps = train.Steps ?? stepsOf(train.Epochs!.Value),
                Epochs = null,
                Threads = Processes.Kept(train.Threads),
                Precision = Precision.Name(Precision.Resolve(train.Precision, (long)train.Pass * 64, width, 4 * width)),
            },
        };
    }

    /// <summary>An answer to look at.</summary>
    public static string Sample(AlignedModel model, AlignConfig config)
    {
        model.Model.Compute = ComputeType.Float32;
        var prompt = model.Encoder.Prompt([ChatData.Message("user", "What does String.Trim do?")]);
        var room = (int)Math.Min(48, model.Model.ContextLength - prompt.Length);
        if (room < 1) return "";
        var options = new DecodingOptions { MaxNewTokens = room, EosTokenIds = [model.EndId], Seed = config.Seed };
        return model.Tokenizer.Decode([.. Models.Generator.Stream(model.Model, [prompt], options).Select(t => t.Id)], skipSpecialTokens: true);
    }
}

/// <summary>Means of figures between two lines of metrics.</summary>
internal sealed class Averages
{
    private readonly Dictionary<string, (double Sum, double Weight)> sums = new(StringComparer.Ordinal);

    public void Add(string name, double value, double weight = 1) => sums[name] = sums.GetValueOrDefault(name) is var s ? (s.Sum + value * weight, s.Weight + weight) : default;

    /// <summary>The means, which begin anew.</summary>
    public IEnumerable<(string, double)> Take()
    {
        var means = sums.Select(s => (s.Key, s.Value.Sum / s.Value.Weight)).ToList();
        sums.Clear();
        return means;
    }
}
