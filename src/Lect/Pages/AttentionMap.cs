using System.Runtime.InteropServices;
using System.Text.Json.Nodes;
using Lect.Models;
using Lect.Text;
using TorchSharp;
using static TorchSharp.torch;

namespace Lect;

/// <summary>The attention of one part of a model over one text: every layer and head.</summary>
/// <param name="Name">Which part: attention, encoder, decoder, source.</param>
/// <param name="Queries">Tokens that attend.</param>
/// <param name="Keys">Tokens that are attended to.</param>
/// <param name="QueryWords">The word that each query token belongs to, from 0.</param>
/// <param name="KeyWords">The word that each key token belongs to.</param>
/// <param name="Layers">Of each layer the probabilities, [heads, queries, keys]: rows add up to 1.</param>
/// <param name="Heads">Heads of a layer.</param>
public sealed record AttentionView(string Name, IReadOnlyList<string> Queries, IReadOnlyList<string> Keys, IReadOnlyList<int> QueryWords, IReadOnlyList<int> KeyWords, IReadOnlyList<float[]> Layers, int Heads);

/// <summary>What a model attends to, and the page that shows it.</summary>
public static class AttentionMap
{
    /// <summary>The attention of an encoder over a text or a pair of texts.</summary>
    /// <exception cref="InvalidDataException">No text, or one longer than the positions.</exception>
    public static IReadOnlyList<AttentionView> Of(EncoderTool encoder, string text, string? pair = null)
    {
        var row = encoder.Encode(text, pair);
        row.Check(encoder.Model, encoder.Model.TypeCount);
        var sink = new Sink();
        using (var scope = NewDisposeScope())
        using (no_grad())
        {
            Tensor Matrix(int[] values) => tensor(values.Select(v => (long)v).ToArray(), 1, values.Length, device: encoder.Model.Embeddings.device);
            encoder.Model.Hidden(Matrix(row.Ids), types_BT: encoder.Model.TypeCount > 1 ? Matrix(row.Types!) : null, sink: sink);
        }
        var (tokens, words) = Tokens(row.Ids, encoder.Tokenizer!);
        return [sink.View("self-attention", l => l >= 0, tokens, tokens, words, words)!];
    }

    /// <summary>The self-attention of a decoder over a text.</summary>
    /// <exception cref="InvalidDataException">No text, or one longer than the context.</exception>
    public static IReadOnlyList<AttentionView> Of(LanguageModel model, string text)
    {
        var ids = model.Encode(text);
        if (ids.Length == 0 || ids.Length > model.Model.ContextLength) throw new InvalidDataException($"Found a text of {ids.Length} tokens. Expected 1 to {model.Model.ContextLength}, the model's context.");
        var sink = new Sink();
        using (var scope = NewDisposeScope())
        using (no_grad())
        {
            model.Model.eval();
            model.Model.Compute = ComputeType.Float32;
            model.Model.Hidden(tensor(ids.Select(i => (long)i).ToArray(), device: model.Model.HeadWeight.device).unsqueeze(0), sink: sink);
        }
        var (tokens, words) = Tokens(ids, model.Tokenizer!);
        return [sink.View("self-attention", l => l >= 0, tokens, tokens, words, words)!];
    }

    /// <summary>The attention of an encoder-decoder while it translates a text: to the source, and (in Transformers) within both sides.</summary>
    /// <param name="translator">The model.</param>
    /// <param name="text">The source.</param>
    /// <param name="target">What it is made to say; null: its own translation.</param>
    /// <exception cref="InvalidDataException">The model has no attention.</exception>
    public static IReadOnlyList<AttentionView> Of(Translator translator, string text, string? target = null)
    {
        var model = translator.Model;
        var source = translator.Encode(text);
        int[] output = target is null ? translator.Translate([source], new() { Beams = 4 })[0].Ids : translator.EncodeTarget(target);
        var (encoder, decoder) = (new Sink(), new Sink());
        using (var scope = NewDisposeScope())
        using (no_grad())
        {
            model.eval();
            model.Compute = ComputeType.Float32;
            using var state = model.Encode(EncoderDecoder.Padded([source], model.PadId), encoder);
            model.Decode(state, EncoderDecoder.Padded([[model.BosId, .. output[..^1]]], model.PadId), decoder);
        }
        var (sourceTokens, sourceWords) = Tokens(source, translator.SourceTokenizer!);
        var (outputTokens, outputWords) = Tokens(output, translator.TargetTokenizer!);
        var (readTokens, readWords) = Tokens([model.BosId, .. output[..^1]], translator.TargetTokenizer!);
        AttentionView?[] views =
        [
            decoder.View("target to source", model.AttendsToSource, outputTokens, sourceTokens, outputWords, sourceWords),
            encoder.View("encoder", l => l >= 0, sourceTokens, sourceTokens, sourceWords, sourceWords),
            decoder.View("decoder", l => !model.AttendsToSource(l), readTokens, readTokens, readWords, readWords),
        ];
        var found = views.OfType<AttentionView>().ToList();
        return found.Count > 0 ? found : throw new InvalidDataException("Found a model without attention. Expected one with it (kind: bahdanau, luong_general, luong_dot, or a Transformer).");
    }

    private static (List<string> Tokens, List<int> Words) Tokens(int[] ids, Tokenizer tokenizer)
    {
        var (tokens, words) = (new List<string>(), new List<int>());
        // A word begins with its space: Ġ in byte-level vocabularies, ▁ in SentencePiece's; in WordPiece it goes on with ##.
        char? mark = tokenizer.IsByteLevel ? 'Ġ' : ids.Any(id => tokenizer.TokenOf(id)?.StartsWith('▁') == true) ? '▁' : null;
        foreach (var id in ids)
        {
            var (raw, text) = (tokenizer.TokenOf(id) ?? "?", tokenizer.Decode([id]));
            var begins = words.Count == 0 || tokenizer.IsSpecial(id) || tokenizer.IsSpecial(ids[words.Count - 1]) || (mark is { } space ? raw.StartsWith(space) : !tokenizer.GoesOn(id));
            words.Add(words.Count == 0 ? 0 : words[^1] + (begins ? 1 : 0));
            tokens.Add(text.Trim() is { Length: > 0 } shown ? shown : raw);
        }
        return (tokens, words);
    }

    private sealed class Sink : IActivationSink
    {
        private readonly SortedDictionary<int, (float[] Values, long Heads)> layers = [];

        public void Attention(int layer, Tensor probs_BHTS)
        {
            using var own = probs_BHTS[0].to(ScalarType.Float32).cpu().contiguous();
            layers[layer] = (own.data<float>().ToArray(), own.shape[0]);
        }

        public void Hidden(int index, Tensor x_BTC) { }

        public AttentionView? View(string name, Func<int, bool> which, IReadOnlyList<string> queries, IReadOnlyList<string> keys, IReadOnlyList<int> queryWords, IReadOnlyList<int> keyWords)
        {
            var chosen = layers.Where(l => which(l.Key)).OrderBy(l => Math.Abs(l.Key)).Select(l => l.Value).ToList();
            return chosen.Count == 0 ? null : new(name, queries, keys, queryWords, keyWords, [.. chosen.Select(c => c.Values)], (int)chosen[0].Heads);
        }
    }

    /// <summary>One page that needs nothing else: all heads, one of them large as a matrix or as lines between words. Weights are kept to 1/65535.</summary>
    public static string Page(string title, IReadOnlyList<AttentionView> views)
    {
        if (title.Length > 80) title = title[..80] + "…";
        var data = new JsonObject { ["title"] = title, ["views"] = new JsonArray([.. views.Select(View)]) };
        return HtmlPage.Fill("attention", title, data);
    }

    private static JsonObject View(AttentionView view)
    {
        var values = new ushort[view.Layers.Sum(l => l.Length)];
        var at = 0;
        foreach (var layer in view.Layers)
            foreach (var p in layer) values[at++] = (ushort)Math.Round(Math.Clamp(p, 0, 1) * 65535);
        static JsonArray List<T>(IEnumerable<T> items) => new([.. items.Select(i => (JsonNode?)JsonValue.Create(i))]);
        return new()
        {
            ["name"] = view.Name,
            ["queries"] = List(view.Queries),
            ["keys"] = List(view.Keys),
            ["queryWords"] = List(view.QueryWords),
            ["keyWords"] = List(view.KeyWords),
            ["layers"] = view.Layers.Count,
            ["heads"] = view.Heads,
            ["data"] = Convert.ToBase64String(MemoryMarshal.AsBytes(values.AsSpan())),
        };
    }
}
