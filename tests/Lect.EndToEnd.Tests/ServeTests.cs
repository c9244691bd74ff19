using System.Net.Http.Json;
using System.Text.Json.Nodes;
using System.Text.RegularExpressions;
using Lect.Testing;

namespace Lect.EndToEnd.Tests;

/// <summary>The studio as a program: what was voted survives kill -9, and it ends in good order.</summary>
public sealed class ServeTests : TemporaryFolder
{
    private async Task<(System.Diagnostics.Process Process, HttpClient Http)> Serve()
    {
        var process = Tool.Start("serve", "--model", Fixtures.Path_("hf", "gpt2"), "--port", "0", "--db", At("votes.db"), "--device", "cpu");
        while (await process.StandardError.ReadLineAsync() is { } line)
            if (Regex.Match(line, "http://[0-9.:]+", RegexOptions.None, TimeSpan.FromSeconds(1)) is { Success: true } found) return (process, new() { BaseAddress = new(found.Value + "/") });
        throw new InvalidOperationException("lect serve ended before it was up.");
    }

    private static JsonObject Vote(int i) => new() { ["rater"] = "ann", ["messages"] = new JsonArray(new JsonObject { ["role"] = "user", ["content"] = $"q{i}" }), ["first"] = "a", ["second"] = "b", ["first_model"] = "x", ["second_model"] = "y", ["choice"] = "first" };

    [Fact]
    public async Task Votes_survive_a_kill()
    {
        var (process, http) = await Serve();
        for (var i = 0; i < 20; i++) Assert.True((await http.PostAsJsonAsync("api/votes", Vote(i))).IsSuccessStatusCode);
        process.Kill();   // SIGKILL
        await process.WaitForExitAsync();
        http.Dispose();
        (process, http) = await Serve();
        Assert.Equal(20, (await http.GetStringAsync("api/votes")).Split('\n', StringSplitOptions.RemoveEmptyEntries).Length);
        http.Dispose();
        using (System.Diagnostics.Process.Start("kill", ["-TERM", process.Id.ToString(System.Globalization.CultureInfo.InvariantCulture)])) { }
        Assert.True(process.WaitForExit(TimeSpan.FromSeconds(30)));
        Assert.Equal(0, process.ExitCode);
        process.Dispose();
    }

    [Fact]
    public void What_cannot_be_served_ends_with_2()
    {
        var open = Tool.Run("serve", "--model", Fixtures.Path_("hf", "gpt2"), "--host", "0.0.0.0", "--db", At("x.db"));
        Assert.Equal(2, open.Code);
        Assert.Contains("--api-key", open.Error, StringComparison.Ordinal);
        var none = Tool.Run("serve", "--model", "no-such-folder", "--db", At("x.db"));
        Assert.Equal(2, none.Code);
        Assert.Contains("no-such-folder", none.Error, StringComparison.Ordinal);
        var few = Tool.Run("improve", "--model", Fixtures.Path_("hf", "gpt2"), "--db", At("y.db"), "--out", At("out"));
        Assert.Equal(2, few.Code);
        Assert.Contains("more votes", few.Error, StringComparison.Ordinal);
    }
}
