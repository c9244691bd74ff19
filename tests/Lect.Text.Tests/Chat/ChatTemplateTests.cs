using System.Text.Json.Nodes;
using Lect.Testing;

namespace Lect.Text.Tests.Chat;

/// <summary>Jinja and chat templates against Jinja2 3.1.6 and transformers' apply_chat_template (tests/fixtures/chat).</summary>
public sealed class ChatTemplateTests
{
    private static readonly DateTime s_now = new(2025, 3, 7, 9, 5, 3, DateTimeKind.Unspecified);

    private static JsonNode Json(string name) => Fixtures.Json(Fixtures.Path_("chat", name));

    public static TheoryData<string> Templates { get; } = [.. Directory.GetFiles(Fixtures.Path_("chat", "templates")).Select(f => Path.GetFileNameWithoutExtension(f)!).Order(StringComparer.Ordinal)];

    private static string? Differs(JsonObject expected, Func<string> render)
    {
        try
        {
            var text = render();
            return (string?)expected["text"] == text ? null : $"found {text.ReplaceLineEndings("\\n")}, expected {expected["text"]?.ToJsonString() ?? "an error: " + expected["error"]!["message"]}";
        }
        catch (InvalidDataException e)
        {
            if (expected["error"] is not { } error) return $"found the error {e.Message}, expected {expected["text"]!.ToJsonString()}";
            return (bool)error["match_message"]! && e.Message != (string)error["message"]! ? $"found the error {e.Message}, expected {error["message"]}" : null;
        }
    }

    [Fact]
    public void Each_feature_of_Jinja_gives_the_same_text()
    {
        var wrong = new List<string>();
        var cases = Json("jinja.json")["cases"]!.AsArray();
        foreach (var one in cases.Select(c => c!.AsObject()))
        {
            var variables = one["variables"]!.AsObject();
            if (Differs(one, () => JinjaText((string)one["template"]!, variables)) is { } difference) wrong.Add($"{one["template"]!.ToJsonString()}: {difference}");
        }
        Assert.Equal(337, cases.Count);
        Assert.True(wrong.Count == 0, string.Join('\n', wrong));
    }

    // Every name of the case is a variable; the messages that Render wants are not looked at.
    private static string JinjaText(string template, JsonObject variables)
    {
        var given = (JsonObject)variables.DeepClone();
        var messages = given["messages"]?.DeepClone();
        given.Remove("messages");
        if (messages is null) return new ChatTemplate(template).Render([new JsonObject { ["role"] = "user" }], new() { Variables = given, Now = s_now }).Text;
        given["given_messages"] = messages;
        return new ChatTemplate(template.Replace("messages", "given_messages", StringComparison.Ordinal)).Render([new JsonObject { ["role"] = "user" }], new() { Variables = given, Now = s_now }).Text;
    }

    [Theory]
    [MemberData(nameof(Templates))]
    public void Each_template_renders_each_conversation(string name)
    {
        var fixture = Json(Path.Combine("templates", name + ".json"));
        var conversations = Json("conversations.json")["conversations"]!.AsArray().ToDictionary(c => (string)c!["name"]!, c => c!.AsObject());
        var template = new ChatTemplate((string)fixture["template"]!, fixture["special_tokens"]!.AsObject().ToDictionary(t => t.Key, t => (string)t.Value!));
        var wrong = new List<string>();
        foreach (var one in fixture["cases"]!.AsArray().Select(c => c!.AsObject()))
        {
            var conversation = conversations[(string)one["conversation"]!];
            if (Differs(one, () => template.Render(conversation["messages"]!.AsArray(), Options(conversation, one["options"]!.AsObject())).Text) is { } difference) wrong.Add($"{one["conversation"]} {one["options"]!.ToJsonString()}: {difference}");
        }
        Assert.True(wrong.Count == 0, $"{wrong.Count}\n" + string.Join('\n', wrong.Take(10)));
    }

    private static TemplateOptions Options(JsonObject conversation, JsonObject given)
    {
        var variables = (JsonObject)given.DeepClone();
        foreach (var key in (string[])["add_generation_prompt", "continue_final_message", "truncation", "max_length"]) variables.Remove(key);
        return new()
        {
            Tools = conversation["tools"] as JsonArray,
            Documents = conversation["documents"] as JsonArray,
            AddGenerationPrompt = (bool?)given["add_generation_prompt"] ?? false,
            ContinueFinalMessage = given["continue_final_message"] switch { null => null, JsonValue v when v.TryGetValue<bool>(out var on) => on ? "content" : null, var field => (string)field! },
            Variables = variables,
            Now = s_now,
        };
    }

    [Fact]
    public void Masks_mark_the_tokens_that_the_assistant_said()
    {
        var tokenizer = Tokenizer.Load(Fixtures.Path_("chat", "tokenizer.json"));
        var conversations = Json("conversations.json")["conversations"]!.AsArray().ToDictionary(c => (string)c!["name"]!, c => c!.AsObject());
        var cases = Json("assistant-masks.json")["cases"]!.AsArray();
        foreach (var one in cases.Select(c => c!.AsObject()))
        {
            var conversation = conversations[(string)one["conversation"]!];
            var options = one["options"]!.AsObject();
            var template = new ChatTemplate((string)one["template"]!, one["special_tokens"]!.AsObject().ToDictionary(t => t.Key, t => (string)t.Value!));
            var chat = template.Render(conversation["messages"]!.AsArray(), Options(conversation, options));
            var tokens = (bool?)options["truncation"] == true
                ? tokenizer.Encode(chat.Text, null, new TokenLimit { Length = (int)options["max_length"]!, AddSpecialTokens = false })[0]
                : tokenizer.Encode(chat.Text, addSpecialTokens: false);
            var mask = ChatTemplate.AssistantMask(chat, tokens);
            Assert.StartsWith((string)one["text"]!, chat.Text, StringComparison.Ordinal);   // the fixture keeps the text without the open answer
            Assert.Equal(one["ids"]!.AsArray().Select(i => (int)i!), tokens.Ids);
            Assert.Equal(one["assistant_masks"]!.AsArray().Select(i => (int)i!), mask);
        }
        Assert.NotEmpty(cases);
    }

    [Theory]
    [InlineData("{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}", "comes to an end")]
    [InlineData("{% macro f(x) %}{{ f(x) }}{% endmacro %}{{ f(1) }}", "calls itself")]
    [InlineData("{% set x = 'aaaaaaaaaa' * 1000000000 %}", "steps and characters")]
    [InlineData("{% set ns = namespace(t='a') %}{% for i in range(60) %}{% set ns.t = ns.t + ns.t %}{% endfor %}", "steps and characters")]
    [InlineData("{{ 10 ** 100000000 }}", "bits")]
    [InlineData("{{ range(10000000) | list }}", "range of")]
    [InlineData("{{ messages.__class__.__mro__ }}", "not there")]
    [InlineData("{{ ''.format.__globals__.sys }}", "not there")]
    [InlineData("{{ messages.append(1) }}", "not there")]
    [InlineData("{% include '/etc/passwd' %}", "other templates")]
    [InlineData("{% set ns = namespace() %}{% set ns.a = ns %}{{ ns }}", "hold themselves")]
    [InlineData("{% set ns = namespace(a=1) %}{% for i in range(50000) %}{% set ns.a = [ns.a] %}{% endfor %}{{ ns.a }}", "nested too deep")]
    [InlineData("{% set ns = namespace(a=[1, 1]) %}{% for i in range(40) %}{% set ns.a = [ns.a, ns.a] %}{% endfor %}{{ ns.a }}", "steps and characters")]
    [InlineData("{% set s = 'x' * 1000000 %}{{ ([s] * 500) | sort | length }}", "steps and characters")]
    [InlineData("{% set s = 'x' * 1000000 %}{{ ([s] * 500) | unique | list | length }}", "steps and characters")]
    [InlineData("{{ ([1] * 1000) | tojson(indent='x' * 2000000) | length }}", "indent")]
    [InlineData("{{ ([1] * 100000) | tojson(separators=('y' * 1000, ':')) | length }}", "steps and characters")]
    [InlineData("{% set s = '\"' * 1000000 %}{% set ns = namespace(l=[]) %}{% for i in range(100) %}{% set ns.l = [ns.l, s | e] %}{% endfor %}", "steps and characters")]
    [InlineData("{% set s = 'x' * 1000000 %}{% for i in range(100) %}{% set t = s | upper %}{% endfor %}", "steps and characters")]
    [InlineData("{{ 'a'.ljust(5, '') }}", "cannot be done")]
    [InlineData("{{ dict(a=1, a=2) }}", "cannot be done")]
    [InlineData("{{ '{-1}'.format('a') }}", "cannot be done")]
    [InlineData("{{ '%d' % 1e400 }}", "cannot be done")]
    [InlineData("{{ 'abcdefghij' | truncate(100, leeway=-95) }}", "cannot be done")]
    [InlineData("{{ {1: 2, 'a': 3} | tojson(sort_keys=true) }}", "cannot be done")]
    [InlineData("{{ ((((((((((1", "line 1")]
    [InlineData("a\nb{% if x %}", "line 2")]
    public void A_template_that_loops_or_reaches_out_is_stopped(string template, string says)
    {
        var error = Assert.Throws<InvalidDataException>(() => new ChatTemplate(template).Render([new JsonObject { ["role"] = "user", ["content"] = "x" }]));
        Assert.Contains(says, error.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("{{ ('9' * 1000000) | int }}", "0")]   // as in Python: more than 4,300 digits are no number
    [InlineData("{% set s = 'a' * 300000 %}{{ s | trim('b' * 100000 + 'a') | length }}", "0")]
    public void Long_texts_take_no_time(string template, string expected) => Assert.Equal(expected, new ChatTemplate(template).Render([new JsonObject { ["role"] = "user", ["content"] = "x" }]).Text);

    [Fact]
    public void Nesting_without_end_is_refused_and_not_a_crash()
    {
        foreach (var open in (string[])["(", "[", "-", "not ", "{'a':"])
            Assert.Throws<InvalidDataException>(() => new ChatTemplate("{{ " + string.Concat(Enumerable.Repeat(open, 200_000))));
        Assert.Throws<InvalidDataException>(() => new ChatTemplate(string.Concat(Enumerable.Repeat("{% if true %}", 200_000))));
        foreach (var link in (string[])["+1", "|trim", " or 1", ".a"])
            Assert.Throws<InvalidDataException>(() => new ChatTemplate("{{ 1" + string.Concat(Enumerable.Repeat(link, 100_000)) + " }}"));
    }

    [Theory]
    [MemberData(nameof(BuiltIn))]
    public void Built_in_templates_mark_answers_and_end_with_an_open_one(string name)
    {
        var template = new ChatTemplate(ChatTemplate.BuiltIn[name], new Dictionary<string, string> { ["bos_token"] = "<s>", ["eos_token"] = "</s>" });
        JsonArray messages = [Message("system", "Be brief."), Message("user", "Hello"), Message("assistant", "Hi."), Message("user", "More"), Message("assistant", "No.")];
        var chat = template.Render(messages);
        Assert.Equal(["Hi.", "No."], chat.Generated.Select(g => chat.Text[g.Start..g.End][..3]));
        var open = template.Render([messages[1]!.DeepClone()], new() { AddGenerationPrompt = true }).Text;
        var whole = template.Render([messages[1]!.DeepClone(), messages[2]!.DeepClone()]);
        Assert.Equal(open, whole.Text[..whole.Generated[0].Start]);   // what is sampled from is what was trained on
    }

    public static TheoryData<string> BuiltIn { get; } = [.. ChatTemplate.BuiltIn.Keys];

    private static JsonObject Message(string role, string content) => new() { ["role"] = role, ["content"] = content };

    [Fact]
    public void A_folder_gives_its_template()
    {
        var folder = Directory.CreateTempSubdirectory("chat").FullName;
        Assert.Null(ChatTemplate.LoadIfThere(folder));
        File.WriteAllText(Path.Combine(folder, "tokenizer_config.json"), """{"chat_template": [{"name": "default", "template": "D{{ eos_token }}"}, {"name": "tool_use", "template": "T"}], "eos_token": {"content": "</s>"}, "bos_token": null}""");
        JsonArray messages = [Message("user", "x")];
        Assert.Equal("D</s>", ChatTemplate.LoadIfThere(folder)!.Render(messages).Text);
        Assert.Equal("T", ChatTemplate.LoadIfThere(folder, "tool_use")!.Render(messages).Text);
        Assert.Contains("default, tool_use", Assert.Throws<InvalidDataException>(() => ChatTemplate.LoadIfThere(folder, "rag")).Message, StringComparison.Ordinal);
        File.WriteAllText(Path.Combine(folder, "chat_template.jinja"), "J{{ bos_token is defined }}");
        Assert.Equal("JFalse", ChatTemplate.LoadIfThere(folder)!.Render(messages).Text);
        File.WriteAllText(Path.Combine(folder, "chat_template.jinja"), "{% for %}");
        Assert.Contains("chat_template.jinja", Assert.Throws<InvalidDataException>(() => ChatTemplate.LoadIfThere(folder)).Message, StringComparison.Ordinal);
    }
}
