using System.Runtime.InteropServices;
using System.Text;

namespace Lect.Text;

/// <summary>
/// Text to token ids and back, as Hugging Face's tokenizers do it: added tokens, normalizer, pre-tokenizer, model, post-processor; decoder.
/// Ids equal theirs on every text. Instances are immutable and safe to use from many threads.
/// </summary>
public sealed class Tokenizer
{
    private readonly AddedTokenFinder rawFinder, normalizedFinder;
    private readonly Action<string, List<int>>? fast;
    private readonly bool fastNeedsAscii;
    private readonly string?[] tokens;
    private readonly bool[] special;
    private readonly int[] prefix, suffix;

    internal Tokenizer(TokenModel model, Normalizer? normalizer = null, PreTokenizer? preTokenizer = null, PostProcessor? postProcessor = null, Decoder? decoder = null, IEnumerable<AddedToken>? addedTokens = null)
    {
        (Model, Normalizer, PreTokenizer, PostProcessor, Decoder) = (model, normalizer, preTokenizer, postProcessor, decoder ?? new SpaceDecoder());
        AddedTokens = [.. addedTokens ?? []];
        rawFinder = new(AddedTokens.Where(t => !t.Normalized).Select(t => (t.Content, t)));
        normalizedFinder = new(AddedTokens.Where(t => t.Normalized).Select(t => (Normalize(t.Content), t)));

        var size = Math.Max(model.Vocabulary.Count == 0 ? 0 : model.Vocabulary.Values.Max() + 1, AddedTokens.Count == 0 ? 0 : AddedTokens.Max(t => t.Id) + 1);
        (tokens, special) = (new string?[size], new bool[size]);
        foreach (var (token, id) in model.Vocabulary) tokens[id] = token;
        foreach (var token in AddedTokens) (tokens[token.Id], special[token.Id]) = (token.Normalized ? Normalize(token.Content) : token.Content, token.Special);

        var around = Finish([new Token(-1, "", 0, 0)], null, addSpecialTokens: true);
        var middle = around.FindIndex(t => t.Id == -1);
        prefix = [.. around.Take(middle).Select(t => t.Id)];
        suffix = [.. around.Skip(middle + 1).Select(t => t.Id)];
        fast = FastPath();
        fastNeedsAscii = normalizer is not (null or BertNormalizer);
    }

    internal TokenModel Model { get; }
    internal Normalizer? Normalizer { get; }
    internal PreTokenizer? PreTokenizer { get; }
    internal PostProcessor? PostProcessor { get; }
    internal Decoder Decoder { get; }

    /// <summary>The SentencePiece model that this one was read from; tokenizer.json cannot say what it does.</summary>
    internal ReadOnlyMemory<byte>? SentencePiece { get; init; }

    /// <summary>Tokens that are found in the text as they stand.</summary>
    public IReadOnlyList<AddedToken> AddedTokens { get; }

    /// <summary>One more than the highest id.</summary>
    public int VocabularySize => tokens.Length;

    /// <summary>Number of merges, 0 for models without.</summary>
    public int MergeCount => Model is BytePairEncoding bpe ? bpe.Merges.Count : 0;

    /// <summary>Whether every text can be encoded and decoded without loss: the model works on bytes.</summary>
    public bool IsByteLevel => Decoder is ByteLevelDecoder;

    /// <summary>The id of a token, or null.</summary>
    public int? IdOf(string token) => AddedTokens.FirstOrDefault(t => t.Content == token)?.Id ?? (Model.Vocabulary.TryGetValue(token, out var id) ? id : null);

    /// <summary>The id that ends a document, by the names that published vocabularies give it; null where there is none.</summary>
    public int? EndOfText => s_endOfText.Select(IdOf).FirstOrDefault(id => id is not null);

    private static readonly string[] s_endOfText = ["<|endoftext|>", "<|end_of_text|>", "</s>", "<eos>"];

    /// <summary>The id that stands for a masked token, by the names of published vocabularies; null where there is none.</summary>
    public int? Mask => IdOf("[MASK]") ?? IdOf("<mask>");

    /// <summary>What stands for a word that no pieces spell; null: there is none.</summary>
    public int? Unknown => IdOf("[UNK]") ?? IdOf("<unk>");

    /// <summary>The id of padding, by the names of published vocabularies; null where there is none.</summary>
    public int? Padding => IdOf("[PAD]") ?? IdOf("<pad>");

    /// <summary>The same with special tokens around texts and between two: <c>first A last</c>, <c>first A between B last</c>. Those that the vocabulary lacks are added behind its last id.</summary>
    /// <param name="first">In front.</param>
    /// <param name="between">Between two texts.</param>
    /// <param name="last">At the end.</param>
    public Tokenizer Framed(string first, string between, string last)
    {
        var added = AddedTokens.ToList();
        (string, int) Id(string token)
        {
            if (IdOf(token) is not { } id) added.Add(new(id = Math.Max(VocabularySize, added.Count == 0 ? 0 : added.Max(t => t.Id) + 1), token));
            return (token, id);
        }
        var template = TokenizerFile.Template(Id(first), Id(between), Id(last));
        return new(Model, Normalizer, PreTokenizer, template, Decoder, added);
    }

    /// <summary>The ids that begin and end a text for encoders, [CLS] and [SEP] or what stands in their places.</summary>
    /// <exception cref="InvalidDataException">The tokenizer puts no token around a text.</exception>
    public (int First, int Last) Around => (prefix, suffix) is ([.., var first], [var last, ..]) ? (first, last) : throw new InvalidDataException("Found a tokenizer that puts nothing around a text. Expected one of an encoder, with [CLS] and [SEP].");

    /// <summary>The token of an id, as the vocabulary spells it; null where the id stands for none.</summary>
    public string? TokenOf(int id) => (uint)id < (uint)tokens.Length ? tokens[id] : null;

    /// <summary>Whether a token goes on with a word that a token before it began: WordPiece's <c>##</c>, or no blank in front where blanks are part of tokens.</summary>
    public bool GoesOn(int id) => TokenOf(id) is { } token && !IsSpecial(id) && (Model is WordPiece ? token.StartsWith("##", StringComparison.Ordinal) : (IsByteLevel || Decoder is MetaspaceDecoder) && token is not ['Ġ' or '▁' or 'Ċ', ..]);

    private Action<string, List<int>>? FastPath()
    {
        if (Model is WordPiece words && Normalizer is BertNormalizer { CleansText: true } bert && PreTokenizer is BertPreTokenizer && !AddedTokens.Any(t => t.Normalized))
            return new WordPieceEncoder(words, bert.Lowercase, StepByStep).Encode;
        if (Model is not BytePairEncoding bpe || Normalizer is { KeepsAscii: false } || AddedTokens.Any(t => t.Normalized)) return null;
        var scanner = PreTokenizer switch
        {
            ByteLevelPreTokenizer { UseRegex: true, AddPrefixSpace: false } => PatternScanner.Gpt2,
            SequencePreTokenizer { Parts: [SplitPreTokenizer { IsPlainScan: true } split, ByteLevelPreTokenizer { UseRegex: false, AddPrefixSpace: false }] } => split.Scanner,
            _ => null,
        };
        return scanner is null ? null : new ByteLevelEncoder(scanner, bpe).Encode;
    }

    private void StepByStep(string text, List<int> into)
    {
        foreach (var token in Tokens(text)) into.Add(token.Id);
    }

    /// <summary>Ids of a text.</summary>
    /// <param name="text">Any text.</param>
    /// <param name="addSpecialTokens">Whether the post-processor's tokens ([CLS], &lt;s&gt;, …) are put around it.</param>
    public int[] EncodeIds(string text, bool addSpecialTokens = true)
    {
        var ids = new List<int>(text.Length / 3 + 4);
        if (addSpecialTokens) ids.AddRange(prefix);
        EncodeIds(text, ids);
        if (addSpecialTokens) ids.AddRange(suffix);
        return [.. ids];
    }

    /// <summary>Appends the ids of a text, without special tokens around it.</summary>
    public void EncodeIds(string text, List<int> into)
    {
        if (fast is not null && rawFinder.None(text) && (!fastNeedsAscii || Ascii.IsValid(text))) fast(text, into);
        else StepByStep(text, into);
    }

    /// <summary>Ids, tokens, offsets and masks of a text or a pair of texts.</summary>
    public Tokenized Encode(string text, string? pair = null, bool addSpecialTokens = true) =>
        Tokenized.From(Finish(Tokens(text), pair is null ? null : Tokens(pair), addSpecialTokens));

    /// <summary>The same within a number of tokens: what is too much is cut off, or comes in further windows.</summary>
    /// <param name="text">The first text.</param>
    /// <param name="pair">The second; null: there is none.</param>
    /// <param name="limit">How many tokens, and what gives way.</param>
    /// <returns>One, or every window where <see cref="TokenLimit.Overflow"/> is set; never none.</returns>
    /// <exception cref="InvalidDataException">The text that is to give way is too short for it, or the windows overlap so much that they do not move.</exception>
    public IReadOnlyList<Tokenized> Encode(string text, string? pair, TokenLimit limit)
    {
        var windows = limit.Windows(Tokens(text), pair is null ? null : Tokens(pair), limit.AddSpecialTokens ? SpecialCount(pair is not null) : 0);
        return [.. windows.Select(w => Tokenized.From(Finish(w.First, w.Second, limit.AddSpecialTokens)))];
    }

    private int SpecialCount(bool pair) => Finish([], pair ? [] : null, addSpecialTokens: true).Count;

    private List<Token> Finish(List<Token> first, List<Token>? second, bool addSpecialTokens)
    {
        second = second?.ConvertAll(t => t with { Sequence = 1 });
        return PostProcessor?.Process(first, second, addSpecialTokens) ?? PostProcessor.Join(first, second);
    }

    private string Normalize(string text) => Normalizer is null ? text : Normalizer.Normalize(new NormalizedText(text)).Text;

    private List<Token> Tokens(string text)
    {
        var result = new List<Token>();
        var word = 0;
        var cut = new List<(int Id, string Token, int From, int To)>();
        var original = new NormalizedText(text);
        foreach (var (added, start, end) in rawFinder.Find(text))
        {
            var stretch = original.Slice(start, end);
            if (added is not null) { Add(added, stretch); continue; }
            if (Normalizer is not null) stretch = Normalizer.Normalize(stretch);
            foreach (var (addedToo, from, to) in normalizedFinder.Find(stretch.Text))
            {
                if (addedToo is not null) Add(addedToo, stretch.Slice(from, to));
                else foreach (var piece in PreTokenizer?.Split(stretch.Slice(from, to)) ?? [stretch.Slice(from, to)]) Cut(piece);
            }
        }
        return result;

        void Add(AddedToken added, NormalizedText at)
        {
            var (start, end) = at.Original(0, at.Text.Length);
            result.Add(new(added.Id, at.Text, start, end, word++));
        }

        void Cut(NormalizedText piece)
        {
            if (piece.Text.Length == 0) return;
            cut.Clear();
            Model.Tokenize(piece.Text, cut);
            foreach (var (id, token, from, to) in cut)
            {
                var (start, end) = piece.Original(from, to);
                result.Add(new(id, token, start, end, word));
            }
            word++;
        }
    }

    /// <summary>The text of ids. Byte sequences that are no UTF-8 become U+FFFD; ids outside the vocabulary are left out.</summary>
    /// <param name="ids">Token ids.</param>
    /// <param name="skipSpecialTokens">Whether special tokens are left out.</param>
    /// <param name="instead">Words that stand in the places of some tokens, by their numbers in <paramref name="ids"/>.</param>
    public string Decode(IEnumerable<int> ids, bool skipSpecialTokens = false, IReadOnlyDictionary<int, string>? instead = null)
    {
        var shown = new List<string>();
        var place = 0;
        foreach (var id in ids)
        {
            if (instead?.TryGetValue(place, out var word) == true) shown.Add(Decoder is MetaspaceDecoder && shown is not [.., "▁"] ? "▁" + word : word);
            else if (TokenOf(id) is { } token && !(skipSpecialTokens && special[id])) shown.Add(token);
            place++;
        }
        return Decoder.Decode(shown);
    }

    /// <summary>The bytes an id stands for (byte-level vocabularies), for counting; UTF-8 of the token elsewhere.</summary>
    public int ByteLength(int id) => TokenOf(id) is not { } token ? 0 : special[id] ? 0 : IsByteLevel ? ByteAlphabet.Bytes(token).Length : Encoding.UTF8.GetByteCount(token);

    /// <summary>Whether an id is that of a special token.</summary>
    public bool IsSpecial(int id) => (uint)id < (uint)special.Length && special[id];

    /// <summary>Opens a tokenizer: a tokenizer.json, a folder, a vocab.json beside its merges.txt, a SentencePiece model (.model, .spm), or a tiktoken rank file.</summary>
    /// <exception cref="InvalidDataException">The file is missing, damaged, or uses a component that this version does not know.</exception>
    public static Tokenizer Load(string path) => TokenizerFile.Load(path);

    /// <summary>The files that a folder's tokenizer may be in.</summary>
    public static IReadOnlyList<string> Files => TokenizerFile.Files;

    /// <summary>Opens the tokenizer of a model folder; null where it has none.</summary>
    /// <exception cref="InvalidDataException">It has one that cannot be read.</exception>
    public static Tokenizer? LoadIfThere(string folder) => TokenizerFile.IsIn(folder) ? Load(folder) : null;

    /// <summary>What is said where a text meets a model folder without a tokenizer.</summary>
    public static InvalidDataException Missing() => new("Found a text, but the model folder holds no tokenizer. Give token ids (\"ids\") instead, or put a tokenizer.json into the folder.");

    /// <summary>Whether another tokenizer has the same vocabulary and does the same with every text.</summary>
    public bool IsSameAs(Tokenizer other) => TokenizerFile.ToJson(this).ToJsonString() == TokenizerFile.ToJson(other).ToJsonString();

    /// <summary>Writes tokenizer.json (and vocab.json and merges.txt for byte-level BPE) into a folder, as Hugging Face reads them.</summary>
    public void Save(string folder) => TokenizerFile.Save(this, folder);

    /// <summary>Writes tokenizer.json alone, under a name of its own: whole or not at all.</summary>
    public void SaveFile(string path) => TokenizerFile.SaveFile(this, path);
}
