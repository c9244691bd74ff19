namespace Lect;

/// <summary>Threads that work on shared memory without locks, watched by the caller's.</summary>
internal static class Hogwild
{
    private static readonly TimeSpan s_between = TimeSpan.FromMilliseconds(500);

    /// <summary>Runs <paramref name="work"/> on so many threads; reports twice a second and at the end.</summary>
    /// <exception cref="OperationCanceledException">It was stopped.</exception>
    public static void Run(int threads, Action<int> work, Func<VectorProgress> progress, Action<VectorProgress>? report, CancellationToken stop)
    {
        using var done = new CountdownEvent(threads);
        Exception? fault = null;
        for (var id = 0; id < threads; id++)
        {
            var own = id;
            new Thread(() =>
            {
                try { work(own); }
                catch (Exception e) { Interlocked.CompareExchange(ref fault, e, null); }
                finally { done.Signal(); }
            })
            { IsBackground = true, Name = $"words {id}" }.Start();
        }
        while (!done.Wait(s_between, CancellationToken.None)) report?.Invoke(progress());
        if (fault is not null) System.Runtime.ExceptionServices.ExceptionDispatchInfo.Throw(fault);
        report?.Invoke(progress());
        stop.ThrowIfCancellationRequested();
    }
}
