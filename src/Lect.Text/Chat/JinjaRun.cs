using System.Diagnostics;
using System.Numerics;
using System.Runtime.CompilerServices;
using System.Text;

namespace Lect.Text;

/// <summary>Where a statement leads.</summary>
internal enum JinjaFlow
{
    /// <summary>To the next one.</summary>
    On,
    /// <summary>Out of the loop.</summary>
    Break,
    /// <summary>To the loop's next item.</summary>
    Continue,
}

/// <summary>An expression, ready to be asked.</summary>
internal delegate object? JinjaExpression(JinjaScope scope);

/// <summary>A statement, ready to be carried out.</summary>
internal delegate JinjaFlow JinjaStatement(JinjaScope scope);

/// <summary>One rendering: what has been written, and how much work is left to it. A template is a program of a stranger: it gets so much time and space and no more.</summary>
internal sealed class JinjaRun(DateTime now)
{
    private const long MostWork = 10_000_000, MostSeconds = 10;
    private const int MostDepth = 200;
    private readonly Stopwatch watch = Stopwatch.StartNew();
    private StringBuilder output = new();
    private long work, looked, calls;   // looked: the work done when the clock was last looked at
    private int depth, captures;

    [ThreadStatic] private static JinjaRun? s_current;

    /// <summary>The rendering of this thread, which work inside of values is charged to.</summary>
    public static void Charge(long units)
    {
        s_current?.Spend(units);
        if (!RuntimeHelpers.TryEnsureSufficientExecutionStack()) throw new InvalidDataException("Found values in the chat template that are nested too deep, or hold themselves. Expected plain ones.");
    }

    /// <summary>Carries out a template on this thread.</summary>
    public void Do(Action body)
    {
        var outer = s_current;
        s_current = this;
        try { body(); }
        finally { s_current = outer; }
    }

    /// <summary>What strftime_now sees.</summary>
    public DateTime Now { get; } = now;

    /// <summary>Half-open places of the text that <c>{% generation %}</c> marks.</summary>
    public List<(int Start, int End)> Marked { get; } = [];

    /// <summary>What has been written.</summary>
    public string Text => output.ToString();

    /// <summary>Places, bits and characters that something takes.</summary>
    /// <exception cref="InvalidDataException">The template has had its share.</exception>
    public void Spend(BigInteger units)
    {
        if (units > MostWork || (work += (long)units) > MostWork) throw new InvalidDataException($"The chat template asks for more than {MostWork:N0} steps and characters. Expected a template that comes to an end; it loops or multiplies text.");
        if (++calls % 64 != 0 && work - looked < MostWork / 1000) return;
        looked = work;
        if (watch.Elapsed.TotalSeconds > MostSeconds) throw new InvalidDataException($"The chat template has run for {MostSeconds} seconds. Expected a template that comes to an end.");
    }

    public void Write(string text)
    {
        Spend(text.Length);
        output.Append(text);
    }

    /// <summary>What a body writes, instead of writing it.</summary>
    public string Capture(Action body)
    {
        var outer = output;
        output = new();
        captures++;
        try { body(); return output.ToString(); }
        finally { (output, captures) = (outer, captures - 1); }
    }

    /// <summary>Carries out what is marked.</summary>
    public void Mark(Action body)
    {
        var start = output.Length;
        body();
        if (captures == 0) Marked.Add((start, output.Length));
    }

    /// <summary>One call deeper.</summary>
    public T Deeper<T>(Func<T> call)
    {
        if (++depth > MostDepth || !RuntimeHelpers.TryEnsureSufficientExecutionStack()) throw new InvalidDataException($"The chat template calls itself more than {MostDepth} times. Expected a template that comes to an end.");
        try { return call(); }
        finally { depth--; }
    }
}

/// <summary>Names that a part of a template sees.</summary>
internal sealed class JinjaScope(JinjaScope? outer, JinjaRun run)
{
    private readonly Dictionary<string, object?> names = [];

    public JinjaRun Run => run;

    public object? this[string name]
    {
        get
        {
            for (var scope = this; scope is not null; scope = scope.Outer)
                if (scope.names.TryGetValue(name, out var value)) return value;
            return new JinjaUndefined($"'{name}' is undefined");
        }
        set => names[name] = value;
    }

    private JinjaScope? Outer => outer;

    public JinjaScope Inner() => new(this, run);
}

/// <summary>What <c>loop</c> is in a loop.</summary>
internal sealed class JinjaLoop(IReadOnlyList<object?> items, int depth, JinjaFunction? again)
{
    private object? lastSeen = new JinjaUndefined("nothing yet");

    /// <summary>From 0.</summary>
    public int Index { get; set; }

    /// <summary>Walks through other items with the same body.</summary>
    public JinjaFunction? Again => again;

    public object? this[string name] => name switch
    {
        "index" => (BigInteger)(Index + 1),
        "index0" => (BigInteger)Index,
        "revindex" => (BigInteger)(items.Count - Index),
        "revindex0" => (BigInteger)(items.Count - Index - 1),
        "first" => Index == 0,
        "last" => Index == items.Count - 1,
        "length" => (BigInteger)items.Count,
        "depth" => (BigInteger)(depth + 1),
        "depth0" => (BigInteger)depth,
        "previtem" => Index > 0 ? items[Index - 1] : new JinjaUndefined("there is no previous item"),
        "nextitem" => Index + 1 < items.Count ? items[Index + 1] : new JinjaUndefined("there is no next item"),
        "cycle" => new JinjaFunction("cycle", a => a.Positional.Count == 0 ? throw new InvalidDataException("Found loop.cycle() without items in the chat template. Expected some.") : a.Positional[Index % a.Positional.Count]),
        "changed" => new JinjaFunction("changed", a => HasChanged(new JinjaTuple(a.Positional))),
        _ => new JinjaUndefined($"a loop has no '{name}'"),
    };

    /// <summary>Depth of a loop that the body calls.</summary>
    public int Depth => depth;

    private bool HasChanged(JinjaTuple value)
    {
        var changed = !JinjaValues.Equal(lastSeen, value);
        lastSeen = value;
        return changed;
    }
}
