using Lect.Models;
using Lect.Testing;
using Lect.Text;

namespace Lect.Tests.Gpt;

/// <summary>GPT-1's fine-tuning: each transformation of the input learns its task, and what the verbs say afterwards is what was validated.</summary>
public sealed class Gpt1Tests : TemporaryFolder
{
    private static readonly string[] s_good = ["fine", "lovely", "bright"], s_bad = ["awful", "dull", "grim"], s_things = ["cat", "dog", "tree", "house", "river", "hill"];

    private static string Sentence(Random random, string[] words) => $"the {s_things[random.Next(s_things.Length)]} is {words[random.Next(words.Length)]} and the {s_things[random.Next(s_things.Length)]} too .";

    private string Pretrained()
    {
        if (Directory.Exists(At("gpt1"))) return At("gpt1");
        var random = new Random(1);
        Write("text.txt", Enumerable.Range(0, 400).Select(i => Sentence(random, i % 2 == 0 ? s_good : s_bad)));
        PretrainGpt.Run(new()
        {
            Data = new() { Path = At("text.txt") },
            Tokenizer = new() { Kind = "gpt1", Size = 76 },
            Model = new() { ["architecture"] = "gpt1", ["n_layer"] = 2, ["n_head"] = 2, ["n_embd"] = 32, ["n_positions"] = 96 },
            Train = new() { Steps = 20, BatchSize = 8, Block = 32, Lr = 3e-3, EvalEvery = 20, Precision = "fp32" },
        }, At("gpt1"));
        return At("gpt1");
    }

    private Dictionary<string, double> Run(string task, string data, double lmWeight = 0.5, bool regression = false, int steps = 60)
    {
        Finetune.Run(new()
        {
            Recipe = "gpt1",
            Gpt1 = new() { Task = task, LmWeight = lmWeight },
            Data = new() { Path = data, Regression = regression },
            Model = new() { ["path"] = Pretrained() },
            Train = new() { Steps = steps, Lr = 5e-3, Dropout = 0, BatchSize = 16, MaxLength = 90, EvalEvery = steps, CheckpointEvery = 0, Precision = "fp32" },
        }, At(task));
        return RunFolder.ReadMetrics(At(task)).Last(m => m["val_loss"] is not null).Where(f => f.Value?.GetValueKind() == System.Text.Json.JsonValueKind.Number).ToDictionary(f => f.Key, f => (double)f.Value!);
    }

    [Fact]
    public void Texts_and_entailment_are_learned_and_answered_alike_by_the_verb()
    {
        var random = new Random(2);
        var texts = Write("texts.tsv", ["text\tlabel", .. Enumerable.Range(0, 400).Select(i => Sentence(random, i % 2 == 0 ? s_good : s_bad) + (i % 2 == 0 ? "\tpraise" : "\tblame"))]);
        Assert.True(Run("classify", texts)["accuracy"] > 0.9);
        using (var model = TextClassifier.Load(At("classify")))
        {
            Assert.Equal("praise", model.Classify(model.Encode("the cat is lovely and the dog too .")).Label);
            var ids = model.Encode("the cat").Ids;
            Assert.Equal(["_start_", "the</w>", "cat</w>", "_classify_"], ids.Select(i => model.Tokenizer!.TokenOf(i)!));
        }

        var pairs = Write("pairs.tsv", ["text\ttext_pair\tlabel", .. Enumerable.Range(0, 600).Select(i => $"{Sentence(random, i % 2 == 0 ? s_good : s_bad)}\t{Sentence(random, i % 4 < 2 ? s_good : s_bad)}\t{(i % 4 < 2 ? "well" : "ill")}")]);   // the second text decides
        var figures = Run("entail", pairs, steps: 300);
        Assert.True(figures["accuracy"] > 0.9, $"{figures["accuracy"]}");
        using var entails = TextClassifier.Load(At("entail"));
        var said = File.ReadAllLines(At("entail", "predictions.txt"));
        var validation = File.ReadAllLines(pairs).Skip(1).Select(l => l.Split('\t')).Where(f => SdkCorpus.Fnv1a(f[0]) % 10_000 < 1000).ToList();
        Assert.Equal(said, entails.Classify([.. validation.Select(f => entails.Encode(f[0], f[1]))]).Select(c => c.Label));
        Assert.Equal(["_start_", "_delimiter_", "_classify_"], entails.Encode("a", "b").Ids.Select(i => entails.Tokenizer!.TokenOf(i)!).Where(t => t.StartsWith('_')));
    }

    [Fact]
    public void Likeness_does_not_depend_on_the_order()
    {
        var random = new Random(3);
        var pairs = Write("alike.tsv", ["text\ttext_pair\tlabel", .. Enumerable.Range(0, 200).Select(i => $"{Sentence(random, i % 2 == 0 ? s_good : s_bad)}\t{Sentence(random, s_good)}\t{(i % 2 == 0 ? 4 : 1)}")]);
        var figures = Run("similarity", pairs, regression: true);
        Assert.True(figures["pearson"] > 0.8, $"{figures["pearson"]}");
        using var model = TextClassifier.Load(At("similarity"));
        var (a, b) = ("the cat is fine and the hill too .", "the dog is grim and the cat too .");
        Assert.Equal(model.Classify(model.Encode(a, b)).Logits[0], model.Classify(model.Encode(b, a)).Logits[0], 1e-5);
        Assert.Contains("Expected two texts", Assert.Throws<InvalidDataException>(() => model.Classify(model.Encode(a))).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Choices_are_learned()
    {
        var random = new Random(4);
        string Line(int i)
        {
            var (right, wrong) = (Sentence(random, s_good), Sentence(random, s_bad));
            return $$"""{"prompt":"the {{s_things[i % 6]}} and the {{s_things[i / 6 % 6]}} and the {{s_things[i / 36 % 6]}} .","choices":["{{(i % 2 == 0 ? right : wrong)}}","{{(i % 2 == 0 ? wrong : right)}}"],"label":{{i % 2}}}""";
        }
        var figures = Run("choice", Write("choices.jsonl", Enumerable.Range(0, 200).Select(Line)), regression: false);
        Assert.True(figures["accuracy"] > 0.9, $"{figures["accuracy"]}");
        using var model = ChoiceModel.Load(At("choice"));
        var scores = model.Choose([model.Encode("the cat and the hill and the dog .", "the dog is grim and the cat too ."), model.Encode("the cat and the hill and the dog .", "the dog is bright and the cat too .")]);
        Assert.True(scores[1] > 0.5);
    }

    [Fact]
    public void What_cannot_be_is_refused()
    {
        string Refused(FinetuneConfig config) => Assert.Throws<InvalidDataException>(config.Validate).Message;
        var model = new Dictionary<string, object?> { ["path"] = "x" };
        Assert.Contains("classify, entail, similarity, choice", Refused(new() { Recipe = "gpt1", Model = model, Gpt1 = new() { Task = "tag" } }), StringComparison.Ordinal);
        Assert.Contains("gpt1.lm_weight", Refused(new() { Recipe = "gpt1", Model = model, Gpt1 = new() { LmWeight = -1 } }), StringComparison.Ordinal);
        Assert.Contains("micro_batch_size", Refused(new() { Recipe = "gpt1", Model = model, Train = new() { MicroBatchSize = 4 } }), StringComparison.Ordinal);
        Assert.Contains("only lect finetune gpt1", Refused(new() { Recipe = "classify", Model = model, Gpt1 = new() { LmWeight = 0.1 } }), StringComparison.Ordinal);
        var data = Write("t.tsv", ["text\tlabel", "a\tb", "c\td"]);
        Pretrained();
        File.WriteAllText(At("gpt1", "config.json"), File.ReadAllText(At("gpt1", "config.json")).Replace("openai-gpt", "gpt2", StringComparison.Ordinal));
        Assert.Contains("Expected a GPT-1", Assert.Throws<InvalidDataException>(() => Run("classify", data)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_prompt_read_once_gives_the_scores_of_the_whole_texts()
    {
        using var model = LanguageModel.Load(Pretrained());
        string[] continuations = [" is fine and the dog too .", " is", " is grim"];
        var scores = model.ScoreContinuations("the cat", continuations)!;
        foreach (var (found, text) in scores.Zip(continuations)) Assert.Equal(model.Score(model.Encode("the cat" + text)).Total - model.Score(model.Encode("the cat")).Total, found, 1e-4);
        // Without a prompt each stands behind the token that ends texts.
        var bare = model.ScoreContinuations("", ["cat is fine", "the", "dog"])!;
        foreach (var (found, text) in bare.Zip((string[])["cat is fine", "the", "dog"])) Assert.Equal(model.Score([model.Tokenizer!.EndOfText!.Value, .. model.Encode(text)]).Total, found, 1e-4);
        Assert.Contains("empty continuation", Assert.Throws<InvalidDataException>(() => model.ScoreContinuations("", ["", "a"])).Message, StringComparison.Ordinal);
        Assert.Null(model.ScoreContinuations(string.Join(' ', Enumerable.Repeat("cat", 200)), continuations));
    }

    [Fact]
    public void A_tokenizer_with_more_tokens_than_the_model_is_told_where_it_matters()
    {
        Tokenizer.Load(Pretrained()).Framed("_start_", "_delimiter_", "_classify_").Save(At("gpt1"));
        using var model = LanguageModel.Load(At("gpt1"));
        Assert.Contains("'_start_' of id 76", Assert.Throws<InvalidDataException>(() => model.Encode("the cat")).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Examples_in_the_prompt_are_drawn_by_question_and_left_out_where_they_do_not_fit()
    {
        var random = new Random(5);
        var texts = Write("few.tsv", ["text\tlabel", .. Enumerable.Range(0, 60).Select(i => Sentence(random, i % 2 == 0 ? s_good : s_bad) + $"\t{i % 2}")]);
        using var model = LanguageModel.Load(Pretrained());
        var options = new FewShotOptions { Data = new() { Path = texts, Validation = 0.5 }, Shots = [0, 1, 30], Limit = 10, LabelNames = new Dictionary<string, string> { ["0"] = "fine" } };
        var (figures, majority) = FewShot.Of(model, options);
        Assert.Equal([0, 1, 30], figures.Select(f => f.Shots));
        Assert.Equal([0.0, 0.0], figures.Take(2).Select(f => f.Left));
        Assert.InRange(figures[2].Left, 20, 29.9);
        Assert.InRange(majority, 0.5, 1);
        Assert.Equal(figures, FewShot.Of(model, options).Figures);

        // Without examples it is the choice that is most probable behind the prompt.
        var questions = FewShot.Read(options).Questions.Take(10).ToList();
        Assert.Equal([" fine", " 1"], questions[0].Choices);
        Assert.Equal(questions.Average(q => model.ScoreContinuations(q.Prompt, q.Choices)! is var s && (s[0] >= s[1] ? 0 : 1) == q.Label ? 1.0 : 0), figures[0].Accuracy, 1e-9);
        Assert.Contains("--labels 7", Assert.Throws<InvalidDataException>(() => FewShot.Of(model, options with { LabelNames = new Dictionary<string, string> { ["7"] = "x" } })).Message, StringComparison.Ordinal);
        Assert.Contains("--shots 100", Assert.Throws<InvalidDataException>(() => FewShot.Of(model, options with { Shots = [0, 100] })).Message, StringComparison.Ordinal);
        Assert.Contains("--kind tag", Assert.Throws<InvalidDataException>(() => FewShot.Of(model, options with { Kind = "tag" })).Message, StringComparison.Ordinal);
    }
}
