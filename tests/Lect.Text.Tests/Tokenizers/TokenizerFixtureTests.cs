using System.Text.Json.Nodes;
using Lect.Testing;

namespace Lect.Text.Tests;

/// <summary>Every fixture tokenizer on 151 hard texts, compared exactly with Hugging Face's tokenizers 0.23.</summary>
public class TokenizerFixtureTests
{
    private static readonly string[] s_texts = [.. Fixtures.Json(Fixtures.Path_("tokenizers", "texts.json")).AsArray().Select(t => (string)t!["text"]!)];

    public static TheoryData<string> Kinds => ["gpt2", "gpt2-prefix-space", "roberta", "llama3", "qwen2", "added-tokens", "word-level", "char-level", "t5", "unigram-byte-fallback", "llama2", "llama2-metaspace", "gemma", "bert-cased", "bert-uncased", "gpt1", "published-gpt1", "published-gpt2", "published-bert-base-uncased"];

    private static Tokenizer Open(string kind)
    {
        if (kind == "published-bert-base-uncased") return Tokenizer.Load(Fixtures.Shared("data", "tokenizers", "bert-base-uncased"));
        if (kind == "published-gpt1") return Gpt("gpt1", "vocab_40000.bpe", "encoder_bpe_40000.json");
        if (kind == "published-gpt2") return Gpt("gpt2", "vocab.bpe", "encoder.json");
        return Tokenizer.Load(Fixtures.Path_("tokenizers", kind));

        static Tokenizer Gpt(string name, string merges, string vocabulary)
        {
            var folder = Fixtures.Shared("data", "tokenizers", name);
            return TokenizerFile.LoadVocabularyAndMerges(Path.Combine(folder, vocabulary), Path.Combine(folder, merges));
        }
    }

    private static IEnumerable<(string Text, JsonNode Expected)> Cases(string kind) =>
        Fixtures.Json(Fixtures.Path_("tokenizers", kind, "expected.json"))["encodings"]!.AsArray().Select(e => (s_texts[(int)e!["text"]!], e));

    private static int[] Ints(JsonNode? node) => [.. node!.AsArray().Select(n => (int)n!)];

    [Theory, MemberData(nameof(Kinds))]
    public void Encodings_equal_hugging_face(string kind)
    {
        var tokenizer = Open(kind);
        foreach (var (text, expected) in Cases(kind))
        {
            var found = tokenizer.Encode(text);
            var name = $"{kind} text {expected["text"]}";
            Assert.True(Ints(expected["ids"]).SequenceEqual(found.Ids), $"{name}: ids {string.Join(' ', found.Ids)}, expected {expected["ids"]!.ToJsonString()}");
            var offsets = (expected["offsets_utf16"] ?? expected["offsets"])!.AsArray().Select(o => ((int)o![0]!, (int)o[1]!));
            Assert.True(offsets.SequenceEqual(found.Offsets), $"{name}: offsets {string.Join(' ', found.Offsets)}, expected {(expected["offsets_utf16"] ?? expected["offsets"])!.ToJsonString()}");
            Assert.Equal(Ints(expected["special_tokens_mask"]), found.SpecialTokensMask);
            Assert.Equal(expected["word_ids"]!.AsArray().Select(n => (int?)n), found.WordIds);
            Assert.True(expected["tokens"]!.AsArray().Select(n => (string)n!).SequenceEqual(found.Tokens), $"{name}: tokens {string.Join(' ', found.Tokens)}, expected {expected["tokens"]!.ToJsonString()}");
        }
    }

    [Theory, MemberData(nameof(Kinds))]
    public void The_fast_path_gives_the_same_ids(string kind)
    {
        var tokenizer = Open(kind);
        for (var round = 0; round < 2; round++)   // the second round finds every piece in the cache
            foreach (var (text, expected) in Cases(kind)) Assert.Equal(Ints(expected["ids"]), tokenizer.EncodeIds(text));
    }

    [Theory, MemberData(nameof(Kinds))]
    public void Decoding_equals_hugging_face(string kind)
    {
        var tokenizer = Open(kind);
        foreach (var (_, expected) in Cases(kind))
        {
            var ids = Ints(expected["ids"]);
            var decoded = (string)expected["decoded"]!;
            Assert.Equal(decoded, tokenizer.Decode(ids));
            Assert.Equal((string?)expected["decoded_skip_special"] ?? decoded, tokenizer.Decode(ids, skipSpecialTokens: true));
            var stream = new DecodeStream(tokenizer);
            Assert.Equal(expected["stream"]!.AsArray().Select(s => (string?)s), ids.Select(stream.Add));
        }
    }

    [Theory, InlineData("llama2"), InlineData("llama2-metaspace"), InlineData("gemma"), InlineData("t5"), InlineData("gpt2"), InlineData("llama3"), InlineData("bert-uncased")]
    public void What_goes_on_with_a_text_is_the_rest_of_it(string kind)
    {
        var tokenizer = Open(kind);
        foreach (var text in (string[])["Once upon a time there was a little town of 12,000 people.", "naïve café — 😀🎉🎉 and so on"])
        {
            var ids = tokenizer.EncodeIds(text, addSpecialTokens: false);
            var whole = tokenizer.Decode(ids, skipSpecialTokens: true);
            var compared = 0;
            for (var cut = 1; cut < ids.Length; cut++)
            {
                var before = tokenizer.Decode(ids.AsSpan(0, cut).ToArray(), skipSpecialTokens: true);
                if (!whole.StartsWith(before, StringComparison.Ordinal)) continue;   // within a character
                var stream = new DecodeStream(tokenizer, ids[..cut], skipSpecialTokens: true);
                Assert.Equal(whole[before.Length..], string.Concat(ids[cut..].Select(stream.Add)) + stream.Flush());
                compared++;
            }
            Assert.InRange(compared, 3, ids.Length);
        }
    }

    [Theory, MemberData(nameof(Kinds))]
    public void A_saved_tokenizer_is_the_same_tokenizer(string kind)
    {
        var folder = Directory.CreateTempSubdirectory().FullName;
        Open(kind).Save(folder);
        var again = Tokenizer.Load(folder);
        foreach (var (text, expected) in Cases(kind)) Assert.Equal(Ints(expected["ids"]), again.EncodeIds(text));
        Directory.Delete(folder, recursive: true);
    }

    [Theory]
    [InlineData("gpt2", PatternScanner.Gpt2Pattern)]
    [InlineData("llama3", PatternScanner.Llama3Pattern)]
    [InlineData("o200k", null)]
    public void Tiktoken_ranks(string name, string? pattern)
    {
        var json = Fixtures.Json(Fixtures.Path_("tokenizers", "tiktoken", "expected.json"));
        pattern ??= (string)json["patterns"]![name]!;
        var special = json["special_tokens"]!.AsObject().ToDictionary(p => p.Key, p => (int)p.Value!);
        var ranks = Fixtures.Path_("tokenizers", "tiktoken", "ranks.tiktoken");
        Tokenizer ordinary = TokenizerFile.LoadTiktoken(ranks, pattern), all = TokenizerFile.LoadTiktoken(ranks, pattern, special);
        foreach (var expected in json["encodings"]!.AsArray())
        {
            var text = s_texts[(int)expected!["text"]!];
            var ids = Ints(expected[name]!["ordinary"]);
            Assert.True(ids.SequenceEqual(ordinary.EncodeIds(text)), $"{name} text {expected["text"]}: {string.Join(' ', ordinary.EncodeIds(text))}, expected {string.Join(' ', ids)}");
            Assert.Equal(expected[name]!["all_special"] is { } withSpecial ? Ints(withSpecial) : ids, all.EncodeIds(text));
        }
    }

    public static TheoryData<string> Normalizers => ["NFC", "NFD", "NFKC", "NFKD", "Lowercase", "StripAccents", "NFD+StripAccents", "Strip", "Strip(left only)", "Nmt", "Prepend(▁)", "Replace( ,▁)", "Replace(Regex( {2,}),▁)",
        "Bert(clean,chinese,lower)", "Bert(cased)", "Bert(lower,keep accents)", "Bert(cased,strip accents)", "Bert(no clean,no chinese,lower)"];

    [Theory, MemberData(nameof(Normalizers))]
    public void Normalizers_alone(string name)
    {
        var json = Fixtures.Json(Fixtures.Path_("tokenizers", "components.json"));
        var normalizer = TokenizerFile.ReadNormalizer(json["normalizers"]![name])!;
        foreach (var entry in json["texts"]!.AsArray())
        {
            var text = s_texts[(int)entry!["text"]!];
            Assert.Equal((string?)entry["normalized"]![name] ?? text, normalizer.Normalize(new(text)).Text);
        }
    }

    public static TheoryData<string> PreTokenizers => ["ByteLevel", "ByteLevel(prefix)", "Whitespace", "WhitespaceSplit", "Bert", "Digits", "Punctuation", "Metaspace(always)", "Metaspace(first)", "Regex(llama3)", "Regex(qwen2)", "Regex(o200k)", "Split(removed)", "Split(removed,invert)", "Split(isolated)",
        "Split(isolated,invert)", "Split(merged_with_previous)", "Split(merged_with_previous,invert)", "Split(merged_with_next)", "Split(merged_with_next,invert)", "Split(contiguous)", "Split(contiguous,invert)"];

    [Theory, MemberData(nameof(PreTokenizers))]
    public void Pre_tokenizers_alone(string name)
    {
        var json = Fixtures.Json(Fixtures.Path_("tokenizers", "components.json"));
        var split = TokenizerFile.ReadPreTokenizer(json["pre_tokenizers"]![name])!;
        foreach (var entry in json["texts"]!.AsArray())
        {
            var text = s_texts[(int)entry!["text"]!];
            int CodePoints(int units) => NormalizedText.Characters(text[..units]).Count();
            var found = split.Split(new(text)).Where(p => p.Text.Length > 0).Select(p => (p.Text, p.Original(0, p.Text.Length))).Select(p => (p.Text, CodePoints(p.Item2.Start), CodePoints(p.Item2.End)));
            var expected = entry["pre_tokenized"]![name]!.AsArray().Select(p => ((string)p![0]!, (int)p[1]!, (int)p[2]!)).ToArray();
            Assert.True(expected.SequenceEqual(found), $"{name} text {entry["text"]}: {string.Join(' ', found)}, expected {string.Join(' ', expected)}");
        }
    }

    public static TheoryData<string> Trainers => ["english-2000", "english-512", "english-max-length-5", "french-900", "french-alphabet-40", "french-chars-min5", "ties-byte-level", "ties-exhausted", "ties"];

    [Theory, MemberData(nameof(Trainers))]
    public void Trained_vocabulary_and_merges_equal_hugging_face(string name)
    {
        var json = Fixtures.Json(Fixtures.Path_("tokenizers", "trainers", $"bpe-{name}.json"));
        var settings = json["settings"]!;
        var lines = File.ReadAllText(Fixtures.Path_("tokenizers", "trainers", settings["corpus"] + ".txt")).Split('\n');
        var byteLevel = (string)settings["pre"]! == "byte_level";
        var trainer = new BytePairTrainer
        {
            VocabularySize = (int)settings["vocab_size"]!,
            MinFrequency = (long?)settings["min_frequency"] ?? 0,
            LimitAlphabet = (int?)settings["limit_alphabet"],
            MaxTokenLength = (int?)settings["max_token_length"],
            SpecialTokens = [.. settings["specials"]?.AsArray().Select(s => (string)s!) ?? []],
            InitialAlphabet = byteLevel ? ByteAlphabet.All : [],
        };
        var split = new WhitespaceSplitPreTokenizer();
        var (vocabulary, merges) = trainer.Train(byteLevel
            ? TokenizerTrainer.CountByteLevelPieces(lines, threads: 2)
            : BytePairTrainer.CountPieces(lines, (text, add) => { foreach (var p in split.Split(new(text))) add(p.Text); }));
        Assert.Equal(json["merges"]!.AsArray().Select(m => m is JsonArray a ? $"{a[0]} {a[1]}" : (string)m!), merges.Select(m => $"{m.Left} {m.Right}"));
        Assert.Equal(json["vocab"]!.AsArray().Select(v => v is JsonArray a ? (string)a[0]! : (string)v!), vocabulary.OrderBy(p => p.Value).Select(p => p.Key));
    }

    [Theory]
    [InlineData("english-800")]
    [InlineData("french-600-min3")]
    [InlineData("ties")]
    public void Trained_word_pieces_equal_hugging_face(string name)
    {
        var json = Fixtures.Json(Fixtures.Path_("tokenizers", "trainers", $"wordpiece-{name}.json"));
        var settings = json["settings"]!;
        var lines = File.ReadAllText(Fixtures.Path_("tokenizers", "trainers", settings["corpus"] + ".txt")).Split('\n');
        var trainer = new BytePairTrainer { VocabularySize = (int)settings["vocab_size"]!, MinFrequency = (long?)settings["min_frequency"] ?? 0, SpecialTokens = TokenizerTrainer.BertTokens, ContinuingPrefix = "##" };
        var (vocabulary, merges) = trainer.Train(TokenizerTrainer.CountBertWords(lines, new BertNormalizer()));
        Assert.Equal(json["merges_in_order"]!.AsArray().Select(m => $"{m![0]} {m[1]}"), merges.Select(m => $"{m.Left} {m.Right}"));
        Assert.Equal(json["vocab"]!.AsArray().Select(v => (string)v!), vocabulary.OrderBy(p => p.Value).Select(p => p.Key));
        var own = TokenizerTrainer.WordPieces(lines, (int)settings["vocab_size"]!, minFrequency: (int?)settings["min_frequency"] ?? 0);
        Assert.Equal(vocabulary.Keys.Order(StringComparer.Ordinal), own.Model.Vocabulary.Keys.Order(StringComparer.Ordinal));
    }

    public static TheoryData<int> PairCases => [.. Enumerable.Range(0, 19).Where(i => i != 7)];   // 7: windows over both texts, which are refused

    [Theory, MemberData(nameof(PairCases))]
    public void Pairs_truncation_and_windows_equal_hugging_face(int number)
    {
        var json = Fixtures.Json(Fixtures.Path_("tokenizers", "pairs.json"));
        string[] texts = [.. json["texts"]!.AsArray().Select(t => (string)t!)];
        var tokenizer = Tokenizer.Load(Fixtures.Path_("tokenizers", (string)json["tokenizer"]!));
        var (given, expected) = (json["cases"]![number]!["case"]!, json["cases"]![number]!);
        int[] first = Ints(given["first"]), second = given["second"] is { } s ? Ints(s) : [];
        var limit = new TokenLimit
        {
            Length = (int?)given["max_length"] ?? int.MaxValue,
            Truncation = given["truncation"]?.ToString() switch { "only_first" => Truncation.OnlyFirst, "only_second" => Truncation.OnlySecond, "longest_first" or "true" => Truncation.LongestFirst, _ => Truncation.None },
            Overflow = (bool?)given["return_overflowing_tokens"] == true,
            Stride = (int?)given["stride"] ?? 0,
            FromLeft = (string?)given["truncation_side"] == "left",
            AddSpecialTokens = (bool?)given["add_special_tokens"] != false,
        };
        IEnumerable<Tokenized> Found() => first.SelectMany((f, i) => tokenizer.Encode(texts[f], second.Length == 0 ? null : texts[second[i]], limit));
        if (expected["error"] is not null) { Assert.Throws<InvalidDataException>(() => Found().ToList()); return; }
        var windows = expected["windows"]!.AsArray();
        var found = Found().ToList();
        Assert.Equal(windows.Count, found.Count);
        foreach (var (e, f) in windows.Zip(found))
        {
            // Padding is the batch's, so that only what is no padding is compared.
            bool[] real = [.. Ints(e!["attention_mask"]).Select(m => m == 1)];
            IEnumerable<T> Real<T>(string key, Func<JsonNode?, T> read) => e[key]!.AsArray().Select(read).Where((_, i) => real[i]);
            Assert.Equal(Real("ids", n => (int)n!), f.Ids);
            Assert.Equal(Real("type_ids", n => (int)n!), f.TypeIds);
            Assert.Equal(Real("special_tokens_mask", n => (int)n!), f.SpecialTokensMask);
            Assert.Equal(Real("sequence_ids", n => (int?)n), f.SequenceIds);
            Assert.Equal(Real("word_ids", n => (int?)n), f.WordIds);
            int CodePoints(int? sequence, int units) => sequence is null ? 0 : NormalizedText.Characters(TextOf(e, sequence.Value)[..units]).Count();
            Assert.Equal(Real("offsets", n => ((int)n![0]!, (int)n[1]!)), f.Offsets.Select((o, i) => (CodePoints(f.SequenceIds[i], o.Start), CodePoints(f.SequenceIds[i], o.End))));
        }
        string TextOf(JsonNode? window, int sequence) => texts[(sequence == 0 ? first : second)[(int)window!["sample"]!]];
    }

    [Theory]
    [InlineData("english-600")]
    [InlineData("french-500")]
    public void Trained_unigram_pieces_and_scores_equal_hugging_face(string name)
    {
        var json = Fixtures.Json(Fixtures.Path_("tokenizers", "trainers", $"unigram-{name}.json"));
        var settings = json["settings"]!;
        var lines = File.ReadAllText(Fixtures.Path_("tokenizers", "trainers", settings["corpus"] + ".txt")).Split('\n');
        var counts = TokenizerTrainer.UnigramWords(lines, new UnicodeNormalizer(System.Text.NormalizationForm.FormKC), new MetaspacePreTokenizer("▁", "always", split: true));
        List<(string Text, double Score)> Train(int threads) => new UnigramTrainer
        {
            VocabularySize = (int)settings["vocab_size"]!,
            SpecialTokens = [.. settings["specials"]!.AsArray().Select(s => (string)s!)],
            ShrinkingFactor = (double)settings["shrinking_factor"]!,
            MaxPieceLength = (int)settings["max_piece_length"]!,
            SubIterations = (int)settings["n_sub_iterations"]!,
            Threads = threads,
        }.Train(counts);
        var found = Train(2);
        Assert.Equal(found, Train(1));
        var scores = found.ToDictionary(p => p.Text, p => p.Score);
        var expected = json["pieces"]!.AsArray().Select(p => (Text: (string)p![0]!, Low: (double)p[1]!, High: (double)(p.AsArray().Count > 2 ? p[2]! : p[1]!))).ToList();
        Assert.Equal(expected.Select(p => p.Text).Order(StringComparer.Ordinal), scores.Keys.Order(StringComparer.Ordinal));
        foreach (var (text, low, high) in expected)
        {
            var tolerance = high - low > 1e-6 ? 0.01 : 1e-6;   // single characters without a score of their own: the library numbers them in hash order
            Assert.InRange(scores[text], low - tolerance, high + tolerance);
        }
    }
}
