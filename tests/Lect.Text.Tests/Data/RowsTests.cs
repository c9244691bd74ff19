using System.Text.Json.Nodes;
using Lect.Testing;

namespace Lect.Text.Tests;

/// <summary>Readers on good and bad files (fixtures/files/README.md).</summary>
public class RowsTests
{
    private static string File_(string name) => Fixtures.Path_("files", "text", name);

    [Theory]
    [InlineData("lf.jsonl"), InlineData("crlf.jsonl"), InlineData("bom.jsonl"), InlineData("bom_crlf.jsonl"), InlineData("blank_lines.jsonl"), InlineData("spaces.jsonl")]
    [InlineData("no_newline_at_end.jsonl"), InlineData("ascii_escapes.jsonl"), InlineData("keys_reversed.jsonl"), InlineData("rows.jsonl.gz"), InlineData("array.json")]
    public void Every_spelling_gives_the_same_rows(string name)
    {
        var expected = Fixtures.Json(Fixtures.Path_("files", "rows.json")).AsArray();
        var found = Rows.Read(File_(name)).ToList();
        Assert.Equal(expected.Count, found.Count);
        for (var i = 0; i < found.Count; i++) Assert.True(JsonNode.DeepEquals(expected[i], found[i]), $"{name} row {i}");
    }

    [Fact]
    public void Zstandard_is_read()
    {
        var path = Path.Combine(Directory.CreateTempSubdirectory().FullName, "rows.jsonl.zst");
        using (var file = File.Create(path))
        using (var packed = new ZstdSharp.CompressionStream(file)) packed.Write(File.ReadAllBytes(File_("lf.jsonl")));
        Assert.Equal(Rows.Read(File_("lf.jsonl")).Count(), Rows.Read(path).Count());
        File.WriteAllBytes(path, File.ReadAllBytes(path)[..40]);
        Assert.Contains("rows.jsonl.zst", Assert.Throws<InvalidDataException>(() => Rows.Read(path).Count()).Message, StringComparison.Ordinal);
        Directory.Delete(Path.GetDirectoryName(path)!, recursive: true);
    }

    [Fact]
    public void A_bad_line_is_refused_with_file_and_line_after_the_rows_before_it()
    {
        foreach (var (name, o) in Fixtures.Json(Fixtures.Path_("files", "text", "bad", "expected.json")).AsObject().Where(p => p.Key.EndsWith(".jsonl", StringComparison.Ordinal)))
        {
            if (name is "nan.jsonl" or "key_twice.jsonl" or "lone_surrogate.jsonl") continue;   // reading and refusing are both right
            var rows = 0;
            var message = Assert.Throws<InvalidDataException>(() => { foreach (var _ in Rows.Read(File_(Path.Combine("bad", name)))) rows++; }).Message;
            Assert.Contains(name, message, StringComparison.Ordinal);
            Assert.Contains($"line {o!["line"]}", message, StringComparison.Ordinal);
            Assert.Equal((int)o["line"]! - 1, rows);
        }
    }

    [Fact]
    public void What_is_not_there_is_said() =>
        Assert.Contains("nowhere.jsonl", Assert.Throws<InvalidDataException>(() => Rows.Read("nowhere.jsonl").Count()).Message, StringComparison.Ordinal);
}
