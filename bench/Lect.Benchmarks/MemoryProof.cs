using System.Globalization;

namespace Lect.Benchmarks;

/// <summary>Ten thousand steps of a tiny model: resident memory must not grow.</summary>
internal static class MemoryProof
{
    public static int Run()
    {
        var folder = Directory.CreateTempSubdirectory().FullName;
        try
        {
            var text = Path.Combine(folder, "text.txt");
            File.WriteAllText(text, string.Concat(Enumerable.Range(0, 5000).Select(i => string.Create(CultureInfo.InvariantCulture, $"{i % 7} times {i % 13} is {i % 7 * (i % 13)}.\n"))));
            var config = new PretrainGptConfig
            {
                Tokenizer = new() { Kind = "char" },
                Data = new() { Path = text },
                Model = new() { ["n_layer"] = 2, ["n_embd"] = 32, ["n_head"] = 2 },
                Train = new() { Steps = 10_000, BatchSize = 4, Block = 16, Dropout = 0.1, EvalEvery = 1000, CheckpointEvery = 1000, EvalTokens = 500, LogEvery = 100 },
            };
            var sizes = new SortedDictionary<long, long>();
            PretrainGpt.Run(config, Path.Combine(folder, "run"), e => { if (e.Step % 1000 == 0) sizes[e.Step] = Resident(); });
            foreach (var (step, size) in sizes) Console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"step {step,6}  {size / 1e6:0.0} MB"));
            var growth = (double)sizes[10_000] / sizes[1000] - 1;
            Console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"growth from step 1,000 to 10,000: {growth:0.00%}"));
            return growth < 0.01 ? 0 : 1;
        }
        finally { Directory.Delete(folder, recursive: true); }
    }

    internal static long Resident()
    {
        GC.Collect();   // what is garbage is no leak
        GC.WaitForPendingFinalizers();
        return Environment.WorkingSet;
    }
}
