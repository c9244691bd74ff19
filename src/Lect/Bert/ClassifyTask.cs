using System.Globalization;
using Lect.Models;
using Lect.Text;

namespace Lect;

/// <summary>Sentences and pairs of sentences: a label or a number from [CLS] (Devlin et al. 2019, figure 4 a and b; GLUE).</summary>
internal sealed class ClassifyTask : FinetuneTask
{
    private readonly List<LabelledText> validation;
    private readonly IReadOnlyList<string> labels;
    private readonly bool isRegression;
    private readonly double baseline;

    public ClassifyTask(TaskDataConfig data, bool pairs, Tokenizer tokenizer, int maxLength, bool bothOrders = false)
    {
        isRegression = data.IsRegression;
        Metric = (data.Task is null ? null : GlueTask.All[data.Task].Metric) ?? (isRegression ? "spearman" : "accuracy");
        (var train, validation) = Read(data, pairs);
        labels = isRegression ? ["score"] : [.. train.Select(e => e.Label).Distinct().Order(StringComparer.Ordinal)];
        if (!isRegression && labels.Count < 2) throw new InvalidDataException($"Found the label '{labels[0]}' alone on all examples to train with. Expected at least two labels (numbers to come near to: data.regression).");
        if (!isRegression && validation.GroupBy(e => e.Label).FirstOrDefault(g => !labels.Contains(g.Key)) is { } unknown) throw new InvalidDataException($"Found the label '{unknown.Key}' on {unknown.Count():N0} validation examples and on none to train with. Expected one of {string.Join(", ", labels)}.");
        var numbers = labels.Select((l, i) => (l, i)).ToDictionary(p => p.l, p => (double)p.i, StringComparer.Ordinal);
        double Label(LabelledText e) => !isRegression ? numbers[e.Label] : double.TryParse(e.Label, NumberStyles.Float, CultureInfo.InvariantCulture, out var number) && double.IsFinite(number) ? number : throw new InvalidDataException($"Found the label '{e.Label}'. Expected a number (data.regression).");
        FinetuneExample Example(LabelledText e) => new(bothOrders ? [EncoderRow.Of(tokenizer, e.Text, e.Pair, maxLength), EncoderRow.Of(tokenizer, e.Pair!, e.Text, maxLength)] : [EncoderRow.Of(tokenizer, e.Text, e.Pair, maxLength)], [Label(e)]);
        (Train, Validation) = (InParallel.Select(train, Example), InParallel.Select(validation, Example));
        if (!isRegression && validation.Count > 0) baseline = train.GroupBy(e => e.Label).MaxBy(g => g.Count())!.Key is var most ? validation.Count(e => e.Label == most) / (double)validation.Count : 0;
    }

    /// <summary>The examples of both splits, single texts or pairs.</summary>
    internal static (List<LabelledText> Train, List<LabelledText> Validation) Read(TaskDataConfig data, bool pairs)
    {
        var glue = data.Task is null ? null : GlueTask.All[data.Task];
        if (glue is not null && glue.Pair is null == pairs) throw new InvalidDataException($"Found data.task = '{data.Task}', whose examples are {(pairs ? "single texts" : "pairs")}. Expected {(pairs ? "pairs: for single texts there is lect finetune classify (gpt1.task=classify)" : "single texts: for pairs there is lect finetune pairs (gpt1.task=entail or similarity)")}.");
        IEnumerable<LabelledText> File(string path) => glue is not null ? DataFiles.Find(path, "glue").SelectMany(glue.Read) : data.Rows(path).Select(row =>
            new LabelledText(TaskDataConfig.Text(row, data.Column("text"), path), pairs ? TaskDataConfig.Text(row, data.Column("text_pair"), path) : null, TaskDataConfig.Text(row, data.Column("label"), path)));
        return data.Read(File, pairs ? SdkTasks.Signatures : SdkTasks.Namespaces, e => e.Text);
    }

    public override EncoderHead Head => EncoderHead.ForSequenceClassification;
    public override IReadOnlyList<string> Labels => labels;
    public override string Metric { get; }
    public override IReadOnlyList<FinetuneExample> Train { get; }
    public override IReadOnlyList<FinetuneExample> Validation { get; }
    public override double? Baseline => isRegression || Metric == "matthews" ? 0 : baseline;

    private int[] Gold => [.. Validation.Select(e => (int)e.Labels[0])];

    private Confusion Confused(IReadOnlyList<float[]> outputs) => new(Gold, [.. outputs.Select(o => Best(o))], labels.Count);

    public override IReadOnlyList<(string, double)> Figures(IReadOnlyList<float[]> outputs)
    {
        if (isRegression)
        {
            var (said, gold) = (outputs.Select(o => (double)o[0]).ToList(), Validation.Select(e => e.Labels[0]).ToList());
            return [("spearman", Finite(Correlations.Spearman(said, gold))), ("pearson", Finite(Correlations.Pearson(said, gold)))];
        }
        var confused = Confused(outputs);
        var figures = new List<(string, double)> { ("accuracy", confused.Accuracy), ("matthews", confused.Matthews), ("macro_f1", confused.Report(labels).Macro.F1) };
        if (labels.Count == 2) figures.Add(("f1", confused.Of(1).F1));
        return figures;
    }

    // A model that says one number of everything has no correlation.
    private static double Finite(double x) => double.IsFinite(x) ? x : 0;

    public override void WritePredictions(IReadOnlyList<float[]> outputs, string folder)
    {
        File.WriteAllLines(Path.Combine(folder, "predictions.txt"), outputs.Select(o => isRegression ? o[0].ToString("R", CultureInfo.InvariantCulture) : labels[Best(o)]));
        File.WriteAllLines(Path.Combine(folder, "gold.txt"), validation.Select(e => e.Label));
    }

    public override (Confusion?, IReadOnlyList<Mistake>) Review(IReadOnlyList<float[]> outputs)
    {
        string Text(int i) => validation[i].Pair is { } pair ? $"{validation[i].Text} — {pair}" : validation[i].Text;
        if (isRegression) return (null, [.. Enumerable.Range(0, outputs.Count).OrderByDescending(i => Math.Abs(outputs[i][0] - Validation[i].Labels[0])).Select(i => new Mistake(Text(i), validation[i].Label, outputs[i][0].ToString("0.00", CultureInfo.InvariantCulture), Math.Abs(outputs[i][0] - Validation[i].Labels[0])))]);
        var gold = Gold;
        return (Confused(outputs), [.. Enumerable.Range(0, outputs.Count).Where(i => Best(outputs[i]) != gold[i]).OrderBy(i => Softmax(outputs[i])[gold[i]]).Select(i => new Mistake(Text(i), labels[gold[i]], labels[Best(outputs[i])], Softmax(outputs[i]).Max()))]);
    }
}
