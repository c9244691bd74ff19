using System.Text.Json.Nodes;
using Lect.Models;
using Lect.Testing;
using Lect.Text;
using TorchSharp;

namespace Lect.Tests.Bert;

/// <summary>Pre-training and the five kinds of fine-tuning, small: they learn what can be learned, stop and go on exactly, and refuse what cannot be.</summary>
public sealed class BertRecipesTests : TemporaryFolder
{
    private static readonly string[] s_animals = ["cat", "dog", "horse", "cow"], s_colours = ["red", "green", "blue", "black"], s_good = ["fine", "lovely", "great"], s_bad = ["awful", "dull", "poor"];

    private static string Sentence(Random random, string[] last) => $"the {s_colours[random.Next(4)]} {s_animals[random.Next(4)]} is {last[random.Next(last.Length)]} .";

    private string Text()
    {
        var random = new Random(1);
        return Write("text.txt", [.. Enumerable.Range(0, 300).Select(i => string.Join(' ', Enumerable.Range(0, 4).Select(_ => Sentence(random, random.Next(2) == 0 ? s_good : s_bad).Replace(".", ". ", StringComparison.Ordinal))) + "\n")]);
    }

    private PretrainBertConfig Pretraining(int steps) => new()
    {
        Tokenizer = new() { Kind = "wordpiece", Size = 100 },
        Data = new() { Path = Text() },
        Model = new() { ["hidden_size"] = 32, ["num_hidden_layers"] = 2, ["num_attention_heads"] = 2, ["intermediate_size"] = 64 },
        Train = new() { Steps = steps, BatchSize = 16, Block = 32, LongBlock = 48, LongShare = 0.25, Lr = 2e-3, Warmup = 2, EvalEvery = steps / 2, CheckpointEvery = steps / 2, Precision = "fp32", Dropout = 0.1 },
    };

    private string Pretrained()
    {
        if (!File.Exists(At("bert", "config.json"))) PretrainBert.Run(Pretraining(8), At("bert"));
        return At("bert");
    }

    [Fact]
    public void A_stopped_pre_training_goes_on_exactly()
    {
        PretrainBert.Run(Pretraining(8), At("whole"));
        using var stop = new CancellationTokenSource();
        Assert.Throws<OperationCanceledException>(() => PretrainBert.Run(Pretraining(8) with { Train = Pretraining(8).Train with { LogEvery = 1 } }, At("cut"), e => { if (e.Step == 3) stop.Cancel(); }, stop: stop.Token));
        PretrainBert.Run(RunFolder.SettingsOf<PretrainBertConfig>(At("cut"), []), At("cut"));
        Assert.Equal(File.ReadAllBytes(At("whole", "checkpoints", "step-000008", "model.safetensors")), File.ReadAllBytes(At("cut", "checkpoints", "step-000008", "model.safetensors")));
        var last = RunFolder.ReadMetrics(At("whole")).Last(m => m["val_loss"] is not null);
        foreach (var figure in (string[])["masked_loss", "masked_accuracy", "unigram_loss", "unigram_accuracy", "next_sentence_accuracy"]) Assert.InRange((double)last[figure]!, 0, 10);
    }

    [Fact]
    public void Pre_training_leaves_the_unigram_guess_behind_and_continues_a_folder_with_vectors()
    {
        PretrainBert.Run(Pretraining(400) with { Model = new(Pretraining(1).Model) { ["vectors"] = "skip-gram" }, Train = Pretraining(400).Train with { Lr = 3e-3, LongShare = 0, Dropout = 0 } }, At("longer"));
        var last = RunFolder.ReadMetrics(At("longer")).Last(m => m["val_loss"] is not null);
        Assert.True((double)last["masked_loss"]! < 0.9 * (double)last["unigram_loss"]!, last.ToJsonString());
        using var model = MaskedLanguageModel.Load(At("longer"));
        var guesses = model.Fill(model.EncodeMasked("[CLS] the red cat is [MASK] . [SEP] the [MASK] dog is fine . [SEP]"), 4);
        Assert.Equal(2, guesses.Count);
        Assert.Contains(guesses[1], g => s_colours.Contains(g.Token));
        var score = model.Score(model.Encode("the red cat is fine ."));
        Assert.Equal([true, false, true], new[] { score.LogProbs[0] is null, score.LogProbs[1] is null, score.LogProbs[^1] is null });
        Assert.True(score.Total > model.Score(model.Encode("fine is cat red the .")).Total);

        var continued = new PretrainBertConfig { Data = new() { Path = Text() }, Model = new() { ["path"] = At("longer") }, Train = new() { Steps = 2, BatchSize = 8, Block = 32, EvalEvery = 2, Precision = "fp32" } };
        PretrainBert.Run(continued, At("continued"));
        Assert.Equal(File.ReadAllText(At("longer", "tokenizer.json")), File.ReadAllText(At("continued", "tokenizer.json")));
    }

    private FinetuneConfig Config(string kind, TaskDataConfig data, int steps = 60, bool fromNothing = false) => new()
    {
        Recipe = kind,
        Data = data,
        Model = new() { ["path"] = Pretrained(), ["from_nothing"] = fromNothing },
        Train = new() { Steps = steps, Lr = 5e-3, Dropout = 0, BatchSize = 16, MaxLength = 32, Stride = 4, EvalEvery = steps / 2, CheckpointEvery = 0, Precision = "fp32" },
    };

    private double Run(FinetuneConfig config, string figure, string name)
    {
        Finetune.Run(config, At(name));
        foreach (var file in (string[])["model.safetensors", "config.json", "tokenizer.json", "report.html"]) Assert.True(File.Exists(At(name, file)), file);
        return RunFolder.ReadMetrics(At(name)).Max(m => (double?)m[figure] ?? 0);
    }

    [Fact]
    public void Sentences_pairs_and_numbers_are_learned()
    {
        var random = new Random(2);
        string Good() => Sentence(random, s_good);
        string Bad() => Sentence(random, s_bad);
        var single = Write("single.tsv", ["sentence\tlabel", .. Enumerable.Range(0, 400).Select(i => i % 2 == 0 ? Good() + "\tpraise" : Bad() + "\tblame")]);
        Assert.True(Run(Config("classify", new() { Path = single, Columns = new() { ["text"] = "sentence" } }), "accuracy", "classify") > 0.9);
        using (var model = TextClassifier.Load(At("classify")))
        {
            Assert.Equal(["blame", "praise"], model.Model.Labels);
            var rows = new[] { "the red cat is fine .", "the black dog is awful ." }.Select(t => model.Encode(t)).ToList();
            var together = model.Classify(rows);
            Assert.Equal(["praise", "blame"], together.Select(c => c.Label));
            foreach (var (row, found) in rows.Zip(together)) Assert.Equal(model.Classify(row).Logits, found.Logits, (a, b) => Math.Abs(a - b) < 1e-5);   // whatever else is in the batch
        }
        var said = File.ReadAllLines(At("classify", "predictions.txt"));
        Assert.Equal(File.ReadAllLines(At("classify", "gold.txt")).Length, said.Length);
        Assert.All(said, l => Assert.Contains(l, (string[])["blame", "praise"]));

        var rte = Write("rte.tsv", ["index\tsentence1\tsentence2\tlabel", .. Enumerable.Range(0, 400).Select(i => $"{i}\t{Good()}\t{(i % 2 == 0 ? Good() + "\tentailment" : Bad() + "\tnot_entailment")}")]);
        Assert.True(Run(Config("pairs", new() { Path = rte, Task = "rte" }, steps: 150), "accuracy", "pairs") > 0.9);
        var numbers = Write("numbers.jsonl", [.. Enumerable.Range(0, 400).Select(i => new JsonObject { ["text"] = i % 2 == 0 ? Good() : Bad(), ["label"] = i % 2 == 0 ? 1.5 : -0.5 }.ToJsonString())]);
        var regression = Config("classify", new() { Path = numbers, Regression = true, Validation = 0.4 }, steps: 100);
        var pearson = Run(regression with { Train = regression.Train with { Lr = 2e-3 } }, "pearson", "numbers");
        Assert.True(pearson > 0.9, $"{pearson}");
        Assert.Equal("score", ((JsonObject)Fixtures.Json(At("numbers", "config.json"))["id2label"]!)["0"]!.ToString());
    }

    [Fact]
    public void Choices_answers_and_tags_are_learned()
    {
        var random = new Random(3);
        var swag = Write("swag.csv", ["startphrase,ending0,ending1,label", .. Enumerable.Range(0, 400).Select(i => (Sentence(random, s_good), Sentence(random, s_bad)) is var (good, bad) ? $"what is good ?,{(i % 2 == 0 ? good : bad)},{(i % 2 == 0 ? bad : good)},{i % 2}" : "")]);
        // One prompt for all: the split by its hash would put all on one side.
        var validation = Write("swag-dev.csv", [.. File.ReadAllLines(swag).Take(41)]);
        Assert.True(Run(Config("choice", new() { Path = swag, ValidationPath = validation }), "accuracy", "choice") > 0.9);
        using (var model = ChoiceModel.Load(At("choice"))) Assert.True(model.Choose([model.Encode("what is good ?", "the black dog is awful ."), model.Encode("what is good ?", "the red cow is fine .")]) is [< 0.5, > 0.5]);

        JsonObject Asked(int i)
        {
            var (context, colour) = ("", s_colours[random.Next(4)]);
            for (var s = 0; s < 8; s++) context += (s == i % 8 ? $"the {colour} cat is fine . " : $"the dog is {s_bad[random.Next(3)]} . ");
            return new() { ["question"] = "the cat ?", ["context"] = context, ["answer"] = colour };
        }
        var asked = Write("asked.jsonl", [.. Enumerable.Range(0, 240).Select(i => Asked(i).ToJsonString())]);
        var exact = Run(Config("qa", new() { Path = asked }, steps: 400), "exact_match", "qa");
        Assert.True(exact > 80, $"{exact}");
        var predictions = (JsonObject)Fixtures.Json(At("qa", "predictions.json"));
        Assert.All(predictions, p => Assert.IsType<string>((string?)p.Value));
        using (var model = AnswerModel.Load(At("qa")))
        {
            var context = (string)Asked(5)["context"]!;
            var answers = model.Answer("the cat ?", context, most: 3, maxLength: 32, stride: 4);
            Assert.Equal(answers[0].Text, context[answers[0].Start..answers[0].End]);
            Assert.Equal(3, answers.Count);
            Assert.True(answers[0].Score >= answers[1].Score);
        }

        var tagged = Write("tagged.conll", [.. Enumerable.Range(0, 300).SelectMany(_ => Sentence(random, s_good).Split(' ').Select(w => $"{w} {(s_colours.Contains(w) ? "B-COLOUR" : s_animals.Contains(w) ? "B-ANIMAL" : "O")}").Append(""))]);
        Assert.True(Run(Config("tag", new() { Path = tagged }), "f1", "tag") > 0.9);
        Assert.Equal(File.ReadAllLines(At("tag", "gold.conll")).Length, File.ReadAllLines(At("tag", "predictions.conll")).Length);
        using (var model = TagModel.Load(At("tag")))
        {
            const string text = "The red horse is fine.";
            var (tags, entities) = model.Tag(text, TagModel.Split(text));
            Assert.Equal(6, tags.Count);
            Assert.All(entities, e => Assert.Equal(e.Text, text[e.Start..e.End]));
            Assert.Contains(entities, e => e is { Type: "COLOUR", Text: "red" });
        }
    }

    [Fact]
    public void Frozen_layers_stay_and_seeds_are_summed_up()
    {
        var random = new Random(4);
        var single = Write("single.jsonl", [.. Enumerable.Range(0, 100).Select(i => new JsonObject { ["text"] = Sentence(random, i % 2 == 0 ? s_good : s_bad), ["label"] = i % 2 }.ToJsonString())]);
        var config = Config("classify", new() { Path = single, Validation = 0.3 }, steps: 4);
        Finetune.Run(config with { Train = config.Train with { Freeze = 1, ClassWeights = ["balanced"] } }, At("frozen"));
        Weights before = Weights.Open(Pretrained()), after = Weights.Open(At("frozen"));
        using var scope = torch.NewDisposeScope();
        bool Same(string key) => before.Load(key).equal(after.Load(key)).all().item<bool>();
        Assert.True(Same("bert.embeddings.word_embeddings.weight") && Same("bert.encoder.layer.0.output.dense.weight"));
        Assert.False(Same("bert.encoder.layer.1.output.dense.weight") || Same("bert.pooler.dense.weight"));

        var summary = Finetune.RunSeeds(config with { Seeds = 2, Train = config.Train with { LayerDecay = 0.5 } }, At("seeds"));
        var each = Fixtures.Json(At("seeds", "seeds.json"))["last/val_loss"]!;
        var values = each["each"]!.AsArray().Select(v => (double)v!).ToList();
        Assert.Equal(2, values.Count);
        Assert.NotEqual(values[0], values[1]);
        var (_, mean, deviation) = summary.First(f => f.Name == "last/val_loss");
        Assert.Equal(values.Average(), mean, 12);
        Assert.Equal(Math.Abs(values[0] - values[1]) / Math.Sqrt(2), deviation, 12);
    }

    [Fact]
    public void Seeds_that_were_stopped_go_on_exactly_with_their_own_settings_alone()
    {
        var random = new Random(4);
        var single = Write("single.jsonl", [.. Enumerable.Range(0, 60).Select(i => new JsonObject { ["text"] = Sentence(random, i % 2 == 0 ? s_good : s_bad), ["label"] = i % 2 }.ToJsonString())]);
        var config = Config("classify", new() { Path = single, Validation = 0.3 }, steps: 4) with { Seeds = 2 };
        config = config with { Train = config.Train with { LogEvery = 1, CheckpointEvery = 1 } };
        Finetune.RunSeeds(config, At("whole"));
        using var stop = new CancellationTokenSource();
        var steps = 0;
        Assert.Throws<OperationCanceledException>(() => Finetune.RunSeeds(config, At("cut"), e => { if (e.Metrics["loss"] is not null && ++steps == 6) stop.Cancel(); }, stop: stop.Token));   // in the second seed
        Assert.True(RunFolder.IsOccupied(At("cut")));
        Assert.Contains("another run", Assert.Throws<InvalidDataException>(() => Finetune.Run(config with { Seeds = 1 }, At("cut"))).Message, StringComparison.Ordinal);
        var own = RunFolder.SettingsOf<FinetuneConfig>(At("cut"), []);
        Assert.Equal(2, own.Seeds);
        Finetune.RunSeeds(own, At("cut"));
        Assert.Contains("begun with 4", Assert.Throws<InvalidDataException>(() => Finetune.RunSeeds(own with { Train = own.Train with { Steps = 3 } }, At("cut"))).Message, StringComparison.Ordinal);
        Assert.Equal(4, RunFolder.SettingsOf<FinetuneConfig>(At("cut"), []).Train.Steps);   // what was refused is not written
        Write("other.txt", "");
        Directory.CreateDirectory(At("taken"));
        File.WriteAllText(At("taken", "vectors.bin"), "");
        Assert.Contains("another run", Assert.Throws<InvalidDataException>(() => Finetune.RunSeeds(config, At("taken"))).Message, StringComparison.Ordinal);
        foreach (var file in (string[])["seed-1/model.safetensors", "seed-2/model.safetensors", "seeds.json"]) Assert.Equal(File.ReadAllBytes(At("whole", file)), File.ReadAllBytes(At("cut", file)));
    }

    [Fact]
    public void A_fine_tuned_folder_keeps_its_labels_whatever_their_order()
    {
        var random = new Random(4);
        string Labelled(string name, string good, string bad) => Write(name, [.. Enumerable.Range(0, 60).Select(i => new JsonObject { ["text"] = Sentence(random, i % 2 == 0 ? s_good : s_bad), ["label"] = i % 2 == 0 ? good : bad }.ToJsonString())]);
        var config = Config("classify", new() { Path = Labelled("first.jsonl", "POS", "NEG"), Validation = 0.3 }, steps: 60);
        Finetune.Run(config with { Train = config.Train with { Lr = 3e-3 } }, At("first"));
        // The same folder with its two rows the other way round, as others write them.
        Directory.CreateDirectory(At("turned"));
        foreach (var file in (string[])["tokenizer.json", "tokenizer_config.json", "vocab.txt"]) if (File.Exists(At("first", file))) File.Copy(At("first", file), At("turned", file));
        var json = Fixtures.Json(At("first", "config.json")).AsObject();
        json["id2label"] = new JsonObject { ["0"] = "POS", ["1"] = "NEG" };
        json["label2id"] = new JsonObject { ["POS"] = 0, ["NEG"] = 1 };
        File.WriteAllText(At("turned", "config.json"), json.ToJsonString());
        using (var scope = torch.NewDisposeScope())
        {
            var weights = Weights.Open(At("first"));
            SafeTensorsFile.Write(At("turned", "model.safetensors"), weights.Names.Select(n => (n, n.StartsWith("classifier.", StringComparison.Ordinal) ? weights.Load(n).flip(0).contiguous() : weights.Load(n))));
        }
        double Accuracy(string data, string name)
        {
            var notes = new List<string>();
            var next = Config("classify", new() { Path = data, ValidationPath = data }, steps: 1);
            Finetune.Run(next with { Model = new() { ["path"] = At("turned") }, Train = next.Train with { Lr = 1e-12, EvalEvery = 1 } }, At(name), note: notes.Add);
            Assert.Equal(name != "other", notes.Exists(n => n.Contains("none new", StringComparison.Ordinal)));
            return (double)RunFolder.ReadMetrics(At(name)).Last(m => m["accuracy"] is not null)["accuracy"]!;
        }
        Assert.InRange(Accuracy(At("first.jsonl"), "same"), 0.9, 1);
        Accuracy(Labelled("other.jsonl", "spam", "ham"), "other");   // labels of another meaning: a new head
    }

    [Fact]
    public void Batches_without_anything_to_learn_do_no_harm()
    {
        // Short rows, one a pass: many have no masked token of their own, and one is chosen for them.
        var config = Pretraining(12);
        PretrainBert.Run(config with { Train = config.Train with { Block = 8, LongShare = 0, BatchSize = 1, Steps = 40, EvalEvery = 0, LogEvery = 1 } }, At("short"));
        Assert.All(RunFolder.ReadMetrics(At("short")).Where(m => m["loss"] is not null), m => Assert.InRange((double)m["loss"]!, 1e-3, 20));
        var empty = Write("empty.jsonl", [.. Enumerable.Repeat("""{"words":[],"tags":[]}""", 12), .. Enumerable.Repeat("""{"words":["red","cat"],"tags":["O","B-X"]}""", 4)]);
        var tags = Config("tag", new() { Path = empty, Validation = 0 }, steps: 8);
        Finetune.Run(tags with { Train = tags.Train with { BatchSize = 2, LogEvery = 1 } }, At("tags"));
        Assert.All(RunFolder.ReadMetrics(At("tags")).Where(m => m["loss"] is not null), m => Assert.True(double.IsFinite((double)m["loss"]!)));
    }

    [Fact]
    public void What_cannot_be_is_refused()
    {
        string Refused(FinetuneConfig config) => Assert.Throws<InvalidDataException>(() => Finetune.Run(config, At("no" + Guid.NewGuid()))).Message;
        var train = Write("train.tsv", "text\tlabel", "good\ta", "bad\tb", "poor\ta");
        Assert.Contains("'c' on 1 validation", Refused(Config("classify", new() { Path = train, ValidationPath = Write("dev.tsv", "text\tlabel", "fine\tc") })), StringComparison.Ordinal);
        Assert.Contains("text, label", Refused(Config("classify", new() { Path = train, Columns = new() { ["text"] = "sentence" } })), StringComparison.Ordinal);
        Assert.Contains("lect finetune pairs", Refused(Config("classify", new() { Path = train, Task = "rte" })), StringComparison.Ordinal);
        Assert.Contains("train.max_length = 512", Refused(Config("classify", new() { Path = train }) with { Train = new() { Steps = 1, MaxLength = 512 } }), StringComparison.Ordinal);
        Assert.Contains("Expected a number", Refused(Config("classify", new() { Path = train, Regression = true })), StringComparison.Ordinal);
        Assert.Contains("Expected a number", Refused(Config("classify", new() { Path = Write("nan.tsv", "text\tlabel", "a\tnan"), Regression = true })), StringComparison.Ordinal);
        Assert.Contains("'a' alone", Refused(Config("classify", new() { Path = Write("one.tsv", "text\tlabel", "good\ta", "bad\ta"), Validation = 0 })), StringComparison.Ordinal);
        Assert.Contains("tags 0, 3", Refused(Config("tag", new() { Path = Write("numbers.jsonl", """{"words":["a","b"],"tags":[0,3]}"""), Validation = 0 })), StringComparison.Ordinal);
        Assert.Contains("leave no example", Refused(Config("classify", new() { Path = train, Validation = 0 }) with { Train = new() { Steps = 1, MaxLength = 16, ClassWeights = ["0", "0"] } }), StringComparison.Ordinal);
        Assert.Contains("class_weights", Refused(Config("classify", new() { Path = train }) with { Train = new() { Steps = 1, ClassWeights = ["nan", "1"] } }), StringComparison.Ordinal);
        Assert.Contains("seeds = 2", Refused(Config("classify", new() { Path = train }) with { Seeds = 2 }), StringComparison.Ordinal);
        var asking = """{"id":"q1","question":"who ?","context":"the cat is fine .","answer":"cat"}""";
        Assert.Contains("the id 'q1'", Refused(Config("qa", new() { Path = Write("once.jsonl", asking), ValidationPath = Write("twice.jsonl", asking, asking) })), StringComparison.Ordinal);
        Assert.Contains("line 2", Refused(Config("tag", new() { Path = Write("bad.conll", "word O", "alone") })), StringComparison.Ordinal);
        Assert.Contains("model.path", Refused(new() { Recipe = "tag" }), StringComparison.Ordinal);
        Assert.Contains("train.freeze = 9", Refused(Config("classify", new() { Path = train }) with { Train = new() { Steps = 1, MaxLength = 16, Freeze = 9 } }), StringComparison.Ordinal);
        Assert.Contains("0 to 1", Refused(Config("choice", new() { Path = Write("swag.csv", "startphrase,ending0,ending1,label", "a,b,c,7") })), StringComparison.Ordinal);

        var lengthy = Write("long.jsonl", new JsonObject { ["question"] = string.Concat(Enumerable.Repeat("the cat ", 40)), ["context"] = "the cat is fine .", ["answer"] = "cat" }.ToJsonString());
        Assert.Contains("train.max_length", Refused(Config("qa", new() { Path = lengthy, Validation = 0 }, steps: 1)), StringComparison.Ordinal);   // of a thread beside, as it is

        var notes = new List<string>();
        var asked = Write("asked.jsonl", """{"id":"q1","question":"who ?","context":"the cat is fine .","answer":"dog"}""", """{"question":"who ?","context":"the cat is fine .","answer":"cat"}""");
        Finetune.Run(Config("qa", new() { Path = asked, Validation = 0 }, steps: 2), At("qa"), note: notes.Add);
        Assert.Contains(notes, n => n.Contains("1 of 2 training questions", StringComparison.Ordinal) && n.Contains("'q1'", StringComparison.Ordinal));
    }

    public static TheoryData<string> Presets => [.. Directory.EnumerateFiles(Path.Combine(Fixtures.Root, "configs", "bert"), "*.yaml").Select(f => Path.GetFileName(f))];

    [Theory, MemberData(nameof(Presets))]
    public void Presets_can_be_honoured_and_run_when_shrunken(string preset)
    {
        var path = Path.Combine(Fixtures.Root, "configs", "bert", preset);
        if (File.ReadAllText(path).Contains("recipe: bert", StringComparison.Ordinal))
        {
            var config = RunFile.Load<PretrainBertConfig>(path, preset.StartsWith("text", StringComparison.Ordinal) ? ["data.path=text.txt"] : []).Validate();
            var small = RunFile.Load<PretrainBertConfig>(path, [$"data.path={Text()}", "data.with_sdk=false", "tokenizer.size=100", "model={ hidden_size: 16, num_hidden_layers: 1, num_attention_heads: 2, intermediate_size: 32 }", "train.steps=2", "train.batch_size=4", "train.block=16", "train.long_block=24", "train.precision=fp32"]);
            PretrainBert.Run(small, At("small"));
            Assert.True(config.Train.Steps > 100);
            return;
        }
        var task = RunFile.Load<FinetuneConfig>(path, ["model.path=runs/bert", "data.path=x"]).Validate();
        var file = task.Recipe switch
        {
            "classify" => Write("x.tsv", "sentence\tlabel", "the cat is fine .\t1", "the dog is dull .\t0"),
            "pairs" => Write("x.tsv", "Quality\t#1 ID\t#2 ID\t#1 String\t#2 String", "1\t1\t2\tthe \"cat\" is fine .\tthe cat is great .", "0\t1\t2\tthe cat is fine .\tthe dog is dull ."),
            "choice" => Write("x.csv", "startphrase,ending0,ending1,label", "the cat,is fine .,dog .,0"),
            "qa" => Write("x.json", """{"version":"1.1","data":[{"title":"t","paragraphs":[{"context":"the red cat is fine .","qas":[{"id":"1","question":"which cat ?","answers":[{"text":"red","answer_start":4}]}]}]}]}"""),
            _ => Write("x.conll", "the O", "cat B-ANIMAL"),
        };
        Finetune.Run(RunFile.Load<FinetuneConfig>(path, [$"model.path={Pretrained()}", $"data.path={file}", $"data.validation_path={file}", "train.steps=2", "train.max_length=32", "train.stride=4", "train.precision=fp32"]), At("task"));
        Assert.True(File.Exists(At("task", "report.html")));
    }
}
