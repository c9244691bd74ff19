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
    public void Every_spelling_gives_the_same_rows(string name) => Same(Fixtures.Json(Fixtures.Path_("files", "rows.json")).AsArray(), [.. Rows.Read(File_(name))], name);

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

    // Several members one behind the other are one file, as for gzip.
    [Theory, InlineData("txt"), InlineData("jsonl"), InlineData("json"), InlineData("csv")]
    public void A_gzip_that_is_cut_or_damaged_is_no_file(string ending)
    {
        var folder = Directory.CreateTempSubdirectory();
        var lines = Enumerable.Range(0, 3000).Select(i => ending switch { "jsonl" => $$"""{"text":"row {{i * 7919 % 1000}}"}""", "csv" => $"a,row {i * 7919 % 1000}", _ => $"row {i * 7919 % 1000}" });
        var text = ending == "json" ? $$"""[{{string.Join(',', lines.Select(l => $$"""{"text":"{{l}}"}"""))}}]""" : string.Join('\n', lines) + "\n";
        byte[] Packed()
        {
            using var packed = new MemoryStream();
            using (var gzip = new System.IO.Compression.GZipStream(packed, System.IO.Compression.CompressionLevel.Fastest)) gzip.Write(System.Text.Encoding.UTF8.GetBytes(text));
            return packed.ToArray();
        }
        int Count(byte[] bytes)
        {
            File.WriteAllBytes(Path.Combine(folder.FullName, $"x.{ending}.gz"), bytes);
            return Rows.Read(folder.FullName).Count();
        }
        var whole = Packed();
        var rows = Count(whole);
        Assert.InRange(rows, 2999, 3000);
        if (ending is "txt" or "jsonl") Assert.Equal(2 * rows, Count([.. whole, .. whole]));
        var wrong = whole.ToArray();
        wrong[^6] ^= 255;   // of its check sum
        foreach (var bad in (byte[][])[whole[..(whole.Length / 2)], whole[..^8], whole[..^1], wrong]) Assert.Contains($"x.{ending}.gz", Assert.Throws<InvalidDataException>(() => Count(bad)).Message, StringComparison.Ordinal);
        folder.Delete(recursive: true);
    }

    [Theory, InlineData("text,label\nx,y\n\nu,v\n\n"), InlineData("text,label\r\nx,y\r\n\r\n\r\nu,v"), InlineData("text;label\n\nx;y\nu;v\n")]
    public void Blank_lines_between_records_are_none(string text)
    {
        var path = Path.Combine(Directory.CreateTempSubdirectory().FullName, "rows.csv");
        File.WriteAllText(path, text);
        Assert.Equal(["x", "u"], Rows.Read(path).Select(r => (string)r["text"]!));
        File.AppendAllText(path, "\n\nw\n");
        Assert.Contains($"line {text.Count(c => c == '\n') + 3}", Assert.Throws<InvalidDataException>(() => Rows.Read(path).Count()).Message, StringComparison.Ordinal);
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

    public static TheoryData<string> ParquetFiles => [.. Fixtures.Json(Fixtures.Path_("files", "parquet", "expected.json"))["files"]!.AsObject().Select(f => f.Key)];

    [Theory, MemberData(nameof(ParquetFiles))]
    public void Parquet_of_every_encoding_is_read(string name)
    {
        var expected = Fixtures.Json(Fixtures.Path_("files", "parquet", "expected.json"))["files"]![name]!;
        var found = Rows.Read(Fixtures.Path_("files", "parquet", name)).ToList();
        Assert.Equal((int)expected["rows"]!, found.Count);
        if (found.Count > 0) Assert.Equal(expected["columns"]!.AsArray().Select(c => (string)c!), found[0].Select(c => c.Key));
        if ((bool?)expected["same_rows_as_rows.json"] == true) Same(Fixtures.Json(Fixtures.Path_("files", "rows.json")).AsArray(), found, name);
    }

    [Fact]
    public void Parquet_of_other_types_is_read() =>
        Same(Fixtures.Json(Fixtures.Path_("files", "parquet", "expected.json"))["other_types"]!.AsArray(), [.. Rows.Read(Fixtures.Path_("files", "parquet", "other_types.parquet"))], "other_types");

    [Fact]
    public void Damaged_Parquet_is_refused_by_name()
    {
        foreach (var file in Directory.GetFiles(Fixtures.Path_("files", "parquet", "bad"), "*.parquet"))
            Assert.Contains(Path.GetFileName(file), Assert.Throws<InvalidDataException>(() => Rows.Read(file).Count()).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Packed_Parquet_is_read()
    {
        var path = Path.Combine(Directory.CreateTempSubdirectory().FullName, "rows.parquet.gz");
        using (var file = File.Create(path))
        using (var packed = new System.IO.Compression.GZipStream(file, System.IO.Compression.CompressionLevel.Fastest)) packed.Write(File.ReadAllBytes(Fixtures.Path_("files", "parquet", "snappy.parquet")));
        Assert.Equal(12, Rows.Read(path).Count());
        Directory.Delete(Path.GetDirectoryName(path)!, recursive: true);
    }

    [Theory]
    [InlineData("minimal_lf.csv"), InlineData("minimal_crlf.csv"), InlineData("all_quoted.csv"), InlineData("bom_crlf.csv"), InlineData("no_newline_at_end.csv"), InlineData("semicolon.csv"), InlineData("tab_quoted.tsv")]
    public void Quoted_tables_are_read(string name) => Same(Fixtures.Json(File_("csv_rows.json")).AsArray(), [.. Rows.Read(File_(name))], name);

    [Theory, InlineData("glue_style.tsv"), InlineData("glue_style_crlf.tsv")]
    public void Tables_without_quoting_keep_their_quotes(string name) => Same(Fixtures.Json(File_("glue_rows.json")).AsArray(), [.. Rows.Read(File_(name))], name);

    [Theory]
    [InlineData("too_many_fields.csv", "line 3"), InlineData("too_few_fields.csv", "line 3"), InlineData("open_quote.csv", "line 3"), InlineData("column_twice.csv", "'id' twice"), InlineData("empty.csv", "no header")]
    public void A_bad_table_is_refused(string name, string says)
    {
        var message = Assert.Throws<InvalidDataException>(() => Rows.Read(File_(Path.Combine("bad", name))).Count()).Message;
        Assert.Contains(name, message, StringComparison.Ordinal);
        Assert.Contains(says, message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_table_may_hold_long_texts_and_rows_that_begin_with_a_hash()
    {
        var path = Path.Combine(Directory.CreateTempSubdirectory().FullName, "rows.csv");
        File.WriteAllText(path, $"text,label\n#hashtag tweet,1\n{new string('x', 100_000)},0\n");
        Assert.Equal([14, 100_000], Rows.Read(path).Select(r => ((string)r["text"]!).Length));
        Directory.Delete(Path.GetDirectoryName(path)!, recursive: true);
    }

    private static void Same(JsonArray expected, List<JsonObject> found, string name)
    {
        Assert.Equal(expected.Count, found.Count);
        for (var i = 0; i < found.Count; i++) Assert.True(JsonNode.DeepEquals(expected[i], found[i]), $"{name} row {i}: expected {expected[i]}, found {found[i]}");
    }

    [Fact]
    public void What_is_not_there_is_said() =>
        Assert.Contains("nowhere.jsonl", Assert.Throws<InvalidDataException>(() => Rows.Read("nowhere.jsonl").Count()).Message, StringComparison.Ordinal);
}
