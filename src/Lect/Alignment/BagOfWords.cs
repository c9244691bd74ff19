using System.Text.RegularExpressions;
using Lect.Text;

namespace Lect;

/// <summary>What words alone tell of preferences, a baseline for reward models: a logistic regression on which words the better answer has and the other has not.</summary>
/// <remarks>P(chosen) = σ(Σ w[words of chosen] - Σ w[words of rejected]); AdaGrad, three passes, weights that are used are pulled to 0 by 1e-4.</remarks>
public sealed partial class BagOfWords
{
    private const int Passes = 3;
    private const double Rate = 0.1, Decay = 1e-4;
    private readonly Dictionary<string, (double Weight, double Squares)> words = new(StringComparer.Ordinal);

    private BagOfWords() { }

    /// <summary>Learns from comparisons; ties are left out.</summary>
    /// <param name="comparisons">Read once a pass.</param>
    /// <exception cref="InvalidDataException">There are none.</exception>
    public static BagOfWords Learn(IEnumerable<Comparison> comparisons)
    {
        var bag = new BagOfWords();
        for (var pass = 0; pass < Passes; pass++)
            foreach (var c in comparisons.Where(c => !c.IsTie)) bag.Step(c);
        return bag.words.Count > 0 ? bag : throw new InvalidDataException("Found no comparisons to learn the bag of words from. Expected at least one that is no tie.");
    }

    private void Step(Comparison c)
    {
        var (only, other) = Difference(c);
        var wrong = 1 / (1 + Math.Exp(Sum(only) - Sum(other)));   // 1 - P(chosen)
        foreach (var word in only) Move(word, wrong);
        foreach (var word in other) Move(word, -wrong);
    }

    private void Move(string word, double gradient)
    {
        var (weight, squares) = words.GetValueOrDefault(word);
        gradient -= Decay * weight;
        squares += gradient * gradient;
        words[word] = (weight + Rate * gradient / Math.Sqrt(squares + 1e-8), squares);
    }

    private double Sum(IEnumerable<string> of) => of.Sum(w => words.GetValueOrDefault(w).Weight);

    private static (HashSet<string> OfChosen, HashSet<string> OfRejected) Difference(Comparison c)
    {
        HashSet<string> chosen = Words(c.Chosen), rejected = Words(c.Rejected);
        var both = chosen.Intersect(rejected).ToList();
        chosen.ExceptWith(both);
        rejected.ExceptWith(both);
        return (chosen, rejected);
    }

    private static HashSet<string> Words(string text) => [.. Word().Matches(text).Select(m => m.Value.ToLowerInvariant())];

    [GeneratedRegex(@"\w+")]
    private static partial Regex Word();

    /// <summary>1 where it prefers what is preferred, one half where it cannot tell.</summary>
    public double Right(Comparison c)
    {
        var (only, other) = Difference(c);
        return (Sum(only).CompareTo(Sum(other)) + 1) / 2.0;
    }
}
