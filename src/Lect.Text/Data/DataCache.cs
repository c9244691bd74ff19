using System.IO.Compression;
using System.Text.Json;

namespace Lect.Text;

/// <summary>What is made once and read often, as .jsonl.gz tables that <c>lect data show</c> can open. Whatever is wrong with it, the data are made anew.</summary>
public static class DataCache
{
    /// <summary>The folder: <c>LECT_CACHE</c>, else <c>lect</c> in the user's cache or local data folder.</summary>
    public static string Folder => Environment.GetEnvironmentVariable("LECT_CACHE") is { Length: > 0 } chosen ? chosen : Path.Combine(UserFolder(), "lect");

    private static string UserFolder() => Environment.GetEnvironmentVariable("XDG_CACHE_HOME") is { Length: > 0 } cache ? cache
        : Environment.GetFolderPath(Environment.SpecialFolder.LocalApplicationData, Environment.SpecialFolderOption.DoNotVerify) is { Length: > 0 } local ? local : Path.GetTempPath();

    /// <summary>The rows of a table, made if it is not there (or not readable), and kept if that is possible.</summary>
    internal static IReadOnlyList<T> Table<T>(string name, Func<IReadOnlyList<T>> make)
    {
        var path = Path.Combine(Folder, name + ".jsonl.gz");
        try { if (File.Exists(path)) return Read<T>(path); }
        catch (Exception e) when (e is IOException or JsonException or InvalidDataException or UnauthorizedAccessException) { }
        var rows = make();
        try { Write(path, rows); }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException) { }   // no place to keep it: slower, not wrong
        return rows;
    }

    private static List<T> Read<T>(string path)
    {
        var lines = Rows.Lines(path).Select(l => l.Text).ToList();
        var rows = new T[lines.Count];
        InParallel.For(rows.Length, i => rows[i] = JsonSerializer.Deserialize<T>(lines[i])!);
        return [.. rows];
    }

    private static void Write<T>(string path, IReadOnlyList<T> rows)
    {
        Directory.CreateDirectory(Path.GetDirectoryName(path)!);
        var temporary = $"{path}.{Environment.ProcessId}.tmp";
        using (var file = new GZipStream(File.Create(temporary), CompressionLevel.Fastest))
            foreach (var row in rows)
            {
                JsonSerializer.Serialize(file, row);
                file.WriteByte((byte)'\n');
            }
        File.Move(temporary, path, overwrite: true);
    }
}
