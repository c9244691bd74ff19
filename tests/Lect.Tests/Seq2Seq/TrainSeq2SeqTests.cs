using Lect.Models;
using Lect.Testing;
using Lect.Text;

namespace Lect.Tests.Seq2Seq;

/// <summary>The recipe of encoder-decoders: data, batches, training, resuming, translating.</summary>
public sealed class TrainSeq2SeqTests : TemporaryFolder
{
    private static TrainSeq2SeqConfig Config(string recipe, params string[] sets) => RunFile.Load<TrainSeq2SeqConfig>(null, ["data.source=copy", "data.pairs=400", "data.letters=4", "tokenizer.kind=word", "tokenizer.min_frequency=1", "train.batch_size=16", "train.lr=1e-2", "train.weight_decay=0", "train.precision=fp32", "train.eval_every=40", "train.log_every=20", .. recipe == "transformer"
        ? (string[])["model.d_model=32", "model.heads=2", "model.encoder_layers=1", "model.decoder_layers=1", "model.ff=64", "model.dropout=0", "train.lr=5e-3"] : ["model.embed=24", "model.hidden=48", "model.decoder_hidden=48", "model.attention=24", "model.maxout=24", "model.layers=1"], .. sets]) with
    { Recipe = recipe };

    [Theory]
    [InlineData("seq2seq", "bahdanau"), InlineData("seq2seq", "luong_general"), InlineData("transformer", "layer_norm"), InlineData("transformer", "batch_norm")]
    public void Copying_is_learned_saved_and_translated(string recipe, string kind)
    {
        var config = Config(recipe, "train.steps=300", "train.eval_every=300", "data.pairs=1000", "data.letters=3", "train.schedule=linear", recipe == "seq2seq" ? $"model.kind={kind}" : $"model.norm={kind}");
        TrainSeq2Seq.Run(config, At("run"));
        var line = RunFolder.ReadMetrics(At("run")).Last(m => m.ContainsKey("val_loss"));
        Assert.True((double)line["val_loss"]! < 1, $"{line}");
        using var translator = Translator.Load(At("run"));
        string[] texts = ["a b", "c", "d e f", "z y x"];
        var together = translator.Translate(texts);
        // Batch normalization, whose averages are saved as buffers, learns it more slowly.
        if (kind == "batch_norm") Assert.Contains(SafeTensorsFile.Open(At("run", "model.safetensors")).Tensors.Keys, k => k.EndsWith("running_var", StringComparison.Ordinal));
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
        TrainSeq2Seq.Run(config, At("whole"));
        using var stop = new CancellationTokenSource();
        var short_ = config with { Train = config.Train with { LogEvery = 1 } };
        Assert.Throws<OperationCanceledException>(() => TrainSeq2Seq.Run(short_, At("stopped"), e => { if (e.Step == 6) stop.Cancel(); }, stop: stop.Token));
        TrainSeq2Seq.Run(RunFolder.SettingsOf<TrainSeq2SeqConfig>(At("stopped"), []), At("stopped"));
        Assert.Equal(File.ReadAllBytes(At("whole", "model.safetensors")), File.ReadAllBytes(At("stopped", "model.safetensors")));
    }

    [Theory, InlineData("en-ja", "char"), InlineData("en-zh-Hans", "zh"), InlineData("en-ko", "char"), InlineData("zh-Hans-en", null), InlineData("en-de", null), InlineData(null, null)]
    public void Languages_without_blanks_are_measured_by_characters(string? pair, string? tokenize)
    {
        Assert.Equal(tokenize, new PairDataConfig { Pair = pair }.TokenizeByCharacters);
        Assert.Null(new PairDataConfig { Pair = pair, Path = "pairs.tsv" }.TokenizeByCharacters);
    }

    [Fact]
    public void The_mean_of_the_last_checkpoints_is_taken_where_it_is_better_and_bleu_may_decide()
    {
        var config = Config("transformer", "train.steps=60", "train.eval_every=10", "train.checkpoint_every=10", "train.average=4", "train.best=bleu", "train.lr=2e-2", "train.schedule=constant");
        var state = TrainSeq2Seq.Run(config, At("run"));
        var lines = RunFolder.ReadMetrics(At("run")).Where(l => l.ContainsKey("bleu")).ToList();
        var (single, mean) = (lines.Where(l => l["averaged"] is null).Max(l => (double)l["bleu"]!), lines.Single(l => l["averaged"] is not null));
        Assert.Equal(single, -state.Best, 1e-9);
        Assert.Equal(4, (int)mean["averaged"]!);
        var last = Directory.GetDirectories(At("run", "checkpoints")).OrderBy(c => c, StringComparer.Ordinal).TakeLast(4).Select(c => SafeTensorsFile.Open(Path.Combine(c, "model.safetensors"))).ToList();
        using var scope = TorchSharp.torch.NewDisposeScope();
        var (key, root) = ("transformer.encoder.layers.0.linear1.weight", SafeTensorsFile.Open(At("run", "model.safetensors")));
        var average = last.Select(c => c.Load(key)).Aggregate((a, b) => a + b) / 4;
        var isMean = (average - root.Load(key)).abs().max().item<float>() < 1e-6;
        Assert.Equal((double)mean["bleu"]! > single, isMean);
        // A finished run that is resumed stays as it is.
        var bytes = File.ReadAllBytes(At("run", "model.safetensors"));
        TrainSeq2Seq.Run(RunFolder.SettingsOf<TrainSeq2SeqConfig>(At("run"), []), At("run"));
        Assert.Equal(bytes, File.ReadAllBytes(At("run", "model.safetensors")));
        Assert.Equal(lines.Count, RunFolder.ReadMetrics(At("run")).Count(l => l.ContainsKey("bleu")));
        Assert.Contains("train.average = 1", Assert.Throws<InvalidDataException>(Config("seq2seq", "train.steps=1", "train.average=1").Validate).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_marian_model_is_fine_tuned_with_its_own_tokenizers()
    {
        Directory.CreateDirectory(At("marian"));
        foreach (var file in MarianTokenizers.Files) File.Copy(Fixtures.Path_("tokenizers", "marian", file), At("marian", file));
        File.WriteAllText(At("marian", "generation_config.json"), """{"num_beams": 3, "max_length": 20, "bad_words_ids": [[878]], "forced_eos_token_id": 0, "eos_token_id": 0}""");
        using (var fresh = new Marian(new() { VocabSize = 879, DModel = 32, EncoderLayers = 1, DecoderLayers = 1, EncoderAttentionHeads = 2, DecoderAttentionHeads = 2, EncoderFfnDim = 64, DecoderFfnDim = 64, MaxPositionEmbeddings = 64, PadTokenId = 878, DecoderStartTokenId = 878, ScaleEmbedding = true }))
        {
            fresh.Initialize(1);
            ModelFolder.Save(fresh, At("marian"));
        }
        Write("pairs.tsv", "source\ttarget\n" + string.Concat(Enumerable.Range(0, 40).Select(i => i % 2 == 0 ? "Good morning.\tBonjour.\n" : "Thank you very much.\tMerci beaucoup.\n")));
        var config = RunFile.Load<TrainSeq2SeqConfig>(null, [$"model.path={At("marian")}", $"data.path={At("pairs.tsv")}", "data.validation=0", "train.steps=120", "train.batch_size=8", "train.lr=5e-3", "train.weight_decay=0", "train.dropout=0", "train.eval_every=0", "train.precision=fp32"]) with { Recipe = "transformer" };
        TrainSeq2Seq.Run(config, At("run"));
        using var translator = Translator.Load(At("run"));
        Assert.Equal((3, 19, 0), (translator.Defaults.Beams, translator.Defaults.MaxNewTokens, translator.Defaults.ForcedEosTokenId));
        Assert.Equal(["Bonjour.", "Merci beaucoup."], translator.Translate(["Good morning.", "Thank you very much."]).Select(t => t.Text));
        Assert.Contains("tokenizer", Assert.Throws<InvalidDataException>((config with { Tokenizer = new() { Kind = "bpe" } }).Validate).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Unknown_words_are_copied_and_the_n_best_come_in_order()
    {
        var config = Config("transformer", "train.steps=400", "train.eval_every=0", "data.pairs=1500", "data.letters=3", "train.schedule=linear", "tokenizer.size=20", "seed=4");   // 16 of 26 letters; with some seeds the attention of so small a model looks beside the word that it copies
        TrainSeq2Seq.Run(config, At("run"));
        using var translator = Translator.Load(At("run"));
        var known = Enumerable.Range(0, 26).Select(i => ((char)('a' + i)).ToString()).Where(c => translator.TargetTokenizer!.IdOf(c) is not null).ToList();
        string[] texts = [$"{known[0]} Qwerty {known[1]}", $"Zork {known[2]}"];
        Assert.All(translator.Translate(texts, new() { CopyUnknown = false }), t => Assert.DoesNotContain("Q", t.Text, StringComparison.Ordinal));
        Assert.Equal(texts, translator.Translate(texts).Select(t => t.Text));
        var best = translator.Translate(texts, new() { Best = 3, WithAttention = true, CoveragePenalty = 0.2 })[0];
        Assert.Equal(2, best.Others.Count);
        Assert.True(best.Score >= best.Others[0].Score && best.Others[0].Score >= best.Others[1].Score);
        Assert.Equal(best.Ids.Length, best.Attention!.Length);
        Assert.All(best.Attention, row => Assert.Equal(1, row.Sum(), 1e-4));
        Assert.Throws<InvalidDataException>(() => translator.Translate(texts, new() { Beams = 2, Best = 3 }));
    }

    [Fact]
    public void A_run_that_gets_no_better_ends_and_stays_ended()
    {
        // A rate of almost nothing: the first evaluation stays the best, or all are equal.
        var config = Config("seq2seq", "train.steps=100", "train.lr=1e-30", "train.warmup=0", "train.eval_every=3", "train.patience=2", "train.eval_sentences=0");
        Assert.Equal(9, TrainSeq2Seq.Run(config, At("run")).Step);
        Assert.Equal(9, TrainSeq2Seq.Run(RunFolder.SettingsOf<TrainSeq2SeqConfig>(At("run"), []), At("run")).Step);
        Assert.True(File.Exists(At("run", "model.safetensors")));
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
            var first = Enumerable.Range(0, (int)steps).Select(s => batches.At(s)[0]).ToList();
            Assert.Equal(Enumerable.Range(0, 1000), first.SelectMany(b => b.Source.Select(s => s[0])).Order());
            Assert.Equal(first.SelectMany(b => b.Source.Select(s => s[0])), first.SelectMany(b => b.Target.Select(t => t[0])));
            Assert.Equal(first[5].Source, new PairBatches(pairs, 16, tokens, seed: 4).At(5)[0].Source);
            Assert.NotEqual(first[5].Source, batches.At(steps + 5)[0].Source);
            Assert.Equal(first[5].Source, batches.At(5)[0].Source);   // and back
            if (tokens is not null) Assert.All(first, b => Assert.True(b.Source.Count == 1 || b.Source.Count * Math.Max(b.Source.Max(s => s.Length), b.Target.Max(t => t.Length)) <= tokens));
            Assert.True(first.Average(b => 1 - b.Target.Average(t => (double)t.Length) / b.Target.Max(t => t.Length)) < 0.1);   // little padding
        }
    }

    [Fact]
    public void Pairs_come_from_two_files_columns_the_sdk_or_are_made_up()
    {
        Write("a.txt", ["One", "Two", "Three"]);
        Write("b.txt", ["Eins", "Zwei", "Drei"]);
        Assert.Equal([("one", "eins"), ("two", "zwei"), ("three", "drei")], new PairDataConfig { Path = At("a.txt"), TargetPath = At("b.txt"), Validation = 0, Lowercase = true }.Read(1).Select(p => (p.Source, p.Target)));
        Write("c.tsv", "en\tde\nOne\tEins\n");
        Assert.Equal(("One", "Eins"), new PairDataConfig { Path = At("c.tsv"), Columns = new() { ["source"] = "en", ["target"] = "de" }, Validation = 0 }.Read(1).Select(p => (p.Source, p.Target)).Single());
        var reversed = new PairDataConfig { Source = "reverse", Pairs = 100, Letters = 5 }.Read(1).ToList();
        Assert.Equal(104, reversed.Count);
        Assert.All(reversed, p => Assert.Equal(p.Target, string.Join(' ', p.Source.Split(' ').Reverse())));
        Assert.Equal(reversed, new PairDataConfig { Source = "reverse", Pairs = 100, Letters = 5 }.Read(1));

        Write("d.txt", ["Eins", "", "Drei", "Vier"]);
        var lengths = Assert.Throws<InvalidDataException>(() => new PairDataConfig { Path = At("a.txt"), TargetPath = At("d.txt") }.Read(1).ToList()).Message;
        foreach (var part in (string[])["3 lines", "4 in", "Line 2"]) Assert.Contains(part, lengths, StringComparison.Ordinal);
    }

    [Fact]
    public void Unigram_pieces_and_pairs_with_an_empty_side()
    {
        Write("c.tsv", "source\ttarget\n" + string.Concat(Enumerable.Repeat("a red house\tein rotes haus\nthe red cat\tdie rote katze\n\tleer\n", 20)));
        var notes = new List<string>();
        TrainSeq2Seq.Run(RunFile.Load<TrainSeq2SeqConfig>(null, [$"data.path={At("c.tsv")}", "data.validation=0", "tokenizer.kind=unigram", "tokenizer.size=40", "train.steps=2", "train.eval_every=0", "model.hidden=8", "model.embed=8"]) with { Recipe = "seq2seq" }, At("run"), note: notes.Add);
        Assert.Contains(notes, n => n.StartsWith("20 pairs with an empty side", StringComparison.Ordinal));
        using var translator = Translator.Load(At("run"));
        Assert.Equal("a red house", translator.SourceTokenizer!.Decode(translator.Encode("a red house"), skipSpecialTokens: true));
        Assert.False(translator.SourceTokenizer.IsSameAs(translator.TargetTokenizer!));
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
        Assert.Contains("kind = 'gru'", Assert.Throws<InvalidDataException>(() => TrainSeq2Seq.Run(Config("seq2seq", "train.steps=1", "model.kind=gru"), At("a"))).Message, StringComparison.Ordinal);
        Assert.Contains("no multiple", Assert.Throws<InvalidDataException>(() => TrainSeq2Seq.Run(Config("transformer", "train.steps=1", "model.heads=3"), At("b"))).Message, StringComparison.Ordinal);
        Write("long.tsv", "source\ttarget\n" + string.Concat(Enumerable.Repeat("one two three\tfour five six\n", 40)));
        Assert.Contains("max_length", Assert.Throws<InvalidDataException>(() => TrainSeq2Seq.Run(Config("seq2seq", "train.steps=1", "data.source=null", "data.pairs=50000", "data.letters=25", $"data.path={At("long.tsv")}", "data.max_length=1"), At("c"))).Message, StringComparison.Ordinal);
    }

    public static TheoryData<string> Presets => [.. new[] { "seq2seq", "transformer" }.SelectMany(f => Directory.EnumerateFiles(Path.Combine(Fixtures.Root, "configs", f), "*.yaml")).Select(f => Path.GetRelativePath(Fixtures.Root, f))];

    [Theory, MemberData(nameof(Presets))]
    public void Every_preset_is_read_and_a_shrunken_copy_of_it_runs(string preset)
    {
        var sets = new List<string> { "data.source=copy", "data.pairs=60", "data.letters=5", "tokenizer.kind=word", "tokenizer.min_frequency=1", "tokenizer.size=300", "train.steps=2", "train.batch_tokens=null", "train.batch_size=4", "train.eval_every=2" };
        sets.AddRange(preset.Contains("transformer", StringComparison.Ordinal) ? ["model.d_model=16", "model.ff=16"] : ["model.hidden=8", "model.decoder_hidden=8", "model.attention=8", "model.maxout=8"]);
        var config = RunFile.Load<TrainSeq2SeqConfig>(Path.Combine(Fixtures.Root, preset), sets);
        Assert.Equal(2, TrainSeq2Seq.Run(config, At("run")).Step);
    }
}
