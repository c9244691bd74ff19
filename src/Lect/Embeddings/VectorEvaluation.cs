using System.Globalization;
using Lect.Text;

namespace Lect;

/// <summary>Questions of a section of an analogy file: right and wrong answers.</summary>
/// <param name="Section">Its name.</param>
/// <param name="Correct">Right.</param>
/// <param name="Incorrect">Wrong.</param>
public sealed record AnalogySection(string Section, int Correct, int Incorrect);

/// <summary>How vectors answer a is to b as c is to what (Mikolov et al. 2013a).</summary>
/// <param name="Sections">In the file's order.</param>
/// <param name="Skipped">Questions with a word that has no vector (none with <c>unknownIsWrong</c>).</param>
public sealed record AnalogyAccuracy(IReadOnlyList<AnalogySection> Sections, int Skipped)
{
    internal const int GensimLimit = 300_000;
    private const int Block = 16;   // questions that share a pass over the vectors

    /// <summary>Right answers.</summary>
    public int Correct => Sections.Sum(s => s.Correct);

    /// <summary>Answers.</summary>
    public int Total => Sections.Sum(s => s.Correct + s.Incorrect);

    /// <summary>Right answers of all; 0 where there are none.</summary>
    public double Accuracy => Total == 0 ? 0 : (double)Correct / Total;

    private sealed record Question(int Section, string A, string B, string C, string Expected);

    /// <summary>Asks the questions of a file in the form of questions-words.txt: lines of four words, sections begin with a colon.</summary>
    /// <param name="vectors">The vectors.</param>
    /// <param name="path">The questions.</param>
    /// <param name="restrict">Only the first so many words exist; 0: all. Absent: as the protocol's program has it, 300,000 and all.</param>
    /// <param name="protocol">
    /// <c>gensim</c>: evaluate_word_analogies: case is ignored (the more frequent word counts), the best of five words that is not in the question. <c>word2vec</c>: compute-accuracy.c: unit vectors b - a + c,
    /// the best word whose number is not in the question (so that its twin in another case may win).
    /// </param>
    /// <param name="caseInsensitive">gensim's option.</param>
    /// <param name="unknownIsWrong">gensim's dummy4unknown: a question with an unknown word is wrong, not skipped.</param>
    /// <exception cref="InvalidDataException">A line that is no question.</exception>
    public static AnalogyAccuracy Of(WordVectors vectors, string path, int? restrict = null, string protocol = "gensim", bool caseInsensitive = true, bool unknownIsWrong = false)
    {
        var (names, questions) = Read(path);
        var likeC = protocol switch { "word2vec" => true, "gensim" => false, _ => throw new InvalidDataException($"Found protocol '{protocol}'. Expected gensim or word2vec.") };
        Func<string, string> fold = likeC ? AsciiUpper : caseInsensitive ? s => s.ToUpperInvariant() : s => s;
        var limit = restrict ?? (likeC ? 0 : GensimLimit);
        var index = new Dictionary<string, int>(StringComparer.Ordinal);
        var folded = vectors.Words.Take(limit > 0 ? limit : int.MaxValue).Select(fold).ToArray();
        for (var i = 0; i < folded.Length; i++) index.TryAdd(folded[i], i);

        var (correct, incorrect, skipped) = (new int[names.Count], new int[names.Count], 0);
        var known = new List<Question>();
        foreach (var question in questions.Select(q => q with { A = fold(q.A), B = fold(q.B), C = fold(q.C), Expected = fold(q.Expected) }))
        {
            if (new[] { question.A, question.B, question.C, question.Expected }.All(index.ContainsKey)) known.Add(question);
            else if (unknownIsWrong) incorrect[question.Section]++;
            else skipped++;
        }
        Parallel.ForEach(known.Chunk(Block), block =>
        {
            var rows = block.Select(q => new[] { index[q.A], index[q.B], index[q.C] }).ToList();
            var found = vectors.Search([.. rows.Select(r => vectors.Combine([(r[1], 1), (r[2], 1), (r[0], -1)]))], likeC ? 1 : 5, folded.Length, rows);
            for (var i = 0; i < block.Length; i++)
            {
                string[] asked = [block[i].A, block[i].B, block[i].C];
                var words = found[i].Select(f => folded[f.Word]).ToList();
                var answer = likeC ? words.FirstOrDefault() : words.FirstOrDefault(w => !asked.Contains(w)) ?? words.LastOrDefault();
                Interlocked.Increment(ref (answer == block[i].Expected ? correct : incorrect)[block[i].Section]);
            }
        });
        return new([.. names.Select((name, i) => new AnalogySection(name, correct[i], incorrect[i]))], skipped);
    }

    private static string AsciiUpper(string text) => string.Create(text.Length, text, (to, from) =>
    {
        for (var i = 0; i < from.Length; i++) to[i] = from[i] is >= 'a' and <= 'z' ? (char)(from[i] - 32) : from[i];
    });

    private static (List<string> Sections, List<Question> Questions) Read(string path)
    {
        if (!File.Exists(path)) throw new InvalidDataException($"Found no file {path}. Expected analogy questions (questions-words.txt).");
        var (sections, questions, number) = (new List<string>(), new List<Question>(), 0);
        foreach (var line in File.ReadLines(path))
        {
            number++;
            var words = line.Split((char[]?)null, StringSplitOptions.RemoveEmptyEntries);
            if (words.Length == 0) continue;
            if (words[0].StartsWith(':')) sections.Add(line.TrimStart(':', ' ').Trim());
            else if (words.Length != 4) throw new InvalidDataException($"{path}, line {number}: found {words.Length} words. Expected four, or a section (: name).");
            else
            {
                if (sections.Count == 0) sections.Add("");
                questions.Add(new(sections.Count - 1, words[0], words[1], words[2], words[3]));
            }
        }
        return questions.Count > 0 ? (sections, questions) : throw new InvalidDataException($"{path}: found no questions. Expected lines of four words.");
    }
}

/// <summary>How cosines agree with people's judgements of pairs of words.</summary>
/// <param name="Spearman">Correlation of ranks, ties sharing their mean.</param>
/// <param name="Pearson">Correlation of the values.</param>
/// <param name="Pairs">Pairs in the file.</param>
/// <param name="Missing">Those with a word that has no vector.</param>
public sealed record WordSimilarity(double Spearman, double Pearson, int Pairs, int Missing)
{
    /// <summary>Compares with a file of lines "word word score", separated by tabs or blanks; lines that begin with # are passed over.</summary>
    /// <param name="vectors">The vectors.</param>
    /// <param name="path">The pairs.</param>
    /// <param name="restrict">Only the first so many words exist; 0: all. 300,000 is gensim's default.</param>
    /// <param name="caseInsensitive">Case is ignored: the more frequent word counts.</param>
    /// <param name="unknownIsZero">Pairs with an unknown word have the similarity 0 instead of being left out (gensim's dummy4unknown).</param>
    /// <exception cref="InvalidDataException">A line that is no pair, or fewer than two pairs that are known.</exception>
    public static WordSimilarity Of(WordVectors vectors, string path, int restrict = AnalogyAccuracy.GensimLimit, bool caseInsensitive = true, bool unknownIsZero = false)
    {
        if (!File.Exists(path)) throw new InvalidDataException($"Found no file {path}. Expected lines of two words and a score.");
        Func<string, string> fold = caseInsensitive ? s => s.ToUpperInvariant() : s => s;
        var index = new Dictionary<string, int>(StringComparer.Ordinal);
        for (var i = 0; i < (restrict > 0 ? Math.Min(restrict, vectors.Words.Count) : vectors.Words.Count); i++) index.TryAdd(fold(vectors.Words[i]), i);
        var (ours, theirs, number, missing) = (new List<double>(), new List<double>(), 0, 0);
        foreach (var line in File.ReadLines(path))
        {
            number++;
            if (line.StartsWith('#') || string.IsNullOrWhiteSpace(line)) continue;
            var fields = line.Contains('\t', StringComparison.Ordinal) ? line.Split('\t', StringSplitOptions.TrimEntries | StringSplitOptions.RemoveEmptyEntries) : line.Split((char[]?)null, StringSplitOptions.RemoveEmptyEntries);
            if (fields.Length != 3 || !double.TryParse(fields[2], NumberStyles.Float, CultureInfo.InvariantCulture, out var score) || !double.IsFinite(score)) throw new InvalidDataException($"{path}, line {number}: found '{line}'. Expected two words and a score, between tabs or blanks.");
            var isKnown = index.TryGetValue(fold(fields[0]), out var a) & index.TryGetValue(fold(fields[1]), out var b);
            if (!isKnown) missing++;
            if (!isKnown && !unknownIsZero) continue;
            ours.Add(isKnown ? vectors.Cosine(a, b) : 0);
            theirs.Add(score);
        }
        if (ours.Count < 2) throw new InvalidDataException($"{path}: found {ours.Count} pairs whose words have vectors. Expected at least two.");
        return new(Correlations.Spearman(ours, theirs), Correlations.Pearson(ours, theirs), unknownIsZero ? ours.Count : ours.Count + missing, missing);
    }
}
