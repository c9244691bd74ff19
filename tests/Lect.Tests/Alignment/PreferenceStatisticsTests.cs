using System.Text.Json.Nodes;
using static Lect.Tests.Alignment.AlignmentFixture;

namespace Lect.Tests.Alignment;

/// <summary>Statistics of votes and ratings against the fixtures' float64 values.</summary>
public sealed class PreferenceStatisticsTests
{
    private const double Exact = 1e-9;
    private static readonly JsonNode s_expected = Json("preferences", "expected.json"), s_votes = Json("preferences", "votes.json");
    private static readonly List<string> s_players = [.. s_expected["bradley_terry"]!["strengths"]!.AsObject().Select(p => p.Key)];

    private static List<(int A, int B, Vote Vote)> Votes() => [.. s_votes["votes"]!.AsArray().Select(v => (s_players.IndexOf((string)v![0]!), s_players.IndexOf((string)v[1]!), (string)v[2]! switch { "a" => Vote.A, "b" => Vote.B, _ => Vote.Tie }))];

    [Fact]
    public void Bradley_and_Terrys_strengths_and_their_errors()
    {
        var wins = PreferenceStatistics.Wins(Votes(), s_players.Count);
        var bt = s_expected["bradley_terry"]!;
        for (var i = 0; i < s_players.Count; i++)
            for (var j = 0; j < s_players.Count; j++) Near((double)s_expected["wins_ties_half"]![i]![j]!, wins[i, j], Exact, "wins");
        var (strengths, errors, likelihood) = PreferenceStatistics.BradleyTerry(wins);
        for (var i = 0; i < s_players.Count; i++)
        {
            Near((double)bt["strengths"]![s_players[i]]!, strengths[i], Exact, s_players[i]);
            Near((double)bt["standard_errors"]![s_players[i]]!, errors[i], Exact, s_players[i] + ", error");
        }
        Near((double)bt["log_likelihood"]!, likelihood, Exact, "likelihood");
    }

    [Fact]
    public void Elo_intervals_and_tests()
    {
        foreach (var run in s_expected["elo"]!.AsArray())
        {
            var votes = Votes();
            var after = run!["rating_of_a_and_b_after_each_vote"]!.AsArray();
            for (var n = 1; n <= votes.Count; n += 40)
            {
                var ratings = PreferenceStatistics.Elo(votes.Take(n), s_players.Count, (double)run["k"]!);
                Near((double)after[n - 1]![0]!, ratings[votes[n - 1].A], Exact, $"rating after vote {n}");
                Near((double)after[n - 1]![1]!, ratings[votes[n - 1].B], Exact, $"rating after vote {n}");
            }
        }
        var first = s_expected["first_position"]!;
        var (wins, decisive) = ((int)first["wins"]!, (int)first["decisive"]!);
        var (low, high) = PreferenceStatistics.Wilson(wins, decisive);
        Near((double)first["wilson_95"]![0]!, low, Exact, "low");
        Near((double)first["wilson_95"]![1]!, high, Exact, "high");
        Near((double)first["binomial_p"]!, PreferenceStatistics.SignTest(wins, decisive), Exact, "sign test");
        foreach (var pair in s_expected["pairs"]!.AsArray())
            Near((double)pair!["sign_test_p"]!, PreferenceStatistics.SignTest((int)pair["wins"]!, (int)pair["wins"]! + (int)pair["losses"]!), Exact, pair["pair"]!.ToJsonString());
    }

    [Fact]
    public void Agreement_of_raters_and_best_of_n()
    {
        var ratings = s_votes["ratings"]!.AsArray().Select(r => (IReadOnlyList<string?>)[.. r!.AsArray().Select(v => (string?)v?.ToString())]).ToList();
        foreach (var pair in s_expected["cohen"]!.AsArray())
            Near((double)pair!["cohen_kappa"]!, PreferenceStatistics.CohenKappa(ratings[(int)pair["raters"]![0]!], ratings[(int)pair["raters"]![1]!]), Exact, "kappa");
        Near((double)s_expected["krippendorff_alpha_nominal"]!, PreferenceStatistics.KrippendorffAlpha(ratings), Exact, "alpha");
        Near((double)s_expected["fleiss_kappa_items_rated_by_all"]!["value"]!, PreferenceStatistics.FleissKappa(ratings), Exact, "Fleiss");
        var best = s_expected["best_of_n"]!;
        var rewards = s_votes["rewards"]!.AsArray().Select(Numbers).ToList();
        foreach (var (n, value) in best["expected_best_reward"]!.AsObject())
            Near((double)value!, rewards.Average(r => PreferenceStatistics.ExpectedBest(r, int.Parse(n, System.Globalization.CultureInfo.InvariantCulture))), Exact, $"best of {n}");
        foreach (var (n, value) in best["kl_bound_nats"]!.AsObject()) Near((double)value!, PreferenceStatistics.BestOfNKl(int.Parse(n, System.Globalization.CultureInfo.InvariantCulture)), Exact, $"bound of {n}");
        var pass = best["pass_at_k"]!;
        foreach (var (k, value) in pass["values"]!.AsObject()) Near((double)value!, Ids(pass["correct"]).Average(c => PreferenceStatistics.PassAtK((int)pass["samples"]!, c, int.Parse(k, System.Globalization.CultureInfo.InvariantCulture))), Exact, $"pass at {k}");
    }

    [Fact]
    public void A_bag_of_words_learns_what_words_tell_and_knows_nothing_of_order()
    {
        var words = BagOfWords.Learn([.. Enumerable.Range(0, 40).Select(i => new Lect.Text.Comparison([], $"surely word{i % 5}", $"perhaps word{(i + 1) % 5}"))]);
        Assert.Equal(1, words.Right(new([], "surely something", "perhaps something else")));
        Assert.Equal(0, words.Right(new([], "Perhaps.", "Surely!")));
        Assert.Equal(0.5, words.Right(new([], "new words", "words new")));
        // Beside a reward model that is right of all three: 1 - (1 + 0 + 1/2) / 3, and the deviation of 0, 1, 1/2 over sqrt(3).
        ScoredPair[] pairs = [new(1, 0, new([], "surely something", "perhaps", Kind: "words")), new(1, 0, new([], "perhaps", "surely", Kind: "words")), new(1, 0, new([], "new words", "words new", Kind: "order"))];
        var beside = RewardEvaluation.Of(pairs, words).Words!;
        Assert.Equal((0.5, 0.5), (beside.Accuracy, beside.Ahead));
        Assert.Equal(0.5 / Math.Sqrt(3), beside.StandardError, 12);
        Assert.Equal([("order", 0.5), ("words", 0.5)], beside.ByKind);
        Assert.Null(RewardEvaluation.Of(pairs).Words);
        Assert.Contains("no comparisons", Assert.Throws<InvalidDataException>(() => BagOfWords.Learn([])).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Peoples_votes_are_a_judge_of_two_models()
    {
        var file = Path.GetTempFileName() + ".jsonl";
        string Row(string better, string worse, bool tie = false) => new JsonObject { ["prompt"] = "q", ["chosen"] = "longer answer", ["rejected"] = "short", ["chosen_model"] = better, ["rejected_model"] = worse, ["tie"] = tie }.ToJsonString();
        File.WriteAllLines(file, [Row("new", "old"), Row("new", "old"), Row("old", "new"), Row("new", "old", tie: true), Row("other", "old")]);
        var found = WinRate.Of("runs/new", null, "runs/old/", new() { Judge = file });
        Assert.Equal((2.5 / 4, 2, 1, 1), (found.Rate, found.Wins, found.Losses, found.Ties));
        Assert.Equal((13 * 3 + 5) / 4.0, found.Length);
        Assert.Contains("'nobody'", Assert.Throws<InvalidDataException>(() => WinRate.Of("nobody", null, "old", new() { Judge = file })).Message, StringComparison.Ordinal);
        File.Delete(file);
    }
}
