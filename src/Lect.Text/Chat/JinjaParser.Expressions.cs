using System.Numerics;
using System.Runtime.CompilerServices;

namespace Lect.Text;

// Expressions, from the weakest binding to the strongest.
internal sealed partial class JinjaParser
{
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
        for (var links = 0; SkipName("if"); Link(ref links))
        {
            var (then, test) = (value, Or());
            var otherwise = SkipName("else") ? Expression() : null;
            value = scope => JinjaValues.IsTrue(test(scope)) ? then(scope) : otherwise is null ? new JinjaUndefined("the inline if-expression has no else") : otherwise(scope);
        }
        return value;
    }

    private const int MostLinks = 1000;

    // Each link of a chain is one call deeper when the expression is asked.
    private void Link(ref int links)
    {
        if (++links > MostLinks) throw Fault($"found more than {MostLinks} operators or filters in a row. Expected a simpler expression.");
    }

    private JinjaExpression Or()
    {
        var (left, links) = (And(), 0);
        while (SkipName("or"))
        {
            Link(ref links);
            var (a, b) = (left, And());
            left = scope => a(scope) is var value && JinjaValues.IsTrue(value) ? value : b(scope);
        }
        return left;
    }

    private JinjaExpression And()
    {
        var (left, links) = (Not(), 0);
        while (SkipName("and"))
        {
            Link(ref links);
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
            var text = new System.Text.StringBuilder();
            foreach (var part in parts)
            {
                var piece = JinjaValues.Str(part(scope));
                scope.Run.Spend(piece.Length);
                text.Append(piece);
            }
            return text.ToString();
        };
    }

    private JinjaExpression Product() => Binary(["*", "/", "//", "%"], Power);

    private JinjaExpression Power() => Binary(["**"], () => Unary(withFilters: true));

    private JinjaExpression Binary(string[] names, Func<JinjaExpression> operand)
    {
        var (left, links) = (operand(), 0);
        while (Now.Kind == JinjaKind.Operator && names.Contains(Now.Text))
        {
            Link(ref links);
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
                List<string> parts = [token.Text];
                while (Now.Kind == JinjaKind.Text) parts.Add(Next().Text);
                var text = string.Concat(parts);
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
        for (var links = 0; ; Link(ref links))
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
        for (var links = 0; ; Link(ref links))
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
