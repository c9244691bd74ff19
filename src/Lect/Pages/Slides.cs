using Lect.Models;

namespace Lect;

/// <summary>The matrices of the lecture's slides, to look at and to recompute.</summary>
public static class Slides
{
    /// <summary>The slide "Masked Multi-Head Attention": unnormalized scores of five positions.</summary>
    public static double[,] Scores { get; } = { { 1.1, 2.3, 5.3, 2.1, -1.2 }, { -0.1, 0.5, 1.3, -0.1, 6.1 }, { 2.3, 0.2, 3.3, -1.0, -0.4 }, { 0.3, 1.2, -0.3, 5.0, 1.4 }, { 5.1, -2.9, -1.1, -4.2, 0.4 } };

    /// <summary>−∞ above the diagonal: you are not the prophet.</summary>
    public static double[,] Masked(double[,] scores) => Map(scores, (r, c, x) => c > r ? double.NegativeInfinity : x);

    /// <summary>e^x / Σ e^x of each row.</summary>
    public static double[,] Softmax(double[,] scores)
    {
        var (rows, columns) = (scores.GetLength(0), scores.GetLength(1));
        var made = new double[rows, columns];
        for (var r = 0; r < rows; r++)
        {
            var max = double.NegativeInfinity;
            for (var c = 0; c < columns; c++) max = Math.Max(max, scores[r, c]);
            double sum = 0;
            for (var c = 0; c < columns; c++) sum += made[r, c] = Math.Exp(scores[r, c] - max);
            for (var c = 0; c < columns; c++) made[r, c] /= sum;
        }
        return made;
    }

    /// <summary>Q Kᵀ / √d of words whose queries and keys are drawn from N(0, 1): what attention is before anything is learned.</summary>
    /// <param name="words">How many.</param>
    /// <param name="width">d.</param>
    /// <param name="seed">Key of the numbers.</param>
    public static double[,] RandomScores(int words, int width, long seed)
    {
        var random = Seeds.Random(seed, "slide");
        double Normal() => Math.Sqrt(-2 * Math.Log(1 - random.NextDouble())) * Math.Cos(2 * Math.PI * random.NextDouble());
        double[][] Draw() => [.. Enumerable.Range(0, words).Select(_ => Enumerable.Range(0, width).Select(_ => Normal()).ToArray())];
        var (q, k) = (Draw(), Draw());
        return Map(new double[words, words], (r, c, _) => q[r].Zip(k[c], (a, b) => a * b).Sum() / Math.Sqrt(width));
    }

    /// <summary>PE(p, 2i) = sin(p / 10000^(2i/width)), PE(p, 2i+1) = cos of the same; any width, odd ones too.</summary>
    public static double[,] Positions(int positions, int width) => Map(new double[positions, width], (p, c, _) => SinusoidalPositions.At(p, c, width));

    /// <summary>(x − μ) / √(σ² + 1e-5), μ and σ over each row: layer normalization.</summary>
    public static double[,] LayerNorm(double[,] x) => Transposed(BatchNorm(Transposed(x)));

    /// <summary>The same with μ and σ over each column: batch normalization, rows being the positions of the batch.</summary>
    public static double[,] BatchNorm(double[,] x)
    {
        var (rows, columns) = (x.GetLength(0), x.GetLength(1));
        var (mean, variance) = (new double[columns], new double[columns]);
        for (var r = 0; r < rows; r++)
            for (var c = 0; c < columns; c++) mean[c] += x[r, c] / rows;
        for (var r = 0; r < rows; r++)
            for (var c = 0; c < columns; c++) variance[c] += (x[r, c] - mean[c]) * (x[r, c] - mean[c]) / rows;
        return Map(x, (_, c, v) => (v - mean[c]) / Math.Sqrt(variance[c] + 1e-5));
    }

    private static double[,] Transposed(double[,] x) => Map(new double[x.GetLength(1), x.GetLength(0)], (r, c, _) => x[c, r]);

    private static double[,] Map(double[,] x, Func<int, int, double, double> f)
    {
        var made = new double[x.GetLength(0), x.GetLength(1)];
        for (var r = 0; r < made.GetLength(0); r++)
            for (var c = 0; c < made.GetLength(1); c++) made[r, c] = f(r, c, x[r, c]);
        return made;
    }
}
