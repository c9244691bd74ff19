using System.Globalization;
using System.Numerics;
using System.Text;

namespace Lect.Text;

/// <summary>The filters, tests and functions of Jinja 3.1, as far as they make text of values.</summary>
internal static class JinjaFilters
{
    /// <summary>A filter: value, arguments, rendering.</summary>
    internal delegate object? Filter(object? value, JinjaArguments arguments, JinjaRun run);

    /// <summary>A test: value, arguments.</summary>
    internal delegate bool Test(object? value, JinjaArguments arguments);

    /// <summary>A filter by its name, which is charged for the text that it reads and makes; null: there is none.</summary>
    public static Filter? Find(string name) => !s_filters.TryGetValue(name, out var filter) ? null : (value, arguments, run) =>
    {
        run.Spend((value as string)?.Length ?? 1);
        var made = filter(value, arguments, run);
        run.Spend((made as string)?.Length ?? 1);
        return made;
    };

    public static Test? FindTest(string name) => s_tests.GetValueOrDefault(name);

    private static readonly Dictionary<string, Filter> s_filters = new(StringComparer.Ordinal)
    {
        ["abs"] = (v, _, _) => v switch { double d => Math.Abs(d), _ when JinjaValues.IsInteger(v, out var n) => BigInteger.Abs(n), _ => throw Refused("abs", v) },
        ["attr"] = (v, a, run) => JinjaMembers.Attribute(v, a.Text(0, "name"), run),
        ["batch"] = (v, a, _) => Lazy(Batch(JinjaValues.Items(v), a)),
        ["capitalize"] = (v, _, _) => JinjaMethods.Capitalize(JinjaValues.Str(v)),
        ["center"] = (v, a, run) => Spent(run, a.Integer(0, "width", 80), () => JinjaMethods.Centered(JinjaValues.Str(v), a.Integer(0, "width", 80))),
        ["count"] = (v, _, _) => (BigInteger)JinjaValues.Length(v),
        ["d"] = Default,
        ["default"] = Default,
        ["dictsort"] = (v, a, _) => DictSort(v, a),
        ["e"] = (v, _, _) => Escape(JinjaValues.Str(v)),
        ["escape"] = (v, _, _) => Escape(JinjaValues.Str(v)),
        ["first"] = (v, _, _) => JinjaValues.Items(v) is [var first, ..] ? first : new JinjaUndefined("No first item, sequence was empty."),
        ["float"] = (v, a, run) => JinjaValues.IsNumber(v, out var d) ? d : v is string s && double.TryParse(s, NumberStyles.Float, CultureInfo.InvariantCulture, out var x) ? x : a.At(0, "default", 0.0),
        ["format"] = (v, a, run) => JinjaOperators.Printf(JinjaValues.Str(v), a.Named.Count > 0 ? JinjaValues.Dict(a.Named.Select(n => ((object)n.Key, n.Value))) : new JinjaTuple(a.Positional), run),
        ["groupby"] = (v, a, run) => GroupBy(v, a, run),
        ["indent"] = Indent,
        ["int"] = (v, a, _) => Whole(v) ?? a.At(0, "default", (BigInteger)0),
        ["items"] = (v, _, _) => v switch { JinjaDict dict => Lazy(JinjaMembers.Pairs(dict).Items), JinjaUndefined => Lazy([]), _ => throw Refused("items", v) },
        ["join"] = Join,
        ["last"] = (v, _, _) => JinjaValues.Items(v) is [.., var last] ? last : new JinjaUndefined("No last item, sequence was empty."),
        ["length"] = (v, _, _) => (BigInteger)JinjaValues.Length(v),
        ["list"] = (v, _, run) => Spent(run, JinjaValues.Items(v).Count, () => JinjaValues.Items(v).ToList()),
        ["lower"] = (v, _, _) => PythonText.Lower(JinjaValues.Str(v)),
        ["map"] = (v, a, run) => Lazy(Map(JinjaValues.Items(v), a, run)),
        ["max"] = (v, a, run) => Extreme(v, a, run, isMax: true),
        ["min"] = (v, a, run) => Extreme(v, a, run, isMax: false),
        ["pprint"] = (v, _, _) => JinjaValues.Repr(v),
        ["random"] = (v, _, run) => JinjaValues.Items(v) is { Count: > 0 } items ? items[(int)((uint)HashCode.Combine(items.Count, run.Now) % (uint)items.Count)] : new JinjaUndefined("No random item, sequence was empty."),
        ["reject"] = (v, a, _) => Lazy(Select(JinjaValues.Items(v), a, keeps: false)),
        ["rejectattr"] = (v, a, run) => Lazy(SelectAttribute(JinjaValues.Items(v), a, run, keeps: false)),
        ["replace"] = (v, a, run) => JinjaMethods.Replace(JinjaValues.Str(v), JinjaValues.Str(a.At(0, "old")), JinjaValues.Str(a.At(1, "new")), a.At(2, "count") is null ? -1 : a.Integer(2, "count"), run),
        ["reverse"] = (v, _, _) => v is string ? string.Concat(JinjaValues.Items(v).Reverse()) : Lazy([.. JinjaValues.Items(v).Reverse()]),
        ["round"] = (v, a, run) => JinjaValues.IsNumber(v, out var d) ? Round(d, a.Integer(0, "precision"), a.Text(1, "method", "common")) : throw Refused("round", v),
        ["safe"] = (v, _, _) => JinjaValues.Str(v),
        ["select"] = (v, a, _) => Lazy(Select(JinjaValues.Items(v), a, keeps: true)),
        ["selectattr"] = (v, a, run) => Lazy(SelectAttribute(JinjaValues.Items(v), a, run, keeps: true)),
        ["slice"] = (v, a, run) => Lazy(Slices(JinjaValues.Items(v), a, run)),
        ["sort"] = (v, a, run) => Sorted(JinjaValues.Items(v), a.At(2, "attribute"), a.Flag(1, "case_sensitive"), a.Flag(0, "reverse"), run),
        ["string"] = (v, _, _) => JinjaValues.Str(v),
        ["striptags"] = (v, _, _) => string.Join(' ', PythonText.Split(StripTags(JinjaValues.Str(v)))),
        ["sum"] = Sum,
        ["title"] = (v, _, _) => Title(JinjaValues.Str(v)),
        ["tojson"] = ToJson,
        ["trim"] = (v, a, _) => JinjaMethods.Strip(JinjaValues.Str(v), a, atStart: true, atEnd: true),
        ["truncate"] = (v, a, _) => Truncate(JinjaValues.Str(v), a.Integer(0, "length", 255), a.Flag(1, "killwords"), a.Text(2, "end", "..."), a.At(3, "leeway") is null ? 5 : a.Integer(3, "leeway")),
        ["unique"] = (v, a, run) => Lazy(Unique(JinjaValues.Items(v), a, run)),
        ["upper"] = (v, _, _) => JinjaMethods.Upper(JinjaValues.Str(v)),
        ["urlencode"] = (v, _, _) => Uri.EscapeDataString(JinjaValues.Str(v)).Replace("%2F", "/", StringComparison.Ordinal),
        ["wordcount"] = (v, _, _) => (BigInteger)JinjaValues.Str(v).Split([.. " \n\t.,;:!?()[]{}'\"-/"], StringSplitOptions.RemoveEmptyEntries).Length,
    };

    private static readonly Dictionary<string, Test> s_tests = new(StringComparer.Ordinal)
    {
        ["defined"] = (v, _) => v is not JinjaUndefined,
        ["undefined"] = (v, _) => v is JinjaUndefined,
        ["none"] = (v, _) => v is null,
        ["true"] = (v, _) => v is true,
        ["false"] = (v, _) => v is false,
        ["boolean"] = (v, _) => v is bool,
        ["integer"] = (v, _) => v is BigInteger,
        ["float"] = (v, _) => v is double,
        ["number"] = (v, a) => JinjaValues.IsNumber(v, out var d),
        ["string"] = (v, _) => v is string,
        ["mapping"] = (v, _) => v is JinjaDict,
        ["iterable"] = (v, _) => JinjaValues.IsIterable(v) || v is JinjaUndefined,
        ["sequence"] = (v, _) => v is string or List<object?> or JinjaTuple or JinjaDict or JinjaView { Kind: JinjaViewKind.Range } or JinjaUndefined,
        ["callable"] = (v, _) => v is JinjaFunction or JinjaLoop { Again: not null },
        ["odd"] = (v, _) => JinjaValues.IsInteger(v, out var n) ? !n.IsEven : throw Refused("odd", v),
        ["even"] = (v, _) => JinjaValues.IsInteger(v, out var n) ? n.IsEven : throw Refused("even", v),
        ["divisibleby"] = (v, a) => JinjaValues.IsInteger(v, out var n) && a.Integer(0, "num") is var by && by != 0 ? (n % by).IsZero : throw Refused("divisibleby", v),
        ["lower"] = (v, _) => JinjaValues.Str(v) is var s && s.Any(char.IsLower) && !s.Any(char.IsUpper),
        ["upper"] = (v, _) => JinjaValues.Str(v) is var s && s.Any(char.IsUpper) && !s.Any(char.IsLower),
        ["sameas"] = (v, a) => a.At(0, "other") is var other && (v is bool or null || other is bool or null ? Equals(v, other) : ReferenceEquals(v, other) || (v is string or BigInteger && v.Equals(other))),
        ["in"] = (v, a) => JinjaOperators.Contains(a.At(0, "seq"), v),
        ["filter"] = (v, _) => v is string name && s_filters.ContainsKey(name),
        ["test"] = (v, _) => v is string name && s_tests!.ContainsKey(name),
        ["escaped"] = (_, _) => false,
        ["eq"] = Comparing("=="),
        ["equalto"] = Comparing("=="),
        ["=="] = Comparing("=="),
        ["ne"] = Comparing("!="),
        ["!="] = Comparing("!="),
        ["gt"] = Comparing(">"),
        ["greaterthan"] = Comparing(">"),
        [">"] = Comparing(">"),
        ["ge"] = Comparing(">="),
        [">="] = Comparing(">="),
        ["lt"] = Comparing("<"),
        ["lessthan"] = Comparing("<"),
        ["<"] = Comparing("<"),
        ["le"] = Comparing("<="),
        ["<="] = Comparing("<="),
    };

    private static Test Comparing(string name) => (v, a) => JinjaOperators.Compare(name, v, a.At(0, "other"));

    private static InvalidDataException Refused(string filter, object? value) => new($"Found '{JinjaValues.TypeName(value)}' for '{filter}' in the chat template. Expected a value that it works on.");

    private static JinjaView Lazy(IReadOnlyList<object?> items) => new(items, "<generator object>", JinjaViewKind.Generator);

    private static object? Spent(JinjaRun run, int units, Func<object?> value)
    {
        run.Spend(Math.Max(0, units));
        return value();
    }

    private static object? Default(object? value, JinjaArguments a, JinjaRun run) => value is JinjaUndefined || (a.Flag(1, "boolean") && !JinjaValues.IsTrue(value)) ? a.At(0, "default_value", "") : value;

    private static string Join(object? value, JinjaArguments a, JinjaRun run)
    {
        var items = JinjaValues.Items(value);
        if (a.At(1, "attribute") is { } attribute) items = [.. items.Select(i => Attribute(i, attribute))];
        return JinjaMethods.Join(items.Select(i => (object?)JinjaValues.Str(i)), JinjaValues.Str(a.At(0, "d", "")), run);
    }

    // Attributes of filters are paths of items: 'c.d', '0'.
    private static object? Attribute(object? of, object? path)
    {
        if (path is not string text) return JinjaMembers.Item(of, path);
        foreach (var part in text.Split('.')) of = JinjaMembers.Item(of, BigInteger.TryParse(part, NumberStyles.None, CultureInfo.InvariantCulture, out var n) ? n : part);
        return of;
    }

    private static List<object?> Map(IReadOnlyList<object?> items, JinjaArguments a, JinjaRun run)
    {
        run.Spend(items.Count);
        if (a.Named.TryGetValue("attribute", out var attribute))
            return [.. items.Select(i => Attribute(i, attribute) is var found && found is JinjaUndefined && a.Named.TryGetValue("default", out var other) ? other : found)];
        var filter = Find(a.Text(0, "filter")) ?? throw new InvalidDataException($"Found the filter '{a.Text(0, "filter")}' in the chat template. Expected one of Jinja's.");
        var rest = a with { Positional = [.. a.Positional.Skip(1)] };
        return [.. items.Select(i => filter(i, rest, run))];
    }

    private static Func<object?, bool> TestOf(JinjaArguments a, int place)
    {
        if (a.Positional.Count <= place) return JinjaValues.IsTrue;
        var name = a.Text(place, "test");
        var test = FindTest(name) ?? throw new InvalidDataException($"Found the test '{name}' in the chat template. Expected one of Jinja's.");
        var rest = a with { Positional = [.. a.Positional.Skip(place + 1)] };
        return v => test(v, rest);
    }

    private static List<object?> Select(IReadOnlyList<object?> items, JinjaArguments a, bool keeps)
    {
        var test = TestOf(a, 0);
        return [.. items.Where(i => test(i) == keeps)];
    }

    private static List<object?> SelectAttribute(IReadOnlyList<object?> items, JinjaArguments a, JinjaRun run, bool keeps)
    {
        run.Spend(items.Count);
        var test = TestOf(a, 1);
        return [.. items.Where(i => test(Attribute(i, a.At(0, "attribute"))) == keeps)];
    }

    private static object? Folded(object? value, bool caseSensitive)
    {
        if (value is not string text || caseSensitive) return value;
        JinjaRun.Charge(text.Length);
        return PythonText.Lower(text);
    }

    private static List<object?> Sorted(IEnumerable<object?> items, object? attribute, bool caseSensitive, bool reverse, JinjaRun run)
    {
        var keyed = items.Select(i => (Key: Folded(attribute is null ? i : Attribute(i, attribute), caseSensitive), Item: i)).ToList();
        run.Spend(keyed.Count * 16L);
        return [.. InOrder(keyed, k => k.Key, reverse).Select(k => k.Item)];
    }

    // Equal ones stay as they are, whichever way; .NET wraps what a comparison throws.
    private static List<T> InOrder<T>(IEnumerable<T> items, Func<T, object?> key, bool reverse)
    {
        var order = Comparer<object?>.Create(JinjaValues.Compare);
        try { return [.. reverse ? items.OrderByDescending(key, order) : items.OrderBy(key, order)]; }
        catch (InvalidOperationException e) when (e.InnerException is InvalidDataException inner) { throw new InvalidDataException(inner.Message, e); }
    }

    private static object? Extreme(object? value, JinjaArguments a, JinjaRun run, bool isMax) =>
        Sorted(JinjaValues.Items(value), a.At(1, "attribute"), a.Flag(0, "case_sensitive"), isMax, run) is [var first, ..] ? first : new JinjaUndefined("No aggregated item, sequence was empty.");

    private static List<object?> Unique(IReadOnlyList<object?> items, JinjaArguments a, JinjaRun run)
    {
        run.Spend(items.Count);
        var (seen, kept) = (new JinjaDict(), new List<object?>());
        foreach (var item in items)
            if (seen.TryAdd(Folded(a.At(1, "attribute") is { } attribute ? Attribute(item, attribute) : item, a.Flag(0, "case_sensitive")) ?? new JinjaTuple([null]), null)) kept.Add(item);
        return kept;
    }

    private static List<object?> GroupBy(object? value, JinjaArguments a, JinjaRun run)
    {
        var attribute = a.At(0, "attribute");
        var groups = new List<object?>();
        (object? Key, List<object?> Items) open = (null, []);
        foreach (var item in Sorted(JinjaValues.Items(value), attribute, a.Flag(2, "case_sensitive"), reverse: false, run))
        {
            var key = Attribute(item, attribute);
            if (open.Items.Count == 0 || !JinjaValues.Equal(Folded(open.Key, a.Flag(2, "case_sensitive")), Folded(key, a.Flag(2, "case_sensitive")))) groups.Add(new JinjaTuple([key, (open = (key, [])).Items]));
            open.Items.Add(item);
        }
        return groups;
    }

    private static List<object?> DictSort(object? value, JinjaArguments a)
    {
        if (value is not JinjaDict dict) throw Refused("dictsort", value);
        var (caseSensitive, byValue, reverse) = (a.Flag(0, "case_sensitive"), a.Text(1, "by", "key") == "value", a.Flag(2, "reverse"));
        return [.. InOrder(dict, p => Folded(byValue ? p.Value : p.Key, caseSensitive), reverse).Select(p => new JinjaTuple([p.Key, p.Value]))];
    }

    private static List<object?> Batch(IReadOnlyList<object?> items, JinjaArguments a)
    {
        var (size, batches) = (Math.Max(1, a.Integer(0, "linecount", 1)), new List<object?>());
        for (var at = 0; at < items.Count; at += size) batches.Add(items.Skip(at).Take(size).ToList());
        if (a.At(1, "fill_with") is { } fill && batches.Count > 0 && batches[^1] is List<object?> last) last.AddRange(Enumerable.Repeat<object?>(fill, Math.Min(10000, size) - last.Count));
        return batches;
    }

    private static List<object?> Slices(IReadOnlyList<object?> items, JinjaArguments a, JinjaRun run)
    {
        var count = Math.Max(1, a.Integer(0, "slices", 1));
        run.Spend(count);
        var (each, more, slices, at) = (items.Count / count, items.Count % count, new List<object?>(), 0);
        for (var i = 0; i < count; i++)
        {
            var size = each + (i < more ? 1 : 0);
            var slice = items.Skip(at).Take(size).ToList();
            if (i >= more && a.At(1, "fill_with") is { } fill) slice.Add(fill);
            slices.Add(slice);
            at += size;
        }
        return slices;
    }

    private static object? Sum(object? value, JinjaArguments a, JinjaRun run)
    {
        var sum = a.At(1, "start", (BigInteger)0);
        foreach (var item in JinjaValues.Items(value)) sum = JinjaOperators.Apply("+", sum, a.At(0, "attribute") is { } attribute ? Attribute(item, attribute) : item, run);
        return sum;
    }

    private static BigInteger? Whole(object? value) => value switch
    {
        double d when double.IsFinite(d) => new BigInteger(Math.Truncate(d)),
        string { Length: > 4300 } => null,   // Python reads no more digits
        string s when BigInteger.TryParse(PythonText.Trim(s), NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out var n) => n,
        string s when double.TryParse(s, NumberStyles.Float, CultureInfo.InvariantCulture, out var d) && double.IsFinite(d) => new BigInteger(Math.Truncate(d)),
        _ => JinjaValues.IsInteger(value, out var n) ? n : null,
    };

    // Of two neighbours that are as near, the even one, as Python.
    private static double Round(double value, int digits, string method)
    {
        if (digits is < -300 or > 15) throw new InvalidDataException($"Found a rounding to {digits} digits in the chat template. Expected at most 15.");
        var power = Math.Pow(10, digits);
        if (method == "ceil") return Math.Ceiling(value * power) / power;
        if (method == "floor") return Math.Floor(value * power) / power;
        if (method != "common") throw new InvalidDataException($"Found the rounding '{method}' in the chat template. Expected common, ceil or floor.");
        var isTie = Math.Abs(value * power % 1) == 0.5 && value * power / power == value && digits <= 0;
        return isTie || digits < 0 ? Math.Round(value * power, MidpointRounding.ToEven) / power : double.Parse(value.ToString("F" + digits.ToString(CultureInfo.InvariantCulture), CultureInfo.InvariantCulture), CultureInfo.InvariantCulture);
    }

    private static string Indent(object? value, JinjaArguments a, JinjaRun run)
    {
        var by = a.At(0, "width", (BigInteger)4) is string text ? text : new string(' ', Math.Clamp(a.Integer(0, "width", 4), 0, 1000));
        var (first, blank) = (a.Flag(1, "first"), a.Flag(2, "blank"));
        var lines = JinjaValues.Str(value).Split('\n');
        run.Spend((long)lines.Length * by.Length);
        return string.Join('\n', lines.Select((line, i) => (i > 0 ? line.Length > 0 || blank : first) ? by + line : line));
    }

    private static string Escape(string text) => text.Replace("&", "&amp;", StringComparison.Ordinal).Replace("<", "&lt;", StringComparison.Ordinal).Replace(">", "&gt;", StringComparison.Ordinal).Replace("'", "&#39;", StringComparison.Ordinal).Replace("\"", "&#34;", StringComparison.Ordinal);

    private static string StripTags(string text)
    {
        var into = new StringBuilder();
        for (var i = 0; i < text.Length; i++)
        {
            var end = text[i] == '<' ? text.IndexOf('>', i) : -1;
            if (end >= 0) i = end;
            else into.Append(text[i]);
        }
        return into.ToString();
    }

    // Jinja's own: a word begins behind a blank, hyphen or bracket.
    private static string Title(string text)
    {
        var into = new StringBuilder(text.Length);
        for (var start = 0; start < text.Length;)
        {
            var end = start;
            while (end < text.Length && !(PythonText.IsSpace(text[end]) || text[end] is '-' or '(' or '{' or '[' or '<')) end++;
            into.Append(JinjaMethods.Capitalize(text[start..end]));
            while (end < text.Length && (PythonText.IsSpace(text[end]) || text[end] is '-' or '(' or '{' or '[' or '<')) into.Append(text[end++]);
            start = end;
        }
        return into.ToString();
    }

    private static string Truncate(string text, int length, bool cutsWords, string end, int leeway)
    {
        if (text.Length <= length + leeway) return text;
        var kept = text[..Math.Max(0, length - end.Length)];
        if (cutsWords) return kept + end;
        return (kept.LastIndexOf(' ') is >= 0 and var at ? kept[..at] : kept) + end;
    }

    private static string ToJson(object? value, JinjaArguments a, JinjaRun run)
    {
        var indent = a.Named.GetValueOrDefault("indent") ?? a.At(1, "indent");
        var blanks = indent switch { null => null, string { Length: <= 1000 } text => text, string => throw Refused("indent", indent), _ => new string(' ', Math.Clamp(indent is BigInteger n && n < 1000 ? (int)n : 1000, 0, 1000)) };
        var (between, behindKey) = (blanks is null ? ", " : ",", ": ");
        if ((a.Named.GetValueOrDefault("separators") ?? a.At(2, "separators")) is { } separators) (between, behindKey) = JinjaValues.Items(separators) is [string x, string y] ? (x, y) : throw Refused("separators", separators);
        var json = JinjaValues.Json(value, blanks, between, behindKey, a.Flag(0, "ensure_ascii"), a.Flag(3, "sort_keys"));
        run.Spend(json.Length);
        return json;
    }

    /// <summary>The functions that every template has.</summary>
    public static void Define(JinjaScope scope)
    {
        var run = scope.Run;
        scope["range"] = new JinjaFunction("range", a => Range(a, run));
        scope["dict"] = new JinjaFunction("dict", a => JinjaValues.Dict([.. a.Positional.SelectMany(Pairs), .. a.Named.Select(n => ((object)n.Key, n.Value))]));
        scope["namespace"] = new JinjaFunction("namespace", a => new JinjaNamespace(JinjaValues.Dict([.. a.Positional.SelectMany(Pairs), .. a.Named.Select(n => ((object)n.Key, n.Value))])));
        scope["raise_exception"] = new JinjaFunction("raise_exception", a => throw new InvalidDataException(JinjaValues.Str(a.At(0, "message", ""))));
        scope["strftime_now"] = new JinjaFunction("strftime_now", a => Time(a.Text(0, "format"), run.Now));
        scope["lipsum"] = new JinjaFunction("lipsum", _ => throw new InvalidDataException("Found lipsum() in the chat template. Expected no filler text."));
        scope["joiner"] = new JinjaFunction("joiner", a =>
        {
            var isFirst = true;
            return new JinjaFunction("joiner", _ =>
            {
                if (!isFirst) return a.At(0, "sep", ", ");
                isFirst = false;
                return "";
            });
        });
        scope["cycler"] = new JinjaFunction("cycler", a =>
        {
            var at = 0;
            if (a.Positional.Count == 0) throw new InvalidDataException("Found cycler() without items in the chat template. Expected some.");
            var space = new JinjaNamespace([]);
            space.Attributes["current"] = a.Positional[0];
            void To(int place) => space.Attributes["current"] = a.Positional[at = place % a.Positional.Count];
            space.Attributes["next"] = new JinjaFunction("next", _ => { var item = a.Positional[at]; To(at + 1); return item; });
            space.Attributes["reset"] = new JinjaFunction("reset", _ => { To(0); return null; });
            return space;
        });
    }

    private static IEnumerable<(object, object?)> Pairs(object? value) => value is JinjaDict dict ? dict.Select(p => (p.Key, p.Value)) : JinjaValues.Items(value).Select(i => JinjaValues.Items(i) is [{ } key, var item] ? (key, item) : throw new InvalidDataException("Found something else than pairs of a key and a value in the chat template. Expected pairs."));

    private static JinjaView Range(JinjaArguments a, JinjaRun run)
    {
        const int Longest = 100_000;
        var one = a.Positional.Count < 2;
        var (start, stop, step) = (one ? 0 : a.Integer(0, "start"), one ? a.Integer(0, "stop") : a.Integer(1, "stop"), a.Positional.Count > 2 ? a.Integer(2, "step") : 1);
        if (step == 0) throw new InvalidDataException("Found range() with a step of 0 in the chat template. Expected another.");
        var count = Math.Max(0, ((long)stop - start + step - Math.Sign(step)) / step);
        if (count > Longest) throw new InvalidDataException($"Found a range of {count:N0} numbers in the chat template. Expected at most {Longest:N0}.");
        run.Spend(count);
        return new([.. Enumerable.Range(0, (int)count).Select(i => (object?)(BigInteger)(start + (long)i * step))], step == 1 ? $"range({start}, {stop})" : $"range({start}, {stop}, {step})", JinjaViewKind.Range);
    }

    // time.strftime's directives, in English.
    private static string Time(string format, DateTime now)
    {
        var text = new StringBuilder();
        for (var i = 0; i < format.Length; i++)
        {
            if (format[i] != '%' || i + 1 >= format.Length) { text.Append(format[i]); continue; }
            var isBare = format[++i] == '-' && i + 1 < format.Length;
            if (isBare) i++;
            string Number(int value, int width) => value.ToString(CultureInfo.InvariantCulture).PadLeft(isBare ? 1 : width, '0');
            text.Append(format[i] switch
            {
                'Y' => now.Year.ToString("0000", CultureInfo.InvariantCulture),
                'y' => Number(now.Year % 100, 2),
                'm' => Number(now.Month, 2),
                'd' => Number(now.Day, 2),
                'e' => now.Day.ToString(CultureInfo.InvariantCulture).PadLeft(2),
                'H' => Number(now.Hour, 2),
                'I' => Number((now.Hour + 11) % 12 + 1, 2),
                'M' => Number(now.Minute, 2),
                'S' => Number(now.Second, 2),
                'f' => now.ToString("ffffff", CultureInfo.InvariantCulture),
                'j' => Number(now.DayOfYear, 3),
                'p' => now.Hour < 12 ? "AM" : "PM",
                'A' => now.ToString("dddd", CultureInfo.InvariantCulture),
                'a' => now.ToString("ddd", CultureInfo.InvariantCulture),
                'B' => now.ToString("MMMM", CultureInfo.InvariantCulture),
                'b' or 'h' => now.ToString("MMM", CultureInfo.InvariantCulture),
                'w' => Number((int)now.DayOfWeek, 1),
                'u' => Number(now.DayOfWeek == DayOfWeek.Sunday ? 7 : (int)now.DayOfWeek, 1),
                'F' => now.ToString("yyyy-MM-dd", CultureInfo.InvariantCulture),
                'T' => now.ToString("HH:mm:ss", CultureInfo.InvariantCulture),
                'D' => now.ToString("MM/dd/yy", CultureInfo.InvariantCulture),
                '%' => "%",
                var other => throw new InvalidDataException($"Found the time format '%{other}' in the chat template. Expected a directive of strftime such as %Y, %m, %d, %B, %H or %M."),
            });
        }
        return text.ToString();
    }
}
