namespace Lect.Models;

/// <summary>How the next token is chosen; names and meanings are Hugging Face's.</summary>
public sealed record DecodingOptions
{
    /// <summary>Below it single precision has no room for logits that are divided by it; what is wanted then is the most probable token.</summary>
    public const double LeastTemperature = 1e-4;

    private readonly int maxNewTokens = 64;

    /// <summary>Tokens to add at most. Set, it wins over <see cref="MaxLength"/>.</summary>
    public int MaxNewTokens { get => maxNewTokens; init => (maxNewTokens, MaxLength) = (value, null); }
    /// <summary>Prompt and new tokens together at most, instead of <see cref="MaxNewTokens"/>; null: that counts.</summary>
    public int? MaxLength { get; init; }
    /// <summary>Draws from the distribution; otherwise the most probable token is taken.</summary>
    public bool Sample { get; init; }
    /// <summary>Logits are divided by it, where tokens are drawn (<see cref="Sample"/>). <value>1: as the model says.</value></summary>
    public double Temperature { get; init; } = 1;
    /// <summary>Keeps the k most probable tokens; 0: all.</summary>
    public int TopK { get; init; }
    /// <summary>Keeps the fewest tokens whose probabilities reach p (Holtzman et al. 2020); 1: all.</summary>
    public double TopP { get; init; } = 1;
    /// <summary>Keeps tokens of at least this share of the best one's probability (Nguyen et al. 2024); 0: all.</summary>
    public double MinP { get; init; }
    /// <summary>Divides positive and multiplies negative logits of tokens seen before (Keskar et al. 2019, section 4.1); 1: off.</summary>
    public double RepetitionPenalty { get; init; } = 1;
    /// <summary>No n-gram of this length occurs twice; 0: off.</summary>
    public int NoRepeatNgramSize { get; init; }
    /// <summary>Taken off the logit of a token for each time that it was generated (OpenAI's frequency_penalty); 0: off.</summary>
    public double FrequencyPenalty { get; init; }
    /// <summary>Taken off the logits of tokens that were generated (OpenAI's presence_penalty); 0: off.</summary>
    public double PresencePenalty { get; init; }
    /// <summary>Added to the logits of tokens, by their ids (OpenAI's logit_bias).</summary>
    public IReadOnlyDictionary<int, double> LogitBias { get; init; } = new Dictionary<int, double>();
    /// <summary>The most probable tokens that are told beside each chosen one.</summary>
    public int TopLogProbs { get; init; }
    /// <summary>Sequences that never appear.</summary>
    public IReadOnlyList<int[]> BadWordsIds { get; init; } = [];
    /// <summary>No end token before so many new ones.</summary>
    public int MinNewTokens { get; init; }
    /// <summary>No end token before prompt and new tokens together are so many.</summary>
    public int MinLength { get; init; }
    /// <summary>What the processors leave is normalized again, which changes scores of beams (renormalize_logits).</summary>
    public bool Renormalize { get; init; }
    /// <summary>Ids that end a text; null: none, and where a model comes with its folder (Lect's LanguageModel) those that it names.</summary>
    public IReadOnlyList<int>? EosTokenIds { get; init; }
    /// <summary>The token that must stand where a text is as long as it may be.</summary>
    public int? ForcedEosTokenId { get; init; }
    /// <summary>Key of the random stream, with the row's and the sample's number.</summary>
    public long Seed { get; init; }

    /// <summary>The same for a prompt of so many tokens, with numbers of new tokens alone.</summary>
    /// <exception cref="InvalidDataException">The prompt is as long as the whole may be.</exception>
    internal DecodingOptions For(int prompt)
    {
        if (MaxLength is null && MinLength == 0) return this;
        if (MaxLength <= prompt) throw new InvalidDataException($"Found a prompt of {prompt} tokens where it and its continuation may have {MaxLength} (max_length of generation_config.json). Expected fewer, or --max-new-tokens, which wins.");
        return this with { MaxNewTokens = MaxLength - prompt ?? MaxNewTokens, MinNewTokens = Math.Max(MinNewTokens, MinLength - prompt), MinLength = 0 };
    }

    /// <summary>Whether a token ends a text.</summary>
    internal bool IsEnd(int id) => EosTokenIds?.Contains(id) == true;

    /// <summary>Checks ranges; reports all faults together, by the names of the command line's options.</summary>
    /// <exception cref="InvalidDataException">A value outside its range.</exception>
    public DecodingOptions Validate()
    {
        var faults = new List<string>();
        void Require(bool holds, string option, object found, string expected) { if (!holds) faults.Add(FormattableString.Invariant($"found --{option} {found}, expected {expected}")); }
        Require(MaxNewTokens >= 1, "max-new-tokens", MaxNewTokens, "at least 1");
        Require(Temperature >= LeastTemperature, "temperature", Temperature, "0.0001 or more (use --greedy for the most probable token)");
        Require(TopK >= 0, "top-k", TopK, "0 (off) or more");
        Require(TopP is > 0 and <= 1, "top-p", TopP, "more than 0 and at most 1");
        Require(MinP is >= 0 and <= 1, "min-p", MinP, "0 to 1");
        Require(RepetitionPenalty > 0, "repetition-penalty", RepetitionPenalty, "more than 0");
        Require(NoRepeatNgramSize >= 0, "no-repeat-ngram", NoRepeatNgramSize, "0 (off) or more");
        return faults.Count == 0 ? this : throw new InvalidDataException(string.Join("; ", faults) + ".");
    }
}

/// <summary>What stands between the model's scores and the choice, in Hugging Face's order. Each works in place on one row of logits.</summary>
internal static class LogitsProcessors
{
    private const float Removed = float.NegativeInfinity;

    /// <summary>All processors that greedy decoding and sampling share, then (where <paramref name="options"/> sample) the warpers.</summary>
    /// <param name="scores">Logits of one row, rewritten.</param>
    /// <param name="ids">Prompt without padding and what was generated.</param>
    /// <param name="newTokens">How many of them were generated.</param>
    /// <param name="options">Settings.</param>
    public static void Apply(Span<float> scores, ReadOnlySpan<int> ids, int newTokens, DecodingOptions options)
    {
        if (options.RepetitionPenalty != 1) RepetitionPenalty(scores, ids, (float)options.RepetitionPenalty);
        if (options.NoRepeatNgramSize > 0) NoRepeatNgram(scores, ids, options.NoRepeatNgramSize);
        if (options.FrequencyPenalty != 0 || options.PresencePenalty != 0) OutputPenalties(scores, ids[^newTokens..], options);
        foreach (var (id, bias) in options.LogitBias) scores[id] += (float)bias;
        BadWords(scores, ids, options.BadWordsIds);
        if (newTokens < options.MinNewTokens) foreach (var id in options.EosTokenIds ?? []) scores[id] = Removed;
        if (options.ForcedEosTokenId is { } end && newTokens == options.MaxNewTokens - 1)
        {
            scores.Fill(Removed);
            scores[end] = 0;
        }
        if (options.Sample)
        {
            if (options.Temperature != 1) foreach (ref var s in scores) s /= (float)options.Temperature;
            if (options.TopK > 0) TopK(scores, options.TopK);
            if (options.TopP < 1) TopP(scores, options.TopP);
            if (options.MinP > 0) MinP(scores, options.MinP);
        }
        if (options.Renormalize) LogSoftmax(scores);
    }

    private static void LogSoftmax(Span<float> scores)
    {
        var probs = Probabilities(scores);
        for (var i = 0; i < scores.Length; i++) scores[i] = (float)Math.Log(probs[i]);
    }

    private static void RepetitionPenalty(Span<float> scores, ReadOnlySpan<int> ids, float penalty)
    {
        foreach (var id in new HashSet<int>(ids.ToArray())) scores[id] = scores[id] < 0 ? scores[id] * penalty : scores[id] / penalty;
    }

    private static void OutputPenalties(Span<float> scores, ReadOnlySpan<int> made, DecodingOptions options)
    {
        foreach (var (id, count) in made.ToArray().CountBy(id => id)) scores[id] -= (float)(options.FrequencyPenalty * count + options.PresencePenalty);
    }

    private static void NoRepeatNgram(Span<float> scores, ReadOnlySpan<int> ids, int n)
    {
        if (ids.Length + 1 < n) return;
        var tail = ids[(ids.Length - n + 1)..];
        for (var i = 0; i + n <= ids.Length; i++)
            if (ids.Slice(i, n - 1).SequenceEqual(tail)) scores[ids[i + n - 1]] = Removed;
    }

    private static void BadWords(Span<float> scores, ReadOnlySpan<int> ids, IReadOnlyList<int[]> words)
    {
        foreach (var word in words)
            if (ids.EndsWith(word.AsSpan(..^1))) scores[word[^1]] = Removed;
    }

    private static void TopK(Span<float> scores, int k)
    {
        if (k >= scores.Length) return;
        var sorted = scores.ToArray();
        Array.Sort(sorted);
        var least = sorted[^k];
        foreach (ref var s in scores) if (s < least) s = Removed;
    }

    // The tail of the ascending order with a cumulative probability of at most 1 - p goes; the best token always stays.
    private static void TopP(Span<float> scores, double p)
    {
        var probs = Probabilities(scores);
        var order = Enumerable.Range(0, probs.Length).ToArray();
        Array.Sort((float[])[.. scores], order);
        double sum = 0;
        for (var i = 0; i + 1 < order.Length; i++)
        {
            sum += probs[order[i]];
            if (sum <= 1 - p) scores[order[i]] = Removed;
        }
    }

    private static void MinP(Span<float> scores, double share)
    {
        var probs = Probabilities(scores);
        var least = share * probs.Max();
        for (var i = 0; i < probs.Length; i++) if (probs[i] < least) scores[i] = Removed;
    }

    /// <summary>softmax, in double.</summary>
    public static double[] Probabilities(ReadOnlySpan<float> scores)
    {
        var max = float.NegativeInfinity;
        foreach (var s in scores) max = MathF.Max(max, s);
        var probs = new double[scores.Length];
        double sum = 0;
        for (var i = 0; i < probs.Length; i++) sum += probs[i] = Math.Exp(scores[i] - max);
        for (var i = 0; i < probs.Length; i++) probs[i] /= sum;
        return probs;
    }
}
