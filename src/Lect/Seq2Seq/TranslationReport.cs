using Lect.Text;

namespace Lect;

/// <summary>How good translations are.</summary>
/// <param name="Name"><c>model</c>, or a baseline: <c>copy</c> (the source as it is), <c>nearest</c> (the translation of the most similar training source).</param>
/// <param name="Bleu">0 to 100.</param>
/// <param name="ChrF">0 to 100.</param>
/// <param name="Texts">The translations.</param>
public sealed record TranslationFigures(string Name, double Bleu, double ChrF, IReadOnlyList<string> Texts);

/// <summary>A translation model on pairs that it never saw, beside two baselines that know nothing of translating.</summary>
/// <param name="Test">The pairs.</param>
/// <param name="Signature">Of BLEU.</param>
/// <param name="Figures">The model first.</param>
public sealed record TranslationReport(IReadOnlyList<TextPair> Test, string Signature, IReadOnlyList<TranslationFigures> Figures)
{
    /// <summary>Measures the model of a run on the test split of its data (the validation split where the data are files, which have no test).</summary>
    /// <param name="folder">Of a run of <c>lect train seq2seq</c> or <c>transformer</c>.</param>
    /// <param name="sentences">At most; 0: all.</param>
    /// <param name="beams">Hypotheses of beam search; null: as the folder has it.</param>
    /// <param name="device">Where.</param>
    /// <exception cref="InvalidDataException">The folder is no run, or its data hold nothing to test with.</exception>
    public static TranslationReport Of(string folder, int sentences = 0, int? beams = null, string device = "auto")
    {
        if (!RunFolder.IsAt(folder)) throw new InvalidDataException($"Found no run in {folder}. Expected the folder of 'lect train seq2seq' or 'lect train transformer', which knows its data.");
        var config = RunFile.Load<TrainSeq2SeqConfig>(Path.Combine(folder, "run.yaml"));
        var pairs = config.Data.Read(config.Seed).Where(p => !string.IsNullOrWhiteSpace(p.Source) && !string.IsNullOrWhiteSpace(p.Target)).ToLookup(p => p.Split);
        using var translator = Translator.Load(folder, device);
        // Only pairs of a length that the model was trained on.
        bool Fits(TextPair p) => translator.Encode(p.Source).Length <= config.Data.MaxLength + 1 && translator.EncodeTarget(p.Target).Length <= config.Data.MaxLength + 1;
        var test = (pairs.Contains(CorpusSplit.Test) ? pairs[CorpusSplit.Test] : pairs[CorpusSplit.Validation]).Where(Fits).Take(sentences == 0 ? int.MaxValue : sentences).ToList();
        if (test.Count == 0) throw new InvalidDataException($"Found no pairs to test with in {config.Data.Describe}. Expected some that training leaves out.");
        var train = pairs[CorpusSplit.Train].ToList();
        var bleu = new Bleu { Tokenize = config.Data.TokenizeByCharacters ?? (config.Data.IsMadeUp ? "none" : "13a") };
        var references = test.Select(p => (IReadOnlyList<string>)[p.Target]).ToList();
        TranslationFigures Figures(string name, IReadOnlyList<string> texts) => new(name, bleu.Corpus(texts, references).Value, new ChrF().Corpus(texts, references).Value, texts);
        return new(test, bleu.Signature(references),
        [
            Figures("model", [.. translator.Translate([.. test.Select(p => p.Source)], translator.Defaults with { Beams = beams ?? translator.Defaults.Beams }).Select(t => t.Text)]),
            Figures("copy", [.. test.Select(p => p.Source)]),
            Figures("nearest", Nearest(train, test)),
        ]);
    }

    // By the cosine of word counts, rare words weighing more (tf-idf).
    private static List<string> Nearest(List<TextPair> train, List<TextPair> test)
    {
        static IEnumerable<string> Words(string text) => text.ToLowerInvariant().Split([' ', '.', ',', ':', ';', '\'', '"', '(', ')'], StringSplitOptions.RemoveEmptyEntries);
        var places = new Dictionary<string, List<(int Pair, int Count)>>(StringComparer.Ordinal);
        for (var i = 0; i < train.Count; i++)
            foreach (var group in Words(train[i].Source).GroupBy(w => w, StringComparer.Ordinal))
            {
                if (!places.TryGetValue(group.Key, out var list)) places[group.Key] = list = [];
                list.Add((i, group.Count()));
            }
        double Weight(string word) => Math.Log((double)train.Count / places[word].Count);
        var norms = new double[train.Count];
        foreach (var (word, list) in places)
            foreach (var (pair, count) in list) norms[pair] += Math.Pow(count * Weight(word), 2);
        var lengths = norms.Select(n => Math.Sqrt(n + 1e-9)).ToArray();
        var found = new List<string>();
        foreach (var (_, source, _) in test)
        {
            var scores = new double[train.Count];
            foreach (var group in Words(source).GroupBy(w => w, StringComparer.Ordinal).Where(g => places.ContainsKey(g.Key)))
                foreach (var (pair, count) in places[group.Key]) scores[pair] += group.Count() * count * Math.Pow(Weight(group.Key), 2);
            found.Add(train[Enumerable.Range(0, train.Count).MaxBy(i => scores[i] / lengths[i])].Target);
        }
        return found;
    }
}
