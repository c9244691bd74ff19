using System.Diagnostics;
using System.Globalization;
using Lect;

namespace Lect.Benchmarks;

/// <summary>
/// Data-parallel training on one machine: tokens/s of as many processes of one thread as there are cores (mpirun), over those of one process with a thread a core, in turn.
/// </summary>
internal static class ProcessesBench
{
    private const int Rounds = 3, Steps = 60;

    public static int Run(string[] shape)
    {
        var cores = Environment.ProcessorCount;
        var folder = Directory.CreateTempSubdirectory("lect-processes").FullName;
        try
        {
            var (threads, processes) = (new List<double>(), new List<double>());
            for (var i = 0; i < Rounds; i++)
            {
                threads.Add(Speed(Path.Combine(folder, $"threads-{i}"), 1, shape));
                processes.Add(Speed(Path.Combine(folder, $"processes-{i}"), cores, shape));
                Console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"1 process of {cores} threads {threads[^1]:N0} tokens/s; {cores} processes of 1 thread {processes[^1]:N0}: {processes[^1] / threads[^1]:0.00}"));
            }
            Console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"best to best {processes.Max() / threads.Max():0.00}"));
            return 0;
        }
        finally { Directory.Delete(folder, recursive: true); }
    }

    // The program itself, once or by mpirun.
    private static double Speed(string run, int processes, string[] shape)
    {
        string[] own = [Environment.ProcessPath!, .. Environment.ProcessPath!.EndsWith("dotnet", StringComparison.Ordinal) ? new[] { typeof(ProcessesBench).Assembly.Location } : [], "processes", "train", run, .. shape];
        string[] all = processes == 1 ? own : ["mpirun", "--allow-run-as-root", "--oversubscribe", "-n", processes.ToString(CultureInfo.InvariantCulture), .. own];
        using var process = Process.Start(new ProcessStartInfo(all[0], all[1..]))!;
        process.WaitForExit();
        if (process.ExitCode != 0) throw new InvalidOperationException($"{string.Join(' ', all)} ended with {process.ExitCode}.");
        return RunFolder.ReadMetrics(run).Skip(1).Max(l => (double)l["tokens_per_second"]!);   // the first line is of a start: kernels are being compiled
    }

    /// <summary>What is measured: a GPT-2 of layers x width on rows of 128 tokens of the SDK's documentation.</summary>
    public static int Train(string run, int layers, int width, int batch)
    {
        PretrainGpt.Run(new()
        {
            Model = new() { ["n_layer"] = layers, ["n_embd"] = width, ["n_head"] = Math.Max(1, width / 64) },
            Tokenizer = new() { Kind = "bpe", Size = 4000 },
            Train = new() { Steps = Steps, BatchSize = batch, Block = 128, LogEvery = 10, EvalEvery = 0, CheckpointEvery = 0, Dropout = 0 },
        }, run);
        return 0;
    }
}
