using System.Text.Json.Nodes;
using TorchSharp;
using static TorchSharp.torch;

namespace Lect.Models;

/// <summary>
/// What a decoder goes on from: tensors whose first dimension is the row (an encoded source and what was decoded of its target so far).
/// Owns its tensors. Not thread-safe.
/// </summary>
public sealed class DecoderState : IDisposable
{
    private readonly Dictionary<string, Tensor> parts = [];

    /// <summary>Target positions decoded so far.</summary>
    internal long Length { get; set; }

    internal Tensor this[string name]
    {
        get => parts[name];
        set
        {
            if (parts.TryGetValue(name, out var old) && old.Handle != value.Handle) old.Dispose();
            parts[name] = value.DetachFromDisposeScope();
        }
    }

    internal bool Has(string name) => parts.ContainsKey(name);

    /// <summary>A layer's keys and values [B, H, T, d] behind those of the positions before.</summary>
    /// <param name="layer">From 0.</param>
    /// <param name="keys">Of the new positions.</param>
    /// <param name="values">Of the new positions.</param>
    /// <param name="keep">Whether further positions will follow.</param>
    internal (Tensor Keys, Tensor Values) Extend(int layer, Tensor keys, Tensor values, bool keep)
    {
        var (k, v) = ($"k{layer}", $"v{layer}");
        if (Has(k)) (keys, values) = (cat([this[k], keys], 2), cat([this[v], values], 2));
        if (keep) (this[k], this[v]) = (keys, values);
        return (keys, values);
    }

    /// <summary>A layer's keys and values of the source, computed once.</summary>
    /// <param name="layer">From 0.</param>
    /// <param name="make">Makes them.</param>
    internal (Tensor Keys, Tensor Values) OfSource(int layer, Func<(Tensor Keys, Tensor Values)> make)
    {
        var (k, v) = ($"source_k{layer}", $"source_v{layer}");
        if (!Has(k)) (this[k], this[v]) = make();
        return (this[k], this[v]);
    }

    /// <summary>Keeps these rows in this order: beams that go on.</summary>
    /// <param name="rows_N">Row numbers, int64.</param>
    public void Select(Tensor rows_N)
    {
        foreach (var name in parts.Keys.ToList()) this[name] = parts[name].index_select(0, rows_N);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (var part in parts.Values) part.Dispose();
        parts.Clear();
    }
}

/// <summary>An encoder and a decoder: source ids to target ids, trained on pairs.</summary>
public abstract class EncoderDecoder : nn.Module
{
    /// <param name="name">Of the module.</param>
    protected EncoderDecoder(string name) : base(name) { }

    /// <summary>Precision of matrix products while training.</summary>
    public ComputeType Compute { get; set; } = ComputeType.Float32;

    /// <summary>Tokens of the source side.</summary>
    public abstract long SourceVocabularySize { get; }

    /// <summary>Tokens of the target side.</summary>
    public abstract long TargetVocabularySize { get; }

    /// <summary>The longest source or target in tokens.</summary>
    public abstract long ContextLength { get; }

    /// <summary>Id of padding.</summary>
    public abstract int PadId { get; }

    /// <summary>Id that a target begins with.</summary>
    public abstract int BosId { get; }

    /// <summary>Id that ends a source and a target.</summary>
    public abstract int EosId { get; }

    /// <summary>config.json.</summary>
    public abstract JsonObject ConfigJson { get; }

    /// <summary>The output layer's matrix, [V, C].</summary>
    public abstract Tensor HeadWeight { get; }

    /// <summary>Its bias, [V]; null: none.</summary>
    public abstract Tensor? HeadBias { get; }

    /// <summary>Draws new weights.</summary>
    public abstract void Initialize(long seed);

    /// <summary>Reads sources; the caller owns the state.</summary>
    /// <param name="source_BS">Ids ending with <see cref="EosId"/>, padded with <see cref="PadId"/> behind it.</param>
    /// <param name="sink">Told the encoder's attention.</param>
    public abstract DecoderState Encode(Tensor source_BS, IActivationSink? sink = null);

    /// <summary>Goes T target positions on.</summary>
    /// <param name="state">Changed.</param>
    /// <param name="target_BT">The tokens before those to predict: <see cref="BosId"/> first.</param>
    /// <param name="attention">Told the attention of each layer, [B, H, T, S]; <see cref="AttendsToSource"/> says to what.</param>
    /// <returns>[B, T, C] for the output layer.</returns>
    public abstract Tensor Decode(DecoderState state, Tensor target_BT, IActivationSink? attention = null);

    /// <summary>Whether what <see cref="Decode"/> tells under a layer's number is attention to the source, or to the target so far: a Transformer's decoder has both, the former as -1, -2, …</summary>
    internal virtual bool AttendsToSource(int layer) => layer < 0;

    /// <summary>Rows of ids as one tensor, [B, longest] int64, padded behind their ends.</summary>
    public static Tensor Padded(IReadOnlyList<int[]> rows, int pad)
    {
        var length = rows.Max(r => r.Length);
        var ids = new long[rows.Count * length];
        Array.Fill(ids, pad);
        for (var r = 0; r < rows.Count; r++)
            for (var i = 0; i < rows[r].Length; i++) ids[r * length + i] = rows[r][i];
        return tensor(ids, rows.Count, length);
    }

    /// <summary>Scores of the next tokens, [B, T, V] fp32.</summary>
    public Tensor Logits(DecoderState state, Tensor target_BT, IActivationSink? attention = null)
    {
        using var scope = NewDisposeScope();
        return Projection.OutIn(Decode(state, target_BT, attention), HeadWeight, HeadBias, Compute).to(ScalarType.Float32).MoveToOuterDisposeScope();
    }

    /// <summary>scale * sum over the target tokens that are no padding of -log p, smoothed; nats.</summary>
    /// <param name="source_BS">As <see cref="Encode"/> takes it.</param>
    /// <param name="target_BT">Beginning with <see cref="BosId"/>.</param>
    /// <param name="gold_BT">The tokens to predict, -100 where there is none.</param>
    /// <param name="scale">1 / number of target tokens for the mean.</param>
    /// <param name="smoothing">Share of the probability that goes to all tokens alike (label smoothing).</param>
    public Tensor Loss(Tensor source_BS, Tensor target_BT, Tensor gold_BT, double scale, double smoothing = 0)
    {
        using var scope = NewDisposeScope();
        using var state = Encode(source_BS);
        var hidden_BTC = Decode(state, target_BT);
        return LinearCrossEntropy.Apply(hidden_BTC.reshape(-1, hidden_BTC.shape[^1]), HeadWeight, gold_BT.reshape(-1), scale, Compute, HeadBias, smoothing).MoveToOuterDisposeScope();
    }
}
