using System.Diagnostics;
using System.Text.Json.Nodes;
using Lect.Models;
using TorchSharp;
using static TorchSharp.torch;

namespace Lect;

/// <summary>What a recipe gives the loop.</summary>
/// <typeparam name="TBatch">The examples of one forward pass; numbers, not tensors.</typeparam>
public sealed record Training<TBatch>
{
    /// <summary>What is trained.</summary>
    public required nn.Module Model { get; init; }
    /// <summary>The micro-batches of a step, a function of its number alone (from 0).</summary>
    public required Func<long, IReadOnlyList<TBatch>> Batches { get; init; }
    /// <summary>How many labels of a micro-batch count: micro-batches are averaged by them.</summary>
    public required Func<TBatch, long> Labels { get; init; }
    /// <summary>Tokens of a micro-batch that are read, for the speed; null: as many as labels.</summary>
    public Func<TBatch, long>? Tokens { get; init; }
    /// <summary>scale * the sum of a micro-batch's losses, a scalar.</summary>
    public required Func<TBatch, double, Tensor> Loss { get; init; }
    /// <summary>Figures of the validation split by name, the one that decides first; null: no evaluation.</summary>
    public Func<IReadOnlyList<(string Name, double Value)>>? Evaluate { get; init; }
    /// <summary>Whether figures and sample are told before the first step too: what a model was that is trained on.</summary>
    public bool TellsStart { get; init; }
    /// <summary>The figure whose highest value is the best evaluation; null: the first one's lowest.</summary>
    public string? HighestOf { get; init; }
    /// <summary>A text to look at after an evaluation.</summary>
    public Func<string>? Sample { get; init; }
    /// <summary>What the learning rate of each parameter is multiplied by; null: 1. Parameters without <c>requires_grad</c> stay as they are.</summary>
    public Func<string, double>? RateOf { get; init; }
    /// <summary>Writes the model folder.</summary>
    public required Action<string> Save { get; init; }
    /// <summary>Fills the model from a folder that <see cref="Save"/> wrote; null: from its weights.</summary>
    public Action<string>? Load { get; init; }
    /// <summary>Figures of the steps since they were last asked for, beside the loss; null: none. Of several processes (<see cref="Processes"/>) the first one's share is told.</summary>
    public Func<IEnumerable<(string Name, double Value)>>? Figures { get; init; }
}

/// <summary>What happened: a line of metrics, and what a person may want to see beside it.</summary>
/// <param name="Metrics">The line as metrics.jsonl has it.</param>
/// <param name="Step">Optimizer steps taken.</param>
/// <param name="Steps">Of how many.</param>
/// <param name="Remaining">Time left at the pace of now.</param>
public sealed record TrainEvent(JsonObject Metrics, long Step, long Steps, TimeSpan Remaining);

/// <summary>The loop of every recipe: micro-batches, gradients, clipping, AdamW, metrics, evaluation, checkpoints; stops and goes on exactly.</summary>
public static class TrainLoop
{
    /// <summary>Trains from the run's last checkpoint to its last step; in several processes (<see cref="Processes"/>) each does its share of every step.</summary>
    /// <param name="training">Model, data and loss.</param>
    /// <param name="config">The loop's keys; <see cref="LoopConfig.Steps"/> is set.</param>
    /// <param name="seed">Of the run.</param>
    /// <param name="run">Its folder.</param>
    /// <param name="report">Told each line of metrics.</param>
    /// <param name="stop">Stops after the step in work, with a checkpoint.</param>
    /// <returns>Where the run stands: at its end.</returns>
    /// <exception cref="OperationCanceledException">It was stopped; the checkpoint is written.</exception>
    /// <exception cref="ArithmeticException">The loss is no number any more.</exception>
    public static RunState Run<TBatch>(Training<TBatch> training, LoopConfig config, long seed, RunFolder run, Action<TrainEvent>? report = null, CancellationToken stop = default)
    {
        using var optimizer = new AdamW(training.Model.named_parameters().Where(p => p.parameter.requires_grad).Select(p => (p.name, (Tensor)p.parameter)), config.WeightDecay, config.Beta1, config.Beta2, config.Epsilon, training.RateOf);
        using var events = new EventLog(run);
        if (Processes.IsFirst) Processes.Meet();   // data and model are prepared: the others may follow (RunFolder.OpenOrBegin)
        var state = new State<TBatch>(training, config, seed, run, optimizer, events, report).Run(stop);
        Processes.Meet();   // the model is in its folder, for all
        return state;
    }

    private sealed class State<TBatch>(Training<TBatch> training, LoopConfig config, long seed, RunFolder run, AdamW optimizer, EventLog events, Action<TrainEvent>? report)
    {
        private const string Advice = "Expected finite numbers: lower train.lr, lengthen train.warmup, or set train.clip. The checkpoints before this step are whole.";

        private readonly long steps = config.Steps!.Value;
        private readonly Schedule rates = config.Rates;
        private readonly Stopwatch pace = new();
        private RunState state = RunState.Start;
        private long firstStep, tokensSince;
        private TimeSpan timeSince;

        public RunState Run(CancellationToken stop)
        {
            state = run.Restore(Fill, optimizer);
            events.Begin();
            WeightsOfTheFirst();
            PlaceOfTheFirst();
            firstStep = state.Step;
            if (run.IsOurs && IsAveraged) return state;   // ended for good, with the mean at the root or not
            if (state.Step > 0) Publish(state.Step == steps);   // a kill may have come between the checkpoint and this
            if (state.Step == 0 && training.TellsStart && config.EvalEvery > 0) Evaluate(counts: false);
            while (state.Step < steps && !IsOutOfPatience)
            {
                pace.Start();
                var (loss, norm, rate, isAgreed) = Step(stop.IsCancellationRequested);
                pace.Stop();
                if (!double.IsFinite(loss) || !double.IsFinite(norm)) throw new ArithmeticException($"Found a loss of {loss} and a gradient norm of {norm} at step {state.Step}. {Advice}");
                var last = state.Step == steps;
                if (state.Step % config.LogEvery == 0 || last) LogStep(loss, norm, rate);
                var best = (Due(config.EvalEvery) || (last && config.EvalEvery > 0)) && Evaluate();
                last |= IsOutOfPatience;
                var stops = isAgreed || (Processes.Count == 1 && stop.IsCancellationRequested);   // of several, all must know
                if (Due(config.CheckpointEvery)) WeightsOfTheFirst();   // of other processors' last bits
                if (best || last || Due(config.CheckpointEvery) || stops) run.Checkpoint(state, training.Save, optimizer, Math.Max(2, config.Average));
                Publish(last);
                if (stops && !last) throw new OperationCanceledException(stop);
            }
            if (config.Average > 1 && run.IsOurs) PublishAverage();
            return state;
        }

        // The first process alone reads checkpoints, and alone evaluates.
        private void WeightsOfTheFirst() => Processes.TakeFromFirst(training.Model.named_parameters().Select(p => (Tensor)p.parameter).Concat(training.Model.named_buffers().Select(b => b.buffer)).Concat(optimizer.State.Select(s => s.Tensor)));

        private void PlaceOfTheFirst()
        {
            Span<double> place = [state.Step, state.Tokens, state.BestStep, state.Best];
            Processes.TakeFromFirst(place);
            state = new((long)place[0], (long)place[1], (long)place[2], place[3]);
        }

        // The mean of the last checkpoints' weights (Vaswani et al. 2017, section 6.1) is the model where it is better than the best of them.
        private void PublishAverage()
        {
            var checkpoints = run.Checkpoints.TakeLast(config.Average).ToList();
            if (checkpoints.Count < 2 || training.Evaluate is null) return;
            using var scope = NewDisposeScope();
            using var noGrad = no_grad();
            var tensors = training.Model.named_parameters().Select(p => (Tensor)p.parameter).Concat(training.Model.named_buffers().Select(b => b.buffer)).ToList();
            var sums = tensors.Select(t => zeros_like(t)).ToList();
            foreach (var checkpoint in checkpoints)
            {
                Fill(checkpoint);
                for (var i = 0; i < sums.Count; i++) sums[i].add_(tensors[i]);
            }
            for (var i = 0; i < sums.Count; i++) tensors[i].copy_(sums[i] / checkpoints.Count);
            training.Model.eval();
            var figures = training.Evaluate();
            if (Decides(figures) < state.Best) training.Save(run.Path);
            var line = Line(figures);
            line["averaged"] = (double)checkpoints.Count;
            Log(line);   // behind the model: a kill between them does it once more
        }

        private void Fill(string checkpoint)
        {
            if (training.Load is { } load) load(checkpoint);
            else ModelFolder.LoadWeights(training.Model, Weights.Open(checkpoint), checkpoint);
        }

        private bool IsAveraged => (state.Step >= steps || IsOutOfPatience) && RunFolder.ReadMetrics(run.Path).Any(l => l["averaged"] is not null && (long)l["step"]! == state.Step);

        private double Decides(IReadOnlyList<(string Name, double Value)> figures) => training.HighestOf is { } name ? -figures.First(f => f.Name == name).Value : figures[0].Value;

        private JsonObject Line(IReadOnlyList<(string Name, double Value)> figures)
        {
            var line = new JsonObject { ["step"] = state.Step };
            foreach (var (name, value) in figures) line[name] = double.IsFinite(value) ? value : null;
            return line;
        }

        // A function of the state, so that a run that ended this way has ended for good.
        private bool IsOutOfPatience => config.Patience > 0 && state.BestStep >= 0 && state.Step - state.BestStep >= config.Patience * config.EvalEvery;

        private bool Due(long every) => every > 0 && state.Step % every == 0;

        // The model folder at the root: the best by evaluation, else the last.
        private void Publish(bool last)
        {
            if (run.IsOurs && (state.BestStep == state.Step || (last && state.BestStep < 0))) training.Save(run.Path);
        }

        private (double Loss, double Norm, double Rate, bool IsAgreed) Step(bool stops)
        {
            training.Model.train();
            var batches = training.Batches(state.Step);
            if (state.Step == 0 && batches.Count < Processes.Count) throw new InvalidDataException($"Found {Processes.Count} processes and a step of {batches.Count} micro-batches. Expected at least one for each: raise the batch, lower train.micro_batch_size, or start fewer (mpirun -n).");
            var labels = Math.Max(1, batches.Sum(training.Labels));   // none: nothing is learned in this step
            double loss = 0;
            optimizer.ZeroGradients();
            for (var i = 0; i < batches.Count; i++)
            {
                if (!Processes.Owns(i)) continue;
                using var scope = NewDisposeScope();
                Dropout.Begin(Seeds.For(seed, "dropout", state.Step, i));
                var part = training.Loss(batches[i], 1.0 / labels);
                part.backward();
                loss += part.item<float>();
            }
            optimizer.SumGradients();
            Span<double> all = [loss, stops ? 1 : 0];
            Processes.Sum(all);
            var rate = rates.At(state.Step);
            var norm = optimizer.Step(rate, config.Clip > 0 ? config.Clip : double.PositiveInfinity);
            var tokens = training.Tokens is { } count ? batches.Sum(count) : labels;
            state = state with { Step = state.Step + 1, Tokens = state.Tokens + tokens };
            tokensSince += tokens;
            return (all[0], norm, rate, all[1] > 0);
        }

        private void LogStep(double loss, double norm, double rate)
        {
            var speed = tokensSince / Math.Max(1e-9, (pace.Elapsed - timeSince).TotalSeconds);
            (tokensSince, timeSince) = (0, pace.Elapsed);
            var line = new JsonObject { ["step"] = state.Step, ["loss"] = loss, ["lr"] = rate, ["grad_norm"] = norm, ["tokens"] = state.Tokens, ["tokens_per_second"] = Math.Round(speed, 1) };
            foreach (var (name, value) in training.Figures?.Invoke() ?? []) line[name] = double.IsFinite(value) ? value : null;
            Log(line);
        }

        private bool Evaluate(bool counts = true)
        {
            if (training.Evaluate is null) return false;
            var isBest = run.IsOurs && Evaluate(training.Evaluate, counts);
            PlaceOfTheFirst();
            return isBest;
        }

        private bool Evaluate(Func<IReadOnlyList<(string Name, double Value)>> evaluate, bool counts)
        {
            training.Model.eval();
            var figures = evaluate();
            if (double.IsNaN(figures[0].Value)) throw new ArithmeticException($"Found a {figures[0].Name} that is no number at step {state.Step}. {Advice}");
            var line = Line(figures);
            var isBest = counts && Decides(figures) < state.Best;
            if (isBest) state = state with { Best = Decides(figures), BestStep = state.Step };
            if (training.Sample?.Invoke() is { } sample) line["sample"] = sample;
            Log(line);
            return isBest;
        }

        private void Log(JsonObject line)
        {
            run.Log(line);
            events.Write(line);
            report?.Invoke(new(line, state.Step, steps, (steps - state.Step) * pace.Elapsed / Math.Max(1, state.Step - firstStep)));
        }
    }
}
