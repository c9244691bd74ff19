using System.Collections;
using System.Globalization;
using System.Reflection;
using System.Text.Json;
using YamlDotNet.Core;
using YamlDotNet.RepresentationModel;
using YamlDotNet.Serialization;
using YamlDotNet.Serialization.NamingConventions;

namespace Lect;

/// <summary>Which keys a section may hold that is kept as it is: those of a configuration record, and some more.</summary>
[AttributeUsage(AttributeTargets.Property)]
public class KeysOfAttribute(Type type, params string[] more) : Attribute
{
    /// <summary>The record.</summary>
    public Type Type => type;

    /// <summary>The others.</summary>
    public IReadOnlyList<string> More => more;

    /// <summary>The keys that a section may have.</summary>
    /// <param name="given">Those of its values that are plain, which may decide.</param>
    internal virtual IEnumerable<string> Keys(IReadOnlyDictionary<string, string?> given) => Of(type).Concat(more);

    /// <summary>The keys of a record.</summary>
    private protected static IEnumerable<string> Of(Type record) => RunFile.Keys(record).Where(p => p.Value.GetCustomAttribute<System.Text.Json.Serialization.JsonExtensionDataAttribute>() is null).Select(p => p.Key);
}

/// <summary>
/// Run files: YAML with the keys of a recipe's record in snake_case. Strict: a key that the recipe does not know is an error that
/// names key and line. <c>key=value</c> pairs of the command line go in before binding.
/// </summary>
public static class RunFile
{
    private static readonly ISerializer s_writer = new SerializerBuilder().WithNamingConvention(UnderscoredNamingConvention.Instance)
        .ConfigureDefaultValuesHandling(DefaultValuesHandling.OmitNull | DefaultValuesHandling.OmitEmptyCollections).WithQuotingNecessaryStrings().Build();

    /// <summary>Reads a run file.</summary>
    /// <param name="path">The file; null: every key has its default.</param>
    /// <param name="sets">Pairs such as <c>train.lr=3e-4</c>, which win over the file.</param>
    /// <typeparam name="T">The recipe's record.</typeparam>
    /// <exception cref="InvalidDataException">No such file, no YAML, an unknown key or a value of a wrong kind.</exception>
    public static T Load<T>(string? path, IEnumerable<string>? sets = null) where T : new()
    {
        if (path is not null && !File.Exists(path)) throw new InvalidDataException($"Found no run file {path}. Expected a YAML file such as configs/gpt/sdk-small.yaml.");
        var root = path is null ? [] : Parse(File.ReadAllText(path), path);
        foreach (var set in sets ?? []) Set(root, set);
        return (T)Bind(typeof(T), root, "", node => Sets.TryGetValue(node, out var set) ? $"--set {set}" : $"{path}, line {node.Start.Line}");
    }

    /// <summary>What is said of a run file with faults, all of them together.</summary>
    internal static InvalidDataException Refused(params IEnumerable<string> faults) => new("The run file cannot be honoured: " + string.Join("; ", faults) + ".");

    /// <summary>The fault of a file that names another recipe.</summary>
    internal static string OtherRecipe(string? found, string verb) => $"recipe = '{found}': this file is for another verb than lect train {verb}";

    /// <summary>The faults of a <c>model</c> section that may name a folder to continue from, or vectors to begin with.</summary>
    internal static IEnumerable<string> ContinuedModelFaults(IReadOnlyDictionary<string, object?> model)
    {
        if (model.TryGetValue("path", out var path) && path is not string { Length: > 0 }) yield return $"model.path = {path}: expected a folder's name (in quotes where it looks like a number)";
        if (model.ContainsKey("path") && model.Keys.FirstOrDefault(k => k is not ("path" or "context")) is { } other) yield return $"model.{other}: a model that is continued (model.path) keeps its own configuration";
        if (model.TryGetValue("context", out var context) && !(model.ContainsKey("path") && context is int or long)) yield return $"model.context = {context}: expected a number of positions, for a model that is continued (model.path)";
        if (model.GetValueOrDefault("vectors") is { } vectors and not string { Length: > 0 }) yield return $"model.vectors = {vectors}: expected a file or folder of word vectors (of lect train bert also skip-gram)";
    }

    /// <summary>A path as it holds wherever the run is resumed from.</summary>
    internal static string? FullPath(string? path) => path is null ? null : Path.GetFullPath(path);

    /// <summary>A <c>model</c> section whose values of some keys are full paths.</summary>
    internal static Dictionary<string, object?> FullPaths(IReadOnlyDictionary<string, object?> model, params IEnumerable<string> keys)
    {
        var full = new Dictionary<string, object?>(model);
        foreach (var key in keys)
            if (model.GetValueOrDefault(key) is string path) full[key] = Path.GetFullPath(path);
        return full;
    }

    /// <summary>The YAML text of a recipe's record.</summary>
    public static string Write<T>(T config) => s_writer.Serialize(config!);

    private static YamlMappingNode Parse(string text, string source)
    {
        var yaml = new YamlStream();
        try { yaml.Load(new StringReader(text)); }
        catch (YamlException e) { throw new InvalidDataException($"{source}, line {e.Start.Line}: {e.Message}", e); }
        if (yaml.Documents.Count > 1) throw new InvalidDataException($"{source}, line {yaml.Documents[1].RootNode.Start.Line}: found a second document (behind ---). Expected one: the file holds one run.");
        return yaml.Documents.Count == 0 ? [] : yaml.Documents[0].RootNode as YamlMappingNode
            ?? throw new InvalidDataException($"{source}: found no mapping. Expected sections: seed, tokenizer, data, model, train.");
    }

    // Where a node came from, if not from the file.
    private static readonly System.Runtime.CompilerServices.ConditionalWeakTable<YamlNode, string> Sets = [];

    private static void Set(YamlMappingNode root, string set)
    {
        var equals = set.IndexOf('=', StringComparison.Ordinal);
        if (equals < 1) throw new InvalidDataException($"Found --set {set}. Expected key=value, for example train.lr=3e-4.");
        var keys = set[..equals].Split('.');
        var at = root;
        foreach (var key in keys[..^1])
        {
            var next = at.Children.FirstOrDefault(c => c.Key is YamlScalarNode { Value: { } name } && Snake(name) == Snake(key)).Value;
            if (next is not YamlMappingNode) Put(at, key, next = Mark(new YamlMappingNode(), set));
            at = (YamlMappingNode)next;
        }
        Put(at, keys[^1], Value(set[(equals + 1)..], set));

        void Put(YamlMappingNode map, string key, YamlNode value)
        {
            foreach (var same in map.Children.Keys.OfType<YamlScalarNode>().Where(k => Snake(k.Value!) == Snake(key)).ToList()) map.Children.Remove(same);
            map.Children[Mark(new YamlScalarNode(key), set)] = value;
        }
    }

    // A value that begins as a list, a section or a quoted text of YAML is YAML; any other is what it says (*.txt is no alias, and nothing in it a comment).
    private static YamlNode Value(string text, string set)
    {
        text = text.Trim();
        if (text is not ['[' or '{' or '"' or '\'', ..]) return Mark(new YamlScalarNode(text) { Style = ScalarStyle.Plain }, set);
        var yaml = new YamlStream();
        try { yaml.Load(new StringReader(text)); }
        catch (YamlException e) { throw new InvalidDataException($"Found --set {set}, whose value is no YAML: {e.Message}", e); }
        return Mark(yaml.Documents[0].RootNode, set);
    }

    private static YamlNode Mark(YamlNode node, string set)
    {
        Sets.AddOrUpdate(node, set);
        return node;
    }

    private static object Bind(Type type, YamlMappingNode node, string path, Func<YamlNode, string> where)
    {
        var target = Activator.CreateInstance(type)!;
        var properties = Keys(type);
        var given = new HashSet<string>(StringComparer.Ordinal);
        foreach (var (keyNode, value) in node.Children)
        {
            var key = Snake(Name(keyNode, where));
            if (!given.Add(key)) throw new InvalidDataException($"{where(keyNode)}: found the key '{path}{key}' twice. Expected it once.");
            if (!properties.TryGetValue(key, out var property)) throw Unknown(where(keyNode), path + key, properties.Keys);
            if (property.GetCustomAttribute<KeysOfAttribute>() is { } allowed && value is YamlMappingNode kept)
            {
                var known = allowed.Keys(kept.Children.Where(p => p.Value is YamlScalarNode).ToDictionary(p => Name(p.Key, where), p => ((YamlScalarNode)p.Value).Value, StringComparer.Ordinal)).ToList();
                foreach (var k in kept.Children.Keys)
                    if (!known.Contains(Name(k, where))) throw Unknown(where(k), $"{path}{key}.{k}", known);
            }
            var isAbsent = IsNothing(value) && IsSection(property.PropertyType) && new NullabilityInfoContext().Create(property).WriteState == NullabilityState.Nullable;   // lora: null is none
            property.SetValue(target, isAbsent ? null : Convert(property.PropertyType, value, path + key, where));
        }
        return target;
    }

    private static string Name(YamlNode key, Func<YamlNode, string> where) => (key as YamlScalarNode)?.Value ?? throw new InvalidDataException($"{where(key)}: found the key {key}. Expected a word.");

    // word2vec.c's -min-count and a record's minCount are the key min_count.
    private static string Snake(string key) => JsonNamingPolicy.SnakeCaseLower.ConvertName(key.Replace('-', '_'));

    internal static Dictionary<string, PropertyInfo> Keys(Type type) => type.GetProperties(BindingFlags.Public | BindingFlags.Instance).Where(p => p.CanWrite).ToDictionary(p => JsonNamingPolicy.SnakeCaseLower.ConvertName(p.Name), StringComparer.Ordinal);

    private static InvalidDataException Unknown(string where, string key, IEnumerable<string> known) => new($"{where}: found the unknown key '{key}'. Expected one of {string.Join(", ", known.Order(StringComparer.Ordinal))}.");

    private static object? Convert(Type type, YamlNode node, string key, Func<YamlNode, string> where)
    {
        var kind = Nullable.GetUnderlyingType(type) ?? type;
        if (kind.IsAssignableTo(typeof(IDictionary)) && !IsNothing(node)) return Dictionary(kind, node, key, where);
        if (kind == typeof(object) && node is YamlMappingNode) return Dictionary(typeof(Dictionary<string, object?>), node, key, where);
        if (kind == typeof(object) && node is YamlSequenceNode values) return values.Children.Select(v => Convert(kind, v, key, where)).ToList();
        if (kind.IsArray)
        {
            var items = node is YamlSequenceNode list ? list.Children : [node];
            var array = Array.CreateInstance(kind.GetElementType()!, items.Count);
            for (var i = 0; i < items.Count; i++) array.SetValue(Convert(kind.GetElementType()!, items[i], key, where), i);
            return array;
        }
        if (IsNothing(node) && IsSection(kind)) return Activator.CreateInstance(kind);   // a section taken away has its defaults
        if (IsNothing(node)) return type.IsValueType && kind == type ? throw Wrong("nothing", kind, key, where(node)) : null;
        if (IsSection(kind))
            return node is YamlMappingNode section ? Bind(kind, section, key + ".", where) : throw new InvalidDataException($"{where(node)}: found {key} = {node}. Expected a section with keys of its own.");
        return node is YamlScalarNode scalar ? Scalar(kind, scalar) ?? throw Wrong($"'{scalar.Value}'", kind, key, where(node)) : throw Wrong("a list or section", kind, key, where(node));
    }

    private static bool IsNothing(YamlNode node) => node is YamlScalarNode { Style: ScalarStyle.Plain, Value: "" or "~" or "null" };

    private static bool IsSection(Type type) => type.IsClass && type != typeof(string) && type != typeof(object);

    private static object Dictionary(Type type, YamlNode node, string key, Func<YamlNode, string> where)
    {
        if (node is not YamlMappingNode section) throw new InvalidDataException($"{where(node)}: found {key} = {node}. Expected a section with keys of its own.");
        var target = (IDictionary)Activator.CreateInstance(type)!;
        foreach (var (k, v) in section.Children) target[Name(k, where)] = Convert(type.GetGenericArguments()[1], v, $"{key}.{k}", where);
        return target;
    }

    private static object? Scalar(Type type, YamlScalarNode node)
    {
        var (text, invariant) = (node.Value ?? "", CultureInfo.InvariantCulture);
        if (type == typeof(string) || (type == typeof(object) && node.Style != ScalarStyle.Plain)) return text;
        if (type == typeof(int)) return int.TryParse(text, NumberStyles.Integer, invariant, out var whole) ? whole : null;
        var isBool = bool.TryParse(text, out var flag);
        if (type == typeof(bool) && text is "0" or "1") return text == "1";   // as C programs have it
        var isLong = long.TryParse(text, NumberStyles.Integer, invariant, out var integer);
        var isDouble = double.TryParse(text, NumberStyles.Float, invariant, out var real) && double.IsFinite(real);
        if (type == typeof(bool)) return isBool ? flag : null;
        if (type == typeof(long)) return isLong ? integer : null;
        if (type == typeof(double)) return isDouble ? real : null;
        return isBool ? flag : isLong ? integer : isDouble ? real : text;   // an object: what the text looks like
    }

    private static InvalidDataException Wrong(string found, Type type, string key, string where) => new($"{where}: found {key} = {found}. Expected {Describe(type)}.");

    private static string Describe(Type type) => type == typeof(bool) ? "true or false" : type == typeof(double) ? "a number" : type == typeof(int) || type == typeof(long) ? "a whole number" : "a text";
}
