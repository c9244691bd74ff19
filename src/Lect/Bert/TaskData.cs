using System.Globalization;
using System.Text.Json;
using System.Text.Json.Nodes;
using System.Text.RegularExpressions;
using Lect.Models;
using Lect.Text;

namespace Lect;

/// <summary>The keys of <c>data</c> for fine-tuning.</summary>
public sealed record TaskDataConfig
{
    /// <summary><c>sdk</c>: examples made of the SDK's documentation, unless <see cref="Path"/> is given.</summary>
    public string? Source { get; init; }
    /// <summary>A file, folder or glob of training examples.</summary>
    public string? Path { get; init; }
    /// <summary>What to validate on.</summary>
    public string? ValidationPath { get; init; }
    /// <summary>The share kept for validation by the hash of the first text, where there is no <see cref="ValidationPath"/>. <value>0.1</value></summary>
    public double? Validation { get; init; }
    /// <summary>The format (an ending without dot) where the file's name does not tell; <c>glue</c>: files of a GLUE <see cref="Task"/>, tabs without quoting.</summary>
    public string? Format { get; init; }
    /// <summary>A task of GLUE, whose files and figures it then has: cola, sst2, mrpc, stsb, qqp, mnli, snli, qnli, rte or wnli.</summary>
    public string? Task { get; init; }
    /// <summary>Our names to the file's: <c>text</c>, <c>text_pair</c>, <c>label</c>; <c>prompt</c>, <c>choices</c>; <c>question</c>, <c>context</c>, <c>answer</c>, <c>answer_start</c>; <c>words</c>, <c>tags</c>.</summary>
    public Dictionary<string, string> Columns { get; init; } = [];
    /// <summary>Labels are numbers to come near to, not classes.</summary>
    public bool Regression { get; init; }
    /// <summary>Training examples at most, some of all (the same ones whatever the seed); 0: all.</summary>
    public int Limit { get; init; }

    private static readonly string[] s_columns = ["text", "text_pair", "label", "prompt", "choices", "question", "context", "answer", "answer_start", "words", "tags"];

    internal IEnumerable<string> Faults()
    {
        if (Path is "" || ValidationPath is "") yield return "data: found an empty path";
        if (Source is not (null or "sdk")) yield return $"data.source = '{Source}': expected sdk, or data.path";
        if (Path is null && ((ValidationPath ?? Format ?? Task) is not null || Columns.Count > 0)) yield return "data: found validation_path, format, task or columns without path; the SDK's examples have their own splits";
        if (ValidationPath is not null && Validation is not null) yield return "data: found both validation and validation_path, expected one of them";
        if (Validation is < 0 or >= 1) yield return FormattableString.Invariant($"data.validation = {Validation}: expected at least 0 and less than 1");
        if (Limit < 0) yield return $"data.limit = {Limit}: expected 0 (all) or more";
        if (Task is not null && !GlueTask.All.ContainsKey(Task)) yield return $"data.task = '{Task}': expected {string.Join(", ", GlueTask.All.Keys)}";
        foreach (var column in Columns.Keys.Where(c => !s_columns.Contains(c))) yield return $"data.columns.{column}: expected {string.Join(", ", s_columns)}";
    }

    internal string Describe => Path ?? "the documentation of the .NET SDK";

    internal bool IsRegression => Regression || Task == "stsb";

    internal string Column(string name) => Columns.GetValueOrDefault(name) ?? name;

    /// <summary>Reads examples of both splits.</summary>
    /// <param name="file">Reads those of a file.</param>
    /// <param name="sdk">Those of the SDK's documentation, with the text that says where each belongs.</param>
    /// <param name="key">The text whose hash says where an example of a file belongs.</param>
    internal (List<T> Train, List<T> Validation) Read<T>(Func<string, IEnumerable<T>> file, Func<IEnumerable<(string Text, T Example)>> sdk, Func<T, string> key)
    {
        var (train, validation) = (new List<T>(), new List<T>());
        if (Path is null)
            foreach (var (text, example) in sdk())
                (SdkCorpus.SplitOf(text) switch { CorpusSplit.Train => train, CorpusSplit.Validation => validation, _ => null })?.Add(example);
        else
        {
            var share = ValidationPath is null ? Validation ?? 0.1 : 0;
            foreach (var example in file(Path)) (SdkCorpus.IsKept(key(example), share) ? validation : train).Add(example);
            if (ValidationPath is not null) validation.AddRange(file(ValidationPath));
        }
        if (Limit > 0 && train.Count > Limit)
        {
            var order = Enumerable.Range(0, train.Count).ToArray();
            Seeds.Random(1, "limit").Shuffle(order);
            train = [.. order.Take(Limit).Order().Select(i => train[i])];
        }
        return train.Count > 0 ? (train, validation) : throw new InvalidDataException($"Found no examples to train on in {Describe}. Expected at least one.");
    }

    internal IEnumerable<JsonObject> Rows(string path) => Lect.Text.Rows.Read(path, Format);

    /// <summary>A column's list as texts; numbers as they stand.</summary>
    internal static IReadOnlyList<string> Texts(JsonArray list, string column, string path) => [.. list.Select(v => v is JsonValue ? v.ToString() : throw new InvalidDataException($"{path}: found {v?.ToJsonString() ?? "null"} in '{column}'. Expected texts."))];

    /// <summary>A column's value as text; numbers as they stand.</summary>
    internal static string Text(JsonObject row, string column, string path) => row[column] is JsonValue value ? value.GetValueKind() == JsonValueKind.String ? (string)value! : value.ToJsonString()
        : throw new InvalidDataException($"{path}: found a row with the columns {string.Join(", ", row.Select(c => c.Key))} and no text in '{column}'. Expected one: data.columns says which of them it is (--set data.columns.text=NAME, and so for the others).");
}

/// <summary>One or two texts and their label.</summary>
/// <param name="Text">The first text.</param>
/// <param name="Pair">The second; null: there is none.</param>
/// <param name="Label">A class's name, or a number.</param>
public sealed record LabelledText(string Text, string? Pair, string Label);

/// <summary>The files of GLUE's tasks (Wang et al. 2019): tabs, no quoting; with a header line or, in the original releases of some, without.</summary>
/// <param name="Text">The first text's column: its names, its place where there is no header.</param>
/// <param name="Pair">The second text's.</param>
/// <param name="Label">The label's.</param>
/// <param name="Metric">What decides.</param>
internal sealed record GlueTask((string[] Names, int Place) Text, (string[] Names, int Place)? Pair, (string[] Names, int Place) Label, string Metric = "accuracy")
{
    private static (string[], int) At(int place, params string[] names) => (names, place);

    public static IReadOnlyDictionary<string, GlueTask> All { get; } = new Dictionary<string, GlueTask>(StringComparer.Ordinal)
    {
        ["cola"] = new(At(3, "sentence"), null, At(1, "label"), "matthews"),
        ["sst2"] = new(At(0, "sentence"), null, At(1, "label")),
        ["mrpc"] = new(At(3, "#1 String"), At(4, "#2 String"), At(0, "Quality", "label")),
        ["stsb"] = new(At(5, "sentence1"), At(6, "sentence2"), At(4, "score", "label"), "spearman"),
        ["qqp"] = new(At(0, "question1"), At(1, "question2"), At(2, "is_duplicate", "label")),
        ["mnli"] = new(At(1, "sentence1"), At(2, "sentence2"), At(0, "gold_label", "label")),
        ["snli"] = new(At(0, "sentence1"), At(1, "sentence2"), At(2, "gold_label", "label")),
        ["qnli"] = new(At(1, "question"), At(2, "sentence"), At(3, "label")),
        ["rte"] = new(At(1, "sentence1"), At(2, "sentence2"), At(3, "label")),
        ["wnli"] = new(At(1, "sentence1"), At(2, "sentence2"), At(3, "label")),
    };

    /// <summary>The rows of a file; those without a label (<c>-</c>: the judges did not agree) are left out.</summary>
    public IEnumerable<LabelledText> Read(string file)
    {
        (int Text, int? Pair, int Label)? places = null;
        foreach (var (number, line) in Rows.Lines(file))
        {
            if (line.Length == 0) continue;
            var fields = line.Split('\t');
            if (places is null)
            {
                int Find((string[] Names, int Place) column) => Array.FindIndex(fields, f => column.Names.Contains(f, StringComparer.OrdinalIgnoreCase));
                var isHeader = Find(Text) >= 0 || (Pair is { } p && Find(p) >= 0);
                places = isHeader ? (Find(Text), Pair is { } pair ? Find(pair) : null, Find(Label)) : (Text.Place, Pair?.Place, Label.Place);
                if (isHeader && new[] { places.Value.Text, places.Value.Pair ?? 0, places.Value.Label }.Min() < 0) throw new InvalidDataException($"{file}: found the columns {string.Join(", ", fields)}. Expected {Text.Names[0]}{(Pair is { } second ? ", " + second.Names[0] : "")} and {Label.Names[0]}.");
                if (isHeader) continue;
            }
            var (text, other, label) = places.Value;
            if (fields.Length <= Math.Max(text, Math.Max(other ?? 0, label))) throw new InvalidDataException($"{file}, line {number}: found {fields.Length} fields between tabs. Expected at least {Math.Max(text, Math.Max(other ?? 0, label)) + 1}.");
            if (fields[label] != "-") yield return new(fields[text], other is { } o ? fields[o] : null, fields[label]);
        }
    }
}

/// <summary>A question about a text and where its answer stands.</summary>
/// <param name="Id">Of the question.</param>
/// <param name="Text">The question.</param>
/// <param name="Context">The text.</param>
/// <param name="Answers">True answers and where they begin; none: it cannot be answered.</param>
public sealed record Question(string Id, string Text, string Context, IReadOnlyList<(string Text, int Start)> Answers)
{
    /// <summary>
    /// The questions of a file, folder or glob: SQuAD's layout (.json: data, paragraphs, qas), or rows with question, context and answer or, as Hugging Face has them,
    /// answers (text, answer_start). A question without an id gets its number. <c>answer_start</c> counts code points, as these files do; without one an answer stands where its text is first found.
    /// </summary>
    /// <exception cref="InvalidDataException">No such file, no answers in its rows, or a field that is missing or of another kind.</exception>
    public static IEnumerable<Question> All(string path) => All(path, null, name => name);

    /// <inheritdoc cref="All(string)"/>
    /// <param name="path">Where.</param>
    /// <param name="format">The ending without dot, where the files' names do not tell.</param>
    /// <param name="column">Our names to the file's.</param>
    internal static IEnumerable<Question> All(string path, string? format, Func<string, string> column) =>
        DataFiles.Find(path, format).SelectMany(f => (format ?? DataFiles.Ending(f).TrimStart('.')) == "json" && Squad(f) is { } data ? OfSquad(f, data) : OfRows(f, format, column)).Select((q, i) => q.Id.Length > 0 ? q : q with { Id = $"{i + 1}" });

    private static IEnumerable<Question> OfSquad(string file, JsonArray data)
    {
        JsonNode Need(JsonNode? node, string key) => (node as JsonObject)?[key] ?? throw new InvalidDataException($"{file}: found {Short(node)} without \"{key}\". Expected SQuAD's layout: data, paragraphs (context, qas), qas (id, question, answers), answers (text, answer_start).");
        JsonArray List(JsonNode? node, string key) => Need(node, key) as JsonArray ?? throw new InvalidDataException($"{file}: found \"{key}\" that is no list in {Short(node)}. Expected SQuAD's layout.");
        foreach (var paragraph in data.SelectMany(article => List(article, "paragraphs")))
        {
            var context = Need(paragraph, "context").ToString();
            foreach (var qa in List(paragraph, "qas"))
                yield return new(Need(qa, "id").ToString(), Need(qa, "question").ToString(), context, [.. (qa!["answers"] as JsonArray ?? []).Select(a => Found(context, Need(a, "text").ToString(), Need(a, "answer_start"), file))]);
        }
    }

    private static string Short(JsonNode? node) => (node?.ToJsonString() ?? "null") is var text && text.Length > 60 ? text[..60] + "…" : text;

    // Rows without any answer's column are no questions that cannot be answered: the column has another name.
    private static IEnumerable<Question> OfRows(string file, string? format, Func<string, string> column)
    {
        var (columns, hasAnswers) = ("", false);
        foreach (var row in Lect.Text.Rows.Read(file, format))
        {
            string Text(string name) => TaskDataConfig.Text(row, column(name), file);
            var own = row.ContainsKey(column("answer")) ? column("answer") : "answers";
            (columns, hasAnswers) = (string.Join(", ", row.Select(c => c.Key)), hasAnswers || row.ContainsKey(own));
            var context = Text("context");
            IEnumerable<(string Text, JsonNode? Start)> answers = row[own] switch
            {
                null => [],
                JsonValue => [(TaskDataConfig.Text(row, own, file), row[column("answer_start")])],
                JsonObject both when both["text"] is JsonArray texts && both["answer_start"] is JsonArray starts && texts.Count == starts.Count => texts.Zip(starts, (t, s) => (t?.ToString() ?? "", s)),
                JsonArray list when list.All(a => (a as JsonObject)?["text"] is not null) => list.Select(a => (a!["text"]!.ToString(), a["answer_start"])),
                var other => throw new InvalidDataException($"{file}: found {Short(other)} in '{own}'. Expected a text, or texts and as many answer_starts."),
            };
            yield return new(row["id"]?.ToString() ?? "", Text("question"), context, [.. answers.Where(a => a.Text.Length > 0).Select(a => Found(context, a.Text, a.Start, file))]);
        }
        if (columns.Length > 0 && !hasAnswers) throw new InvalidDataException($"{file}: found rows with the columns {columns} and no answer in any. Expected a column 'answer' or 'answers' (--set data.columns.answer=NAME).");
    }

    // Where an answer begins, in UTF-16 units. Who wrote the file may have counted those: they hold where the text does not stand at so many characters.
    private static (string, int) Found(string context, string text, JsonNode? start, string file)
    {
        if (start is null || start.ToString().Length == 0) return (text, context.IndexOf(text, StringComparison.Ordinal));
        if (!int.TryParse(start.ToString(), NumberStyles.Integer, CultureInfo.InvariantCulture, out var given) || given < 0) throw new InvalidDataException($"{file}: found the answer_start {Short(start)}. Expected a whole number, the characters before the answer.");
        var (units, points) = (0, given);
        for (; points > 0 && units < context.Length; points--) units += char.IsSurrogatePair(context, units) ? 2 : 1;
        return (text, points == 0 && StandsAt(context, text, units) ? units : StandsAt(context, text, given) ? given : -1);
    }

    private static JsonArray? Squad(string path)
    {
        try
        {
            using var stream = DataFiles.Open(path);
            return JsonNode.Parse(stream, documentOptions: new() { AllowDuplicateProperties = false }) is JsonObject whole ? whole["data"] as JsonArray ?? throw new InvalidDataException($"{path}: found an object without \"data\". Expected SQuAD's layout: data, paragraphs, qas.") : null;
        }
        catch (JsonException e) { throw new InvalidDataException($"{path} is no readable JSON: {e.Message}", e); }
    }

    /// <summary>Whether an answer stands where it is said to.</summary>
    internal bool IsWhole => Answers.All(a => StandsAt(Context, a.Text, a.Start));

    private static bool StandsAt(string context, string text, int at) => at >= 0 && at + text.Length <= context.Length && string.CompareOrdinal(context, at, text, 0, text.Length) == 0;

    /// <summary>First and last token of the first answer in a window, as <see cref="AnswerWindow.Find"/>; blanks and loose accents at its edges may belong to no token.</summary>
    internal (int First, int Last) In(AnswerWindow window)
    {
        if (Answers.Count == 0) return (0, 0);
        var (start, end) = (Answers[0].Start, Answers[0].Start + Answers[0].Text.Length);
        if (window.Find(start, end) is var whole && whole != (0, 0)) return whole;
        bool IsEdge(int at) => char.IsWhiteSpace(Context[at]) || char.GetUnicodeCategory(Context[at]) == UnicodeCategory.NonSpacingMark;
        while (end > start && IsEdge(end - 1)) end--;
        while (start < end && IsEdge(start)) start++;
        return window.Find(start, end);
    }
}

/// <summary>A text and several that could follow.</summary>
/// <param name="Prompt">The text.</param>
/// <param name="Choices">What could follow.</param>
/// <param name="Label">Which one does, from 0.</param>
public sealed record Choice(string Prompt, IReadOnlyList<string> Choices, int Label)
{
    /// <summary>Rows with a prompt, choices and a label; SWAG's own columns (startphrase, ending0 to 3) too.</summary>
    internal static Choice Of(JsonObject row, Func<string, string> column, string path)
    {
        string Name(string ours, params string[] others) => row.ContainsKey(column(ours)) ? column(ours) : others.FirstOrDefault(row.ContainsKey) ?? column(ours);
        var endings = Enumerable.Range(0, 100).Select(i => $"ending{i}").TakeWhile(row.ContainsKey).ToList();
        IReadOnlyList<string> choices = row[column("choices")] is JsonArray list ? TaskDataConfig.Texts(list, column("choices"), path) : [.. endings.Select(e => TaskDataConfig.Text(row, e, path))];
        if (choices.Count < 2) throw new InvalidDataException($"{path}: found a row with the columns {string.Join(", ", row.Select(c => c.Key))} and {choices.Count} choices. Expected two or more, as a list in '{column("choices")}' or in ending0, ending1, …");
        var label = int.TryParse(TaskDataConfig.Text(row, Name("label", "answer"), path), NumberStyles.Integer, CultureInfo.InvariantCulture, out var number) ? number : -1;
        if (label < 0 || label >= choices.Count) throw new InvalidDataException($"{path}: found the label '{row[Name("label", "answer")]}' of {choices.Count} choices. Expected 0 to {choices.Count - 1}.");
        return new(TaskDataConfig.Text(row, Name("prompt", "startphrase"), path), choices, label);
    }
}

/// <summary>Words and a tag for each.</summary>
/// <param name="Words">The words.</param>
/// <param name="Tags">O, or a letter and a type: B-PER.</param>
public sealed record TaggedSentence(IReadOnlyList<string> Words, IReadOnlyList<string> Tags)
{
    /// <summary>The sentences of a file in CoNLL's layout: a word a line, its tag in the last column, blank lines between sentences; or of rows with words and tags.</summary>
    /// <exception cref="InvalidDataException">A line without a tag, or lists of different length.</exception>
    public static IEnumerable<TaggedSentence> Read(string path, string? format = null, string wordColumn = "words", string tagColumn = "tags") => DataFiles.Find(path, format ?? "conll").SelectMany(file => (format ?? DataFiles.Ending(file).TrimStart('.')) is "jsonl" or "json" or "parquet" ? FromRows(file, format, wordColumn, tagColumn) : FromLines(file));

    private static IEnumerable<TaggedSentence> FromLines(string file)
    {
        var (words, tags) = (new List<string>(), new List<string>());
        var lines = Rows.Lines(file).ToList();
        var byTabs = AreTabsAlone([.. lines.Select(l => l.Text).Where(l => !IsBorder(l))]);
        foreach (var (number, line) in lines.Append((0, "")))
        {
            if (IsBorder(line))
            {
                if (words.Count > 0) yield return new(words, tags);
                (words, tags) = ([], []);
                continue;
            }
            var fields = byTabs ? line.Split('\t', StringSplitOptions.TrimEntries) : line.Split([' ', '\t'], StringSplitOptions.RemoveEmptyEntries);
            if (fields.Length < 2 || fields[^1].Length == 0) throw new InvalidDataException($"{file}, line {number}: found '{line}'. Expected a word and its tag, between blanks or tabs.");
            words.Add(fields[0]);
            tags.Add(fields[^1]);
        }
    }

    private static bool IsBorder(string line) => string.IsNullOrWhiteSpace(line) || line.StartsWith("-DOCSTART-", StringComparison.Ordinal);

    // Where every line has as many columns between tabs, a word may hold blanks, or be nothing else (tweets have such); unless all first columns are several words alike, as where a label is put behind others' columns.
    private static bool AreTabsAlone(IReadOnlyList<string> lines) => lines.Count > 0 && lines.All(l => l.Contains('\t', StringComparison.Ordinal)) && lines.Select(l => l.Split('\t').Length).Distinct().Count() == 1
        && lines.Select(l => l.Split('\t')[0].Split(' ', StringSplitOptions.RemoveEmptyEntries).Length).Distinct().ToList() is not [> 1];

    private static IEnumerable<TaggedSentence> FromRows(string file, string? format, string wordColumn, string tagColumn) => Rows.Read(file, format).Select(row =>
    {
        IReadOnlyList<string> List(string column) => row[column] is JsonArray list ? TaskDataConfig.Texts(list, column, file) : throw new InvalidDataException($"{file}: found a row with the columns {string.Join(", ", row.Select(c => c.Key))} and no list in '{column}'. Expected one (data.columns.{(column == wordColumn ? "words" : "tags")}).");
        var (words, tags) = (List(wordColumn), List(tagColumn));
        if (tags.Contains("")) throw new InvalidDataException($"{file}: found an empty tag. Expected O, or a letter and a type: B-PER.");
        return words.Count == tags.Count ? new TaggedSentence(words, tags) : throw new InvalidDataException($"{file}: found {words.Count} words and {tags.Count} tags in a row. Expected as many.");
    });

    /// <summary>The lines of sentences in CoNLL's layout, which <see cref="Read"/> reads back.</summary>
    internal static IEnumerable<string> Lines(IEnumerable<TaggedSentence> sentences)
    {
        var all = sentences.ToList();
        var separator = all.Exists(s => s.Words.Concat(s.Tags).Any(w => w.Length == 0 || w.Any(char.IsWhiteSpace))) ? '\t' : ' ';
        static string Line(string text) => string.Join(' ', text.Split('\t', '\n', '\r'));
        return all.SelectMany(s => s.Words.Zip(s.Tags, (w, t) => $"{Line(w)}{separator}{Line(t)}").Append(""));
    }
}

/// <summary>Examples of every kind of task from the SDK's documentation. Each comes with the text whose hash says where it belongs.</summary>
internal static partial class SdkTasks
{
    private static IEnumerable<SdkText> Summaries() => SdkCorpus.Texts().Where(t => t.Kind == "summary" && t.Text.Length is >= 20 and <= 400);

    private static string NamespaceOf(string member) => SdkCorpus.TypeOf(member) is var type && type.LastIndexOf('.') is > 0 and var dot ? type[..dot] : "";

    /// <summary>The namespace of a summary, among the twenty with the most.</summary>
    public static IEnumerable<(string, LabelledText)> Namespaces()
    {
        var all = Summaries().Select(t => (t.Text, Namespace: NamespaceOf(t.Member))).ToList();
        var most = all.GroupBy(t => t.Namespace, StringComparer.Ordinal).OrderByDescending(g => g.Count()).ThenBy(g => g.Key, StringComparer.Ordinal).Take(20).Select(g => g.Key).ToHashSet(StringComparer.Ordinal);
        return all.Where(t => most.Contains(t.Namespace)).Select(t => (t.Text, new LabelledText(t.Text, null, t.Namespace)));
    }

    /// <summary>A signature with its summary or with that of another member of its namespace, half and half.</summary>
    public static IEnumerable<(string, LabelledText)> Signatures() => WithOthers(1).Select((t, i) => (t.Own.Text, new LabelledText(Signature(t.Own.Member), (i % 2 == 0 ? t.Own : t.Others[0]).Text, i % 2 == 0 ? "match" : "other")));

    /// <summary>Which of four summaries is a member's.</summary>
    public static IEnumerable<(string, Choice)> Members() => WithOthers(3).Select((t, i) =>
    {
        var at = (int)(SdkCorpus.Fnv1a(t.Own.Text) / 100 % 4);
        var choices = t.Others.Select(o => o.Text).ToList();
        choices.Insert(at, t.Own.Text);
        return (t.Own.Text, new Choice(Signature(t.Own.Member), choices, at));
    });

    private static IEnumerable<(SdkText Own, List<SdkText> Others)> WithOthers(int count)
    {
        var random = Seeds.Random(1, "SDK tasks");
        foreach (var space in Summaries().Where(t => t.Member.StartsWith("M:", StringComparison.Ordinal) || t.Member.StartsWith("P:", StringComparison.Ordinal)).GroupBy(t => (NamespaceOf(t.Member), SdkCorpus.SplitOf(t.Text))))
        {
            var all = space.ToList();
            if (all.Count > 2 * count) foreach (var own in all) yield return (own, [.. Enumerable.Range(0, 100).Select(_ => all[random.Next(all.Count)]).Where(o => o.Text != own.Text).DistinctBy(o => o.Text).Take(count)]);
        }
    }

    // M:System.String.Join(System.String,System.Object[]) as people read it: String.Join(String, Object[]).
    private static string Signature(string member)
    {
        var open = member.IndexOf('(', StringComparison.Ordinal);
        var name = SdkCorpus.Name(member).Replace("#", "", StringComparison.Ordinal);
        return open < 0 ? name : $"{name}({string.Join(", ", Commas().Split(member[(open + 1)..].TrimEnd(')')).Select(p => p.Split('.')[^1].TrimEnd('}')))})";
    }

    [GeneratedRegex(",")]
    private static partial Regex Commas();

    /// <summary>When is an exception thrown: the answer is one of the sentences about a member.</summary>
    public static IEnumerable<(string, Question)> Exceptions()
    {
        foreach (var member in SdkCorpus.Members().GroupBy(t => t.Member, StringComparer.Ordinal))
        {
            var thrown = member.Where(t => t.Kind == "exception" && t.Subject is not null && t.Text.Length is >= 10 and <= 300).DistinctBy(t => t.Subject).ToList();
            if (thrown.Count < 2 || thrown.Select(t => t.Text).Distinct().Count() < thrown.Count) continue;
            var sentences = member.Where(t => t.Kind is "summary" or "returns").Select(t => t.Text).Concat(thrown.Select(t => t.Text)).Select(t => t.Replace('\n', ' ')).ToArray();
            Seeds.Random(1, member.Key).Shuffle(sentences);
            var context = string.Join(' ', sentences);
            foreach (var exception in thrown)
            {
                var answer = exception.Text.Replace('\n', ' ');
                yield return (context, new($"{member.Key} {exception.Subject}", $"When does {SdkCorpus.Name(member.Key)} throw {exception.Subject}?", context, [(answer, context.IndexOf(answer, StringComparison.Ordinal))]));
            }
        }
    }

    [GeneratedRegex(@"\w+|[\uD800-\uDBFF][\uDC00-\uDFFF]|[^\w\s]")]
    private static partial Regex Words();

    /// <summary>Where the words and marks of a text stand.</summary>
    public static IEnumerable<(int Start, int End)> WordPlaces(string text) => Words().Matches(text).Select(m => (m.Index, m.Index + m.Length));

    /// <summary>Words of a documentation text and what its markup says they are.</summary>
    public static IEnumerable<(string, TaggedSentence)> Marks()
    {
        foreach (var text in SdkCorpus.Texts().Where(t => t.Marks is not null && t.Text.Length <= 500))
        {
            var words = WordPlaces(text.Text).ToList();
            var tags = new string[words.Count];
            for (var w = 0; w < words.Count; w++)
            {
                var mark = text.Marks!.FirstOrDefault(m => m.Start <= words[w].Start && words[w].End <= m.End);
                tags[w] = mark.Kind is null ? "O" : (w > 0 && words[w - 1].Start >= mark.Start ? "I-" : "B-") + mark.Kind;
            }
            yield return (text.Text, new([.. words.Select(p => text.Text[p.Start..p.End])], tags));
        }
    }
}
