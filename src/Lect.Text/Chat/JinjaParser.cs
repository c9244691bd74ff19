// The grammar of Jinja 3.1 (its parser's order of precedence), with loop controls and Hugging Face's {% generation %}.
using System.Numerics;
using System.Runtime.CompilerServices;

namespace Lect.Text;

/// <summary>Reads a template into statements that can be carried out.</summary>
internal sealed class JinjaParser
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

    // Expressions, from the weakest binding to the strongest

    private CallSite? lastCall;   // of the expression that was read last, where it is a call

    private sealed class CallSite
    {
        public bool HandsCallerOn { get; set; }
    }

    private JinjaExpression Tuple(bool withCondition, bool inParentheses = false)
    {
        var items = new List<JinjaExpression>();
        var isTuple = false;
        while (true)
        {
            if (items.Count > 0) { if (!SkipOperator(",")) break; isTuple = true; }
            if (Now.Kind is JinjaKind.Close or JinjaKind.End || Now.Is(JinjaKind.Operator, ")") || Now.Is(JinjaKind.Name, "in")) break;
            items.Add(withCondition ? Expression() : Or());
        }
        if (items.Count == 0 && !inParentheses) throw Unexpected("an expression");
        return !isTuple && items.Count == 1 ? items[0] : scope => new JinjaTuple([.. items.Select(i => i(scope))]);
    }

    private JinjaExpression Expression()
    {
        if (!RuntimeHelpers.TryEnsureSufficientExecutionStack()) throw Fault("found an expression that is nested too deep. Expected a simpler one.");
        var value = Or();
        while (SkipName("if"))
        {
            var (then, test) = (value, Or());
            var otherwise = SkipName("else") ? Expression() : null;
            value = scope => JinjaValues.IsTrue(test(scope)) ? then(scope) : otherwise is null ? new JinjaUndefined("the inline if-expression has no else") : otherwise(scope);
        }
        return value;
    }

    private JinjaExpression Or()
    {
        var left = And();
        while (SkipName("or"))
        {
            var (a, b) = (left, And());
            left = scope => a(scope) is var value && JinjaValues.IsTrue(value) ? value : b(scope);
        }
        return left;
    }

    private JinjaExpression And()
    {
        var left = Not();
        while (SkipName("and"))
        {
            var (a, b) = (left, Not());
            left = scope => a(scope) is var value && !JinjaValues.IsTrue(value) ? value : b(scope);
        }
        return left;
    }

    private JinjaExpression Not()
    {
        if (!SkipName("not")) return Comparison();
        if (!RuntimeHelpers.TryEnsureSufficientExecutionStack()) throw Fault("found an expression that is nested too deep. Expected a simpler one.");
        var value = Not();
        return scope => !JinjaValues.IsTrue(value(scope));
    }

    private JinjaExpression Comparison()
    {
        var first = Sum();
        var rest = new List<(string Name, JinjaExpression Right)>();
        while (true)
        {
            var name = Now.Text;
            if (Now.Kind == JinjaKind.Operator && name is "==" or "!=" or "<" or "<=" or ">" or ">=") at++;
            else if (Now.Is(JinjaKind.Name, "in")) at++;
            else if (Now.Is(JinjaKind.Name, "not") && tokens[at + 1].Is(JinjaKind.Name, "in")) (at, name) = (at + 2, "not in");
            else break;
            rest.Add((name, Sum()));
        }
        if (rest.Count == 0) return first;
        return scope =>
        {
            var left = first(scope);
            foreach (var (name, expression) in rest)
            {
                var right = expression(scope);
                if (!JinjaOperators.Compare(name, left, right)) return false;
                left = right;
            }
            return true;
        };
    }

    private JinjaExpression Sum() => Binary(["+", "-"], Concatenation);

    private JinjaExpression Concatenation()
    {
        var parts = new List<JinjaExpression> { Product() };
        while (SkipOperator("~")) parts.Add(Product());
        return parts.Count == 1 ? parts[0] : scope =>
        {
            var text = string.Concat(parts.Select(p => JinjaValues.Str(p(scope))));
            scope.Run.Spend(text.Length);
            return text;
        };
    }

    private JinjaExpression Product() => Binary(["*", "/", "//", "%"], Power);

    private JinjaExpression Power() => Binary(["**"], () => Unary(withFilters: true));

    private JinjaExpression Binary(string[] names, Func<JinjaExpression> operand)
    {
        var left = operand();
        while (Now.Kind == JinjaKind.Operator && names.Contains(Now.Text))
        {
            var (name, a) = (Next().Text, left);
            var b = operand();
            left = scope => JinjaOperators.Apply(name, a(scope), b(scope), scope.Run);
        }
        return left;
    }

    private JinjaExpression Unary(bool withFilters)
    {
        JinjaExpression value;
        lastCall = null;
        if (Now.Kind == JinjaKind.Operator && Now.Text is "-" or "+")
        {
            var isMinus = Next().Text == "-";
            if (!RuntimeHelpers.TryEnsureSufficientExecutionStack()) throw Fault("found an expression that is nested too deep. Expected a simpler one.");
            var operand = Unary(withFilters: false);
            value = scope => JinjaOperators.Signed(isMinus, operand(scope));
        }
        else value = Primary();
        value = Postfix(value);
        return withFilters ? Filters(value) : value;
    }

    private JinjaExpression Primary()
    {
        var token = Now;
        if (token.Kind == JinjaKind.Close || token.Kind == JinjaKind.End) throw Unexpected("an expression");
        at++;
        switch (token.Kind)
        {
            case JinjaKind.Name: return Name(token.Text);
            case JinjaKind.Number: return _ => token.Value;
            case JinjaKind.Text:
                var text = token.Text;
                while (Now.Kind == JinjaKind.Text) text += Next().Text;
                return _ => text;
        }
        switch (token.Text)
        {
            case "(":
                var tuple = Tuple(withCondition: true, inParentheses: true);
                Expect(JinjaKind.Operator, ")");
                return tuple;
            case "[":
                var items = Many("]", Expression);
                return scope => { scope.Run.Spend(items.Count); return items.ConvertAll(i => i(scope)); };
            case "{":
                var pairs = Many("}", () => { var key = Expression(); Expect(JinjaKind.Operator, ":"); return (Key: key, Value: Expression()); });
                return scope => JinjaValues.Dict(pairs.Select(p => (p.Key(scope) ?? throw new InvalidDataException("Found none as a key in the chat template. Expected text or a number."), p.Value(scope))));
            default: at--; throw Unexpected("an expression");
        }
    }

    private JinjaExpression Name(string name)
    {
        foreach (var used in macroNames) used.Add(name);
        return name switch
        {
            "true" or "True" => _ => true,
            "false" or "False" => _ => false,
            "none" or "None" => _ => null,
            _ => scope => scope[name],
        };
    }

    private List<T> Many<T>(string close, Func<T> item)
    {
        var items = new List<T>();
        while (!SkipOperator(close))
        {
            if (items.Count > 0) { Expect(JinjaKind.Operator, ","); if (SkipOperator(close)) break; }
            items.Add(item());
        }
        return items;
    }

    private JinjaExpression Postfix(JinjaExpression value)
    {
        while (true)
        {
            if (SkipOperator(".")) value = Attribute(value);
            else if (SkipOperator("[")) value = Subscript(value);
            else if (SkipOperator("(")) value = Call(value);
            else return value;
        }
    }

    private JinjaExpression Attribute(JinjaExpression of)
    {
        lastCall = null;
        if (Now is { Kind: JinjaKind.Number, Value: BigInteger index }) { at++; return scope => JinjaMembers.Item(of(scope), index); }
        var name = ExpectName();
        return scope => JinjaMembers.Attribute(of(scope), name, scope.Run);
    }

    private JinjaExpression Subscript(JinjaExpression of)
    {
        JinjaExpression? start = null, stop = null, step = null;
        var isSlice = false;
        if (!Now.Is(JinjaKind.Operator, ":")) start = Expression();
        if (SkipOperator(":"))
        {
            isSlice = true;
            if (Now.Kind != JinjaKind.Operator || Now.Text is not (":" or "]")) stop = Expression();
            if (SkipOperator(":") && !Now.Is(JinjaKind.Operator, "]")) step = Expression();
        }
        Expect(JinjaKind.Operator, "]");
        lastCall = null;
        return isSlice
            ? scope => JinjaMembers.Slice(of(scope), start?.Invoke(scope), stop?.Invoke(scope), step?.Invoke(scope))
            : scope => JinjaMembers.ItemOrAttribute(of(scope), start!(scope), scope.Run);
    }

    private JinjaExpression Call(JinjaExpression function)
    {
        var arguments = Arguments();
        var site = lastCall = new();
        return scope =>
        {
            scope.Run.Spend(1);
            var given = arguments(scope);
            return JinjaMembers.Call(function(scope), site.HandsCallerOn ? given.With("caller", scope[Caller]) : given);
        };
    }

    // Behind the opening bracket.
    private Func<JinjaScope, JinjaArguments> Arguments()
    {
        var positional = new List<JinjaExpression>();
        var named = new List<(string Name, JinjaExpression Value)>();
        while (!SkipOperator(")"))
        {
            if (positional.Count + named.Count > 0) { Expect(JinjaKind.Operator, ","); if (SkipOperator(")")) break; }
            if (Now.Kind == JinjaKind.Name && tokens[at + 1].Is(JinjaKind.Operator, "="))
            {
                var name = ExpectName();
                at++;
                named.Add((name, Expression()));
            }
            else if (named.Count > 0) throw Unexpected("a named argument behind the named ones");
            else positional.Add(Expression());
        }
        return scope =>
        {
            var values = positional.ConvertAll(p => p(scope));
            var names = named.ToDictionary(n => n.Name, n => n.Value(scope), StringComparer.Ordinal);
            return new(values, names);
        };
    }

    private JinjaExpression Filters(JinjaExpression value)
    {
        while (true)
        {
            if (SkipOperator("|")) value = Filter(value);
            else if (SkipName("is")) value = Test(value);
            else if (SkipOperator("(")) value = Call(value);
            else return value;
        }
    }

    private JinjaExpression Filter(JinjaExpression value)
    {
        var name = DottedName();
        var filter = JinjaFilters.Find(name);   // an unknown one is an error only where it is asked: templates test for them
        var arguments = SkipOperator("(") ? Arguments() : _ => JinjaArguments.None;
        return scope =>
        {
            scope.Run.Spend(1);
            return (filter ?? throw new InvalidDataException($"Found the filter '{name}' in the chat template. Expected one of Jinja's."))(value(scope), arguments(scope), scope.Run);
        };
    }

    private JinjaExpression Test(JinjaExpression value)
    {
        var isNot = SkipName("not");
        var name = DottedName();
        var test = JinjaFilters.FindTest(name) ?? throw Fault($"found the test '{name}'. Expected one of Jinja's.");
        Func<JinjaScope, JinjaArguments> arguments = _ => JinjaArguments.None;
        if (SkipOperator("(")) arguments = Arguments();
        else if (Now.Kind is JinjaKind.Text or JinjaKind.Number || (Now.Kind == JinjaKind.Name && Now.Text is not ("else" or "or" or "and" or "is" or "if" or "not" or "in" or "recursive")) || (Now.Kind == JinjaKind.Operator && Now.Text is "[" or "{"))
        {
            var argument = Postfix(Primary());
            arguments = scope => new([argument(scope)], JinjaArguments.None.Named);
        }
        return scope => test(value(scope), arguments(scope)) != isNot;
    }

    private string DottedName()
    {
        var name = ExpectName();
        while (SkipOperator(".")) name += "." + ExpectName();
        return name;
    }
}
