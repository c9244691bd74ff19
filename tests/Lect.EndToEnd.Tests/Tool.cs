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

    public static Process Start(params string[] arguments)
    {
        var process = new Process { StartInfo = new(s_path, arguments) { RedirectStandardInput = true, RedirectStandardOutput = true, RedirectStandardError = true, UseShellExecute = false, WorkingDirectory = Fixtures.Root } };
        process.Start();
        return process;
    }

    public static Answer Run(params string[] arguments) => Ask("", arguments);

    /// <summary>Runs it to its end with some lines on standard input.</summary>
    public static Answer Ask(string input, params string[] arguments)
    {
        using var process = Start(arguments);
        var error = process.StandardError.ReadToEndAsync();
        var output = process.StandardOutput.ReadToEndAsync();
        process.StandardInput.Write(input);
        process.StandardInput.Close();
        if (!process.WaitForExit(TimeSpan.FromMinutes(5))) { process.Kill(); throw new TimeoutException("lect " + string.Join(' ', arguments)); }
        process.WaitForExit();
        return new(process.ExitCode, output.GetAwaiter().GetResult(), error.GetAwaiter().GetResult());
    }
}
