using System.Text.Json.Nodes;
using TorchSharp;
using static TorchSharp.torch;

namespace Lect.Models;

/// <summary>A whole sequence of ids to one score a label (or one number).</summary>
public abstract class SequenceClassifier(string name) : nn.Module(name)
{
    /// <summary>The configuration, as config.json has it.</summary>
    public abstract JsonObject ConfigJson { get; }

    /// <summary>V.</summary>
    public abstract long VocabularySize { get; }

    /// <summary>The most positions it was made for.</summary>
    public abstract long ContextLength { get; }

    /// <summary>Scores of the labels, [B, labels] fp32, owned by the caller.</summary>
    /// <param name="ids_BT">Token ids, int64 [B, T].</param>
    /// <param name="real_BT">1 = real, 0 = padding; null: all real.</param>
    public abstract Tensor Logits(Tensor ids_BT, Tensor? real_BT = null);

    /// <summary>The labels' names, in the order of the logits (config.json's id2label).</summary>
    public IReadOnlyList<string> Labels => LabelsOf(ConfigJson);

    internal static IReadOnlyList<string> LabelsOf(JsonObject config) => config["id2label"] is JsonObject names
        ? [.. names.OrderBy(n => int.Parse(n.Key, System.Globalization.CultureInfo.InvariantCulture)).Select(n => (string)n.Value!)]
        : [.. Enumerable.Range(0, (int?)config["num_labels"] ?? 2).Select(i => $"LABEL_{i}")];
}
