using Lect.Models;
using Lect.Testing;
using Lect.Text;

namespace Lect.Tests.Bert;

/// <summary>What BERT is pre-trained on: shares over a million tokens, pairs, rows (Devlin et al. 2019, section 3.1).</summary>
public sealed class MaskingTests
{
    private static readonly Tokenizer s_tokenizer = Tokenizer.Load(Fixtures.Path_("tokenizers", "bert-uncased"));

    private static (int Cls, int Sep, int Mask, int Pad) Special => (s_tokenizer.Around.First, s_tokenizer.Around.Last, s_tokenizer.Mask!.Value, s_tokenizer.Padding!.Value);

    // Documents of 1 to 20 sentences of 3 to 30 tokens; each token says where it stands, as far as there are ids for that.
    private static List<int[][]> Documents(int count)
    {
        var random = new Random(5);
        int[] ordinary = [.. Enumerable.Range(0, s_tokenizer.VocabularySize).Where(id => !s_tokenizer.IsSpecial(id))];
        return [.. Enumerable.Range(0, count).Select(_ => Enumerable.Range(0, random.Next(1, 21)).Select(_ => Enumerable.Range(0, random.Next(3, 31)).Select(_ => ordinary[random.Next(ordinary.Length)]).ToArray()).ToArray())];
    }

    [Theory, InlineData(false), InlineData(true)]
    public void Shares_over_a_million_tokens(bool wholeWords)
    {
        var (cls, sep, mask, pad) = Special;
        var passages = new PassageMaker(Documents(7000), cls, sep, pairs: true).Make(128, new Random(1));
        var masking = new Masking(s_tokenizer, mask, pad, 0.15, wholeWords);
        long tokens = 0, chosen = 0, masked = 0, kept = 0, pairs = 0, nexts = 0;
        foreach (var (batch, i) in passages.Chunk(64).Select((b, i) => (b, i)))
        {
            var made = masking.Apply(batch, Seeds.Random(1, "masks", i));
            var read = Read(made.Rows);
            foreach (var (place, label) in made.Positions.Zip(made.Labels))
            {
                var (row, t) = ((int)(place / made.Rows.Length), (int)(place % made.Rows.Length));
                Assert.Equal(batch[row].Row.Ids[t], (int)label);
                Assert.False(s_tokenizer.IsSpecial((int)label));
                if (read[row][t] == mask) masked++;
                else if (read[row][t] == label) kept++;
                else Assert.False(s_tokenizer.IsSpecial((int)read[row][t]));
            }
            tokens += batch.Sum(p => p.Row.Ids.LongCount(id => !s_tokenizer.IsSpecial(id)));
            chosen += made.Labels.Length;
            pairs += batch.Length;
            nexts += made.Next!.LongCount(n => n == 0);
            Assert.Equal(batch.Select(p => p.IsNext == true ? 0L : 1L), made.Next);
            // Nothing but what is to be told has changed.
            var places = made.Positions.ToHashSet();
            for (var r = 0; r < batch.Length; r++)
                for (var t = 0; t < batch[r].Row.Ids.Length; t++)
                    if (!places.Contains((long)r * made.Rows.Length + t)) Assert.Equal(batch[r].Row.Ids[t], read[r][t]);
        }
        Assert.True(tokens > 1_000_000, $"{tokens} tokens");
        Assert.InRange((double)chosen / tokens, 0.149, 0.151);
        Assert.InRange((double)masked / chosen, 0.797, 0.803);
        Assert.InRange((double)kept / chosen, 0.097, 0.103);
        Assert.InRange((double)nexts / pairs, 0.495, 0.505);
    }

    private static long[][] Read(EncoderBatch batch) => [.. batch.Ids.Chunk(batch.Length)];

    [Fact]
    public void Whole_words_are_masked_or_not()
    {
        var (cls, sep, mask, pad) = Special;
        var word = s_tokenizer.EncodeIds("unbelievably incomprehensible internationalization", addSpecialTokens: false);
        Assert.Contains(word, s_tokenizer.GoesOn);
        var row = new Passage(new([cls, .. word, sep]), null);
        var masking = new Masking(s_tokenizer, mask, pad, 0.5, wholeWords: true);
        var some = false;
        for (var seed = 0; seed < 50; seed++)
        {
            var chosen = masking.Apply([row], new Random(seed)).Positions.ToHashSet();
            some |= chosen.Count is > 0 && chosen.Count < word.Length;
            for (var t = 2; t <= word.Length; t++)
                if (s_tokenizer.GoesOn(word[t - 1])) Assert.Equal(chosen.Contains(t - 1), chosen.Contains(t));
        }
        Assert.True(some);
    }

    [Theory, InlineData(16), InlineData(64), InlineData(128)]
    public void Next_texts_follow_in_their_document_and_others_come_from_elsewhere(int block)
    {
        var (cls, sep, _, _) = Special;
        // Every token is its own: its place is known.
        var next = 0;
        var documents = Enumerable.Range(0, 60).Select(d => Enumerable.Range(0, 2 + d % 9).Select(s => Enumerable.Range(0, 4 + (d + s) % 12).Select(_ => 1000 + next++).ToArray()).ToArray()).ToList();
        var owner = documents.SelectMany((d, i) => d.SelectMany(s => s).Select(id => (id, i))).ToDictionary(p => p.id, p => p.i);
        var made = new PassageMaker(documents, cls, sep, pairs: true).Make(block, new Random(3));
        Assert.Contains(made, p => p.IsNext == true);
        foreach (var (row, isNext) in made.Select(p => (p.Row, p.IsNext)))
        {
            Assert.InRange(row.Ids.Length, 5, block);
            Assert.Equal((cls, sep, 2), (row.Ids[0], row.Ids[^1], row.Ids.Count(id => id == sep)));
            var cut = Array.IndexOf(row.Ids, sep);
            Assert.All(row.Types![..(cut + 1)], t => Assert.Equal(0, t));
            Assert.All(row.Types![(cut + 1)..], t => Assert.Equal(1, t));
            var (a, b) = (row.Ids[1..cut], row.Ids[(cut + 1)..^1]);
            foreach (var text in new[] { a, b }) Assert.Equal(Enumerable.Range(text[0], text.Length), text);   // whole stretches of a document
            if (isNext == true) Assert.True(owner[a[0]] == owner[b[0]] && b[0] > a[^1], "the next one");
            else Assert.NotEqual(owner[a[0]], owner[b[0]]);
        }
    }

    [Fact]
    public void Sentences_end_where_they_end()
    {
        Assert.Equal(["Mr. Smith met Dr. J. Brown at 5.30 p.m. in Rome.", "\"Why?\"", "He did not say!"], Sentences.Of("Mr. Smith met Dr. J. Brown\nat 5.30 p.m. in Rome. \"Why?\" He did not say!"));
        Assert.Equal(["One", "Two.", "Three."], Sentences.Of("One\n\nTwo. Three."));
        Assert.Equal(["One", "Two. three."], Sentences.Of("One\nTwo. three.", lineEnds: true));
    }
}
