using System.Text.RegularExpressions;
using Lect.Text;
using Ml = Microsoft.ML.Tokenizers;

namespace Lect.Benchmarks;

/// <summary>Byte-level BPE beside Microsoft.ML.Tokenizers with the same vocabulary, one thread.</summary>
internal static class TokenizerBaseline
{
    public static void Run()
    {
        var documents = TokenizerBench.Documents();
        var results = TokenizerBench.Run(documents, out var tokenizer);
        var folder = Directory.CreateTempSubdirectory().FullName;
        tokenizer.Save(folder);
        var pattern = new Regex(@"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+", RegexOptions.Compiled);
        var options = new Ml.BpeOptions(Path.Combine(folder, "vocab.json"), Path.Combine(folder, "merges.txt")) { ByteLevel = true, PreTokenizer = new Ml.RegexPreTokenizer(pattern, null) };
        var theirs = Ml.BpeTokenizer.Create(options);
        Directory.Delete(folder, recursive: true);

        long count = 0;
        var best = double.MaxValue;
        for (var i = 0; i < 5; i++)
        {
            var watch = System.Diagnostics.Stopwatch.StartNew();
            count = documents.Sum(d => (long)theirs.EncodeToIds(d).Count);
            best = Math.Min(best, watch.Elapsed.TotalSeconds);
        }
        if (count != documents.Sum(d => (long)tokenizer.EncodeIds(d).Length)) throw new InvalidOperationException($"The two encoders disagree: theirs makes {count} tokens.");
        Console.WriteLine(results[0].ToJson().ToJsonString());
        Console.WriteLine((results[1] with { Baseline = (double)results[1].Config["megabytes"]! / best }).ToJson().ToJsonString());
    }
}
