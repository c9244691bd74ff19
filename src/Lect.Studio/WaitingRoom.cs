namespace Lect.Studio;

/// <summary>The limits of requests that no batch answers (vectors, attention): as many may wait, and as long, as for answers.</summary>
internal sealed class WaitingRoom(StudioOptions options)
{
    private int inside;

    /// <summary>Does a request's work, with a token that ends with its caller or its time.</summary>
    /// <exception cref="QueueFullException">Too many wait.</exception>
    public async Task<T> Run<T>(HttpContext http, Func<CancellationToken, Task<T>> work)
    {
        try
        {
            if (Interlocked.Increment(ref inside) > options.Hosting.MaxQueue) throw new QueueFullException(options.Hosting.MaxQueue);
            using var late = CancellationTokenSource.CreateLinkedTokenSource(http.RequestAborted);
            late.CancelAfter(TimeSpan.FromSeconds(options.RequestSeconds));
            try { return await work(late.Token); }
            catch (OperationCanceledException) when (!http.RequestAborted.IsCancellationRequested) { throw new ApiError(408, "This took longer than this server allows. Expected less at once.", "invalid_request_error", code: "timeout"); }
        }
        finally { Interlocked.Decrement(ref inside); }
    }
}
