using System.Globalization;
using Lect.Text;

namespace Lect.Benchmarks;

/// <summary>The lecture's scale: a million comparisons through the reward trainer's input, a hundred thousand prompts through PPO; resident memory must not grow with them.</summary>
internal static class StreamProof
{
    public static int Run()
    {
        var folder = Directory.CreateTempSubdirectory().FullName;
        try
        {
            PretrainGpt.Run(new()
            {
                Tokenizer = new() { Kind = "bpe", Size = 2000 },
                Model = new() { ["architecture"] = "llama", ["hidden_size"] = 16, ["num_hidden_layers"] = 1, ["num_attention_heads"] = 1, ["max_position_embeddings"] = 256, ["tie_word_embeddings"] = true },
                Train = new() { Steps = 2, BatchSize = 4, Block = 32, EvalEvery = 0, CheckpointEvery = 0, Precision = "fp32", SampleTokens = 0 },
            }, At("base"));
            var model = new AlignModels { Path = At("base") };
            // 1,000,000 comparisons: 500 steps of 2,000.
            var comparisons = Measured("comparisons", 100, 2000, report => RewardModel.Run(new() { Recipe = "reward", Model = model, Train = new() { Steps = 500, BatchSize = 2000, MicroBatchSize = 500, MaxLength = 256, EvalEvery = 0, CheckpointEvery = 0, LogEvery = 10, Precision = "fp32" } }, At("reward"), report));
            // 100,000 prompts: 100 iterations of 1,000, answers of one token, a reward from C#.
            var prompts = Measured("prompts", 20, 1000, report => Ppo.Run(new() { Recipe = "ppo", Model = model, Rollout = new() { Batch = 1000, MaxNewTokens = 1, Epochs = 1 }, Train = new() { Steps = 100, BatchSize = 1000, EvalEvery = 0, CheckpointEvery = 0, LogEvery = 2, Precision = "fp32" } }, At("ppo"), answers => [.. answers.Select(a => (double)a.Response.Length)], report));
            return comparisons && prompts ? 0 : 1;

            string At(string name) => Path.Combine(folder, name);
        }
        finally { Directory.Delete(folder, recursive: true); }
    }

    private static bool Measured(string what, long every, int batch, Action<Action<TrainEvent>> run)
    {
        var sizes = new SortedDictionary<long, long>();
        run(e => { if (e.Step % every == 0) sizes[e.Step] = MemoryProof.Resident(); });
        foreach (var (step, size) in sizes) Console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{step * batch,10:N0} {what}  {size / 1e6:0.0} MB"));
        var growth = (double)sizes.Values.Last() / sizes.Values.First() - 1;
        Console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"growth from the first of these on: {growth:0.0%}"));
        return growth < 0.05;
    }
}
