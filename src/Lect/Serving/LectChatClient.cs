using System.Runtime.CompilerServices;
using System.Text.Json.Nodes;
using Lect.Models;
using Lect.Text;
using Microsoft.Extensions.AI;

namespace Lect;

/// <summary>A local model as <see cref="IChatClient"/> (Microsoft.Extensions.AI): no server in between. Safe to use from many threads: requests are answered together.</summary>
/// <param name="host">Who answers.</param>
/// <param name="name">What the model is called.</param>
/// <remarks>Texts only. Tools and a response format are refused: these models are not made for them.</remarks>
public sealed class LectChatClient(ModelHost host, string name) : IChatClient
{
    private readonly ChatClientMetadata metadata = new("lect", defaultModelId: name);

    /// <summary>Opens a model folder.</summary>
    /// <inheritdoc cref="LanguageModel.Load"/>
    public static LectChatClient Load(string folder, string device = "auto", long? context = null, IReadOnlyList<string>? adapters = null, string type = "fp32") => new(new(LanguageModel.Load(folder, device, context, adapters, type)), ModelFolder.NameOf(folder));

    /// <inheritdoc/>
    public async Task<ChatResponse> GetResponseAsync(IEnumerable<ChatMessage> messages, Microsoft.Extensions.AI.ChatOptions? options = null, CancellationToken cancellationToken = default) =>
        await GetStreamingResponseAsync(messages, options, cancellationToken).ToChatResponseAsync(cancellationToken).ConfigureAwait(false);

    /// <inheritdoc/>
    public IAsyncEnumerable<ChatResponseUpdate> GetStreamingResponseAsync(IEnumerable<ChatMessage> messages, Microsoft.Extensions.AI.ChatOptions? options = null, CancellationToken cancellationToken = default)
    {
        if (options?.Tools is { Count: > 0 }) throw new NotSupportedException("Found tools. Expected none: a local model answers in text.");
        if (options?.ResponseFormat is not (null or ChatResponseFormatText)) throw new NotSupportedException("Found a response format of JSON. Expected text: Lect does not constrain answers.");
        var prompt = host.Encode(Turns(messages, options?.Instructions));
        var settings = host.Defaults.Requested(options?.Temperature, options?.TopP, options?.TopK, options?.MaxOutputTokens, options?.StopSequences is { } stop ? [.. stop] : [], options?.FrequencyPenalty, options?.PresencePenalty, options?.Seed, host.Defaults.Decoding.Sample);
        return Updates(prompt, settings, cancellationToken);
    }

    private async IAsyncEnumerable<ChatResponseUpdate> Updates(int[] prompt, GenerationOptions settings, [EnumeratorCancellation] CancellationToken cancel)
    {
        var (id, made) = (Guid.NewGuid().ToString("N"), 0);
        await foreach (var piece in host.StreamAsync(prompt, settings, cancel: cancel).ConfigureAwait(false))
        {
            made += piece.Tokens.Count;
            var update = new ChatResponseUpdate(ChatRole.Assistant, piece.Text) { ResponseId = id, MessageId = id, ModelId = name, FinishReason = piece.FinishReason switch { "stop" => ChatFinishReason.Stop, "length" => ChatFinishReason.Length, _ => null } };
            if (piece.FinishReason is not null) update.Contents.Add(new UsageContent(new() { InputTokenCount = prompt.Length, OutputTokenCount = made, TotalTokenCount = prompt.Length + made }));
            yield return update;
        }
    }

    private static JsonArray Turns(IEnumerable<ChatMessage> messages, string? instructions)
    {
        var turns = new JsonArray();
        if (!string.IsNullOrEmpty(instructions)) turns.Add(ChatData.Message("system", instructions));
        foreach (var message in messages)
        {
            if (message.Contents.FirstOrDefault(c => c is not TextContent) is { } other) throw new NotSupportedException($"Found {other.GetType().Name} in a message. Expected text.");
            turns.Add(ChatData.Message(message.Role.Value, message.Text));
        }
        return turns.Count > 0 ? turns : throw new ArgumentException("Found no messages. Expected at least one.", nameof(messages));
    }

    /// <inheritdoc/>
    public object? GetService(Type serviceType, object? serviceKey = null) => serviceKey is not null ? null : serviceType == typeof(ChatClientMetadata) ? metadata : serviceType == typeof(ModelHost) ? host : serviceType.IsInstanceOfType(this) ? this : null;

    /// <inheritdoc/>
    public void Dispose() => host.Dispose();
}

/// <summary>An encoder's vectors as <see cref="IEmbeddingGenerator{TInput, TEmbedding}"/>. Safe to use from many threads: one request after the other.</summary>
/// <param name="embedder">Owned from now on.</param>
/// <param name="name">What the model is called.</param>
public sealed class LectEmbeddingGenerator(TextEmbedder embedder, string name) : IEmbeddingGenerator<string, Embedding<float>>
{
    private readonly EmbeddingGeneratorMetadata metadata = new("lect", defaultModelId: name, defaultModelDimensions: (int)embedder.Model.Width);
    private readonly SemaphoreSlim gate = new(1);

    /// <summary>Opens a model folder.</summary>
    /// <inheritdoc cref="TextEmbedder.Load"/>
    public static LectEmbeddingGenerator Load(string folder, string device = "auto") => new(TextEmbedder.Load(folder, device), ModelFolder.NameOf(folder));

    /// <inheritdoc/>
    public async Task<GeneratedEmbeddings<Embedding<float>>> GenerateAsync(IEnumerable<string> values, EmbeddingGenerationOptions? options = null, CancellationToken cancellationToken = default)
    {
        var (made, count) = (new GeneratedEmbeddings<Embedding<float>>(), 0L);
        foreach (var chunk in values.Select(v => embedder.Encode(v, truncate: true)).Chunk(32))
        {
            var vectors = await RunAsync(e => e.Embed(chunk), cancellationToken).ConfigureAwait(false);
            made.AddRange(vectors.Select(v => new Embedding<float>(v) { ModelId = name }));
            count += chunk.Sum(r => r.Ids.Length);
        }
        made.Usage = new() { InputTokenCount = count, TotalTokenCount = count };
        return made;
    }

    /// <summary>Does something else with the model; one caller at a time, and no thread waits.</summary>
    /// <param name="work">What.</param>
    /// <param name="cancel">Leaves it undone where it has not begun.</param>
    public async Task<T> RunAsync<T>(Func<TextEmbedder, T> work, CancellationToken cancel = default)
    {
        await gate.WaitAsync(cancel).ConfigureAwait(false);
        try { return await Task.Run(() => work(embedder), cancel).ConfigureAwait(false); }
        finally { gate.Release(); }
    }

    internal int Tokens(string text, string? pair) => embedder.Encode(text, pair).Ids.Length;

    /// <inheritdoc/>
    public object? GetService(Type serviceType, object? serviceKey = null) => serviceKey is not null ? null : serviceType == typeof(EmbeddingGeneratorMetadata) ? metadata : serviceType.IsInstanceOfType(this) ? this : null;

    /// <inheritdoc/>
    public void Dispose()
    {
        embedder.Dispose();
        gate.Dispose();
    }
}
