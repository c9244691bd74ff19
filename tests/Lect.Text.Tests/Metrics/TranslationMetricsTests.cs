using System.Text.Json.Nodes;
using Lect.Testing;

namespace Lect.Text.Tests.Metrics;

/// <summary>BLEU, chrF, TER and paired tests against sacreBLEU 2.6.0 (shared/fixtures/metrics: other people's text, not copied here).</summary>
public sealed class TranslationMetricsTests
{
    private const double Tolerance = 1e-9;

    private static JsonNode Json(string name) => Fixtures.Json(Fixtures.Shared("fixtures", "metrics", name));

    private static List<JsonObject> Rows() => [.. File.ReadLines(Fixtures.Shared("fixtures", "metrics", "mt.jsonl")).Select(l => JsonNode.Parse(l)!.AsObject())];

    private static string[] Hypotheses(List<JsonObject> rows, string which) => [.. rows.Select(r => which == "empty" ? "" : (string)r[which]!)];

    private static IReadOnlyList<string>[] References(List<JsonObject> rows, int count) => [.. rows.Select(r => (IReadOnlyList<string>)[.. r["refs"]!.AsArray().Take(count).Select(x => (string)x!)])];

    private static Bleu Bleu(JsonNode o, bool? effective = null) => new()
    {
        Tokenize = (string?)o["tokenize"] ?? "13a",
        Lowercase = (bool?)o["lowercase"] ?? false,
        Smoothing = (string?)o["smooth_method"] ?? "exp",
        SmoothingValue = (double?)o["smooth_value"],
        MaxOrder = (int?)o["max_ngram_order"] ?? 4,
        EffectiveOrder = effective ?? (bool?)o["effective_order"] ?? false,
    };

    private static ChrF ChrF(JsonNode o) => new()
    {
        CharacterOrder = (int?)o["char_order"] ?? 6,
        WordOrder = (int?)o["word_order"] ?? 0,
        Beta = (int?)o["beta"] ?? 2,
        Lowercase = (bool?)o["lowercase"] ?? false,
        Whitespace = (bool?)o["whitespace"] ?? false,
        EpsilonSmoothing = (bool?)o["eps_smoothing"] ?? false,
    };

    private static Ter Ter(JsonNode o) => new() { Normalized = (bool?)o["normalized"] ?? false, NoPunctuation = (bool?)o["no_punct"] ?? false, AsianSupport = (bool?)o["asian_support"] ?? false, CaseSensitive = (bool?)o["case_sensitive"] ?? false };

    private static void AssertNumbers(JsonNode expected, IReadOnlyList<double> found)
    {
        Assert.Equal(expected.AsArray().Count, found.Count);
        for (var i = 0; i < found.Count; i++) Assert.Equal((double)expected[i]!, found[i], Tolerance);
    }

    private static void AssertBleu(JsonNode expected, BleuScore found)
    {
        Assert.Equal((double)expected["score"]!, found.Value, Tolerance);
        AssertNumbers(expected["counts"]!, found.Counts);
        AssertNumbers(expected["totals"]!, found.Totals);
        AssertNumbers(expected["precisions"]!, found.Precisions);
        Assert.Equal((double)expected["bp"]!, found.BrevityPenalty, Tolerance);
        Assert.Equal(((long)expected["sys_len"]!, (long)expected["ref_len"]!), (found.HypothesisLength, found.ReferenceLength));
        if (expected["text"] is { } text) Assert.Equal((string)text!, found.Text);
    }

    [Fact]
    public void Bleu_is_sacrebleus()
    {
        var rows = Rows();
        foreach (var expected in Json("mt.expected.json")["bleu"]!.AsArray())
        {
            var (metric, hypotheses, references) = (Bleu(expected!["options"]!), Hypotheses(rows, (string)expected["hypotheses"]!), References(rows, (int)expected["references"]!));
            AssertBleu(expected, (BleuScore)metric.Corpus(hypotheses, references));
            Assert.Equal((string)expected["signature"]!, metric.Signature(references));
            if (expected["statistics"] is not JsonArray statistics) continue;
            for (var i = 0; i < rows.Count; i++)
            {
                var found = metric.Statistics(hypotheses[i], references[i]);
                AssertNumbers(statistics[i]!, found);
                Assert.Equal((double)expected["sentences_plain_order"]![i]!, metric.Score(found).Value, Tolerance);
                Assert.Equal((double)expected["sentences_effective_order"]![i]!, metric.Sentence(hypotheses[i], references[i]).Value, Tolerance);
            }
        }
    }

    [Fact]
    public void Smoothing_of_little_text()
    {
        var rows = Rows();
        foreach (var expected in Json("mt.expected.json")["bleu_spans"]!.AsArray())
        {
            var span = rows[(int)expected!["rows"]![0]!..(int)expected["rows"]![1]!];
            AssertBleu(expected, (BleuScore)Bleu(expected["options"]!).Corpus(Hypotheses(span, (string)expected["hypotheses"]!), References(span, (int)expected["references"]!)));
        }
    }

    [Fact]
    public void ChrF_and_ter_are_sacrebleus()
    {
        var (rows, all) = (Rows(), Json("mt.expected.json"));
        foreach (var (name, make) in new (string, Func<JsonNode, TranslationMetric>)[] { ("chrf", ChrF), ("ter", Ter) })
            foreach (var expected in all[name]!.AsArray())
            {
                var (metric, hypotheses, references) = (make(expected!["options"]!), Hypotheses(rows, (string)expected["hypotheses"]!), References(rows, (int)expected["references"]!));
                for (var i = 0; i < rows.Count; i++)
                {
                    if (expected["sentence_edits"] is JsonArray edits) AssertNumbers(edits[i]!, metric.Statistics(hypotheses[i], references[i]));
                    Assert.Equal((double)expected["sentences"]![i]!, metric.Sentence(hypotheses[i], references[i]).Value, Tolerance);
                }
                var found = metric.Corpus(hypotheses, references);
                Assert.Equal((double)expected["score"]!, found.Value, Tolerance);
                Assert.Equal((string)expected["text"]!, found.Text);
                Assert.Equal((string)expected["signature"]!, metric.Signature(references));
            }
    }

    [Fact]
    public void Chinese()
    {
        var json = Json("mt.zh.json");
        var (hypotheses, references) = (json["pairs"]!.AsArray().Select(p => (string)p![0]!).ToArray(), json["pairs"]!.AsArray().Select(p => (IReadOnlyList<string>)[(string)p![1]!]).ToArray());
        foreach (var expected in json["bleu"]!.AsArray())
        {
            var metric = new Bleu { Tokenize = (string)expected!["tokenize"]! };
            AssertBleu(expected, (BleuScore)metric.Corpus(hypotheses, references));
            Assert.Equal((string)expected["signature"]!, metric.Signature(references));
        }
        foreach (var (name, make) in new (string, Func<JsonNode, TranslationMetric>)[] { ("chrf", ChrF), ("ter", Ter) })
            foreach (var expected in json[name]!.AsArray())
            {
                var metric = make(expected!["options"]!);
                Assert.Equal((double)expected["score"]!, metric.Corpus(hypotheses, references).Value, Tolerance);
                for (var i = 0; i < hypotheses.Length; i++) Assert.Equal((double)expected["sentences"]![i]!, metric.Sentence(hypotheses[i], references[i]).Value, Tolerance);
            }
    }

    [Fact]
    public void Tokenizers_are_sacrebleus()
    {
        var json = Json("mt.tokenizers.json");
        var texts = json["texts"]!.AsArray().Select(t => PythonText.TrimEnd((string)t!)).ToArray();
        foreach (var (name, expected) in json["tokens"]!.AsObject())
        {
            Func<string, string> tokenize = name switch
            {
                "ter" => t => MetricTokenizers.Tercom(t, false, false, false, false),
                "ter_normalized" => t => MetricTokenizers.Tercom(t, true, false, false, false),
                "ter_no_punct" => t => MetricTokenizers.Tercom(t, false, true, false, false),
                "ter_asian" => t => MetricTokenizers.Tercom(t, true, false, true, false),
                "ter_asian_no_punct" => t => MetricTokenizers.Tercom(t, true, true, true, false),
                "ter_case_sensitive" => t => MetricTokenizers.Tercom(t, false, false, false, true),
                _ => t => MetricTokenizers.Tokenize(name, t),
            };
            for (var i = 0; i < texts.Length; i++) Assert.Equal((string)expected![i]!, tokenize(texts[i]));
        }
    }

    [Fact]
    public void Paired_tests_are_sacrebleus()
    {
        var json = Json("mt.paired.json");
        var rows = Rows().Take((int)json["sentences"]!).ToList();
        var (a, b, references) = (Hypotheses(rows, "hyp_a"), Hypotheses(rows, "hyp_b"), References(rows, 1));
        var (indices, keeps) = Draws(rows.Count);
        foreach (var test in json["tests"]!.AsArray())
        {
            TranslationMetric metric = (string)test!["metric"]! switch { "BLEU" => new Bleu(), "TER" => new Ter(), _ => new ChrF() };
            var (isBootstrap, drawn, samples) = ((string)test["test"]! == "bs", (bool)test["indices"]!, (int)test["n_samples"]!);
            var found = (isBootstrap, drawn) switch
            {
                (true, true) => PairedTest.Bootstrap(metric, a, b, references, indices),
                (false, true) => PairedTest.Randomization(metric, a, b, references, keeps),
                (true, false) => PairedTest.Bootstrap(metric, a, b, references, samples),
                _ => PairedTest.Randomization(metric, a, b, references, samples),
            };
            Assert.Equal((double)test["baseline"]!["score"]!, found.Baseline, Tolerance);
            Assert.Equal((double)test["system"]!["score"]!, found.System, Tolerance);
            Assert.Equal((double)test["system"]!["p_value"]!, found.PValue, drawn ? 1e-12 : 0.02);
            Assert.Equal((string)test["signature"]!, metric.Signature(references, $"{(isBootstrap ? "bs" : "ar")}:{samples}|seed:12345|"));
            if (!isBootstrap) continue;
            foreach (var (side, mean, interval) in new[] { ("baseline", found.BaselineMean, found.BaselineInterval), ("system", found.SystemMean, found.SystemInterval) })
            {
                var (m, ci) = ((double)test[side]!["mean"]!, (double)test[side]!["ci"]!);
                Assert.Equal(m, mean, drawn ? 1e-4 : 0.1 * ci);
                Assert.Equal(ci, interval, drawn ? 1e-4 : 0.1 * ci);
            }
        }
    }

    // The safetensors' two tensors, read by hand: this project knows none.
    private static (int[][] Indices, bool[][] Keeps) Draws(int sentences)
    {
        var bytes = File.ReadAllBytes(Fixtures.Shared("fixtures", "metrics", "mt.paired.safetensors"));
        var header = JsonNode.Parse(bytes.AsSpan(8, (int)BitConverter.ToInt64(bytes)))!;
        int At(string name, int end) => 8 + (int)BitConverter.ToInt64(bytes) + (int)header[name]!["data_offsets"]![end]!;
        var indices = System.Runtime.InteropServices.MemoryMarshal.Cast<byte, int>(bytes.AsSpan(At("bs_indices", 0)..At("bs_indices", 1))).ToArray();
        return ([.. indices.Chunk(sentences)], [.. bytes[At("ar_from_baseline", 0)..At("ar_from_baseline", 1)].Select(b => b == 1).Chunk(sentences)]);
    }

    [Theory, InlineData("ΟΔΥΣΣΕΥΣ", "οδυσσευς"), InlineData("İx", "i̇x"), InlineData("Σ", "σ"), InlineData("ΑΣ ΣΑ", "ας σα"), InlineData("K", "k")]
    public void Lower_case_is_pythons(string text, string expected) => Assert.Equal(expected, PythonText.Lower(text));

    [Fact]
    public void Different_counts_are_refused()
    {
        Assert.Contains("2 hypotheses", Assert.Throws<InvalidDataException>(() => new Bleu().Corpus(["a", "b"], [["a"]])).Message, StringComparison.Ordinal);
        Assert.Contains("sentence 1", Assert.Throws<InvalidDataException>(() => new ChrF().Corpus(["a"], [[]])).Message, StringComparison.Ordinal);
        Assert.Contains("'13b'", Assert.Throws<InvalidDataException>(() => new Bleu { Tokenize = "13b" }.Sentence("a", ["a"])).Message, StringComparison.Ordinal);
    }
}
