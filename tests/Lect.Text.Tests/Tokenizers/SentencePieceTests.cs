using System.Text.Json.Nodes;
using Lect.Testing;

namespace Lect.Text.Tests;

/// <summary>SentencePiece models read as they are: ids, pieces and texts of the library itself, and Marian's folders.</summary>
public class SentencePieceTests
{
    private static readonly string[] s_texts = [.. Fixtures.Json(Fixtures.Path_("tokenizers", "texts.json")).AsArray().Select(t => (string)t!["text"]!)];

    private static int[] Ints(JsonNode? node) => [.. node!.AsArray().Select(n => (int)n!)];

    [Theory]
    [InlineData("t5", "spiece.model")]
    [InlineData("unigram-byte-fallback", "spiece.model")]
    [InlineData("llama2", "tokenizer.model")]
    [InlineData("gemma", "tokenizer.model")]
    public void A_model_file_gives_the_librarys_ids_pieces_and_text(string kind, string file)
    {
        var tokenizer = Tokenizer.Load(Fixtures.Path_("tokenizers", kind, file));
        var faults = new List<string>();
        foreach (var expected in Fixtures.Json(Fixtures.Path_("tokenizers", kind, "expected.json"))["encodings"]!.AsArray())
        {
            var found = tokenizer.Encode(s_texts[(int)expected!["text"]!]);
            if (!Ints(expected["spm_ids"]).SequenceEqual(found.Ids)) faults.Add($"text {expected["text"]}: ids {string.Join(' ', found.Ids)}, expected {expected["spm_ids"]!.ToJsonString()}");
            if (!expected["spm_pieces"]!.AsArray().Select(p => (string)p!).SequenceEqual(found.Tokens)) faults.Add($"text {expected["text"]}: pieces {string.Join(' ', found.Tokens)}, expected {expected["spm_pieces"]!.ToJsonString()}");
            if ((string)expected["spm_decoded"]! != tokenizer.Decode(found.Ids)) faults.Add($"text {expected["text"]}: text '{tokenizer.Decode(found.Ids)}', expected '{expected["spm_decoded"]}'");
            foreach (var (start, end) in found.Offsets) Assert.InRange(start, 0, end);
        }
        Assert.True(faults.Count == 0, string.Join('\n', faults));
    }

    [Fact]
    public void Marian_ids_and_texts()
    {
        var (source, target) = MarianTokenizers.Load(Fixtures.Path_("tokenizers", "marian"));
        var json = Fixtures.Json(Fixtures.Path_("tokenizers", "marian", "expected.json"));
        var eos = (int)json["eos_id"]!;
        var faults = new List<string>();
        foreach (var expected in json["encodings"]!.AsArray())
        {
            var text = (string)expected!["text"]!;
            var ids = Ints(expected["target_ids"]);
            Compare("source", Ints(expected["source_ids"]), [.. source.EncodeIds(text), eos]);
            Compare("target", ids, [.. target.EncodeIds((string?)expected["target"] ?? text), eos]);
            Same("decoded", (string)expected["decoded_target"]!, target.Decode(ids, skipSpecialTokens: true));
            Same("decoded with the source's model", (string)expected["decoded_default"]!, source.Decode(ids));   // Hugging Face's default

            void Compare(string what, int[] e, int[] f) { if (!e.SequenceEqual(f)) faults.Add($"{what} of '{text}': {string.Join(' ', f)}, expected {string.Join(' ', e)}"); }
            void Same(string what, string e, string f) { if (e != f) faults.Add($"{what} of '{text}': '{f}', expected '{e}'"); }
        }
        Assert.True(faults.Count == 0, string.Join('\n', faults));
    }

    [Fact]
    public void A_damaged_model_is_refused()
    {
        var bytes = File.ReadAllBytes(Fixtures.Path_("tokenizers", "t5", "spiece.model"));
        var path = Path.GetTempFileName() + ".model";
        // Cut anywhere: either a whole, smaller model remains (a cut between two fields), or it is refused by name.
        foreach (var length in Enumerable.Range(0, 40).Select(i => bytes.Length * i / 40)) { File.WriteAllBytes(path, bytes[..length]); Refused(); }
        File.WriteAllText(path, "no model at all");
        Assert.ThrowsAny<InvalidDataException>(() => Tokenizer.Load(path));
        File.Delete(path);

        void Refused()
        {
            try { Tokenizer.Load(path); }
            catch (InvalidDataException e) { Assert.Contains(path, e.Message, StringComparison.Ordinal); }
        }
    }
}
