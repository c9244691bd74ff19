using System.CommandLine;
using System.Globalization;
using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.Json.Nodes;

namespace Lect;

/// <summary>What the verbs share on the terminal.</summary>
internal static partial class Screen
{
    /// <summary>Whether whoever reads standard output has gone (<c>lect … | head</c>), which .NET's console keeps to itself: what is written there is lost, and need not be computed.</summary>
    public static bool HasLostReader()
    {
        const short Error = 8;   // POLLERR: of a pipe that nobody reads any more
        if (OperatingSystem.IsWindows()) return false;
        var output = new Polled { Descriptor = 1 };
        return poll(ref output, 1, 0) > 0 && (output.Found & Error) != 0;
    }

    [System.Runtime.InteropServices.StructLayout(System.Runtime.InteropServices.LayoutKind.Sequential)]
    private struct Polled
    {
        public int Descriptor;
        public short Asked, Found;
    }

    [System.Runtime.InteropServices.LibraryImport("libc")]
    private static partial int poll(ref Polled descriptors, nuint count, int milliseconds);

    // libtorch's messages end in its stack.
    private static readonly System.Text.RegularExpressions.Regex s_nativeFrames = new(@"\s*\n?Exception raised from|\s*\n?frame #0: ", System.Text.RegularExpressions.RegexOptions.ExplicitCapture, TimeSpan.FromSeconds(1));

    public static Option<bool> Verbose { get; } = new("--verbose") { Description = "Show where an error came from", Recursive = true };

    public static Option<string> Model() => new("--model") { Description = "Model folder", Required = true };

    public static Option<bool> Truncate() => new("--truncate") { Description = "Cut texts that are longer than the model's positions, instead of refusing them" };

    public static Option<string> Device() => new("--device") { Description = "auto, cpu, cuda, cuda:N or mps", DefaultValueFactory = _ => "auto" };

    public static Option<long?> Context() => new("--context") { Description = "A longer context than the model was made for, by interpolation of its rotary positions" };

    public static Option<string> Dtype() => new("--dtype") { Description = "fp32, or bf16: weights of matrix products are rounded to it, which halves what a token reads", DefaultValueFactory = _ => "fp32" };

    public static Option<string[]> Adapter() => new("--adapter") { Description = "Folder of a LoRA adapter (PEFT's layout); several are merged in order" };

    public static Option<int> BatchSize()
    {
        var option = new Option<int>("--batch-size") { Description = "Lines read and answered together", DefaultValueFactory = _ => 32 };
        option.Validators.Add(found => { if (found.Tokens.Count > 0 && found.GetValueOrDefault<int>() < 1) found.AddError("Found a --batch-size below 1."); });
        return option;
    }

    public static Option<string[]> Sets() => new("--set") { Description = "key=value, wins over the file: --set train.lr=1e-3 data.path=my.txt", AllowMultipleArgumentsPerToken = true };

    /// <summary>A run file by its path, or one of those that come with the tool.</summary>
    public static string? ConfigFile(string? path) => path is not null && !File.Exists(path) && Path.Combine(AppContext.BaseDirectory, path) is var shipped && File.Exists(shipped) ? shipped : path;

    /// <summary>Refuses a folder for a new tokenizer, or prepared data, that holds anything but an earlier tokenizer.</summary>
    public static void RequireRoom(string folder)
    {
        if (File.Exists(folder)) throw new InvalidDataException($"Found the file {folder} for --out. Expected a new or empty folder.");
        if (Directory.Exists(folder) && Directory.EnumerateFileSystemEntries(folder).Select(Path.GetFileName).FirstOrDefault(f => f is not ("tokenizer.json" or "tokenizer_config.json" or "vocab.json" or "merges.txt" or "vocab.txt")) is { } other)
            throw new InvalidDataException($"Found {other} in {folder}. Expected a new or empty folder, or one with nothing but a tokenizer, which is replaced: choose another --out.");
    }

    private static readonly JsonSerializerOptions s_compact = new() { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

    /// <summary>JSON on one line, letters as they are.</summary>
    public static string OneLine(JsonNode json) => json.ToJsonString(s_compact);

    public static Option<bool> Json() => new("--json") { Description = "One JSON object on standard output" };

    /// <summary>Prints figures by their names: one JSON object, or a line each.</summary>
    public static void Figures(bool json, IReadOnlyList<(string Name, JsonNode Value)> figures)
    {
        if (json) Console.WriteLine(OneLine(new JsonObject(figures.Select(f => KeyValuePair.Create(f.Name, f.Value is JsonValue v && v.GetValue<object>() is double d && !double.IsFinite(d) ? null : (JsonNode?)f.Value)))));
        else foreach (var (name, value) in figures) Console.WriteLine($"{name.PadRight(figures.Max(f => f.Name.Length))}  {(value is JsonValue v && v.GetValue<object>() is double d ? d.ToString("0.####", CultureInfo.InvariantCulture) : value)}");
    }

    /// <summary>Prints an error and gives the exit code: 2 for input that cannot be used, 1 for anything else.</summary>
    public static int Report(Exception e, bool verbose)
    {
        Console.Error.WriteLine("lect: " + s_nativeFrames.Split(e.Message, 2)[0]);
        if (verbose) Console.Error.WriteLine(e);
        return e is InvalidDataException or FileNotFoundException or DirectoryNotFoundException or UnauthorizedAccessException ? 2 : 1;
    }
}
