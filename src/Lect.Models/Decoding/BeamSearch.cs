using TorchSharp;
using static TorchSharp.torch;

namespace Lect.Models;

/// <summary>A finished continuation.</summary>
/// <param name="Ids">New tokens, with the end token where there is one.</param>
/// <param name="Score">Sum of their log-probabilities / length^penalty.</param>
public sealed record Hypothesis(int[] Ids, double Score);

/// <summary>Beam search as Hugging Face does it: the same hypotheses in the same order.</summary>
public static class BeamSearch
{
    /// <summary>The best continuations of one prompt, best first.</summary>
    /// <param name="model">The decoder.</param>
    /// <param name="prompt">Ids.</param>
    /// <param name="options">Processors (they see log-probabilities here), length, end tokens.</param>
    /// <param name="beams">Hypotheses followed side by side.</param>
    /// <param name="lengthPenalty">Exponent of the length that a score is divided by; above 0 it favours long texts.</param>
    /// <param name="earlyStopping">true: stop at as many finished as beams. false: stop when the best open one, at its present length, is no better than the worst finished.</param>
    public static IReadOnlyList<Hypothesis> Search(CausalLanguageModel model, int[] prompt, DecodingOptions options, int beams, double lengthPenalty = 1, bool earlyStopping = false)
    {
        if (beams < 1) throw new InvalidDataException($"Found --beams {beams}. Expected at least 1.");
        if (options.Sample) throw new InvalidDataException("Found beams together with sampling. Expected one of the two.");
        Generator.Check(model, [prompt], options);
        using var noGrad = no_grad();
        using var cache = new KvCache(model.LayerCount, Math.Min(prompt.Length + options.MaxNewTokens, model.ContextLength));
        var limit = (int)Math.Min(options.MaxNewTokens, model.ContextLength - prompt.Length);
        var open = new List<(int[] Ids, double Sum)> { ([], 0) };
        var finished = new List<Hypothesis>();
        for (var length = 1; length <= limit; length++)
        {
            var scores = LogProbs(model, cache, prompt, open, options);
            var candidates = Best(scores, open, 2 * beams);
            for (var i = 0; i < Math.Min(beams, candidates.Count); i++)
            {
                var (beam, id, sum) = candidates[i];
                if (!options.EosTokenIds.Contains(id) && length < limit) continue;
                finished.Add(new([.. open[beam].Ids, id], sum / Math.Pow(length, lengthPenalty)));
            }
            finished = [.. finished.OrderByDescending(h => h.Score).Take(beams)];
            var going = candidates.Where(c => !options.EosTokenIds.Contains(c.Id)).Take(beams).ToList();
            if (going.Count == 0) break;
            if (finished.Count == beams && (earlyStopping || going[0].Sum / Math.Pow(length, lengthPenalty) <= finished[^1].Score)) break;
            using var rows = tensor(going.Select(c => (long)c.Beam).ToArray());
            cache.Reorder(rows);
            open = [.. going.Select(c => ((int[])[.. open[c.Beam].Ids, c.Id], c.Sum))];
        }
        return finished;
    }

    private static List<float[]> LogProbs(CausalLanguageModel model, KvCache cache, int[] prompt, List<(int[] Ids, double Sum)> open, DecodingOptions options)
    {
        using var scope = NewDisposeScope();
        var first = cache.Length == 0;
        var ids = first ? tensor(prompt.Select(i => (long)i).ToArray()).unsqueeze(0) : tensor(open.Select(o => (long)o.Ids[^1]).ToArray()).unsqueeze(1);
        var hidden = model.Hidden(ids, cache: cache);
        var logProbs = model.Head(hidden.narrow(1, hidden.shape[1] - 1, 1)).squeeze(1).log_softmax(-1).cpu().contiguous();
        var rows = new List<float[]>();
        for (var r = 0; r < open.Count; r++)
        {
            var row = logProbs[r].data<float>().ToArray();
            LogitsProcessors.Apply(row, (int[])[.. prompt, .. open[r].Ids], open[r].Ids.Length, options);
            rows.Add(row);
        }
        return rows;
    }

    private static List<(int Beam, int Id, double Sum)> Best(List<float[]> scores, List<(int[] Ids, double Sum)> open, int count)
    {
        var queue = new PriorityQueue<(int Beam, int Id, double Sum), (double, int, int)>();   // the worst comes out first
        for (var beam = 0; beam < open.Count; beam++)
            for (var id = 0; id < scores[beam].Length; id++)
            {
                var sum = open[beam].Sum + scores[beam][id];
                if (double.IsNegativeInfinity(sum)) continue;
                if (queue.Count < count) queue.Enqueue((beam, id, sum), (sum, -beam, -id));
                else queue.EnqueueDequeue((beam, id, sum), (sum, -beam, -id));
            }
        var best = new List<(int, int, double)>();
        while (queue.TryDequeue(out var candidate, out _)) best.Insert(0, candidate);
        return best;
    }
}
