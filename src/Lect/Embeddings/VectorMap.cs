using System.Numerics.Tensors;
using System.Text.Json.Nodes;
using Lect.Models;
using TorchSharp;
using static TorchSharp.torch;

namespace Lect;

/// <summary>Words in the plane: two projections of their vectors.</summary>
/// <param name="Words">The words.</param>
/// <param name="Pca">[words, 2]: the two directions in which the unit vectors vary most.</param>
/// <param name="Tsne">[words, 2]: neighbours stay neighbours (van der Maaten and Hinton 2008).</param>
/// <param name="Explained">Share of the variance that the two directions of <see cref="Pca"/> have.</param>
public sealed record VectorMap(IReadOnlyList<string> Words, float[] Pca, float[] Tsne, double Explained)
{
    private const int MostWords = 10_000;   // t-SNE looks at every pair

    /// <summary>Projects some words of unit length.</summary>
    /// <param name="vectors">Where they are.</param>
    /// <param name="words">Which.</param>
    /// <param name="perplexity">Neighbours that count for each word in t-SNE, about.</param>
    /// <param name="iterations">Steps of t-SNE.</param>
    /// <param name="progress">Told the share that is done.</param>
    /// <param name="stop">Gives up.</param>
    /// <exception cref="InvalidDataException">Fewer than four words.</exception>
    public static VectorMap Of(WordVectors vectors, IReadOnlyList<string> words, double perplexity = 30, int iterations = 750, Action<double>? progress = null, CancellationToken stop = default)
    {
        if (words.Count is < 4 or > MostWords) throw new InvalidDataException($"Found {words.Count} words. Expected 4 to {MostWords:N0} for a map.");
        TorchNative.Load();
        var dimension = vectors.Dimension;
        var points = new float[words.Count * dimension];
        for (var i = 0; i < words.Count; i++)
        {
            var row = points.AsSpan(i * dimension, dimension);
            vectors.Vector(words[i]).CopyTo(row);
            WordVectors.Normalize(row);
        }
        var (pca, explained) = Principal(points, words.Count, dimension);
        return new(words, pca, new TSne(points, dimension, pca, perplexity).Run(iterations, progress, stop), explained);
    }

    private static (float[] Points, double Explained) Principal(float[] points, int count, int dimension)
    {
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        var x_ND = tensor(points, count, dimension);
        x_ND -= x_ND.mean([0], keepdim: true);
        var (_, values_D, directions_DD) = linalg.svd(x_ND, fullMatrices: false);
        var first = Math.Min(2, values_D.shape[0]);
        var plane_N2 = zeros(count, 2);
        plane_N2.narrow(1, 0, first).copy_(x_ND.matmul(directions_DD.narrow(0, 0, first).t()));
        var squares = values_D.square();
        return (plane_N2.data<float>().ToArray(), squares.narrow(0, 0, first).sum().item<float>() / Math.Max(1e-30, squares.sum().item<float>()));
    }

    /// <summary>One page that needs nothing else: both maps, search, and the neighbours of the word under the pointer.</summary>
    /// <param name="title">Above the map.</param>
    /// <param name="neighbours">Of each word, its nearest ones.</param>
    public string Page(string title, IReadOnlyList<IReadOnlyList<Neighbour>> neighbours)
    {
        var data = new JsonObject
        {
            ["title"] = title,
            ["words"] = new JsonArray([.. Words.Select(w => (JsonNode)w)]),
            ["pca"] = Rounded(Pca),
            ["tsne"] = Rounded(Tsne),
            ["explained"] = Math.Round(Explained, 4),
            ["neighbours"] = new JsonArray([.. neighbours.Select(n => new JsonArray([.. n.Select(p => new JsonArray(p.Word, Math.Round(p.Similarity, 3)))]))]),
        };
        return HtmlPage.Fill("map", title, data);
    }

    private static JsonArray Rounded(float[] values) => new([.. values.Select(v => (JsonNode)Math.Round(v, 4))]);
}

/// <summary>t-SNE, exact: every pair in every step (good for some thousand points).</summary>
internal sealed class TSne
{
    private const int Exaggerated = 250;   // first steps, in which neighbours pull twelve times as strongly
    private readonly int count;
    private readonly float[] p;            // symmetric probabilities, [count, count]
    private readonly float[] x, y;

    public TSne(ReadOnlySpan<float> points, int dimension, ReadOnlySpan<float> start, double perplexity)
    {
        count = points.Length / dimension;
        p = Neighbours(points.ToArray(), dimension, Math.Min(perplexity, (count - 1) / 3.0));
        (x, y) = (new float[count], new float[count]);
        double spread = 0;
        for (var i = 0; i < count; i++) spread += start[2 * i] * start[2 * i];
        var scale = (float)(1e-4 / Math.Max(1e-12, Math.Sqrt(spread / count)));   // begins as the map of PCA, very small
        for (var i = 0; i < count; i++) (x[i], y[i]) = (start[2 * i] * scale, start[2 * i + 1] * scale);
    }

    // p(j|i) as a Gaussian whose width gives the perplexity, made symmetric.
    private float[] Neighbours(float[] points, int dimension, double perplexity)
    {
        var given = new float[count * count];
        Parallel.For(0, count, i =>
        {
            var row = given.AsSpan(i * count, count);
            for (var j = 0; j < count; j++) row[j] = TensorPrimitives.Distance(points.AsSpan(i * dimension, dimension), points.AsSpan(j * dimension, dimension)) is var d ? d * d : 0;
            var distances = row.ToArray();
            double low = 0, high = double.PositiveInfinity, beta = 1;
            for (var round = 0; round < 60; round++)
            {
                double sum = 0, weighted = 0;
                for (var j = 0; j < count; j++)
                {
                    var e = j == i ? 0 : Math.Exp(-beta * distances[j]);
                    row[j] = (float)e;
                    sum += e;
                    weighted += e * distances[j];
                }
                var entropy = Math.Log(Math.Max(1e-300, sum)) + beta * weighted / Math.Max(1e-300, sum);
                for (var j = 0; j < count; j++) row[j] = (float)(row[j] / Math.Max(1e-300, sum));
                if (Math.Abs(entropy - Math.Log(perplexity)) < 1e-5) break;
                if (entropy > Math.Log(perplexity)) (low, beta) = (beta, double.IsInfinity(high) ? beta * 2 : (beta + high) / 2);
                else (high, beta) = (beta, (beta + low) / 2);
            }
        });
        var both = new float[count * count];
        for (var i = 0; i < count; i++)
            for (var j = 0; j < count; j++) both[i * count + j] = Math.Max(1e-12f, (given[i * count + j] + given[j * count + i]) / (2 * count));
        return both;
    }

    public float[] Run(int iterations, Action<double>? progress, CancellationToken stop)
    {
        var rate = Math.Max(50f, count / 12f / 4f);
        var (moveX, moveY, gainX, gainY) = (new float[count], new float[count], Ones(), Ones());
        var (pullX, pullY, pushX, pushY, sums) = (new float[count], new float[count], new float[count], new float[count], new double[count]);
        for (var step = 0; step < iterations; step++)
        {
            stop.ThrowIfCancellationRequested();
            Parallel.ForEach(System.Collections.Concurrent.Partitioner.Create(0, count), range =>
            {
                float[] dx = new float[count], dy = new float[count], q = new float[count], w = new float[count];
                for (var i = range.Item1; i < range.Item2; i++)
                {
                    TensorPrimitives.Subtract(x, x[i], dx);
                    TensorPrimitives.Subtract(y, y[i], dy);
                    TensorPrimitives.Multiply(dx, dx, q);
                    TensorPrimitives.MultiplyAdd(dy, dy, q, q);
                    TensorPrimitives.Add(q, 1f, q);
                    TensorPrimitives.Divide(1f, q, q);   // Student's t: 1 / (1 + distance²)
                    q[i] = 0;
                    sums[i] = TensorPrimitives.Sum<float>(q);
                    TensorPrimitives.Multiply(p.AsSpan(i * count, count), q, w);
                    (pullX[i], pullY[i]) = (TensorPrimitives.Dot<float>(w, dx), TensorPrimitives.Dot<float>(w, dy));
                    TensorPrimitives.Multiply(q, q, w);
                    (pushX[i], pushY[i]) = (TensorPrimitives.Dot<float>(w, dx), TensorPrimitives.Dot<float>(w, dy));
                }
            });
            var (total, pull, momentum) = ((float)sums.Sum(), step < Exaggerated ? 12f : 1f, step < Exaggerated ? 0.5f : 0.8f);
            for (var i = 0; i < count; i++)
            {
                Move(ref x[i], ref moveX[i], ref gainX[i], -4 * (pull * pullX[i] - pushX[i] / total));
                Move(ref y[i], ref moveY[i], ref gainY[i], -4 * (pull * pullY[i] - pushY[i] / total));
            }
            progress?.Invoke((step + 1.0) / iterations);

            // Jacobs' gains: faster while the direction holds.
            void Move(ref float at, ref float move, ref float gain, float gradient)
            {
                gain = gradient > 0 == move > 0 ? Math.Max(0.01f, gain * 0.8f) : gain + 0.2f;
                move = momentum * move - rate * gain * gradient;
                at += move;
            }
        }
        var (centreX, centreY) = (x.Average(), y.Average());
        return [.. Enumerable.Range(0, 2 * count).Select(i => i % 2 == 0 ? x[i / 2] - centreX : y[i / 2] - centreY)];
    }

    private float[] Ones()
    {
        var ones = new float[count];
        ones.AsSpan().Fill(1);
        return ones;
    }
}
