using Lect.Testing;

namespace Lect.Tests.Embeddings;

/// <summary>Phrases against gensim's (fixtures/embeddings/phrases.json).</summary>
public sealed class PhrasesTests : TemporaryFolder
{
    [Theory, InlineData(0), InlineData(1), InlineData(2)]
    public void Finds_and_joins_what_gensim_does(int run)
    {
        var json = Fixtures.Json(Fixtures.Path_("embeddings", "phrases.json"))["runs"]![run]!;
        var options = new PhraseOptions { Passes = 1, MinCount = (long)json["options"]!["min_count"]!, Threshold = (double)json["options"]!["threshold"]!, Scoring = (string?)json["options"]!["scoring"] ?? "gensim" };
        var (lines, words, counts, numbers) = (File.ReadAllLines(Fixtures.Path_("embeddings", "phrases.corpus.txt")), new List<string> { "</s>" }, new List<long> { 0 }, new Dictionary<string, int>());
        var file = At("ids.bin");
        using (var writer = new IdFile(file))
            foreach (var line in lines)
            {
                foreach (var word in line.Split(' ', StringSplitOptions.RemoveEmptyEntries))
                {
                    if (!numbers.TryGetValue(word, out var id))
                    {
                        numbers[word] = id = words.Count;
                        words.Add(word);
                        counts.Add(0);
                    }
                    counts[id]++;
                    writer.Write(id);
                }
                writer.Write(0);
            }
        Assert.Equal((long)json["corpus_word_count"]!, counts.Sum());
        var found = Phrases.Find(file, words, counts, options);
        var expected = json["found"]!.AsObject().ToDictionary(p => p.Key, p => (double)p.Value!);
        var scores = found.Scores.ToDictionary(p => words[p.Key.First] + "_" + words[p.Key.Second], p => p.Value);
        foreach (var (phrase, score) in expected) Assert.Equal(score, scores[phrase], 1e-9);

        var before = words.Count;
        found.Join(file, words, counts);
        Assert.Equal(expected.Keys.Order(StringComparer.Ordinal), words.Skip(before).Order(StringComparer.Ordinal));   // gensim tells the phrases that it joined
        var joined = IdFile.Read(file).SelectMany(m => m.ToArray()).ToList();
        var text = string.Concat(joined.Select(id => id == 0 ? "\n" : words[id] + " ")).Split('\n').Select(l => l.TrimEnd()).ToList();
        Assert.Equal(json["joined"]!.AsArray().Select(l => (string)l!), text.Take(json["joined"]!.AsArray().Count));
        for (var id = 1; id < words.Count; id++) Assert.Equal(joined.Count(j => j == id), counts[id]);
    }
}
