using System.Collections.Concurrent;
using System.Text.RegularExpressions;
using Lect.Testing;

namespace Lect.EndToEnd.Tests;

/// <summary>Every command that a lesson, a how-to or the README tells to type is one that the tool has, with the options that it has.</summary>
public sealed partial class DocumentsTests
{
    private static readonly ConcurrentDictionary<string, string> s_help = new(StringComparer.Ordinal);

    public static TheoryData<string> Pages { get; } = [.. Directory.EnumerateFiles(Path.Combine(Fixtures.Root, "docs"), "*.md", SearchOption.AllDirectories).Where(f => Path.GetFileName(f) is not ("log.md" or "results.md")).Append(Path.Combine(Fixtures.Root, "README.md")).Select(f => Path.GetRelativePath(Fixtures.Root, f)).Order(StringComparer.Ordinal)];

    [Theory, MemberData(nameof(Pages))]
    public void Commands_are_the_tools(string page)
    {
        foreach (Match line in Command().Matches(File.ReadAllText(Path.Combine(Fixtures.Root, page))))
        {
            var words = line.Value.Split(' ', StringSplitOptions.RemoveEmptyEntries);
            var verb = words.Skip(1).TakeWhile(w => Verb().IsMatch(w)).ToList();
            string? help = null;
            for (; verb.Count > 0; verb.RemoveAt(verb.Count - 1))   // what follows a verb may be an argument
            {
                help = s_help.GetOrAdd(string.Join(' ', verb), v => Tool.Run([.. v.Split(' '), "--help"]) is { Code: 0 } answer && answer.Output.Contains($"lect {v}", StringComparison.Ordinal) ? answer.Output : "");
                if (help.Length > 0) break;
            }
            Assert.True(help?.Length > 0, $"{page}: {line.Value}");
            foreach (Match option in Option().Matches(line.Value)) Assert.True(Regex.IsMatch(help, $"{Regex.Escape(option.Groups[1].Value)}\\b", RegexOptions.None, TimeSpan.FromSeconds(1)), $"{page}: {line.Value}: {option.Groups[1].Value}");
        }
    }

    [GeneratedRegex("^lect [^\n]+", RegexOptions.Multiline)]
    private static partial Regex Command();

    [GeneratedRegex("^[a-z][a-z0-9-]*$")]
    private static partial Regex Verb();

    [GeneratedRegex("(?<= )(--[a-z][a-z-]*)")]
    private static partial Regex Option();
}
