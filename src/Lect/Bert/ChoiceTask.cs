using System.Globalization;
using Lect.Models;
using Lect.Text;

namespace Lect;

/// <summary>Multiple choice: a score for each pair of prompt and choice, a softmax over the choices (Devlin et al. 2019, section 4.4; SWAG).</summary>
internal sealed class ChoiceTask : FinetuneTask
{
    private readonly List<Choice> validation;

    public ChoiceTask(TaskDataConfig data, Tokenizer tokenizer, int maxLength)
    {
        (var train, validation) = Read(data);
        if (train.Concat(validation).Select(e => e.Choices.Count).Distinct().Count() > 1) throw new InvalidDataException($"Found examples of {string.Join(", ", train.Concat(validation).Select(e => e.Choices.Count).Distinct().Order())} choices. Expected as many in all.");
        FinetuneExample Example(Choice e) => new([.. e.Choices.Select(c => EncoderRow.Of(tokenizer, e.Prompt, c, maxLength))], [e.Label]);
        (Train, Validation) = (InParallel.Select(train, Example), InParallel.Select(validation, Example));
    }

    /// <summary>The examples of both splits.</summary>
    internal static (List<Choice> Train, List<Choice> Validation) Read(TaskDataConfig data) => data.Read(path => data.Rows(path).Select(row => Choice.Of(row, data.Column, path)), SdkTasks.Members, e => e.Prompt);

    public override EncoderHead Head => EncoderHead.ForMultipleChoice;
    public override string Metric => "accuracy";
    public override IReadOnlyList<FinetuneExample> Train { get; }
    public override IReadOnlyList<FinetuneExample> Validation { get; }
    public override double? Baseline => validation.Count == 0 ? null : validation.GroupBy(e => e.Label).Max(g => g.Count()) / (double)validation.Count;

    public override IReadOnlyList<(string, double)> Figures(IReadOnlyList<float[]> outputs) => [("accuracy", outputs.Zip(validation).Count(p => Best(p.First) == p.Second.Label) / (double)outputs.Count)];

    public override void WritePredictions(IReadOnlyList<float[]> outputs, string folder)
    {
        File.WriteAllLines(Path.Combine(folder, "predictions.txt"), outputs.Select(o => Best(o).ToString(CultureInfo.InvariantCulture)));
        File.WriteAllLines(Path.Combine(folder, "gold.txt"), validation.Select(e => e.Label.ToString(CultureInfo.InvariantCulture)));
    }

    public override (Confusion?, IReadOnlyList<Mistake>) Review(IReadOnlyList<float[]> outputs) => (null, [.. Enumerable.Range(0, outputs.Count).Where(i => Best(outputs[i]) != validation[i].Label)
        .OrderBy(i => Softmax(outputs[i])[validation[i].Label]).Select(i => new Mistake(validation[i].Prompt, validation[i].Choices[validation[i].Label], validation[i].Choices[Best(outputs[i])], Softmax(outputs[i]).Max()))]);
}
