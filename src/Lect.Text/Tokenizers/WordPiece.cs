using System.Text;
using System.Text.Json.Nodes;

namespace Lect.Text;

/// <summary>
/// WordPiece (Schuster and Nakajima 2012; BERT's, Devlin et al. 2019): a word is cut from the left into the longest pieces that the vocabulary has, those behind the first under
/// their names with <c>##</c>. A word with a part that is in no piece is unknown as a whole.
/// </summary>
internal sealed class WordPiece : TokenModel
{
    private readonly Dictionary<string, int> vocabulary;
    private readonly Dictionary<string, int> first = new(StringComparer.Ordinal), behind = new(StringComparer.Ordinal);
    private readonly Dictionary<string, int>.AlternateLookup<ReadOnlySpan<char>> firstPieces, piecesBehind;
    private readonly string[] tokens;
    private readonly string unknown, prefix;
    private readonly int unknownId, longestWord, longestPiece;

    public WordPiece(Dictionary<string, int> vocabulary, string unknown = "[UNK]", string prefix = "##", int longestWord = 100)
    {
        (this.vocabulary, this.unknown, this.prefix, this.longestWord) = (vocabulary, unknown, prefix, longestWord);
        unknownId = vocabulary.TryGetValue(unknown, out var id) ? id : throw new InvalidDataException($"Found no '{unknown}' in a WordPiece vocabulary of {vocabulary.Count} tokens. Expected it: it stands for words that cannot be cut.");
        tokens = new string[vocabulary.Values.Max() + 1];
        foreach (var (token, number) in vocabulary)
        {
            tokens[number] = token;
            if (prefix.Length == 0 || !token.StartsWith(prefix, StringComparison.Ordinal)) first[token] = number;
            else behind[token[prefix.Length..]] = number;
            if (prefix.Length == 0) behind[token] = number;
            else first[token] = number;   // a text may hold ##x itself
        }
        longestPiece = vocabulary.Keys.Max(t => t.Length);
        (firstPieces, piecesBehind) = (first.GetAlternateLookup<ReadOnlySpan<char>>(), behind.GetAlternateLookup<ReadOnlySpan<char>>());
    }

    public override IReadOnlyDictionary<string, int> Vocabulary => vocabulary;

    public override JsonObject ToJson() => new() { ["type"] = "WordPiece", ["unk_token"] = unknown, ["continuing_subword_prefix"] = prefix, ["max_input_chars_per_word"] = longestWord, ["vocab"] = VocabularyJson() };

    public override void Tokenize(string piece, List<(int Id, string Token, int From, int To)> into)
    {
        var (start, at) = (into.Count, 0);
        while (at < piece.Length && Next(piece, at) is var (id, end) && id >= 0) { into.Add((id, tokens[id], at, end)); at = end; }
        if (at == piece.Length && !IsTooLong(piece)) return;
        into.RemoveRange(start, into.Count - start);
        into.Add((unknownId, unknown, 0, piece.Length));
    }

    /// <summary>Appends the ids of one word.</summary>
    public void Encode(ReadOnlySpan<char> word, List<int> into)
    {
        var (start, at) = (into.Count, 0);
        while (at < word.Length && Next(word, at) is var (id, end) && id >= 0) { into.Add(id); at = end; }
        if (at == word.Length && !IsTooLong(word)) return;
        into.RemoveRange(start, into.Count - start);
        into.Add(unknownId);
    }

    private bool IsTooLong(ReadOnlySpan<char> word)
    {
        if (word.Length <= longestWord) return false;
        var characters = 0;
        foreach (var _ in word.EnumerateRunes()) characters++;
        return characters > longestWord;
    }

    private (int Id, int End) Next(ReadOnlySpan<char> word, int at)
    {
        var pieces = at == 0 ? firstPieces : piecesBehind;
        for (var end = Math.Min(word.Length, at + longestPiece); end > at; end--)
            if (pieces.TryGetValue(word[at..end], out var id)) return (id, end);
        return (-1, at);
    }
}

/// <summary>BERT's clean-up (Devlin et al. 2019's tokenization.py): control characters go, white space becomes blanks, Chinese characters become words of their own, accents and case go where asked.</summary>
internal sealed class BertNormalizer(bool cleanText = true, bool chineseCharacters = true, bool? stripAccents = null, bool lowercase = true) : Normalizer
{
    private static readonly UnicodeNormalizer s_decomposed = new(NormalizationForm.FormD);
    private static readonly LowercaseNormalizer s_lower = new();

    public bool Lowercase => lowercase;

    /// <summary>The rules whose words <see cref="WordPieceEncoder"/> finds without this.</summary>
    public bool CleansText => cleanText;

    public override JsonObject ToJson() => new() { ["type"] = "BertNormalizer", ["clean_text"] = cleanText, ["handle_chinese_chars"] = chineseCharacters, ["strip_accents"] = stripAccents, ["lowercase"] = lowercase };

    public override NormalizedText Normalize(NormalizedText text)
    {
        if (cleanText) text = Clean(text);
        if (chineseCharacters && text.Text.AsSpan().ContainsAnyExceptInRange('\0', '\u33FF')) text = text.Rewrite(NormalizedText.Characters(text.Text).SelectMany(c => IsChinese(char.ConvertToUtf32Lenient(c)) ? ((string, int)[])[(" ", 0), (c, 1), (" ", 1)] : [(c, 0)]));
        if (stripAccents ?? lowercase) text = Ascii.IsValid(text.Text) ? text : s_decomposed.Normalize(text).Where(c => CharacterClass.CategoryOf(c) != System.Globalization.UnicodeCategory.NonSpacingMark);
        return lowercase ? s_lower.Normalize(text) : text;
    }

    private static NormalizedText Clean(NormalizedText text)
    {
        if (!text.Text.AsSpan().ContainsAnyExceptInRange(' ', '~')) return text;
        var kept = text.Where(c => c is "\t" or "\n" or "\r" || !(c is "\0" or "\uFFFD" || IsControl(c)));
        return kept.Rewrite(NormalizedText.Characters(kept.Text).Select(c => (c.Length == 1 && char.IsWhiteSpace(c[0]) ? " " : c, 0)));
    }

    private static bool IsControl(string c) => CharacterClass.CategoryOf(c) is System.Globalization.UnicodeCategory.Control or System.Globalization.UnicodeCategory.Format or System.Globalization.UnicodeCategory.Surrogate
        or System.Globalization.UnicodeCategory.PrivateUse;   // what is not assigned stays, as in the library

    // The library's ranges, one of which begins at 2B920 where BERT's own has 2B820.
    private static bool IsChinese(int c) => c is (>= 0x4E00 and <= 0x9FFF) or (>= 0x3400 and <= 0x4DBF) or (>= 0x20000 and <= 0x2A6DF) or (>= 0x2A700 and <= 0x2B73F) or (>= 0x2B740 and <= 0x2B81F)
        or (>= 0x2B920 and <= 0x2CEAF) or (>= 0xF900 and <= 0xFAFF) or (>= 0x2F800 and <= 0x2FA1F);
}

/// <summary>BERT's words: between white space, and every punctuation mark on its own.</summary>
internal sealed class BertPreTokenizer : PreTokenizer
{
    public override JsonObject ToJson() => new() { ["type"] = "BertPreTokenizer" };

    public override IEnumerable<NormalizedText> Split(NormalizedText text)
    {
        var start = 0;
        for (int at = 0, n; at < text.Text.Length; at += n)
        {
            n = NormalizedText.RuneLength(text.Text, at);
            var (isSpace, isMark) = (char.IsWhiteSpace(text.Text[at]), CharacterClass.IsPunctuation(text.Text, at));
            if (!isSpace && !isMark) continue;
            if (at > start) yield return text.Slice(start, at);
            if (isMark) yield return text.Slice(at, at + n);
            start = at + n;
        }
        if (text.Text.Length > start) yield return text.Slice(start, text.Text.Length);
    }
}

/// <summary>Words of WordPiece put together: pieces with <c>##</c> join the one before, and with clean-up English punctuation does too.</summary>
internal sealed class WordPieceDecoder(string prefix = "##", bool cleanup = true) : Decoder
{
    private static readonly (string From, string To)[] s_cleanup =
        [(" .", "."), (" ?", "?"), (" !", "!"), (" ,", ","), (" ' ", "'"), (" n't", "n't"), (" 'm", "'m"), (" do not", " don't"), (" 's", "'s"), (" 've", "'ve"), (" 're", "'re")];

    public override JsonObject ToJson() => new() { ["type"] = "WordPiece", ["prefix"] = prefix, ["cleanup"] = cleanup };

    public override IEnumerable<string> Chain(IReadOnlyList<string> tokens) => tokens.Select((token, i) =>
    {
        if (i > 0) token = token.StartsWith(prefix, StringComparison.Ordinal) ? token[prefix.Length..] : " " + token;
        return cleanup ? s_cleanup.Aggregate(token, (t, rule) => t.Replace(rule.From, rule.To, StringComparison.Ordinal)) : token;
    });
}

/// <summary>
/// The fast path of WordPiece with BERT's rules: words of ASCII letters and digits, and punctuation, are scanned straight from the text and looked up in a table of those seen before.
/// A stretch between blanks with anything else in it goes through the step-by-step pipeline the first time it is seen. Gives the same ids (a test compares them on every fixture text).
/// </summary>
internal sealed class WordPieceEncoder(WordPiece model, bool lowercase, Action<string, List<int>> stepByStep) : IDisposable
{
    private const byte Foreign = 0, Word = 1, Mark = 2, Space = 3;

    private static readonly byte[] s_class = [.. Enumerable.Range(0, 128).Select(c => (char)c switch
    {
        ' ' or '\t' or '\n' or '\r' => Space,
        var letter when char.IsAsciiLetterOrDigit(letter) => Word,
        < ' ' or '\x7F' => Foreign,
        _ => Mark,
    })];

    private readonly ThreadLocal<PieceCache> caches = new(() => new PieceCache());

    public void Dispose() => caches.Dispose();

    public void Encode(string source, List<int> into)
    {
        var cache = caches.Value!;
        var text = source.AsSpan();
        for (var at = 0; at < text.Length;)
        {
            if (ClassOf(text[at]) == Space) { at++; continue; }
            var (before, end, start) = (into.Count, at, at);
            for (; end < text.Length; end++)
            {
                var c = ClassOf(text[end]);
                if (c == Word) continue;
                if (c == Foreign) break;
                if (end > start) Piece(text[start..end], cache, into);
                if (c == Space) { start = end; break; }
                Piece(text.Slice(end, 1), cache, into);
                start = end + 1;
            }
            if (end < text.Length && ClassOf(text[end]) == Foreign)
            {
                into.RemoveRange(before, into.Count - before);
                while (end < text.Length && ClassOf(text[end]) != Space) end++;
                Stretch(text[at..end], cache, into);
            }
            else if (end > start) Piece(text[start..end], cache, into);
            at = end;
        }
    }

    private static byte ClassOf(char c) => c < 128 ? s_class[c] : Foreign;

    private void Piece(ReadOnlySpan<char> piece, PieceCache cache, List<int> into)
    {
        var hash = PieceCache.Hash(piece);
        if (cache.TryGet(piece, hash, out var ids)) { Append(into, ids); return; }
        var before = into.Count;
        Span<char> lower = lowercase ? new char[piece.Length] : [];
        if (lowercase) piece.ToLowerInvariant(lower);
        model.Encode(lowercase ? lower : piece, into);
        Keep(piece, hash, cache, into, before);
    }

    private void Stretch(ReadOnlySpan<char> stretch, PieceCache cache, List<int> into)
    {
        var hash = PieceCache.Hash(stretch);
        if (stretch.Length <= PieceCache.LongestPiece && cache.TryGet(stretch, hash, out var ids)) { Append(into, ids); return; }
        var before = into.Count;
        stepByStep(stretch.ToString(), into);
        Keep(stretch, hash, cache, into, before);
    }

    private static void Append(List<int> into, ReadOnlySpan<int> ids)
    {
        if (ids.Length == 1) into.Add(ids[0]);
        else into.AddRange(ids);
    }

    private static void Keep(ReadOnlySpan<char> piece, uint hash, PieceCache cache, List<int> into, int from)
    {
        if (piece.Length <= PieceCache.LongestPiece) cache.Add(piece, hash, [.. into[from..]]);
    }
}
