using System.Reflection;
using System.Text.RegularExpressions;
using Lect.Testing;

namespace Lect.Architecture.Tests;

/// <summary>What the assemblies may know (ARCHITECTURE.md), and what no file may hold.</summary>
public class ImportRules
{
    private static string[] References(string assembly) => [.. Assembly.Load(assembly).GetReferencedAssemblies().Select(a => a.Name!)];

    [Fact]
    public void Text_knows_no_tensors_and_Models_knows_no_text()
    {
        Assert.DoesNotContain(References("Lect.Text"), r => r is "TorchSharp" or "Lect" or "Lect.Models");
        Assert.DoesNotContain(References("Lect.Models"), r => r is "Lect.Text" or "Lect" or "System.CommandLine" or "Spectre.Console" || r.StartsWith("Parquet", StringComparison.Ordinal));
    }

    [Fact]
    public void The_library_knows_no_console_and_no_web() =>
        Assert.DoesNotContain(References("Lect"), r => r is "System.CommandLine" or "Spectre.Console" or "Lect.Cli" || r.StartsWith("Microsoft.AspNetCore", StringComparison.Ordinal));

    [Fact]
    public void The_studio_touches_no_tensors_and_no_console() => Assert.DoesNotContain(References("Lect.Studio"), r => r is "TorchSharp" or "System.CommandLine" or "Spectre.Console" or "Lect.Cli");

    [Fact]
    public void The_tool_touches_no_tensors() => Assert.DoesNotContain("TorchSharp", References("Lect.Cli"));

    private static IEnumerable<string> Sources() => new[] { "src", "tests", "bench" }.SelectMany(f => Directory.EnumerateFiles(Path.Combine(Fixtures.Root, f), "*.cs", SearchOption.AllDirectories))
        .Where(f => !f.Contains("/obj/", StringComparison.Ordinal) && !f.Contains("/bin/", StringComparison.Ordinal));

    [Fact]
    public void No_file_is_longer_than_600_lines() => Assert.DoesNotContain(Sources(), f => File.ReadLines(f).Count() > 600);

    [Fact]
    public void Every_package_version_is_in_one_file() =>
        Assert.DoesNotContain(Directory.EnumerateFiles(Fixtures.Root, "*.csproj", SearchOption.AllDirectories), f => Regex.IsMatch(File.ReadAllText(f), "<PackageReference[^>]*\\bVersion=", RegexOptions.None, TimeSpan.FromSeconds(1)));
}
