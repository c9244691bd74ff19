using System.Diagnostics;
using System.Text.Json;
using System.Text.Json.Nodes;
using Lect.Models;
using Lect.Text;
using TorchSharp;
using static TorchSharp.torch;

namespace Lect;

/// <summary>
/// The iterations of PPO, GRPO, online DPO and rejection sampling: prompts are answered by the policy as it stands, answers are rewarded, and learned from in some passes of minibatches. All that a resumed run needs is kept in checkpoints: which iteration, which
/// minibatches are left, the answers, and what was computed of them.
/// </summary>
internal sealed class Sampling : IDisposable
{
    public const string OneProcess = "answers are sampled, and learned from, in one";
    private const string StateFile = "rollout.json", TensorFile = "rollout.safetensors";
    private const int Window = 4096;
    private readonly AlignConfig config;
    private readonly AlignedModel policy;
    private readonly RewardFunction reward;
    private readonly RewardFunction? judge;
    private readonly int generations, learned;
    private readonly StreamedBatches<PromptRow> prompts;
    private readonly List<PromptRow> asked;
    private readonly List<IDisposable> held = [];
    private readonly Dictionary<string, Tensor> tensors = new(StringComparer.Ordinal);
    private readonly Stopwatch clock = new();
    private State state = new(-1, 0, [], [], 0);

    // Iteration; minibatches taken of the plan; the plan; answers; a number that the recipe keeps.
    private sealed record State(long Iteration, int Taken, int[][] Plan, List<StoredRow> Rows, double Number);

    private sealed record StoredRow(int[] Ids, int Prompt);

    /// <param name="config">The run.</param>
    /// <param name="policy">Who answers.</param>
    /// <param name="given">Who judges; null: as the run file says.</param>
    /// <param name="note">Told what is left out, and where tokenizers differ.</param>
    public Sampling(AlignConfig config, AlignedModel policy, RewardFunction? given, Action<string>? note)
    {
        (this.config, this.policy, (generations, learned)) = (config, policy, config.Group);
        var data = new AlignData(config.Data, config.Longest(policy.Model.ContextLength), note);
        prompts = new(() => data.Prompts(CorpusSplit.Train, policy.Encoder, config.Rollout.MaxNewTokens), r => r.Ids.Length, config.Rollout.Batch / generations, config.Seed, Window);
        try
        {
            reward = given ?? RewardOf(note);
            judge = config.Model.Judge is { } folders ? MeanOf(folders, note) : null;
            asked = [.. data.Prompts(CorpusSplit.Validation, policy.Encoder, config.Rollout.MaxNewTokens).Take(Math.Min(config.Train.EvalExamples, config.Rollout.Batch))];
            data.Tell();
        }
        catch { Dispose(); throw; }
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

    /// <summary>Steps of some passes over the prompts, if all can be learned from.</summary>
    public long StepsOf(double epochs) => prompts.StepsOf(epochs, count => config.Rollout.Epochs * (long)Math.Ceiling(count * learned / (double)config.Train.BatchSize));

    /// <summary>The answers of the next step; begins a new iteration where the last one's are used up.</summary>
    /// <param name="learn">Told the answers with their rewards; computes what will be learned from them, and says from which.</param>
    public int[] Next(Func<IReadOnlyList<SampledAnswer>, double[], IReadOnlyList<int>> learn)
    {
        if (state.Taken >= state.Plan.Length) Begin(learn);
        var chosen = state.Plan[state.Taken];
        state = state with { Taken = state.Taken + 1 };
        return chosen;
    }

    /// <summary>The iteration ends with the step in work.</summary>
    public void End() => state = state with { Taken = state.Plan.Length };

    private void Begin(Func<IReadOnlyList<SampledAnswer>, double[], IReadOnlyList<int>> learn)
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
        Rows = [.. answers.Select(a => a.Row)];
        state = state with { Iteration = iteration, Taken = 0, Plan = [], Rows = [.. Rows.Select(r => new StoredRow(r.Ids, Array.IndexOf(r.Counts, true)))] };
        var chosen = learn(answers, rewards);
        var random = Seeds.Random(config.Seed, "minibatches", iteration);
        state = state with
        {
            Plan = [.. Enumerable.Range(0, config.Rollout.Epochs).SelectMany(_ =>
            {
                var order = chosen.ToArray();
                random.Shuffle(order);
                var parts = (order.Length + config.Train.BatchSize - 1) / config.Train.BatchSize;
                return order.Chunk((order.Length + parts - 1) / parts);   // of like size, where not all can be learned from
            })],
        };
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

    /// <summary>What the policy of now answers to prompts of the validation split, and what is thought of that; null: there are no such prompts.</summary>
    /// <param name="divergence">The mean divergence of an answer from the reference, nats; null: none is compared with.</param>
    public Func<IReadOnlyList<(string Name, double Value)>>? Evaluation(Func<AnswerBatch, double>? divergence) => asked.Count == 0 ? null : () =>
    {
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        var answers = Answer(asked, -1);
        List<(string, double)> figures = [("eval/reward", reward(answers).Average()), ("eval/length", answers.Average(a => a.Counts.Count(c => c))), ("eval/ended", answers.Average(a => a.HasEnd ? 1.0 : 0))];
        if (judge is not null) figures.Add(("eval/judge_reward", judge(answers).Average()));
        if (divergence is not null) figures.Add(("eval/kl", divergence(new([.. answers.Select(a => a.Row)], policy.PadId))));
        return figures;
    };

    /// <summary>Nats by which answers differ from the reference's, on average of an answer.</summary>
    /// <param name="batch">Answers.</param>
    /// <param name="reference">Null: the policy without its adapter.</param>
    public double Divergence(AnswerBatch batch, CausalLanguageModel? reference)
    {
        var own = batch.LogProbs(policy.Model, config.Rollout.Temperature).LogProbs;
        return ((own - batch.ReferenceLogProbs(policy.Model, reference, config.Rollout.Temperature)) * batch.Mask(policy.Model.HeadWeight.device)).sum(1).mean().item<float>();
    }

    // Where rewards come from: a program, models, or the rule that knows the SDK's facts.
    private RewardFunction RewardOf(Action<string>? note)
    {
        if (config.Rollout.Program is { } program)
        {
            var (asked, process) = Rewards.FromProgram(program, config.Rollout.ProgramSeconds);
            held.Add(process);
            return asked;
        }
        if (config.Model.Reward is { Length: > 0 } folders) return MeanOf(folders, note);
        if (config.Data.Path is not null) throw new InvalidDataException("Found neither model.reward nor rollout.program. Expected reward models (--set model.reward=runs/reward), or a program that gives each answer a number.");
        note?.Invoke("no model.reward and no rollout.program: the reward is the share of the documentation's facts that an answer names (the SDK's prompts know them)");
        return answers => [.. answers.Select(Rewards.NamesFacts)];
    }

    private RewardFunction MeanOf(string[] folders, Action<string>? note)
    {
        var models = new List<RewardFunction>();
        foreach (var folder in folders)
        {
            var (one, model) = Rewards.FromModel(folder, policy.Tokenizer, note, config.Model.Now);
            held.Add(model);
            models.Add(one);
        }
        return answers =>
        {
            var all = models.Select(m => m(answers)).ToList();
            return [.. Enumerable.Range(0, answers.Count).Select(i => all.Average(r => r[i]))];
        };
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
        foreach (var name in weights.Names) this[name] = weights.Load(name).to(policy.Model.HeadWeight.device, copy: true);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        prompts.Dispose();
        foreach (var tensor in tensors.Values) tensor.Dispose();
        foreach (var one in held) one.Dispose();
    }
}
