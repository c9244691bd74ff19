using Microsoft.Extensions.AI;
using Microsoft.Extensions.DependencyInjection;

namespace Lect;

/// <summary>Local models in a program's services.</summary>
public static class LectServices
{
    /// <summary>Adds a model folder: a decoder as <see cref="IChatClient"/>, an encoder as <see cref="IEmbeddingGenerator{TInput, TEmbedding}"/>; opened when it is first asked for.</summary>
    /// <param name="services">The program's.</param>
    /// <param name="folder">In Hugging Face's layout.</param>
    /// <param name="adapters">Folders of LoRA adapters.</param>
    /// <exception cref="ArgumentException">Adapters with an encoder.</exception>
    public static IServiceCollection AddLect(this IServiceCollection services, string folder, params string[] adapters)
    {
        if (!Models.ModelFolder.IsEncoder(folder)) return services.AddSingleton<IChatClient>(_ => LectChatClient.Load(folder, adapters: adapters));
        if (adapters.Length > 0) throw new ArgumentException($"Found adapters with the encoder of {folder}. Expected them with a decoder.", nameof(adapters));
        return services.AddSingleton<IEmbeddingGenerator<string, Embedding<float>>>(_ => LectEmbeddingGenerator.Load(folder));
    }
}
