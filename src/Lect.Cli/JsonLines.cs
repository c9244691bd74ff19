using System.CommandLine;
using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using Lect.Text;

namespace Lect;

/// <summary>One JSON object a line in, one a line out, in order; or one text as an argument, and text out.</summary>
internal sealed class JsonLines
{
    private static readonly UTF8Encoding s_utf8 = new(false, throwOnInvalidBytes: true);

    private readonly Argument<string?> text = new("text") { Description = "One input; without it JSON lines are read", Arity = ArgumentArity.ZeroOrOne };
    private readonly Option<FileInfo?> input = new("--input") { Description = "JSON lines to read instead of standard input" };
    private readonly Option<bool> json = new("--json") { Description = "One JSON object a line on standard output" };
    private readonly Option<bool> skip = new("--skip-bad-lines") { Description = "Report bad lines on standard error and go on" };
    private readonly string key;

    /// <param name="command">The verb, which gets the argument and options.</param>
    /// <param name="key">What the argument is called in a line.</param>
    public JsonLines(Command command, string key)
    {
        this.key = key;
        text.Validators.Add(found => { if (found.Tokens is [{ Value: var word }] && word.StartsWith("--", StringComparison.Ordinal)) found.AddError($"Unrecognized option '{word}'."); });
        command.Add(text);
        command.Add(input);
        command.Add(json);
        command.Add(skip);
    }

    /// <summary>Answers each line; <paramref name="show"/> gives the text a person reads.</summary>
    /// <exception cref="InvalidDataException">A bad line, with its number.</exception>
    public int Run(ParseResult parsed, Func<JsonObject, int, JsonObject> answer, Func<JsonObject, string> show) =>
        Run(parsed, 1, lines => [answer(lines[0].Json, lines[0].Number)], show);

    /// <summary>Answers lines in batches; a batch that fails is answered line by line, so that the error names its line and the others have their answers.</summary>
    /// <param name="parsed">The command line.</param>
    /// <param name="size">Lines read before they are answered together.</param>
    /// <param name="answer">Answers in the order of the lines, which come with their numbers from 0.</param>
    /// <param name="show">The text a person reads.</param>
    /// <exception cref="InvalidDataException">A bad line, with its number.</exception>
    public int Run(ParseResult parsed, int size, Func<IReadOnlyList<(JsonObject Json, int Number)>, IReadOnlyList<JsonObject>> answer, Func<JsonObject, string> show)
    {
        using var output = new StreamWriter(Console.OpenStandardOutput(), new UTF8Encoding(false));
        foreach (var batch in Lines(parsed).Select((line, number) => (line, number)).Where(l => !string.IsNullOrWhiteSpace(l.line)).Chunk(size))
        {
            if (Screen.HasLostReader()) return 1;
            Try(batch);
        }
        return 0;

        void Try((string Line, int Number)[] batch)
        {
            try
            {
                foreach (var answered in answer([.. batch.Select(l => (Parse(l.Line), l.Number))])) output.WriteLine(parsed.GetValue(json) ? Screen.OneLine(answered) : show(answered));
                output.Flush();
            }
            catch (Exception e) when (e is InvalidDataException or JsonException or InvalidOperationException or FormatException)
            {
                if (batch.Length > 1)
                {
                    foreach (var line in batch) Try([line]);
                    return;
                }
                var message = parsed.GetValue(text) is null ? $"line {batch[0].Number + 1}: {e.Message}" : e.Message;
                if (!parsed.GetValue(skip)) throw new InvalidDataException(message, e);
                Console.Error.WriteLine("lect: " + message);
            }
        }
    }

    /// <summary>The one input of a person who reads text; null where JSON lines come or are asked for.</summary>
    public string? Shown(ParseResult parsed) => parsed.GetValue(json) || parsed.GetValue(input) is not null ? null : parsed.GetValue(text);

    private IEnumerable<string> Lines(ParseResult parsed)
    {
        if (parsed.GetValue(text) is { } one) return parsed.GetValue(input) is null ? [new JsonObject { [key] = one }.ToJsonString()] : throw new InvalidDataException("Found both a text and --input. Expected one of them.");
        if (parsed.GetValue(input) is { Exists: false } missing) throw new InvalidDataException($"Found no file {missing}. Expected JSON lines.");
        return Read(parsed.GetValue(input) is { } file ? file.OpenRead() : Console.OpenStandardInput());
    }

    // Bytes as letters of Latin-1, so that a line of other bytes than UTF-8 is refused as that line (Parse).
    private static IEnumerable<string> Read(Stream stream)
    {
        using var reader = new StreamReader(stream, Encoding.Latin1, detectEncodingFromByteOrderMarks: false);
        var isFirst = true;
        for (; reader.ReadLine() is { } line; isFirst = false) yield return isFirst && line.StartsWith("\u00EF\u00BB\u00BF", StringComparison.Ordinal) ? line[3..] : line;
    }

    private static JsonObject Parse(string line)
    {
        try { return Rows.Checked(JsonNode.Parse(s_utf8.GetString(Encoding.Latin1.GetBytes(line)))) ?? throw new JsonException("found JSON that is no object."); }
        catch (DecoderFallbackException e) { throw new JsonException("found bytes that are no UTF-8.", e); }
        catch (ArgumentException e) { throw new JsonException("found a key twice.", e); }
    }

    /// <summary>Token ids of a line: its "ids" as they are, else its text encoded.</summary>
    public static int[] Ids(JsonObject line, string key, Func<string, int[]> encode) => line["ids"] is JsonArray ids ? Numbers(ids, "ids")
        : line[key] is JsonValue value ? encode((string)value!)
        : throw new InvalidDataException($"found neither \"{key}\" nor \"ids\".");

    /// <summary>An encoder's row of a line: its "ids" with their "token_type_ids" as they are, else its "text" with its "text_pair".</summary>
    public static EncoderRow Row(JsonObject line, Func<string, string?, EncoderRow> encode, string key = "text", string pair = "text_pair") => line["ids"] is JsonArray ids
        ? new(Numbers(ids, "ids"), line["token_type_ids"] is JsonArray types ? Numbers(types, "token_type_ids") : null)
        : line[key] is JsonValue text ? encode((string)text!, (string?)line[pair]) : throw new InvalidDataException($"found neither \"{key}\" nor \"ids\".");

    /// <summary>Whole numbers of a line.</summary>
    public static int[] Numbers(JsonArray values, string name) => [.. values.Select(v => v is JsonValue value && value.TryGetValue<int>(out var number) ? number : throw new InvalidDataException($"found {v?.ToJsonString() ?? "null"} in \"{name}\". Expected whole numbers."))];

    /// <summary>Texts of a line.</summary>
    public static IReadOnlyList<string> Texts(JsonArray values, string name) => [.. values.Select(v => v is JsonValue value && value.TryGetValue<string>(out var text) ? text : throw new InvalidDataException($"found {v?.ToJsonString() ?? "null"} in \"{name}\". Expected texts."))];

    /// <summary>The line's "id" goes with its answer.</summary>
    public static JsonObject Echo(JsonObject line, JsonObject answer)
    {
        if (line["id"] is { } id) answer["id"] = id.DeepClone();
        return answer;
    }

    public static JsonArray Array<T>(IEnumerable<T> values) => new([.. values.Select(v => (JsonNode?)JsonValue.Create(v))]);
}
