using System.ClientModel;
using System.Text.RegularExpressions;
using Lect.Testing;
using Microsoft.Extensions.AI;
using Microsoft.Extensions.DependencyInjection;
using OpenAI;
using OpenAI.Chat;

namespace Lect.Studio.Tests;

/// <summary>The code of docs/howto, run; and that it is this code.</summary>
public sealed partial class HowToTests(TinyStudio studio) : TemporaryFolder
{
    [Fact]
    public async Task The_how_to_runs()
    {
        var (folder, encoder, url, name) = (studio.Chat, studio.At("bert"), studio.Url, "llama");
        var (prompts, run) = (At("prompts.jsonl"), At("run"));
        await File.WriteAllLinesAsync(prompts, Enumerable.Range(0, 64).Select(i => $$"""{"prompt": "what is a {{i}}?"}"""));
        {
            using var services = new ServiceCollection().AddLect(folder).BuildServiceProvider();
            var chat = services.GetRequiredService<IChatClient>();
            await foreach (var update in chat.GetStreamingResponseAsync("What does String.Trim do?", new() { MaxOutputTokens = 40 }))
                Console.Write(update.Text);
        }
        {
            using var embedder = LectEmbeddingGenerator.Load(encoder);
            var vectors = await embedder.GenerateAsync(["a cat", "a dog"]);
            Assert.Equal(2, vectors.Count);
        }
        {
            using var model = LanguageModel.Load(folder);
            var scored = model.Score(model.Encode("a cat is a dog"));
            Console.WriteLine($"{scored.Total:0.0} nats over {scored.Ids.Length} tokens");
        }
        {
            using var writer = LanguageModel.Load(folder);
            var options = writer.Defaults with { Stop = ["\n"], Decoding = writer.Defaults.Decoding with { Sample = true, Temperature = 0.8, TopP = 0.95, MaxNewTokens = 40, Seed = 1 } };
            foreach (var piece in writer.Stream("a cat is", options)) Console.Write(piece);
        }
        {
            var config = new AlignConfig
            {
                Recipe = "ppo",
                Model = new() { Path = folder },
                Data = new() { Path = prompts },                     // {"prompt": "…"} a line
                Rollout = new() { Batch = 8, MaxNewTokens = 8 },
                Train = new() { Steps = 2, BatchSize = 8 },
            };
            Ppo.Run(config, run, answers => [.. answers.Select(a => a.Response.EndsWith('.') ? 1.0 : 0)]);
        }
        {
            var client = new OpenAIClient(new ApiKeyCredential("none"), new() { Endpoint = new($"{url}/v1") });
            ChatCompletion answer = await client.GetChatClient(name).CompleteChatAsync("What does String.Trim do?");
            Assert.NotNull(answer.Content);
        }
    }

    [Fact]
    public void What_is_printed_is_what_runs()
    {
        var compiled = Plain(File.ReadAllText(Path.Combine(Fixtures.Root, "tests", "Lect.Studio.Tests", "HowToTests.cs")));
        var blocks = Block().Matches(File.ReadAllText(Path.Combine(Fixtures.Root, "docs", "howto", "dotnet.md")));
        Assert.NotEmpty(blocks);
        foreach (Match block in blocks) Assert.Contains(Plain(block.Groups[1].Value), compiled, StringComparison.Ordinal);
    }

    private static string Plain(string code) => string.Join('\n', code.Split('\n').Select(l => l.Trim()).Where(l => l.Length > 0));

    [GeneratedRegex("```csharp\n(.*?)```", RegexOptions.Singleline)]
    private static partial Regex Block();
}
