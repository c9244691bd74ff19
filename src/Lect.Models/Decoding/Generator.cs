using TorchSharp;
using static TorchSharp.torch;

namespace Lect.Models;

/// <summary>One new token of one row.</summary>
/// <param name="Row">Which prompt.</param>
/// <param name="Id">The token.</param>
/// <param name="LogProb">Its natural log-probability by the model itself, before any processor.</param>
/// <param name="IsEnd">Whether the row is done: an end token, or as many tokens as were asked for.</param>
public readonly record struct NewToken(int Row, int Id, double LogProb, bool IsEnd);

/// <summary>Continues prompts token by token with a cache, so that a token costs the same however long the text is. Ids only; no tensor leaves it.</summary>
public static class Generator
{
    /// <summary>Continues each prompt; rows that are done leave the batch.</summary>
    /// <param name="model">The decoder.</param>
    /// <param name="prompts">Ids, each at least one.</param>
    /// <param name="options">How tokens are chosen.</param>
    /// <param name="streams">The number each row's random stream is keyed with; by default its index.</param>
    /// <returns>Tokens as they come; rows in turn.</returns>
    /// <exception cref="InvalidDataException">A prompt is empty, longer than the context, or holds an id outside the vocabulary.</exception>
    public static IEnumerable<NewToken> Stream(CausalLanguageModel model, IReadOnlyList<int[]> prompts, DecodingOptions options, IReadOnlyList<long>? streams = null)
    {
        Check(model, prompts, options);
        return StreamChecked(model, prompts, options, streams);
    }

    /// <summary>Tokens that all rows begin with alike, at least one of each being left.</summary>
    internal static int Shared(IReadOnlyList<int[]> rows)
    {
        var (shared, most) = (0, rows.Min(r => r.Length) - 1);
        while (shared < most && rows.All(r => r[shared] == rows[0][shared])) shared++;
        return shared;
    }

    internal static void Check(CausalLanguageModel model, IReadOnlyList<int[]> prompts, DecodingOptions options)
    {
        options.Validate();
        foreach (var prompt in prompts) CheckPrompt(model, prompt);
    }

    private static void CheckPrompt(CausalLanguageModel model, int[] prompt)
    {
        if (prompt.Length == 0) throw new InvalidDataException("Found an empty prompt. Expected at least one token to continue from (for text from nothing, give the model's begin or end-of-text token).");
        if (prompt.Length >= model.ContextLength) throw new InvalidDataException($"Found a prompt of {prompt.Length} tokens. Expected fewer than {model.ContextLength}, the model's context. Shorten it, or pass --truncate to keep its last tokens.");
        Vocabulary.Check(prompt, model.VocabularySize);
    }

    // A dispose scope is tied to its thread and must not stay open across a yield: each step is one call.
    private static IEnumerable<NewToken> StreamChecked(CausalLanguageModel model, IReadOnlyList<int[]> prompts, DecodingOptions options, IReadOnlyList<long>? streams)
    {
        using var state = new State(model, prompts, options, streams);
        while (state.Rows.Count > 0)
            foreach (var token in state.Step()) yield return token;
    }

    private sealed class Row(int index, int[] prompt, Random random)
    {
        public int Index => index;
        public Random Random => random;
        public List<int> Ids { get; } = [.. prompt];
        public int New => Ids.Count - prompt.Length;
    }

    private sealed class State : IDisposable
    {
        private const int LeastShared = 8;   // tokens of a common beginning that are worth a pass of their own

        private readonly CausalLanguageModel model;
        private readonly DecodingOptions options;
        private readonly KvCache cache;
        private readonly bool padded;   // decided once: a padded row keeps its padding when it is the last one left
        private Tensor ids_BT, real_BS, positions_BT;

        public State(CausalLanguageModel model, IReadOnlyList<int[]> prompts, DecodingOptions options, IReadOnlyList<long>? streams)
        {
            (this.model, this.options) = (model, options);
            Rows = [.. prompts.Select((p, i) => new Row(i, p, Seeds.Random(options.Seed, "generate", streams?[i] ?? i)))];
            cache = model.NewCache(Math.Min(prompts.Max(p => p.Length) + options.MaxNewTokens, model.ContextLength));
            using var scope = NewDisposeScope();
            var shared = ReadShared(prompts);
            var longest = prompts.Max(p => p.Length) - shared;
            padded = prompts.Any(p => p.Length - shared < longest);
            long[] ids = new long[prompts.Count * longest], real = new long[ids.Length];
            for (var r = 0; r < prompts.Count; r++)
                for (var i = shared; i < prompts[r].Length; i++)
                {
                    var at = (r + 1) * longest - prompts[r].Length + i;   // padded on the left, so that all rows end together
                    (ids[at], real[at]) = (prompts[r][i], 1);
                }
            ids_BT = tensor(ids, prompts.Count, longest).DetachFromDisposeScope();
            real_BS = cat([ones(prompts.Count, shared, dtype: ScalarType.Int64), tensor(real, prompts.Count, longest)], 1).DetachFromDisposeScope();
            positions_BT = Masks.Positions(real_BS).narrow(1, shared, longest).clone().DetachFromDisposeScope();
        }

        // What all prompts begin with is read once. Not where layers have windows: padding behind it would count to them.
        private int ReadShared(IReadOnlyList<int[]> prompts)
        {
            if (prompts.Count < 2 || (model.Windows is not null && prompts.Any(p => p.Length != prompts[0].Length))) return 0;
            var shared = Shared(prompts);
            if (shared < LeastShared) return 0;
            using var noGrad = no_grad();
            model.Hidden(tensor(prompts[0][..shared].Select(i => (long)i).ToArray(), 1, shared), cache: cache);
            cache.Reorder(zeros(prompts.Count, dtype: ScalarType.Int64));
            return shared;
        }

        public List<Row> Rows { get; }

        public List<NewToken> Step()
        {
            using var scope = NewDisposeScope();
            using var noGrad = no_grad();
            var hidden = model.Hidden(ids_BT, padded ? real_BS : null, positions_BT, cache);
            var logits = model.Head(hidden.narrow(1, hidden.shape[1] - 1, 1)).squeeze(1).cpu().contiguous();
            var tokens = new List<NewToken>();
            var goingOn = new List<long>();
            for (var r = 0; r < Rows.Count; r++)
            {
                using var row = logits[r];
                tokens.Add(Choose(Rows[r], row.data<float>().ToArray()));
                if (!tokens[^1].IsEnd) goingOn.Add(r);
            }
            Continue(goingOn);
            return tokens;
        }

        private NewToken Choose(Row row, float[] logits)
        {
            var raw = (float[])logits.Clone();
            LogitsProcessors.Apply(logits, System.Runtime.InteropServices.CollectionsMarshal.AsSpan(row.Ids), row.New, options);
            var id = options.Sample ? Draw(logits, row.Random.NextDouble()) : Array.IndexOf(logits, logits.Max());
            row.Ids.Add(id);
            var isEnd = options.EosTokenIds.Contains(id) || row.New >= options.MaxNewTokens || row.Ids.Count >= model.ContextLength;
            return new(row.Index, id, Math.Log(LogitsProcessors.Probabilities(raw)[id]), isEnd);
        }

        private static int Draw(float[] scores, double u)
        {
            var probs = LogitsProcessors.Probabilities(scores);
            for (var i = 0; i < probs.Length; i++) if ((u -= probs[i]) < 0) return i;
            return Array.FindLastIndex(probs, p => p > 0);
        }

        private void Continue(List<long> goingOn)
        {
            var last = Rows.Select(r => (long)r.Ids[^1]).ToArray();
            if (goingOn.Count < Rows.Count)
            {
                using var keep = tensor(goingOn.ToArray());
                if (goingOn.Count > 0) { cache.Reorder(keep); Replace(ref real_BS, real_BS.index_select(0, keep)); Replace(ref positions_BT, positions_BT.index_select(0, keep)); }
                last = [.. goingOn.Select(r => last[r])];
                var rows = goingOn.Select(r => Rows[(int)r]).ToList();
                Rows.Clear();
                Rows.AddRange(rows);
            }
            if (Rows.Count == 0) return;
            Replace(ref ids_BT, tensor(last, last.Length, 1));
            Replace(ref real_BS, cat([real_BS, ones(last.Length, 1, dtype: ScalarType.Int64)], 1));
            Replace(ref positions_BT, positions_BT.narrow(1, positions_BT.shape[1] - 1, 1) + 1);
        }

        private static void Replace(ref Tensor old, Tensor fresh)
        {
            old.Dispose();
            old = fresh.DetachFromDisposeScope();
        }

        public void Dispose()
        {
            cache.Dispose();
            ids_BT.Dispose();
            real_BS.Dispose();
            positions_BT.Dispose();
        }
    }
}
