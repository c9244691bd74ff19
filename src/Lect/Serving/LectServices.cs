using Microsoft.Extensions.AI;
using Microsoft.Extensions.DependencyInjection;

namespace Lect;

/// <summary>Local models in a program's services.</summary>
public static class LectServices
{
    /// <summary>Adds a model folder: a decoder as <see cref="IChatClient"/>, an encoder as <see cref="IEmbeddingGenerator{TInput, TEmbedding}"/>; opened when it is first asked for.</summary>
    /// <param name="services">The program's.</param>
    /// <param name="folder">In Hugging Face's layout.</param>
    /// <param name="device">As in <see cref="LectChatClient.Load"/>.</param>
    /// <param name="adapters">Folders of LoRA adapters, for decoders.</param>
    /// <param name="type"><c>fp32</c>, or a decoder's weights rounded to <c>bf16</c>.</param>
    /// <exception cref="ArgumentException">Adapters or a type with an encoder.</exception>
    public static IServiceCollection AddLect(this IServiceCollection services, string folder, string device = "auto", IReadOnlyList<string>? adapters = null, string type = "fp32")
    {
        if (!Models.ModelFolder.IsEncoder(folder)) return services.AddSingleton<IChatClient>(_ => LectChatClient.Load(folder, device, adapters: adapters, type: type));
        if (adapters is { Count: > 0 } || type != "fp32") throw new ArgumentException($"Found {(type != "fp32" ? $"the type {type}" : "adapters")} with the encoder of {folder}. Expected it with a decoder.", type != "fp32" ? nameof(type) : nameof(adapters));
        return services.AddSingleton<IEmbeddingGenerator<string, Embedding<float>>>(_ => LectEmbeddingGenerator.Load(folder, device));
    }
}
