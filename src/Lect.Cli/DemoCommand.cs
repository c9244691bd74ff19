using System.CommandLine;
using System.Globalization;
using Lect.Text;
using Spectre.Console;

namespace Lect;

/// <summary>lect demo: a chapter of the lecture in some minutes, on text that is on every machine with the SDK.</summary>
internal static class DemoCommand
{
    public static Command Create()
    {
        var chapter = new Argument<string>("chapter") { Description = "gpt", DefaultValueFactory = _ => "gpt" };
        chapter.AcceptOnlyFromAmong("gpt");
        var output = new Option<string?>("--out") { Description = "Folder of the demo's run (runs/demo-CHAPTER)" };
        var sets = Screen.Sets();
        var command = new Command("demo", "Train a language model on the SDK's documentation and hear it talk, in about five minutes. Example: lect demo") { chapter, output, sets };
        command.SetAction(int (parsed) => Gpt(parsed.GetValue(output) ?? Path.Combine("runs", "demo-" + parsed.GetValue(chapter)), parsed.GetValue(sets) ?? []));
        return command;
    }

    private static int Gpt(string folder, string[] sets)
    {
        string data;
        using (var stop = new StopSignals())
        using (var progress = new Progress())
        {
            var isThere = RunFolder.IsAt(folder);
            progress.Note(isThere ? $"Going on with the demo in {folder} (remove the folder to see it from the beginning)."
                : "A tokenizer and a GPT-2 are learned from the documentation of the .NET SDK on this machine: English that people wrote, about 110,000 texts.");
            var config = isThere ? RunFolder.SettingsOf<PretrainGptConfig>(folder, sets) : RunFile.Load<PretrainGptConfig>(Screen.ConfigFile("configs/gpt/sdk-small.yaml"), sets);
            PretrainGpt.Run(config, folder, progress.Show, progress.Note, stop.Token);
            progress.Note("counting n-grams for comparison");
            data = config.Data.Path is { } path && TokenFolder.IsAt(path) ? path : Path.Combine(folder, "data");
        }
        var tokens = TokenFolder.Open(data);
        using var model = LanguageModel.Load(folder);
        ShowFigures(folder, tokens, model);
        ShowSamples(model);
        AnsiConsole.MarkupLineInterpolated(CultureInfo.InvariantCulture, $"""

            What to type next:
              lect generate --model {folder} --temperature 0.8 "Gets or sets a value that"
              lect evaluate perplexity --model {folder} --file README.md
              lect inspect {folder}
              lect train gpt -c configs/gpt/sdk-small.yaml --set train.steps=6000 --out runs/longer
            """);
        return 0;
    }

    private static void ShowFigures(string folder, TokenFolder tokens, LanguageModel model)
    {
        using var train = tokens.Ids(CorpusSplit.Train);
        using var validation = tokens.Ids(CorpusSplit.Validation);
        var size = tokens.Count(CorpusSplit.Validation);
        var speeds = RunFolder.ReadMetrics(folder).Select(m => (double?)m["tokens_per_second"]).OfType<double>().Order().ToList();
        AnsiConsole.WriteLine();
        AnsiConsole.MarkupLineInterpolated(CultureInfo.InvariantCulture, $"{tokens.Count(CorpusSplit.Train).Tokens:N0} tokens to learn from, a vocabulary of {tokens.VocabularySize:N0}, {model.ParameterCount:N0} parameters, {(speeds.Count == 0 ? 0 : speeds[speeds.Count / 2]):N0} tokens/s in training");
        AnsiConsole.MarkupLineInterpolated(CultureInfo.InvariantCulture, $"On {size.Documents:N0} texts that none of them saw ({size.Tokens:N0} tokens, {size.Bytes:N0} bytes):");
        var table = new Table().Border(TableBorder.Rounded).AddColumns(new TableColumn("model"), new TableColumn("loss, nats a token").RightAligned(), new TableColumn("perplexity").RightAligned(), new TableColumn("bits a byte").RightAligned());
        Add(table, "unigram", new NgramModel(train, 1, tokens.VocabularySize).Of(validation, size));
        Add(table, "5-gram, modified Kneser-Ney", new NgramModel(train, 5, tokens.VocabularySize).Of(validation, size));
        // Half a window of context at least: an n-gram, too, always has its n - 1 tokens.
        Add(table, "GPT-2 (this run)", Perplexity.Of(model, validation, size, stride: (int)Math.Max(1, model.Model.ContextLength / 2)));
        AnsiConsole.Write(table);
    }

    private static void Add(Table table, string name, Perplexity found) => table.AddRow(name, Text(found.Loss, "0.000"), Text(found.Value, "0.0"), Text(found.BitsPerByte, "0.000"));

    private static string Text(double value, string format) => value.ToString(format, CultureInfo.InvariantCulture);

    // Texts that begin as unseen ones do, and how those went on.
    private static void ShowSamples(LanguageModel model)
    {
        AnsiConsole.WriteLine("How it goes on with texts that it never saw:");
        var unseen = SdkCorpus.Splits()[CorpusSplit.Test].Where(t => t.Kind == "summary" && t.Text.Split(' ').Length is > 12 and < 30 && !t.Text.Contains('\n', StringComparison.Ordinal)).ToList();
        foreach (var (text, i) in unseen.Where((_, i) => i % Math.Max(1, unseen.Count / 4) == 0).Take(4).Select((t, i) => (t, i)))
        {
            var words = text.Text.Split(' ');
            var prompt = string.Join(' ', words[..5]);
            var options = model.Defaults with { Decoding = model.Defaults.Decoding with { Sample = true, Temperature = 0.7, TopK = 50, MaxNewTokens = 40, Seed = i } };
            AnsiConsole.MarkupLineInterpolated($"  [grey]{text.Name}[/]");
            AnsiConsole.MarkupLineInterpolated($"  {prompt}[green]{string.Concat(model.Stream(prompt, options)).ReplaceLineEndings(" ")}[/]");
            AnsiConsole.MarkupLineInterpolated($"  [grey]written: … {string.Join(' ', words[5..])}[/]");
        }
    }
}
