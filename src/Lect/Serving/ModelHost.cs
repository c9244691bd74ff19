using System.Runtime.CompilerServices;
using System.Threading.Channels;
using Lect.Models;
using Lect.Text;

namespace Lect;

/// <summary>Limits of a <see cref="ModelHost"/>.</summary>
public sealed record ModelHostOptions
{
    /// <summary>Requests that are answered at the same time. <value>16</value></summary>
    public int MaxBatch { get; init; } = 16;
    /// <summary>Requests that may wait besides. <value>128</value></summary>
    public int MaxQueue { get; init; } = 128;
}

/// <summary>A piece of an answer as it comes.</summary>
/// <param name="Text">New text; empty where a token completes no character yet.</param>
/// <param name="Tokens">The tokens since the last piece.</param>
/// <param name="FinishReason">Null while the answer goes on; then <c>stop</c> or <c>length</c>.</param>
public sealed record AnswerPiece(string Text, IReadOnlyList<NewToken> Tokens, string? FinishReason);

/// <summary>There is no room for another request: ask again later.</summary>
public sealed class QueueFullException(int most) : Exception($"Found {most} requests that wait already. Expected fewer: ask again later, or raise the limit of the queue.");

/// <summary>
/// A model on a thread of its own, for many callers at once: a request joins the batch that is in work at the next token, and leaves it where it ends or its caller goes away. What is said to one does not depend on the others.
/// Safe to use from many threads. Owns the model.
/// </summary>
public sealed class ModelHost : IDisposable
{
    private readonly LanguageModel model;
    private readonly ModelHostOptions options;
    private readonly Thread thread;
    private readonly object gate = new();
    private readonly Queue<Request> waiting = new();
    private readonly Queue<Action> works = new();
    private readonly Dictionary<int, Request> active = [];
    private bool stopping;
    private int next;
    private long tokens;

    /// <summary>Begins to wait for requests.</summary>
    /// <param name="model">The host's from now on: nobody else may use it, but to encode.</param>
    /// <param name="options">Limits.</param>
    public ModelHost(LanguageModel model, ModelHostOptions? options = null)
    {
        (this.model, this.options) = (model, options ?? new());
        thread = new(Work) { IsBackground = true, Name = "lect inference" };
        thread.Start();
    }

    /// <summary>The folder's settings of generation.</summary>
    public GenerationOptions Defaults => model.Defaults;

    /// <summary>The most tokens of prompt and answer.</summary>
    public long ContextLength => model.Model.ContextLength;

    /// <summary>V: what the model can say, which may be less than its tokenizer has.</summary>
    public long VocabularySize => model.Model.VocabularySize;

    /// <summary>Its words.</summary>
    /// <exception cref="InvalidDataException">The folder has no tokenizer.</exception>
    public Tokenizer Tokenizer => model.Tokenizer ?? throw Tokenizer.Missing();

    internal ChatEncoder Chat => model.Chat;

    /// <summary>Requests that are being answered.</summary>
    public int Active { get { lock (gate) return active.Count; } }

    /// <summary>Requests that wait.</summary>
    public int Waiting { get { lock (gate) return waiting.Count; } }

    /// <summary>Tokens made since the beginning.</summary>
    public long TokensMade => Interlocked.Read(ref tokens);

    /// <summary>Ids of a text.</summary>
    public int[] Encode(string text) => model.Encode(text);

    /// <summary>Ids of a conversation that ends with the beginning of an answer.</summary>
    /// <inheritdoc cref="LanguageModel.Encode(System.Text.Json.Nodes.JsonArray, TemplateOptions?)"/>
    public int[] Encode(System.Text.Json.Nodes.JsonArray messages) => model.Encode(messages);

    /// <summary>The answer to a prompt as it comes.</summary>
    /// <param name="prompt">Ids.</param>
    /// <param name="options">How; beams cannot be streamed.</param>
    /// <param name="stream">Number that the random stream is keyed with, beside the seed.</param>
    /// <param name="cancel">Takes the request out.</param>
    /// <exception cref="QueueFullException">Too many wait.</exception>
    /// <exception cref="InvalidDataException">The prompt cannot be continued.</exception>
    public IAsyncEnumerable<AnswerPiece> StreamAsync(int[] prompt, GenerationOptions options, long stream = 0, CancellationToken cancel = default)
    {
        if (options.Beams > 1) throw new InvalidDataException("Found beam search, which knows its text only at the end. Expected one beam.");
        options = model.Whole(options);
        prompt = model.Fit(prompt, options);
        Lect.Models.Generator.Check(model.Model, [prompt], options.Decoding);
        var request = new Request(prompt, options, stream, model.Behind(prompt, options) ?? throw Tokenizer.Missing(), cancel);
        lock (gate)
        {
            ObjectDisposedException.ThrowIf(stopping, this);
            if (waiting.Count >= this.options.MaxQueue) DropLeft();
            if (waiting.Count >= this.options.MaxQueue) throw new QueueFullException(this.options.MaxQueue);
            waiting.Enqueue(request);
            Monitor.Pulse(gate);
        }
        return Pieces(request, cancel);
    }

    // Whose caller has gone holds no place.
    private void DropLeft()
    {
        var still = waiting.Where(r => !r.IsGone).ToList();
        foreach (var request in waiting.Where(r => r.IsGone)) request.Pieces.Writer.TryComplete();
        waiting.Clear();
        foreach (var request in still) waiting.Enqueue(request);
    }

    private static async IAsyncEnumerable<AnswerPiece> Pieces(Request request, [EnumeratorCancellation] CancellationToken cancel = default)
    {
        try
        {
            await foreach (var piece in request.Pieces.Reader.ReadAllAsync(cancel).ConfigureAwait(false)) yield return piece;
        }
        finally { request.IsLeft = true; }   // a caller that stops reading leaves the batch too
    }

    /// <summary>Does something else with the model on its thread, between two tokens.</summary>
    /// <param name="work">What.</param>
    /// <param name="cancel">Leaves it undone where it has not begun.</param>
    /// <exception cref="QueueFullException">Too much waits.</exception>
    public Task<T> RunAsync<T>(Func<LanguageModel, T> work, CancellationToken cancel = default)
    {
        var done = new TaskCompletionSource<T>(TaskCreationOptions.RunContinuationsAsynchronously);
        lock (gate)
        {
            ObjectDisposedException.ThrowIf(stopping, this);
            if (works.Count >= options.MaxQueue) throw new QueueFullException(options.MaxQueue);
            works.Enqueue(() =>
            {
                if (cancel.IsCancellationRequested) { done.TrySetCanceled(cancel); return; }
                try { done.SetResult(work(model)); }
                catch (Exception e) when (e is not OutOfMemoryException) { done.SetException(e); }
            });
            Monitor.Pulse(gate);
        }
        return done.Task;
    }

    private void Work()
    {
        DecodingBatch? batch = null;
        try
        {
            while (Take() is { } come)
            {
                try
                {
                    foreach (var left in active.Values.Where(r => r.IsGone).ToList())
                    {
                        batch?.Remove(left.Index);
                        End(left, left.Cut);
                    }
                    if (batch is { Count: > 0 }) Deliver(batch, batch.Step());
                    if (come.Count > 0) batch = Join(batch, come);
                }
                catch (Exception e) when (e is not OutOfMemoryException)
                {
                    foreach (var request in active.Values.ToList()) End(request, e);   // what was in work is lost; the host goes on
                    batch?.Dispose();
                    batch = null;
                }
            }
        }
        finally { batch?.Dispose(); }
    }

    // What is new since the last token; null: the end. Waits where there is nothing to do; at most one other work between two tokens.
    private List<Request>? Take()
    {
        Action? work;
        lock (gate)
        {
            while (works.Count == 0 && waiting.Count == 0 && active.Count == 0)
            {
                if (stopping) return null;
                Monitor.Wait(gate);
            }
            works.TryDequeue(out work);
        }
        work?.Invoke();
        var come = new List<Request>();
        lock (gate)
        {
            while (active.Count < options.MaxBatch && waiting.TryDequeue(out var request))
            {
                if (request.IsGone) { request.Pieces.Writer.TryComplete(request.Cut); continue; }
                request.Index = next++;
                active[request.Index] = request;
                come.Add(request);
            }
        }
        return come;
    }

    private DecodingBatch Join(DecodingBatch? batch, List<Request> come)
    {
        var fresh = new DecodingBatch(model.Model, come.ConvertAll(r => new DecodingRow(r.Index, r.Prompt, r.Options.Decoding, r.Stream)));
        Deliver(fresh, fresh.Step());
        if (batch is not { Count: > 0 }) { batch?.Dispose(); return fresh; }
        batch.Join(fresh);
        fresh.Dispose();
        return batch;
    }

    private void Deliver(DecodingBatch batch, IReadOnlyList<NewToken> step)
    {
        Interlocked.Add(ref tokens, step.Count);
        foreach (var token in step)
        {
            var request = active[token.Row];
            if (!request.Add(token)) continue;
            if (!token.IsEnd) batch.Remove(token.Row);   // at a stop string
            End(request);
        }
    }

    private void End(Request request, Exception? fault = null)
    {
        lock (gate) active.Remove(request.Index);
        request.Pieces.Writer.TryComplete(fault);
    }

    /// <summary>Takes no more requests, and waits until those that it has are answered.</summary>
    /// <param name="grace">How long; what is not done then is cut off.</param>
    public void Stop(TimeSpan grace)
    {
        lock (gate)
        {
            stopping = true;
            Monitor.Pulse(gate);
        }
        if (thread.Join(grace)) return;
        lock (gate)
        {
            foreach (var request in active.Values.Concat(waiting)) request.Cut = new ObjectDisposedException(nameof(ModelHost), "The server is stopping.");
            Monitor.Pulse(gate);
        }
        thread.Join();
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        Stop(TimeSpan.Zero);
        model.Dispose();
    }

    private sealed class Request(int[] prompt, GenerationOptions options, long stream, DecodeStream decode, CancellationToken cancel)
    {
        private readonly StopText stop = new(options.Stop);
        private readonly List<NewToken> held = [];

        public int Index { get; set; }
        public int[] Prompt => prompt;
        public GenerationOptions Options => options;
        public long Stream => stream;
        public volatile bool IsLeft;
        public volatile Exception? Cut;   // why it is not finished: an answer that was cut off must not pass for a whole one
        public bool IsGone => IsLeft || Cut is not null || cancel.IsCancellationRequested;
        public Channel<AnswerPiece> Pieces { get; } = Channel.CreateUnbounded<AnswerPiece>(new() { SingleReader = true, SingleWriter = true });

        /// <summary>Whether that was the last one.</summary>
        public bool Add(NewToken token)
        {
            held.Add(token);
            var text = decode.Add(token.Id) is { } piece ? stop.Add(piece) : "";
            var isEnd = token.IsEnd || stop.Found;
            if (isEnd && !stop.Found) text += stop.Add(decode.Flush()) + stop.Flush();
            if (text.Length == 0 && !isEnd) return false;
            var reason = !isEnd ? null : stop.Found || options.Decoding.IsEnd(token.Id) ? "stop" : "length";
            Pieces.Writer.TryWrite(new(text, [.. held], reason));
            held.Clear();
            return isEnd;
        }
    }
}
