using System.Text.Json.Nodes;
using Lect.Models;
using TorchSharp;
using static TorchSharp.torch;

namespace Lect.Testing;

/// <summary>A checkpoint of fixtures/hf with its expected values, compared at the tolerances of that folder's README.md.</summary>
internal sealed class HuggingFaceFixture(string name)
{
    /// <summary>The folders of decoders, one or two of each architecture.</summary>
    public static IReadOnlyList<string> Decoders { get; } = ["openai-gpt", "gpt2", "gpt_neo", "gpt_neox", "falcon", "falcon-new", "llama", "llama3", "mistral", "qwen2", "qwen3"];

    public string Folder { get; } = Fixtures.Path_("hf", name);

    public SafeTensorsFile Tensors => field ??= SafeTensorsFile.Open(Path.Combine(Folder, "expected.safetensors"));

    public JsonNode Json => field ??= Fixtures.Json(Path.Combine(Folder, "expected.json"));

    public static BeamStop Stop(JsonNode early) => early.GetValueKind() switch { System.Text.Json.JsonValueKind.True => BeamStop.AtOnce, System.Text.Json.JsonValueKind.String => BeamStop.WhenNoneCanBeBetter, _ => BeamStop.WhenNoBetter };

    /// <summary>[examples, choices, T] as rows; others as they are.</summary>
    public static Tensor Rows(Tensor ids) => ids.dim() == 3 ? ids.flatten(0, 1) : ids;

    /// <summary>What an encoder-decoder's decoder reads: the labels one place later, behind the start token.</summary>
    public static Tensor Shifted(EncoderDecoder model, Tensor labels_BT)
    {
        var read_BT = cat([full_like(labels_BT.narrow(1, 0, 1), model.BosId), labels_BT.narrow(1, 0, labels_BT.shape[1] - 1)], 1);
        return read_BT.masked_fill(read_BT.eq(-100), model.PadId);
    }

    /// <summary>The mean loss over the labels that are not -100.</summary>
    public static Tensor Loss(EncoderDecoder model, Tensor source, Tensor labels) => model.Loss(source, Shifted(model, labels), labels, 1.0 / labels.ne(-100).sum().item<long>());

    /// <summary>The mean loss of a decoder over the labels that are not -100, each predicted from those before it.</summary>
    public static Tensor Loss(CausalLanguageModel model, Tensor ids, Tensor labels, Tensor? real)
    {
        var targets = Next(labels);
        return model.Loss(ids, targets, 1.0 / targets.ne(LinearCrossEntropy.Ignored).sum().item<long>(), real);
    }

    /// <summary>Labels where they are predicted: one place earlier.</summary>
    public static Tensor Next(Tensor labels) => cat([labels.narrow(-1, 1, labels.shape[^1] - 1), full_like(labels.narrow(-1, 0, 1), LinearCrossEntropy.Ignored)], -1);

    /// <summary>What GPT-1's second head says of the choices of a batch, [B, choices], and the loss of both heads, the language model's counted half.</summary>
    public (Tensor Scores, Tensor Loss) TwoHeads(Gpt1 model, string batch)
    {
        Tensor ids = Tensors.Load(batch + "input_ids"), labels = Tensors.Load(batch + "labels"), at = Tensors.Load(batch + "mc_token_ids").flatten(), next = Next(labels);
        var hidden_RTC = model.Hidden(Rows(ids));
        var scores = model.ScoresOf(hidden_RTC[arange(at.shape[0]), at]).view(ids.shape[0], -1);
        return (scores, nn.functional.cross_entropy(scores, Tensors.Load(batch + "mc_labels")) + model.LossOf(hidden_RTC, Rows(next), 0.5 / next.ne(-100).sum().item<long>()));
    }

    /// <summary>The loss of an encoder's head over a batch of tensors, <c>in.</c> or <c>train.k.</c>: as transformers computes it, means.</summary>
    public Tensor Loss(EncoderModel model, string batch)
    {
        Tensor? Load(string name) => Tensors.Tensors.ContainsKey(batch + name) ? Tensors.Load(batch + name) : null;
        var hidden = model.Hidden(Rows(Load("input_ids")!), Rows(Load("attention_mask")!), Load("token_type_ids") is { } types ? Rows(types) : null);
        if (Load("start_positions") is { } start) return model.Loss(hidden, stack([start, Load("end_positions")!], 1), 1.0 / start.lt(hidden.shape[1]).sum().item<long>());
        var labels = Load("labels")!;
        if (model.Head is not (EncoderHead.ForPreTraining or EncoderHead.ForMaskedLM)) return model.Loss(hidden, labels, 1.0 / (labels.is_floating_point() ? labels.numel() : labels.ne(-100).sum().item<long>()));
        var masked = model.MaskedLoss(hidden.flatten(0, 1), labels.flatten(), 1.0 / labels.ne(-100).sum().item<long>());
        return Load("next_sentence_label") is { } next ? masked + model.NextSentenceLoss(hidden, next, 1.0 / next.numel()) : masked;
    }

    /// <summary>The loss and the gradients of every parameter, which the caller's backward pass has left.</summary>
    public void CheckGradients(nn.Module model, Tensor loss)
    {
        Near.Equal((double)Json["loss"]!["total"]!, loss.item<float>(), 5e-6, "loss");
        loss.backward();
        foreach (var (key, expected) in Json["gradients"]!.AsObject())
        {
            var gradient = Part(model, key, p => p.grad!).to(ScalarType.Float64);
            var (l2, sum) = (gradient.norm().item<double>(), gradient.sum().item<double>());
            if ((bool?)expected!["zero"] == true) { Assert.True(l2 < 1e-6, key); continue; }
            Near.Equal((double)expected["l2"]!, l2, 1e-6 + 1e-4 * (double)expected["l2"]!, key + " l2");
            Near.Equal((double)expected["sum"]!, sum, 1e-4 * (1 + l2), key + " sum");
        }
    }

    /// <summary>What 20 steps of training leave.</summary>
    public void CheckParameters(nn.Module model)
    {
        foreach (var (key, expected) in Json["training"]!["parameters"]!.AsObject().Where(p => (bool?)p.Value!["stable"] != false))
        {
            var p = Part(model, key, p => p).detach().to(ScalarType.Float64);
            Near.Equal((double)expected!["l2"]!, p.norm().item<double>(), 2e-4, key + " l2");
            Near.Equal((double)expected["sum"]!, p.sum().item<double>(), 1e-3, key + " sum");
        }
    }

    // "name" or "name[from:to]".
    private static Tensor Part(nn.Module model, string key, Func<Tensor, Tensor> of)
    {
        var cut = key.IndexOf('[', StringComparison.Ordinal);
        if (model is GptNeoX && key == "lm_head.weight") key = "embed_out.weight";   // the class has the one name, its files the other
        var whole = of(model.named_parameters().First(p => p.name == (cut < 0 ? key : key[..cut])).parameter);
        if (cut < 0) return whole;
        var ends = key[(cut + 1)..^1].Split(':').Select(long.Parse).ToArray();
        return whole.narrow(0, ends[0], ends[1] - ends[0]);
    }
}

/// <summary>Keeps what a forward pass tells.</summary>
internal sealed class Recorder : IActivationSink, IDisposable
{
    public readonly Dictionary<int, Tensor> Probs = [], Hiddens = [];
    public void Attention(int layer, Tensor probs_BHTS) => Probs[layer] = probs_BHTS.clone().DetachFromDisposeScope();
    public void Hidden(int index, Tensor x_BTC) => Hiddens[index] = x_BTC.clone().DetachFromDisposeScope();
    public void Dispose() { foreach (var t in Probs.Values.Concat(Hiddens.Values)) t.Dispose(); }
}
