using Lect.Models;
using Lect.Text;

namespace Lect;

/// <summary>A tag for each word, from its first piece (Devlin et al. 2019, section 5.3 and figure 4 d; CoNLL-2003).</summary>
internal sealed class TagTask : FinetuneTask
{
    private readonly List<TaggedSentence> validation;
    private readonly IReadOnlyList<string> labels;

    public TagTask(TaskDataConfig data, Tokenizer tokenizer, int maxLength, Action<string>? note)
    {
        (var train, validation) = data.Read(path => TaggedSentence.Read(path, data.Format, data.Column("words"), data.Column("tags")), SdkTasks.Marks, e => string.Join(' ', e.Words));
        labels = [.. train.SelectMany(e => e.Tags).Distinct().Order(StringComparer.Ordinal)];
        if (labels.All(t => int.TryParse(t, out _))) throw new InvalidDataException($"Found the tags {string.Join(", ", labels.Take(10))}. Expected names (O, B-PER, I-PER …): numbers name no entities. Replace them by what they stand for.");
        if (labels.Count < 2) throw new InvalidDataException($"Found the tag '{labels[0]}' alone on all words to train with. Expected at least two.");
        if (validation.SelectMany(e => e.Tags).GroupBy(t => t).FirstOrDefault(g => !labels.Contains(g.Key)) is { } unknown) throw new InvalidDataException($"Found the tag '{unknown.Key}' on {unknown.Count():N0} validation words and on none to train with. Expected one of {string.Join(", ", labels)}.");
        var invalid = train.Concat(validation).Count(e => Enumerable.Range(0, e.Tags.Count).Any(w => e.Tags[w].StartsWith("I-", StringComparison.Ordinal) && (w == 0 || e.Tags[w - 1] == "O" || e.Tags[w - 1][1..] != e.Tags[w][1..])));
        if (invalid > 0) note?.Invoke($"{invalid:N0} sentences have an I- tag that nothing of its type comes before (IOB1, or not valid): it begins an entity, as in seqeval");
        var numbers = labels.Select((l, i) => (l, i)).ToDictionary(p => p.l, p => p.i, StringComparer.Ordinal);
        var cut = 0;
        FinetuneExample Example(TaggedSentence e)
        {
            var (row, firsts) = Words(tokenizer, e.Words, maxLength);
            if (firsts.Count < e.Words.Count) Interlocked.Increment(ref cut);
            var tags = Enumerable.Repeat(-100.0, row.Ids.Length).ToArray();
            for (var w = 0; w < firsts.Count; w++) tags[firsts[w]] = numbers[e.Tags[w]];
            return new([row], tags);
        }
        (Train, Validation) = (InParallel.Select(train, Example), InParallel.Select(validation, Example));
        if (cut > 0) note?.Invoke($"{cut:N0} sentences are longer than {maxLength} tokens: words beyond are not learned from, and count as O in evaluations");
    }

    /// <summary>The pieces of given words with the special tokens around, cut at a length, and the first piece of each word; a word that leaves no piece is [UNK].</summary>
    internal static (EncoderRow Row, List<int> Firsts) Words(Tokenizer tokenizer, IReadOnlyList<string> words, int maxLength)
    {
        var (cls, sep) = tokenizer.Around;
        var (ids, firsts) = (new List<int> { cls }, new List<int>());
        foreach (var word in words)
        {
            var pieces = tokenizer.EncodeIds(tokenizer.IsByteLevel && firsts.Count > 0 ? " " + word : word, addSpecialTokens: false);
            if (pieces.Length == 0) pieces = [tokenizer.Unknown ?? sep];
            if (ids.Count + 2 > maxLength) break;
            firsts.Add(ids.Count);
            ids.AddRange(pieces.Take(maxLength - 1 - ids.Count));
        }
        ids.Add(sep);
        return (new([.. ids]), firsts);
    }

    public override EncoderHead Head => EncoderHead.ForTokenClassification;
    public override IReadOnlyList<string> Labels => labels;
    public override string Metric => "f1";
    public override IReadOnlyList<FinetuneExample> Train { get; }
    public override IReadOnlyList<FinetuneExample> Validation { get; }
    public override double? Baseline => 0;

    private List<string[]> Tags(IReadOnlyList<float[]> outputs) => [.. outputs.Select((o, i) =>
    {
        var said = Enumerable.Range(0, Validation[i].Labels.Length).Where(t => Validation[i].Labels[t] >= 0).Select(t => labels[Best(o.AsSpan(t * labels.Count, labels.Count))]);
        return said.Concat(Enumerable.Repeat("O", validation[i].Words.Count)).Take(validation[i].Words.Count).ToArray();
    })];

    public override IReadOnlyList<(string, double)> Figures(IReadOnlyList<float[]> outputs)
    {
        var report = EntityMetrics.Report([.. validation.Select(e => e.Tags)], Tags(outputs));
        return [("f1", report.Micro.F1), ("precision", report.Micro.Precision), ("recall", report.Micro.Recall), ("accuracy", report.Accuracy)];
    }

    public override void WritePredictions(IReadOnlyList<float[]> outputs, string folder)
    {
        void Write(string name, IEnumerable<IReadOnlyList<string>> tags) => File.WriteAllLines(Path.Combine(folder, name), TaggedSentence.Lines(validation.Zip(tags, (e, t) => e with { Tags = t })));
        Write("predictions.conll", Tags(outputs));
        Write("gold.conll", validation.Select(e => e.Tags));
    }

    public override (Confusion?, IReadOnlyList<Mistake>) Review(IReadOnlyList<float[]> outputs)
    {
        var said = Tags(outputs);
        List<string> known = [.. labels];
        if (!known.Contains("O")) known.Add("O");
        static string Show(TaggedSentence e, IReadOnlyList<string> tags) => string.Join("; ", EntityMetrics.Entities(tags).Select(x => $"{string.Join(' ', e.Words.Skip(x.First).Take(x.Last - x.First + 1))}: {x.Type}")) is { Length: > 0 } some ? some : "none";
        var mistakes = Enumerable.Range(0, said.Count).Select(i => (i, Wrong: validation[i].Tags.Zip(said[i]).Count(t => t.First != t.Second))).Where(p => p.Wrong > 0).OrderByDescending(p => p.Wrong)
            .Select(p => new Mistake(string.Join(' ', validation[p.i].Words), Show(validation[p.i], validation[p.i].Tags), Show(validation[p.i], said[p.i]), p.Wrong)).ToList();
        var (gold, found) = (validation.SelectMany(e => e.Tags).Select(t => known.IndexOf(t)).ToList(), said.SelectMany(t => t).Select(t => known.IndexOf(t)).ToList());
        return (known.Count == labels.Count ? new Confusion(gold, found, known.Count) : null, mistakes);
    }
}
