namespace Lect;

/// <summary>Threads that work on shared memory without locks, watched by the caller's.</summary>
internal static class Hogwild
{
    private static readonly TimeSpan s_between = TimeSpan.FromMilliseconds(500);

    /// <summary>Runs <paramref name="work"/> on so many threads; reports twice a second and at the end. When it returns or throws, no thread works any more.</summary>
    /// <param name="threads">How many.</param>
    /// <param name="work">Told its number, and when to end: where it was stopped, or another failed.</param>
    /// <param name="progress">Where it stands.</param>
    /// <param name="report">Told that.</param>
    /// <param name="stop">Stops.</param>
    /// <exception cref="OperationCanceledException">It was stopped.</exception>
    public static void Run(int threads, Action<int, CancellationToken> work, Func<VectorProgress> progress, Action<VectorProgress>? report, CancellationToken stop)
    {
        using var end = CancellationTokenSource.CreateLinkedTokenSource(stop);
        var started = new List<Thread>();
        Exception? fault = null;
        try
        {
            for (var id = 0; id < threads; id++)
            {
                var own = id;
                var thread = new Thread(() =>
                {
                    try { work(own, end.Token); }
                    catch (Exception e)
                    {
                        Interlocked.CompareExchange(ref fault, e, null);
                        end.Cancel();
                    }
                })
                { IsBackground = true, Name = $"words {id}" };
                thread.Start();
                started.Add(thread);
            }
            foreach (var thread in started)
                while (!thread.Join(s_between)) report?.Invoke(progress());
        }
        finally
        {
            if (started.Exists(t => t.IsAlive)) end.Cancel();
            foreach (var thread in started) thread.Join();   // what they write to is freed behind this
        }
        if (fault is not null) System.Runtime.ExceptionServices.ExceptionDispatchInfo.Throw(fault);
        report?.Invoke(progress());
        stop.ThrowIfCancellationRequested();
    }
}
