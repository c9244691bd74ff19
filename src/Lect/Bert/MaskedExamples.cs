// What BERT is pre-trained on: Devlin et al. 2019, section 3.1 and appendix A.1; the pairs as google-research/bert's create_pretraining_data.py makes them.
using Lect.Models;
using Lect.Text;

namespace Lect;

/// <summary>A row before its tokens are masked.</summary>
/// <param name="Row">[CLS] A [SEP] B [SEP], or [CLS] A [SEP].</param>
/// <param name="IsNext">Whether B follows A in its document; null where there is no B.</param>
internal readonly record struct Passage(EncoderRow Row, bool? IsNext);

/// <summary>Documents as sentences of token ids.</summary>
internal static class PassageDocuments
{
    /// <summary>The documents of a run: files and rows as they are; in the SDK corpus the texts of a type and its members.</summary>
    public static IEnumerable<(CorpusSplit Split, IReadOnlyList<string> Sentences)> Read(TextDataConfig data)
    {
        var files = data.Path is null ? [] : Whole(data.Files());
        return data.Path is null || data.WithSdk ? files.Concat(Sdk()) : files;
    }

    // A long file comes in pieces, which end at line ends.
    private static IEnumerable<(CorpusSplit, IReadOnlyList<string>)> Whole(IEnumerable<Document> documents)
    {
        var sentences = new List<string>();
        foreach (var document in documents)
        {
            sentences.AddRange(Sentences.Of(document.Text));
            if (!document.IsEnd) continue;
            if (sentences.Count > 0) yield return (document.Split, sentences);
            sentences = [];
        }
    }

    private static IEnumerable<(CorpusSplit, IReadOnlyList<string>)> Sdk() => SdkCorpus.Texts().GroupBy(t => SdkCorpus.TypeOf(t.Member)).SelectMany(type => type.GroupBy(t => SdkCorpus.SplitOf(t.Text)).Select(part => (part.Key, (IReadOnlyList<string>)[.. part.SelectMany(t => Sentences.Of(t.Text, lineEnds: true))])));
}

/// <summary>Makes rows of documents.</summary>
/// <param name="documents">Sentences as ids, without special tokens; none empty.</param>
/// <param name="cls">What begins a row.</param>
/// <param name="sep">What ends a text.</param>
/// <param name="pairs">Two texts a row, half of the second ones from elsewhere; otherwise whole sentences one after the other.</param>
internal sealed class PassageMaker(IReadOnlyList<int[][]> documents, int cls, int sep, bool pairs)
{
    private const double ShortShare = 0.1;   // of the rows are shorter than they could be, so that positions and lengths vary

    /// <summary>The rows of an epoch.</summary>
    /// <param name="block">T at most.</param>
    /// <param name="random">Of that epoch.</param>
    public List<Passage> Make(int block, Random random)
    {
        var made = new List<Passage>();
        var nexts = 0;   // more real next ones than others by so many: the coin that keeps both at half
        for (var d = 0; d < documents.Count; d++)
        {
            var document = documents[d];
            for (int from = 0, to; from < document.Length; from = to)
            {
                var room = block - (pairs ? 3 : 2);
                if (random.NextDouble() < ShortShare) room = random.Next(Math.Min(2, room), room + 1);
                var length = 0;
                for (to = from; to < document.Length && length < room;) length += document[to++].Length;
                if (!pairs) { made.Add(new(new([cls, .. Flat(document, from, to).Take(room), sep]), null)); continue; }
                var cut = to - from > 1 ? from + random.Next(1, to - from) : to;
                var isNext = cut < to && (nexts == 0 ? random.Next(2) == 0 : nexts < 0);
                var a = Flat(document, from, cut);
                var b = isNext ? Flat(document, cut, to) : Elsewhere(d, room - a.Count, random);
                if (!isNext) to = cut;   // what was not used comes again
                nexts += isNext ? 1 : -1;
                Truncate(a, b, room, random);
                made.Add(new(new([cls, .. a, sep, .. b, sep], [.. Enumerable.Repeat(0, a.Count + 2), .. Enumerable.Repeat(1, b.Count + 1)]), isNext));
            }
        }
        return made;
    }

    private static List<int> Flat(int[][] document, int from, int to) => [.. document[from..to].SelectMany(s => s)];

    private List<int> Elsewhere(int own, int wanted, Random random)
    {
        var other = documents.Count > 1 ? (own + random.Next(1, documents.Count)) % documents.Count : own;
        var text = new List<int>();
        for (var at = random.Next(documents[other].Length); at < documents[other].Length && (text.Count == 0 || text.Count < wanted); at++) text.AddRange(documents[other][at]);
        return text;
    }

    // The longer one loses a token at either end, until both fit.
    private static void Truncate(List<int> a, List<int> b, int room, Random random)
    {
        var (cutA, cutB) = (0, 0);
        while (a.Count - cutA + b.Count - cutB > Math.Max(2, room)) if (a.Count - cutA > b.Count - cutB) cutA++; else cutB++;
        Cut(a, cutA);
        Cut(b, cutB);
        void Cut(List<int> text, int tokens)
        {
            var front = Enumerable.Range(0, tokens).Count(_ => random.Next(2) == 0);
            text.RemoveRange(0, front);
            text.RemoveRange(text.Count - (tokens - front), tokens - front);
        }
    }
}

/// <summary>Rows with some tokens masked.</summary>
/// <param name="Rows">What the model reads.</param>
/// <param name="Positions">Which tokens it is to tell, as places in the padded batch, row by row.</param>
/// <param name="Labels">What they were.</param>
/// <param name="Next">0: the second text is the next one, 1: it is not; null where there is none.</param>
internal sealed record MaskedBatch(EncoderBatch Rows, long[] Positions, long[] Labels, long[]? Next);

/// <summary>Hides tokens: of those chosen 80 % become [MASK], 10 % another token, 10 % stay (appendix A.1). Anew each time a row is seen.</summary>
internal sealed class Masking
{
    private readonly int[] ordinary;
    private readonly bool[] isSpecial, continues;
    private readonly double share;
    private readonly int mask, pad;
    private readonly bool wholeWords;

    /// <param name="tokenizer">Which ids are special, which go on with a word.</param>
    /// <param name="mask">Id of [MASK].</param>
    /// <param name="pad">Id of padding.</param>
    /// <param name="share">Of the tokens to tell.</param>
    /// <param name="wholeWords">All pieces of a word or none.</param>
    public Masking(Tokenizer tokenizer, int mask, int pad, double share, bool wholeWords)
    {
        (this.mask, this.pad, this.share, this.wholeWords) = (mask, pad, share, wholeWords);
        isSpecial = [.. Enumerable.Range(0, tokenizer.VocabularySize).Select(id => tokenizer.IsSpecial(id) || tokenizer.TokenOf(id) is null || id == mask || id == pad)];
        continues = [.. Enumerable.Range(0, tokenizer.VocabularySize).Select(tokenizer.GoesOn)];
        ordinary = [.. Enumerable.Range(0, tokenizer.VocabularySize).Where(id => !isSpecial[id])];
    }

    public MaskedBatch Apply(IReadOnlyList<Passage> passages, Random random)
    {
        var made = Apply(passages, random, _ => random.NextDouble() < share);
        if (made.Labels.Length > 0) return made;
        // Few and short rows: at least one word is told, as in BERT's own script.
        var words = passages.SelectMany((p, r) => Enumerable.Range(0, p.Row.Ids.Length).Where(t => Begins(p.Row.Ids, t)).Select(t => (r, t))).ToList();
        if (words.Count == 0) return made;
        var one = words[random.Next(words.Count)];
        return Apply(passages, random, at => at == one);
    }

    // Whether a token is chosen by itself: in whole words only the first piece is, and the others go with it.
    private bool Begins(int[] ids, int t) => !isSpecial[ids[t]] && (!wholeWords || !continues[ids[t]] || t == 0 || isSpecial[ids[t - 1]]);

    private MaskedBatch Apply(IReadOnlyList<Passage> passages, Random random, Func<(int Row, int Token), bool> chooses)
    {
        var length = passages.Max(p => p.Row.Ids.Length);
        var (rows, positions, labels) = (new EncoderRow[passages.Count], new List<long>(), new List<long>());
        for (var r = 0; r < passages.Count; r++)
        {
            var (ids, types) = passages[r].Row;
            var masked = ids.ToArray();
            var isChosen = false;
            for (var t = 0; t < ids.Length; t++)
            {
                if (Begins(ids, t)) isChosen = chooses((r, t));
                if (isSpecial[ids[t]]) isChosen = false;
                if (!isChosen) continue;
                positions.Add((long)r * length + t);
                labels.Add(ids[t]);
                masked[t] = random.Next(10) switch { < 8 => mask, 8 => ordinary[random.Next(ordinary.Length)], _ => ids[t] };
            }
            rows[r] = new(masked, types);
        }
        return new(new(rows, pad), [.. positions], [.. labels], passages[0].IsNext is null ? null : [.. passages.Select(p => p.IsNext == true ? 0L : 1L)]);
    }
}
