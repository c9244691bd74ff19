using System.Globalization;
using System.Reflection;
using System.Text;
using System.Text.Json;
using System.Text.RegularExpressions;
using System.Xml.Linq;
using Lect.Models;
using Lect.Testing;

namespace Lect.Tests.Loop;

/// <summary>docs/run-files.md: every key of every run file, from the records and what is written above their properties.</summary>
public sealed partial class RunFileReferenceTests
{
    private static readonly (string Verbs, Type Config)[] s_files =
    [
        ("lect train word2vec", typeof(TrainWord2VecConfig)), ("lect train glove", typeof(TrainGloveConfig)), ("lect train seq2seq, lect train transformer", typeof(TrainSeq2SeqConfig)), ("lect train gpt", typeof(PretrainGptConfig)),
        ("lect train bert", typeof(PretrainBertConfig)), ("lect finetune", typeof(FinetuneConfig)), ("lect align", typeof(AlignConfig)),
    ];

    private static readonly Dictionary<string, XElement> s_members = new[] { typeof(AlignConfig), typeof(BertConfig) }.SelectMany(t => XDocument.Load(Path.ChangeExtension(t.Assembly.Location, ".xml")).Descendants("member")).DistinctBy(m => (string)m.Attribute("name")!).ToDictionary(m => (string)m.Attribute("name")!, StringComparer.Ordinal);

    [Fact]
    public void Every_key_stands_in_the_reference()
    {
        var text = new StringBuilder("# Run files\nYAML, `-c FILE`; `--set section.key=value` wins over the file, and without a file every key has its default. An unknown key is refused. Made from the recipes' records by `RunFileReferenceTests`, which fails where this page is behind them.\n");
        foreach (var (verbs, config) in s_files)
        {
            text.Append(CultureInfo.InvariantCulture, $"\n## {verbs}\n");
            Section(text, config, config, Activator.CreateInstance(config)!, "");
        }
        text.Append("\n## The model of `lect train gpt`, by `model.architecture`\nThe keys are those of `config.json`.\n");
        foreach (var kind in DecoderKind.All)
            text.Append(CultureInfo.InvariantCulture, $"\n**{kind.Name}**: {Listed(new KeysOfAttribute(kind.Config))}\n");
        var path = Path.Combine(Fixtures.Root, "docs", "run-files.md");
        if (File.Exists(path) && File.ReadAllText(path) == text.ToString()) return;
        File.WriteAllText(Path.ChangeExtension(path, ".received.md"), text.ToString());
        Assert.Fail($"The keys differ from {path}: compare it with run-files.received.md beside it, and move the one over the other in the commit that changes them.");
    }

    private static void Section(StringBuilder text, Type recipe, Type type, object defaults, string path)
    {
        // A fine-tuned model has its tokenizer.
        var keys = RunFile.Keys(type).Where(k => !(defaults is TokenizerConfig && recipe == typeof(FinetuneConfig) && k.Key != "path")).ToList();
        var plain = keys.Where(k => !IsSection(k.Value.PropertyType)).ToList();
        if (plain.Count > 0) text.Append("| key | default | |\n|---|---|---|\n");
        foreach (var (key, property) in plain)
        {
            var value = property.GetValue(defaults);
            var own = property.GetCustomAttribute<KeysOfAttribute>();
            var more = own is null ? "" : $" Keys: {Listed(own)}.";
            text.Append(CultureInfo.InvariantCulture, $"| `{path}{key}` | {Cell(Default(value, Documented(property).Element("value") is { } said ? Text(said).Trim() : ""))} | {Told(property)}{more} |\n");
        }
        foreach (var (key, property) in keys.Where(k => IsSection(k.Value.PropertyType)))
        {
            text.Append(CultureInfo.InvariantCulture, $"\n`{path}{key}`: {Told(property)}\n\n");
            Section(text, recipe, property.PropertyType, property.GetValue(defaults) ?? Activator.CreateInstance(property.PropertyType)!, $"{path}{key}.");
        }
    }

    // As the strict reader has them.
    private static string Listed(KeysOfAttribute keys) => string.Join(", ", keys.Keys(new Dictionary<string, string?>()).Select(k => $"`{k}`"));

    private static bool IsSection(Type type) => type.IsClass && type != typeof(string) && type != typeof(object) && !type.IsArray && !type.IsAssignableTo(typeof(System.Collections.IDictionary));

    // What is written, with its source, unless the record's own value is another (a recipe's, in place of the loop's).
    private static string Default(object? value, string said)
    {
        var shown = Shown(value);
        bool Same(string word) => word == shown || (double.TryParse(word, CultureInfo.InvariantCulture, out var x) && double.TryParse(shown, CultureInfo.InvariantCulture, out var y) && x == y);
        return shown.Length == 0 || (said.Length > 0 && Same(said.Split(' ', ':', ';', ',')[0])) ? said : shown;
    }

    private static string Shown(object? value) => value switch
    {
        null or "" or System.Collections.IDictionary or Array { Length: 0 } => "",
        bool b => b ? "true" : "false",
        Array list => string.Join(", ", list.Cast<object>()),
        double d => d.ToString("R", CultureInfo.InvariantCulture),
        _ => Convert.ToString(value, CultureInfo.InvariantCulture)!,
    };

    // The summary of a property, or of the one that it replaces; what stands in <value> is its default.
    private static XElement Documented(PropertyInfo property)
    {
        for (var type = property.DeclaringType; type is not null; type = type.BaseType)
            if (s_members.TryGetValue($"P:{type.FullName}.{property.Name}", out var member) && member.Element("summary") is { } summary) return summary;
        throw new InvalidOperationException($"{property.DeclaringType!.Name}.{property.Name} is documented nowhere.");
    }

    private static string Told(PropertyInfo property) => Cell(string.Concat(Documented(property).Nodes().Where(n => n is not XElement { Name.LocalName: "value" }).Select(Plain)));

    private static string Cell(string text) => Spaces().Replace(text, " ").Trim().Replace("|", "\\|", StringComparison.Ordinal);

    private static string Text(XElement element) => string.Concat(element.Nodes().Select(Plain));

    private static string Plain(XNode node) => node switch
    {
        XText text => text.Value,
        XElement { Name.LocalName: "c" } code => $"`{code.Value}`",
        XElement { Name.LocalName: "see" or "paramref" } see => $"`{JsonNamingPolicy.SnakeCaseLower.ConvertName(((string?)see.Attribute("cref") ?? (string?)see.Attribute("name") ?? "").Split('.')[^1])}`",
        XElement other => Text(other),
        _ => "",
    };

    [GeneratedRegex(@"\s+")]
    private static partial Regex Spaces();
}
