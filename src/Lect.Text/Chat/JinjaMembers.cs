using System.Globalization;
using System.Numerics;
using System.Text;

namespace Lect.Text;

/// <summary>Python's operators.</summary>
internal static class JinjaOperators
{
    private const int MostBits = 4096;

    public static bool Compare(string name, object? left, object? right) => name switch
    {
        "==" => JinjaValues.Equal(left, right),
        "!=" => !JinjaValues.Equal(left, right),
        "<" => JinjaValues.Compare(left, right) < 0,
        "<=" => JinjaValues.Compare(left, right) <= 0,
        ">" => JinjaValues.Compare(left, right) > 0,
        ">=" => JinjaValues.Compare(left, right) >= 0,
        "in" => Contains(right, left),
        _ => !Contains(right, left),
    };

    public static bool Contains(object? list, object? item) => list switch
    {
        string text => item is string part ? text.Contains(part, StringComparison.Ordinal) : throw Refused("in", item, list),
        JinjaDict dict => item is not null && dict.ContainsKey(item),
        JinjaNamespace or null or bool or BigInteger or double => throw Refused("in", item, list),
        _ => JinjaValues.Items(list).Any(i => JinjaValues.Equal(i, item)),
    };

    public static object? Signed(bool isMinus, object? value)
    {
        if (value is double d) return isMinus ? -d : d;
        if (JinjaValues.IsInteger(value, out var n)) return isMinus ? -n : n;
        throw Refused(isMinus ? "-" : "+", null, value);
    }

    public static object? Apply(string name, object? left, object? right, JinjaRun run)
    {
        if (JinjaValues.IsInteger(left, out var m) && JinjaValues.IsInteger(right, out var n)) return Whole(name, m, n);
        if (JinjaValues.IsNumber(left, out var x) && JinjaValues.IsNumber(right, out var y)) return Real(name, x, y);
        return (name, left, right) switch
        {
            ("+", string a, string b) => Paid(run, a.Length + b.Length, () => a + b),
            ("+", List<object?> a, List<object?> b) => Paid(run, a.Count + b.Count, () => new List<object?>([.. a, .. b])),
            ("+", JinjaTuple a, JinjaTuple b) => Paid(run, a.Items.Count + b.Items.Count, () => new JinjaTuple([.. a.Items, .. b.Items])),
            ("*", string or List<object?> or JinjaTuple, BigInteger or bool) => Times(left, right, run),
            ("*", BigInteger or bool, string or List<object?> or JinjaTuple) => Times(right, left, run),
            ("%", string format, _) => Printf(format, right, run),
            _ => throw Refused(name, left, right),
        };
    }

    private static object? Paid(JinjaRun run, long units, Func<object?> value)
    {
        run.Spend(units);
        return value();
    }

    private static object Whole(string name, BigInteger m, BigInteger n)
    {
        if (n.IsZero && (name is "/" or "//" or "%")) throw new InvalidDataException("Found a division by zero in the chat template.");
        switch (name)
        {
            case "+": return m + n;
            case "-": return m - n;
            case "*": return m.GetBitLength() + n.GetBitLength() <= MostBits ? m * n : throw TooLarge();
            case "/": return (double)m / (double)n;
            case "//": return BigInteger.DivRem(m - Modulo(m, n), n).Quotient;
            case "%": return Modulo(m, n);
            default:
                if (n.Sign < 0) return Math.Pow((double)m, (double)n);
                return n * Math.Max(1, m.GetBitLength()) <= MostBits ? BigInteger.Pow(m, (int)n) : throw TooLarge();
        }
    }

    private static InvalidDataException TooLarge() => new($"Found a number of more than {MostBits} bits in the chat template. Expected a smaller one.");

    // Of the divisor's sign, as Python's.
    private static BigInteger Modulo(BigInteger m, BigInteger n) => BigInteger.Remainder(m, n) is var rest && !rest.IsZero && rest.Sign != n.Sign ? rest + n : rest;

    private static double Real(string name, double x, double y)
    {
        if (y == 0 && (name is "/" or "//" or "%")) throw new InvalidDataException("Found a division by zero in the chat template.");
        return name switch
        {
            "+" => x + y,
            "-" => x - y,
            "*" => x * y,
            "/" => x / y,
            "//" => Math.Floor(x / y),
            "%" => x - y * Math.Floor(x / y),
            _ => Math.Pow(x, y),
        };
    }

    private static object Times(object? many, object? count, JinjaRun run)
    {
        JinjaValues.IsInteger(count, out var n);
        if (n.Sign < 0) n = 0;
        run.Spend(n * JinjaValues.Length(many));
        if (many is string text) return new StringBuilder().Insert(0, text, (int)n).ToString();
        var items = Enumerable.Repeat(JinjaValues.Items(many), (int)n).SelectMany(i => i).ToList();
        return many is JinjaTuple ? new JinjaTuple(items) : items;
    }

    /// <summary>'…%s…' % values.</summary>
    public static string Printf(string format, object? values, JinjaRun run)
    {
        var given = values is JinjaTuple tuple ? tuple.Items : [values];
        var (text, used) = (new StringBuilder(), 0);
        for (var i = 0; i < format.Length; i++)
        {
            if (format[i] != '%') { text.Append(format[i]); continue; }
            if (i + 1 < format.Length && format[i + 1] == '%') { text.Append('%'); i++; continue; }
            var start = ++i;
            object? value;
            if (i < format.Length && format[i] == '(' && values is JinjaDict dict)
            {
                var end = format.IndexOf(')', i);
                if (end < 0) throw new InvalidDataException("Found '%(' without ')' in a format of the chat template. Expected a name between them.");
                value = dict.TryGetValue(format[(i + 1)..end], out var found) ? found : throw new InvalidDataException($"Found no '{format[(i + 1)..end]}' for a format of the chat template.");
                start = i = end + 1;
            }
            else value = used < given.Count ? given[used] : throw new InvalidDataException("Found too few values for a format in the chat template. Expected one for each %.");
            used++;
            while (i < format.Length && (char.IsAsciiDigit(format[i]) || format[i] is '-' or '+' or ' ' or '#' or '.')) i++;
            if (i >= format.Length) throw new InvalidDataException("Found a format that ends in '%' in the chat template. Expected %s, %d, %r, %f or %%.");
            var part = Directive(format[start..i], format[i], value);
            run.Spend(part.Length);
            text.Append(part);
        }
        if (values is JinjaTuple && used < given.Count) throw new InvalidDataException("Found more values than the format in the chat template has places.");
        return text.ToString();
    }

    private static string Directive(string flags, char kind, object? value)
    {
        var precision = flags.IndexOf('.', StringComparison.Ordinal) is >= 0 and var point ? (int.TryParse(flags[(point + 1)..], CultureInfo.InvariantCulture, out var p) ? p : 0) : -1;
        var widths = (precision < 0 ? flags : flags[..flags.IndexOf('.', StringComparison.Ordinal)]);
        var width = int.TryParse(widths.TrimStart('-', '+', ' ', '#'), CultureInfo.InvariantCulture, out var w) ? w : 0;
        if (width > 10000 || precision > 1000) throw new InvalidDataException($"Found a format '%{flags}{kind}' in the chat template. Expected a width of at most 10,000.");
        var isNumber = JinjaValues.IsNumber(value, out var number);
        var text = kind switch
        {
            's' => JinjaValues.Str(value),
            'r' => JinjaValues.Repr(value),
            'd' or 'i' when isNumber => (value is BigInteger big ? big : new BigInteger(Math.Truncate(number))).ToString(CultureInfo.InvariantCulture),
            'f' when isNumber => number.ToString("F" + (precision < 0 ? 6 : precision).ToString(CultureInfo.InvariantCulture), CultureInfo.InvariantCulture),
            'x' when value is BigInteger n => n.ToString("x", CultureInfo.InvariantCulture).TrimStart('0').PadLeft(1, '0'),
            _ => throw new InvalidDataException($"Found the format '%{kind}' for '{JinjaValues.TypeName(value)}' in the chat template. Expected %s, %r, %d, %f or %x and a value that fits."),
        };
        if (kind is 's' or 'r' && precision >= 0 && text.Length > precision) text = text[..precision];
        if (kind is not ('s' or 'r') && widths.Contains('+', StringComparison.Ordinal) && number >= 0) text = "+" + text;
        var pad = widths.TrimStart('-', '+', ' ', '#').StartsWith('0') && kind is not ('s' or 'r') ? '0' : ' ';
        return widths.Contains('-', StringComparison.Ordinal) ? text.PadRight(width) : text.PadLeft(width, pad);
    }

    private static InvalidDataException Refused(string name, object? left, object? right) =>
        new($"Found '{name}' between '{JinjaValues.TypeName(left)}' and '{JinjaValues.TypeName(right)}' in the chat template{Why(left)}{Why(right)}. Expected two values of a kind.");

    private static string Why(object? value) => value is JinjaUndefined undefined ? $" ({undefined.Why})" : "";
}

/// <summary>Items, attributes, slices and calls. Attributes that begin with an underscore or change a value are not there: the sandbox.</summary>
internal static class JinjaMembers
{
    /// <summary>of.name: an attribute, else an item.</summary>
    public static object? Attribute(object? of, string name, JinjaRun run) => Own(of, name, run) ?? Item(of, name);

    /// <summary>of[key]: an item, else an attribute.</summary>
    public static object? ItemOrAttribute(object? of, object? key, JinjaRun run) =>
        Item(of, key) is var item && item is JinjaUndefined && key is string name && of is not JinjaUndefined ? Own(of, name, run) ?? item : item;

    private static object? Own(object? of, string name, JinjaRun run) => of switch
    {
        JinjaUndefined undefined => throw Missing(undefined),
        JinjaNamespace space => space.Attributes.TryGetValue(name, out var value) ? value : null,
        JinjaLoop loop => loop[name],
        string text when !name.StartsWith('_') => JinjaMethods.OfText(text, name, run),
        JinjaDict dict => name switch
        {
            "keys" => new JinjaFunction(name, _ => new JinjaView([.. dict.Keys], "dict_keys", JinjaViewKind.Dict)),
            "values" => new JinjaFunction(name, _ => new JinjaView([.. dict.Values], "dict_values", JinjaViewKind.Dict)),
            "items" => new JinjaFunction(name, _ => Pairs(dict)),
            "get" => new JinjaFunction(name, a => a.At(0, "key") is { } key && dict.TryGetValue(key, out var value) ? value : a.At(1, "default")),
            "copy" => new JinjaFunction(name, _ => JinjaValues.Dict(dict.Select(p => (p.Key, p.Value)))),
            "update" or "pop" or "popitem" or "clear" or "setdefault" => new JinjaUndefined($"'{name}' changes the mapping, which a chat template may not"),
            _ => null,
        },
        List<object?> or JinjaTuple => name switch
        {
            "index" => new JinjaFunction(name, a => (BigInteger)(JinjaValues.Items(of).ToList().FindIndex(i => JinjaValues.Equal(i, a.At(0, "value"))) is >= 0 and var found ? found : throw new InvalidDataException("The chat template looks for an item that is not in the list."))),
            "count" => new JinjaFunction(name, a => (BigInteger)JinjaValues.Items(of).Count(i => JinjaValues.Equal(i, a.At(0, "value")))),
            _ => null,
        },
        _ => null,
    };

    public static JinjaView Pairs(JinjaDict dict) => new([.. dict.Select(p => new JinjaTuple([p.Key, p.Value]))], "dict_items", JinjaViewKind.Dict);

    /// <summary>of[key]; undefined where there is none.</summary>
    public static object? Item(object? of, object? key)
    {
        switch (of)
        {
            case JinjaUndefined undefined: throw Missing(undefined);
            case JinjaDict dict when key is not null: return dict.TryGetValue(key, out var value) ? value : new JinjaUndefined($"'dict object' has no attribute {JinjaValues.Repr(key)}");
            case JinjaNamespace space when key is string name: return space.Attributes.TryGetValue(name, out var attribute) ? attribute : new JinjaUndefined($"the namespace has no attribute '{name}'");
            case string or List<object?> or JinjaTuple or JinjaView { Kind: JinjaViewKind.Range } when JinjaValues.IsInteger(key, out var index):
                var items = JinjaValues.Items(of);
                if (index.Sign < 0) index += items.Count;
                return index.Sign >= 0 && index < items.Count ? items[(int)index] : new JinjaUndefined($"{JinjaValues.TypeName(of)} object has no element {key}");
            default: return new JinjaUndefined($"'{JinjaValues.TypeName(of)} object' has no attribute {JinjaValues.Repr(key)}");
        }
    }

    private static InvalidDataException Missing(JinjaUndefined undefined) => new($"The chat template asks for something that is not there: {undefined.Why}. Expected messages with what it reads.");

    /// <summary>of[start:stop:step].</summary>
    public static object Slice(object? of, object? start, object? stop, object? step)
    {
        if (of is not (string or List<object?> or JinjaTuple)) throw of is JinjaUndefined undefined ? Missing(undefined) : new InvalidDataException($"Found a slice of '{JinjaValues.TypeName(of)}' in the chat template. Expected text or a list.");
        var items = JinjaValues.Items(of);
        var by = step is null ? 1 : Whole(step);
        if (by == 0) throw new InvalidDataException("Found a slice with a step of 0 in the chat template. Expected another.");
        int Place(object? value, int otherwise)
        {
            if (value is null) return otherwise;
            var place = Whole(value) is var n && n < 0 ? n + items.Count : n;
            return (int)(by > 0 ? Math.Clamp(place, 0, items.Count) : Math.Clamp(place, -1, items.Count - 1));
        }
        var (from, to) = (Place(start, by > 0 ? 0 : items.Count - 1), Place(stop, by > 0 ? items.Count : -1));
        var chosen = new List<object?>();
        for (long i = from; by > 0 ? i < to : i > to; i += by) chosen.Add(items[(int)i]);
        return of switch { string => string.Concat(chosen), JinjaTuple => new JinjaTuple(chosen), _ => chosen };
    }

    private static long Whole(object value) => JinjaValues.IsInteger(value, out var n) ? (long)BigInteger.Max(int.MinValue, BigInteger.Min(int.MaxValue, n)) : throw new InvalidDataException($"Found '{JinjaValues.TypeName(value)}' in a slice of the chat template. Expected a whole number.");

    public static object? Call(object? function, JinjaArguments arguments) => function switch
    {
        JinjaFunction known => known.Call(arguments),
        JinjaLoop { Again: { } again } => again.Call(arguments),
        JinjaUndefined undefined => throw Missing(undefined),
        _ => throw new InvalidDataException($"Found the call of '{JinjaValues.TypeName(function)}' in the chat template. Expected a function or macro."),
    };
}

/// <summary>The methods of Python's text.</summary>
internal static class JinjaMethods
{
    /// <summary>A method; null where Python's text has none of that name.</summary>
    public static JinjaFunction? OfText(string text, string name, JinjaRun run)
    {
        Func<JinjaArguments, object?>? call = name switch
        {
            "upper" => _ => Upper(text),
            "lower" or "casefold" => _ => PythonText.Lower(text),
            "title" => _ => Title(text),
            "capitalize" => _ => Capitalize(text),
            "swapcase" => _ => string.Concat(text.Select(c => char.IsUpper(c) ? PythonText.Lower(c.ToString()) : Upper(c.ToString()))),
            "strip" => a => Strip(text, a, atStart: true, atEnd: true),
            "lstrip" => a => Strip(text, a, atStart: true, atEnd: false),
            "rstrip" => a => Strip(text, a, atStart: false, atEnd: true),
            "split" => a => Split(text, a.At(0, "sep") as string, a.Integer(1, "maxsplit", -1)),
            "rsplit" => a => SplitFromEnd(text, a.At(0, "sep") as string, a.Integer(1, "maxsplit", -1)),
            "splitlines" => a => Lines(text, a.Flag(0, "keepends")),
            "partition" => a => Partition(text, a.Text(0, "sep"), fromEnd: false),
            "rpartition" => a => Partition(text, a.Text(0, "sep"), fromEnd: true),
            "replace" => a => Replace(text, a.Text(0, "old"), a.Text(1, "new"), a.Integer(2, "count", -1), run),
            "startswith" => a => AnyOf(a, p => text.StartsWith(p, StringComparison.Ordinal)),
            "endswith" => a => AnyOf(a, p => text.EndsWith(p, StringComparison.Ordinal)),
            "removeprefix" => a => text.StartsWith(a.Text(0, "prefix"), StringComparison.Ordinal) ? text[a.Text(0, "prefix").Length..] : text,
            "removesuffix" => a => a.Text(0, "suffix") is { Length: > 0 } end && text.EndsWith(end, StringComparison.Ordinal) ? text[..^end.Length] : text,
            "find" => a => Place(text, text.IndexOf(a.Text(0, "sub"), StringComparison.Ordinal)),
            "rfind" => a => Place(text, text.LastIndexOf(a.Text(0, "sub"), StringComparison.Ordinal)),
            "index" => a => text.IndexOf(a.Text(0, "sub"), StringComparison.Ordinal) is >= 0 and var at ? Place(text, at) : throw new InvalidDataException($"The chat template looks for '{a.Text(0, "sub")}' in a text that has it not."),
            "count" => a => (BigInteger)(a.Text(0, "sub") is { Length: > 0 } part ? text.Split(part).Length - 1 : JinjaValues.Length(text) + 1),
            "join" => a => Join(JinjaValues.Items(a.At(0, "iterable")), text, run),
            "format" => a => Format(text, a, run),
            "isdigit" or "isnumeric" or "isdecimal" => _ => text.Length > 0 && text.All(char.IsDigit),
            "isalpha" => _ => text.Length > 0 && text.All(char.IsLetter),
            "isalnum" => _ => text.Length > 0 && text.All(char.IsLetterOrDigit),
            "isspace" => _ => text.Length > 0 && text.All(c => PythonText.IsSpace(c)),
            "isupper" => _ => text.Any(char.IsUpper) && !text.Any(char.IsLower),
            "islower" => _ => text.Any(char.IsLower) && !text.Any(char.IsUpper),
            "zfill" => a => Padded(text, a.Integer(0, "width"), run, (t, w) => t is ['-' or '+', ..] ? t[0] + t[1..].PadLeft(w - 1, '0') : t.PadLeft(w, '0')),
            "ljust" => a => Padded(text, a.Integer(0, "width"), run, (t, w) => t.PadRight(w, a.Text(1, "fillchar", " ")[0])),
            "rjust" => a => Padded(text, a.Integer(0, "width"), run, (t, w) => t.PadLeft(w, a.Text(1, "fillchar", " ")[0])),
            "center" => a => Padded(text, a.Integer(0, "width"), run, Centered),
            "encode" => _ => Encoding.UTF8.GetBytes(text),
            _ => null,
        };
        return call is null ? null : new(name, a => { run.Spend(text.Length); return call(a); });
    }

    private static BigInteger Place(string text, int at) => at < 0 ? -1 : PythonText.CodePoints(text[..at]).Length;

    private static bool AnyOf(JinjaArguments a, Func<string, bool> test) => a.At(0, "prefix") is JinjaTuple many ? many.Items.Any(p => p is string s && test(s)) : test(a.Text(0, "prefix"));

    // Characters whose capitals are several letters (Unicode's SpecialCasing.txt, without conditions and Greek with iota below).
    private static readonly Dictionary<char, string> s_capitals = new()
    {
        ['ß'] = "SS",
        ['ŉ'] = "ʼN",
        ['ǰ'] = "J̌",
        ['ΐ'] = "Ϊ́",
        ['ΰ'] = "Ϋ́",
        ['և'] = "ԵՒ",
        ['ẖ'] = "H̱",
        ['ẗ'] = "T̈",
        ['ẘ'] = "W̊",
        ['ẙ'] = "Y̊",
        ['ẚ'] = "Aʾ",
        ['ﬀ'] = "FF",
        ['ﬁ'] = "FI",
        ['ﬂ'] = "FL",
        ['ﬃ'] = "FFI",
        ['ﬄ'] = "FFL",
        ['ﬅ'] = "ST",
        ['ﬆ'] = "ST",
        ['ﬓ'] = "ՄՆ",
        ['ﬔ'] = "ՄԵ",
        ['ﬕ'] = "ՄԻ",
        ['ﬖ'] = "ՎՆ",
        ['ﬗ'] = "ՄԽ",
    };

    public static string Upper(string text)
    {
        var upper = text.ToUpperInvariant();
        if (!upper.Any(s_capitals.ContainsKey)) return upper;
        return string.Concat(upper.Select(c => s_capitals.TryGetValue(c, out var capital) ? capital : c.ToString()));
    }

    // The first letter's title case: of those that become several, all but the first stay small.
    private static string Titled(string letter) => s_capitals.TryGetValue(letter[0], out var capital) && char.IsLetter(capital[^1]) && letter[0] != 'ŉ' ? capital[..1] + PythonText.Lower(capital[1..]) : Upper(letter);

    public static string Capitalize(string text)
    {
        if (text.Length == 0) return text;
        var first = char.IsHighSurrogate(text[0]) && text.Length > 1 ? 2 : 1;
        return Titled(text[..first]) + PythonText.Lower(text[first..]);
    }

    private static string Title(string text)
    {
        var (into, isInWord) = (new StringBuilder(text.Length), false);
        foreach (var c in text)
        {
            var isCased = char.IsUpper(c) || char.IsLower(c);
            into.Append(!isCased ? c.ToString() : isInWord ? PythonText.Lower(c.ToString()) : Titled(c.ToString()));
            isInWord = isCased;
        }
        return into.ToString();
    }

    public static string Strip(string text, JinjaArguments a, bool atStart, bool atEnd)
    {
        var (start, end) = (0, text.Length);
        Func<char, bool> goes = a.At(0, "chars") is string set ? set.ToHashSet().Contains : c => PythonText.IsSpace(c);
        while (atEnd && end > start && goes(text[end - 1])) end--;
        while (atStart && start < end && goes(text[start])) start++;
        return text[start..end];
    }

    private static List<object?> Split(string text, string? by, int most)
    {
        if (by is { Length: > 0 }) return [.. most < 0 ? text.Split(by) : text.Split(by, most + 1)];
        if (by is not null) throw EmptySeparator();
        var parts = PythonText.Split(text);
        if (most < 0 || parts.Count <= most) return [.. parts];
        var at = 0;   // behind the pieces that are taken; the rest stays as it is
        foreach (var part in parts.Take(most)) at = text.IndexOf(part, at, StringComparison.Ordinal) + part.Length;
        return [.. parts.Take(most), text[text.IndexOf(parts[most], at, StringComparison.Ordinal)..]];
    }

    private static List<object?> SplitFromEnd(string text, string? by, int most)
    {
        if (most < 0 || by is null) return Split(text, by, by is null ? -1 : most);
        if (by.Length == 0) throw EmptySeparator();
        var parts = new List<object?>();
        for (var at = text.LastIndexOf(by, StringComparison.Ordinal); at >= 0 && parts.Count < most; at = text.LastIndexOf(by, StringComparison.Ordinal))
        {
            parts.Insert(0, text[(at + by.Length)..]);
            text = text[..at];
        }
        parts.Insert(0, text);
        return parts;
    }

    private static InvalidDataException EmptySeparator() => new("Found a text split at nothing in the chat template. Expected a separator.");

    private static readonly System.Buffers.SearchValues<char> s_lineEnds = System.Buffers.SearchValues.Create("\n\r\v\f\u001c\u001d\u001e\u0085\u2028\u2029");

    private static List<object?> Lines(string text, bool keepEnds)
    {
        var lines = new List<object?>();
        for (var start = 0; start < text.Length;)
        {
            var end = text.AsSpan(start).IndexOfAny(s_lineEnds) is >= 0 and var found ? start + found : text.Length;
            var next = end == text.Length ? end : text[end] == '\r' && end + 1 < text.Length && text[end + 1] == '\n' ? end + 2 : end + 1;
            lines.Add(text[start..(keepEnds ? next : end)]);
            start = next;
        }
        return lines;
    }

    private static JinjaTuple Partition(string text, string by, bool fromEnd)
    {
        if (by.Length == 0) throw EmptySeparator();
        var at = fromEnd ? text.LastIndexOf(by, StringComparison.Ordinal) : text.IndexOf(by, StringComparison.Ordinal);
        return new(at >= 0 ? [text[..at], by, text[(at + by.Length)..]] : fromEnd ? ["", "", text] : [text, "", ""]);
    }

    public static string Replace(string text, string old, string with, int most, JinjaRun run)
    {
        if (old.Length == 0) throw new InvalidDataException("Found a replacement of nothing in the chat template. Expected a text to replace.");
        var into = new StringBuilder();
        var start = 0;
        for (var at = text.IndexOf(old, StringComparison.Ordinal); at >= 0 && most != 0; at = text.IndexOf(old, start, StringComparison.Ordinal), most--)
        {
            run.Spend(at - start + with.Length);
            into.Append(text, start, at - start).Append(with);
            start = at + old.Length;
        }
        return into.Append(text, start, text.Length - start).ToString();
    }

    public static string Join(IEnumerable<object?> items, string between, JinjaRun run)
    {
        var parts = items.Select(item => item as string ?? throw new InvalidDataException($"Found '{JinjaValues.TypeName(item)}' in a list of texts that the chat template joins. Expected text.")).ToList();
        run.Spend(parts.Sum(p => (long)p.Length + between.Length));
        return string.Join(between, parts);
    }

    private static string Padded(string text, int width, JinjaRun run, Func<string, int, string> pad)
    {
        run.Spend(Math.Max(0, width));
        return pad(text, Math.Max(0, width));
    }

    /// <summary>str.center: where the blanks are odd, the left gets one more if the width is odd too.</summary>
    public static string Centered(string text, int width)
    {
        var room = width - text.Length;
        if (room <= 0) return text;
        var left = room / 2 + (room & width & 1);
        return new string(' ', left) + text + new string(' ', room - left);
    }

    // str.format with {}, {0} and {name}; nothing that reaches into a value.
    private static string Format(string text, JinjaArguments a, JinjaRun run)
    {
        var (into, next) = (new StringBuilder(), 0);
        for (var i = 0; i < text.Length; i++)
        {
            if (text[i] is '{' or '}' && i + 1 < text.Length && text[i + 1] == text[i]) { into.Append(text[i++]); continue; }
            if (text[i] != '{') { into.Append(text[i]); continue; }
            var end = text.IndexOf('}', i);
            if (end < 0) throw new InvalidDataException("Found '{' without '}' in a format of the chat template. Expected both.");
            var name = text[(i + 1)..end];
            var value = name.Length == 0 ? a.At(next++, "", Nothing) : int.TryParse(name, CultureInfo.InvariantCulture, out var place) ? a.At(place, "", Nothing) : a.Named.TryGetValue(name, out var named) ? named : Nothing;
            if (ReferenceEquals(value, Nothing)) throw new InvalidDataException($"Found '{{{name}}}' in a format of the chat template. Expected {{}}, a place or a name of a value that is given.");
            var part = JinjaValues.Str(value);
            run.Spend(part.Length);
            into.Append(part);
            i = end;
        }
        return into.ToString();
    }

    private static readonly object Nothing = new();
}
