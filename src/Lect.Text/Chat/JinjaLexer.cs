// Jinja 3.1's lexer as Hugging Face sets it up: trim_blocks, lstrip_blocks, one final line end dropped.
using System.Globalization;
using System.Numerics;
using System.Text;

namespace Lect.Text;

/// <summary>What a piece of a template is.</summary>
internal enum JinjaKind
{
    /// <summary>Text between tags.</summary>
    Data,
    /// <summary>The bracket that opens a tag, <c>{{</c> or <c>{%</c>.</summary>
    Open,
    /// <summary>The bracket that closes it.</summary>
    Close,
    /// <summary>A name or keyword.</summary>
    Name,
    /// <summary>A string without its quotes, escapes resolved.</summary>
    Text,
    /// <summary>A whole or real number.</summary>
    Number,
    /// <summary>An operator or bracket.</summary>
    Operator,
    /// <summary>Behind the last piece.</summary>
    End,
}

/// <summary>A piece of a template.</summary>
/// <param name="Kind">What it is.</param>
/// <param name="Text">As it stands; a string without quotes.</param>
/// <param name="Value">A number's value.</param>
/// <param name="Line">Where, from 1.</param>
internal readonly record struct JinjaToken(JinjaKind Kind, string Text, object? Value, int Line)
{
    public bool Is(JinjaKind kind, string text) => Kind == kind && Text == text;

    public override string ToString() => Kind switch { JinjaKind.End => "the template's end", JinjaKind.Data => "text", _ => $"'{Text}'" };
}

/// <summary>Cuts a template into pieces.</summary>
internal sealed class JinjaLexer
{
    private static readonly string[] s_operators = ["**", "//", "==", "!=", "<=", ">=", "+", "-", "*", "/", "%", "~", "<", ">", "=", "(", ")", "[", "]", "{", "}", ",", ".", ":", "|", ";"];

    private readonly string source;
    private readonly List<JinjaToken> tokens = [];
    private int at, counted, line = 1;
    private bool isLineStart = true;

    private JinjaLexer(string source) => this.source = source;

    /// <summary>The pieces; the last is <see cref="JinjaKind.End"/>.</summary>
    /// <exception cref="InvalidDataException">A tag, comment or string that does not end, or a character that has no place.</exception>
    public static List<JinjaToken> Cut(string template)
    {
        template = template.Replace("\r\n", "\n", StringComparison.Ordinal).Replace('\r', '\n');
        if (template.EndsWith('\n')) template = template[..^1];
        var lexer = new JinjaLexer(template);
        lexer.Run();
        return lexer.tokens;
    }

    private void Run()
    {
        while (at < source.Length)
        {
            var open = NextOpen();
            if (open < 0) { Add(JinjaKind.Data, source[at..]); at = source.Length; break; }
            var bracket = source.AsSpan(open, 2);
            var sign = open + 2 < source.Length && source[open + 2] is '-' or '+' ? source[open + 2] : ' ';
            AddData(source[at..open], sign, isVariable: bracket is "{{");
            at = open + 2 + (sign == ' ' ? 0 : 1);
            if (bracket is "{#") Comment();
            else if (bracket is "{%" && RawStart() is { } body) Raw(body);
            else Tag(bracket is "{{" ? "}}" : "%}", source[open..(open + 2)]);
        }
        tokens.Add(new(JinjaKind.End, "", null, Line(source.Length)));
    }

    private int NextOpen()
    {
        for (var i = at; i + 1 < source.Length; i++)
            if (source[i] == '{' && source[i + 1] is '{' or '%' or '#') return i;
        return -1;
    }

    // lstrip_blocks: blanks between a line's beginning and a block or comment go; `+` keeps them, `-` takes all white space.
    private void AddData(string text, char sign, bool isVariable)
    {
        if (sign == '-') text = PythonText.TrimEnd(text);
        else if (sign != '+' && !isVariable)
        {
            var start = text.LastIndexOf('\n') + 1;
            if ((start > 0 || isLineStart) && PythonText.Trim(text[start..]).Length == 0) text = text[..start];
        }
        Add(JinjaKind.Data, text);
    }

    private void Add(JinjaKind kind, string text, object? value = null)
    {
        if (kind != JinjaKind.Data || text.Length > 0) tokens.Add(new(kind, text, value, Line(at)));
    }

    // Places only grow, so that each line is counted once.
    private int Line(int place)
    {
        place = Math.Min(place, source.Length);
        if (place > counted) (line, counted) = (line + source.AsSpan(counted, place - counted).Count('\n'), place);
        return line;
    }

    // Behind a closing bracket: `-` takes all white space, trim_blocks one line end.
    private void Behind(int end, bool takesAll, bool takesLine)
    {
        var start = at;
        at = end;
        if (takesAll) while (at < source.Length && PythonText.IsSpace(source[at])) at++;
        else if (takesLine && at < source.Length && source[at] == '\n') at++;
        isLineStart = at > start && source[at - 1] == '\n';
    }

    private void Comment()
    {
        var end = source.IndexOf("#}", at, StringComparison.Ordinal);
        if (end < 0) throw Fault("a comment that does not end", "#}");
        var sign = end > at ? source[end - 1] : ' ';
        Behind(end + 2, sign == '-', sign != '+');
    }

    // Behind `{% raw %}`, or null where the tag is another.
    private (int Body, bool TakesAll)? RawStart()
    {
        var i = SkipSpace(at);
        if (string.CompareOrdinal(source, i, "raw", 0, 3) != 0) return null;
        i = SkipSpace(i + 3);
        var takesAll = i < source.Length && source[i] == '-';
        if (takesAll) i++;
        return string.CompareOrdinal(source, i, "%}", 0, 2) == 0 ? (i + 2, takesAll) : null;
    }

    private int SkipSpace(int i)
    {
        while (i < source.Length && PythonText.IsSpace(source[i])) i++;
        return i;
    }

    private void Raw((int Body, bool TakesAll) start)
    {
        Behind(start.Body, start.TakesAll, takesLine: false);
        for (var open = source.IndexOf("{%", at, StringComparison.Ordinal); open >= 0; open = source.IndexOf("{%", open + 2, StringComparison.Ordinal))
        {
            var sign = open + 2 < source.Length && source[open + 2] is '-' or '+' ? source[open + 2] : ' ';
            var i = SkipSpace(open + 2 + (sign == ' ' ? 0 : 1));
            if (string.CompareOrdinal(source, i, "endraw", 0, 6) != 0) continue;
            i = SkipSpace(i + 6);
            var last = i < source.Length && source[i] is '-' or '+' ? source[i++] : ' ';
            if (string.CompareOrdinal(source, i, "%}", 0, 2) != 0) continue;
            AddData(source[at..open], sign, isVariable: false);
            at = open;
            Behind(i + 2, last == '-', last != '+');
            return;
        }
        throw Fault("a raw block that does not end", "{% endraw %}");
    }

    private void Tag(string close, string open)
    {
        Add(JinjaKind.Open, open);
        var brackets = new Stack<char>();
        while (true)
        {
            at = SkipSpace(at);
            if (at >= source.Length) throw Fault("a tag that does not end", close);
            if (brackets.Count == 0 && IsClose(close)) return;
            One(brackets);
        }
    }

    private bool IsClose(string close)
    {
        var sign = source[at] is '-' || (source[at] is '+' && close == "%}") ? source[at] : ' ';
        var end = at + (sign == ' ' ? 0 : 1);
        if (string.CompareOrdinal(source, end, close, 0, 2) != 0) return false;
        Add(JinjaKind.Close, close);
        Behind(end + 2, sign == '-', close == "%}" && sign != '+');
        return true;
    }

    private void One(Stack<char> brackets)
    {
        var c = source[at];
        if (c is '\'' or '"') Quoted(c);
        else if (char.IsAsciiDigit(c)) Number();
        else if (char.IsLetter(c) || c == '_') Name();
        else
        {
            var name = s_operators.FirstOrDefault(o => string.CompareOrdinal(source, at, o, 0, o.Length) == 0) ?? throw Fault($"the character '{c}' in a tag", "an expression");
            if (name is "(" or "[" or "{") brackets.Push(name[0] == '(' ? ')' : name[0] == '[' ? ']' : '}');
            if (name is ")" or "]" or "}" && (brackets.Count == 0 || brackets.Pop() != name[0])) throw Fault($"'{name}' without its opening bracket", "brackets in pairs");
            Add(JinjaKind.Operator, name);
            at += name.Length;
        }
    }

    private void Name()
    {
        var end = at;
        while (end < source.Length && (char.IsLetterOrDigit(source[end]) || source[end] == '_')) end++;
        Add(JinjaKind.Name, source[at..end]);
        at = end;
    }

    private void Number()
    {
        var end = Digits(at);
        var isReal = false;
        if (end + 1 < source.Length && source[end] == '.' && char.IsAsciiDigit(source[end + 1]) && !(at > 0 && source[at - 1] == '.')) (end, isReal) = (Digits(end + 1), true);
        if (end + 1 < source.Length && source[end] is 'e' or 'E')
        {
            var digits = end + (source[end + 1] is '+' or '-' ? 2 : 1);
            if (digits < source.Length && char.IsAsciiDigit(source[digits])) (end, isReal) = (Digits(digits), true);
        }
        var text = source[at..end].Replace("_", "", StringComparison.Ordinal);
        Add(JinjaKind.Number, text, isReal ? double.Parse(text, CultureInfo.InvariantCulture) : BigInteger.Parse(text, CultureInfo.InvariantCulture));
        at = end;
    }

    private int Digits(int i)
    {
        while (i < source.Length && (char.IsAsciiDigit(source[i]) || (source[i] == '_' && i + 1 < source.Length && char.IsAsciiDigit(source[i + 1])))) i++;
        return i;
    }

    private void Quoted(char quote)
    {
        var text = new StringBuilder();
        var i = at + 1;
        while (i < source.Length && source[i] != quote)
        {
            if (source[i] != '\\') { text.Append(source[i++]); continue; }
            if (i + 1 >= source.Length) break;
            i = Escape(i + 1, text);
        }
        if (i >= source.Length) throw Fault("a string that does not end", quote.ToString());
        Add(JinjaKind.Text, text.ToString());
        at = i + 1;
    }

    // Python's escapes; one that it does not know stays as it is.
    private int Escape(int i, StringBuilder into)
    {
        var c = source[i];
        const string Letters = "nrtabfv\\'\"\n", Meant = "\n\r\t\a\b\f\v\\'\"";
        if (Letters.IndexOf(c, StringComparison.Ordinal) is >= 0 and var known)
        {
            if (c != '\n') into.Append(Meant[known]);
            return i + 1;
        }
        if (c is >= '0' and <= '7')
        {
            var end = i;
            while (end < i + 3 && end < source.Length && source[end] is >= '0' and <= '7') end++;
            into.Append((char)Convert.ToInt32(source[i..end], 8));
            return end;
        }
        var length = c switch { 'x' => 2, 'u' => 4, 'U' => 8, _ => 0 };
        if (length == 0) { into.Append('\\').Append(c); return i + 1; }
        if (i + 1 + length > source.Length || !int.TryParse(source.AsSpan(i + 1, length), NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out var point) || point is < 0 or > 0x10ffff) throw Fault($"the escape \\{c} without {length} hexadecimal digits", "a character's number");
        into.Append(PythonText.Text([point]));
        return i + 1 + length;
    }

    private InvalidDataException Fault(string found, string expected) => new($"The chat template, line {Line(at)}: found {found}. Expected {expected}.");
}
