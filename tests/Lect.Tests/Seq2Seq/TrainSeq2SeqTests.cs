using Lect.Models;
using Lect.Testing;
using Lect.Text;

namespace Lect.Tests.Seq2Seq;

/// <summary>The recipe of encoder-decoders: data, batches, training, resuming, translating.</summary>
public sealed class TrainSeq2SeqTests : IDisposable
{
    private readonly string folder = Directory.CreateTempSubdirectory("lect").FullName;

    public void Dispose() => Directory.Delete(folder, recursive: true);

    private string Out(string name) => Path.Combine(folder, name);

    private static TrainSeq2SeqConfig Config(string recipe, params string[] sets) => RunFile.Load<TrainSeq2SeqConfig>(null, ["data.source=copy", "data.pairs=400", "data.letters=4", "tokenizer.kind=word", "tokenizer.min_frequency=1", "train.batch_size=16", "train.lr=1e-2", "train.weight_decay=0", "train.precision=fp32", "train.eval_every=40", "train.log_every=20", .. recipe == "transformer"
        ? (string[])["model.d_model=32", "model.heads=2", "model.encoder_layers=1", "model.decoder_layers=1", "model.ff=64", "model.dropout=0", "train.lr=5e-3"] : ["model.embed=24", "model.hidden=48", "model.decoder_hidden=48", "model.attention=24", "model.maxout=24", "model.layers=1"], .. sets]) with
    { Recipe = recipe };

    [Theory]
    [InlineData("seq2seq", "bahdanau"), InlineData("seq2seq", "luong_general"), InlineData("transformer", "layer_norm"), InlineData("transformer", "batch_norm")]
    public void Copying_is_learned_saved_and_translated(string recipe, string kind)
    {
        var config = Config(recipe, "train.steps=300", "train.eval_every=300", "data.pairs=1000", "data.letters=3", "train.schedule=linear", recipe == "seq2seq" ? $"model.kind={kind}" : $"model.norm={kind}");
        TrainSeq2Seq.Run(config, Out("run"));
        var line = RunFolder.ReadMetrics(Out("run")).Last(m => m.ContainsKey("val_loss"));
        Assert.True((double)line["val_loss"]! < 1, $"{line}");
        using var translator = Translator.Load(Out("run"));
        string[] texts = ["a b", "c", "d e f", "z y x"];
        var together = translator.Translate(texts);
        // Batch normalization, whose averages are saved as buffers, learns it more slowly.
        if (kind == "batch_norm") Assert.Contains(SafeTensorsFile.Open(Path.Combine(Out("run"), "model.safetensors")).Tensors.Keys, k => k.EndsWith("running_var", StringComparison.Ordinal));
        else Assert.True(texts.Zip(together).Count(p => p.First == p.Second.Text) >= 3, string.Join(", ", together.Select(t => t.Text)));
        for (var i = 0; i < texts.Length; i++)
        {
            var alone = translator.Translate([texts[i]])[0];
            Assert.Equal(alone.Ids, together[i].Ids);
            Assert.Equal(alone.Score, together[i].Score, 1e-4);
            var scored = translator.Score(translator.Encode(texts[i]), alone.Ids);
            Assert.Equal(alone.Score, scored.Total / alone.Ids.Length, 1e-4);   // length penalty 1
        }
    }

    [Theory, InlineData("seq2seq"), InlineData("transformer")]
    public void A_run_that_was_stopped_ends_in_the_same_weights(string recipe)
    {
        var config = Config(recipe, "train.steps=12", "train.checkpoint_every=4", "train.eval_every=0", "train.dropout=0.2", "train.label_smoothing=0.1");
        TrainSeq2Seq.Run(config, Out("whole"));
        using var stop = new CancellationTokenSource();
        var short_ = config with { Train = config.Train with { LogEvery = 1 } };
        Assert.Throws<OperationCanceledException>(() => TrainSeq2Seq.Run(short_, Out("stopped"), e => { if (e.Step == 6) stop.Cancel(); }, stop: stop.Token));
        TrainSeq2Seq.Run(RunFolder.SettingsOf<TrainSeq2SeqConfig>(Out("stopped"), []), Out("stopped"));
        Assert.Equal(File.ReadAllBytes(Path.Combine(Out("whole"), "model.safetensors")), File.ReadAllBytes(Path.Combine(Out("stopped"), "model.safetensors")));
    }

    [Fact]
    public void A_run_that_gets_no_better_ends_and_stays_ended()
    {
        // A rate of almost nothing: the first evaluation stays the best, or all are equal.
        var config = Config("seq2seq", "train.steps=100", "train.lr=1e-30", "train.warmup=0", "train.eval_every=3", "train.patience=2", "train.eval_sentences=0");
        Assert.Equal(9, TrainSeq2Seq.Run(config, Out("run")).Step);
        Assert.Equal(9, TrainSeq2Seq.Run(RunFolder.SettingsOf<TrainSeq2SeqConfig>(Out("run"), []), Out("run")).Step);
        Assert.True(File.Exists(Path.Combine(Out("run"), "model.safetensors")));
        Assert.Contains("patience", Assert.Throws<InvalidDataException>(Config("seq2seq", "train.steps=1", "train.patience=1", "train.eval_every=0").Validate).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Every_pair_is_in_one_batch_of_an_epoch_and_batches_are_even()
    {
        var random = new Random(1);
        var pairs = Enumerable.Range(0, 1000).Select(i => new IdPair([.. Enumerable.Repeat(i, random.Next(1, 30))], [.. Enumerable.Repeat(i, random.Next(1, 30))])).ToList();
        foreach (var tokens in new int?[] { null, 256 })
        {
            var batches = new PairBatches(pairs, 16, tokens, seed: 4);
            var steps = batches.StepsOf(1);
            var first = Enumerable.Range(0, (int)steps).Select(s => batches.At(s)).ToList();
            Assert.Equal(Enumerable.Range(0, 1000), first.SelectMany(b => b.Source.Select(s => s[0])).Order());
            Assert.Equal(first.SelectMany(b => b.Source.Select(s => s[0])), first.SelectMany(b => b.Target.Select(t => t[0])));
            Assert.Equal(first[5].Source, new PairBatches(pairs, 16, tokens, seed: 4).At(5).Source);
            Assert.NotEqual(first[5].Source, batches.At(steps + 5).Source);
            Assert.Equal(first[5].Source, batches.At(5).Source);   // and back
            if (tokens is not null) Assert.All(first, b => Assert.True(b.Source.Count == 1 || b.Source.Count * Math.Max(b.Source.Max(s => s.Length), b.Target.Max(t => t.Length)) <= tokens));
            Assert.True(first.Average(b => 1 - b.Target.Average(t => (double)t.Length) / b.Target.Max(t => t.Length)) < 0.1);   // little padding
        }
    }

    [Fact]
    public void Pairs_come_from_two_files_columns_the_sdk_or_are_made_up()
    {
        File.WriteAllLines(Out("a.txt"), ["One", "Two", "Three"]);
        File.WriteAllLines(Out("b.txt"), ["Eins", "Zwei", "Drei"]);
        Assert.Equal([("one", "eins"), ("two", "zwei"), ("three", "drei")], new PairDataConfig { Path = Out("a.txt"), TargetPath = Out("b.txt"), Validation = 0, Lowercase = true }.Read(1).Select(p => (p.Source, p.Target)));
        File.WriteAllText(Out("c.tsv"), "en\tde\nOne\tEins\n");
        Assert.Equal(("One", "Eins"), new PairDataConfig { Path = Out("c.tsv"), Columns = new() { ["source"] = "en", ["target"] = "de" }, Validation = 0 }.Read(1).Select(p => (p.Source, p.Target)).Single());
        var reversed = new PairDataConfig { Source = "reverse", Pairs = 100, Letters = 5 }.Read(1).ToList();
        Assert.Equal(104, reversed.Count);
        Assert.All(reversed, p => Assert.Equal(p.Target, string.Join(' ', p.Source.Split(' ').Reverse())));
        Assert.Equal(reversed, new PairDataConfig { Source = "reverse", Pairs = 100, Letters = 5 }.Read(1));

        File.WriteAllLines(Out("d.txt"), ["Eins", "", "Drei", "Vier"]);
        var lengths = Assert.Throws<InvalidDataException>(() => new PairDataConfig { Path = Out("a.txt"), TargetPath = Out("d.txt") }.Read(1).ToList()).Message;
        foreach (var part in (string[])["3 lines", "4 in", "Line 2"]) Assert.Contains(part, lengths, StringComparison.Ordinal);
    }

    [Fact]
    public void The_sdk_has_pairs_of_its_languages()
    {
        var languages = SdkTranslations.Languages();
        Assert.SkipUnless(languages.Contains("de"), "this SDK has no German");
        var pairs = SdkTranslations.Pairs("de");
        Assert.True(pairs.Count > 5000, $"{pairs.Count}");
        Assert.Equal(pairs.Count, pairs.Select(p => p.English).Distinct().Count());
        Assert.All(pairs, p => Assert.NotEqual(p.English, p.Other));
        Assert.Contains("cs, de", Assert.Throws<InvalidDataException>(() => SdkTranslations.Pairs("xx")).Message, StringComparison.Ordinal);
        var both = new PairDataConfig { Pair = "de-en" }.Read(1).Take(5).ToList();
        Assert.Equal(pairs[0].Other, both[0].Source);
    }

    [Fact]
    public void Faults_are_told()
    {
        var faults = Assert.Throws<InvalidDataException>(Config("bert", "data.source=web", "data.pair=de-fr", "train.label_smoothing=1", "tokenizer.kind=words", "train.steps=1").Validate).Message;
        foreach (var part in (string[])["recipe = 'bert'", "data.source = 'web'", "data.pair = 'de-fr'", "label_smoothing = 1", "tokenizer.kind = 'words'"]) Assert.Contains(part, faults, StringComparison.Ordinal);
        Assert.Contains("kind = 'gru'", Assert.Throws<InvalidDataException>(() => TrainSeq2Seq.Run(Config("seq2seq", "train.steps=1", "model.kind=gru"), Out("a"))).Message, StringComparison.Ordinal);
        Assert.Contains("no multiple", Assert.Throws<InvalidDataException>(() => TrainSeq2Seq.Run(Config("transformer", "train.steps=1", "model.heads=3"), Out("b"))).Message, StringComparison.Ordinal);
        File.WriteAllText(Out("long.tsv"), "source\ttarget\n" + string.Concat(Enumerable.Repeat("one two three\tfour five six\n", 40)));
        Assert.Contains("max_length", Assert.Throws<InvalidDataException>(() => TrainSeq2Seq.Run(Config("seq2seq", "train.steps=1", "data.source=null", $"data.path={Out("long.tsv")}", "data.max_length=1"), Out("c"))).Message, StringComparison.Ordinal);
    }

    public static TheoryData<string> Presets => [.. new[] { "seq2seq", "transformer" }.SelectMany(f => Directory.EnumerateFiles(Path.Combine(Fixtures.Root, "configs", f), "*.yaml")).Select(f => Path.GetRelativePath(Fixtures.Root, f))];

    [Theory, MemberData(nameof(Presets))]
    public void Every_preset_is_read_and_a_shrunken_copy_of_it_runs(string preset)
    {
        var sets = new List<string> { "data.source=copy", "data.pairs=60", "data.letters=5", "tokenizer.size=300", "train.steps=2", "train.batch_tokens=null", "train.batch_size=4", "train.eval_every=2" };
        sets.AddRange(preset.Contains("transformer", StringComparison.Ordinal) ? ["model.d_model=16", "model.ff=16", "tokenizer.kind=word", "tokenizer.min_frequency=1"] : ["model.hidden=8", "model.decoder_hidden=8", "model.attention=8", "model.maxout=8"]);
        var config = RunFile.Load<TrainSeq2SeqConfig>(Path.Combine(Fixtures.Root, preset), sets);
        Assert.Equal(2, TrainSeq2Seq.Run(config, Out("run")).Step);
    }
}
