using System.Globalization;
using System.Text;
using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.Json.Nodes;

namespace Lect.Text;

/// <summary>Reads and writes tokenizers: tokenizer.json, vocab.json with merges.txt, vocab.txt, tiktoken ranks.</summary>
internal static class TokenizerFile
{
    private static readonly JsonSerializerOptions s_indented = new() { WriteIndented = true, Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

    private static readonly string[] s_sentencePiece = ["tokenizer.model", "spiece.model", "sentencepiece.bpe.model", "sentencepiece.model"];

    public static IReadOnlyList<string> Files { get; } = ["tokenizer.json", "tokenizer_config.json", "vocab.json", "merges.txt", "vocab.txt", .. s_sentencePiece];

    private static string? SentencePieceIn(string folder) => s_sentencePiece.Select(f => Path.Combine(folder, f)).FirstOrDefault(File.Exists);

    /// <summary>Whether a folder holds a tokenizer.</summary>
    public static bool IsIn(string folder) => File.Exists(Path.Combine(folder, "tokenizer.json")) || File.Exists(Path.Combine(folder, "vocab.json")) || File.Exists(Path.Combine(folder, "vocab.txt")) || SentencePieceIn(folder) is not null;

    public static Tokenizer Load(string path)
    {
        if (Directory.Exists(path))
        {
            if (File.Exists(Path.Combine(path, "tokenizer.json"))) return Load(Path.Combine(path, "tokenizer.json"));
            if (File.Exists(Path.Combine(path, "vocab.json")) && File.Exists(Path.Combine(path, "merges.txt"))) return LoadVocabularyAndMerges(Path.Combine(path, "vocab.json"), Path.Combine(path, "merges.txt"));
            if (File.Exists(Path.Combine(path, "vocab.txt"))) return LoadWordPieces(Path.Combine(path, "vocab.txt"));
            if (SentencePieceIn(path) is { } model) return SentencePieceFile.Load(model);
            throw new InvalidDataException($"Found no tokenizer in the folder {path}. Expected tokenizer.json, vocab.json with merges.txt, vocab.txt, or a SentencePiece model ({string.Join(", ", s_sentencePiece)}).");
        }
        if (!File.Exists(path)) throw new InvalidDataException($"Found no file or folder {path}. Expected a tokenizer.json, a folder that holds one, a SentencePiece model (.model, .spm) or a .tiktoken file.");
        if (path.EndsWith(".model", StringComparison.Ordinal) || path.EndsWith(".spm", StringComparison.Ordinal)) return SentencePieceFile.Load(path);
        try
        {
            if (path.EndsWith(".tiktoken", StringComparison.Ordinal)) return LoadTiktoken(path, PatternScanner.Gpt2Pattern);
            if (path.EndsWith(".txt", StringComparison.Ordinal)) return LoadWordPieces(path);
            if (Path.GetFileName(path) == "vocab.json") return LoadVocabularyAndMerges(path, Path.Combine(Path.GetDirectoryName(path)!, "merges.txt"));
            using var stream = File.OpenRead(path);
            return FromJson(JsonNode.Parse(stream, documentOptions: new() { AllowDuplicateProperties = false }) as JsonObject ?? throw new JsonException("not an object"));
        }
        catch (InvalidDataException e) { throw new InvalidDataException($"{path}: {e.Message}", e); }
        catch (Exception e) when (e is JsonException or InvalidOperationException or FormatException or KeyNotFoundException or NullReferenceException or ArgumentException)
        {
            throw new InvalidDataException($"{path} is no readable tokenizer: {e.Message}", e);
        }
    }

    public static Tokenizer FromJson(JsonObject json)
    {
        if (json["model"] is not JsonObject model) throw new InvalidDataException("Found no \"model\". Expected a tokenizer.json as Hugging Face's tokenizers write it.");
        var added = (json["added_tokens"] as JsonArray ?? []).Select(t => new AddedToken(Checked((int)t!["id"]!), (string)t["content"]!,
            Flag(t, "special"), Flag(t, "single_word"), Flag(t, "lstrip"), Flag(t, "rstrip"), Flag(t, "normalized")));
        return new(ReadModel(model), ReadNormalizer(json["normalizer"]), ReadPreTokenizer(json["pre_tokenizer"]), ReadPostProcessor(json["post_processor"]), ReadDecoder(json["decoder"]), added);
    }

    private static bool Flag(JsonNode node, string key, bool otherwise = false) => (bool?)node[key] ?? otherwise;

    private static int Checked(int id)
    {
        const int Most = 1 << 24;   // of a vocabulary: arrays by id are allocated
        return id is >= 0 and < Most ? id : throw new InvalidDataException($"Found a token with the id {id}. Expected 0 to {Most - 1}.");
    }

    private static string Type(JsonNode node) => (string?)node["type"] ?? "";

    private static InvalidDataException Unknown(string kind, string type, string known) =>
        new($"Found the {kind} '{type}'. This version of Lect knows {known}.");

    private static TokenModel ReadModel(JsonObject model)
    {
        // Files from before 2022 have no type here.
        var type = Type(model) is { Length: > 0 } t ? t : model["merges"] is not null ? "BPE" : model["vocab"] is JsonArray ? "Unigram" : model["max_input_chars_per_word"] is not null ? "WordPiece" : "WordLevel";
        if (type == "Unigram") return new Unigram([.. model["vocab"]!.AsArray().Select(p => ((string)p![0]!, (double)p[1]!))], (int?)model["unk_id"], Flag(model, "byte_fallback"));
        var vocabulary = new Dictionary<string, int>(StringComparer.Ordinal);
        if (model["vocab"] is JsonObject entries) foreach (var (token, id) in entries) vocabulary.Add(token, Checked((int)id!));
        switch (type)
        {
            case "WordLevel":
                return new WordLevel(vocabulary, (string?)model["unk_token"] ?? "<unk>");
            case "WordPiece":
                return new WordPiece(vocabulary, (string?)model["unk_token"] ?? "[UNK]", (string?)model["continuing_subword_prefix"] ?? "##", (int?)model["max_input_chars_per_word"] ?? 100);
            case "BPE":
                if ((double?)model["dropout"] is > 0) throw new InvalidDataException("Found a BPE dropout above 0, which makes encoding random. Set \"dropout\" to null.");
                var merges = model["merges"]!.AsArray().Select(m => m is JsonArray pair ? ((string)pair[0]!, (string)pair[1]!) : SplitMerge((string)m!)).ToList();
                return new BytePairEncoding(vocabulary, merges, new((string?)model["unk_token"], (string?)model["continuing_subword_prefix"], (string?)model["end_of_word_suffix"],
                    Flag(model, "fuse_unk"), Flag(model, "byte_fallback"), Flag(model, "ignore_merges")));
            default:
                throw Unknown("model", type, "BPE, Unigram, WordLevel and WordPiece");
        }
    }

    private static (string, string) SplitMerge(string line)
    {
        var space = line.IndexOf(' ', 1);
        return space > 0 ? (line[..space], line[(space + 1)..]) : throw new InvalidDataException($"Found the merge '{line}'. Expected two tokens with a space between them.");
    }

    internal static Normalizer? ReadNormalizer(JsonNode? json) => json is null ? null : Type(json) switch
    {
        "NFC" => new UnicodeNormalizer(NormalizationForm.FormC),
        "NFD" => new UnicodeNormalizer(NormalizationForm.FormD),
        "NFKC" => new UnicodeNormalizer(NormalizationForm.FormKC),
        "NFKD" => new UnicodeNormalizer(NormalizationForm.FormKD),
        "Lowercase" => new LowercaseNormalizer(),
        "StripAccents" => new StripAccentsNormalizer(),
        "Strip" => new StripNormalizer(Flag(json, "strip_left"), Flag(json, "strip_right")),
        "Precompiled" => new PrecompiledNormalizer(new(Convert.FromBase64String((string?)json["precompiled_charsmap"] ?? ""))),
        "Prepend" => new PrependNormalizer((string)json["prepend"]!),
        "Replace" => new ReplaceNormalizer(TextPattern.Read(json["pattern"]!), (string)json["content"]!),
        "Nmt" => new NmtNormalizer(),
        "BertNormalizer" => new BertNormalizer(Flag(json, "clean_text", true), Flag(json, "handle_chinese_chars", true), (bool?)json["strip_accents"], Flag(json, "lowercase", true)),
        "Sequence" => new SequenceNormalizer([.. json["normalizers"]!.AsArray().Select(n => ReadNormalizer(n)!)]),
        var other => throw Unknown("normalizer", other, "NFC, NFD, NFKC, NFKD, Lowercase, StripAccents, Strip, Precompiled, Prepend, Replace, Nmt, BertNormalizer and Sequence"),
    };

    internal static PreTokenizer? ReadPreTokenizer(JsonNode? json) => json is null ? null : Type(json) switch
    {
        "ByteLevel" => new ByteLevelPreTokenizer(Flag(json, "add_prefix_space", true), Flag(json, "trim_offsets", true), Flag(json, "use_regex", true)),
        "Split" => new SplitPreTokenizer(TextPattern.Read(json["pattern"]!), (string)json["behavior"]!, Flag(json, "invert")),
        "Whitespace" => new WhitespacePreTokenizer(),
        "WhitespaceSplit" => new WhitespaceSplitPreTokenizer(),
        "BertPreTokenizer" => new BertPreTokenizer(),
        "Digits" => new DigitsPreTokenizer(Flag(json, "individual_digits")),
        "Punctuation" => new PunctuationPreTokenizer((string?)json["behavior"] ?? "Isolated"),
        "Metaspace" => new MetaspacePreTokenizer((string?)json["replacement"] ?? "▁", PrependScheme(json), Flag(json, "split", true)),
        "Sequence" => new SequencePreTokenizer([.. json["pretokenizers"]!.AsArray().Select(p => ReadPreTokenizer(p)!)]),
        var other => throw Unknown("pre-tokenizer", other, "ByteLevel, Split, Whitespace, WhitespaceSplit, BertPreTokenizer, Digits, Punctuation, Metaspace and Sequence"),
    };

    private static (string Text, int Id) Pair(JsonNode json) => ((string)json[0]!, (int)json[1]!);

    private static PostProcessor? ReadPostProcessor(JsonNode? json) => json is null ? null : Type(json) switch
    {
        "ByteLevel" => new ByteLevelPostProcessor(Flag(json, "add_prefix_space", true), Flag(json, "trim_offsets", true), Flag(json, "use_regex", true)),
        "BertProcessing" => Template(Pair(json["cls"]!), Pair(json["sep"]!), Pair(json["sep"]!)),
        "RobertaProcessing" => new RobertaPostProcessor(Pair(json["sep"]!), Pair(json["cls"]!), Flag(json, "trim_offsets", true), Flag(json, "add_prefix_space", true)),
        "TemplateProcessing" => new TemplatePostProcessor(json["single"]!.AsArray(), json["pair"]!.AsArray(), json["special_tokens"]!.AsObject()),
        "Sequence" => new SequencePostProcessor([.. json["processors"]!.AsArray().Select(p => ReadPostProcessor(p)!)]),
        var other => throw Unknown("post-processor", other, "ByteLevel, BertProcessing, RobertaProcessing, TemplateProcessing and Sequence"),
    };

    private static Decoder? ReadDecoder(JsonNode? json) => json is null ? null : Type(json) switch
    {
        "ByteLevel" => new ByteLevelDecoder(json.AsObject()),
        "Fuse" => new FuseDecoder(),
        "Metaspace" => new MetaspaceDecoder((string?)json["replacement"] ?? "▁", PrependScheme(json), Flag(json, "split", true)),
        "Replace" => new ReplaceDecoder(TextPattern.Read(json["pattern"]!), (string)json["content"]!),
        "WordPiece" => new WordPieceDecoder((string?)json["prefix"] ?? "##", Flag(json, "cleanup", true)),
        "BPEDecoder" => new BytePairDecoder((string?)json["suffix"] ?? "</w>"),
        "ByteFallback" => new ByteFallbackDecoder(),
        "Strip" => new StripDecoder((string)json["content"]!, (int)json["start"]!, (int)json["stop"]!),
        "Sequence" => new SequenceDecoder([.. json["decoders"]!.AsArray().Select(d => ReadDecoder(d)!)]),
        var other => throw Unknown("decoder", other, "ByteLevel, Fuse, Metaspace, Replace, WordPiece, BPEDecoder, ByteFallback, Strip and Sequence"),
    };

    // Files from before 2023 say add_prefix_space.
    private static string PrependScheme(JsonNode json) => (string?)json["prepend_scheme"] switch
    {
        null => Flag(json, "add_prefix_space", true) ? "always" : "never",
        "always" or "first" or "never" => (string)json["prepend_scheme"]!,
        var other => throw new InvalidDataException($"Found the Metaspace prepend_scheme '{other}'. Expected always, first or never."),
    };

    /// <summary>The two files of GPT-2, whose end-of-text token is added where the vocabulary has it, or of GPT-1, whose words end in <c>&lt;/w&gt;</c>.</summary>
    public static Tokenizer LoadVocabularyAndMerges(string vocabularyFile, string mergesFile)
    {
        if (!File.Exists(mergesFile)) throw new InvalidDataException($"Found {vocabularyFile} but no {mergesFile}. Expected both: a byte-level BPE needs its merges.");
        var vocabulary = (JsonSerializer.Deserialize<Dictionary<string, int>>(File.ReadAllText(vocabularyFile)) ?? []).ToDictionary(t => t.Key, t => Checked(t.Value), StringComparer.Ordinal);
        var merges = File.ReadLines(mergesFile).Where((l, i) => l.Length > 0 && !(i == 0 && l.StartsWith("#version", StringComparison.Ordinal))).Select(SplitMerge).ToList();
        if (merges.Exists(m => m.Item2.EndsWith(EndOfWord, StringComparison.Ordinal))) return Gpt1(vocabulary, merges, new[] { TokenizerTrainer.Unknown }.Where(vocabulary.ContainsKey).Select(t => new AddedToken(vocabulary[t], t)));
        return ByteLevel(vocabulary, merges, new[] { "<|endoftext|>" }.Where(vocabulary.ContainsKey).Select(t => new AddedToken(vocabulary[t], t)));
    }

    /// <summary>What the last piece of a word ends in (GPT-1).</summary>
    internal const string EndOfWord = "</w>";

    /// <summary>GPT-1's tokenizer as transformers has it without ftfy and spaCy: BERT's clean-up and words, lower case.</summary>
    public static Tokenizer Gpt1(Dictionary<string, int> vocabulary, List<(string, string)> merges, IEnumerable<AddedToken> added) =>
        new(new BytePairEncoding(vocabulary, merges, new(TokenizerTrainer.Unknown, EndOfWordSuffix: EndOfWord)), new BertNormalizer(), new BertPreTokenizer(), null, new BytePairDecoder(EndOfWord), added);

    /// <summary>BERT's vocab.txt: a token a line, its id the line's number from 0. A tokenizer_config.json beside it says whether case and accents count; without one they do not.</summary>
    public static Tokenizer LoadWordPieces(string path)
    {
        var vocabulary = new Dictionary<string, int>(StringComparer.Ordinal);
        foreach (var (number, line) in Rows.Lines(path))
            if (!vocabulary.TryAdd(line, (int)number - 1)) throw new InvalidDataException($"line {number}: found the token '{line}' twice. Expected each once.");
        var configuration = Path.Combine(Path.GetDirectoryName(path)!, "tokenizer_config.json") is var file && File.Exists(file) ? JsonNode.Parse(File.ReadAllText(file)) as JsonObject : null;
        return WordPieces(vocabulary, new BertNormalizer(true, (bool?)configuration?["tokenize_chinese_chars"] ?? true, (bool?)configuration?["strip_accents"], (bool?)configuration?["do_lower_case"] ?? true));
    }

    /// <summary>A WordPiece tokenizer with BERT's rules and its special tokens, as far as the vocabulary has them.</summary>
    public static Tokenizer WordPieces(Dictionary<string, int> vocabulary, BertNormalizer normalizer)
    {
        (string, int) Special(string token) => vocabulary.TryGetValue(token, out var id) ? (token, id) : throw new InvalidDataException($"Found no '{token}' in the vocabulary. Expected BERT's special tokens: {string.Join(", ", TokenizerTrainer.BertTokens)}.");
        return new(new WordPiece(vocabulary), normalizer, new BertPreTokenizer(), Template(Special("[CLS]"), Special("[SEP]"), Special("[SEP]")), new WordPieceDecoder(), TokenizerTrainer.BertTokens.Where(vocabulary.ContainsKey).Select(t => new AddedToken(vocabulary[t], t)));
    }

    /// <summary>first A last, and first A between B last, the second text and its end of type 1.</summary>
    internal static TemplatePostProcessor Template((string Text, int Id) first, (string Text, int Id) between, (string Text, int Id) last)
    {
        JsonObject Token(string text, int type) => new() { ["SpecialToken"] = new JsonObject { ["id"] = text, ["type_id"] = type } };
        JsonObject Sequence(string text, int type) => new() { ["Sequence"] = new JsonObject { ["id"] = text, ["type_id"] = type } };
        return new(new(Token(first.Text, 0), Sequence("A", 0), Token(last.Text, 0)), new(Token(first.Text, 0), Sequence("A", 0), Token(between.Text, 0), Sequence("B", 1), Token(last.Text, 1)),
            new(new[] { first, between, last }.Distinct().Select(t => KeyValuePair.Create(t.Text, (JsonNode?)new JsonObject { ["id"] = t.Text, ["ids"] = new JsonArray(t.Id), ["tokens"] = new JsonArray(t.Text) }))));
    }

    /// <summary>A byte-level BPE over GPT-2's pattern, as Lect trains it.</summary>
    public static Tokenizer ByteLevel(Dictionary<string, int> vocabulary, List<(string, string)> merges, IEnumerable<AddedToken> added, string? pattern = null, bool ignoreMerges = false) => new(
        new BytePairEncoding(vocabulary, merges, new(IgnoreMerges: ignoreMerges)), null,
        pattern is null or PatternScanner.Gpt2Pattern
            ? new ByteLevelPreTokenizer(addPrefixSpace: false, trimOffsets: true, useRegex: true)
            : new SequencePreTokenizer([new SplitPreTokenizer(new(pattern, IsRegex: true), "Isolated", invert: false), new ByteLevelPreTokenizer(addPrefixSpace: false, trimOffsets: true, useRegex: false)]),
        new ByteLevelPostProcessor(addPrefixSpace: true, trimOffsets: false, useRegex: true), new ByteLevelDecoder(), added);

    /// <summary>
    /// tiktoken's rank file: a line "base64-bytes rank" a token. A merge is found for each token: of the ways to cut it in two, the
    /// one that encoding its bytes with the lower ranks alone leaves.
    /// </summary>
    public static Tokenizer LoadTiktoken(string path, string pattern, IReadOnlyDictionary<string, int>? specialTokens = null)
    {
        var vocabulary = new Dictionary<string, int>(StringComparer.Ordinal);
        var number = 0;
        foreach (var line in File.ReadLines(path))
        {
            number++;
            if (line.Length == 0) continue;
            var parts = line.Split(' ');
            var bytes = new byte[line.Length];
            if (parts.Length != 2 || !Convert.TryFromBase64String(parts[0], bytes, out var length) || !int.TryParse(parts[1], NumberStyles.None, CultureInfo.InvariantCulture, out var rank))
                throw new InvalidDataException($"line {number}: found '{line}'. Expected a token in base64, a space and its rank.");
            if (!vocabulary.TryAdd(ByteAlphabet.Spell(bytes.AsSpan(0, length)), rank)) throw new InvalidDataException($"line {number}: found the token '{parts[0]}' twice.");
        }
        for (var b = 0; b <= byte.MaxValue; b++)
            if (!vocabulary.ContainsKey(ByteAlphabet.Spell([(byte)b]))) throw new InvalidDataException($"found no token for the byte {b}. Expected the ranks of a whole vocabulary, the 256 bytes among them.");
        var merges = vocabulary.Where(t => t.Key.Length > 1).OrderBy(t => t.Value).Select(t => LastMerge(t.Key, t.Value, vocabulary)).OfType<(string, string)>().ToList();
        return ByteLevel(vocabulary, merges, (specialTokens ?? new Dictionary<string, int>()).Select(t => new AddedToken(t.Value, t.Key)), pattern, ignoreMerges: true);
    }

    private static (string, string)? LastMerge(string token, int rank, Dictionary<string, int> ranks)
    {
        var parts = token.Select(c => c.ToString()).ToList();
        while (parts.Count > 2)
        {
            int best = rank, at = -1;
            for (var i = 0; i + 1 < parts.Count; i++) if (ranks.TryGetValue(parts[i] + parts[i + 1], out var r) && r < best) (best, at) = (r, i);
            if (at < 0) return null;   // no merge leads to it: found only as a whole piece
            parts[at] += parts[at + 1];
            parts.RemoveAt(at + 1);
        }
        return (parts[0], parts[1]);
    }

    public static JsonObject ToJson(Tokenizer tokenizer) => new()
    {
        ["version"] = "1.0",
        ["truncation"] = null,
        ["padding"] = null,
        ["added_tokens"] = new JsonArray([.. tokenizer.AddedTokens.OrderBy(t => t.Id).Select(t => new JsonObject
        {
            ["id"] = t.Id, ["content"] = t.Content, ["single_word"] = t.SingleWord, ["lstrip"] = t.LStrip, ["rstrip"] = t.RStrip, ["normalized"] = t.Normalized, ["special"] = t.Special,
        })]),
        ["normalizer"] = tokenizer.Normalizer?.ToJson(),
        ["pre_tokenizer"] = tokenizer.PreTokenizer?.ToJson(),
        ["post_processor"] = tokenizer.PostProcessor?.ToJson(),
        ["decoder"] = tokenizer.Decoder.ToJson(),
        ["model"] = tokenizer.Model.ToJson(),
    };

    public static void Save(Tokenizer tokenizer, string folder)
    {
        Directory.CreateDirectory(folder);
        if (tokenizer.SentencePiece is { } model)
        {
            WriteWhole(Path.Combine(folder, s_sentencePiece[0]), model.Span);
            return;
        }
        var json = ToJson(tokenizer);
        Write(Path.Combine(folder, "tokenizer_config.json"), Configuration(tokenizer).ToJsonString(s_indented));
        if (tokenizer.Model is BytePairEncoding bpe && tokenizer.IsByteLevel)
        {
            Write(Path.Combine(folder, "vocab.json"), json["model"]!["vocab"]!.ToJsonString(s_indented));
            Write(Path.Combine(folder, "merges.txt"), string.Join('\n', ["#version: 0.2", .. bpe.Merges.Select(m => $"{m.Left} {m.Right}")]) + "\n");
        }
        if (tokenizer.Model is WordPiece) Write(Path.Combine(folder, "vocab.txt"), string.Concat(tokenizer.Model.Vocabulary.OrderBy(p => p.Value).Select(p => p.Key + "\n")));
        Write(Path.Combine(folder, "tokenizer.json"), json.ToJsonString(s_indented));
    }

    public static void SaveFile(Tokenizer tokenizer, string path)
    {
        if (tokenizer.SentencePiece is not null) throw new InvalidOperationException("A SentencePiece model has no tokenizer.json.");
        Write(path, ToJson(tokenizer).ToJsonString(s_indented));
    }

    // What transformers needs beside tokenizer.json to open the folder.
    private static JsonObject Configuration(Tokenizer tokenizer)
    {
        var json = new JsonObject { ["tokenizer_class"] = "PreTrainedTokenizerFast", ["clean_up_tokenization_spaces"] = false };
        if (tokenizer.EndOfText is { } end) foreach (var key in (string[])["bos_token", "eos_token"]) json[key] = tokenizer.TokenOf(end);
        if (tokenizer.IdOf(TokenizerTrainer.Unknown) is not null) json["unk_token"] = TokenizerTrainer.Unknown;
        if (tokenizer.Normalizer is BertNormalizer bert)
        {
            (json["tokenizer_class"], json["do_lower_case"]) = ("BertTokenizer", bert.Lowercase);
            foreach (var (key, token) in new[] { "pad", "unk", "cls", "sep", "mask" }.Zip(TokenizerTrainer.BertTokens)) if (tokenizer.IdOf(token) is not null) json[key + "_token"] = token;
        }
        return json;
    }

    private static void Write(string path, string text) => WriteWhole(path, new UTF8Encoding(false).GetBytes(text));

    // Whole or not at all.
    private static void WriteWhole(string path, ReadOnlySpan<byte> bytes)
    {
        File.WriteAllBytes(path + ".tmp", bytes);
        File.Move(path + ".tmp", path, overwrite: true);
    }
}
