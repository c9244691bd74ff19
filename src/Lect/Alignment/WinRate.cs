using System.Text.Json.Nodes;
using Lect.Models;
using Lect.Text;

namespace Lect;

/// <summary>How two models are compared.</summary>
public sealed record WinRateOptions
{
    /// <summary>Prompts at most.</summary>
    public int Limit { get; init; } = 200;
    /// <summary>Tokens of an answer at most.</summary>
    public int MaxNewTokens { get; init; } = 48;
    /// <summary>Of sampling; 0: greedy.</summary>
    public double Temperature { get; init; }
    /// <summary>Key of the random numbers.</summary>
    public long Seed { get; init; } = 1;
    /// <summary>A reward model's folder, <c>facts</c>, or a file of people's votes as the studio exports it.</summary>
    public string Judge { get; init; } = "facts";
    /// <summary>Prompts; null: the SDK's of the test split.</summary>
    public string? File { get; init; }
    /// <summary>auto, cpu, cuda, cuda:N or mps.</summary>
    public string Device { get; init; } = "auto";
}

/// <summary>How often one model's answers are preferred to another's; a tie is half a win.</summary>
/// <param name="Rate">Of the first model.</param>
/// <param name="Interval">Wilson's of 95 %.</param>
/// <param name="Wins">Of the first.</param>
/// <param name="Losses">Of the first.</param>
/// <param name="Ties">Neither.</param>
/// <param name="P">Of the sign test, ties left out.</param>
/// <param name="Mean">Mean judgement of the first's answers.</param>
/// <param name="MeanAgainst">Of the second's.</param>
/// <param name="Length">Mean characters of the first's answers.</param>
/// <param name="LengthAgainst">Of the second's.</param>
/// <param name="LengthControlled">The win rate at equal length, by a logistic regression of wins on the difference in length (Dubois et al. 2024, without its other terms).</param>
public sealed record WinRate(double Rate, (double Low, double High) Interval, int Wins, int Losses, int Ties, double P, double Mean, double MeanAgainst, double Length, double LengthAgainst, double LengthControlled)
{
    /// <summary>Lets both answer the same prompts and a judge compare.</summary>
    /// <param name="model">The first model's folder.</param>
    /// <param name="adapter">Its adapter; null: none.</param>
    /// <param name="against">The second's.</param>
    /// <param name="options">How.</param>
    /// <param name="note">Told what happens.</param>
    /// <exception cref="InvalidDataException">Something given cannot be used.</exception>
    public static WinRate Of(string model, string? adapter, string against, WinRateOptions options, Action<string>? note = null)
    {
        if (options.Limit < 1 || options.MaxNewTokens < 1 || options.Temperature < 0) throw new InvalidDataException($"Found --limit {options.Limit}, --max-new-tokens {options.MaxNewTokens}, --temperature {options.Temperature}. Expected 1 or more, and 0 or more.");
        if (File.Exists(options.Judge)) return OfVotes(options.Judge, ModelFolder.NameOf(model), ModelFolder.NameOf(against));
        var prompts = (options.File is { } file ? Rows.Read(file).Select(r => (new ChatData(file).Prompt(r), (SdkText?)null)) : SdkInstructions.Prompts(CorpusSplit.Test).Where((_, i) => i % 7 == 0).Select(p => (p.Prompt, (SdkText?)p.Fact))).Take(options.Limit).ToList();
        if (prompts.Count == 0) throw new InvalidDataException($"Found no prompts in {options.File}. Expected at least one.");
        if (options.Judge == "facts" && options.File is not null) throw new InvalidDataException("Found --judge facts with --file. Expected a reward model's folder: the rule knows the SDK's documentation alone.");
        note?.Invoke($"{prompts.Count} prompts, answered by {model} and {against}");
        var (first, second) = (Answers(model, adapter, prompts, options), Answers(against, null, prompts, options));
        var (judge, held) = options.Judge == "facts" ? (a => [.. a.Select(Rewards.NamesFacts)], null) : Rewards.FromModel(options.Judge, note: note);
        using (held) return Compare(first, judge(first), second, judge(second));
    }

    // What people said of the two; nobody needs to answer anew.
    private static WinRate OfVotes(string file, string model, string against)
    {
        var (outcomes, lengths, own, other) = (new List<double>(), new List<double>(), 0.0, 0.0);
        var data = new ChatData(file);
        foreach (var row in Rows.Read(file))
        {
            var (better, worse) = ((string?)row["chosen_model"], (string?)row["rejected_model"]);
            if ((better, worse) != (model, against) && (worse, better) != (model, against)) continue;
            var (c, isFirst) = (data.Comparisons(row).First(), better == model);
            outcomes.Add(c.IsTie ? 0.5 : isFirst ? 1 : 0);
            var (mine, theirs) = isFirst ? (c.Chosen.Length, c.Rejected.Length) : (c.Rejected.Length, c.Chosen.Length);
            lengths.Add(mine - theirs);
            (own, other) = (own + mine, other + theirs);
        }
        if (outcomes.Count == 0) throw new InvalidDataException($"{file}: found no votes between '{model}' and '{against}'. Expected rows whose chosen_model and rejected_model are these names, as GET /api/votes of the studio gives them.");
        var rate = outcomes.Average();
        var (wins, losses) = (outcomes.Count(o => o == 1), outcomes.Count(o => o == 0));
        return new(rate, PreferenceStatistics.Wilson(outcomes.Sum(), outcomes.Count), wins, losses, outcomes.Count - wins - losses, PreferenceStatistics.SignTest(wins, wins + losses), rate, 1 - rate, own / outcomes.Count, other / outcomes.Count, AtEqualLength(outcomes, lengths));
    }

    private static List<SampledAnswer> Answers(string folder, string? adapter, List<(JsonArray Prompt, SdkText? Fact)> prompts, WinRateOptions options)
    {
        using var model = LanguageModel.Load(folder, options.Device, adapters: adapter is null ? null : [adapter]);
        var decoding = model.Defaults.Decoding with { Sample = options.Temperature > 0, Temperature = options.Temperature > 0 ? options.Temperature : 1, MaxNewTokens = options.MaxNewTokens, TopK = 0, TopP = 1, Seed = options.Seed };
        var answers = new List<SampledAnswer>();
        foreach (var chunk in prompts.Chunk(32))
        {
            var asked = chunk.Select(p => model.Encode(p.Prompt)).ToList();
            var said = model.Generate(asked, model.Defaults with { Beams = 1, Truncate = true, Decoding = decoding }, [.. chunk.Select((_, i) => Seeds.For(options.Seed, "win rate", answers.Count + i))]);
            answers.AddRange(chunk.Select((p, i) => new SampledAnswer(p.Prompt, said[i].Text.Trim(), [.. asked[i], .. said[i].Ids], [.. asked[i].Select(_ => false), .. said[i].Ids.Select(_ => true)], said[i].FinishReason == "stop", p.Fact)));
        }
        return answers;
    }

    /// <summary>The figures of answers that were judged.</summary>
    internal static WinRate Compare(IReadOnlyList<SampledAnswer> first, IReadOnlyList<double> a, IReadOnlyList<SampledAnswer> second, IReadOnlyList<double> b)
    {
        var outcomes = a.Zip(b, (x, y) => x > y ? 1.0 : x == y ? 0.5 : 0).ToList();
        var (wins, losses, ties) = (outcomes.Count(o => o == 1), outcomes.Count(o => o == 0), outcomes.Count(o => o == 0.5));
        var lengths = first.Zip(second, (x, y) => (double)(x.Response.Length - y.Response.Length)).ToList();
        return new(outcomes.Average(), PreferenceStatistics.Wilson(outcomes.Sum(), outcomes.Count), wins, losses, ties, PreferenceStatistics.SignTest(wins, wins + losses), a.Average(), b.Average(), first.Average(s => s.Response.Length), second.Average(s => s.Response.Length), AtEqualLength(outcomes, lengths));
    }

    // P(win) = σ(w0 + w1 tanh(difference / its deviation)) by Newton's method; σ(w0) is the rate where the difference is 0.
    private static double AtEqualLength(List<double> outcomes, List<double> lengths)
    {
        var deviation = Math.Sqrt(lengths.Average(l => l * l));
        if (deviation == 0) return outcomes.Average();
        var x = lengths.Select(l => Math.Tanh(l / deviation)).ToList();
        var (w0, w1) = (0.0, 0.0);
        for (var round = 0; round < 50; round++)
        {
            double g0 = -1e-3 * w0, g1 = -1e-3 * w1, h00 = 1e-3, h01 = 0, h11 = 1e-3;   // a little of a prior, so that separable outcomes have an end
            for (var i = 0; i < x.Count; i++)
            {
                var p = 1 / (1 + Math.Exp(-(w0 + w1 * x[i])));
                var weight = p * (1 - p);
                (g0, g1) = (g0 + outcomes[i] - p, g1 + (outcomes[i] - p) * x[i]);
                (h00, h01, h11) = (h00 + weight, h01 + weight * x[i], h11 + weight * x[i] * x[i]);
            }
            var determinant = h00 * h11 - h01 * h01;
            (w0, w1) = (w0 + (h11 * g0 - h01 * g1) / determinant, w1 + (h00 * g1 - h01 * g0) / determinant);
        }
        return 1 / (1 + Math.Exp(-w0));
    }
}
