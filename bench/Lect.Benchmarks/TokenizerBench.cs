using System.Text;
using System.Text.RegularExpressions;
using Lect.Text;
using Ml = Microsoft.ML.Tokenizers;

namespace Lect.Benchmarks;

/// <summary>Byte-level BPE beside Microsoft.ML.Tokenizers, one thread.</summary>
internal static class TokenizerBench
{
    public static void Run()
    {
        var texts = SdkCorpus.Texts().Select(t => t.Text).ToList();
        var megabytes = texts.Sum(t => (double)Encoding.UTF8.GetByteCount(t)) / 1e6;

        var (trained, tokenizer) = Timing.Best(3, () => TokenizerTrainer.ByteLevelBpe(texts, 32_000, threads: 1));
        Console.WriteLine($"train: 32,000 tokens on {megabytes:0.00} MB, one thread: {trained:0.00} s");

        // Documents of about 2 kB, as they come.
        var documents = new List<string>();
        var document = new StringBuilder();
        foreach (var text in texts)
        {
            document.Append(text).Append('\n');
            if (document.Length < 2000) continue;
            documents.Add(document.ToString());
            document.Clear();
        }
        var size = documents.Sum(d => (double)Encoding.UTF8.GetByteCount(d)) / 1e6;

        var folder = Directory.CreateTempSubdirectory().FullName;
        tokenizer.Save(folder);
        var pattern = new Regex(@"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+", RegexOptions.Compiled);
        var options = new Ml.BpeOptions(Path.Combine(folder, "vocab.json"), Path.Combine(folder, "merges.txt")) { ByteLevel = true, PreTokenizer = new Ml.RegexPreTokenizer(pattern, null) };
        var baseline = Ml.BpeTokenizer.Create(options);
        Directory.Delete(folder, recursive: true);

        var ids = new List<int>();
        var (ours, oursTokens) = Timing.Best(5, () => { long n = 0; foreach (var d in documents) { ids.Clear(); tokenizer.EncodeIds(d, ids); n += ids.Count; } return n; });
        var (theirs, theirTokens) = Timing.Best(5, () => documents.Sum(d => (long)baseline.EncodeToIds(d).Count));
        Console.WriteLine($"encode: {documents.Count} documents of 2 kB, {size:0.00} MB, one thread: Lect {size / ours:0.0} MB/s, Microsoft.ML.Tokenizers {size / theirs:0.0} MB/s, ratio {theirs / ours:0.0}; tokens {oursTokens} and {theirTokens}");
    }
}
