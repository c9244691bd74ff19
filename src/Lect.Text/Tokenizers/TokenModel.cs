using System.Globalization;
using System.Text.Json.Nodes;

namespace Lect.Text;

/// <summary>The vocabulary of a tokenizer and how it cuts one piece of text.</summary>
internal abstract class TokenModel
{
    /// <summary>Token to id.</summary>
    public abstract IReadOnlyDictionary<string, int> Vocabulary { get; }

    /// <summary>Cuts a piece: id, token, and the range [from, to) of the piece in UTF-16 units.</summary>
    public abstract void Tokenize(string piece, List<(int Id, string Token, int From, int To)> into);

    public abstract JsonObject ToJson();

    protected JsonObject VocabularyJson() => new(Vocabulary.OrderBy(p => p.Value).ThenBy(p => p.Key, StringComparer.Ordinal).Select(p => KeyValuePair.Create(p.Key, (JsonNode?)JsonValue.Create(p.Value))));
}

/// <summary>One id a whole piece: word-level (pieces are words) and character-level (pieces are characters) vocabularies.</summary>
internal sealed class WordLevel(IReadOnlyDictionary<string, int> vocabulary, string unknown) : TokenModel
{
    public override IReadOnlyDictionary<string, int> Vocabulary => vocabulary;

    public override JsonObject ToJson() => new() { ["type"] = "WordLevel", ["vocab"] = VocabularyJson(), ["unk_token"] = unknown };

    public override void Tokenize(string piece, List<(int Id, string Token, int From, int To)> into)
    {
        if (vocabulary.TryGetValue(piece, out var id)) into.Add((id, piece, 0, piece.Length));
        else if (vocabulary.TryGetValue(unknown, out id)) into.Add((id, unknown, 0, piece.Length));
        else throw new InvalidDataException($"Found '{piece}', which is not in the vocabulary, and no unknown token '{unknown}' to stand for it. Train a tokenizer on text that covers it, or add '{unknown}' to the vocabulary.");
    }
}

/// <summary>A byte as a token of its own, <c>&lt;0x41&gt;</c>: what stands for characters that a SentencePiece vocabulary lacks.</summary>
internal static class ByteToken
{
    public static string Of(byte b) => string.Create(CultureInfo.InvariantCulture, $"<0x{b:X2}>");

    public static byte? ByteOf(string token) => token.Length == 6 && token.StartsWith("<0x", StringComparison.Ordinal) && token[5] == '>'
        && byte.TryParse(token.AsSpan(3, 2), NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out var b) ? b : null;
}
