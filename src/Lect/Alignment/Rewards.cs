using System.Diagnostics;
using System.Globalization;
using System.Text.Json.Nodes;
using Lect.Models;
using Lect.Text;

namespace Lect;

/// <summary>An answer that was sampled.</summary>
/// <param name="Prompt">The conversation before it.</param>
/// <param name="Response">Its text.</param>
/// <param name="Ids">Prompt and answer as the policy's tokens.</param>
/// <param name="Counts">Which of them are the answer.</param>
/// <param name="HasEnd">Whether it ends by itself.</param>
/// <param name="Fact">The documentation that the prompt asks for; null: none.</param>
public sealed record SampledAnswer(JsonArray Prompt, string Response, int[] Ids, bool[] Counts, bool HasEnd, SdkText? Fact)
{
    internal AnswerRow Row => new(Ids, Counts);
}

/// <summary>Gives each answer its reward. Anything may: a model, a program, a few lines of C#.</summary>
public delegate IReadOnlyList<double> RewardFunction(IReadOnlyList<SampledAnswer> answers);

/// <summary>Rewards from models and programs.</summary>
public static class Rewards
{
    /// <summary>The reward of a reward model's folder, which reads prompts and answers as text, by its own template and tokenizer.</summary>
    /// <param name="folder">The reward model.</param>
    /// <param name="policy">The policy's tokenizer; null: texts are always tokenized anew.</param>
    /// <param name="note">Told where tokenizers differ.</param>
    /// <param name="now">The time that its template sees; null: the clock's.</param>
    /// <returns>The function, and what it holds.</returns>
    public static (RewardFunction Reward, IDisposable Model) FromModel(string folder, Tokenizer? policy = null, Action<string>? note = null, DateTime? now = null)
    {
        var scorer = RewardScorer.Load(folder, now: now);
        var same = policy is not null && scorer.Tokenizer is { } own && own.VocabularySize == policy.VocabularySize && Enumerable.Range(0, own.VocabularySize).All(i => own.TokenOf(i) == policy.TokenOf(i));
        if (policy is not null && !same) note?.Invoke($"the tokenizer of {folder} differs from the policy's: it reads the answers as text");
        // Through text always: what it learned from ends as its template ends, not as the policy's ids do.
        var told = false;
        return (answers =>
        {
            var rows = answers.Select(a => scorer.Encode(a.Prompt, a.Response)).ToList();
            var fitted = rows.ConvertAll(scorer.Fitted);
            if (!told && rows.Zip(fitted).Any(r => r.First != r.Second))
            {
                told = true;
                note?.Invoke($"{folder} reads texts of at most {scorer.ContextLength} tokens: of longer ones the beginning is left out");
            }
            return scorer.Score(fitted);
        }, scorer);
    }

    /// <summary>The reward of a program: it reads a line of JSON, {"prompt", "messages", "response"}, and writes a line with a number.</summary>
    /// <param name="command">With its arguments, as a shell takes it.</param>
    /// <param name="seconds">How long it may think about an answer.</param>
    /// <exception cref="InvalidDataException">It cannot be started.</exception>
    public static (RewardFunction Reward, IDisposable Program) FromProgram(string command, double seconds = 60)
    {
        var shell = OperatingSystem.IsWindows() ? ("cmd.exe", "/c", command) : ("/bin/sh", "-c", "trap '' INT\n" + command);   // Ctrl+C is for the run, which asks once more
        var start = new ProcessStartInfo(shell.Item1) { RedirectStandardInput = true, RedirectStandardOutput = true, UseShellExecute = false, ArgumentList = { shell.Item2, shell.Item3 } };
        var process = Process.Start(start) ?? throw new InvalidDataException($"Found that rollout.program = '{command}' cannot be started. Expected a command.");
        return (answers => [.. answers.Select(a => Ask(process, command, a, seconds))], new Stopped(process));
    }

    private static double Ask(Process process, string command, SampledAnswer answer, double seconds)
    {
        string? line;
        try
        {
            var asked = new JsonObject { ["prompt"] = answer.Prompt[^1]!["content"]?.ToString(), ["messages"] = answer.Prompt.DeepClone(), ["response"] = answer.Response }.ToJsonString();
            using var late = new CancellationTokenSource(TimeSpan.FromSeconds(seconds));
            // A program that does not read lets the pipe fill up, and writing waits.
            var written = Task.Run(() => { process.StandardInput.WriteLine(asked); process.StandardInput.Flush(); }, CancellationToken.None);
            written.WaitAsync(late.Token).GetAwaiter().GetResult();
            line = process.StandardOutput.ReadLineAsync(late.Token).AsTask().GetAwaiter().GetResult();
        }
        catch (OperationCanceledException e)
        {
            process.Kill(entireProcessTree: true);
            throw new InvalidDataException(FormattableString.Invariant($"The reward program '{command}' has given no line in {seconds} seconds. Expected one for each line that it reads, written at once (flushed); rollout.program_seconds gives it longer."), e);
        }
        catch (IOException) { line = null; }
        if (line is null) throw new InvalidDataException($"The reward program '{command}' has ended{(process.WaitForExit(1000) ? $" with code {process.ExitCode}" : "")} and given no number. Expected one line with a number for each line that it reads; what it writes to standard error is shown as it is.");
        return double.TryParse(line, NumberStyles.Float, CultureInfo.InvariantCulture, out var number) && double.IsFinite(number) ? number : throw new InvalidDataException($"The reward program '{command}' answered '{(line.Length > 60 ? line[..60] + "…" : line)}'. Expected a line with a finite number.");
    }

    private sealed class Stopped(Process process) : IDisposable
    {
        public void Dispose()
        {
            try
            {
                process.StandardInput.Close();
                if (!process.WaitForExit(2000)) process.Kill(entireProcessTree: true);
            }
            catch (Exception e) when (e is InvalidOperationException or IOException) { }   // it has ended
            process.Dispose();
        }
    }

    /// <summary>What a documentation answer is worth by rule: 1 where it names what the true text names (types, members, parameters, code), less as it leaves some out; 0 where it is empty.</summary>
    public static double NamesFacts(SampledAnswer answer)
    {
        if (answer.Fact is not { } fact) return 0;
        var wanted = (fact.Marks?.Select(m => fact.Text[m.Start..m.End]) ?? []).Append(fact.Kind == "exception" ? fact.Subject! : "").Where(w => w.Length > 1).Distinct(StringComparer.Ordinal).ToList();
        if (wanted.Count == 0) wanted = [.. fact.Text.Split([' ', '.', ',', '(', ')', '"', '\''], StringSplitOptions.RemoveEmptyEntries).Where(w => w.Length > 5).Distinct(StringComparer.OrdinalIgnoreCase)];
        return wanted.Count == 0 ? 0 : wanted.Count(w => answer.Response.Contains(w, StringComparison.OrdinalIgnoreCase)) / (double)wanted.Count;
    }
}

/// <summary>A reward model with its tokenizer and template, from a folder. Not thread-safe.</summary>
public sealed class RewardScorer : IDisposable
{
    private readonly RewardNetwork model;

    private RewardScorer(RewardNetwork model) => this.model = model;

    /// <summary>Its tokenizer; null where the folder has none, and only ids can be used.</summary>
    public Tokenizer? Tokenizer => model.Tokenizer;

    /// <summary>Opens a folder.</summary>
    /// <param name="folder">A classifier of one score over a decoder or an encoder, or with adapters what they were trained on.</param>
    /// <param name="device">auto, cpu, cuda, cuda:N or mps.</param>
    /// <param name="adapters">Folders of LoRA adapters, merged in order.</param>
    /// <param name="now">The time that its template sees; null: the clock's.</param>
    /// <exception cref="InvalidDataException">It is no reward model.</exception>
    public static RewardScorer Load(string folder, string device = "auto", IReadOnlyList<string>? adapters = null, DateTime? now = null) => new(RewardNetwork.Load(folder, Devices.Choose(device), adapters, now));

    /// <summary>A prompt with its answer as tokens.</summary>
    public AnswerRow Encode(JsonArray prompt, string response) => model.Encode(prompt, response);

    /// <summary>A conversation as tokens.</summary>
    public AnswerRow Encode(JsonArray messages) => model.Encode(messages);

    /// <summary>The most tokens of a text.</summary>
    public long ContextLength => model.Classifier.ContextLength;

    // A row without so much of its beginning that it can be read.
    internal AnswerRow Fitted(AnswerRow row) => model.Fitted(row);

    /// <summary>The reward of each row.</summary>
    /// <exception cref="InvalidDataException">A row that is empty, too long, or holds an id outside the vocabulary.</exception>
    public IReadOnlyList<double> Score(IReadOnlyList<AnswerRow> rows, int batch = 32)
    {
        foreach (var row in rows) model.Check(row);
        return RewardModel.Score(model, rows, batch);
    }

    /// <summary>Best-of-n: the response with the highest reward, and that.</summary>
    /// <param name="prompt">The conversation before it.</param>
    /// <param name="responses">At least one.</param>
    public (int Index, double Reward) Best(JsonArray prompt, IReadOnlyList<string> responses) => Score([.. responses.Select(r => Fitted(Encode(prompt, r)))]).Select((reward, i) => (i, reward)).MaxBy(r => r.reward);

    /// <summary>How often it prefers what is preferred; comparisons whose two answers are the same, empty or longer than the model's context are left out.</summary>
    /// <param name="comparisons">With or without kinds.</param>
    /// <param name="note">Told what was left out.</param>
    /// <param name="words">A baseline that is asked the same; null: none.</param>
    /// <exception cref="InvalidDataException">None is left, or the folder has no tokenizer.</exception>
    public RewardEvaluation Evaluate(IEnumerable<Comparison> comparisons, Action<string>? note = null, BagOfWords? words = null) => Evaluate([this], comparisons, note, words);

    /// <summary>The same of several whose rewards are averaged, as <c>lect align ppo</c> averages those of <c>model.reward</c> (Coste et al. 2024); asked is what all of them can read.</summary>
    /// <param name="scorers">At least one.</param>
    /// <param name="comparisons">With or without kinds.</param>
    /// <param name="note">Told what each left out.</param>
    /// <param name="words">A baseline that is asked the same; null: none.</param>
    /// <exception cref="InvalidDataException">None is left, or a folder has no tokenizer.</exception>
    public static RewardEvaluation Evaluate(IReadOnlyList<RewardScorer> scorers, IEnumerable<Comparison> comparisons, Action<string>? note = null, BagOfWords? words = null)
    {
        var asked = comparisons.ToList();
        var scored = scorers.Select(s => s.Scored(asked, note).ToLookup(p => p.Source, ReferenceEqualityComparer.Instance)).ToList();
        double Mean(Comparison c, Func<ScoredPair, double> reward) => scored.Average(s => reward(s[c].First()));
        return RewardEvaluation.Of([.. asked.Where(c => scored.All(s => s.Contains(c))).Select(c => new ScoredPair(Mean(c, p => p.Chosen), Mean(c, p => p.Rejected), c))], words);
    }

    private List<ScoredPair> Scored(List<Comparison> comparisons, Action<string>? note)
    {
        var data = new AlignData(new(), (int)Math.Min(int.MaxValue, model.Classifier.ContextLength), note);
        var rows = data.Rowed(comparisons, model.Encode).ToList();
        data.Tell();
        return RewardModel.Score(model, rows);
    }

    /// <inheritdoc/>
    public void Dispose() => model.Dispose();
}
