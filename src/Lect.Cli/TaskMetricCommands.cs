using System.CommandLine;
using System.Globalization;
using System.Text.Json;
using System.Text.Json.Nodes;
using Lect.Text;

namespace Lect;

/// <summary>lect evaluate glue|ner|squad: figures of predictions by files.</summary>
internal static class TaskMetricCommands
{
    private static Option<string> Required(string name, string description) => new(name) { Description = description, Required = true };

    private static List<string> Lines(string path) => File.Exists(path) ? [.. Rows.Lines(path).Select(l => l.Text.Trim())] : throw new InvalidDataException($"Found no file {path}. Expected one label or number a line.");

    public static Command Glue()
    {
        var (task, gold, predicted, json) = (Required("--task", "cola, sst2, mrpc, stsb, qqp, mnli, snli, qnli, rte, wnli"), Required("--gold", "True labels or numbers, one a line"), Required("--predicted", "Predicted ones, one a line"), Screen.Json());
        var command = new Command("glue", "The figures of a task of GLUE. Example: lect evaluate glue --task cola --gold runs/cola/gold.txt --predicted runs/cola/predictions.txt") { task, gold, predicted, json };
        command.SetAction(int (parsed) =>
        {
            var name = new string([.. parsed.GetValue(task)!.ToLowerInvariant().Where(char.IsLetterOrDigit)]);
            string[] known = ["cola", "sst2", "mrpc", "stsb", "qqp", "mnli", "mnlimm", "snli", "qnli", "rte", "wnli"];
            if (!known.Contains(name)) throw new InvalidDataException($"Found --task {parsed.GetValue(task)}. Expected {string.Join(", ", known)}.");
            var (right, said) = (Lines(parsed.GetValue(gold)!), Lines(parsed.GetValue(predicted)!));
            if (right.Count != said.Count) throw new InvalidDataException($"Found {right.Count:N0} lines in {parsed.GetValue(gold)} and {said.Count:N0} in {parsed.GetValue(predicted)}. Expected as many.");
            if (right.Count == 0) throw new InvalidDataException($"Found no lines in {parsed.GetValue(gold)}. Expected one label or number a line.");
            Screen.Figures(parsed.GetValue(json), name == "stsb" ? Correlated(Numbers(right, parsed.GetValue(gold)!), Numbers(said, parsed.GetValue(predicted)!)) : Classes(name, right, said));
            return 0;
        });
        return command;
    }

    private static List<double> Numbers(List<string> lines, string path) => [.. lines.Select((l, i) => double.TryParse(l, NumberStyles.Float, CultureInfo.InvariantCulture, out var x) ? x : throw new InvalidDataException($"{path}, line {i + 1}: found '{l}'. Expected a number."))];

    private static List<(string, JsonNode)> Correlated(List<double> gold, List<double> said)
    {
        var (pearson, spearman) = (Correlations.Pearson(gold, said), Correlations.Spearman(gold, said));
        return [("pearson", pearson), ("spearman", spearman), ("combined", (pearson + spearman) / 2)];
    }

    private static List<(string, JsonNode)> Classes(string task, List<string> gold, List<string> said)
    {
        var labels = gold.Concat(said).Distinct().Order(StringComparer.Ordinal).ToList();
        var confusion = new Confusion([.. gold.Select(l => labels.IndexOf(l))], [.. said.Select(l => labels.IndexOf(l))], labels.Count);
        var figures = new List<(string, JsonNode)> { ("accuracy", confusion.Accuracy) };
        if (task == "cola") figures.Add(("matthews", confusion.Matthews));
        if (task is not ("mrpc" or "qqp")) return figures;
        var f1 = labels.IndexOf("1") is >= 0 and var one ? confusion.Of(one).F1 : 0;
        figures.AddRange([("f1", f1), ("combined", (confusion.Accuracy + f1) / 2)]);
        return figures;
    }

    public static Command Ner()
    {
        var (gold, predicted, json) = (Required("--gold", "True tags: a word a line, its tag in the last column, blank lines between sentences (CoNLL)"), Required("--predicted", "Predicted tags of the same words"), Screen.Json());
        var scheme = new Option<string?>("--scheme") { Description = "Only entities whose tags keep to it count (seqeval's strict mode): iob1, iob2, ioe1, ioe2, iobes or bilou" };
        var command = new Command("ner", "Precision, recall and F1 of tagged entities, as seqeval. Example: lect evaluate ner --gold runs/ner/gold.conll --predicted runs/ner/predictions.conll") { gold, predicted, scheme, json };
        command.SetAction(int (parsed) =>
        {
            TagScheme? strict = parsed.GetValue(scheme) is not { } name ? null : Enum.TryParse<TagScheme>(name, ignoreCase: true, out var known) ? known : throw new InvalidDataException($"Found --scheme {name}. Expected {string.Join(", ", Enum.GetNames<TagScheme>()).ToLowerInvariant()}.");
            List<TaggedSentence> Read(string path) => [.. TaggedSentence.Read(path)];
            var (right, said) = (Read(parsed.GetValue(gold)!), Read(parsed.GetValue(predicted)!));
            var report = EntityMetrics.Report([.. right.Select(s => s.Tags)], [.. said.Select(s => s.Tags)], strict);
            if (parsed.GetValue(json)) Screen.Figures(true, [("precision", report.Micro.Precision), ("recall", report.Micro.Recall), ("f1", report.Micro.F1), ("accuracy", report.Accuracy), ("types", new JsonObject(report.Classes.Select(c => KeyValuePair.Create(c.Name, (JsonNode?)new JsonObject { ["precision"] = c.Score.Precision, ["recall"] = c.Score.Recall, ["f1"] = c.Score.F1, ["support"] = c.Score.Support }))))]);
            else Console.Write(report.Text());
            return 0;
        });
        return command;
    }

    public static Command Squad()
    {
        var (data, predictions, json) = (Required("--data", "The questions, in SQuAD's layout"), Required("--predictions", "Answers: one JSON object, the question's id to the text"), Screen.Json());
        var probabilities = new Option<string?>("--na-probs") { Description = "Version 2: one JSON object, the question's id to the probability that it has no answer" };
        var threshold = new Option<double>("--na-threshold") { Description = "With --na-probs: above it the answer is none", DefaultValueFactory = _ => 1 };
        var command = new Command("squad", "Exact match and F1 of answers. Example: lect evaluate squad --data dev-v1.1.json --predictions runs/squad/predictions.json") { data, predictions, probabilities, threshold, json };
        command.SetAction(int (parsed) =>
        {
            var questions = Question.All(parsed.GetValue(data)!).ToList();
            var (said, none) = (Object<string>(parsed.GetValue(predictions)!, "its answer"), parsed.GetValue(probabilities) is { } path ? Object<double>(path, "the probability that it has none") : null);
            var second = questions.Exists(q => q.Answers.Count == 0);
            var missing = questions.Where(q => !said.ContainsKey(q.Id)).ToList();
            if (missing.Count > 0) Console.Error.WriteLine($"lect: {missing.Count:N0} of {questions.Count:N0} questions have no prediction, the first one '{missing[0].Id}': they {(second ? "are left out, as SQuAD 2's own script does" : "count as wrong")}");
            if (second) questions = [.. questions.Except(missing)];
            var answers = questions.Select(q => new SquadAnswer([.. q.Answers.Select(a => a.Text)], said.GetValueOrDefault(q.Id) ?? "", none?.GetValueOrDefault(q.Id) ?? 0)).ToList();
            if (answers.Count == 0) throw new InvalidDataException($"Found no prediction of a question of {parsed.GetValue(data)}. Expected the questions' ids as keys.");
            var score = second ? SquadScore.OfVersion2(answers, parsed.GetValue(threshold)) : SquadScore.Of(answers);
            var figures = new List<(string, JsonNode)> { ("exact_match", score.ExactMatch), ("f1", score.F1), ("total", score.Total) };
            if (second && none is not null)
            {
                var (exact, f1) = (SquadScore.BestThreshold(answers, f1: false), SquadScore.BestThreshold(answers, f1: true));
                figures.AddRange([("best_exact", exact.Score), ("best_exact_thresh", exact.Threshold), ("best_f1", f1.Score), ("best_f1_thresh", f1.Threshold)]);
            }
            Screen.Figures(parsed.GetValue(json), figures);
            return 0;
        });
        return command;
    }

    private static Dictionary<string, T> Object<T>(string path, string what)
    {
        if (!File.Exists(path)) throw new InvalidDataException($"Found no file {path}. Expected a JSON object, a question's id to {what}.");
        try
        {
            var all = JsonNode.Parse(File.ReadAllText(path), documentOptions: new() { AllowDuplicateProperties = false }) as JsonObject ?? throw new InvalidDataException($"{path}: found JSON that is no object. Expected one, a question's id to {what}.");
            return all.ToDictionary(p => p.Key, p => p.Value is JsonValue value && value.TryGetValue<T>(out var x) ? x : throw new InvalidDataException($"{path}: found {p.Value?.ToJsonString() ?? "null"} of the question '{p.Key}'. Expected {what}, a {(typeof(T) == typeof(string) ? "text" : "number")}."), StringComparer.Ordinal);
        }
        catch (JsonException e) { throw new InvalidDataException($"{path} is no readable JSON: {e.Message}", e); }
    }
}
