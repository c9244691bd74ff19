using System.Text.Json.Nodes;
using Xunit;

namespace Lect.Testing;

/// <summary>Where expected values lie: copies in tests/fixtures, the rest in ../shared, where a test that needs it skips without it.</summary>
public static class Fixtures
{
    public static string Root { get; } = FindRoot();

    private static string FindRoot()
    {
        for (var folder = AppContext.BaseDirectory; folder is not null; folder = Path.GetDirectoryName(folder))
            if (File.Exists(Path.Combine(folder, "Lect.slnx"))) return folder;
        throw new InvalidOperationException("The tests run outside the project's folder: no Lect.slnx above " + AppContext.BaseDirectory);
    }

    /// <summary>A file or folder in tests/fixtures.</summary>
    public static string Path_(params string[] parts) => Path.Combine([Root, "tests", "fixtures", .. parts]);

    /// <summary>A file or folder in ../shared; skips the test where it is absent.</summary>
    public static string Shared(params string[] parts)
    {
        var path = Path.Combine([Path.GetDirectoryName(Root)!, "shared", .. parts]);
        Assert.SkipUnless(Path.Exists(path), $"needs ../shared/{string.Join('/', parts)}, which is not here");
        return path;
    }

    public static JsonNode Json(string path) => JsonNode.Parse(File.ReadAllText(path))!;
}
