using System.CommandLine;
using System.Text.Json.Nodes;
using Lect.Text;

namespace Lect;

/// <summary>lect evaluate bleu|chrf|ter: translations beside people's, as sacreBLEU measures them.</summary>
internal static class TranslationMetricCommands
{
    public static Command Bleu()
    {
        var tokenize = new Option<string>("--tokenize") { Description = "13a, intl, zh, char or none", DefaultValueFactory = _ => "13a" };
        var lowercase = new Option<bool>("--lowercase") { Description = "Case does not count" };
        var smoothing = new Option<string>("--smoothing") { Description = "exp, floor, add-k or none", DefaultValueFactory = _ => "exp" };
        var value = new Option<double?>("--smoothing-value") { Description = "Of floor (0.1) and add-k (1)" };
        return Create("bleu", "BLEU of translations. Example: lect evaluate bleu --hypotheses out.txt --references ref.txt", [tokenize, lowercase, smoothing, value],
            p => p.GetValue(value) is not (null or >= 0) ? throw new InvalidDataException($"Found --smoothing-value {p.GetValue(value)}. Expected 0 or more.") : new Bleu { Tokenize = p.GetValue(tokenize)!, Lowercase = p.GetValue(lowercase), Smoothing = p.GetValue(smoothing)!, SmoothingValue = p.GetValue(value) });
    }

    public static Command ChrF()
    {
        var words = new Option<int>("--word-order") { Description = "0: chrF, 2: chrF++" };
        var letters = new Option<int>("--char-order") { Description = "Longest character n-grams", DefaultValueFactory = _ => 6 };
        var beta = new Option<int>("--beta") { Description = "How much recall weighs", DefaultValueFactory = _ => 2 };
        var lowercase = new Option<bool>("--lowercase") { Description = "Case does not count" };
        var whitespace = new Option<bool>("--whitespace") { Description = "Blanks are characters too" };
        return Create("chrf", "chrF of translations. Example: lect evaluate chrf --word-order 2 --hypotheses out.txt --references ref.txt", [words, letters, beta, lowercase, whitespace],
            p => p.GetValue(words) < 0 || p.GetValue(letters) < 1 || p.GetValue(beta) < 1 ? throw new InvalidDataException($"Found --word-order {p.GetValue(words)}, --char-order {p.GetValue(letters)}, --beta {p.GetValue(beta)}. Expected 0 or more, and 1 or more.") : new ChrF { WordOrder = p.GetValue(words), CharacterOrder = p.GetValue(letters), Beta = p.GetValue(beta), Lowercase = p.GetValue(lowercase), Whitespace = p.GetValue(whitespace) });
    }

    public static Command Ter()
    {
        var normalized = new Option<bool>("--normalized") { Description = "Punctuation is split off" };
        var punctuation = new Option<bool>("--no-punctuation") { Description = "Punctuation is taken away" };
        var asian = new Option<bool>("--asian-support") { Description = "The two for Asian scripts too" };
        var cased = new Option<bool>("--case-sensitive") { Description = "Case counts" };
        return Create("ter", "Translation edit rate. Example: lect evaluate ter --hypotheses out.txt --references ref.txt", [normalized, punctuation, asian, cased],
            p => new Ter { Normalized = p.GetValue(normalized), NoPunctuation = p.GetValue(punctuation), AsianSupport = p.GetValue(asian), CaseSensitive = p.GetValue(cased) });
    }

    private static Command Create(string name, string description, Option[] own, Func<ParseResult, TranslationMetric> metric)
    {
        var hypotheses = new Option<string>("--hypotheses") { Description = "Translations, one a line", Required = true };
        var references = new Option<string[]>("--references") { Description = "People's, one a line; several files: several references of each", Required = true, AllowMultipleArgumentsPerToken = true };
        var baseline = new Option<string?>("--baseline") { Description = "Another system's translations: is the difference chance?" };
        var test = new Option<string>("--test") { Description = "bs (paired bootstrap) or ar (approximate randomization)", DefaultValueFactory = _ => "bs" };
        test.AcceptOnlyFromAmong("bs", "ar");
        var samples = new Option<int?>("--samples") { Description = "Resamples (1000) or randomizations (10000)" };
        var json = Screen.Json();
        var command = new Command(name, description) { hypotheses, references };
        foreach (var option in own) command.Add(option);
        foreach (var option in (Option[])[baseline, test, samples, json]) command.Add(option);
        command.SetAction(int (parsed) =>
        {
            if (parsed.GetValue(baseline) is null && parsed.GetValue(samples) is not null) throw new InvalidDataException("Found --samples without --baseline. Expected both: they are drawn to compare.");
            var (measured, file) = (metric(parsed), parsed.GetValue(hypotheses)!);
            var lines = Read(file);
            var sets = parsed.GetValue(references)!.Select(r => Same(Read(r), r, lines, file)).ToList();
            var refs = Enumerable.Range(0, lines.Length).Select(i => (IReadOnlyList<string>)[.. sets.Select(s => s[i])]).ToArray();
            var found = measured.Corpus(lines, refs);
            var figures = new List<(string Name, JsonNode Value)> { ("score", found.Value) };
            if (found is BleuScore b) figures.AddRange([("precisions", JsonLines.Array(b.Precisions)), ("bp", b.BrevityPenalty), ("sys_len", b.HypothesisLength), ("ref_len", b.ReferenceLength)]);
            if (parsed.GetValue(baseline) is { } other)
            {
                var (isBootstrap, count) = (parsed.GetValue(test) == "bs", parsed.GetValue(samples) ?? (parsed.GetValue(test) == "bs" ? 1000 : 10_000));
                if (count < 1) throw new InvalidDataException($"Found --samples {count}. Expected at least 1.");
                var paired = isBootstrap ? PairedTest.Bootstrap(measured, Same(Read(other), other, lines, file), lines, refs, count) : PairedTest.Randomization(measured, Same(Read(other), other, lines, file), lines, refs, count);
                figures.AddRange([("baseline", paired.Baseline), ("p_value", paired.PValue)]);
                if (isBootstrap) figures.AddRange([("mean", paired.SystemMean), ("ci", paired.SystemInterval), ("baseline_mean", paired.BaselineMean), ("baseline_ci", paired.BaselineInterval)]);
                figures.Add(("signature", measured.Signature(refs, $"{parsed.GetValue(test)}:{count}|seed:12345|")));
            }
            else figures.Add(("signature", measured.Signature(refs)));
            var asJson = parsed.GetValue(json);
            if (!asJson) Console.WriteLine(found.Text);
            Screen.Figures(asJson, asJson ? figures : [.. figures.Where(f => f.Name is "baseline" or "p_value" or "signature")]);
            return 0;
        });
        return command;
    }

    private static string[] Read(string path) => File.Exists(path) ? File.ReadAllLines(path) : throw new InvalidDataException($"Found no file {path}. Expected one text a line.");

    private static string[] Same(string[] lines, string file, string[] others, string otherFile) => lines.Length == others.Length ? lines
        : throw new InvalidDataException($"Found {lines.Length} lines in {file} and {others.Length} in {otherFile}. Expected as many: line i of both belong together.");
}
