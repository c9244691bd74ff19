using System.CommandLine;
using System.Globalization;
using System.Text.Json.Nodes;
using Lect.Text;

namespace Lect;

/// <summary>lect evaluate perplexity|few-shot|analogies|similarity|bleu|chrf|ter|translation|glue|ner|squad|rouge|reward|win-rate: figures of models and of their answers.</summary>
internal static class EvaluateCommands
{
    public static Command Create() => new("evaluate", "Measure a model, or answers that were given") { PerplexityCommand(), FewShotCommand(), AnalogiesCommand(), SimilarityCommand(), TranslationMetricCommands.Bleu(), TranslationMetricCommands.ChrF(), TranslationMetricCommands.Ter(), TranslationCommand(), TaskMetricCommands.Glue(), TaskMetricCommands.Ner(), TaskMetricCommands.Squad(), PreferenceCommands.Rouge(), PreferenceCommands.Reward(), PreferenceCommands.WinRate() };

    private static Command PerplexityCommand()
    {
        var modelOption = Screen.Model();
        var device = Screen.Device();
        var file = new Option<string?>("--file") { Description = "Text, JSONL, CSV or Parquet (column text); by default the test split of the SDK's documentation" };
        var (context, adapter, dtype) = (Screen.Context(), Screen.Adapter(), Screen.Dtype());
        var stride = new Option<int?>("--stride") { Description = "Tokens that each window predicts anew, those before being context; by default windows do not overlap" };
        var json = Screen.Json();
        var command = new Command("perplexity", "How well a decoder predicts a text. Example: lect evaluate perplexity --model gpt2 --file book.txt") { modelOption, adapter, device, dtype, context, file, stride, json };
        command.SetAction(int (parsed) =>
        {
            using var model = LanguageModel.Load(parsed.GetValue(modelOption)!, parsed.GetValue(device)!, parsed.GetValue(context), parsed.GetValue(adapter), parsed.GetValue(dtype)!);
            var found = Perplexity.Of(model, Texts(parsed.GetValue(file)), parsed.GetValue(stride));
            Screen.Figures(parsed.GetValue(json), [.. found.Figures().Select(f => (f.Name, (JsonNode)f.Value)), ("tokens", found.Tokens)]);
            return 0;
        });
        return command;
    }

    private static Command FewShotCommand()
    {
        var (modelOption, adapter, device, dtype, context, json) = (Screen.Model(), Screen.Adapter(), Screen.Device(), Screen.Dtype(), Screen.Context(), Screen.Json());
        var kind = new Option<string>("--kind") { Description = "classify (text, label), pairs (text, text_pair, label) or choice (prompt, choices, label)", DefaultValueFactory = _ => "classify" };
        var examples = new Option<string?>("--examples") { Description = "Where the prompt's examples come from; without it the SDK's documentation gives examples and questions" };
        var file = new Option<string?>("--file") { Description = "The questions; by default a tenth of --examples" };
        var task = new Option<string?>("--task") { Description = "A task of GLUE, whose files they are" };
        var labels = new Option<string[]>("--labels") { Description = "What labels are called in the prompt: --labels 0=negative 1=positive", AllowMultipleArgumentsPerToken = true };
        var shots = new Option<string>("--shots") { Description = "Examples in the prompt, one evaluation each", DefaultValueFactory = _ => "0,1,8" };
        var limit = new Option<int>("--limit") { Description = "Questions at most; 0: all" };
        var seed = new Option<long>("--seed") { Description = "Key of the draw of examples", DefaultValueFactory = _ => 1 };
        var command = new Command("few-shot", "What a decoder learns from examples in its prompt. Example: lect evaluate few-shot --model gpt2 --task sst2 --labels 0=negative 1=positive --examples train.tsv --file dev.tsv") { modelOption, adapter, device, dtype, context, kind, examples, file, task, labels, shots, limit, seed, json };
        command.SetAction(int (parsed) =>
        {
            var numbers = parsed.GetValue(shots)!.Split(',').Select(k => int.TryParse(k, NumberStyles.None, CultureInfo.InvariantCulture, out var n) ? n : -1).ToList();
            var names = (parsed.GetValue(labels) ?? []).Select(l => l.Split('=', 2) is [{ Length: > 0 } label, { Length: > 0 } name] ? (label, name) : throw new InvalidDataException($"Found --labels {l}. Expected label=name, as 1=positive.")).ToDictionary(l => l.label, l => l.name, StringComparer.Ordinal);
            var options = new FewShotOptions { Kind = parsed.GetValue(kind)!, Shots = numbers, Limit = parsed.GetValue(limit), Seed = parsed.GetValue(seed), LabelNames = names, Data = new() { Path = parsed.GetValue(examples), ValidationPath = parsed.GetValue(file), Task = parsed.GetValue(task) } };
            using var model = LanguageModel.Load(parsed.GetValue(modelOption)!, parsed.GetValue(device)!, parsed.GetValue(context), parsed.GetValue(adapter), parsed.GetValue(dtype)!);
            using var stop = new StopSignals("stopping before the next question");
            using var progress = new Progress();
            var (figures, majority) = FewShot.Of(model, options, progress.Note, stop.Token);
            if (parsed.GetValue(json)) Screen.Figures(true, [("shots", new JsonArray([.. figures.Select(f => new JsonObject { ["k"] = f.Shots, ["accuracy"] = f.Accuracy, ["accuracy_norm"] = f.AccuracyNorm, ["left_out"] = f.Left })])), ("questions", figures[0].Questions), ("majority", majority)]);
            else
            {
                Console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{figures[0].Questions:N0} questions; always the most frequent answer: {100 * majority:0.0} %"));
                foreach (var f in figures) Console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"k = {f.Shots,-3} accuracy {100 * f.Accuracy,5:0.0} %  by bytes {100 * f.AccuracyNorm,5:0.0} %{(f.Left > 0 ? $"  ({f.Left:0.0} examples a question did not fit)" : "")}"));
            }
            return 0;
        });
        return command;
    }

    private static Command TranslationCommand()
    {
        var (modelOption, device, json) = (Screen.Model(), Screen.Device(), Screen.Json());
        var sentences = new Option<int>("--sentences") { Description = "Pairs at most; 0: all" };
        var beams = new Option<int?>("--beams") { Description = "Hypotheses of beam search" };
        var command = new Command("translation", "BLEU and chrF of a run's model on unseen pairs, beside copying the source and the nearest training sentence. Example: lect evaluate translation --model runs/en-de") { modelOption, device, sentences, beams, json };
        command.SetAction(int (parsed) =>
        {
            var report = TranslationReport.Of(parsed.GetValue(modelOption)!, parsed.GetValue(sentences), parsed.GetValue(beams), parsed.GetValue(device)!);
            if (parsed.GetValue(json)) Screen.Figures(true, [.. report.Figures.Select(f => (f.Name, (JsonNode)new JsonObject { ["bleu"] = f.Bleu, ["chrf"] = f.ChrF })), ("sentences", report.Test.Count), ("signature", report.Signature)]);
            else
            {
                Console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{report.Test.Count:N0} unseen pairs ({report.Signature})"));
                foreach (var f in report.Figures) Console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{f.Name,-8}  BLEU {f.Bleu,5:0.0}  chrF {f.ChrF,5:0.0}"));
            }
            return 0;
        });
        return command;
    }

    private static Command AnalogiesCommand()
    {
        var vectorsOption = VectorCommands.Vectors();
        var questions = new Option<string>("--questions") { Description = "Lines of four words, sections beginning with a colon (questions-words.txt)", Required = true };
        var restrict = new Option<int?>("--restrict") { Description = "Only the first N words exist; 0: all. By default as the protocol's program has it: 300000 (gensim) and all" };
        var protocol = new Option<string>("--protocol") { Description = "gensim or word2vec (compute-accuracy.c)", DefaultValueFactory = _ => "gensim" };
        protocol.AcceptOnlyFromAmong("gensim", "word2vec");
        var json = Screen.Json();
        var command = new Command("analogies", "How word vectors answer a is to b as c is to what. Example: lect evaluate analogies --vectors runs/words --questions questions-words.txt") { vectorsOption, questions, restrict, protocol, json };
        command.SetAction(int (parsed) =>
        {
            using var vectors = VectorCommands.Read(parsed.GetValue(vectorsOption)!);
            var found = AnalogyAccuracy.Of(vectors, parsed.GetValue(questions)!, parsed.GetValue(restrict), parsed.GetValue(protocol)!);
            if (parsed.GetValue(json))
                Screen.Figures(true, [("accuracy", found.Accuracy), ("correct", found.Correct), ("total", found.Total), ("skipped", found.Skipped),
                    ("sections", new JsonArray([.. found.Sections.Select(s => new JsonObject { ["section"] = s.Section, ["correct"] = s.Correct, ["incorrect"] = s.Incorrect })]))]);
            else
            {
                foreach (var s in found.Sections) Console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{s.Section,-30}  {(s.Correct + s.Incorrect == 0 ? 0 : 100.0 * s.Correct / (s.Correct + s.Incorrect)),5:0.0} %  {s.Correct} of {s.Correct + s.Incorrect}"));
                Console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{"all",-30}  {100 * found.Accuracy,5:0.0} %  {found.Correct} of {found.Total}; {found.Skipped} with unknown words"));
            }
            return 0;
        });
        return command;
    }

    private static Command SimilarityCommand()
    {
        var vectorsOption = VectorCommands.Vectors();
        var pairs = new Option<string>("--pairs") { Description = "Lines of two words and a score that people gave", Required = true };
        var restrict = new Option<int>("--restrict") { Description = "Only the first N words exist; 0: all", DefaultValueFactory = _ => 300_000 };
        var json = Screen.Json();
        var command = new Command("similarity", "How cosines agree with people's judgements. Example: lect evaluate similarity --vectors runs/words --pairs EN-WS-353-ALL.txt") { vectorsOption, pairs, restrict, json };
        command.SetAction(int (parsed) =>
        {
            using var vectors = VectorCommands.Read(parsed.GetValue(vectorsOption)!);
            var found = WordSimilarity.Of(vectors, parsed.GetValue(pairs)!, parsed.GetValue(restrict));
            Screen.Figures(parsed.GetValue(json), [("spearman", found.Spearman), ("pearson", found.Pearson), ("pairs", found.Pairs), ("missing", found.Missing)]);
            return 0;
        });
        return command;
    }

    // A long text file comes in pieces, which belong together.
    private static IEnumerable<string> Texts(string? file) => file is null
        ? SdkCorpus.Splits()[CorpusSplit.Test].Select(t => t.Text)
        : Documents.Read(new() { Path = file, Validation = 0 }).Aggregate(new List<(System.Text.StringBuilder Text, bool IsEnd)>(), (all, d) =>
        {
            if (all.Count == 0 || all[^1].IsEnd) all.Add((new(), false));
            all[^1] = (all[^1].Text.Append(d.Text), d.IsEnd);
            return all;
        }).Select(t => t.Text.ToString());
}
