// The grammar of Jinja 3.1 (its parser's order of precedence), with loop controls and Hugging Face's {% generation %}.
using System.Runtime.CompilerServices;

namespace Lect.Text;

/// <summary>Reads a template into statements that can be carried out.</summary>
internal sealed partial class JinjaParser
{
    private readonly List<JinjaToken> tokens;
    private readonly Stack<HashSet<string>> macroNames = new();
    private int at;

    private JinjaParser(List<JinjaToken> tokens) => this.tokens = tokens;

    /// <summary>Reads a whole template.</summary>
    /// <exception cref="InvalidDataException">It is none; the message says where and why.</exception>
    public static JinjaStatement Parse(string template)
    {
        var parser = new JinjaParser(JinjaLexer.Cut(template));
        var body = parser.Body([]);
        return parser.Now.Kind == JinjaKind.End ? body : throw parser.Unexpected("the template's end");
    }

    private JinjaToken Now => tokens[at];

    private JinjaToken Next() => tokens[at++];

    private bool Skip(JinjaKind kind, string text)
    {
        if (!Now.Is(kind, text)) return false;
        at++;
        return true;
    }

    private bool SkipOperator(string text) => Skip(JinjaKind.Operator, text);

    private bool SkipName(string text) => Skip(JinjaKind.Name, text);

    private void Expect(JinjaKind kind, string text)
    {
        if (!Skip(kind, text)) throw Unexpected($"'{text}'");
    }

    private string ExpectName() => Now.Kind == JinjaKind.Name ? Next().Text : throw Unexpected("a name");

    private InvalidDataException Unexpected(string expected) => new($"The chat template, line {Now.Line}: found {Now}. Expected {expected}.");

    private InvalidDataException Fault(string message) => new($"The chat template, line {Now.Line}: {message}");

    // Statements

    // Up to a tag of one of these names, whose bracket has been read when this returns; the name has not.
    private JinjaStatement Body(string[] until)
    {
        if (!RuntimeHelpers.TryEnsureSufficientExecutionStack()) throw Fault("found tags that are nested too deep. Expected fewer.");
        var statements = new List<JinjaStatement>();
        while (Now.Kind != JinjaKind.End)
        {
            var token = Next();
            if (token.Kind == JinjaKind.Data) statements.Add(Write(token.Text));
            else if (token.Text == "{{")
            {
                statements.Add(Print(Tuple(withCondition: true)));
                Expect(JinjaKind.Close, "}}");
            }
            else
            {
                if (Now.Kind == JinjaKind.Name && until.Contains(Now.Text)) break;
                statements.Add(Statement());
            }
        }
        if (Now.Kind == JinjaKind.End && until.Length > 0) throw Unexpected($"{{% {string.Join(" %} or {% ", until)} %}}");
        return scope =>
        {
            foreach (var statement in statements)
            {
                scope.Run.Spend(1);
                if (statement(scope) is not JinjaFlow.On and var flow) return flow;
            }
            return JinjaFlow.On;
        };
    }

    private static JinjaStatement Write(string text) => scope => { scope.Run.Write(text); return JinjaFlow.On; };

    private static JinjaStatement Print(JinjaExpression value) => scope => { scope.Run.Write(JinjaValues.Str(value(scope))); return JinjaFlow.On; };

    private JinjaStatement Statement()
    {
        var token = Now;
        var name = ExpectName();
        return name switch
        {
            "if" => If(),
            "for" => For(),
            "set" => Set(),
            "macro" => Macro(),
            "call" => CallBlock(),
            "with" => With(),
            "filter" => FilterBlock(),
            "generation" => Generation(),
            "break" => Closed(_ => JinjaFlow.Break),
            "continue" => Closed(_ => JinjaFlow.Continue),
            "include" or "import" or "extends" or "from" or "block" => throw new InvalidDataException($"The chat template, line {token.Line}: found '{name}', which reads other templates. Expected one template that is whole."),
            _ => throw new InvalidDataException($"The chat template, line {token.Line}: found the unknown tag '{name}'. Expected if, for, set, macro, call, with, filter, generation, break or continue."),
        };
    }

    private JinjaStatement Closed(JinjaStatement statement)
    {
        Expect(JinjaKind.Close, "%}");
        return statement;
    }

    private JinjaStatement Until(string end)
    {
        Expect(JinjaKind.Close, "%}");
        var body = Body([end]);
        at++;
        Expect(JinjaKind.Close, "%}");
        return body;
    }

    private JinjaStatement If()
    {
        var cases = new List<(JinjaExpression Test, JinjaStatement Body)>();
        JinjaStatement? otherwise = null;
        for (var name = "elif"; name == "elif";)
        {
            var test = Tuple(withCondition: false);
            Expect(JinjaKind.Close, "%}");
            cases.Add((test, Body(["elif", "else", "endif"])));
            name = Next().Text;
            if (name == "else") otherwise = Until("endif");
            else if (name == "endif") Expect(JinjaKind.Close, "%}");
        }
        return scope =>
        {
            foreach (var (test, body) in cases)
                if (JinjaValues.IsTrue(test(scope))) return body(scope);
            return otherwise?.Invoke(scope) ?? JinjaFlow.On;
        };
    }

    private JinjaStatement For()
    {
        var target = Target();
        Expect(JinjaKind.Name, "in");
        var list = Tuple(withCondition: false);
        var test = SkipName("if") ? Expression() : null;
        var isRecursive = SkipName("recursive");
        Expect(JinjaKind.Close, "%}");
        var body = Body(["else", "endfor"]);
        JinjaStatement? otherwise = null;
        if (Next().Text == "else") otherwise = Until("endfor");
        else Expect(JinjaKind.Close, "%}");

        void Walk(JinjaScope scope, object? value, int depth)
        {
            var items = JinjaValues.Items(value);
            if (test is not null) items = [.. items.Where(item => Chosen(scope, item))];
            var again = isRecursive ? new JinjaFunction("loop", a => scope.Run.Capture(() => scope.Run.Deeper(() => { Walk(scope, a.At(0, "iterable"), depth + 1); return true; }))) : null;
            var loop = new JinjaLoop(items, depth, again);
            for (; loop.Index < items.Count; loop.Index++)
            {
                scope.Run.Spend(1);
                var inner = scope.Inner();
                inner["loop"] = loop;
                target(inner, items[loop.Index]);
                if (body(inner) == JinjaFlow.Break) break;
            }
            if (items.Count == 0) otherwise?.Invoke(scope);
        }
        bool Chosen(JinjaScope scope, object? item)
        {
            var inner = scope.Inner();
            inner["loop"] = new JinjaUndefined("'loop' is undefined in the condition of a loop");
            target(inner, item);
            return JinjaValues.IsTrue(test(inner));
        }
        return scope => { Walk(scope, list(scope), 0); return JinjaFlow.On; };
    }

    private JinjaStatement Set()
    {
        var target = Target(withAttribute: true);
        if (SkipOperator("="))
        {
            var value = Tuple(withCondition: true);
            return Closed(scope => { target(scope, value(scope)); return JinjaFlow.On; });
        }
        var filter = Filters(scope => scope[Captured]);
        var body = Until("endset");
        return scope =>
        {
            var inner = scope.Inner();
            inner[Captured] = scope.Run.Capture(() => body(inner));
            target(scope, filter(inner));
            return JinjaFlow.On;
        };
    }

    // A name that no template can spell: what a block has written, which filters begin with.
    private const string Captured = "(captured)";

    private JinjaStatement With()
    {
        var pairs = new List<(Action<JinjaScope, object?> Target, JinjaExpression Value)>();
        while (Now.Kind != JinjaKind.Close)
        {
            if (pairs.Count > 0) Expect(JinjaKind.Operator, ",");
            var target = Target();
            Expect(JinjaKind.Operator, "=");
            pairs.Add((target, Expression()));
        }
        var body = Until("endwith");
        return scope =>
        {
            var inner = scope.Inner();
            foreach (var (target, value) in pairs) target(inner, value(scope));
            return body(inner);
        };
    }

    private JinjaStatement FilterBlock()
    {
        var filter = Filters(Filter(scope => scope[Captured]));
        var body = Until("endfilter");
        return scope =>
        {
            var inner = scope.Inner();
            inner[Captured] = scope.Run.Capture(() => body(inner));
            scope.Run.Write(JinjaValues.Str(filter(inner)));
            return JinjaFlow.On;
        };
    }

    private JinjaStatement Generation()
    {
        var body = Until("endgeneration");
        return scope => { scope.Run.Mark(() => body(scope.Inner())); return JinjaFlow.On; };
    }

    private JinjaStatement Macro()
    {
        var name = ExpectName();
        var macro = MacroBody("endmacro", name);
        return scope => { scope[name] = macro(scope); return JinjaFlow.On; };
    }

    private JinjaStatement CallBlock()
    {
        var parameters = Now.Is(JinjaKind.Operator, "(") ? Signature() : [];
        var call = Unary(withFilters: false);
        (lastCall ?? throw Fault("found {% call %} without a call. Expected the call of a macro.")).HandsCallerOn = true;
        var caller = MacroBody("endcall", "caller", parameters);
        return scope =>
        {
            var inner = scope.Inner();
            inner[Caller] = caller(scope);
            scope.Run.Write(JinjaValues.Str(call(inner)));
            return JinjaFlow.On;
        };
    }

    // As with Captured: what a call hands on from {% call %}.
    private const string Caller = "(caller)";

    private List<(string Name, JinjaExpression? Default)> Signature()
    {
        var parameters = new List<(string, JinjaExpression?)>();
        Expect(JinjaKind.Operator, "(");
        while (!SkipOperator(")"))
        {
            if (parameters.Count > 0) Expect(JinjaKind.Operator, ",");
            var name = ExpectName();
            var value = SkipOperator("=") ? Expression() : null;
            if (value is null && parameters.Count > 0 && parameters[^1].Item2 is not null) throw Fault($"found the parameter '{name}' without a default behind one that has it. Expected a default.");
            parameters.Add((name, value));
        }
        return parameters;
    }

    private Func<JinjaScope, JinjaFunction> MacroBody(string end, string name, List<(string Name, JinjaExpression? Default)>? parameters = null)
    {
        parameters ??= Signature();
        macroNames.Push([]);
        var body = Until(end);
        var used = macroNames.Pop();
        foreach (var outer in macroNames) outer.UnionWith(used);
        return scope => new(name, arguments => scope.Run.Deeper(() =>
        {
            var inner = scope.Inner();
            Bind(inner, arguments);
            return scope.Run.Capture(() => body(inner));
        }));

        void Bind(JinjaScope inner, JinjaArguments given)
        {
            if (given.Positional.Count > parameters.Count && !used.Contains("varargs")) throw new InvalidDataException($"The chat template calls the macro '{name}' with {given.Positional.Count} arguments. Expected at most {parameters.Count}.");
            var rest = given.Named.Where(n => n.Key != "caller" && !parameters.Exists(p => p.Name == n.Key)).ToList();
            if (rest.Count > 0 && !used.Contains("kwargs")) throw new InvalidDataException($"The chat template calls the macro '{name}' with '{rest[0].Key}'. Expected {string.Join(", ", parameters.Select(p => p.Name))}.");
            for (var i = 0; i < parameters.Count; i++)
                inner[parameters[i].Name] = given.Has(i, parameters[i].Name) ? given.At(i, parameters[i].Name) : parameters[i].Default is { } value ? value(inner) : new JinjaUndefined($"parameter '{parameters[i].Name}' was not provided");
            if (used.Contains("varargs")) inner["varargs"] = new JinjaTuple([.. given.Positional.Skip(parameters.Count)]);
            if (used.Contains("kwargs")) inner["kwargs"] = JinjaValues.Dict(rest.Select(r => ((object)r.Key, r.Value)));
            if (used.Contains("caller")) inner["caller"] = given.Named.GetValueOrDefault("caller") ?? new JinjaUndefined("No caller defined");
        }
    }

    // Where a value goes: a name, several in a row, or ns.name.
    private Action<JinjaScope, object?> Target(bool withAttribute = false)
    {
        var (targets, isTuple) = (new List<Action<JinjaScope, object?>> { OneTarget(withAttribute) }, false);
        while (SkipOperator(","))
        {
            isTuple = true;
            if (Now.Is(JinjaKind.Name, "in") || (Now.Kind != JinjaKind.Name && !Now.Is(JinjaKind.Operator, "("))) break;
            targets.Add(OneTarget(withAttribute));
        }
        if (!isTuple) return targets[0];
        return (scope, value) =>
        {
            var items = JinjaValues.Items(value);
            if (items.Count != targets.Count) throw new InvalidDataException($"Found {items.Count} values for {targets.Count} names in the chat template. Expected as many.");
            for (var i = 0; i < targets.Count; i++) targets[i](scope, items[i]);
        };
    }

    private Action<JinjaScope, object?> OneTarget(bool withAttribute)
    {
        if (SkipOperator("("))
        {
            var inner = Target();
            Expect(JinjaKind.Operator, ")");
            return inner;
        }
        var name = ExpectName();
        if (name is "true" or "false" or "none" or "True" or "False" or "None") throw Fault($"found '{name}' as a name to set. Expected another name.");
        if (!withAttribute || !SkipOperator(".")) return (scope, value) => scope[name] = value;
        var attribute = ExpectName();
        return (scope, value) =>
        {
            if (scope[name] is not JinjaNamespace space) throw new InvalidDataException($"The chat template sets '{name}.{attribute}', and '{name}' is {JinjaValues.TypeName(scope[name])}. Expected a namespace().");
            if (attribute.StartsWith('_')) throw new InvalidDataException($"The chat template sets '{name}.{attribute}'. Expected a name without an underscore in front.");
            space.Attributes[attribute] = value;
        };
    }
}
