using System.Text;
using System.Xml;

namespace Lect.Text;

/// <summary>A part of the SDK corpus; a text is in one part only, by its hash.</summary>
public enum CorpusSplit
{
    /// <summary>Hash modulo 100 from 10 on: nine tenths.</summary>
    Train,
    /// <summary>Hash modulo 100 of 5 to 9.</summary>
    Validation,
    /// <summary>Hash modulo 100 of 0 to 4.</summary>
    Test,
}

/// <summary>A stretch of text that the documentation's markup marks.</summary>
/// <param name="Start">Its first character.</param>
/// <param name="End">The one behind its last.</param>
/// <param name="Kind">TYPE, MEMBER (references), PARAM, KEYWORD (langword) or CODE.</param>
public readonly record struct SdkMark(int Start, int End, string Kind);

/// <summary>One text of the SDK corpus: a summary, remark, parameter, … of one or more members.</summary>
/// <param name="Member">The first member it stands at, as the documentation names it (<c>M:System.String.Trim</c>).</param>
/// <param name="Kind">The element: summary, remarks, param, returns, exception, …</param>
/// <param name="Subject">What a param or exception is about; null elsewhere.</param>
/// <param name="Text">The text without markup.</param>
/// <param name="Marks">What the markup said of stretches of the text; null: nothing.</param>
public sealed record SdkText(string Member, string Kind, string? Subject, string Text, IReadOnlyList<SdkMark>? Marks = null)
{
    /// <summary>The member as people write it: <c>String.Trim</c>.</summary>
    [System.Text.Json.Serialization.JsonIgnore]
    public string Name => SdkCorpus.Name(Member);
}

/// <summary>
/// Real English on every machine with the .NET SDK: the XML documentation beside the reference assemblies, about 96,000 distinct
/// texts. Splits are by the FNV-1a hash of the text, so that the same text never straddles training and test.
/// </summary>
public static class SdkCorpus
{
    private static readonly Lazy<IReadOnlyList<SdkText>> s_members = new(ReadMembers);

    /// <summary>The member table: every documented element of every member, texts as often as they occur, in the order of files and members.</summary>
    /// <remarks>Read once a process; kept between processes in the cache (<see cref="DataCache"/>), which is keyed by the files of the SDK.</remarks>
    /// <exception cref="InvalidDataException">No SDK is installed here.</exception>
    public static IReadOnlyList<SdkText> Members() => s_members.Value;

    /// <summary>The distinct texts of <see cref="Members"/>, each with the first member it stands at.</summary>
    /// <exception cref="InvalidDataException">No SDK is installed here.</exception>
    public static IReadOnlyList<SdkText> Texts() => [.. Members().DistinctBy(t => t.Text, StringComparer.Ordinal)];

    private static IReadOnlyList<SdkText> ReadMembers()
    {
        var files = Files();
        return DataCache.Table<SdkText>(CacheName(files), () =>
        {
            var perFile = new List<SdkText>[files.Count];
            InParallel.For(files.Count, i => perFile[i] = Read(files[i]));
            return [.. perFile.SelectMany(texts => texts)];
        });
    }

    // Another SDK, or another build of the same version, has other files or lengths.
    private static string CacheName(List<string> files)
    {
        var hash = Fnv1a(string.Join('\n', files.Select(f => $"{f}:{new FileInfo(f).Length}")));
        return $"sdk-{Path.GetFileName(Path.GetDirectoryName(Path.GetDirectoryName(Path.GetDirectoryName(files[0]))))}-{hash:x16}-members-2";   // the last number counts the ways in which texts were made of markup
    }

    /// <summary>All texts by their split; the corpus is read once.</summary>
    public static ILookup<CorpusSplit, SdkText> Splits() => Texts().ToLookup(t => SplitOf(t.Text));

    /// <summary>The split of an English text: FNV-1a (64 bits) of its UTF-8, modulo 100; 0-4 test, 5-9 validation, else train.</summary>
    public static CorpusSplit SplitOf(string text) => (Fnv1a(text) % 100) switch { < 5 => CorpusSplit.Test, < 10 => CorpusSplit.Validation, _ => CorpusSplit.Train };

    /// <summary>Whether a text of a file is in the share that is kept for validation, by its hash.</summary>
    internal static bool IsKept(string text, double share) => Fnv1a(text) % 10_000 < (ulong)Math.Round(share * 10_000);

    /// <summary>FNV-1a, 64 bits, of a text's UTF-8.</summary>
    public static ulong Fnv1a(string text)
    {
        var hash = 0xcbf29ce484222325;
        foreach (var b in Encoding.UTF8.GetBytes(text)) hash = (hash ^ b) * 0x100000001b3;
        return hash;
    }

    // The newest version of each reference pack: packs/NAME.Ref/VERSION/ref/FRAMEWORK/*.xml.
    private static List<string> Files()
    {
        var root = Root();
        var packs = Path.Combine(root, "packs");
        var files = Directory.Exists(packs)
            ? Directory.GetDirectories(packs, "*.Ref").Order(StringComparer.Ordinal).SelectMany(Newest).SelectMany(v => Directory.Exists(Path.Combine(v, "ref")) ? Directory.GetFiles(Path.Combine(v, "ref"), "*.xml", SearchOption.AllDirectories).Order(StringComparer.Ordinal) : Enumerable.Empty<string>()).ToList()
            : [];
        return files.Count > 0 ? files : throw new InvalidDataException($"Found no documentation of the .NET SDK under {packs}. Expected packs/Microsoft.NETCore.App.Ref, which comes with the SDK (the runtime alone has none). Install the .NET 10 SDK, set DOTNET_ROOT to where it is, or give your own text (data.path, --input).");
    }

    internal static IEnumerable<string> Newest(string pack) => Directory.GetDirectories(pack).OrderByDescending(v => Version.TryParse(Path.GetFileName(v).Split('-')[0], out var version) ? version : new Version()).Take(1);

    internal static string Root()
    {
        if (Environment.GetEnvironmentVariable("DOTNET_ROOT") is { Length: > 0 } set && Directory.Exists(Path.Combine(set, "packs"))) return set;
        var runtime = Path.GetDirectoryName(typeof(object).Assembly.Location)!;   // ROOT/shared/Microsoft.NETCore.App/VERSION
        return Path.GetFullPath(Path.Combine(runtime, "..", "..", ".."));
    }

    private static List<SdkText> Read(string file)
    {
        var texts = new List<SdkText>();
        using var reader = XmlReader.Create(file, new XmlReaderSettings { DtdProcessing = DtdProcessing.Prohibit, IgnoreComments = true });
        var member = "";
        try
        {
            while (reader.Read())
            {
                if (reader.NodeType != XmlNodeType.Element) continue;
                if (reader.Name == "member") member = reader.GetAttribute("name") ?? "";
                else if (reader.Depth == 3 && !reader.IsEmptyElement) Add(texts, member, reader);
            }
        }
        catch (XmlException) { }   // one package's damaged file: what came before it counts
        return texts;
    }

    private static void Add(List<SdkText> texts, string member, XmlReader reader)
    {
        var (kind, subject) = (reader.Name, reader.GetAttribute("name") ?? (reader.GetAttribute("cref") is { } cref ? Name(cref) : null));
        var (text, marks) = Flatten(reader);
        if (text.Length > 0) texts.Add(new(member, kind, subject, text, marks.Count > 0 ? marks : null));
    }

    // The text of an element: references by their short names, paragraphs as lines, other white space as one space; and where the markup was.
    private static (string Text, List<SdkMark> Marks) Flatten(XmlReader reader)
    {
        var (text, marks, code) = (new StringBuilder(), new List<SdkMark>(), -1);
        for (var end = reader.Depth; reader.Read() && reader.Depth > end;)
            switch (reader.NodeType)
            {
                case XmlNodeType.Text or XmlNodeType.CDATA or XmlNodeType.Whitespace or XmlNodeType.SignificantWhitespace:
                    Append(text, reader.Value);
                    break;
                case XmlNodeType.Element when reader.Name is "para" or "item" or "br":
                    if (text.Length > 0 && text[^1] != '\n') { while (text[^1] == ' ') text.Length--; text.Append('\n'); }
                    break;
                case XmlNodeType.Element when reader.IsEmptyElement:
                    var start = text.Length;
                    text.Append(reader.GetAttribute("langword") ?? reader.GetAttribute("name") ?? (reader.GetAttribute("cref") is { } cref ? Name(cref) : reader.GetAttribute("href")));
                    if (text.Length > start && MarkOf(reader) is { } mark) marks.Add(new(start, text.Length, mark));
                    break;
                case XmlNodeType.Element when reader.Name is "c" or "code":
                    code = text.Length;
                    break;
                case XmlNodeType.EndElement when reader.Name is "c" or "code" && code >= 0:
                    if (text.Length > code) marks.Add(new(code, text.Length, "CODE"));
                    code = -1;
                    break;
            }
        var whole = text.ToString();
        var (front, trimmed) = (whole.Length - whole.TrimStart().Length, whole.Trim());
        return (trimmed, [.. marks.Select(m => new SdkMark(Math.Max(0, m.Start - front), Math.Min(trimmed.Length, m.End - front), m.Kind)).Where(m => m.End > m.Start)]);
    }

    private static string? MarkOf(XmlReader reader) => reader.GetAttribute("langword") is not null ? "KEYWORD"
        : reader.Name is "paramref" or "typeparamref" ? "PARAM"
        : reader.GetAttribute("cref") is not { Length: > 2 } cref ? null : cref[0] switch { 'T' => "TYPE", 'M' or 'P' or 'F' or 'E' => "MEMBER", _ => null };

    private static void Append(StringBuilder text, string piece)
    {
        foreach (var c in piece)
            if (!char.IsWhiteSpace(c)) text.Append(c);
            else if (text.Length > 0 && text[^1] is not (' ' or '\n')) text.Append(' ');
    }

    /// <summary>The type that a member belongs to, as the documentation names it without the kind: <c>System.String</c> of <c>M:System.String.Trim</c>.</summary>
    public static string TypeOf(string member)
    {
        var name = member.Length > 2 && member[1] == ':' ? member[2..].Split('(')[0] : member;
        return member.StartsWith("T:", StringComparison.Ordinal) || name.LastIndexOf('.') is not (> 0 and var dot) ? name : name[..dot];
    }

    // M:System.String.Join``1(System.String,…) -> String.Join; T:System.String -> String.
    /// <summary>A reference as people write it: the last two parts of a member, the last one of a type.</summary>
    public static string Name(string cref)
    {
        var name = cref.Length > 2 && cref[1] == ':' ? cref[2..] : cref;
        var parts = name.Split('(')[0].Split('.');
        var kept = cref.StartsWith("T:", StringComparison.Ordinal) || cref.StartsWith("N:", StringComparison.Ordinal) || parts.Length < 2 ? parts[^1..] : parts[^2..];
        return string.Join('.', kept.Select(p => p.Split('`')[0]));
    }
}
