using System.Buffers.Binary;
using System.Globalization;
using System.Text;
using System.Text.Json.Nodes;

namespace Lect.Text;

/// <summary>
/// SentencePiece's compiled normalization rules (<c>precompiled_charsmap</c>): the size of a trie, the trie (darts-clone's double array, 4 bytes a unit, little-endian), then the
/// replacements, each ended by a 0 byte.
/// </summary>
internal sealed class CharsMap
{
    private readonly uint[] units;
    private readonly byte[] replacements;

    /// <exception cref="InvalidDataException">It is damaged.</exception>
    public CharsMap(ReadOnlyMemory<byte> blob)
    {
        Blob = blob;
        if (blob.Length < 4 || BinaryPrimitives.ReadUInt32LittleEndian(blob.Span) is var size && (size % 4 != 0 || size > blob.Length - 4 || size < 4))
            throw new InvalidDataException($"Found a precompiled_charsmap of {blob.Length} bytes that is cut short or damaged. Expected the size of a trie, the trie and the replacements.");
        var trie = blob.Slice(4, (int)BinaryPrimitives.ReadUInt32LittleEndian(blob.Span));
        units = new uint[trie.Length / 4];
        for (var i = 0; i < units.Length; i++) units[i] = BinaryPrimitives.ReadUInt32LittleEndian(trie.Span[(4 * i)..]);
        replacements = blob[(4 + trie.Length)..].ToArray();
    }

    /// <summary>The rules as they stand in the file.</summary>
    public ReadOnlyMemory<byte> Blob { get; }

    /// <summary>The rule for a beginning of a text.</summary>
    /// <param name="utf8">The text.</param>
    /// <param name="longest">The longest rule that fits (SentencePiece) instead of the shortest (Hugging Face).</param>
    /// <returns>The replacement and how many bytes it stands for; null where no rule fits.</returns>
    public (string Text, int Length)? Find(ReadOnlySpan<byte> utf8, bool longest)
    {
        (int Value, int Length) found = (-1, 0);
        var node = Offset(units[0]);
        for (var i = 0; i < utf8.Length && utf8[i] != 0; i++)
        {
            node ^= utf8[i];
            if (node >= units.Length || (units[node] & 0x800000FF) != utf8[i]) break;
            var unit = units[node];
            node ^= Offset(unit);
            if ((unit >> 8 & 1) == 0) continue;
            if (node >= units.Length) break;
            found = ((int)(units[node] & 0x7FFFFFFF), i + 1);
            if (!longest) break;
        }
        if (found.Length == 0 || found.Value >= replacements.Length) return null;
        var text = replacements.AsSpan(found.Value);
        return (Encoding.UTF8.GetString(text.IndexOf((byte)0) is >= 0 and var end ? text[..end] : text), found.Length);
    }

    private static uint Offset(uint unit) => unit >> 10 << (int)((unit & (1 << 9)) >> 6);
}

/// <summary>SentencePiece's rules as Hugging Face applies them: to each grapheme of less than six bytes as a whole, else to its characters.</summary>
internal sealed class PrecompiledNormalizer(CharsMap map) : Normalizer
{
    public override JsonObject ToJson() => new() { ["type"] = "Precompiled", ["precompiled_charsmap"] = Convert.ToBase64String(map.Blob.Span) };

    public override NormalizedText Normalize(NormalizedText text)
    {
        var (steps, modified) = (new List<(string, int)>(), false);
        for (int at = 0, n; at < text.Text.Length; at += n)
        {
            n = StringInfo.GetNextTextElementLength(text.Text, at);
            var grapheme = text.Text.Substring(at, n);
            if (Encoding.UTF8.GetByteCount(grapheme) < 6 && Find(grapheme) is { } whole) Replace(grapheme, whole);
            else
                foreach (var character in NormalizedText.Characters(grapheme))
                    if (Find(character) is { } one) Replace(character, one);
                    else steps.Add((character, 0));
        }
        return modified ? text.Rewrite(steps) : text;

        void Replace(string old, string with)
        {
            modified = true;
            var characters = NormalizedText.Characters(with).ToList();
            var more = characters.Count - NormalizedText.Characters(old).Count();
            steps.AddRange(characters.Select((c, i) => (c, i >= characters.Count - more ? 1 : 0)));
            if (more < 0 && steps.Count > 0) steps[^1] = (steps[^1].Item1, steps[^1].Item2 + more);
        }
    }

    private string? Find(string text) => map.Find(Encoding.UTF8.GetBytes(text), longest: false)?.Text;
}
