using System.Diagnostics;

namespace Lect.Benchmarks;

/// <summary>The best of several runs.</summary>
internal static class Timing
{
    public static (double Seconds, T Result) Best<T>(int runs, Func<T> work)
    {
        var (best, result) = (double.MaxValue, default(T)!);
        for (var i = 0; i < runs; i++)
        {
            var watch = Stopwatch.StartNew();
            result = work();
            best = Math.Min(best, watch.Elapsed.TotalSeconds);
        }
        return (best, result);
    }
}
