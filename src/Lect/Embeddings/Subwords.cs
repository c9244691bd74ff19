using System.Text;

namespace Lect;

/// <summary>Character n-grams of words as fastText takes them (Bojanowski et al. 2017): of <c>&lt;word&gt;</c>, hashed to a number of rows.</summary>
public sealed class Subwords
{
    private readonly int minn, maxn, bucket, words;
    private readonly int[] starts, rows;

    /// <param name="words">The vocabulary: word i has row i, the n-grams' rows follow.</param>
    /// <param name="minn">Letters (code points) of the shortest n-gram.</param>
    /// <param name="maxn">Letters of the longest.</param>
    /// <param name="bucket">Rows that n-grams are hashed to.</param>
    public Subwords(IReadOnlyList<string> words, int minn, int maxn, int bucket)
    {
        (this.minn, this.maxn, this.bucket, this.words) = (minn, maxn, bucket, words.Count);
        starts = new int[words.Count + 1];
        var all = new List<int>();
        for (var i = 0; i < words.Count; i++)
        {
            all.Add(i);
            if (words[i] != WordVocabulary.SentenceEnd) all.AddRange(Ngrams(words[i], minn, maxn).Select(Row));
            starts[i + 1] = all.Count;
        }
        rows = [.. all];
    }

    /// <summary>Letters of the shortest n-gram.</summary>
    public int Minn => minn;
    /// <summary>Letters of the longest.</summary>
    public int Maxn => maxn;
    /// <summary>Rows that n-grams are hashed to.</summary>
    public int Bucket => bucket;

    /// <summary>The rows of a word of the vocabulary: its own, then its n-grams'.</summary>
    public ReadOnlySpan<int> Of(int word) => rows.AsSpan(starts[word]..starts[word + 1]);

    /// <summary>The rows of any other word: its n-grams'.</summary>
    public int[] Of(string word) => [.. Ngrams(word, minn, maxn).Select(Row)];

    private int Row(string ngram) => words + (int)(Hash(ngram) % (uint)bucket);

    /// <summary>The n-grams of <c>&lt;word&gt;</c> by start, then by length; the lone <c>&lt;</c> and <c>&gt;</c> are left out.</summary>
    public static IEnumerable<string> Ngrams(string word, int minn, int maxn)
    {
        var letters = ("<" + word + ">").EnumerateRunes().Select(r => r.ToString()).ToArray();
        for (var start = 0; start < letters.Length; start++)
        {
            var ngram = new StringBuilder();
            for (var n = 1; n <= maxn && start + n <= letters.Length; n++)
            {
                ngram.Append(letters[start + n - 1]);
                if (n >= minn && !(n == 1 && (start == 0 || start + 1 == letters.Length))) yield return ngram.ToString();
            }
        }
    }

    /// <summary>FNV-1a of 32 bits over UTF-8, each byte widened with its sign, as fastText has it.</summary>
    public static uint Hash(string text)
    {
        var hash = 2166136261u;
        foreach (var b in Encoding.UTF8.GetBytes(text)) hash = (hash ^ unchecked((uint)(sbyte)b)) * 16777619u;
        return hash;
    }
}
