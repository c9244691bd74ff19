using System.Runtime.ExceptionServices;

namespace Lect.Text;

/// <summary>Parallel loops that fail as the plain loop would: with the first fault itself, not a bundle of them.</summary>
internal static class InParallel
{
    public static void For(int count, Action<int> body, int? threads = null) => Unbundled(() => Parallel.For(0, count, new ParallelOptions { MaxDegreeOfParallelism = threads ?? -1 }, body));

    /// <summary>What a function makes of each item, in their order.</summary>
    public static TResult[] Select<T, TResult>(IReadOnlyList<T> items, Func<T, TResult> make)
    {
        var made = new TResult[items.Count];
        For(made.Length, i => made[i] = make(items[i]));
        return made;
    }

    public static void Unbundled(Action loop)
    {
        try { loop(); }
        catch (AggregateException e) { ExceptionDispatchInfo.Throw(e.Flatten().InnerExceptions[0]); }
    }
}
