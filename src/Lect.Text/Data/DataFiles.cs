using ICSharpCode.SharpZipLib;
using ICSharpCode.SharpZipLib.GZip;

namespace Lect.Text;

/// <summary>Finds and opens data files: a file, a folder or a glob; .gz and .zst are opened transparently.</summary>
public static class DataFiles
{
    private static readonly string[] s_endings = [".txt", ".jsonl", ".json", ".csv", ".tsv", ".parquet"];

    /// <summary>The files a path stands for, sorted.</summary>
    /// <param name="path">A file, a folder or a pattern.</param>
    /// <param name="format">Given where names do not tell: then a folder's files are all taken.</param>
    /// <exception cref="InvalidDataException">There are none.</exception>
    public static IReadOnlyList<string> Find(string path, string? format = null)
    {
        if (File.Exists(path)) return [path];
        var files = Directory.Exists(path)
            ? Directory.GetFiles(path, "*", SearchOption.AllDirectories).Where(f => format is not null || s_endings.Contains(Ending(f)))
            : Matching(path);
        var found = files.Order(StringComparer.Ordinal).ToList();
        return found.Count > 0 ? found : throw new InvalidDataException($"Found no data at {path}. Expected a file, a folder or a pattern such as data/*.jsonl, ending in {string.Join(", ", s_endings)} (each also .gz or .zst).");
    }

    // A pattern of the last part of a path: data/*.jsonl.
    private static string[] Matching(string path)
    {
        if (!path.Contains('*', StringComparison.Ordinal)) return [];
        var folder = Path.GetDirectoryName(path) is { Length: > 0 } named ? named : ".";
        return Directory.Exists(folder) ? Directory.GetFiles(folder, Path.GetFileName(path)) : [];
    }

    /// <summary>The ending that tells the format, without that of the compression.</summary>
    public static string Ending(string path)
    {
        var ending = Path.GetExtension(path).ToLowerInvariant();
        return ending is ".gz" or ".zst" ? Path.GetExtension(Path.GetFileNameWithoutExtension(path)).ToLowerInvariant() : ending;
    }

    /// <summary>The decompressed content. What is damaged or cut short is an exception at the place (<see cref="IsDamage"/>).</summary>
    public static Stream Open(string path)
    {
        var file = new FileStream(path, FileMode.Open, FileAccess.Read, FileShare.Read, 1 << 16);
        return Path.GetExtension(path).ToLowerInvariant() switch
        {
            ".gz" => new GZipInputStream(file, 1 << 16),   // .NET's own takes a file that was cut short for a whole one
            ".zst" => new ZstdSharp.DecompressionStream(file, leaveOpen: false),
            _ => file,
        };
    }

    /// <summary>Whether reading failed since the compressed file is no whole one.</summary>
    internal static bool IsDamage(Exception e) => e is InvalidDataException or EndOfStreamException or ZstdSharp.ZstdException or SharpZipBaseException;
}
