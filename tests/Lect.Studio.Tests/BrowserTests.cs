using System.Text.Json.Nodes;
using Deque.AxeCore.Playwright;
using Microsoft.Playwright;

namespace Lect.Studio.Tests;

/// <summary>Every page in Chromium: what it does, no error, no request to elsewhere, nothing that keeps people out.</summary>
public sealed class BrowserTests(TinyStudio studio) : IAsyncLifetime
{
    private static readonly string? s_chromium = new[] { Environment.GetEnvironmentVariable("CHROMIUM"), "/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome" }.FirstOrDefault(File.Exists);
    private readonly List<string> faults = [];
    private IPlaywright? playwright;
    private IBrowser? browser;
    private IPage page = null!;

    public async ValueTask InitializeAsync()
    {
        if (s_chromium is null) return;
        playwright = await Playwright.CreateAsync();
        browser = await playwright.Chromium.LaunchAsync(new() { ExecutablePath = s_chromium, Args = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"] });
        page = await browser.NewPageAsync();
        page.SetDefaultTimeout(20_000);
        page.Console += (_, m) => { if (m.Type is "error" or "warning") faults.Add(m.Text); };
        page.PageError += (_, m) => faults.Add(m);
        page.Request += (_, r) => { if (!r.Url.StartsWith(studio.Url, StringComparison.Ordinal) && !r.Url.StartsWith("data:", StringComparison.Ordinal) && !r.Url.StartsWith("blob:", StringComparison.Ordinal)) faults.Add("outside: " + r.Url); };
    }

    public async ValueTask DisposeAsync()
    {
        if (browser is not null) await browser.DisposeAsync();
        playwright?.Dispose();
    }

    private async Task Open(string name)
    {
        Assert.SkipWhen(s_chromium is null, "Chromium is not installed: .ci/run installs it where apt is");
        await page.GotoAsync($"{studio.Url}/#{name}");
        await page.WaitForSelectorAsync("main > .box > *");
    }

    private async Task Well()
    {
        var axe = await page.RunAxe();
        Assert.Empty(axe.Violations.Select(v => $"{v.Id}: {string.Join(" ", v.Nodes.Select(n => n.Html))}"));
        Assert.Empty(faults);
    }

    [Fact]
    public async Task A_chat_streams_asks_which_answer_is_preferred_and_goes_on_with_it()
    {
        await Open("chat");
        await page.Locator("summary").ClickAsync();
        await page.GetByLabel("Tokens at most").FillAsync("20");
        var input = page.GetByLabel("Your message");
        await input.FillAsync("what is a cat?");
        await input.PressAsync("Enter");
        await page.WaitForSelectorAsync("text=Regenerate");
        await input.FillAsync("what is a dog?");
        await page.GetByRole(AriaRole.Button, new() { Name = "Ask twice" }).ClickAsync();
        var prefer = page.GetByRole(AriaRole.Button, new() { Name = "I prefer response 2" });
        await Assertions.Expect(prefer).ToBeEnabledAsync();
        var second = (await page.Locator(".ask .answer >> nth=1 >> .text").InnerTextAsync()).Trim();
        await prefer.ClickAsync();
        await page.WaitForSelectorAsync(".ask", new() { State = WaitForSelectorState.Detached });
        Assert.Equal(second, (await page.Locator(".turn.assistant .text").Last.InnerTextAsync()).Trim());
        await Assertions.Expect(page.Locator("aside li").First).ToContainTextAsync("what is a cat?");
        var vote = (await studio.Http.GetStringAsync("api/votes")).Split('\n', StringSplitOptions.RemoveEmptyEntries).Select(l => JsonNode.Parse(l)!).Last(v => v["prompt"] is JsonArray);
        Assert.Equal(3, vote["prompt"]!.AsArray().Count);   // the conversation before it
        await page.GetByLabel("token probabilities").CheckAsync();
        Assert.Contains('%', await page.Locator(".token").First.GetAttributeAsync("title") ?? "");
        await Well();
        await page.ReloadAsync();
        await page.Locator("aside li button").First.ClickAsync();
        await Assertions.Expect(page.Locator(".turn")).ToHaveCountAsync(4);   // it was kept
        await page.SetViewportSizeAsync(390, 800);
        Assert.True(await page.EvaluateAsync<bool>("document.documentElement.scrollWidth <= innerWidth"));
        await Well();
    }

    [Fact]
    public async Task Votes_are_blind_by_keyboard_and_counted()
    {
        await Open("compare");
        await page.GetByLabel("Your name as a rater").FillAsync("browser");
        await page.GetByRole(AriaRole.Textbox, new() { Name = "Prompt" }).FillAsync("what is a sea?");
        await page.GetByRole(AriaRole.Button, new() { Name = "Ask both" }).ClickAsync();
        await Assertions.Expect(page.Locator("button[data-choice=first]")).ToBeEnabledAsync();
        Assert.DoesNotContain("llama", await page.Locator(".pair").InnerTextAsync(), StringComparison.Ordinal);
        await page.Locator("h2").First.ClickAsync();
        await page.Keyboard.PressAsync("2");
        await page.WaitForSelectorAsync("text=was llama");
        Assert.Contains("\"rater\":\"browser\"", await studio.Http.GetStringAsync("api/votes"), StringComparison.Ordinal);
        await Assertions.Expect(page.Locator("#counted")).ToContainTextAsync("votes of");
        var download = await page.RunAndWaitForDownloadAsync(() => page.GetByRole(AriaRole.Button, new() { Name = "Export for align reward and dpo" }).ClickAsync());
        Assert.Contains("\"chosen\"", await File.ReadAllTextAsync(await download.PathAsync()), StringComparison.Ordinal);
        await Well();
    }

    [Fact]
    public async Task Attention_vectors_runs_and_data_show()
    {
        await Open("attention");
        await page.GetByRole(AriaRole.Button, new() { Name = "Show" }).ClickAsync();
        var view = page.FrameLocator("iframe");
        await Assertions.Expect(view.Locator("#caption")).ToContainTextAsync("layer 1 of 2");
        await Open("vectors");
        await page.GetByLabel("Word", new() { Exact = true }).FillAsync("cat");
        await page.GetByRole(AriaRole.Button, new() { Name = "Nearest" }).ClickAsync();
        await Assertions.Expect(page.Locator("tbody tr").First).ToContainTextAsync("fish");
        await Open("data");
        await page.GetByLabel("Rendered for").SelectOptionAsync("llama");
        await Assertions.Expect(page.Locator(".learned").First).ToContainTextAsync("a dog.");
        await page.GetByRole(AriaRole.Button, new() { Name = "On" }).ClickAsync();
        await Assertions.Expect(page.Locator(".page .dim").First).ToContainTextAsync("rows 21 to 40");
        await Well();
        await Open("runs");
        await page.WaitForSelectorAsync("canvas");
        // A run that trains: a line more, and the curve has it.
        await page.GetByLabel("Figures").FillAsync("added_figure");
        await File.AppendAllTextAsync(studio.At("llama", "metrics.jsonl"), "{\"step\": 61, \"added_figure\": 1.5, \"sample\": \"a fish is a moon\"}\n");
        await page.WaitForSelectorAsync("section[aria-label=added_figure] canvas");
        await Well();
        await page.Locator("summary").Nth(1).ClickAsync();
        await Assertions.Expect(page.Locator("details .card").First).ToContainTextAsync("a fish is a moon");
        await Well();
        await page.EmulateMediaAsync(new() { ColorScheme = ColorScheme.Dark });
        await Well();
    }

    [Fact]
    public async Task What_a_model_writes_is_rendered_and_can_do_nothing()
    {
        await Open("chat");
        var html = await page.EvaluateAsync<string>("""
            async () => {
              const { rendered } = await import("./studio.js");
              const box = rendered("# Head\n\nRI = 2.44 * ((Mp / Mp')^(1/3)) * Rp\n\n$E = mc^2$, price $5 and $6\n\n<script>window.hacked = 1</script><img src=x onerror='window.hacked = 1'>\n\n[a](javascript:window.hacked=1) ![i](http://elsewhere.example/x.png) <style>*{display:none}</style>\n\n`code`");
              document.querySelector(".turns").append(box);
              await new Promise(r => setTimeout(r, 300));
              return (window.hacked ?? "safe") + " " + box.innerHTML;
            }
            """);
        Assert.StartsWith("safe", html, StringComparison.Ordinal);
        Assert.Contains("<strong>Head</strong>", html, StringComparison.Ordinal);
        Assert.Contains("<code>code</code>", html, StringComparison.Ordinal);
        Assert.Equal(2, System.Text.RegularExpressions.Regex.Count(html, "class=\"katex\""));   // the slide's formula and the dollars'
        Assert.Contains("2.44", html, StringComparison.Ordinal);
        Assert.DoesNotContain("href=\"javascript", html, StringComparison.Ordinal);
        Assert.DoesNotContain("<img", html, StringComparison.Ordinal);
        Assert.Empty(faults);
    }

    [Fact]
    public async Task The_interface_is_described_on_a_page()
    {
        await Open("chat");
        await page.GotoAsync(studio.Url + "/swagger/index.html");
        await Assertions.Expect(page.GetByText("/v1/chat/completions").First).ToBeVisibleAsync();
        Assert.Empty(faults);
    }
}
