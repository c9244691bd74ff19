using System.Text;
using System.Text.Json.Nodes;

namespace Lect.Text;

/// <summary>Puts tokens together to a text.</summary>
internal abstract class Decoder
{
    public abstract string Decode(IReadOnlyList<string> tokens);

    public abstract JsonObject? ToJson();
}

/// <summary>Byte-level tokens: their bytes as UTF-8, invalid sequences as U+FFFD.</summary>
internal sealed class ByteLevelDecoder(JsonObject json) : Decoder
{
    public ByteLevelDecoder() : this(ByteLevelPreTokenizer.Json(addPrefixSpace: true, trimOffsets: true, useRegex: true)) { }

    public override JsonObject ToJson() => (JsonObject)json.DeepClone();

    public override string Decode(IReadOnlyList<string> tokens) => Encoding.UTF8.GetString([.. tokens.SelectMany(ByteAlphabet.Bytes)]);
}

/// <summary>Tokens without anything between them.</summary>
internal sealed class FuseDecoder : Decoder
{
    public override JsonObject ToJson() => new() { ["type"] = "Fuse" };

    public override string Decode(IReadOnlyList<string> tokens) => string.Concat(tokens);
}

/// <summary>No decoder in the file: tokens with spaces between them.</summary>
internal sealed class SpaceDecoder : Decoder
{
    public override JsonObject? ToJson() => null;

    public override string Decode(IReadOnlyList<string> tokens) => string.Join(' ', tokens);
}
