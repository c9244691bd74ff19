using System.Buffers.Binary;
using System.Globalization;
using System.Text;
using System.Text.Json.Nodes;

namespace Lect.Text;

/// <summary>The tokenizer files of llama2.c (Karpathy 2023): a score and the bytes of each piece, blanks as they are. Pieces 0 to 2 are unknown, begin and end, the 256 behind them bytes.</summary>
public static class Llama2CTokenizer
{
    private const int FirstByte = 3, FirstPiece = FirstByte + 256;

    /// <summary>Reads a tokenizer.bin; the result is a byte-fallback BPE as Llama's tokenizer.json has it.</summary>
    /// <param name="path">The file.</param>
    /// <exception cref="InvalidDataException">It is cut short, or no such file.</exception>
    public static Tokenizer Load(string path)
    {
        if (!File.Exists(path)) throw new InvalidDataException($"Found no file {path}. Expected the tokenizer.bin of a llama2.c model.");
        var pieces = Read(File.ReadAllBytes(path), path);
        if (pieces.Count <= FirstPiece) throw new InvalidDataException($"{path}: found {pieces.Count} pieces. Expected more than {FirstPiece}: three special ones, 256 bytes, then text.");
        var vocabulary = new JsonObject();
        for (var id = 0; id < pieces.Count; id++) vocabulary[Name(id, pieces[id].Text)] = id;
        return TokenizerFile.FromJson(new JsonObject
        {
            ["added_tokens"] = new JsonArray([.. Enumerable.Range(0, FirstByte).Select(id => new JsonObject { ["id"] = id, ["content"] = Name(id, ""), ["special"] = true, ["normalized"] = false })]),
            ["normalizer"] = JsonNode.Parse("""{"type":"Sequence","normalizers":[{"type":"Prepend","prepend":"▁"},{"type":"Replace","pattern":{"String":" "},"content":"▁"}]}"""),
            ["post_processor"] = JsonNode.Parse("""{"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"<s>","type_id":0}},{"Sequence":{"id":"A","type_id":0}}],"pair":[{"SpecialToken":{"id":"<s>","type_id":0}},{"Sequence":{"id":"A","type_id":0}},{"Sequence":{"id":"B","type_id":1}}],"special_tokens":{"<s>":{"id":"<s>","ids":[1],"tokens":["<s>"]}}}"""),
            ["decoder"] = JsonNode.Parse("""{"type":"Sequence","decoders":[{"type":"Replace","pattern":{"String":"▁"},"content":" "},{"type":"ByteFallback"},{"type":"Fuse"},{"type":"Strip","content":" ","start":1,"stop":0}]}"""),
            ["model"] = new JsonObject { ["type"] = "BPE", ["unk_token"] = "<unk>", ["fuse_unk"] = true, ["byte_fallback"] = true, ["vocab"] = vocabulary, ["merges"] = Merges(pieces) },
        });
    }

    private static List<(string Text, float Score)> Read(ReadOnlySpan<byte> bytes, string path)
    {
        var pieces = new List<(string, float)>();
        for (var at = 4; at < bytes.Length;)   // the first four bytes: the longest piece's length
        {
            if (at + 8 > bytes.Length || BinaryPrimitives.ReadInt32LittleEndian(bytes[(at + 4)..]) is var length && (length < 0 || at + 8 + length > bytes.Length)) throw new InvalidDataException($"{path} is cut short: found its end inside piece {pieces.Count}.");
            var size = BinaryPrimitives.ReadInt32LittleEndian(bytes[(at + 4)..]);
            pieces.Add((Encoding.UTF8.GetString(bytes.Slice(at + 8, size)), BinaryPrimitives.ReadSingleLittleEndian(bytes[at..])));
            at += 8 + size;
        }
        return pieces;
    }

    private static string Name(int id, string text) => id switch
    {
        0 => "<unk>",
        1 => "<s>",
        2 => "</s>",
        < FirstPiece => string.Create(CultureInfo.InvariantCulture, $"<0x{id - FirstByte:X2}>"),
        _ => text.Replace(' ', '▁'),
    };

    // The program joins, again and again, the neighbours whose piece has the best score: every way to make a piece, in the order of the scores.
    private static JsonArray Merges(List<(string Text, float Score)> pieces)
    {
        var known = pieces.Skip(FirstPiece).Select(p => p.Text).ToHashSet(StringComparer.Ordinal);
        var merges = new JsonArray();
        foreach (var (text, _) in pieces.Skip(FirstPiece).OrderByDescending(p => p.Score))
            for (var cut = 1; cut < text.Length; cut++)
                if (known.Contains(text[..cut]) && known.Contains(text[cut..])) merges.Add((JsonNode)new JsonArray(text[..cut].Replace(' ', '▁'), text[cut..].Replace(' ', '▁')));
        return merges;
    }
}
