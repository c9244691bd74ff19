using Lect.Models;
using Lect.Text;

namespace Lect;

/// <summary>A source text and what it is to become.</summary>
/// <param name="Split">Where it belongs.</param>
/// <param name="Source">The one.</param>
/// <param name="Target">The other.</param>
public readonly record struct TextPair(CorpusSplit Split, string Source, string Target);

/// <summary>The keys of <c>data</c> where a recipe reads pairs of texts.</summary>
public sealed record PairDataConfig
{
    private const string DefaultPair = "en-de";

    /// <summary><c>sdk</c>: the SDK's messages and their translations; <c>copy</c>, <c>reverse</c> or <c>sort</c>: made-up sequences of letters. <value>sdk</value></summary>
    public string? Source { get; init; }
    /// <summary>Source and target language of the SDK's pairs, one of them <c>en</c>. <value>en-de</value></summary>
    public string? Pair { get; init; }
    /// <summary>A file with both columns (TSV, JSONL, CSV, Parquet), or one text a line with <see cref="TargetPath"/> beside it.</summary>
    public string? Path { get; init; }
    /// <summary>The targets, line by line.</summary>
    public string? TargetPath { get; init; }
    /// <summary>What to validate on.</summary>
    public string? ValidationPath { get; init; }
    /// <summary>Its targets.</summary>
    public string? ValidationTargetPath { get; init; }
    /// <summary>The share kept for validation by the hash of the source, where there is no <see cref="ValidationPath"/>. <value>0.05</value></summary>
    public double? Validation { get; init; }
    /// <summary>The format (an ending without dot) where the file's name does not tell.</summary>
    public string? Format { get; init; }
    /// <summary>Our names to the file's: <c>source</c>, <c>target</c>.</summary>
    public Dictionary<string, string> Columns { get; init; } = [];
    /// <summary>Lower case on both sides.</summary>
    public bool Lowercase { get; init; }
    /// <summary>Pairs with more tokens on a side are left out of training (how many is said). <value>100</value></summary>
    public int MaxLength { get; init; } = 100;
    /// <summary>Made-up pairs for training. <value>50000</value></summary>
    public int Pairs { get; init; } = 50_000;
    /// <summary>Letters of a made-up sequence at most. <value>25</value></summary>
    public int Letters { get; init; } = 25;

    /// <summary>How sacreBLEU cuts a target language whose blanks do not part words; null: it is none of these, or not known.</summary>
    internal string? TokenizeByCharacters => Path is not null || IsMadeUp ? null : (Pair ?? DefaultPair).Split('-', 2)[1] switch { var t when t.StartsWith("zh", StringComparison.Ordinal) => "zh", "ja" or "ko" => "char", _ => null };

    internal bool IsMadeUp => Source is "copy" or "reverse" or "sort";

    internal IEnumerable<string> Faults()
    {
        if (Source is not (null or "sdk" or "copy" or "reverse" or "sort")) yield return $"data.source = '{Source}': expected sdk, copy, reverse, sort, or data.path";
        if (Path is null && (TargetPath ?? ValidationPath ?? ValidationTargetPath ?? Format) is not null) yield return "data: found target_path, validation_path, validation_target_path or format without path";
        if (Path is not null && Pair is not null) yield return "data.pair: the SDK's pairs have languages; files have columns or two paths";
        if (TargetPath is null && ValidationTargetPath is not null) yield return "data.validation_target_path: found without target_path";
        if (TargetPath is not null && ValidationPath is not null && ValidationTargetPath is null) yield return "data.validation_path: its targets are missing, data.validation_target_path";
        if (Pair is not null && (Pair.Split('-', 2) is not [var a, var b] || (a != "en") == (b != "en"))) yield return $"data.pair = '{Pair}': expected two languages, one of them en, for example en-de or zh-Hans-en";
        if (Validation is < 0 or >= 1) yield return FormattableString.Invariant($"data.validation = {Validation}: expected at least 0 and less than 1");
        if (!IsMadeUp && (Pairs != new PairDataConfig().Pairs || Letters != new PairDataConfig().Letters)) yield return "data.pairs, data.letters: only made-up sequences (data.source: copy, reverse or sort) have them";
        if (MaxLength < 1 || Pairs < 1 || Letters < 1) yield return "data: found max_length, pairs or letters below 1";
        foreach (var column in Columns.Keys.Where(c => c is not ("source" or "target"))) yield return $"data.columns.{column}: this recipe reads the columns 'source' and 'target'";
    }

    internal string Describe => Path ?? (IsMadeUp ? $"made-up sequences to {Source}" : $"the SDK's messages, {Pair ?? DefaultPair}");

    /// <summary>All pairs.</summary>
    /// <param name="seed">Of made-up ones.</param>
    /// <exception cref="InvalidDataException">Files of different length, a language the SDK does not have, …</exception>
    internal IEnumerable<TextPair> Read(long seed)
    {
        var pairs = IsMadeUp ? MadeUp(seed) : Path is null ? Sdk() : Files();
        return Lowercase ? pairs.Select(p => p with { Source = p.Source.ToLowerInvariant(), Target = p.Target.ToLowerInvariant() }) : pairs;
    }

    private IEnumerable<TextPair> Sdk()
    {
        var pair = Pair ?? DefaultPair;
        var intoEnglish = pair.EndsWith("-en", StringComparison.Ordinal);
        var pairs = SdkTranslations.Pairs(intoEnglish ? pair[..^3] : pair[3..]);
        return pairs.Select(p => new TextPair(SdkCorpus.SplitOf(p.English), intoEnglish ? p.Other : p.English, intoEnglish ? p.English : p.Other));
    }

    // Letters between blanks; a hundredth of the pairs each to validate and to test with.
    private IEnumerable<TextPair> MadeUp(long seed)
    {
        var random = Seeds.Random(seed, "sequences");
        for (var i = 0; i < Pairs + 2 * (Pairs / 50); i++)
        {
            var letters = Enumerable.Range(0, random.Next(1, Letters + 1)).Select(_ => (char)('a' + random.Next(26))).ToArray();
            var target = Source switch { "reverse" => letters.Reverse(), "sort" => letters.Order(), _ => letters.AsEnumerable() };
            yield return new(i < Pairs ? CorpusSplit.Train : i < Pairs + Pairs / 50 ? CorpusSplit.Validation : CorpusSplit.Test, string.Join(' ', letters), string.Join(' ', target));
        }
    }

    private IEnumerable<TextPair> Files()
    {
        var share = ValidationPath is null ? Validation ?? 0.05 : 0;
        foreach (var (source, target) in File(Path!, TargetPath)) yield return new(SdkCorpus.IsKept(source, share) ? CorpusSplit.Validation : CorpusSplit.Train, source, target);
        if (ValidationPath is null) yield break;
        foreach (var (source, target) in File(ValidationPath, ValidationTargetPath)) yield return new(CorpusSplit.Validation, source, target);
    }

    private IEnumerable<(string Source, string Target)> File(string path, string? targets)
    {
        if (targets is not null) return Lines(path, targets);
        var (source, target) = (Columns.GetValueOrDefault("source") ?? "source", Columns.GetValueOrDefault("target") ?? "target");
        return Rows.Read(path, Format).Select(row => (Text(row, source, path), Text(row, target, path)));
    }

    private static string Text(System.Text.Json.Nodes.JsonObject row, string column, string path) => row[column] is { } value && value.GetValueKind() == System.Text.Json.JsonValueKind.String ? (string)value!
        : throw new InvalidDataException($"{path}: found a row with the columns {string.Join(", ", row.Select(c => c.Key))} and no text in '{column}'. Expected one: name it with data.columns.source and data.columns.target, or give two files (data.path, data.target_path).");

    private static IEnumerable<(string, string)> Lines(string path, string targets)
    {
        var (left, right) = (ReadLines(path), ReadLines(targets));
        if (left.Count != right.Count)
        {
            var odd = Enumerable.Range(0, Math.Min(left.Count, right.Count)).Where(i => left[i].Length == 0 != (right[i].Length == 0)).Select(i => (int?)i).FirstOrDefault();
            throw new InvalidDataException($"Found {left.Count:N0} lines in {path} and {right.Count:N0} in {targets}. Expected as many: line i of both belong together." + (odd is { } at ? $" Line {at + 1} is empty in one of them only." : ""));
        }
        return left.Zip(right);
    }

    private static List<string> ReadLines(string path)
    {
        if (!System.IO.File.Exists(path)) throw new InvalidDataException($"Found no file {path}. Expected one text a line.");
        using var reader = new StreamReader(DataFiles.Open(path));
        var lines = new List<string>();
        while (reader.ReadLine() is { } line) lines.Add(line);
        return lines;
    }
}

/// <summary>Token ids of a pair, both ending with the end token.</summary>
/// <param name="Source">Of the source.</param>
/// <param name="Target">Of the target.</param>
internal sealed record IdPair(int[] Source, int[] Target);

/// <summary>Pairs of about the same length, padded.</summary>
/// <param name="Source">Rows.</param>
/// <param name="Target">Rows: what the decoder reads (it begins with the beginning) is one place behind what it is to say.</param>
public sealed record PairBatch(IReadOnlyList<int[]> Source, IReadOnlyList<int[]> Target)
{
    /// <summary>Target tokens to predict.</summary>
    public long LabelCount => Target.Sum(t => (long)t.Length);
}

/// <summary>Batches of pairs of about the same length: <paramref name="batchSize"/> pairs, or as many as <paramref name="batchTokens"/> hold (rows times the longest).</summary>
internal sealed class PairBatches(IReadOnlyList<IdPair> pairs, int batchSize, int? batchTokens, long seed)
{
    private readonly LengthBatches<IdPair> batches = new(_ => pairs, p => (p.Target.Length, p.Source.Length), (batch, next) => batchTokens is { } most ? (batch.Count + 1) * Math.Max(next.Target.Length, Math.Max(next.Source.Length, batch.Max(p => p.Source.Length))) > most : batch.Count == batchSize, Math.Max(1, batchSize) * 100, seed, "pairs");

    /// <summary>Steps of some epochs, as the first ones count them.</summary>
    public long StepsOf(double epochs) => batches.StepsOf(epochs);

    /// <summary>The micro-batches of a step: one, or one for each process.</summary>
    public IReadOnlyList<PairBatch> At(long step) => [.. Processes.Share(batches.At(step), null).Select(rows => new PairBatch([.. rows.Select(p => p.Source)], [.. rows.Select(p => p.Target)]))];
}
