using System.Net.Http.Json;
using System.Text.Json.Nodes;
using Lect.Testing;

namespace Lect.Studio.Tests;

/// <summary>Votes and conversations in both databases, their way into training and back.</summary>
public sealed class StorageTests(TinyStudio studio) : TemporaryFolder
{
    private Postgres? postgres;

    public override void Dispose()
    {
        postgres?.Dispose();
        Microsoft.Data.Sqlite.SqliteConnection.ClearAllPools();
        base.Dispose();
    }

    private string Database(string kind)
    {
        if (kind == "sqlite") return At("studio.db");
        postgres ??= Postgres.StartIfThere();
        Assert.SkipWhen(postgres is null, "PostgreSQL is not installed: .ci/run installs it where apt is");
        return postgres!.Connection("lect");
    }

    private static StoredVote Vote(string rater, string prompt, string first, string second, string choice, string firstModel = "a", string secondModel = "b")
    {
        var messages = new JsonArray(new JsonObject { ["role"] = "user", ["content"] = prompt }).ToJsonString();
        return new() { Rater = rater, Prompt = messages, First = first, Second = second, FirstModel = firstModel, SecondModel = secondModel, Choice = choice, Fingerprint = StudioStore.FingerprintOf(rater, messages, first, second, choice) };
    }

    [Theory]
    [InlineData("sqlite")]
    [InlineData("postgres")]
    public async Task Votes_are_kept_once_and_in_order(string kind)
    {
        var db = Database(kind);
        var store = StudioStore.Open(db);
        Assert.True(await store.Add(Vote("ann", "q", "one", "two", "first")));
        Assert.False(await store.Add(Vote("ann", "q", "two", "one", "second")));   // the same, the other way round
        Assert.True(await store.Add(Vote("bob", "q", "one", "two", "first")));
        Assert.True(await store.Add(Vote("ann", "q", "one", "two", "tie")));
        Assert.Equal(["ann", "bob", "ann"], (await StudioStore.Open(db).Votes()).Select(v => v.Rater));   // opened again: nothing is lost, nothing migrated twice
        var id = Guid.NewGuid();
        await store.Keep(id, "begins", "llama", "[]");
        await store.Keep(id, "goes on", "llama", """[{"role":"user","content":"x"}]""");
        Assert.Equal(("goes on", 1), ((await store.Conversation(id))!.Title, (await store.Conversations()).Count));
        await store.Forget(id);
        Assert.Null(await store.Conversation(id));
    }

    [Theory]
    [InlineData("sqlite")]
    [InlineData("postgres")]
    public async Task Many_may_write_at_the_same_time(string kind)
    {
        var db = Database(kind);
        StudioStore.Open(db);
        await Task.WhenAll(Enumerable.Range(0, 16).Select(w => Task.Run(async () =>
        {
            var store = StudioStore.Open(db);
            for (var i = 0; i < 10; i++) Assert.True(await store.Add(Vote($"rater {w}", $"prompt {i}", "x", "y", "first")));
        })));
        Assert.Equal(160, (await StudioStore.Open(db).Votes()).Count);
    }

    [Fact]
    public async Task What_is_exported_is_what_training_reads_and_comes_in_again()
    {
        var (app, url) = await TinyStudio.Start(TinyStudio.Options(studio.Folder) with { Db = At("export.db"), Vectors = [] });
        await using (app)
        {
            using var http = new HttpClient { BaseAddress = new(url + "/") };
            async Task Post(string prompt, string first, string second, string choice, string rater = "ann") => Assert.True((await http.PostAsJsonAsync("api/votes", new JsonObject { ["rater"] = rater, ["messages"] = new JsonArray(new JsonObject { ["role"] = "user", ["content"] = prompt }), ["first"] = first, ["second"] = second, ["first_model"] = "llama", ["second_model"] = "other", ["choice"] = choice })).IsSuccessStatusCode);
            for (var i = 0; i < 40; i++) await Post($"what is a {i}?", i % 2 == 0 ? "yes it is." : "no.", i % 2 == 0 ? "no." : "yes it is.", i % 2 == 0 ? "first" : "second");
            await Post("tie?", "x", "y", "tie");
            await Post("bad?", "x", "y", "bad");
            await Post("what is a 0?", "yes it is.", "no.", "second", "bob");
            var lines = (await http.GetStringAsync("api/votes")).Split('\n', StringSplitOptions.RemoveEmptyEntries);
            Assert.Equal(41, lines.Length);
            Assert.All(lines[..40], l => Assert.Equal("yes it is.", (string)JsonNode.Parse(l)!["chosen"]!));
            var all = await http.GetStringAsync("api/votes?ties=true");
            Assert.Equal(2, all.Split('\n').Count(l => l.Contains("\"tie\":true", StringComparison.Ordinal)));

            // A reward model learns from the file as it is.
            var file = At("votes.jsonl");
            await File.WriteAllTextAsync(file, all);
            Alignment.Run(new() { Recipe = "reward", Model = new() { Path = studio.Chat }, Data = new() { Path = file, Validation = 0.2 }, Train = new() { Steps = 30, BatchSize = 8, Lr = 2e-3, EvalEvery = 10, CheckpointEvery = 0, Precision = "fp32" } }, At("reward"));
            Assert.True((double)RunFolder.ReadMetrics(At("reward")).Last(m => m["val_accuracy"] is not null)["val_accuracy"]! > 0.8);

            var numbers = JsonNode.Parse(await http.GetStringAsync("api/votes/statistics"))!;
            Assert.Equal((43, 42, 1), ((int)numbers["votes"]!, (int)numbers["raters"]!["ann"]!, (int)numbers["agreement"]!["items"]!));
            Assert.True((double)numbers["agreement"]!["kappa"]! <= 0);   // the one that both saw, they saw differently
            Assert.Equal(2, numbers["models"]!.AsArray().Count);

            var other = StudioServer.Create(TinyStudio.Options(studio.Folder) with { Db = At("import.db"), Models = [], Vectors = [] });
            await using (other)
            {
                await other.StartAsync();
                using var there = new HttpClient { BaseAddress = new(other.Urls.Single() + "/") };
                var first = await there.PostAsync("api/votes/import", new StringContent(all));
                Assert.Equal(43, (int)JsonNode.Parse(await first.Content.ReadAsStringAsync())!["stored"]!);
                Assert.Equal(43, (int)JsonNode.Parse(await (await there.PostAsync("api/votes/import", new StringContent(all))).Content.ReadAsStringAsync())!["known"]!);
                Assert.Equal(all, await there.GetStringAsync("api/votes?ties=true"));
                var bad = await there.PostAsync("api/votes/import", new StringContent(all + "\n{\"prompt\": \"x\"}\n"));
                Assert.Contains("line 45", await bad.Content.ReadAsStringAsync(), StringComparison.Ordinal);
            }
        }
    }

    [Fact]
    public async Task The_circle_closes_where_votes_are_clear_and_says_how_many_are_missing()
    {
        var db = At("circle.db");
        var store = StudioStore.Open(db);
        async Task Add(int from, int to)
        {
            for (var i = from; i < to; i++) await store.Add(Vote("ann", $"what is a {i}?", i % 2 == 0 ? "yes it is." : "no.", i % 2 == 0 ? "no." : "yes it is.", i % 2 == 0 ? "first" : "second"));
        }
        await Add(0, 60);
        var options = new ImproveOptions { Model = studio.Chat, Db = db, Out = At("better"), Device = "cpu", Sets = ["train.lr=2e-3", "train.epochs=2", "train.eval_every=0", "train.checkpoint_every=0"] };
        Assert.Contains("are missing", (await Assert.ThrowsAsync<InvalidDataException>(() => Improve.Run(options))).Message, StringComparison.Ordinal);
        await Add(60, 260);
        var found = await Improve.Run(options);
        Assert.True(found.HeldOut >= Improve.LeastHeldOut && found.HasWon && found.Agrees > 0.9, $"{found}");
        using (var better = LanguageModel.Load(options.Out)) Assert.NotEmpty(better.Generate(better.Encode("a cat")).Ids);
        Assert.Contains("a new folder", (await Assert.ThrowsAsync<InvalidDataException>(() => Improve.Run(options))).Message, StringComparison.Ordinal);
        var adapter = options with { Out = At("adapter"), Sets = [.. options.Sets, "lora.r=4", "lora.target_modules=all-linear", "train.lr=1e-2"] };
        Assert.True((await Improve.Run(adapter)).HasWon);
        using (var merged = LanguageModel.Load(adapter.Out)) Assert.NotEmpty(merged.Generate(merged.Encode("a cat")).Ids);
        // Nothing is learned where nothing may move: no winner, no model.
        var same = options with { Out = At("same"), Sets = ["train.lr=1e-30", "train.steps=1"] };
        Assert.False((await Improve.Run(same)).HasWon);
        Assert.False(File.Exists(Path.Combine(same.Out, "config.json")));
        Assert.Contains("another --out", (await Assert.ThrowsAsync<InvalidDataException>(() => Improve.Run(same with { Method = "ppo" }))).Message, StringComparison.Ordinal);
        await Add(260, 300);   // judged again it is judged on the votes that it began with
        Assert.Equal(found.HeldOut, (await Improve.Run(same)).HeldOut);
    }
}
