using System.Reflection.Metadata;
using System.Reflection.PortableExecutable;
using System.Resources;

namespace Lect.Text;

/// <summary>A text of the SDK and its translation.</summary>
/// <param name="English">As the neutral resources have it.</param>
/// <param name="Other">As the satellite assembly has it.</param>
public sealed record SdkPair(string English, string Other);

/// <summary>Parallel text on every machine with the .NET SDK: the messages of its tools, translated by professionals; read from the assemblies' resources, which are never loaded.</summary>
public static class SdkTranslations
{
    /// <summary>Cultures that the SDK has, for example <c>de</c>, <c>pt-BR</c>, <c>zh-Hans</c>.</summary>
    public static IReadOnlyList<string> Languages() => [.. Satellites().Select(s => s.Culture).Distinct().Order(StringComparer.Ordinal)];

    /// <summary>Distinct pairs of a language, in the order of files and resources.</summary>
    /// <param name="language">A culture; a plain language finds its only variant (<c>zh</c>: <c>zh-Hans</c>).</param>
    /// <exception cref="InvalidDataException">The SDK has no such language (the message lists those it has), or there is no SDK.</exception>
    public static IReadOnlyList<SdkPair> Pairs(string language)
    {
        var languages = Languages();
        var culture = languages.FirstOrDefault(l => l.Equals(language, StringComparison.OrdinalIgnoreCase)) ?? languages.FirstOrDefault(l => l.StartsWith(language + "-", StringComparison.OrdinalIgnoreCase))
            ?? throw new InvalidDataException($"Found the language '{language}', which this SDK does not have. Expected one of {string.Join(", ", languages)}.");
        var files = Satellites().Where(s => s.Culture == culture).ToList();
        var hash = SdkCorpus.Fnv1a(string.Join('\n', files.Select(f => $"{f.Satellite}:{new FileInfo(f.Satellite).Length}")));
        return DataCache.Table<SdkPair>($"sdk-pairs-{culture}-{hash:x16}-1", () =>
        {
            var perFile = new List<SdkPair>[files.Count];
            InParallel.For(files.Count, i => perFile[i] = Read(files[i].Neutral, files[i].Satellite, culture));
            return [.. perFile.SelectMany(p => p).DistinctBy(p => p.English, StringComparer.Ordinal)];
        });
    }

    // sdk/VERSION/**/CULTURE/X.resources.dll beside X.dll.
    private static List<(string Culture, string Neutral, string Satellite)> Satellites()
    {
        var sdk = Path.Combine(SdkCorpus.Root(), "sdk");
        var newest = Directory.Exists(sdk) ? SdkCorpus.Newest(sdk).FirstOrDefault() : null;
        if (newest is null) throw new InvalidDataException($"Found no SDK under {sdk}. Expected the .NET 10 SDK (the runtime alone has no translations). Install it, set DOTNET_ROOT to where it is, or give your own pairs (data.path).");
        return [.. Directory.GetFiles(newest, "*.resources.dll", SearchOption.AllDirectories).Order(StringComparer.Ordinal).Select(satellite =>
        {
            var folder = Path.GetDirectoryName(satellite)!;
            return (Path.GetFileName(folder), Path.Combine(Path.GetDirectoryName(folder)!, Path.GetFileName(satellite)[..^".resources.dll".Length] + ".dll"), satellite);
        }).Where(s => File.Exists(s.Item2))];
    }

    private static List<SdkPair> Read(string neutral, string satellite, string culture)
    {
        var (english, pairs) = (Texts(neutral, ""), new List<SdkPair>());
        foreach (var (key, other) in Texts(satellite, "." + culture))
            if (english.TryGetValue(key, out var text) && Flat(text) is { Length: > 0 } from && Flat(other) is { Length: > 0 } to && from != to && from.Any(char.IsLetter)) pairs.Add(new(from, to));
        return pairs;
    }

    private static string Flat(string text) => string.Join(' ', text.Split((char[]?)null, StringSplitOptions.RemoveEmptyEntries));

    // All strings of an assembly's embedded .resources by "resource|key", the culture taken out of the resource's name.
    private static Dictionary<string, string> Texts(string path, string culture)
    {
        var texts = new Dictionary<string, string>(StringComparer.Ordinal);
        try
        {
            using var pe = new PEReader(File.OpenRead(path));
            if (!pe.HasMetadata || pe.PEHeaders.CorHeader is not { } header || header.ResourcesDirectory.Size == 0) return texts;
            var metadata = pe.GetMetadataReader();
            foreach (var handle in metadata.ManifestResources)
            {
                var resource = metadata.GetManifestResource(handle);
                var name = metadata.GetString(resource.Name);
                if (!resource.Implementation.IsNil || !name.EndsWith(culture + ".resources", StringComparison.OrdinalIgnoreCase)) continue;
                var block = pe.GetSectionData(header.ResourcesDirectory.RelativeVirtualAddress).GetReader((int)resource.Offset, header.ResourcesDirectory.Size - (int)resource.Offset);
                var bytes = block.ReadBytes(block.ReadInt32());
                using var reader = new ResourceReader(new MemoryStream(bytes));
                var entries = reader.GetEnumerator();
                while (entries.MoveNext())
                {
                    reader.GetResourceData((string)entries.Key, out var type, out _);
                    if (type == "ResourceTypeCode.String" && entries.Value is string text) texts.TryAdd(name[..^(culture.Length + ".resources".Length)] + "|" + entries.Key, text);
                }
            }
        }
        catch (Exception e) when (e is BadImageFormatException or ArgumentException or InvalidOperationException or FormatException or IOException) { }   // one file that is no managed assembly, or is damaged: the others count
        return texts;
    }
}
