using System.CommandLine;

namespace Lect;

/// <summary>What the verbs share on the terminal.</summary>
internal static class Screen
{
    public static Option<bool> Verbose { get; } = new("--verbose") { Description = "Show where an error came from", Recursive = true };

    /// <summary>Prints an error and gives the exit code: 2 for input that cannot be used, 1 for anything else.</summary>
    public static int Report(Exception e, bool verbose)
    {
        Console.Error.WriteLine("lect: " + e.Message);
        if (verbose) Console.Error.WriteLine(e);
        return e is InvalidDataException or FileNotFoundException or DirectoryNotFoundException or UnauthorizedAccessException ? 2 : 1;
    }
}
