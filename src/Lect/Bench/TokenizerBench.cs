using System.Text;
using System.Text.Json.Nodes;
using Lect.Text;

namespace Lect;

/// <summary>Byte-level BPE and WordPiece on the SDK's prose, one thread: learning a vocabulary, and encoding documents of 2 kB.</summary>
public static class TokenizerBench
{
    /// <summary>The prose in documents of about 2 kB, as it comes.</summary>
    public static IReadOnlyList<string> Documents()
    {
        var (documents, document) = (new List<string>(), new StringBuilder());
        foreach (var text in SdkCorpus.Texts())
        {
            document.Append(text.Text).Append('\n');
            if (document.Length < 2000) continue;
            documents.Add(document.ToString());
            document.Clear();
        }
        return documents;
    }

    /// <summary>Megabytes a second of both; unit MB/s, except that training tells seconds.</summary>
    /// <param name="documents">Texts.</param>
    /// <param name="tokenizer">The tokenizer that was learned.</param>
    public static IReadOnlyList<BenchResult> Run(IReadOnlyList<string> documents, out Tokenizer tokenizer)
    {
        var megabytes = documents.Sum(d => (double)Encoding.UTF8.GetByteCount(d)) / 1e6;
        Tokenizer? learned = null;
        var training = BenchResult.Seconds(3, () => learned = TokenizerTrainer.ByteLevelBpe(documents, 32_000, threads: 1));
        var ids = new List<int>();
        var encoding = BenchResult.Seconds(5, () => { foreach (var d in documents) { ids.Clear(); learned!.EncodeIds(d, ids); } });
        tokenizer = learned!;
        Tokenizer? pieces = null;
        var learning = BenchResult.Seconds(3, () => pieces = TokenizerTrainer.WordPieces(documents, 8_000, threads: 1));
        var cutting = BenchResult.Seconds(5, () => { foreach (var d in documents) { ids.Clear(); pieces!.EncodeIds(d, ids); } });
        return
        [
            new("tokenizer-train", new() { ["vocab"] = 32_000, ["megabytes"] = megabytes, ["threads"] = 1 }, training[0], training[training.Length / 2], "s", training.Length),
            BenchResult.From("tokenizer-encode", new() { ["vocab"] = 32_000, ["megabytes"] = megabytes, ["documents"] = documents.Count, ["threads"] = 1 }, encoding, megabytes, "MB/s"),
            new("wordpiece-train", new() { ["vocab"] = 8_000, ["megabytes"] = megabytes, ["threads"] = 1 }, learning[0], learning[learning.Length / 2], "s", learning.Length),
            BenchResult.From("wordpiece-encode", new() { ["vocab"] = 8_000, ["megabytes"] = megabytes, ["documents"] = documents.Count, ["threads"] = 1 }, cutting, megabytes, "MB/s"),
        ];
    }
}
