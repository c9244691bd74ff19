using System.Text.Json.Nodes;

namespace Lect.Studio;

/// <summary>Votes as training data and as statistics.</summary>
public static class Votes
{
    /// <summary>What a vote may be.</summary>
    public static IReadOnlyList<string> Choices { get; } = ["first", "second", "tie", "bad"];

    /// <summary>A vote as <c>lect align reward</c> and <c>lect align dpo</c> read it; null for a tie that is not asked for.</summary>
    /// <param name="vote">The vote.</param>
    /// <param name="ties">Ties (and votes for neither) are written as <c>"tie": true</c>.</param>
    public static JsonObject? Row(StoredVote vote, bool ties)
    {
        var isTie = vote.Choice is "tie" or "bad";
        if (isTie && !ties) return null;
        var swapped = vote.Choice == "second";
        var prompt = JsonNode.Parse(vote.Prompt)!.AsArray();
        var row = new JsonObject
        {
            ["prompt"] = prompt.Count == 1 && (string?)prompt[0]!["role"] == "user" ? (string)prompt[0]!["content"]! : prompt,
            ["chosen"] = swapped ? vote.Second : vote.First,
            ["rejected"] = swapped ? vote.First : vote.Second,
            ["chosen_model"] = swapped ? vote.SecondModel : vote.FirstModel,
            ["rejected_model"] = swapped ? vote.FirstModel : vote.SecondModel,
            ["rater"] = vote.Rater,
            ["at"] = vote.At.ToString("O"),
        };
        if (isTie) row["tie"] = true;
        if (vote.Choice == "bad") row["both_bad"] = true;
        if (vote.Comment is not null) row["comment"] = vote.Comment;
        return row;
    }

    /// <summary>The vote of a row that <see cref="Row"/> wrote, or of any comparison.</summary>
    /// <exception cref="InvalidDataException">It is no comparison.</exception>
    public static StoredVote Read(JsonObject row)
    {
        var comparison = new Text.ChatData("import").Comparisons(row).First();
        var (first, second) = (Clean(comparison.Chosen), Clean(comparison.Rejected));
        var (choice, rater, prompt) = (comparison.IsTie ? (bool?)row["both_bad"] == true ? "bad" : "tie" : "first", RequestBody.TextOf(row["rater"]) ?? "import", comparison.Prompt.ToJsonString());
        return new()
        {
            At = DateTimeOffset.TryParse(RequestBody.TextOf(row["at"]), System.Globalization.CultureInfo.InvariantCulture, out var at) ? at.ToUniversalTime() : DateTimeOffset.UtcNow,
            Rater = rater.Length > 100 ? rater[..100] : rater,
            Prompt = prompt,
            First = first,
            Second = second,
            FirstModel = RequestBody.TextOf(row["chosen_model"]) ?? "unknown",
            SecondModel = RequestBody.TextOf(row["rejected_model"]) ?? "unknown",
            Choice = choice,
            Comment = RequestBody.TextOf(row["comment"]),
            Fingerprint = StudioStore.FingerprintOf(rater, prompt, first, second, choice),
        };
    }

    /// <summary>Without the character that databases cannot keep.</summary>
    internal static string Clean(string text) => text.Replace("\0", "", StringComparison.Ordinal);

    /// <summary>How many there are, what raters agree on, and how strong models are by Bradley and Terry, with 95 % intervals.</summary>
    public static JsonObject Statistics(IReadOnlyList<StoredVote> votes)
    {
        var (names, raters) = (votes.SelectMany(v => new[] { v.FirstModel, v.SecondModel }).Distinct().Order(StringComparer.Ordinal).ToList(), votes.Select(v => v.Rater).Distinct().Order(StringComparer.Ordinal).ToList());
        var between = votes.Where(v => v.FirstModel != v.SecondModel).Select(v => (names.IndexOf(v.FirstModel), names.IndexOf(v.SecondModel), v.Choice switch { "first" => Vote.A, "second" => Vote.B, _ => Vote.Tie })).ToList();
        var json = new JsonObject
        {
            ["votes"] = votes.Count,
            ["choices"] = new JsonObject(Choices.Select(c => KeyValuePair.Create(c, (JsonNode?)votes.Count(v => v.Choice == c)))),
            ["raters"] = new JsonObject(raters.Select(r => KeyValuePair.Create(r, (JsonNode?)votes.Count(v => v.Rater == r)))),
            ["first_place_share"] = votes.Any(v => v.Choice is "first" or "second") ? votes.Count(v => v.Choice == "first") / (double)votes.Count(v => v.Choice is "first" or "second") : null,
            ["agreement"] = Agreement(votes),
        };
        if (between.Count > 0) json["models"] = Strengths(names, between);
        return json;
    }

    // Over answers that several raters saw; a and b are the two texts in their own order, so that the order on the page does not matter.
    private static JsonObject? Agreement(IReadOnlyList<StoredVote> votes)
    {
        static bool InOrder(StoredVote v) => string.CompareOrdinal(v.First, v.Second) <= 0;
        static string Said(StoredVote v) => v.Choice switch { "first" => InOrder(v) ? "a" : "b", "second" => InOrder(v) ? "b" : "a", _ => "tie" };
        var items = votes.GroupBy(v => InOrder(v) ? (v.Prompt, v.First, v.Second) : (v.Prompt, v.Second, v.First)).Select(g => g.GroupBy(v => v.Rater).ToDictionary(r => r.Key, r => Said(r.Last()))).Where(i => i.Count > 1).ToList();
        if (items.Count == 0) return null;
        var ratings = items.SelectMany(i => i.Keys).Distinct().Select(rater => (IReadOnlyList<string?>)items.ConvertAll(i => i.GetValueOrDefault(rater))).ToList();
        return new() { ["items"] = items.Count, ["raters"] = ratings.Count, ["alpha"] = PreferenceStatistics.KrippendorffAlpha(ratings), ["kappa"] = ratings.Count == 2 ? PreferenceStatistics.CohenKappa(ratings[0], ratings[1]) : null };
    }

    private static JsonArray Strengths(List<string> names, List<(int A, int B, Vote Vote)> between)
    {
        var compared = names.Where((_, i) => between.Any(b => b.Item1 == i || b.Item2 == i)).ToList();
        var votes = between.ConvertAll(b => (compared.IndexOf(names[b.A]), compared.IndexOf(names[b.B]), b.Vote));
        var (strengths, errors, _) = PreferenceStatistics.BradleyTerry(PreferenceStatistics.Wins(votes, compared.Count));
        double? Finite(double value) => Math.Abs(value) < 30 ? value : null;   // one who never won, or never lost, has no strength
        return [.. compared.Select((name, i) =>
        {
            var own = votes.Where(v => v.Item1 == i || v.Item2 == i).ToList();
            var won = own.Sum(v => v.Vote == Vote.Tie ? 0.5 : (v.Vote == Vote.A) == (v.Item1 == i) ? 1 : 0);
            var (low, high) = PreferenceStatistics.Wilson(won, own.Count);
            return (JsonNode)new JsonObject { ["model"] = name, ["votes"] = own.Count, ["won"] = won, ["rate"] = won / own.Count, ["low"] = low, ["high"] = high, ["strength"] = Finite(strengths[i]), ["strength_low"] = Finite(strengths[i] - 1.96 * errors[i]), ["strength_high"] = Finite(strengths[i] + 1.96 * errors[i]) };
        }).OrderByDescending(m => (double?)m["strength"] ?? (double)m["rate"]!)];
    }
}
