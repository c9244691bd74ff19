using System.Text.Json;
using System.Text.Json.Nodes;

namespace Lect.Text;

/// <summary>A conversation whose last turn is an answer, or a prompt with its completion as plain texts.</summary>
/// <param name="Messages">With roles and contents; null: plain texts.</param>
/// <param name="Prompt">The prompt; null: messages.</param>
/// <param name="Completion">Its completion.</param>
public sealed record ChatExample(JsonArray? Messages, string? Prompt = null, string? Completion = null)
{
    /// <summary>The text by whose hash an example is put into a split: what the last answer is to.</summary>
    public string Key => Prompt ?? string.Join('\n', Messages!.SkipLast(1).Select(m => m!["content"]?.ToJsonString()));

    /// <summary>As turns: a plain prompt is asked, its completion answered.</summary>
    internal JsonArray Turns => Messages ?? [ChatData.Message("user", Prompt!), ChatData.Message("assistant", Completion!)];
}

/// <summary>Two answers to one prompt.</summary>
/// <param name="Prompt">Messages, or one text as <c>user</c> says it.</param>
/// <param name="Chosen">The better answer.</param>
/// <param name="Rejected">The worse one.</param>
/// <param name="Margin">How much better; null: nobody says.</param>
/// <param name="IsTie">Neither is better.</param>
/// <param name="Kind">Where it comes from, where several kinds are kept apart.</param>
public sealed record Comparison(JsonArray Prompt, string Chosen, string Rejected, double? Margin = null, bool IsTie = false, string? Kind = null)
{
    /// <summary>The prompt as one text.</summary>
    public string PromptText => ChatData.TextOf(Prompt);
}

/// <summary>The field's formats of instructions and comparisons, read a row at a time: <c>messages</c>; <c>prompt</c> and <c>completion</c>; Dolly, Alpaca, ShareGPT, question and answer; <c>prompt</c>, <c>chosen</c>, <c>rejected</c> as texts or messages; hh-rlhf's dialogues; ranked answers.</summary>
/// <param name="path">What messages call the data.</param>
/// <param name="columns">Our names to the file's.</param>
/// <param name="leftOut">Told why a row is left out.</param>
public sealed class ChatData(string path, IReadOnlyDictionary<string, string>? columns = null, Action<string>? leftOut = null)
{
    /// <summary>Names that columns may be given for.</summary>
    public static IReadOnlyList<string> Columns { get; } = ["messages", "prompt", "completion", "chosen", "rejected"];

    private JsonNode? Column(JsonObject row, string name, params ReadOnlySpan<string> others)
    {
        if (columns?.GetValueOrDefault(name) is { } given) return row[given] ?? throw new InvalidDataException($"{path}: found a row with the columns {Names(row)} and none '{given}'. Expected it: data.columns.{name} names it.");
        if (row[name] is { } own) return own;
        foreach (var other in others) if (row[other] is { } found) return found;
        return null;
    }

    private static string Names(JsonObject row) => string.Join(", ", row.Select(c => c.Key));

    /// <summary>A row as a conversation, or as a prompt with its completion.</summary>
    /// <exception cref="InvalidDataException">A row of another format; the message says what it holds.</exception>
    public ChatExample Example(JsonObject row)
    {
        if (Column(row, "messages") is JsonArray messages) return new(Turns(messages));
        if (row["conversations"] is JsonArray shared) return new(Turns(shared));
        if (row["instruction"] is JsonValue && Column(row, "prompt") is null)
        {
            var (instruction, more) = (Text(row["instruction"], "instruction", row), Text(row["input"] ?? row["context"], "input", row, ""));
            return new(new JsonArray(Message("user", more.Length == 0 ? instruction : instruction + "\n\n" + more), Message("assistant", Text(Column(row, "completion", "response", "output"), "response", row))));
        }
        var (prompt, completion) = (Column(row, "prompt", "question"), Column(row, "completion", "response", "answer", "chosen"));
        if (prompt is JsonArray before) return new(new JsonArray([.. Turns(before).Select(m => m!.DeepClone()), .. (completion is JsonArray after ? Turns(after).Select(m => m!.DeepClone()) : [Message("assistant", Text(completion, "completion", row))])]));
        if (prompt is null || completion is null) throw new InvalidDataException($"{path}: found a row with the columns {Names(row)}. Expected messages, prompt with completion, instruction with response (Dolly) or output (Alpaca), conversations (ShareGPT), or question with answer: data.columns says which column is which (--set data.columns.prompt=NAME).");
        return new(null, Text(prompt, "prompt", row), Text(completion, "completion", row));
    }

    /// <summary>A row's prompt, as messages.</summary>
    public JsonArray Prompt(JsonObject row)
    {
        if (Column(row, "messages") is JsonArray messages) return WithoutAnswer(Turns(messages));
        if (row["chosen"] is not null && Column(row, "prompt") is null) return Comparisons(row).FirstOrDefault()?.Prompt ?? throw new InvalidDataException($"{path}: found a row whose conversations part before the last answer. Expected two answers to one conversation.");
        var prompt = Column(row, "prompt", "instruction", "question", "text");
        return prompt switch
        {
            JsonArray turns => WithoutAnswer(Turns(turns)),
            JsonValue => [Message("user", Text(prompt, "prompt", row))],
            _ => throw new InvalidDataException($"{path}: found a row with the columns {Names(row)}. Expected a prompt, as text or messages."),
        };
    }

    private static JsonArray WithoutAnswer(JsonArray turns) => turns.Count > 1 && (string?)turns[^1]!["role"] == "assistant" ? [.. WithoutLast(turns)] : turns;

    /// <summary>The comparisons of a row; ranked answers give every pair.</summary>
    /// <exception cref="InvalidDataException">A row of another format.</exception>
    public IEnumerable<Comparison> Comparisons(JsonObject row)
    {
        var (prompt, chosen, rejected) = (Column(row, "prompt", "question", "instruction"), Column(row, "chosen", "winning"), Column(row, "rejected", "losing"));
        var (margin, isTie, kind) = (Number(row, "margin"), row["tie"]?.ToString() is { } tie && (tie.Equals("true", StringComparison.OrdinalIgnoreCase) || tie == "1"), row["kind"]?.ToString());
        if (chosen is null && (row["responses"] ?? row["answers"]) is JsonArray ranked && prompt is not null)
        {
            var before = Before(prompt, row);
            var answers = Ranked(ranked, row["ranks"] as JsonArray, row);
            foreach (var (better, worse) in answers.SelectMany((b, i) => answers.Skip(i + 1).Where(w => w.Rank > b.Rank).Select(w => (b, w)))) yield return new(Copy(before), better.Text, worse.Text, Kind: kind);
            yield break;
        }
        if (chosen is null || rejected is null) throw new InvalidDataException($"{path}: found a row with the columns {Names(row)}. Expected chosen and rejected (texts, messages, or hh-rlhf's dialogues) with or without prompt, or prompt with responses in order of rank: data.columns says which column is which.");
        if (chosen is JsonArray || rejected is JsonArray)
        {
            var (a, b) = (Turns(chosen as JsonArray ?? throw Mixed(row)), Turns(rejected as JsonArray ?? throw Mixed(row)));
            if (a.Count == 0 || b.Count == 0) throw new InvalidDataException($"{path}: found a row with chosen or rejected without a turn. Expected at least the answer.");
            if (Parted(a, b)) yield break;
            yield return new([.. prompt is null ? [] : Before(prompt, row).Select(m => m!.DeepClone()), .. WithoutLast(a)], Content(a[^1]), Content(b[^1]), Margin: margin, IsTie: isTie, Kind: kind);
            yield break;
        }
        var (better_, worse_) = (Text(chosen, "chosen", row), Text(rejected, "rejected", row));
        if (prompt is null)
        {
            if (Dialogue(better_) is not { } won || Dialogue(worse_) is not { } lost) throw new InvalidDataException($"{path}: found chosen and rejected without a prompt that are no dialogues of hh-rlhf's (\"\\n\\nHuman: … \\n\\nAssistant: …\"). Expected such dialogues, or a prompt.");
            if (Parted(won, lost)) yield break;
            yield return new([.. WithoutLast(won)], Content(won[^1]), Content(lost[^1]), Margin: margin, IsTie: isTie, Kind: kind);
            yield break;
        }
        yield return new(Before(prompt, row), better_, worse_, margin, isTie, kind);
    }

    // A comparison is of two answers to one conversation.
    private bool Parted(JsonArray a, JsonArray b)
    {
        if (JsonNode.DeepEquals(new JsonArray([.. WithoutLast(a)]), new JsonArray([.. WithoutLast(b)]))) return false;
        leftOut?.Invoke("whose conversations part before the last answer");
        return true;
    }

    private static IEnumerable<JsonNode> WithoutLast(JsonArray turns) => turns.SkipLast(1).Select(m => m!.DeepClone());

    private JsonArray Before(JsonNode prompt, JsonObject row) => prompt is JsonArray turns ? Turns(turns) : [Message("user", Text(prompt, "prompt", row))];

    private static JsonArray Copy(JsonArray array) => (JsonArray)array.DeepClone();

    private double? Number(JsonObject row, string column) => Number(row[column], column);

    // Columns of CSV are text.
    private double? Number(JsonNode? node, string column) => node is null || node.ToString().Length == 0 ? null
        : double.TryParse(node.ToString(), System.Globalization.NumberStyles.Float, System.Globalization.CultureInfo.InvariantCulture, out var number) ? number : throw new InvalidDataException($"{path}: found '{node}' in '{column}'. Expected a number.");

    private InvalidDataException Mixed(JsonObject row) => new($"{path}: found a row with the columns {Names(row)} in which one of chosen and rejected is a list and the other is not. Expected both as texts, or both as messages.");

    // Best first, or by their ranks (0 the best).
    private List<(string Text, double Rank)> Ranked(JsonArray answers, JsonArray? ranks, JsonObject row) => ranks is not null && ranks.Count != answers.Count ? throw new InvalidDataException($"{path}: found {answers.Count} responses and {ranks.Count} ranks. Expected as many.") : [.. answers.Select((a, i) => a is JsonObject o
        ? (Text(o["text"] ?? o["content"], "text", row), Number(o, "rank") ?? i)
        : (Text(a, "responses", row), Number(ranks?[i], "ranks") ?? i)).OrderBy(a => a.Item2)];

    /// <summary>hh-rlhf's dialogue as messages; null where the text is none.</summary>
    public static JsonArray? Dialogue(string text)
    {
        const string Human = "\n\nHuman:", Assistant = "\n\nAssistant:";
        if (!text.StartsWith(Human, StringComparison.Ordinal)) return null;
        var turns = new JsonArray();
        for (var at = 0; at < text.Length;)
        {
            var isHuman = string.CompareOrdinal(text, at, Human, 0, Human.Length) == 0;
            var start = at + (isHuman ? Human : Assistant).Length;
            var next = new[] { text.IndexOf(Human, start, StringComparison.Ordinal), text.IndexOf(Assistant, start, StringComparison.Ordinal) }.Where(i => i >= 0).DefaultIfEmpty(text.Length).Min();
            turns.Add(Message(isHuman ? "user" : "assistant", text[start..next].Trim()));
            at = next;
        }
        return turns.Count > 1 && (string?)turns[^1]!["role"] == "assistant" ? turns : null;
    }

    // Messages as they are, ShareGPT's (from, value), or Open Assistant's (role prompter, text).
    private JsonArray Turns(JsonArray given) => new([.. given.Select(node =>
    {
        if (node is not JsonObject turn) throw new InvalidDataException($"{path}: found a turn {node?.ToJsonString()} that is no object. Expected {{\"role\": …, \"content\": …}}.");
        if (turn["role"] is not null && turn["content"] is not null && (string?)turn["role"] != "prompter") return turn.DeepClone();
        var role = (string?)(turn["role"] ?? turn["from"]) switch { "human" or "prompter" or "user" => "user", "gpt" or "chatgpt" or "bing" or "bard" or "assistant" => "assistant", "system" => "system", var other => other ?? throw new InvalidDataException($"{path}: found a turn with the fields {Names(turn)}. Expected role and content, or ShareGPT's from and value.") };
        return Message(role, Text(turn["content"] ?? turn["value"] ?? turn["text"], "content", turn));
    })]);

    private string Text(JsonNode? node, string name, JsonObject row, string? otherwise = null) => node is JsonValue value ? value.GetValueKind() == JsonValueKind.String ? (string)value! : value.ToJsonString()
        : node is null && otherwise is not null ? otherwise : throw new InvalidDataException($"{path}: found a row with the columns {Names(row)} and no text in '{name}'. Expected one.");

    private string Content(JsonNode? message) => message is JsonObject turn ? Text(turn["content"], "content", turn) : throw new InvalidDataException($"{path}: found a turn that is no object. Expected {{\"role\": …, \"content\": …}}.");

    /// <summary>What is said in a conversation, line by line.</summary>
    internal static string TextOf(JsonArray turns) => string.Join('\n', turns.Select(m => m!["content"]?.ToString()));

    /// <summary>A conversation with an answer behind it.</summary>
    internal static JsonArray Answered(JsonArray prompt, string answer) => new([.. prompt.Select(m => m!.DeepClone()), Message("assistant", answer)]);

    internal static JsonObject Message(string role, string content) => new() { ["role"] = role, ["content"] = content };
}
