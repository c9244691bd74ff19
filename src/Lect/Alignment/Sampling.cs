using System.Diagnostics;
using System.Text.Json;
using System.Text.Json.Nodes;
using Lect.Models;
using Lect.Text;
using TorchSharp;
using static TorchSharp.torch;

namespace Lect;

/// <summary>
/// The iterations of PPO and GRPO: prompts are answered by the policy as it stands, answers are rewarded, and learned from in some passes of minibatches. All that a resumed run needs is kept in checkpoints: which iteration, which
/// minibatches are left, the answers, and what was computed of them.
/// </summary>
internal sealed class Sampling : IDisposable
{
    private const string StateFile = "rollout.json", TensorFile = "rollout.safetensors";
    private const int Window = 4096;
    private readonly AlignConfig config;
    private readonly AlignedModel policy;
    private readonly RewardFunction reward;
    private readonly int generations;
    private readonly StreamedBatches<PromptRow> prompts;
    private readonly Dictionary<string, Tensor> tensors = new(StringComparer.Ordinal);
    private readonly Stopwatch clock = new();
    private State state = new(-1, 0, [], [], 0);

    // Iteration; minibatches taken of the plan; the plan; answers; a number that the recipe keeps.
    private sealed record State(long Iteration, int Taken, int[][] Plan, List<StoredRow> Rows, double Number);

    private sealed record StoredRow(int[] Ids, int Prompt);

    /// <param name="config">The run.</param>
    /// <param name="policy">Who answers.</param>
    /// <param name="reward">Who judges.</param>
    /// <param name="data">Prompts.</param>
    /// <param name="generations">Answers of a prompt.</param>
    public Sampling(AlignConfig config, AlignedModel policy, RewardFunction reward, AlignData data, int generations)
    {
        (this.config, this.policy, this.reward, this.generations) = (config, policy, reward, generations);
        prompts = new(() => data.Prompts(CorpusSplit.Train, config.Rollout.MaxNewTokens), r => r.Ids.Length, config.Rollout.Batch / generations, config.Seed, Window);
    }

    /// <summary>Figures of the iterations since the last line of metrics.</summary>
    public Averages Figures { get; } = new();

    /// <summary>Prompts and answers of this iteration.</summary>
    public IReadOnlyList<AnswerRow> Rows { get; private set; } = [];

    /// <summary>A number that goes with the iterations: PPO's coefficient.</summary>
    public double Number { get => state.Number; set => state = state with { Number = value }; }

    /// <summary>What the recipe computed of the answers, by name.</summary>
    public Tensor this[string name]
    {
        get => tensors[name];
        set
        {
            if (tensors.Remove(name, out var old)) old.Dispose();
            tensors[name] = value.DetachFromDisposeScope();
        }
    }

    /// <summary>Steps of some passes over the prompts.</summary>
    public long StepsOf(double epochs) => prompts.StepsOf(epochs) * config.Rollout.Epochs * (config.Rollout.Batch / config.Train.BatchSize);

    /// <summary>The answers of the next step; begins a new iteration where the last one's are used up.</summary>
    /// <param name="learn">Told the answers with their rewards, and computes what will be learned from them.</param>
    public int[] Next(Action<IReadOnlyList<SampledAnswer>, double[]> learn)
    {
        if (state.Taken >= state.Plan.Length) Begin(learn);
        var chosen = state.Plan[state.Taken];
        state = state with { Taken = state.Taken + 1 };
        return chosen;
    }

    /// <summary>The iteration ends with the step in work.</summary>
    public void End() => state = state with { Taken = state.Plan.Length };

    private void Begin(Action<IReadOnlyList<SampledAnswer>, double[]> learn)
    {
        var learning = clock.Elapsed;
        clock.Restart();
        var iteration = state.Iteration + 1;
        var batch = prompts.At(iteration);
        var answers = Answer([.. batch.SelectMany(p => Enumerable.Repeat(p, generations))], iteration);
        var sampling = clock.Elapsed;
        clock.Restart();
        var rewards = reward(answers).ToArray();
        if (Array.FindIndex(rewards, r => !double.IsFinite(r)) is >= 0 and var bad) throw new InvalidDataException($"Found the reward {rewards[bad]} of the answer '{answers[bad].Response}'. Expected finite numbers.");
        Rows = [.. answers.Select(a => new AnswerRow(a.Ids, a.Counts))];
        var random = Seeds.Random(config.Seed, "minibatches", iteration);
        var plan = Enumerable.Range(0, config.Rollout.Epochs).SelectMany(_ =>
        {
            var order = Enumerable.Range(0, answers.Count).ToArray();
            random.Shuffle(order);
            return order.Chunk(config.Train.BatchSize);
        }).ToArray();
        state = state with { Iteration = iteration, Taken = 0, Plan = plan, Rows = [.. Rows.Select(r => new StoredRow(r.Ids, Array.IndexOf(r.Counts, true)))] };
        learn(answers, rewards);
        var scoring = clock.Elapsed;
        clock.Restart();
        var all = (sampling + scoring + learning).TotalSeconds;
        Figures.Add("time/sampling", sampling.TotalSeconds / all);
        Figures.Add("time/scoring", scoring.TotalSeconds / all);
        Figures.Add("time/learning", learning.TotalSeconds / all);
        Figures.Add("sampled_tokens_per_second", answers.Sum(a => a.Counts.Count(c => c)) / sampling.TotalSeconds);
        Figures.Add("completions/mean_length", answers.Average(a => a.Counts.Count(c => c)), answers.Count);
        Figures.Add("val/num_eos_tokens", answers.Count(a => a.HasEnd));
    }

    /// <summary>Answers prompts, one batch; a row's random numbers are keyed by (seed, iteration, row).</summary>
    public List<SampledAnswer> Answer(IReadOnlyList<PromptRow> asked, long iteration)
    {
        policy.Model.eval();
        policy.Model.Compute = ComputeType.Float32;
        var options = new DecodingOptions { Sample = true, Temperature = config.Rollout.Temperature, MaxNewTokens = config.Rollout.MaxNewTokens, EosTokenIds = [policy.EndId], Seed = config.Seed };
        var answers = asked.Select(_ => new List<int>()).ToList();
        foreach (var token in Models.Generator.Stream(policy.Model, [.. asked.Select(p => p.Ids)], options, [.. asked.Select((_, i) => Seeds.For(config.Seed, "rollout", iteration, i))])) answers[token.Row].Add(token.Id);
        return [.. asked.Zip(answers, (p, a) => new SampledAnswer(p.Messages, policy.Tokenizer.Decode([.. a], skipSpecialTokens: true).Trim(), [.. p.Ids, .. a], [.. p.Ids.Select(_ => false), .. a.Select(_ => true)], a.Count > 0 && a[^1] == policy.EndId, p.Fact))];
    }

    /// <summary>Rewards with the penalty of answers that do not end.</summary>
    public double[] Penalized(IReadOnlyList<SampledAnswer> answers, double[] rewards) => [.. rewards.Select((r, i) => answers[i].HasEnd ? r : r - config.Rollout.MissingEosPenalty)];

    /// <summary>Where rewards come from: a program, models (their mean), or what is given.</summary>
    public static (RewardFunction Reward, List<IDisposable> Held) RewardOf(AlignConfig config, AlignedModel policy, RewardFunction? given, Action<string>? note)
    {
        if (given is not null) return (given, []);
        if (config.Rollout.Program is { } program) return Rewards.FromProgram(program, config.Rollout.ProgramSeconds) is var (asked, process) ? (asked, [process]) : default;
        if (config.Model.Reward is not { Length: > 0 } folders)
        {
            if (config.Data.Path is null) return (answers => [.. answers.Select(Rewards.NamesFacts)], []);   // the SDK's prompts know their facts
            throw new InvalidDataException("Found neither model.reward nor rollout.program. Expected reward models (--set model.reward=runs/reward), or a program that gives each answer a number.");
        }
        var models = folders.Select(f => Rewards.FromModel(f, policy.Tokenizer, note)).ToList();
        return (answers => models.Select(m => m.Reward(answers)).ToList() is var all ? [.. Enumerable.Range(0, answers.Count).Select(i => all.Average(r => r[i]))] : [], [.. models.Select(m => m.Model)]);
    }

    /// <summary>Writes what a resumed run needs.</summary>
    public void Save(string folder)
    {
        ModelFolder.WriteText(Path.Combine(folder, StateFile), JsonSerializer.Serialize(state) + "\n");
        SafeTensorsFile.Write(Path.Combine(folder, TensorFile), tensors.Select(t => (t.Key, t.Value)));
    }

    /// <summary>Goes on from a checkpoint.</summary>
    public void Load(string folder)
    {
        state = JsonSerializer.Deserialize<State>(File.ReadAllText(Path.Combine(folder, StateFile)))!;
        Rows = [.. state.Rows.Select(r => AnswerRow.Of(r.Ids[..r.Prompt], r.Ids[r.Prompt..]))];
        using var scope = NewDisposeScope();
        var weights = Weights.Open(Path.Combine(folder, TensorFile));
        foreach (var name in weights.Names) this[name] = weights.Load(name).clone();
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        prompts.Dispose();
        foreach (var tensor in tensors.Values) tensor.Dispose();
    }
}
