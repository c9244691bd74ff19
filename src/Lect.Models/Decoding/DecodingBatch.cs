using TorchSharp;
using static TorchSharp.torch;

namespace Lect.Models;

/// <summary>A text that is continued.</summary>
/// <param name="Index">What its tokens are told by.</param>
/// <param name="Prompt">Ids, at least one.</param>
/// <param name="Options">How its tokens are chosen.</param>
/// <param name="Stream">The number that its random stream is keyed with, beside the seed.</param>
public sealed record DecodingRow(int Index, int[] Prompt, DecodingOptions Options, long Stream);

/// <summary>Rows that grow together, a token a step. A row leaves where it ends or is taken out, and other batches may join: a server's requests come and go so. Ids only; no tensor leaves it. Not thread-safe.</summary>
public sealed class DecodingBatch : IDisposable
{
    private const int LeastShared = 8;   // tokens of a common beginning that are worth a pass of their own
    private const int LeastDropped = 64; // positions of padding in all rows that are worth moving the cache

    private readonly CausalLanguageModel model;
    private readonly KvCache cache;
    private readonly List<Row> rows;
    private bool padded;   // a padded row keeps its padding when it is the last one left
    private Tensor ids_BT, real_BS, positions_BT;

    /// <summary>Begins a batch; the prompts are read at the first step.</summary>
    /// <param name="model">The decoder.</param>
    /// <param name="rows">At least one.</param>
    /// <exception cref="InvalidDataException">A prompt is empty, longer than the context, or holds an id outside the vocabulary.</exception>
    public DecodingBatch(CausalLanguageModel model, IReadOnlyList<DecodingRow> rows)
    {
        foreach (var row in rows) Generator.CheckPrompt(model, row.Prompt);
        rows = [.. rows.Select(r => r with { Options = r.Options.For(r.Prompt.Length) })];
        this.model = model;
        this.rows = [.. rows.Select(r => new Row(r))];
        var prompts = rows.Select(r => r.Prompt).ToList();
        cache = model.NewCache(Math.Min(rows.Max(r => r.Prompt.Length + r.Options.MaxNewTokens), model.ContextLength));
        using var scope = NewDisposeScope();
        var (shared, device) = (ReadShared(prompts), Device);
        var longest = prompts.Max(p => p.Length) - shared;
        padded = prompts.Any(p => p.Length - shared < longest);
        long[] ids = new long[prompts.Count * longest], real = new long[ids.Length];
        for (var r = 0; r < prompts.Count; r++)
            for (var i = shared; i < prompts[r].Length; i++)
            {
                var at = (r + 1) * longest - prompts[r].Length + i;   // padded on the left, so that all rows end together
                (ids[at], real[at]) = (prompts[r][i], 1);
            }
        ids_BT = tensor(ids, prompts.Count, longest, device: device).DetachFromDisposeScope();
        real_BS = cat([ones(prompts.Count, shared, dtype: ScalarType.Int64, device: device), tensor(real, prompts.Count, longest, device: device)], 1).DetachFromDisposeScope();
        positions_BT = Masks.Positions(real_BS).narrow(1, shared, longest).clone().DetachFromDisposeScope();
    }

    private Device Device => model.HeadWeight.device;

    /// <summary>Rows that go on.</summary>
    public int Count => rows.Count;

    // What all prompts begin with is read once. Not where layers have windows: padding behind it would count to them.
    private int ReadShared(List<int[]> prompts)
    {
        if (prompts.Count < 2 || (model.Windows is not null && prompts.Any(p => p.Length != prompts[0].Length))) return 0;
        var shared = Generator.Shared(prompts);
        if (shared < LeastShared) return 0;
        using var noGrad = no_grad();
        model.Hidden(tensor(prompts[0][..shared].Select(i => (long)i).ToArray(), 1, shared, device: Device), cache: cache);
        cache.Reorder(zeros(prompts.Count, dtype: ScalarType.Int64, device: Device));
        return shared;
    }

    /// <summary>The next token of every row, in order; rows that are done leave.</summary>
    public IReadOnlyList<NewToken> Step()
    {
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        var hidden = model.Hidden(ids_BT, padded ? real_BS : null, positions_BT, cache);
        var logits = model.Head(hidden.narrow(1, hidden.shape[1] - 1, 1)).squeeze(1).cpu().contiguous();
        var tokens = new List<NewToken>();
        for (var r = 0; r < rows.Count; r++)
        {
            using var row = logits[r];
            tokens.Add(rows[r].Choose(row.data<float>().ToArray(), model.ContextLength));
        }
        var goingOn = Enumerable.Range(0, rows.Count).Where(r => !tokens[r].IsEnd).ToList();
        if (goingOn.Count == 0) { rows.Clear(); return tokens; }
        Keep(goingOn);
        Replace(ref ids_BT, tensor(rows.Select(r => (long)r.Ids[^1]).ToArray(), rows.Count, 1, device: Device));
        Replace(ref real_BS, cat([real_BS, ones(rows.Count, 1, dtype: ScalarType.Int64, device: Device)], 1));
        Replace(ref positions_BT, positions_BT.narrow(1, positions_BT.shape[1] - 1, 1) + 1);
        return tokens;
    }

    /// <summary>Takes a row out, by its index; nothing where there is none.</summary>
    public void Remove(int index)
    {
        var others = Enumerable.Range(0, rows.Count).Where(r => rows[r].Index != index).ToList();
        if (others.Count == 0) { rows.Clear(); return; }
        using var scope = NewDisposeScope();
        Keep(others);
    }

    private void Keep(List<int> kept)
    {
        if (kept.Count == rows.Count) return;
        var stay = kept.ConvertAll(r => rows[r]);
        rows.Clear();
        rows.AddRange(stay);
        var keep = tensor(kept.Select(r => (long)r).ToArray(), device: Device);
        cache.Reorder(keep);
        Replace(ref ids_BT, ids_BT.index_select(0, keep));
        Replace(ref real_BS, real_BS.index_select(0, keep));
        Replace(ref positions_BT, positions_BT.index_select(0, keep));
        var empty = real_BS.argmax(1).min().item<long>();   // positions that are padding in every row
        if (empty < LeastDropped || cache.Length <= empty) return;
        cache.DropFirst(empty);
        Replace(ref real_BS, real_BS.narrow(1, empty, real_BS.shape[1] - empty).clone());
    }

    /// <summary>Takes another batch's rows behind its own. Both have made a step since they began.</summary>
    /// <param name="other">Of the same model; it has no rows afterwards.</param>
    public void Join(DecodingBatch other)
    {
        if (other.Count == 0) return;
        if (Count > 0 && (ids_BT.shape[1] != 1 || other.ids_BT.shape[1] != 1)) throw new InvalidOperationException("Found a batch whose prompts have not been read. Expected a step of each before they join.");
        using var scope = NewDisposeScope();
        var length = Math.Max(real_BS.shape[1], other.real_BS.shape[1]);
        padded |= other.padded || real_BS.shape[1] != other.real_BS.shape[1];
        cache.Join(other.cache);
        Replace(ref ids_BT, cat([ids_BT, other.ids_BT], 0));
        Replace(ref real_BS, cat([Longer(real_BS), Longer(other.real_BS)], 0));
        Replace(ref positions_BT, cat([positions_BT, other.positions_BT], 0));
        rows.AddRange(other.rows);
        other.rows.Clear();

        Tensor Longer(Tensor real) => real.shape[1] == length ? real : cat([zeros(real.shape[0], length - real.shape[1], dtype: ScalarType.Int64, device: Device), real], 1);
    }

    private static void Replace(ref Tensor old, Tensor fresh)
    {
        old.Dispose();
        old = fresh.DetachFromDisposeScope();
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        cache.Dispose();
        ids_BT.Dispose();
        real_BS.Dispose();
        positions_BT.Dispose();
    }

    private sealed class Row(DecodingRow row)
    {
        private readonly Random random = Seeds.Random(row.Options.Seed, "generate", row.Stream);

        public int Index => row.Index;
        public List<int> Ids { get; } = [.. row.Prompt];

        public NewToken Choose(float[] logits, long context)
        {
            var (options, made) = (row.Options, Ids.Count - row.Prompt.Length);
            var raw = (float[])logits.Clone();
            LogitsProcessors.Apply(logits, System.Runtime.InteropServices.CollectionsMarshal.AsSpan(Ids), made, options);
            var id = options.Sample ? Draw(logits, random.NextDouble()) : Array.IndexOf(logits, logits.Max());
            Ids.Add(id);
            var probs = LogitsProcessors.Probabilities(raw);
            var top = options.TopLogProbs > 0 ? Enumerable.Range(0, probs.Length).OrderByDescending(i => probs[i]).Take(options.TopLogProbs).Select(i => (i, Math.Log(probs[i]))).ToList() : null;
            return new(row.Index, id, Math.Log(probs[id]), options.IsEnd(id) || made + 1 >= options.MaxNewTokens || Ids.Count >= context, top);
        }

        private static int Draw(float[] scores, double u)
        {
            var probs = LogitsProcessors.Probabilities(scores);
            for (var i = 0; i < probs.Length; i++) if ((u -= probs[i]) < 0) return i;
            return Math.Max(0, Array.FindLastIndex(probs, p => p > 0));   // of a model whose scores are no numbers: one row's trouble, not the batch's
        }
    }
}
