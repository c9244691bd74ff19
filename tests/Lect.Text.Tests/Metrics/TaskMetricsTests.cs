using System.Text.Json.Nodes;
using Lect.Testing;

namespace Lect.Text.Tests.Metrics;

/// <summary>GLUE's figures, classification, entities and SQuAD against scikit-learn, scipy, seqeval and SQuAD's scripts (shared/fixtures/metrics: other people's text, not copied here).</summary>
public sealed class TaskMetricsTests
{
    private static JsonNode Json(string name) => Fixtures.Json(Fixtures.Shared("fixtures", "metrics", name + ".json"));

    private static int[] Ints(JsonNode n) => [.. n.AsArray().Select(x => (int)(double)x!)];

    private static double[] Doubles(JsonNode n) => [.. n.AsArray().Select(Number)];

    private static double Number(JsonNode? n) => n!.GetValueKind() == System.Text.Json.JsonValueKind.String ? double.NaN : (double)n;

    private static void Same(double expected, double found, string what)
    {
        if (double.IsNaN(expected)) Assert.True(double.IsNaN(found), what);
        else Assert.True(Math.Abs(expected - found) <= 1e-9, $"{what}: found {found:r}, expected {expected:r}");
    }

    [Fact]
    public void Glue()
    {
        var json = Json("glue");
        foreach (var (name, task) in json["tasks"]!.AsObject().Concat(json["degenerate"]!.AsObject()))
        {
            if (name == "STS-B")
            {
                Same((double)task!["pearson"]!, Correlations.Pearson(Doubles(task["gold"]!), Doubles(task["pred"]!)), name);
                Same((double)task["spearman"]!, Correlations.Spearman(Doubles(task["gold"]!), Doubles(task["pred"]!)), name);
                continue;
            }
            var (gold, predicted) = (Ints(task!["gold"]!), Ints(task["pred"]!));
            var found = new Confusion(gold, predicted, Math.Max(2, gold.Concat(predicted).Max() + 1));
            Same((double)task["accuracy"]!, found.Accuracy, name + " accuracy");
            if (task["f1"] is { } f1) Same((double)f1, found.Of(1).F1, name + " f1");
            if (task["mcc"] is { } mcc) Same((double)mcc, found.Matthews, name + " mcc");
        }
        foreach (var c in json["correlations"]!.AsArray())
        {
            var (x, y) = (Doubles(c!["x"]!), Doubles(c["y"]!));
            Same(Number(c["pearson"]), Correlations.Pearson(x, y), "pearson");
            Same(Number(c["spearman"]), Correlations.Spearman(x, y), "spearman");
            Same(Number(c["kendall_tau_b"]), Correlations.KendallTauB(x, y), "tau-b");
            Assert.Equal(Doubles(c["ranks_x"]!), Correlations.Ranks(x));
        }
    }

    [Fact]
    public void Classification()
    {
        var json = Json("classification");
        var (gold, logits) = (Ints(json["gold"]!), json["logits"]!.AsArray().Select(r => Doubles(r!)).ToList());
        var found = new Confusion(gold, Ints(json["pred"]!), logits[0].Length);
        foreach (var (row, g) in json["confusion"]!.AsArray().Select((r, g) => (Ints(r!), g))) for (var p = 0; p < row.Length; p++) Assert.Equal(row[p], found[g, p]);
        Same((double)json["accuracy"]!, found.Accuracy, "accuracy");
        Same((double)json["balanced_accuracy"]!, found.BalancedAccuracy, "balanced accuracy");
        Same((double)json["mcc"]!, found.Matthews, "mcc");
        Same((double)json["cohen_kappa"]!, found.Kappa, "kappa");
        var report = found.Report([.. Enumerable.Range(0, found.Classes).Select(c => $"{c}")]);
        Assert.Equal((string)json["report_text"]!, report.Text(accuracy: true));
        Near(json["averages"]!["micro"]!, report.Micro);
        Near(json["averages"]!["macro"]!, report.Macro);
        Near(json["averages"]!["weighted"]!, report.Weighted);
        void Near(JsonNode expected, ClassScore score) => Assert.All(Doubles(expected).Zip([score.Precision, score.Recall, score.F1]), p => Same(p.First, p.Second, "average"));

        Same((double)json["log_loss"]!, RankingMetrics.LogLoss(logits, gold), "log loss");
        var ranks = RankingMetrics.RankOfGold(logits, gold);
        Assert.Equal(Ints(json["rank_of_gold"]!), ranks);
        Same((double)json["mrr"]!, ranks.Average(r => 1.0 / r), "mrr");
        foreach (var (k, share) in json["top_k"]!.AsObject()) Same((double)share!, ranks.Count(r => r <= int.Parse(k, System.Globalization.CultureInfo.InvariantCulture)) / (double)ranks.Length, "top " + k);
        Same((double)json["ece_10_bins"]!, RankingMetrics.CalibrationError(logits, gold), "calibration");
        var binary = json["binary"]!;
        var (positive, scores) = (Ints(binary["label"]!).Select(l => l == 1).ToList(), Doubles(binary["score"]!));
        Same((double)binary["roc_auc"]!, RankingMetrics.RocAuc(positive, scores), "roc");
        Same((double)binary["average_precision"]!, RankingMetrics.AveragePrecision(positive, scores), "average precision");
        Same((double)binary["brier"]!, RankingMetrics.Brier(positive, scores), "brier");
        foreach (var q in json["queries"]!.AsArray())
        {
            var (s, relevance) = (Doubles(q!["scores"]!), Doubles(q["relevance"]!));
            Same((double)q["ndcg"]!, RankingMetrics.Ndcg(relevance, s), "ndcg");
            Same((double)q["ndcg_at_3"]!, RankingMetrics.Ndcg(relevance, s, 3), "ndcg@3");
            Same((double)q["average_precision"]!, RankingMetrics.AveragePrecision([.. relevance.Select(r => r > 0)], s), "query's average precision");
        }
    }

    // Where there is no entity at all seqeval's averages are 0 / 0; ours are 0.
    private static double OrZero(JsonNode? n) => Number(n) is var x && double.IsNaN(x) ? 0 : x;

    [Fact]
    public void Entities()
    {
        var sentences = Rows.Read(Fixtures.Shared("fixtures", "metrics", "ner.jsonl")).ToList();
        var cases = Json("ner.expected")["cases"]!.AsArray();
        foreach (var c in cases)
        {
            var (name, parts) = ((string)c!["name"]!, ((string)c["name"]!).Split(' ')[0].Split('/'));
            List<IReadOnlyList<string>> Tags(string key, int part) => c[key] is JsonArray own ? [.. own.Select(s => (IReadOnlyList<string>)[.. s!.AsArray().Select(t => (string)t!)])] : [.. sentences.Select(s => (IReadOnlyList<string>)[.. s[parts[part]]!.AsArray().Select(t => (string)t!)])];
            var (gold, predicted) = (Tags("gold", 0), Tags("pred", 1));
            TagScheme? scheme = (string)c["mode"]! == "strict" ? Enum.Parse<TagScheme>((string)c["scheme"]!, ignoreCase: true) : null;
            var suffix = (bool?)c["options"]!["suffix"] == true;
            var report = EntityMetrics.Report(gold, predicted, scheme, suffix);
            Same((double)c["accuracy"]!, report.Accuracy, name + " accuracy");
            foreach (var (kind, score) in new[] { ("micro", report.Micro), ("macro", report.Macro), ("weighted", report.Weighted) })
            {
                Same(OrZero(c[kind]!["precision"]), score.Precision, $"{name} {kind} precision");
                Same(OrZero(c[kind]!["recall"]), score.Recall, $"{name} {kind} recall");
                Same(OrZero(c[kind]!["f1"]), score.F1, $"{name} {kind} f1");
            }
            if (c["text"] is { } text) Assert.Equal((string)text!, report.Text());
            if (c["pred_entities"] is not JsonArray entities) continue;
            foreach (var (expected, tags) in entities.Zip(predicted))
                Assert.Equal(expected!.AsArray().Select(e => new Entity((string)e![0]!, (int)e[1]!, (int)e[2]!)), scheme is { } strict ? EntityMetrics.Entities(tags, strict, suffix) : EntityMetrics.Entities(tags, suffix));
        }
        Assert.Equal(39, cases.Count);
    }

    [Fact]
    public void Squad()
    {
        var json = Json("squad.expected");
        static SquadAnswer Answer(JsonNode row) => new([.. row["answers"]!.AsArray().Select(a => (string)a!)], (string)row["prediction"]!, (double?)row["na_prob"] ?? 0);
        var first = Rows.Read(Fixtures.Shared("fixtures", "metrics", "squad.jsonl")).Select(Answer).ToList();
        var (v1, found) = (json["v1"]!, SquadScore.Of(first));
        Same((double)v1["exact_match"]!, found.ExactMatch, "exact match");
        Same((double)v1["f1"]!, found.F1, "f1");
        Assert.Equal(v1["normalized_prediction"]!.AsArray().Select(n => (string)n!), first.Select(a => SquadScore.Normalize(a.Prediction)));
        Assert.Equal(Doubles(v1["each_f1"]!), first.Select(a => SquadScore.Overlap(a, 1)), (a, b) => Math.Abs(a - b) < 1e-9);
        var (v2, second) = (json["v2"]!, json["v2"]!["rows"]!.AsArray().Select(r => Answer(r!)).ToList());
        foreach (var (threshold, figures) in v2["at_threshold"]!.AsObject())
        {
            var at = SquadScore.OfVersion2(second, double.Parse(threshold, System.Globalization.CultureInfo.InvariantCulture));
            Same((double)figures!["exact"]!, at.ExactMatch, "exact at " + threshold);
            Same((double)figures["f1"]!, at.F1, "f1 at " + threshold);
        }
        foreach (var (kind, f1) in new[] { ("exact", false), ("f1", true) })
        {
            var best = SquadScore.BestThreshold(second, f1);
            Same((double)v2["best_" + kind]!, best.Score, "best " + kind);
            Same((double)v2[$"best_{kind}_thresh"]!, best.Threshold, "threshold of " + kind);
        }
    }
}
