using System.Globalization;
using System.Numerics;
using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;

namespace Lect.Text;

/// <summary>A name, item or attribute that is not there: prints nothing, is false and empty, and is an error as soon as something is asked of it.</summary>
/// <param name="Why">The error.</param>
internal sealed record JinjaUndefined(string Why);

/// <summary>Python's tuple.</summary>
internal sealed record JinjaTuple(IReadOnlyList<object?> Items);

/// <summary>What filters and dict's methods give: can be walked through, counted where Python could.</summary>
/// <param name="Items">What is in it.</param>
/// <param name="Name">How it prints: <c>dict_items</c>, or the whole text of a generator or range.</param>
/// <param name="Kind">What it is like.</param>
internal sealed record JinjaView(IReadOnlyList<object?> Items, string Name, JinjaViewKind Kind);

/// <summary>Kinds of views.</summary>
internal enum JinjaViewKind
{
    /// <summary>Of a dict.</summary>
    Dict,
    /// <summary>A range: like a list.</summary>
    Range,
    /// <summary>True and uncounted.</summary>
    Generator,
}

/// <summary>Python's dict: in the order of insertion, 1 and 1.0 and true are one key.</summary>
internal sealed class JinjaDict() : OrderedDictionary<object, object?>(PythonKey.Instance)
{
    private sealed class PythonKey : IEqualityComparer<object>
    {
        public static readonly PythonKey Instance = new();

        bool IEqualityComparer<object>.Equals(object? a, object? b) => JinjaValues.Equal(a, b);

        int IEqualityComparer<object>.GetHashCode(object key) => key switch
        {
            string text => text.GetHashCode(StringComparison.Ordinal),
            bool b => b ? 1 : 0,
            BigInteger n => ((double)n).GetHashCode(),
            double d => d.GetHashCode(),
            JinjaTuple => 2,
            _ => throw new InvalidDataException($"Found a key of type '{JinjaValues.TypeName(key)}' in the chat template. Expected text or a number."),
        };
    }
}

/// <summary>What <c>namespace()</c> makes: attributes that can be set.</summary>
internal sealed record JinjaNamespace(JinjaDict Attributes);

/// <summary>Something that can be called.</summary>
internal sealed record JinjaFunction(string Name, Func<JinjaArguments, object?> Call);

/// <summary>Arguments of a call.</summary>
/// <param name="Positional">In order.</param>
/// <param name="Named">By name.</param>
internal sealed record JinjaArguments(IReadOnlyList<object?> Positional, IReadOnlyDictionary<string, object?> Named)
{
    public static JinjaArguments None { get; } = new([], new Dictionary<string, object?>());

    /// <summary>The argument at a place or of a name.</summary>
    public object? At(int place, string name, object? otherwise = null) => place < Positional.Count ? Positional[place] : Named.TryGetValue(name, out var value) ? value : otherwise;

    /// <summary>With one more by name.</summary>
    public JinjaArguments With(string name, object? value) => this with { Named = new Dictionary<string, object?>(Named) { [name] = value } };

    public bool Has(int place, string name) => place < Positional.Count || Named.ContainsKey(name);

    public string Text(int place, string name, string? otherwise = null) => At(place, name, otherwise) is string text ? text : throw new InvalidDataException($"Found {JinjaValues.TypeName(At(place, name))} as '{name}' in the chat template. Expected text.");

    public int Integer(int place, string name, int otherwise = 0) => At(place, name, (BigInteger)otherwise) is { } value && JinjaValues.IsInteger(value, out var n) && BigInteger.Abs(n) < int.MaxValue ? (int)n : throw new InvalidDataException($"Found {JinjaValues.TypeName(At(place, name))} as '{name}' in the chat template. Expected a whole number.");

    public bool Flag(int place, string name, bool otherwise = false) => JinjaValues.IsTrue(At(place, name, otherwise));
}

/// <summary>Values as Python has them: null, bool, whole numbers without limit, doubles, text, lists, <see cref="JinjaTuple"/>, <see cref="JinjaDict"/>.</summary>
internal static class JinjaValues
{
    public static string TypeName(object? value) => value switch
    {
        null => "NoneType",
        bool => "bool",
        BigInteger => "int",
        double => "float",
        string => "str",
        List<object?> => "list",
        JinjaTuple => "tuple",
        JinjaDict => "dict",
        byte[] => "bytes",
        JinjaUndefined => "Undefined",
        JinjaView { Kind: JinjaViewKind.Range } => "range",
        JinjaView { Kind: JinjaViewKind.Dict } view => view.Name,
        JinjaView => "generator",
        JinjaFunction => "function",
        _ => "Namespace",
    };

    public static object? From(JsonNode? node) => node switch
    {
        null => null,
        JsonArray list => list.Select(From).ToList(),
        JsonObject fields => Dict(fields.Select(f => ((object)f.Key, From(f.Value)))),
        _ => node.GetValueKind() switch
        {
            JsonValueKind.True => true,
            JsonValueKind.False => false,
            JsonValueKind.String => node.GetValue<string>(),
            _ => BigInteger.TryParse(node.ToJsonString(), NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out var n) ? n : double.Parse(node.ToJsonString(), CultureInfo.InvariantCulture),
        },
    };

    public static JinjaDict Dict(IEnumerable<(object Key, object? Value)> pairs)
    {
        var dict = new JinjaDict();
        foreach (var (key, value) in pairs) dict[key] = value;
        return dict;
    }

    public static bool IsTrue(object? value) => value switch
    {
        null or JinjaUndefined or "" or 0.0 => false,
        bool b => b,
        BigInteger n => !n.IsZero,
        List<object?> list => list.Count > 0,
        JinjaTuple tuple => tuple.Items.Count > 0,
        JinjaDict dict => dict.Count > 0,
        JinjaView { Kind: not JinjaViewKind.Generator } view => view.Items.Count > 0,
        _ => true,
    };

    /// <summary>A whole number, a truth value too.</summary>
    public static bool IsInteger(object? value, out BigInteger number)
    {
        number = value switch { BigInteger n => n, true => 1, _ => 0 };
        return value is BigInteger or bool;
    }

    /// <summary>Any number, a truth value too.</summary>
    public static bool IsNumber(object? value, out double number)
    {
        number = value is double d ? d : IsInteger(value, out var n) ? (double)n : 0;
        return value is double or BigInteger or bool;
    }

    public static bool Equal(object? a, object? b)
    {
        JinjaRun.Charge(a is string one && b is string other && one.Length == other.Length ? one.Length : 1);
        if (IsInteger(a, out var m) && IsInteger(b, out var n)) return m == n;
        if (IsNumber(a, out var x) && IsNumber(b, out var y)) return x == y;
        return (a, b) switch
        {
            (null, null) => true,
            (string s, string t) => s == t,
            (List<object?> s, List<object?> t) => s.Count == t.Count && s.Zip(t, Equal).All(e => e),
            (JinjaTuple s, JinjaTuple t) => s.Items.Count == t.Items.Count && s.Items.Zip(t.Items, Equal).All(e => e),
            (JinjaDict s, JinjaDict t) => s.Count == t.Count && s.All(p => t.TryGetValue(p.Key, out var other) && Equal(p.Value, other)),
            (JinjaUndefined, JinjaUndefined) => true,
            (byte[] s, byte[] t) => s.AsSpan().SequenceEqual(t),
            _ => ReferenceEquals(a, b),
        };
    }

    /// <summary>Below 0, 0, above 0.</summary>
    /// <exception cref="InvalidDataException">Python has no order of the two.</exception>
    public static int Compare(object? a, object? b)
    {
        JinjaRun.Charge(((a as string)?.Length ?? 1L) + ((b as string)?.Length ?? 1L));
        if (IsInteger(a, out var m) && IsInteger(b, out var n)) return m.CompareTo(n);
        if (IsNumber(a, out var x) && IsNumber(b, out var y)) return x.CompareTo(y);
        return (a, b) switch
        {
            (string s, string t) => CompareText(s, t),
            (List<object?> s, List<object?> t) => CompareItems(s, t),
            (JinjaTuple s, JinjaTuple t) => CompareItems(s.Items, t.Items),
            _ => throw new InvalidDataException($"Found a comparison of '{TypeName(a)}' with '{TypeName(b)}' in the chat template{Why(a) ?? Why(b)}. Expected two values that have an order."),
        };
    }

    private static string? Why(object? value) => value is JinjaUndefined u ? $" ({u.Why})" : null;

    // By code points, not by UTF-16 units.
    private static int CompareText(string a, string b)
    {
        var (x, y) = (PythonText.CodePoints(a), PythonText.CodePoints(b));
        return x.AsSpan().SequenceCompareTo(y);
    }

    private static int CompareItems(IReadOnlyList<object?> a, IReadOnlyList<object?> b)
    {
        for (var i = 0; i < Math.Min(a.Count, b.Count); i++)
            if (!Equal(a[i], b[i])) return Compare(a[i], b[i]);
        return a.Count.CompareTo(b.Count);
    }

    /// <summary>What a loop goes through.</summary>
    /// <exception cref="InvalidDataException">It cannot be walked through.</exception>
    public static IReadOnlyList<object?> Items(object? value)
    {
        JinjaRun.Charge(value is string letters ? letters.Length : 1);
        return ItemsOf(value);
    }

    private static IReadOnlyList<object?> ItemsOf(object? value) => value switch
    {
        List<object?> list => list,
        JinjaTuple tuple => tuple.Items,
        JinjaView view => view.Items,
        JinjaDict dict => [.. dict.Keys],
        string text => [.. PythonText.CodePoints(text).Select(p => PythonText.Text([p]))],
        JinjaUndefined => [],
        _ => throw new InvalidDataException($"Found '{TypeName(value)}' where the chat template goes through a list. Expected something with items."),
    };

    public static bool IsIterable(object? value) => value is List<object?> or JinjaTuple or JinjaView or JinjaDict or string;

    public static int Length(object? value) => value switch
    {
        string text => Letters(text),
        JinjaView { Kind: JinjaViewKind.Generator } or null or bool or BigInteger or double or JinjaFunction or JinjaNamespace => throw new InvalidDataException($"Found '{TypeName(value)}' where the chat template asks for a length. Expected text, a list or a mapping."),
        _ => Items(value).Count,
    };

    private static int Letters(string text)
    {
        JinjaRun.Charge(text.Length);
        return PythonText.CodePoints(text).Length;
    }

    /// <summary>str(value).</summary>
    public static string Str(object? value) => value switch { string text => text, JinjaUndefined => "", _ => Repr(value) };

    /// <summary>repr(value).</summary>
    public static string Repr(object? value)
    {
        JinjaRun.Charge(1);
        var text = ReprOf(value);
        JinjaRun.Charge(text.Length);   // of a list within a list once more, as it is copied once more
        return text;
    }

    private static string ReprOf(object? value) => value switch
    {
        null => "None",
        bool b => b ? "True" : "False",
        BigInteger n => n.ToString(CultureInfo.InvariantCulture),
        double d => Real(d),
        string text => Quoted(text),
        List<object?> list => $"[{Join(list)}]",
        JinjaTuple { Items: [var one] } => $"({Repr(one)},)",
        JinjaTuple tuple => $"({Join(tuple.Items)})",
        JinjaDict dict => $"{{{string.Join(", ", dict.Select(p => $"{Repr(p.Key)}: {Repr(p.Value)}"))}}}",
        JinjaView { Kind: JinjaViewKind.Dict } view => $"{view.Name}([{Join(view.Items)}])",
        JinjaView view => view.Name,
        byte[] bytes => "b" + Quoted(Encoding.Latin1.GetString(bytes)).Replace("\\u00", "\\x", StringComparison.Ordinal),
        JinjaUndefined => "Undefined",
        JinjaFunction function => $"<function {function.Name}>",
        JinjaNamespace space => $"<Namespace {Repr(space.Attributes)}>",
        _ => value.ToString() ?? "",
    };

    private static string Join(IEnumerable<object?> items) => string.Join(", ", items.Select(Repr));

    // The shortest digits that give the number back; exponents below -4 and from 16 on.
    private static string Real(double value)
    {
        if (!double.IsFinite(value)) return double.IsNaN(value) ? "nan" : value > 0 ? "inf" : "-inf";
        var sign = double.IsNegative(value) ? "-" : "";
        var shortest = Math.Abs(value).ToString("R", CultureInfo.InvariantCulture);
        var digits = shortest.Split('E')[0].Replace(".", "", StringComparison.Ordinal).TrimStart('0').TrimEnd('0');
        var exponent = value == 0 ? 0 : ExponentOf(shortest);
        if (digits.Length == 0) return sign + "0.0";
        if (exponent is < -4 or >= 16) return FormattableString.Invariant($"{sign}{digits[0]}{(digits.Length > 1 ? "." + digits[1..] : "")}e{(exponent < 0 ? '-' : '+')}{Math.Abs(exponent):00}");
        if (exponent < 0) return sign + "0." + new string('0', -exponent - 1) + digits;
        return digits.Length <= exponent + 1 ? sign + digits.PadRight(exponent + 1, '0') + ".0" : sign + digits[..(exponent + 1)] + "." + digits[(exponent + 1)..];
    }

    // Of the first digit that is not 0.
    private static int ExponentOf(string text)
    {
        var parts = text.Split('E');
        var exponent = parts.Length > 1 ? int.Parse(parts[1], CultureInfo.InvariantCulture) : 0;
        var point = parts[0].IndexOf('.', StringComparison.Ordinal) is >= 0 and var p ? p : parts[0].Length;
        var first = parts[0].AsSpan().IndexOfAnyInRange('1', '9');
        return exponent + (first < point ? point - first - 1 : point - first);
    }

    private static string Quoted(string text)
    {
        var quote = text.Contains('\'', StringComparison.Ordinal) && !text.Contains('"', StringComparison.Ordinal) ? '"' : '\'';
        var into = new StringBuilder().Append(quote);
        foreach (var point in PythonText.CodePoints(text))
        {
            if (point == quote || point == '\\') into.Append('\\').Append((char)point);
            else if (point is '\n' or '\r' or '\t') into.Append('\\').Append(point == '\n' ? 'n' : point == '\r' ? 'r' : 't');
            else if (IsPrintable(point)) into.Append(PythonText.Text([point]));
            else into.Append(point < 0x100 ? $"\\x{point:x2}" : point < 0x10000 ? $"\\u{point:x4}" : $"\\U{point:x8}");
        }
        return into.Append(quote).ToString();
    }

    private static bool IsPrintable(int point) => point == ' ' || !(CharUnicodeInfo.GetUnicodeCategory(point) is UnicodeCategory.Control or UnicodeCategory.Format or UnicodeCategory.Surrogate or UnicodeCategory.PrivateUse or UnicodeCategory.OtherNotAssigned or UnicodeCategory.LineSeparator or UnicodeCategory.ParagraphSeparator or UnicodeCategory.SpaceSeparator);

    /// <summary>json.dumps(value, …) of Python.</summary>
    /// <param name="value">What to write.</param>
    /// <param name="indent">Blanks a level; null: on one line.</param>
    /// <param name="between">Between two items.</param>
    /// <param name="behindKey">Between a key and its value.</param>
    /// <param name="asciiOnly">Whether other characters are escaped.</param>
    /// <param name="sorted">Whether keys are sorted.</param>
    /// <exception cref="InvalidDataException">Something that JSON has no word for.</exception>
    public static string Json(object? value, string? indent, string between, string behindKey, bool asciiOnly, bool sorted)
    {
        var into = new StringBuilder();
        void Line(int depth)
        {
            if (indent is null) return;
            JinjaRun.Charge((long)indent.Length * depth);
            into.Append('\n').Insert(into.Length, indent, depth);
        }
        void Many(char open, char close, int depth, IReadOnlyList<Action> items)
        {
            into.Append(open);
            for (var i = 0; i < items.Count; i++)
            {
                JinjaRun.Charge(between.Length);
                if (i > 0) into.Append(between);
                Line(depth + 1);
                items[i]();
            }
            if (items.Count > 0) Line(depth);
            into.Append(close);
        }
        void Write(object? v, int depth)
        {
            JinjaRun.Charge(v is string s0 ? s0.Length : 1);
            switch (v)
            {
                case null or bool: into.Append(v switch { null => "null", true => "true", _ => "false" }); break;
                case double d when !double.IsFinite(d): into.Append(double.IsNaN(d) ? "NaN" : d > 0 ? "Infinity" : "-Infinity"); break;
                case BigInteger or double: into.Append(Repr(v)); break;
                case string s: JsonText(s, asciiOnly, into); break;
                case List<object?> or JinjaTuple: Many('[', ']', depth, [.. Items(v).Select(item => (Action)(() => Write(item, depth + 1)))]); break;
                case JinjaDict dict:
                    var pairs = sorted ? dict.OrderBy(p => p.Key, Comparer<object>.Create(Compare)) : (IEnumerable<KeyValuePair<object, object?>>)dict;
                    Many('{', '}', depth, [.. pairs.Select(p => (Action)(() => { JsonText(p.Key is string k ? k : Json(p.Key, null, between, behindKey, asciiOnly, sorted), asciiOnly, into); into.Append(behindKey); JinjaRun.Charge(behindKey.Length); Write(p.Value, depth + 1); }))]);
                    break;
                default: throw new InvalidDataException($"Found '{TypeName(v)}' in the chat template where it writes JSON. Expected text, numbers, lists and mappings.");
            }
        }
        Write(value, 0);
        return into.ToString();
    }

    private static void JsonText(string text, bool asciiOnly, StringBuilder into)
    {
        into.Append('"');
        foreach (var c in text)
        {
            const string Plain = "\"\\\n\r\t\f\b", Letters = "\"\\nrtfb";
            if (Plain.IndexOf(c, StringComparison.Ordinal) is >= 0 and var known) into.Append('\\').Append(Letters[known]);
            else if (c < ' ' || (asciiOnly && c > '~')) into.Append($"\\u{(int)c:x4}");
            else into.Append(c);
        }
        into.Append('"');
    }
}
