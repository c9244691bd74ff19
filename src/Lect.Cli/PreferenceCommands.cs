using System.CommandLine;
using System.Globalization;
using System.Text.Json.Nodes;
using Lect.Text;

namespace Lect;

/// <summary>lect evaluate reward|win-rate|rouge: answers and who prefers which.</summary>
internal static class PreferenceCommands
{
    public static Command Reward()
    {
        var (adapter, device, json) = (Screen.Adapter(), Screen.Device(), Screen.Json());
        var model = new Option<string[]>("--model") { Description = "Reward model's folder; of several the rewards are averaged, as align ppo does", Required = true };
        var file = new Option<string?>("--file") { Description = "Comparisons (chosen, rejected); by default the test split of the SDK's" };
        var limit = new Option<int>("--limit") { Description = "Comparisons at most; 0: all of a file, 2,000 of the SDK's" };
        var baseline = new Option<string?>("--bag-of-words") { Description = "Comparisons from which a bag of words learns what words alone tell, to compare with; sdk: 20,000 of the SDK's" };
        var command = new Command("reward", "How often a reward model prefers what people prefer. Example: lect evaluate reward --model runs/reward --file comparisons.jsonl") { model, adapter, device, file, limit, baseline, json };
        command.SetAction(int (parsed) =>
        {
            var (folders, adapters) = (parsed.GetValue(model)!, parsed.GetValue(adapter));
            if (folders.Length > 1 && adapters is { Length: > 0 }) throw new InvalidDataException($"Found --adapter with {folders.Length} models. Expected it with one: lect convert --adapter merges it into a folder.");
            var (path, most) = (parsed.GetValue(file), parsed.GetValue(limit));
            if (most < 0) throw new InvalidDataException($"Found --limit {most}. Expected 0 (all) or more.");
            var all = path is null ? SdkInstructions.Comparisons(CorpusSplit.Test, most > 0 ? most : 2_000) : Read(path);
            var words = parsed.GetValue(baseline) switch { null => null, "sdk" => BagOfWords.Learn(SdkInstructions.Comparisons(CorpusSplit.Train, 20_000).ToList()), var learned => BagOfWords.Learn(Read(learned).ToList()) };
            var scorers = new List<RewardScorer>();
            RewardEvaluation found;
            try
            {
                foreach (var folder in folders) scorers.Add(RewardScorer.Load(folder, parsed.GetValue(device)!, adapters));
                found = RewardScorer.Evaluate(scorers, most > 0 ? all.Take(most) : all, told => Console.Error.WriteLine("lect: " + told), words);
            }
            finally { scorers.ForEach(s => s.Dispose()); }
            List<(string, JsonNode)> beside = found.Words is { } bag ? [("bag_of_words", bag.Accuracy), ("ahead_of_bag_of_words", bag.Ahead), ("standard_error", bag.StandardError)] : [];
            Screen.Figures(parsed.GetValue(json), [("accuracy", found.Accuracy), ("low", found.Interval.Low), ("high", found.Interval.High), ("margin", found.Margin), ("loss", found.Loss), ("calibration_error", found.Calibration), ("longer_answer", found.LongerAnswer), .. beside, ("accuracy_where_longer", Number(found.ByLength.Longer)), ("accuracy_where_shorter", Number(found.ByLength.Shorter)), ("pairs", found.Count), .. found.ByKind.Select(k => ($"accuracy/{k.Kind}", (JsonNode)k.Accuracy)), .. (found.Words?.ByKind ?? []).Select(k => ($"bag_of_words/{k.Kind}", (JsonNode)k.Accuracy))]);
            return 0;
        });
        return command;
    }

    private static IEnumerable<Comparison> Read(string path) => Rows.Read(path).SelectMany(new ChatData(path).Comparisons);

    private static JsonNode Number(double value) => double.IsFinite(value) ? value : "none";

    public static Command WinRate()
    {
        var (model, device, json) = (Screen.Model(), Screen.Device(), Screen.Json());
        var against = new Option<string>("--against") { Description = "The other model's folder", Required = true };
        var adapter = new Option<string?>("--adapter") { Description = "LoRA adapter of --model" };
        var judge = new Option<string>("--judge") { Description = "A reward model's folder, people's votes as the studio exports them, or facts: by rule, whether an answer names what the SDK's documentation names", DefaultValueFactory = _ => "facts" };
        var file = new Option<string?>("--file") { Description = "Prompts; by default the test split of the SDK's" };
        var limit = new Option<int>("--limit") { Description = "Prompts", DefaultValueFactory = _ => 200 };
        var tokens = new Option<int>("--max-new-tokens") { Description = "Tokens of an answer at most", DefaultValueFactory = _ => 48 };
        var temperature = new Option<double>("--temperature") { Description = "Of sampling; 0: always the most probable token" };
        var seed = new Option<long>("--seed") { Description = "Key of the random numbers", DefaultValueFactory = _ => 1 };
        var command = new Command("win-rate", "How often one model's answer is preferred to another's. Example: lect evaluate win-rate --model runs/ppo --against runs/sft --judge runs/judge") { model, against, adapter, device, judge, file, limit, tokens, temperature, seed, json };
        command.SetAction(int (parsed) =>
        {
            var options = new WinRateOptions { Limit = parsed.GetValue(limit), MaxNewTokens = parsed.GetValue(tokens), Temperature = parsed.GetValue(temperature), Seed = parsed.GetValue(seed), Judge = parsed.GetValue(judge)!, File = parsed.GetValue(file), Device = parsed.GetValue(device)! };
            var found = Compared(parsed.GetValue(model)!, parsed.GetValue(adapter), parsed.GetValue(against)!, options);
            Screen.Figures(parsed.GetValue(json), [("win_rate", found.Rate), ("low", found.Interval.Low), ("high", found.Interval.High), ("wins", found.Wins), ("losses", found.Losses), ("ties", found.Ties), ("sign_test_p", found.P), ("reward", found.Mean), ("reward_against", found.MeanAgainst), ("length", found.Length), ("length_against", found.LengthAgainst), ("win_rate_length_controlled", Number(found.LengthControlled))]);
            return 0;
        });
        return command;
    }

    private static Lect.WinRate Compared(string model, string? adapter, string against, WinRateOptions options)
    {
        using var progress = new Progress();
        return Lect.WinRate.Of(model, adapter, against, options, progress.Note);
    }

    public static Command Rouge()
    {
        var hypotheses = new Option<string>("--hypotheses") { Description = "One text a line", Required = true };
        var references = new Option<string[]>("--references") { Description = "One text a line; several files: several references", Required = true, AllowMultipleArgumentsPerToken = true };
        var json = Screen.Json();
        var command = new Command("rouge", "Overlap with reference texts: ROUGE-1, -2, -L and -Lsum, F1 without stemming. Example: lect evaluate rouge --hypotheses out.txt --references ref.txt") { hypotheses, references, json };
        command.SetAction(int (parsed) =>
        {
            static List<string> Lines(string path) => File.Exists(path) ? [.. Lect.Text.Rows.Lines(path).Select(l => l.Text)] : throw new InvalidDataException($"Found no file {path}. Expected one text a line.");
            var (given, wanted) = (Lines(parsed.GetValue(hypotheses)!), parsed.GetValue(references)!.Select(Lines).ToList());
            if (given.Count == 0 || wanted.Any(w => w.Count != given.Count)) throw new InvalidDataException($"Found {given.Count} texts and {string.Join(", ", wanted.Select(w => w.Count))} references. Expected as many, and at least one.");
            Screen.Figures(parsed.GetValue(json), [.. Lect.Text.Rouge.Kinds.Select(k => (k, (JsonNode)given.Select((g, i) => Lect.Text.Rouge.Score(k, [.. wanted.Select(w => w[i])], g).F1).Average()))]);
            return 0;
        });
        return command;
    }
}
