using System.Runtime.CompilerServices;

namespace Lect;

/// <summary>The generator of word2vec.c, a linear congruence modulo 2^64.</summary>
internal static class WordRandom
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static ulong Next(ulong random) => unchecked(random * 25214903917 + 11);
}

/// <summary>Draws words by count^0.75, with word2vec.c's table of 100 million cells: the same word for the same random number, without the cells.</summary>
internal sealed class NegativeTable
{
    private const long Cells = 100_000_000;

    private readonly int[] first;   // cell at which a word begins; one more at the end
    private readonly int[] guide;   // the word of every (1 << shift)-th cell
    private readonly int shift;

    public NegativeTable(IReadOnlyList<long> counts)
    {
        var powers = counts.Select(c => Math.Pow(c, 0.75)).ToArray();
        var total = powers.Sum();
        first = new int[counts.Count + 1];
        double sum = 0;
        long cell = 0;
        // A word ends with the first cell whose share of the table is above the sum of probabilities so far; each has one cell at least.
        for (var word = 0; word < counts.Count; word++)
        {
            first[word] = (int)Math.Min(cell, Cells);
            sum += powers[word] / total;
            var last = Math.Max(cell, (long)(sum * Cells) - 1);
            while (last < Cells && !(last / (double)Cells > sum)) last++;
            cell = last + 1;
        }
        first[^1] = (int)Cells;   // the last word has what is left
        for (shift = 5; Cells >> shift > 4L * counts.Count; shift++) { }
        guide = new int[(Cells >> shift) + 1];
        for (int i = 0, word = 0; i < guide.Length; i++)
        {
            while ((long)i << shift >= first[word + 1] && word + 1 < counts.Count) word++;
            guide[i] = word;
        }
    }

    /// <summary>The word of a cell.</summary>
    public int this[long cell]
    {
        get
        {
            var word = guide[cell >> shift];
            while (cell >= first[word + 1]) word++;
            return word;
        }
    }

    /// <summary>Draws a word other than 0 (the end of a sentence).</summary>
    public int Draw(ref ulong random)
    {
        random = WordRandom.Next(random);
        var word = this[(long)((random >> 16) % (ulong)Cells)];
        return word != 0 ? word : (int)(random % (ulong)(first.Length - 2)) + 1;
    }
}

/// <summary>The Huffman tree of word counts, built as word2vec.c builds it.</summary>
/// <param name="Codes">Of each word: its bits from the root.</param>
/// <param name="Points">Of each word: the inner nodes from the root, words - 2 being the root.</param>
internal sealed record HuffmanTree(byte[][] Codes, int[][] Points)
{
    /// <summary>Of counts that fall (word 0 may stand anywhere).</summary>
    public static HuffmanTree Of(IReadOnlyList<long> counts)
    {
        var n = counts.Count;
        var (count, parent, bit) = (new long[2 * n], new int[2 * n], new byte[2 * n]);
        for (var i = 0; i < 2 * n; i++) count[i] = i < n ? counts[i] : long.MaxValue;
        for (int made = 0, leaf = n - 1, inner = n; made < n - 1; made++)
        {
            var (first, second) = (Smallest(), Smallest());
            count[n + made] = count[first] + count[second];
            parent[first] = parent[second] = n + made;
            bit[second] = 1;

            int Smallest() => leaf >= 0 && count[leaf] < count[inner] ? leaf-- : inner++;
        }
        var (codes, points) = (new byte[n][], new int[n][]);
        for (var word = 0; word < n; word++)
        {
            var (code, path) = (new List<byte>(), new List<int>());
            for (var node = word; node != 2 * n - 2; node = parent[node])
            {
                code.Add(bit[node]);
                path.Add(parent[node] - n);
            }
            code.Reverse();
            path.Reverse();
            (codes[word], points[word]) = ([.. code], [.. path]);
        }
        return new(codes, points);
    }
}
