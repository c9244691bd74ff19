using TorchSharp;
using static TorchSharp.torch;

namespace Lect.Models;

/// <summary>A finished continuation.</summary>
/// <param name="Ids">New tokens, with the end token where there is one.</param>
/// <param name="Score">Sum of their log-probabilities / length^penalty.</param>
/// <param name="LogProb">That sum.</param>
public sealed record Hypothesis(int[] Ids, double Score, double LogProb);

/// <summary>When beam search has enough, once there are as many finished hypotheses as beams (Hugging Face's <c>early_stopping</c>).</summary>
public enum BeamStop
{
    /// <summary>When the best open hypothesis, at its present length, is no better than the worst finished one (<c>false</c>).</summary>
    WhenNoBetter,
    /// <summary>At once (<c>true</c>).</summary>
    AtOnce,
    /// <summary>When no open hypothesis can become better at any length (<c>"never"</c>).</summary>
    WhenNoneCanBeBetter,
}

/// <summary>How beams are scored and when they stop.</summary>
public record BeamOptions
{
    /// <summary>Hypotheses followed side by side. <value>4</value></summary>
    public int Beams { get; init; } = 4;
    /// <summary>Exponent of the length norm; above 0 it favours long texts. <value>1</value></summary>
    public double LengthPenalty { get; init; } = 1;
    /// <summary>Divides by ((5 + length) / 6)^penalty (Wu et al. 2016, GNMT) instead of length^penalty.</summary>
    public bool Gnmt { get; init; }
    /// <summary>When it has enough.</summary>
    public BeamStop Stop { get; init; }
    /// <summary>Ids that are never chosen.</summary>
    public IReadOnlyList<int> NeverIds { get; init; } = [];
    /// <summary>What is left when <see cref="NeverIds"/> are taken away has the probability 1 again (Hugging Face's renormalize_logits).</summary>
    public bool Renormalize { get; init; }
    /// <summary>The token that must stand where the text is as long as it may be.</summary>
    public int? ForcedEosTokenId { get; init; }
    /// <summary>Tokens at most.</summary>
    public int MaxNewTokens { get; init; } = 64;
    /// <summary>Ids that end a text.</summary>
    public IReadOnlyList<int> EosTokenIds { get; init; } = [];

    internal double Score(double sum, int length) => sum / Math.Pow(Gnmt ? (5 + length) / 6.0 : length, LengthPenalty);
}

/// <summary>A decoder as beams see it: rows that go on by a token each.</summary>
internal interface IBeamSteps : IDisposable
{
    /// <summary>Scores of the tokens that follow, natural log-probabilities, [rows, V] fp32.</summary>
    /// <param name="last">The last token of each row; not looked at in the first call, which has a row a sentence.</param>
    Tensor Next(long[] last);

    /// <summary>Keeps these rows in this order.</summary>
    void Select(Tensor rows);

    /// <summary>Changes a row of scores before tokens are chosen; null: nothing is ever changed, so that only the best of a row need be read.</summary>
    Action<float[], int[]>? Process { get; }
}

/// <summary>Beam search as Hugging Face does it: the same hypotheses in the same order. Many sentences go side by side; their answers do not depend on each other.</summary>
public static class BeamSearch
{
    /// <summary>The best continuations of one prompt, best first.</summary>
    /// <param name="model">The decoder.</param>
    /// <param name="prompt">Ids.</param>
    /// <param name="options">Processors (they see log-probabilities here), length, end tokens.</param>
    /// <param name="beams">Hypotheses followed side by side.</param>
    /// <param name="lengthPenalty">Exponent of the length that a score is divided by; above 0 it favours long texts.</param>
    /// <param name="stop">When it has enough.</param>
    public static IReadOnlyList<Hypothesis> Search(CausalLanguageModel model, int[] prompt, DecodingOptions options, int beams, double lengthPenalty = 1, BeamStop stop = BeamStop.WhenNoBetter)
    {
        if (beams < 1) throw new InvalidDataException($"Found --beams {beams}. Expected at least 1.");
        if (options.Sample) throw new InvalidDataException("Found beams together with sampling. Expected one of the two.");
        Generator.Check(model, [prompt], options);
        options = options.For(prompt.Length);
        using var steps = new CausalSteps(model, prompt, options);
        return Search(steps, 1, new() { Beams = beams, LengthPenalty = lengthPenalty, Stop = stop, MaxNewTokens = (int)Math.Min(options.MaxNewTokens, model.ContextLength - prompt.Length), EosTokenIds = options.EosTokenIds ?? [] })[0];
    }

    /// <summary>The best translations of sentences, best first.</summary>
    /// <param name="model">Encoder and decoder.</param>
    /// <param name="sources">Ids of each, ending with <see cref="EncoderDecoder.EosId"/>.</param>
    /// <param name="options">Beams; the end token is the model's where none is named.</param>
    public static IReadOnlyList<IReadOnlyList<Hypothesis>> Search(EncoderDecoder model, IReadOnlyList<int[]> sources, BeamOptions options)
    {
        if (options.Beams < 1) throw new InvalidDataException($"Found --beams {options.Beams}. Expected at least 1.");
        foreach (var source in sources)
        {
            if (source.Length == 0 || source.Length > model.ContextLength) throw new InvalidDataException($"Found a source of {source.Length} tokens. Expected 1 to {model.ContextLength}.");
            Vocabulary.Check(source, model.SourceVocabularySize);
        }
        if (sources.Count == 0) return [];
        model.eval();
        options = options with { MaxNewTokens = (int)Math.Min(options.MaxNewTokens, model.ContextLength - 1), EosTokenIds = options.EosTokenIds.Count > 0 ? options.EosTokenIds : [model.EosId] };
        using var steps = new TranslationSteps(model, sources, options);
        return Search(steps, sources.Count, options);
    }

    private sealed class Sentence
    {
        public List<(int[] Ids, double Sum)> Open { get; set; } = [([], 0)];
        public List<Hypothesis> Finished { get; set; } = [];
    }

    internal static IReadOnlyList<IReadOnlyList<Hypothesis>> Search(IBeamSteps steps, int sentences, BeamOptions options)
    {
        using var noGrad = no_grad();
        var all = Enumerable.Range(0, sentences).Select(_ => new Sentence()).ToList();
        var going = all.ToList();
        for (var length = 1; length <= options.MaxNewTokens && going.Count > 0; length++)
        {
            var best = Candidates(steps, going, options);
            var (rows, first, next) = (new List<long>(), 0, new List<Sentence>());
            for (var s = 0; s < going.Count; s++)
            {
                var (sentence, open) = (going[s], going[s].Open);
                if (Advance(sentence, best[s], length, options) is { } kept)
                {
                    rows.AddRange(kept.Select(c => (long)first + c.Beam));
                    sentence.Open = [.. kept.Select(c => ((int[])[.. open[c.Beam].Ids, c.Id], c.Sum))];
                    next.Add(sentence);
                }
                first += open.Count;
            }
            going = next;
            if (going.Count == 0 || length == options.MaxNewTokens) break;
            using var order = tensor(rows.ToArray());
            steps.Select(order);
        }
        return [.. all.Select(s => s.Finished)];
    }

    // Finishes what ends here; gives the candidates that go on, or null where the sentence is done.
    private static List<(int Beam, int Id, double Sum)>? Advance(Sentence sentence, List<(int Beam, int Id, double Sum)> candidates, int length, BeamOptions options)
    {
        for (var i = 0; i < Math.Min(options.Beams, candidates.Count); i++)
        {
            var (beam, id, sum) = candidates[i];
            if (options.EosTokenIds.Contains(id) || length == options.MaxNewTokens) sentence.Finished.Add(new([.. sentence.Open[beam].Ids, id], options.Score(sum, length), sum));
        }
        sentence.Finished = [.. sentence.Finished.OrderByDescending(h => h.Score).Take(options.Beams)];
        var kept = candidates.Where(c => !options.EosTokenIds.Contains(c.Id)).Take(options.Beams).ToList();
        if (kept.Count == 0 || length == options.MaxNewTokens) return null;
        return sentence.Finished.Count == options.Beams && (options.Stop == BeamStop.AtOnce || options.Score(kept[0].Sum, options.Stop == BeamStop.WhenNoneCanBeBetter && options.LengthPenalty > 0 ? options.MaxNewTokens : length) <= sentence.Finished[^1].Score) ? null : kept;
    }

    // Of each sentence the 2 k best ways to go on, best first.
    private static List<(int Beam, int Id, double Sum)>[] Candidates(IBeamSteps steps, List<Sentence> going, BeamOptions options)
    {
        using var scope = NewDisposeScope();
        var logProbs = steps.Next([.. going.SelectMany(s => s.Open).Select(o => o.Ids is [.., var last] ? last : 0L)]).cpu().contiguous();
        var (width, count) = (logProbs.shape[1], (int)Math.Min(2L * options.Beams, logProbs.shape[1]));
        var (values, indices) = logProbs.topk(count, 1);
        var (tops, ids) = (values.data<float>().ToArray(), indices.data<long>().ToArray());
        var (found, row) = (new List<(int, int, double)>[going.Count], 0);
        for (var s = 0; s < going.Count; s++)
        {
            var queue = new PriorityQueue<(int Beam, int Id, double Sum), (double, int, int)>();   // the worst comes out first
            for (var beam = 0; beam < going[s].Open.Count; beam++, row++)
            {
                var (own, sum) = (going[s].Open[beam].Ids, going[s].Open[beam].Sum);
                var whole = steps.Process is null ? null : logProbs[row].data<float>().ToArray();
                if (whole is not null) steps.Process!(whole, own);
                for (var i = 0; i < (whole?.Length ?? count); i++)
                {
                    var (id, logProb) = whole is null ? ((int)ids[row * count + i], tops[row * count + i]) : (i, whole[i]);
                    if (float.IsNegativeInfinity(logProb)) continue;
                    var candidate = (beam, id, sum + logProb);
                    if (queue.Count < 2 * options.Beams) queue.Enqueue(candidate, (candidate.Item3, -beam, -id));
                    else queue.EnqueueDequeue(candidate, (candidate.Item3, -beam, -id));
                }
            }
            found[s] = [];
            while (queue.TryDequeue(out var candidate, out _)) found[s].Insert(0, candidate);
        }
        return found;
    }

    private sealed class CausalSteps(CausalLanguageModel model, int[] prompt, DecodingOptions options) : IBeamSteps
    {
        private readonly KvCache cache = model.NewCache(Math.Min(prompt.Length + options.MaxNewTokens, model.ContextLength));

        public Tensor Next(long[] last)
        {
            var device = model.HeadWeight.device;
            var ids = cache.Length == 0 ? tensor(prompt.Select(i => (long)i).ToArray(), device: device).unsqueeze(0) : tensor(last, device: device).unsqueeze(1);
            var hidden = model.Hidden(ids, cache: cache);
            return model.Head(hidden.narrow(1, hidden.shape[1] - 1, 1)).squeeze(1).log_softmax(-1);
        }

        public void Select(Tensor rows)
        {
            using var scope = NewDisposeScope();
            cache.Reorder(rows.to(model.HeadWeight.device));
        }

        public Action<float[], int[]>? Process => (row, newIds) => LogitsProcessors.Apply(row, (int[])[.. prompt, .. newIds], newIds.Length, options);

        public void Dispose() => cache.Dispose();
    }

    private sealed class TranslationSteps : IBeamSteps
    {
        private readonly EncoderDecoder model;
        private readonly DecoderState state;
        private readonly int sentences;
        private readonly BeamOptions options;

        public TranslationSteps(EncoderDecoder model, IReadOnlyList<int[]> sources, BeamOptions options)
        {
            (this.model, sentences, this.options) = (model, sources.Count, options);
            using var noGrad = no_grad();
            using var scope = NewDisposeScope();
            state = model.Encode(EncoderDecoder.Padded(sources, model.PadId));
        }

        public Tensor Next(long[] last)
        {
            var logProbs_RV = model.Logits(state, state.Length == 0 ? full(sentences, 1, model.BosId, dtype: ScalarType.Int64) : tensor(last).unsqueeze(1)).squeeze(1).log_softmax(-1);
            foreach (var id in options.NeverIds) logProbs_RV.select(1, id).fill_(float.NegativeInfinity);
            if (options.ForcedEosTokenId is { } end && state.Length == options.MaxNewTokens) logProbs_RV.fill_(float.NegativeInfinity).select(1, end).fill_(0);
            return options.Renormalize ? logProbs_RV.log_softmax(-1) : logProbs_RV;
        }

        public void Select(Tensor rows) => state.Select(rows);

        public Action<float[], int[]>? Process => null;

        public void Dispose() => state.Dispose();
    }
}
