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
        var chapter = new Argument<string>("chapter") { Description = "embeddings (half a minute), seq2seq (five), bert (ten), gpt (five), evolution (ten: from GPT-1 to Qwen3) or rlhf (seven to fifteen: the three steps, and DPO)", DefaultValueFactory = _ => "gpt" };
        chapter.AcceptOnlyFromAmong("embeddings", "seq2seq", "bert", "gpt", "evolution", "rlhf");
        var output = new Option<string?>("--out") { Description = "Folder of the demo's run (runs/demo-CHAPTER)" };
        var seeds = new Option<int>("--seeds") { Description = "Runs of each architecture (evolution)", DefaultValueFactory = _ => 1 };
        var sets = Screen.Sets();
        var command = new Command("demo", "A chapter of the lecture on the SDK's documentation: train, then see what was learned. Example: lect demo") { chapter, output, seeds, sets };
        command.SetAction(int (parsed) =>
        {
            Processes.RequireOne("a demo trains several things, one after the other");
            var (name, given) = (parsed.GetValue(chapter)!, parsed.GetValue(sets) ?? []);
            if (parsed.GetValue(seeds) != 1 && name != "evolution") throw new InvalidDataException($"Found --seeds {parsed.GetValue(seeds)} with lect demo {name}. Expected it with lect demo evolution.");
            var folder = parsed.GetValue(output) ?? Path.Combine("runs", "demo-" + name);
            return name switch { "embeddings" => Embeddings(folder, given), "seq2seq" => Seq2Seq(folder, given), "bert" => Bert(folder, given), "evolution" => Evolve(folder, given, parsed.GetValue(seeds)), "rlhf" => Rlhf(folder, given), _ => Gpt(folder, given) };
        });
        return command;
    }

    private static readonly string[] s_words = ["Int32", "Task", "DateTime", "Stream", "Exception", "thread"];

    // a is to b as c is to d: pairs whose answer a reader of the documentation knows.
    private static readonly (string A, string B, string C, string D)[] s_analogies =
    [
        ("Int32", "Int64", "UInt32", "UInt64"), ("minimum", "maximum", "MinValue", "MaxValue"), ("reads", "writes", "Reads", "Writes"), ("horizontal", "vertical", "width", "height"), ("day", "month", "hour", "minute"),
        ("public", "private", "encrypt", "decrypt"), ("key", "keys", "value", "values"), ("true", "false", "True", "False"), ("left", "right", "top", "bottom"), ("before", "after", "Before", "After"),
    ];

    private static int Embeddings(string folder, string[] sets)
    {
        using (var stop = new StopSignals("stopping; vectors that are being learned are written as they are"))
        using (var progress = new Progress())
        {
            if (!File.Exists(Path.Combine(folder, VectorFiles.Vectors)))
            {
                progress.Note("Word vectors are learned from the documentation of the .NET SDK on this machine: skip-gram with negative sampling.");
                TrainVectors.Run(RunFile.Load<TrainWord2VecConfig>(Screen.ConfigFile("configs/embeddings/sdk-word2vec.yaml"), sets), folder, progress.Show, progress.Note, stop.Token);
            }
            else progress.Note(FormattableString.Invariant($"The vectors in {folder} were learned before, in {RunFolder.ReadMetrics(folder).Select(m => (double?)m["epoch"] ?? 0).LastOrDefault():0.#} passes (remove the folder to see it)."));
        }
        using var vectors = VectorFiles.Read(folder);
        var speed = RunFolder.ReadMetrics(folder).Select(m => (double?)m["words_per_second_per_thread"] ?? 0).LastOrDefault();
        AnsiConsole.MarkupLineInterpolated(CultureInfo.InvariantCulture, $"\n{vectors.Words.Count:N0} words, {vectors.Dimension} numbers each, {speed:N0} words/s a thread in training. Their nearest ones by cosine:");
        var near = new Table().Border(TableBorder.Rounded).AddColumns("word", "neighbours");
        foreach (var word in s_words.Where(w => vectors.IndexOf(w) >= 0)) near.AddRow(Markup.Escape(word), Markup.Escape(string.Join("  ", vectors.Nearest(word, 5).Select(n => FormattableString.Invariant($"{n.Word} {n.Similarity:0.00}")))));
        AnsiConsole.Write(near);
        AnsiConsole.WriteLine("What is to c as b is to a, the vector nearest to b - a + c:");
        var table = new Table().Border(TableBorder.Rounded).AddColumns("a : b", "c : ?", "answer", "");
        var asked = s_analogies.Where(q => new[] { q.A, q.B, q.C, q.D }.All(w => vectors.IndexOf(w) >= 0)).ToList();
        foreach (var (a, b, c, d) in asked)
        {
            var answer = vectors.Analogy(a, b, c, 1)[0].Word;
            table.AddRow(Markup.Escape($"{a} : {b}"), Markup.Escape($"{c} : ?"), Markup.Escape(answer), answer == d ? "[green]right[/]" : $"[red]expected {Markup.Escape(d)}[/]");
        }
        AnsiConsole.Write(table);
        AnsiConsole.MarkupLineInterpolated(CultureInfo.InvariantCulture, $"""

            What to type next:
              lect nearest --vectors {folder} async
              lect analogy --vectors {folder} "row rows column"
              lect map --vectors {folder} --out map.html
              lect train glove -c configs/embeddings/sdk-glove.yaml --out runs/glove
            """);
        return 0;
    }

    private static int Seq2Seq(string folder, string[] sets)
    {
        var (reverse, attention, fixedContext) = (Path.Combine(folder, "reverse"), Path.Combine(folder, "attention"), Path.Combine(folder, "without-attention"));
        using (var stop = new StopSignals())
        using (var progress = new Progress())
        {
            Run("Letters are to be said backwards: a small LSTM with attention learns it from made-up sequences of 1 to 25 letters.", reverse, "reverse", "train.steps=4000");
            Run("The SDK's own messages, English to German: a recurrent encoder-decoder with Bahdanau's attention.", attention, "sdk-small");
            Run("The same without attention: one vector must hold the whole sentence.", fixedContext, "sdk-small", "model.kind=fixed_context");

            void Run(string what, string run, string preset, params string[] own)
            {
                progress.Note(RunFolder.IsAt(run) ? $"Going on with {run} (remove the folder to see it from the beginning)." : what);
                TrainSeq2Seq.Run(Settings<TrainSeq2SeqConfig>(run, $"configs/seq2seq/{preset}.yaml", own, sets), run, progress.Show, progress.Note, stop.Token);
            }
        }
        ShowLengths(reverse);
        var (with, without) = (TranslationReport.Of(attention, 300), TranslationReport.Of(fixedContext, 300));
        AnsiConsole.MarkupLineInterpolated(CultureInfo.InvariantCulture, $"\nEnglish to German, {with.Test.Count:N0} messages that neither saw, four beams ({with.Signature}):");
        var table = new Table().Border(TableBorder.Rounded).AddColumns(new TableColumn(""), new TableColumn("BLEU").RightAligned(), new TableColumn("chrF").RightAligned());
        foreach (var (name, found) in new[] { ("with attention", with.Figures[0]), ("without attention", without.Figures[0]), ("copying the source", with.Figures[1]), ("translation of the nearest training message", with.Figures[2]) }) table.AddRow(name, Text(found.Bleu, "0.0"), Text(found.ChrF, "0.0"));
        AnsiConsole.Write(table);
        AnsiConsole.WriteLine("The messages repeat each other, so that the nearest one is often right: two minutes of training do not beat it yet (docs/results.md has longer runs).");
        ShowAlignment(attention, with);
        AnsiConsole.MarkupLineInterpolated(CultureInfo.InvariantCulture, $"""

            What to type next:
              lect translate --model {attention} --n-best 3 "The file could not be found."
              lect attention --model {attention} --text "The file could not be found." --out map.html
              lect evaluate translation --model {attention}
              lect train transformer -c configs/transformer/sdk-small.yaml --set data.pair=en-fr --out runs/en-fr
            """);
        return 0;
    }

    // Arbitrary lengths: what was learned on up to 25 letters, beyond them too.
    private static void ShowLengths(string folder)
    {
        using var translator = Translator.Load(folder);
        var table = new Table().Border(TableBorder.Rounded).AddColumns(new TableColumn("letters").RightAligned(), new TableColumn("said backwards without a fault").RightAligned());
        var random = new Random(1);
        foreach (var length in (int[])[5, 10, 20, 25, 30, 40])
        {
            string[] texts = [.. Enumerable.Range(0, 50).Select(_ => string.Join(' ', Enumerable.Range(0, length).Select(_ => (char)('a' + random.Next(26)))))];
            var right = translator.Translate(texts, new() { Beams = 1 }).Zip(texts).Count(p => p.First.Text == string.Join(' ', p.Second.Split(' ').Reverse()));
            table.AddRow(Text(length, "0"), $"{right} of {texts.Length}");
        }
        AnsiConsole.WriteLine("\nSequences that it never saw; it learned from 1 to 25 letters:");
        AnsiConsole.Write(table);
    }

    // The best translation of a middling length, and where each of its tokens looked.
    private static void ShowAlignment(string folder, TranslationReport report)
    {
        using var translator = Translator.Load(folder);
        var metric = new ChrF();
        var best = Enumerable.Range(0, report.Test.Count).Where(i => report.Test[i].Source.Split(' ').Length is >= 5 and <= 10).OrderByDescending(i => metric.Sentence(report.Figures[0].Texts[i], [report.Test[i].Target]).Value).FirstOrDefault();
        var (source, made) = (report.Test[best].Source, report.Figures[0].Texts[best]);
        var views = AttentionMap.Of(translator, source);
        var view = views[0];
        AnsiConsole.MarkupLineInterpolated($"\nWhere each token of a translation looked:\n  [grey]{source}[/]\n  [green]{made}[/]\n  [grey]{report.Test[best].Target}[/] (written)");
        AnsiConsole.MarkupLineInterpolated($"  {string.Join("  ", view.Keys.Select((key, i) => $"{i + 1} {key}"))}");
        var table = new Table().Border(TableBorder.Rounded).AddColumn(new TableColumn("").NoWrap());
        for (var i = 1; i <= view.Keys.Count; i++) table.AddColumn(new TableColumn(Text(i, "0")).Centered().NoWrap().Padding(0, 0));
        foreach (var (token, row) in view.Queries.Zip(view.Layers[0].Chunk(view.Keys.Count))) table.AddRow([Markup.Escape(token), .. row.Select(p => new string("·░▒▓█"[(int)Math.Min(4, p * 5)], 2))]);
        AnsiConsole.Write(table);
        var page = Path.Combine(folder, "attention.html");
        File.WriteAllText(page, AttentionMap.Page(source, views));
        AnsiConsole.MarkupLineInterpolated($"The same as a page: {page}");
    }

    private static readonly string[] s_masked = ["Gets or [MASK] the value of the property.", "The [MASK] is null.", "Returns a [MASK] that indicates whether two objects are equal.", "[CLS] the man [MASK] to the store [SEP] penguin [MASK] are flightless birds [SEP]"];

    private static int Bert(string folder, string[] sets)
    {
        var (pretrained, with, without) = (Path.Combine(folder, "pretrained"), Path.Combine(folder, "namespaces"), Path.Combine(folder, "namespaces-from-nothing"));
        using (var stop = new StopSignals())
        using (var progress = new Progress())
        {
            progress.Note(RunFolder.IsAt(pretrained) ? $"Going on with {pretrained} (remove the folder to see it from the beginning)." : "A WordPiece vocabulary, vectors of its pieces, then a BERT are learned from the documentation of the .NET SDK: masked tokens are to be told, and whether a text follows another.");
            PretrainBert.Run(Settings<PretrainBertConfig>(pretrained, "configs/bert/sdk-small.yaml", [], sets), pretrained, progress.Show, progress.Note, stop.Token);
            Task("The namespace of a summary, from a few examples: fine-tuning of that BERT.", with);
            Task("The same network from new weights: what was the pre-training worth?", without, "model.from_nothing=true");

            void Task(string what, string run, params string[] own)
            {
                progress.Note(RunFolder.IsAt(run) ? $"Going on with {run}." : what);
                Finetune.Run(Settings<FinetuneConfig>(run, null, ["recipe=classify", $"model.path={pretrained}", "data.limit=3000", "train.epochs=3", "train.lr=5e-4", "train.max_length=48", .. own], OfAllSteps(sets)), run, progress.Show, progress.Note, stop.Token);
            }
        }
        var last = RunFolder.ReadMetrics(pretrained).Last(m => m["val_loss"] is not null);
        AnsiConsole.WriteLine("\nOn texts that it did not learn from:");
        var figures = new Table().Border(TableBorder.Rounded).AddColumns(new TableColumn(""), new TableColumn("BERT").RightAligned(), new TableColumn("guess by frequency").RightAligned());
        figures.AddRow("masked tokens, loss in nats", Figure(last, "masked_loss", "0.000"), Figure(last, "unigram_loss", "0.000"));
        figures.AddRow("masked tokens, right", Figure(last, "masked_accuracy", "0.0 %"), Figure(last, "unigram_accuracy", "0.0 %"));
        figures.AddRow("next text or not, right", Figure(last, "next_sentence_accuracy", "0.0 %"), "50.0 %");
        AnsiConsole.Write(figures);
        ShowMasks(pretrained);
        AnsiConsole.WriteLine("\nWhich of 20 namespaces a summary is from, 3,000 examples to learn from:");
        var table = new Table().Border(TableBorder.Rounded).AddColumns(new TableColumn(""), new TableColumn("right").RightAligned());
        foreach (var (name, run) in new[] { ("with the pre-training", with), ("from new weights", without) }) table.AddRow(name, Text(RunFolder.ReadMetrics(run).Max(m => (double?)m["accuracy"] ?? 0), "0.0 %"));
        AnsiConsole.Write(table);
        AnsiConsole.MarkupLineInterpolated(CultureInfo.InvariantCulture, $"""

            What to type next:
              lect fill-mask --model {pretrained} "Converts the [[MASK]] to an array."
              lect next-sentence --model {pretrained} "Opens a file." --pair "The file is not found."
              lect classify --model {with} "Represents a collection of HTTP headers."
              lect attention --model {pretrained} --text "Returns the number of items." --out map.html
              open {Path.Combine(with, "report.html")}
            """);
        return 0;
    }

    // Settings are the pre-training's; where and how things are computed holds for the steps behind it too.
    private static IEnumerable<string> OfAllSteps(string[] sets) => sets.Where(s => s.Split('=')[0] is "train.threads" or "train.device" or "train.precision");

    // own: the demo's, which a person's may change; in a folder that is there the run's own hold.
    private static T Settings<T>(string run, string? preset, IEnumerable<string> own, IEnumerable<string> sets) where T : IRecipeConfig, new() => RunFolder.IsAt(run) ? RunFolder.SettingsOf<T>(run, [.. sets]) : RunFile.Load<T>(preset is null ? null : Screen.ConfigFile(preset), [.. own, .. sets]);

    private static string Figure(System.Text.Json.Nodes.JsonObject line, string name, string format) => Text((double?)line[name] ?? double.NaN, format);

    // What the same network says before it has learned anything, and after.
    private static void ShowMasks(string folder)
    {
        using var before = MaskedLanguageModel.Untrained(folder);
        using var after = MaskedLanguageModel.Load(folder);
        AnsiConsole.WriteLine("\nWhat a hidden token could be, before and after the pre-training:");
        var table = new Table().Border(TableBorder.Rounded).AddColumns("text", "before", "after");
        foreach (var text in s_masked)
        {
            string Say(MaskedLanguageModel model) => string.Join('\n', model.Fill(model.EncodeMasked(text), 3).Select(place => string.Join(' ', place.Select(g => FormattableString.Invariant($"{g.Token} {g.Probability:0.00}")))));
            table.AddRow(Markup.Escape(text), Markup.Escape(Say(before)), Markup.Escape(Say(after)));
        }
        AnsiConsole.Write(table);
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
            var config = Settings<PretrainGptConfig>(folder, "configs/gpt/sdk-small.yaml", [], sets);
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

    private static readonly string[] s_history = ["gpt1", "gpt2", "gpt3", "llama", "mistral", "qwen2", "qwen3"];

    private static int Evolve(string folder, string[] sets, int seeds)
    {
        IReadOnlyList<EvolutionRuns> all;
        using (var stop = new StopSignals())
        using (var progress = new Progress())
        {
            progress.Note("Seven decoders, from GPT-1 (2018) to Qwen3 (2025), of about a million parameters each, learn from the same documentation with the same budget.");
            all = Evolution.Run([.. s_history.Select(n => Screen.ConfigFile($"configs/gpt/evolution/{n}.yaml")!)], seeds, folder, sets, progress.Show, progress.Note, stop.Token);
        }
        AnsiConsole.WriteLine();
        var table = new Table().Border(TableBorder.Rounded).AddColumns(new TableColumn("architecture"), new TableColumn("parameters").RightAligned(), new TableColumn("validation loss").RightAligned(), new TableColumn("95 % interval").RightAligned(), new TableColumn("seconds").RightAligned());
        foreach (var runs in all)
        {
            var half = runs.HalfInterval(^1);
            table.AddRow(runs.Name, runs.Parameters.ToString("N0", CultureInfo.InvariantCulture), Text(runs.Mean, "0.000"), double.IsNaN(half) ? "one seed" : $"{Text(runs.Mean - half, "0.000")} to {Text(runs.Mean + half, "0.000")}", Text(runs.Curves.Average(c => c[^1].Seconds), "0"));
        }
        AnsiConsole.Write(table);
        AnsiConsole.MarkupLineInterpolated(CultureInfo.InvariantCulture, $"""
            Where intervals overlap, or with one seed, nothing can be said about which is better.

            What to type next:
              open {Path.Combine(folder, "evolution.html")}
              lect inspect --compare {folder}/gpt2-1 {folder}/llama-1
              lect generate --model {folder}/qwen3-1 --temperature 0.8 "Gets or sets"
              lect attention --model {folder}/mistral-1 --text "Returns the number of items in the collection." --out map.html
            """);
        return 0;
    }

    // The lecture's three steps, and a number at the end that says whether the model got better.
    private static int Rlhf(string folder, string[] sets)
    {
        string At(string name) => Path.Combine(folder, name);
        using (var stop = new StopSignals())
        using (var progress = new Progress())
        {
            progress.Note(RunFolder.IsAt(At("base")) ? $"Going on with the demo in {folder} (remove the folder to see it from the beginning)." : "Step 1, pre-training: a small Llama learns the documentation of the .NET SDK.");
            PretrainGpt.Run(Settings<PretrainGptConfig>(At("base"), "configs/alignment/sdk-base.yaml", ["train.steps=900"], sets), At("base"), progress.Show, progress.Note, stop.Token);
            Step("Step 2, instruction tuning: questions about the libraries, and what the documentation answers.", "sft", "sdk-sft", "base", "train.steps=300");
            Step("Step 3a, the reward model: true answers against corrupted ones.", "reward", "sdk-reward", "sft", "train.steps=200", "train.eval_examples=256");
            Step("A second reward model from other comparisons, to judge at the end what neither step saw.", "judge", "sdk-reward", "sft", "train.steps=200", "train.eval_examples=256", "data.skip=20000", "seed=7");
            Step("Step 3b, PPO: answers that the reward model likes, not far from what was learned.", "ppo", "sdk-ppo", "sft", $"model.reward={At("reward")}", "train.steps=80");
            Step("Beyond the lecture, DPO: the comparisons themselves, without a reward model.", "dpo", "sdk-dpo", "sft", "train.steps=100");

            void Step(string what, string name, string preset, string from, params string[] own)
            {
                progress.Note(RunFolder.IsAt(At(name)) ? $"Going on with {At(name)}." : what);
                Alignment.Run(Settings<AlignConfig>(At(name), $"configs/alignment/{preset}.yaml", [$"model.path={At(from)}", .. own], OfAllSteps(sets)), At(name), progress.Show, progress.Note, stop.Token);
            }
        }
        ShowRewards(At("reward"));
        ShowWins(At);
        AnsiConsole.MarkupLineInterpolated(CultureInfo.InvariantCulture, $"""

            What to type next:
              lect chat --model {At("ppo")}
              lect evaluate win-rate --model {At("dpo")} --against {At("ppo")} --judge {At("judge")}
              lect evaluate reward --model {At("reward")}
              lect align grpo -c configs/alignment/sdk-grpo.yaml --set model.path={At("sft")} model.reward={At("reward")} --out {At("grpo")}
            """);
        return 0;
    }

    private static void ShowRewards(string folder)
    {
        using var scorer = RewardScorer.Load(folder);
        var found = scorer.Evaluate(SdkInstructions.Comparisons(CorpusSplit.Test, 500));
        AnsiConsole.MarkupLineInterpolated(CultureInfo.InvariantCulture, $"\nThe reward model on {found.Count} comparisons that it never saw: {Text(100 * found.Accuracy, "0.0")} % right ({Text(100 * found.Interval.Low, "0.0")} to {Text(100 * found.Interval.High, "0.0")}); always the longer answer: {Text(100 * found.LongerAnswer, "0.0")} %.");
        var table = new Table().Border(TableBorder.Rounded).AddColumns(new TableColumn("the true answer against"), new TableColumn("right").RightAligned(), new TableColumn("of").RightAligned());
        foreach (var (kind, accuracy, count) in found.ByKind) table.AddRow(kind.Replace('_', ' '), Text(accuracy, "0.0 %"), Text(count, "0"));
        AnsiConsole.Write(table);
    }

    private static void ShowWins(Func<string, string> at)
    {
        AnsiConsole.WriteLine("\nAgainst the model of step 2, on 400 questions of the test split at most, both as they sample (temperature 1; a tie is half a win). Judges: the reward model that PPO learned from; another one, which learned from other comparisons; the facts, whether the answer names what the documentation names.");
        var table = new Table().Border(TableBorder.Rounded).AddColumns(new TableColumn(""), new TableColumn("judge"), new TableColumn("win rate").RightAligned(), new TableColumn("95 % interval").RightAligned().NoWrap(), new TableColumn("at equal length").RightAligned(), new TableColumn("characters").RightAligned());
        foreach (var name in (string[])["ppo", "dpo"])
            foreach (var (judge, path) in new[] { ("PPO's reward", at("reward")), ("another one", at("judge")), ("the facts", "facts") })
            {
                var found = WinRate.Of(at(name), null, at("sft"), new() { Judge = path, Limit = 400, Temperature = 1 });
                table.AddRow(name.ToUpperInvariant(), judge, Text(found.Rate, "0.0 %"), $"{Text(100 * found.Interval.Low, "0.0")} to {Text(found.Interval.High, "0.0 %")}", Text(found.LengthControlled, "0.0 %"), $"{Text(found.LengthAgainst, "0")} to {Text(found.Length, "0")}");
            }
        AnsiConsole.Write(table);
        var last = RunFolder.ReadMetrics(at("ppo")).Where(m => m["eval/kl"] is not null).ToList();
        if (last.Count > 0) AnsiConsole.MarkupLineInterpolated(CultureInfo.InvariantCulture, $"PPO's policy is {Figure(last[^1], "eval/kl", "0.00")} nats an answer from step 2's; its reward went from {Figure(last[0], "eval/reward", "0.00")} to {Figure(last[^1], "eval/reward", "0.00")}. Where an interval holds 50 %, nothing can be said.");
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
