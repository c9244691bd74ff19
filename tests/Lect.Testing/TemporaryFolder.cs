namespace Lect.Testing;

/// <summary>Tests that write files: a folder of their own, which goes when they end.</summary>
public abstract class TemporaryFolder : IDisposable
{
    /// <summary>Its path.</summary>
    protected string Folder { get; } = Directory.CreateTempSubdirectory("lect").FullName;

    /// <summary>A path in it.</summary>
    protected string At(params string[] parts) => Path.Combine([Folder, .. parts]);

    /// <summary>A file of this text; its path.</summary>
    protected string Write(string name, string text)
    {
        File.WriteAllText(At(name), text);
        return At(name);
    }

    /// <summary>A file of these lines, each with its end; its path.</summary>
    protected string Write(string name, params IEnumerable<string> lines)
    {
        File.WriteAllLines(At(name), lines);
        return At(name);
    }

    /// <inheritdoc/>
    public virtual void Dispose()
    {
        Directory.Delete(Folder, recursive: true);
        GC.SuppressFinalize(this);
    }
}
