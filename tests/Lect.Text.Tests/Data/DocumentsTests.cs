using Lect.Testing;

namespace Lect.Text.Tests;

/// <summary>Documents, their splits, and the files of token ids made of them.</summary>
public sealed class DocumentsTests : TemporaryFolder
{
    [Fact]
    public void The_tail_of_a_text_is_for_validation_and_no_character_is_lost()
    {
        var text = string.Concat(Enumerable.Range(0, 3000).Select(i => $"line {i} 😀\n"));
        var documents = Documents.Read(new() { Path = Write("a.txt", text), Validation = 0.1 }).ToList();
        Assert.Equal(text, string.Concat(documents.Select(d => d.Text)));
        var train = string.Concat(documents.Where(d => d.Split == CorpusSplit.Train).Select(d => d.Text));
        Assert.InRange(train.Length, (int)(text.Length * 0.9) - 1, (int)(text.Length * 0.9) + 1);
        Assert.Equal([CorpusSplit.Train, CorpusSplit.Validation], documents.Where(d => d.IsEnd).Select(d => d.Split));   // each part ends with the end of text
    }

    [Fact]
    public void A_text_longer_than_a_piece_comes_whole()
    {
        var line = new string('x', 999) + "\n";
        var text = string.Concat(Enumerable.Repeat(line, 9000)) + new string('y', 5_000_000);
        var documents = Documents.Read(new() { Path = Write("a.txt", text), Validation = 0 }).ToList();
        Assert.True(documents.Count > 2);
        Assert.Equal(text, string.Concat(documents.Select(d => d.Text)));
        Assert.True(documents[^1].IsEnd);
        Assert.EndsWith("\n", documents[0].Text, StringComparison.Ordinal);
    }

    [Fact]
    public void Rows_are_split_by_the_hash_of_their_text_wherever_they_stand()
    {
        string Row(int i) => $"{{\"body\": \"text number {i}\"}}\n";
        DocumentSource Source(string path) => new() { Path = path, Validation = 0.2, TextColumn = "body" };
        var forth = Documents.Read(Source(Write("a.jsonl", string.Concat(Enumerable.Range(0, 1000).Select(Row))))).ToList();
        var back = Documents.Read(Source(Write("b.jsonl", string.Concat(Enumerable.Range(0, 1000).Reverse().Select(Row))))).ToList();
        Assert.InRange(forth.Count(d => d.Split == CorpusSplit.Validation), 150, 250);
        Assert.Equal(forth.OrderBy(d => d.Text, StringComparer.Ordinal), back.OrderBy(d => d.Text, StringComparer.Ordinal));
    }

    [Fact]
    public void A_missing_column_is_named_with_those_that_are_there()
    {
        var message = Assert.Throws<InvalidDataException>(() => Documents.Read(new() { Path = Write("a.jsonl", "{\"body\": \"x\"}\n") }).ToList()).Message;
        foreach (var part in (string[])["a.jsonl", "body", "'text'", "data.columns.text"]) Assert.Contains(part, message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_validation_file_of_its_own_leaves_the_training_file_whole()
    {
        var documents = Documents.Read(new() { Path = Write("a.txt", "train"), ValidationPath = Write("b.txt", "valid") }).ToList();
        Assert.Equal([new(CorpusSplit.Train, "train"), new(CorpusSplit.Validation, "valid")], documents);
    }

    private static readonly Document[] s_documents = [.. Enumerable.Range(0, 9000).Select(i => new Document(i % 10 == 0 ? CorpusSplit.Validation : CorpusSplit.Train, $"Document {i} of many."))];

    [Fact]
    public void Token_files_hold_the_ids_of_all_documents_in_order()
    {
        var tokenizer = TokenizerTrainer.ByteLevelBpe(s_documents.Select(d => d.Text), 300);
        var written = TokenFolder.Write(Folder, s_documents, tokenizer);
        var opened = TokenFolder.Open(Folder);
        foreach (var split in (CorpusSplit[])[CorpusSplit.Train, CorpusSplit.Validation])
        {
            var expected = s_documents.Where(d => d.Split == split).SelectMany(d => tokenizer.EncodeIds(d.Text).Append(tokenizer.EndOfText!.Value)).Select(i => (long)i).ToArray();
            using var ids = opened.Ids(split);
            var found = new long[ids.Count];
            ids.Read(0, found);
            Assert.Equal(expected, found);
            Assert.Equal(written.Count(split), opened.Count(split));
            Assert.Equal(s_documents.Where(d => d.Split == split).Sum(d => (long)d.Text.Length), opened.Count(split).Bytes);
        }
        Assert.Equal(0, opened.Count(CorpusSplit.Test).Tokens);
        Assert.Equal(opened.Count(CorpusSplit.Train).Tokens * 2, new FileInfo(At("train.bin")).Length);   // two bytes an id
    }

    [Fact]
    public void A_token_file_that_was_cut_is_refused()
    {
        TokenFolder.Write(Folder, s_documents, TokenizerTrainer.ByteLevelBpe(s_documents.Select(d => d.Text), 300));
        using (var file = File.OpenWrite(At("train.bin"))) file.SetLength(100);
        Assert.Contains("100 bytes", Assert.Throws<InvalidDataException>(() => TokenFolder.Open(Folder)).Message, StringComparison.Ordinal);
        Assert.Contains("tokens.json", Assert.Throws<InvalidDataException>(() => TokenFolder.Open(At("nowhere"))).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_table_is_made_once_and_made_again_when_it_is_damaged()
    {
        Environment.SetEnvironmentVariable("LECT_CACHE", Folder);
        try
        {
            var made = 0;
            IReadOnlyList<SdkText> Make() { made++; return [new("M:A", "summary", null, "One\ntwo “three”."), new("M:B", "param", "x", "")]; }
            var first = DataCache.Table("t", Make);
            Assert.Equal(first, DataCache.Table("t", Make));
            Assert.Equal(1, made);
            Write("t.jsonl.gz", "not gzip");
            Assert.Equal(first, DataCache.Table("t", Make));
            Assert.Equal(2, made);
        }
        finally { Environment.SetEnvironmentVariable("LECT_CACHE", null); }
    }
}
