using System.Text;
using System.Text.Json.Nodes;

namespace Lect.Text;

/// <summary>Learns tokenizers from text.</summary>
public static class TokenizerTrainer
{
    /// <summary>The token that ends a document in every tokenizer trained here.</summary>
    public const string EndOfText = "<|endoftext|>";

    /// <summary>The token for what a word- or character-level vocabulary lacks.</summary>
    public const string Unknown = "<unk>";

    /// <summary>Byte-level BPE over GPT-2's pattern: any text can be encoded. Ids: special tokens, the 256 bytes, then merges in order.</summary>
    /// <param name="texts">Documents; read once, counted on all cores.</param>
    /// <param name="size">Number of tokens, at least 256 and the special tokens.</param>
    /// <param name="specialTokens">By default <c>&lt;|endoftext|&gt;</c>.</param>
    /// <param name="minFrequency">Pairs that occur less often are not merged.</param>
    /// <param name="threads">Cores to use; all by default.</param>
    /// <exception cref="InvalidDataException">The texts hold nothing, or give fewer tokens than <paramref name="size"/>.</exception>
    public static Tokenizer ByteLevelBpe(IEnumerable<string> texts, int size, IReadOnlyList<string>? specialTokens = null, int minFrequency = 0, int? threads = null)
    {
        specialTokens ??= [EndOfText];
        if (size < 256 + specialTokens.Count) throw new InvalidDataException($"Found the vocabulary size {size}. Expected at least {256 + specialTokens.Count}: 256 bytes and {specialTokens.Count} special tokens. Raise tokenizer.size (--size).");
        var pieces = CountByteLevelPieces(texts, threads);
        RequireText(pieces.Count);
        var trainer = new BytePairTrainer { VocabularySize = size, MinFrequency = minFrequency, SpecialTokens = specialTokens, InitialAlphabet = ByteAlphabet.All };
        var (vocabulary, merges) = trainer.Train(pieces);
        RequireSize(vocabulary.Count, size);
        return TokenizerFile.ByteLevel(vocabulary, merges, Special(vocabulary, specialTokens));
    }

    internal static Dictionary<string, long> CountByteLevelPieces(IEnumerable<string> texts, int? threads)
    {
        var counts = BytePairTrainer.CountPieces(texts, (text, add) =>
        {
            var span = text.AsSpan();
            for (int at = 0, end; at < span.Length; at = end) add(span[at..(end = PatternScanner.Gpt2.End(span, at))]);
        }, threads);
        return counts.ToDictionary(p => ByteAlphabet.Spell(Encoding.UTF8.GetBytes(p.Key)), p => p.Value, StringComparer.Ordinal);
    }

    /// <summary>One id a character, sorted by code point as in nanoGPT; special tokens and the unknown token behind them, or in front where they are given.</summary>
    public static Tokenizer Characters(IEnumerable<string> texts, int? threads = null, IReadOnlyList<string>? specialTokens = null)
    {
        var counts = BytePairTrainer.CountPieces(texts, (text, add) =>
        {
            for (int at = 0, n; at < text.Length; at += n) add(text.AsSpan(at, n = NormalizedText.RuneLength(text, at)));
        }, threads);
        RequireText(counts.Count);
        var sorted = counts.Keys.OrderBy(char.ConvertToUtf32Lenient);
        var vocabulary = Number(specialTokens is null ? sorted.Append(EndOfText).Append(Unknown) : specialTokens.Concat(sorted));
        return new(new WordLevel(vocabulary, Unknown), null, new SplitPreTokenizer(new(@"[\s\S]", IsRegex: true), "Isolated", invert: false), null, new FuseDecoder(), Special(vocabulary, specialTokens ?? [EndOfText, Unknown]));
    }

    /// <summary>One id a word or run of punctuation, the most frequent first; <c>&lt;unk&gt;</c> for the rest.</summary>
    /// <param name="texts">Documents.</param>
    /// <param name="size">Number of tokens at most, with the special ones.</param>
    /// <param name="threads">Cores to use; all by default.</param>
    /// <param name="specialTokens">In front, <c>&lt;unk&gt;</c> among them; by default <c>&lt;|endoftext|&gt;</c> and it.</param>
    /// <param name="minFrequency">Words that occur less often are left out; then fewer than <paramref name="size"/> tokens are no error.</param>
    /// <param name="lowercase">Case does not count.</param>
    public static Tokenizer Words(IEnumerable<string> texts, int size, int? threads = null, IReadOnlyList<string>? specialTokens = null, int minFrequency = 0, bool lowercase = false)
    {
        specialTokens ??= [EndOfText, Unknown];
        if (size <= specialTokens.Count) throw new InvalidDataException($"Found a vocabulary of {size} tokens. Expected more than the {specialTokens.Count} special ones.");
        var (split, normalizer) = (new WhitespacePreTokenizer(), lowercase ? new LowercaseNormalizer() : null);
        var counts = BytePairTrainer.CountPieces(texts, (text, add) =>
        {
            var normalized = new NormalizedText(text);
            if (normalizer is not null) normalized = normalizer.Normalize(normalized);
            foreach (var piece in split.Split(normalized)) add(piece.Text);
        }, threads);
        RequireText(counts.Count);
        var vocabulary = Number(specialTokens.Concat(counts.Where(p => p.Value >= minFrequency).OrderByDescending(p => p.Value).ThenBy(p => p.Key, StringComparer.Ordinal).Select(p => p.Key)).Take(size));
        if (minFrequency == 0) RequireSize(vocabulary.Count, size);
        return new(new WordLevel(vocabulary, Unknown), normalizer, split, null, null, Special(vocabulary, specialTokens));
    }

    /// <summary>The special tokens of BERT, with the ids that those trained here give them.</summary>
    public static IReadOnlyList<string> BertTokens { get; } = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"];

    /// <summary>A WordPiece vocabulary with BERT's rules: words between blanks and punctuation, cut into pieces. Ids: special tokens, characters, <c>##</c> characters, then pieces in the order of their merges.</summary>
    /// <param name="texts">Documents; read once, counted on all cores.</param>
    /// <param name="size">Number of tokens at most, with the special ones.</param>
    /// <param name="lowercase">Case and accents do not count.</param>
    /// <param name="minFrequency">Pairs that occur less often are not merged.</param>
    /// <param name="alphabet">Only so many characters, the most frequent ones. <value>1000, as the library's BertWordPieceTokenizer</value></param>
    /// <param name="threads">Cores to use; all by default.</param>
    public static Tokenizer WordPieces(IEnumerable<string> texts, int size, bool lowercase = true, int minFrequency = 2, int alphabet = 1000, int? threads = null)
    {
        var normalizer = new BertNormalizer(lowercase: lowercase);
        var pieces = CountBertWords(texts, normalizer, threads);
        RequireText(pieces.Count);
        var (vocabulary, _) = new BytePairTrainer { VocabularySize = size, MinFrequency = minFrequency, SpecialTokens = BertTokens, ContinuingPrefix = "##", LimitAlphabet = alphabet }.Train(pieces);
        if (minFrequency < 2) RequireSize(vocabulary.Count, size);
        return TokenizerFile.WordPieces(vocabulary, normalizer);
    }

    /// <summary>GPT-1's byte pair encoding (Radford et al. 2018, section 4.1): lower-case words between blanks and punctuation, whose last character carries <c>&lt;/w&gt;</c>. Ids: special tokens, characters, those with <c>&lt;/w&gt;</c>, then merges in order.</summary>
    /// <param name="texts">Documents; read once, counted on all cores.</param>
    /// <param name="size">Number of tokens at most, with the special ones.</param>
    /// <param name="specialTokens">In front, <c>&lt;unk&gt;</c> among them; by default <c>&lt;|endoftext|&gt;</c> and it.</param>
    /// <param name="alphabet">Only so many characters, the most frequent ones.</param>
    /// <param name="threads">Cores to use; all by default.</param>
    public static Tokenizer Gpt1(IEnumerable<string> texts, int size, IReadOnlyList<string>? specialTokens = null, int alphabet = 1000, int? threads = null)
    {
        specialTokens ??= [EndOfText, Unknown];
        var pieces = CountBertWords(texts, new BertNormalizer(), threads);
        RequireText(pieces.Count);
        var (vocabulary, merges) = new BytePairTrainer { VocabularySize = size, SpecialTokens = specialTokens, EndSuffix = TokenizerFile.EndOfWord, LimitAlphabet = alphabet }.Train(pieces);
        RequireSize(vocabulary.Count, size);
        return TokenizerFile.Gpt1(vocabulary, merges, Special(vocabulary, specialTokens));
    }

    internal static Dictionary<string, long> CountBertWords(IEnumerable<string> texts, BertNormalizer normalizer, int? threads = null)
    {
        var split = new BertPreTokenizer();
        return BytePairTrainer.CountPieces(texts, (text, add) => { foreach (var word in split.Split(normalizer.Normalize(new(text)))) add(word.Text); }, threads);
    }

    /// <summary>A unigram vocabulary (Kudo 2018) over words with a visible space in front (▁), after SentencePiece's clean-up and NFKC: characters that the texts lack are <c>&lt;unk&gt;</c>.</summary>
    /// <param name="texts">Documents.</param>
    /// <param name="size">Number of tokens at most, with the special ones.</param>
    /// <param name="specialTokens">In front, <c>&lt;unk&gt;</c> among them; by default <c>&lt;|endoftext|&gt;</c> and it.</param>
    /// <param name="threads">Cores to use; all by default.</param>
    public static Tokenizer Unigram(IEnumerable<string> texts, int size, IReadOnlyList<string>? specialTokens = null, int? threads = null)
    {
        specialTokens ??= [EndOfText, Unknown];
        var normalizer = new SequenceNormalizer([new NmtNormalizer(), new UnicodeNormalizer(NormalizationForm.FormKC), new ReplaceNormalizer(new(" {2,}", IsRegex: true), " ")]);
        var split = new MetaspacePreTokenizer("▁", "always", split: true);
        var counts = UnigramWords(texts, normalizer, split, threads);
        RequireText(counts.Count);
        var pieces = new UnigramTrainer { VocabularySize = size, SpecialTokens = specialTokens, Threads = threads ?? Environment.ProcessorCount }.Train(counts);
        var model = new Unigram(pieces, pieces.FindIndex(p => p.Text == Unknown), byteFallback: false);
        return new(model, normalizer, split, null, new MetaspaceDecoder("▁", "always", split: true), specialTokens.Select(t => new AddedToken(model.Vocabulary[t], t)));
    }

    internal static Dictionary<string, long> UnigramWords(IEnumerable<string> texts, Normalizer normalizer, PreTokenizer split, int? threads = null) => BytePairTrainer.CountPieces(texts, (text, add) =>
    {
        foreach (var word in split.Split(normalizer.Normalize(new(text)))) add(word.Text);
    }, threads);

    private static Dictionary<string, int> Number(IEnumerable<string> tokens) => tokens.Select((t, i) => (t, i)).ToDictionary(p => p.t, p => p.i, StringComparer.Ordinal);

    private static IEnumerable<AddedToken> Special(Dictionary<string, int> vocabulary, IEnumerable<string> tokens) => tokens.Select(t => new AddedToken(vocabulary[t], t));

    private static void RequireText(int pieces)
    {
        if (pieces == 0) throw new InvalidDataException("Found no text to train a tokenizer on. Expected at least one document that is not empty.");
    }

    private static void RequireSize(int found, int size)
    {
        if (found < size) throw new InvalidDataException($"Found text that gives only {found} tokens. Expected enough for a vocabulary of {size}. Lower tokenizer.size (--size) to {found} or less, or give more text.");
    }
}
