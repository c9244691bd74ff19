using System.Text;
using System.Text.Json.Nodes;
using System.Text.RegularExpressions;

namespace Lect.Text;

/// <summary>Puts tokens together to a text.</summary>
internal abstract class Decoder
{
    public string Decode(IReadOnlyList<string> tokens) => string.Concat(Chain(tokens));

    /// <summary>Tokens to pieces of text, which a decoder behind this one may go on with.</summary>
    public abstract IEnumerable<string> Chain(IReadOnlyList<string> tokens);

    public abstract JsonObject? ToJson();
}

/// <summary>Byte-level tokens: their bytes as UTF-8, invalid sequences as U+FFFD.</summary>
internal sealed class ByteLevelDecoder(JsonObject json) : Decoder
{
    public ByteLevelDecoder() : this(ByteLevelPreTokenizer.Json(addPrefixSpace: true, trimOffsets: true, useRegex: true)) { }

    public override JsonObject ToJson() => (JsonObject)json.DeepClone();

    public override IEnumerable<string> Chain(IReadOnlyList<string> tokens) => [Encoding.UTF8.GetString([.. tokens.SelectMany(ByteAlphabet.Bytes)])];
}

/// <summary>Tokens without anything between them.</summary>
internal sealed class FuseDecoder : Decoder
{
    public override JsonObject ToJson() => new() { ["type"] = "Fuse" };

    public override IEnumerable<string> Chain(IReadOnlyList<string> tokens) => [string.Concat(tokens)];
}

/// <summary>SentencePiece's marks become spaces; those of the first token go, unless none was put in front.</summary>
internal sealed class MetaspaceDecoder(string replacement, string prependScheme, bool split) : Decoder
{
    public override JsonObject ToJson() => MetaspacePreTokenizer.Json(replacement, prependScheme, split);

    public override IEnumerable<string> Chain(IReadOnlyList<string> tokens) => tokens.Select((t, i) => t.Replace(replacement, i == 0 && prependScheme != "never" ? "" : " ", StringComparison.Ordinal));
}

/// <summary>Puts a text in the place of a string or regular expression, in each token.</summary>
internal sealed class ReplaceDecoder(TextPattern pattern, string content) : Decoder
{
    private readonly Regex regex = new(pattern.IsRegex ? pattern.Text : Regex.Escape(pattern.Text), RegexOptions.CultureInvariant, TimeSpan.FromSeconds(10));

    public override JsonObject ToJson() => new() { ["type"] = "Replace", ["pattern"] = pattern.ToJson(), ["content"] = content };

    public override IEnumerable<string> Chain(IReadOnlyList<string> tokens) => tokens.Select(t => regex.Replace(t, _ => content));
}

/// <summary>Runs of byte tokens (<c>&lt;0xE2&gt;</c>) become text; where they are no UTF-8, a U+FFFD each.</summary>
internal sealed class ByteFallbackDecoder : Decoder
{
    private static readonly UTF8Encoding s_strict = new(false, throwOnInvalidBytes: true);

    public override JsonObject ToJson() => new() { ["type"] = "ByteFallback" };

    public override IEnumerable<string> Chain(IReadOnlyList<string> tokens)
    {
        var bytes = new List<byte>();
        foreach (var token in tokens)
        {
            if (ByteToken.ByteOf(token) is { } b) { bytes.Add(b); continue; }
            foreach (var text in Flush()) yield return text;
            yield return token;
        }
        foreach (var text in Flush()) yield return text;

        IEnumerable<string> Flush()
        {
            string[] texts;
            try { texts = [s_strict.GetString([.. bytes])]; }
            catch (DecoderFallbackException) { texts = [.. bytes.Select(_ => "\uFFFD")]; }
            bytes.Clear();
            return texts;
        }
    }
}

/// <summary>Takes up to so many of a character from both ends of each token.</summary>
internal sealed class StripDecoder(string content, int start, int stop) : Decoder
{
    public override JsonObject ToJson() => new() { ["type"] = "Strip", ["content"] = content, ["start"] = start, ["stop"] = stop };

    public override IEnumerable<string> Chain(IReadOnlyList<string> tokens) => tokens.Select(t =>
    {
        int from = 0, to = t.Length;
        while (from < Math.Min(start, to) && t[from] == content[0]) from++;
        while (to > Math.Max(t.Length - stop, from) && t[to - 1] == content[0]) to--;
        return t[from..to];
    });
}

/// <summary>Tokens that end words carry a suffix, which becomes a blank; the last one's becomes nothing.</summary>
internal sealed class BytePairDecoder(string suffix) : Decoder
{
    public override JsonObject ToJson() => new() { ["type"] = "BPEDecoder", ["suffix"] = suffix };

    public override IEnumerable<string> Chain(IReadOnlyList<string> tokens) => tokens.Select((t, i) => t.Replace(suffix, i == tokens.Count - 1 ? "" : " ", StringComparison.Ordinal));
}

/// <summary>Decoders one after the other.</summary>
internal sealed class SequenceDecoder(IReadOnlyList<Decoder> parts) : Decoder
{
    public override JsonObject ToJson() => new() { ["type"] = "Sequence", ["decoders"] = new JsonArray([.. parts.Select(p => p.ToJson())]) };

    public override IEnumerable<string> Chain(IReadOnlyList<string> tokens) => parts.Aggregate(tokens, (t, part) => [.. part.Chain(t)]);
}

/// <summary>No decoder in the file: tokens with spaces between them.</summary>
internal sealed class SpaceDecoder : Decoder
{
    public override JsonObject? ToJson() => null;

    public override IEnumerable<string> Chain(IReadOnlyList<string> tokens) => [string.Join(' ', tokens)];
}
