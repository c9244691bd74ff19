using System.Text.Json.Nodes;
using Lect.Models;
using Microsoft.AspNetCore.Builder;

[assembly: AssemblyFixture(typeof(Lect.Studio.Tests.TinyStudio))]

namespace Lect.Studio.Tests;

/// <summary>A studio over a Llama of two layers that has read a little, a small BERT and word vectors; made once for all tests.</summary>
public sealed class TinyStudio : IAsyncLifetime
{
    private static readonly string[] s_things = ["cat", "dog", "sun", "sea", "tree", "bird", "fish", "moon"];
    private WebApplication? app;

    public string Folder { get; } = Directory.CreateTempSubdirectory("studio").FullName;
    public string Url { get; private set; } = "";
    public HttpClient Http { get; private set; } = null!;
    public string Chat => At("llama");

    public string At(params string[] parts) => Path.Combine([Folder, .. parts]);

    internal T Get<T>() where T : notnull => (T)app!.Services.GetService(typeof(T))!;

    public static StudioOptions Options(string folder) => new() { Models = [Path.Combine(folder, "llama"), Path.Combine(folder, "bert")], Vectors = [Path.Combine(folder, "words.vec")], Port = 0, Db = Path.Combine(folder, "studio.db"), Runs = folder, Data = Path.Combine(folder, "data"), Device = "cpu", RequestsPerMinute = 100_000 };

    public async ValueTask InitializeAsync()
    {
        var text = At("text.txt");
        await File.WriteAllLinesAsync(text, Enumerable.Range(0, 400).Select(i => $"### User:\nwhat is a {s_things[i % 8]}?\n\n### Assistant:\na {s_things[i % 8]} is a {s_things[(i + 1) % 8]}.\n"));
        PretrainGpt.Run(new()
        {
            Tokenizer = new() { Kind = "bpe", Size = 300 },
            Data = new() { Path = text },
            Model = new() { ["architecture"] = "llama", ["hidden_size"] = 32, ["num_hidden_layers"] = 2, ["num_attention_heads"] = 2, ["max_position_embeddings"] = 256, ["tie_word_embeddings"] = true },
            Train = new() { Steps = 60, BatchSize = 8, Block = 32, Lr = 5e-3, EvalEvery = 20, CheckpointEvery = 0, Precision = "fp32", SampleTokens = 0 },
        }, Chat);
        Directory.CreateDirectory(At("bert"));
        await File.WriteAllLinesAsync(At("bert", "vocab.txt"), ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "what", "is", "a", "?", ".", .. s_things]);
        using (var model = ModelFolder.CreateEncoder(new() { ["model_type"] = "bert", ["hidden_size"] = 32, ["num_hidden_layers"] = 2, ["num_attention_heads"] = 2, ["intermediate_size"] = 64, ["max_position_embeddings"] = 64, ["vocab_size"] = 18, ["pad_token_id"] = 0 }, EncoderHead.ForMaskedLM))
        {
            model.Initialize(1);
            ModelFolder.Save(model, At("bert"));
        }
        await File.WriteAllLinesAsync(At("words.vec"), ["8 3", .. s_things.Select((w, i) => FormattableString.Invariant($"{w} {Math.Cos(i)} {Math.Sin(i)} 0.5"))]);
        Directory.CreateDirectory(At("data"));
        await File.WriteAllLinesAsync(At("data", "chat.jsonl"), Enumerable.Range(0, 45).Select(i => new JsonObject { ["prompt"] = $"what is a {s_things[i % 8]}?", ["completion"] = $"a {s_things[(i + 1) % 8]}." }.ToJsonString()));
        (app, Url) = await Start(Options(Folder));
        Http = new() { BaseAddress = new(Url + "/") };
    }

    internal static async Task<(WebApplication App, string Url)> Start(StudioOptions options)
    {
        var started = StudioServer.Create(options);
        await started.StartAsync();
        return (started, started.Urls.Single());
    }

    public async ValueTask DisposeAsync()
    {
        Http.Dispose();
        if (app is not null) await app.DisposeAsync();
        Directory.Delete(Folder, recursive: true);
    }
}
