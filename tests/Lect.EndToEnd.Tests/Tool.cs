using System.Diagnostics;
using System.Text.Json.Nodes;
using Lect.Testing;

namespace Lect.EndToEnd.Tests;

/// <summary>The built tool as a program.</summary>
internal static class Tool
{
    private static readonly string s_path = Path.GetFullPath(Path.Combine(AppContext.BaseDirectory, "..", "..", "Lect.Cli", Path.GetFileName(AppContext.BaseDirectory.TrimEnd('/', '\\')), OperatingSystem.IsWindows() ? "lect.exe" : "lect"));

    public sealed record Answer(int Code, string Output, string Error)
    {
        public List<JsonObject> Json => [.. Output.Split('\n', StringSplitOptions.RemoveEmptyEntries).Select(l => JsonNode.Parse(l)!.AsObject())];
    }

    public static Process Start(params string[] arguments) => Start(s_path, arguments);

    private static Process Start(string program, IEnumerable<string> arguments)
    {
        var process = new Process { StartInfo = new(program, arguments) { RedirectStandardInput = true, RedirectStandardOutput = true, RedirectStandardError = true, UseShellExecute = false, WorkingDirectory = Fixtures.Root } };
        process.Start();
        return process;
    }

    public static Answer Run(params string[] arguments) => Ask("", arguments);

    /// <summary>Runs it to its end with some lines on standard input.</summary>
    public static Answer Ask(string input, params string[] arguments) => Ended(Start(arguments), input, arguments);

    /// <summary>Whether Open MPI's mpirun is here.</summary>
    public static bool HasMpi { get; } = Environment.GetEnvironmentVariable("PATH")!.Split(Path.PathSeparator).Any(d => File.Exists(Path.Combine(d, "mpirun.openmpi"))) || File.Exists("/usr/bin/mpirun.openmpi");

    /// <summary>Starts so many of it together, also as root and on fewer cores; those that wait leave the core to others.</summary>
    public static Process StartTogether(int processes, params string[] arguments) => Start("mpirun.openmpi", ["--allow-run-as-root", "--oversubscribe", "--bind-to", "none", "--mca", "mpi_yield_when_idle", "1", "-n", $"{processes}", "-x", "OMP_NUM_THREADS=1", s_path, .. arguments]);

    /// <summary>Runs so many of it together to their end.</summary>
    public static Answer Together(int processes, params string[] arguments) => Ended(StartTogether(processes, arguments), "", arguments);

    private static Answer Ended(Process process, string input, string[] arguments)
    {
        using var ended = process;
        var error = process.StandardError.ReadToEndAsync();
        var output = process.StandardOutput.ReadToEndAsync();
        process.StandardInput.Write(input);
        process.StandardInput.Close();
        if (!process.WaitForExit(TimeSpan.FromMinutes(5))) { process.Kill(); throw new TimeoutException("lect " + string.Join(' ', arguments)); }
        process.WaitForExit();
        return new(process.ExitCode, output.GetAwaiter().GetResult(), error.GetAwaiter().GetResult());
    }
}
