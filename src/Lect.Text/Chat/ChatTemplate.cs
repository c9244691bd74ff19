// Chat templates as transformers renders them (apply_chat_template): messages to the text that a model was tuned on.
using System.Globalization;
using System.Text.Json.Nodes;

namespace Lect.Text;

/// <summary>What goes into a template besides the messages.</summary>
public sealed record TemplateOptions
{
    /// <summary>Descriptions of functions that the model may call.</summary>
    public JsonArray? Tools { get; init; }
    /// <summary>Documents to answer from.</summary>
    public JsonArray? Documents { get; init; }
    /// <summary>Ends with the beginning of an answer.</summary>
    public bool AddGenerationPrompt { get; init; }
    /// <summary>Leaves the last message open, to be gone on with; null: closes it. <c>content</c>, or another field whose text is the last.</summary>
    public string? ContinueFinalMessage { get; init; }
    /// <summary>Further variables of the template, such as <c>enable_thinking</c>.</summary>
    public JsonObject Variables { get; init; } = [];
    /// <summary>What <c>strftime_now</c> sees; null: the clock.</summary>
    public DateTime? Now { get; init; }
}

/// <summary>A rendered conversation.</summary>
/// <param name="Text">The text.</param>
/// <param name="Generated">Half-open places (UTF-16) of what the assistant said, where the template marks it with <c>{% generation %}</c>.</param>
public sealed record RenderedChat(string Text, IReadOnlyList<(int Start, int End)> Generated);

/// <summary>A chat template: a program in Jinja's language that comes with a model. It runs in a sandbox, with limits on its time and size. Safe to use from many threads.</summary>
public sealed class ChatTemplate
{
    private const string Tag = "CONTINUE_FINAL_MESSAGE_TAG ";
    private readonly JinjaStatement body;
    private readonly IReadOnlyDictionary<string, string> specialTokens;
    private readonly DateTime? now;   // what strftime_now sees where the options do not say

    /// <param name="source">The template.</param>
    /// <param name="specialTokens">Variables such as <c>bos_token</c>; those that the model lacks are left away.</param>
    /// <exception cref="InvalidDataException">It is no template; the message says where and why.</exception>
    public ChatTemplate(string source, IReadOnlyDictionary<string, string>? specialTokens = null)
    {
        (Source, this.specialTokens) = (source, specialTokens ?? new Dictionary<string, string>());
        body = JinjaParser.Parse(source);
        MarksGenerated = source.Contains("endgeneration", StringComparison.Ordinal);
    }

    private ChatTemplate(ChatTemplate other, IReadOnlyDictionary<string, string> specialTokens, DateTime? now) => (Source, body, MarksGenerated, this.specialTokens, this.now) = (other.Source, other.body, other.MarksGenerated, specialTokens, now);

    /// <summary>The same template for other special tokens, at a time of its own.</summary>
    internal ChatTemplate With(Dictionary<string, string> tokens, DateTime? now) => new(this, tokens, now);

    /// <summary>The template itself.</summary>
    public string Source { get; }

    /// <summary>Whether it says what the assistant said (<c>{% generation %}</c>).</summary>
    public bool MarksGenerated { get; }

    /// <summary>Templates that come with Lect, for models without one.</summary>
    public static IReadOnlyDictionary<string, string> BuiltIn { get; } = new Dictionary<string, string>(StringComparer.Ordinal)
    {
        ["chatml"] = """
            {%- for message in messages -%}
                {{- '<|im_start|>' ~ message.role ~ '\n' -}}
                {%- if message.role == 'assistant' -%}
                    {%- generation -%}{{- message.content ~ '<|im_end|>' -}}{%- endgeneration -%}
                {%- else -%}
                    {{- message.content ~ '<|im_end|>' -}}
                {%- endif -%}
                {{- '\n' -}}
            {%- endfor -%}
            {%- if add_generation_prompt -%}{{- '<|im_start|>assistant\n' -}}{%- endif -%}
            """,
        ["llama3"] = """
            {{- bos_token | default('<|begin_of_text|>') -}}
            {%- for message in messages -%}
                {{- '<|start_header_id|>' ~ message.role ~ '<|end_header_id|>\n\n' -}}
                {%- if message.role == 'assistant' -%}
                    {%- generation -%}{{- message.content | trim ~ '<|eot_id|>' -}}{%- endgeneration -%}
                {%- else -%}
                    {{- message.content | trim ~ '<|eot_id|>' -}}
                {%- endif -%}
            {%- endfor -%}
            {%- if add_generation_prompt -%}{{- '<|start_header_id|>assistant<|end_header_id|>\n\n' -}}{%- endif -%}
            """,
        ["zephyr"] = """
            {%- for message in messages -%}
                {{- '<|' ~ message.role ~ '|>\n' -}}
                {%- if message.role == 'assistant' -%}
                    {%- generation -%}{{- message.content ~ eos_token -}}{%- endgeneration -%}
                {%- else -%}
                    {{- message.content ~ eos_token -}}
                {%- endif -%}
                {{- '\n' -}}
            {%- endfor -%}
            {%- if add_generation_prompt -%}{{- '<|assistant|>\n' -}}{%- endif -%}
            """,
        ["plain"] = """
            {%- for message in messages -%}
                {{- '### ' ~ message.role | capitalize ~ ':\n' -}}
                {%- if message.role == 'assistant' -%}
                    {%- generation -%}{{- message.content ~ eos_token -}}{%- endgeneration -%}
                    {{- '\n' -}}
                {%- else -%}
                    {{- message.content ~ '\n\n' -}}
                {%- endif -%}
            {%- endfor -%}
            {%- if add_generation_prompt -%}{{- '### Assistant:\n' -}}{%- endif -%}
            """,
    };

    /// <summary>The template of a model folder: <c>chat_template.jinja</c>, else that of <c>tokenizer_config.json</c>; null where there is none.</summary>
    /// <param name="folder">The folder.</param>
    /// <param name="name">Which, where there are several by name. <value>default</value></param>
    /// <exception cref="InvalidDataException">A file that cannot be read, or no template of that name.</exception>
    public static ChatTemplate? LoadIfThere(string folder, string name = "default")
    {
        var (file, config) = (Path.Combine(folder, "chat_template.jinja"), Path.Combine(folder, "tokenizer_config.json"));
        var json = File.Exists(config) ? ReadObject(config) : [];
        var source = File.Exists(file) && name == "default" ? File.ReadAllText(file) : Named(json["chat_template"], name, config);
        if (source is null) return null;
        try { return new(source, SpecialTokens(json)); }
        catch (InvalidDataException e) { throw new InvalidDataException($"{(File.Exists(file) ? file : config)}: {e.Message}", e); }
    }

    private static JsonObject ReadObject(string path)
    {
        try { return JsonNode.Parse(File.ReadAllText(path)) as JsonObject ?? throw new System.Text.Json.JsonException("no object"); }
        catch (System.Text.Json.JsonException e) { throw new InvalidDataException($"{path}: found no JSON object ({e.Message}). Expected the settings of a tokenizer.", e); }
    }

    private static string? Named(JsonNode? node, string name, string file) => node switch
    {
        null => null,
        JsonArray list => (string?)list.FirstOrDefault(t => (string?)t?["name"] == name)?["template"] ?? throw new InvalidDataException($"{file}: found no template '{name}'. Expected one of {string.Join(", ", list.Select(t => (string?)t?["name"]))}."),
        JsonValue value when value.TryGetValue<string>(out var text) => text,
        _ => throw new InvalidDataException($"{file}: found a chat_template that is no text. Expected text, or a list of named templates."),
    };

    /// <summary>The special tokens of tokenizer_config.json by the names that templates know: <c>bos_token</c>, <c>eos_token</c>, ….</summary>
    internal static Dictionary<string, string> SpecialTokensOf(string folder) => Path.Combine(folder, "tokenizer_config.json") is var file && File.Exists(file) ? SpecialTokens(ReadObject(file)) : new(StringComparer.Ordinal);

    private static Dictionary<string, string> SpecialTokens(JsonObject config)
    {
        var tokens = new Dictionary<string, string>(StringComparer.Ordinal);
        foreach (var (key, value) in config)
            if (key.EndsWith("_token", StringComparison.Ordinal) && (value is JsonObject added ? added["content"] : value) is JsonValue text && text.TryGetValue<string>(out var token)) tokens[key] = token;
        return tokens;
    }

    /// <summary>Renders a conversation.</summary>
    /// <param name="messages">Objects with <c>role</c> and <c>content</c>; fields that are null are left away.</param>
    /// <param name="options">What else goes in.</param>
    /// <exception cref="InvalidDataException">The template refuses the messages (its own words), runs too long, or asks for something that is not there.</exception>
    public RenderedChat Render(JsonArray messages, TemplateOptions? options = null)
    {
        options ??= new();
        if (messages.Count == 0) throw new InvalidDataException("Found a conversation without messages. Expected at least one.");
        if (options is { AddGenerationPrompt: true, ContinueFinalMessage: not null }) throw new InvalidDataException("Found both add_generation_prompt and continue_final_message. Expected one of them: an answer begins anew, or goes on.");
        var cleaned = Cleaned(messages);
        var open = options.ContinueFinalMessage is { } field ? LeaveOpen(cleaned, field) : null;

        var run = new JinjaRun(options.Now ?? now ?? DateTime.Now);
        var scope = new JinjaScope(null, run);
        JinjaFilters.Define(scope);
        foreach (var (name, token) in specialTokens) scope[name] = token;
        foreach (var (name, value) in options.Variables) scope[name] = JinjaValues.From(value);
        (scope["messages"], scope["tools"], scope["documents"], scope["add_generation_prompt"]) = (JinjaValues.From(cleaned), JinjaValues.From(options.Tools), JinjaValues.From(options.Documents), options.AddGenerationPrompt);
        try { run.Do(() => body(new(scope, run))); }
        catch (Exception e) when (e is ArgumentException or IndexOutOfRangeException or ArithmeticException or FormatException or InvalidOperationException or InvalidCastException or NullReferenceException or OutOfMemoryException)
        {
            throw new InvalidDataException($"The chat template asks for something that cannot be done ({e.Message}) Expected values that its filters and methods work on.", e);
        }
        return open is null ? new(run.Text, run.Marked) : Cut(run, open);
    }

    /// <summary>Messages as templates get them.</summary>
    private static JsonArray Cleaned(JsonArray messages) => new([.. messages.Select((node, i) =>
    {
        if (node is not JsonObject message) throw new InvalidDataException($"Found message {i + 1} that is no object. Expected {{\"role\": …, \"content\": …}}.");
        var copy = new JsonObject(message.Where(f => f.Value is not null).Select(f => KeyValuePair.Create(f.Key, f.Value!.DeepClone())).ToList()!);
        if ((copy["thinking"] ?? copy["reasoning"]) is { } thought)
        {
            foreach (var key in (string[])["reasoning_content", "thinking"])
                if (copy[key] is null) copy[key] = thought.DeepClone();
        }
        return copy;
    })]);

    // Puts a tag behind the text that is to go on, by which its end is found again.
    private static string LeaveOpen(JsonArray messages, string field)
    {
        var last = (JsonObject)messages[^1]!;
        var none = new InvalidDataException($"Found continue_final_message, and no text '{field}' in the last message. Expected one to go on with.");
        if (last[field] is JsonArray parts)
        {
            var part = parts.LastOrDefault(p => p?["text"] is JsonValue) as JsonObject ?? throw none;
            var text = (string)part["text"]!;
            part["text"] = text + Tag;
            return text;
        }
        if (last[field] is not JsonValue value || !value.TryGetValue<string>(out var content)) throw none;
        last[field] = content + Tag;
        return content;
    }

    private static RenderedChat Cut(JinjaRun run, string open)
    {
        var text = run.Text;
        var at = text.LastIndexOf(Tag.TrimEnd(), StringComparison.Ordinal);
        if (at < 0) throw new InvalidDataException($"The chat template leaves the final message away ('{open}'), which continue_final_message is to go on with. Expected a template that keeps it.");
        var kept = string.CompareOrdinal(text, at, Tag, 0, Tag.Length) == 0 ? text[..at] : PythonText.TrimEnd(text[..at]);
        return new(kept, [.. run.Marked.Where(m => m.Start < kept.Length).Select(m => (m.Start, Math.Min(m.End, kept.Length)))]);
    }

    /// <summary>Which tokens the assistant said: 1 where a token touches a marked part.</summary>
    /// <param name="chat">A rendered conversation.</param>
    /// <param name="tokens">Its tokens, without tokens added around; they may be cut at the end, or at the beginning.</param>
    public static int[] AssistantMask(RenderedChat chat, Tokenized tokens)
    {
        var mask = new int[tokens.Ids.Length];
        foreach (var (start, end) in chat.Generated)
        {
            int? first = null, last = null;
            for (var i = 0; i < mask.Length; i++)
            {
                var (from, to) = tokens.Offsets[i];
                if (from <= start && start < to) first ??= i;
                if (from < end && end <= to) last ??= i;
            }
            if (first is null) break;   // transformers stops where a part's beginning was cut off
            for (var i = first.Value; i <= (last ?? mask.Length - 1); i++) mask[i] = 1;
        }
        return mask;
    }
}
