using System.Text.Json.Nodes;
using Lect.Models;
using Lect.Testing;
using TorchSharp;
using static TorchSharp.torch;

namespace Lect.Tests;

/// <summary>AdamW, clipping and schedules against PyTorch and transformers (fixtures/training/README.md), and 20 steps of each architecture (fixtures/hf/README.md).</summary>
[NoTensorLeaks]
public class OptimizerTests
{
    private static SafeTensorsFile Open(string name) => SafeTensorsFile.Open(Fixtures.Path_("training", name + ".safetensors"));

    private static IEnumerable<JsonNode> Cases(string file)
    {
        var json = Fixtures.Json(Fixtures.Path_("training", file));
        return (json as JsonArray ?? json["cases"]!.AsArray()).Select(n => n!);
    }

    [Theory]
    [InlineData("adamw"), InlineData("adamw_no_decay_below_2d"), InlineData("adamw_scheduled")]
    public void AdamW_equals_PyTorch(string name)
    {
        using var scope = NewDisposeScope();
        var (inputs, expected) = (Open("optimizer_inputs"), Open("optimizer_" + name));
        var o = Cases("optimizers.json").First(c => (string)c["name"]! == name);
        var options = o["options"]!;
        var parameters = inputs.Tensors.Keys.Where(k => k.StartsWith("param.", StringComparison.Ordinal)).Select(k => (Name: k["param.".Length..], Parameter: inputs.Load(k).clone().requires_grad_(true))).ToList();
        var betas = options["betas"]?.AsArray();
        if (name != "adamw_no_decay_below_2d") parameters.RemoveAll(p => p.Parameter.dim() < 2);   // ours never decays vectors
        using var adam = new AdamW(parameters, (double?)options["weight_decay"] ?? 0.01, (double?)betas?[0] ?? 0.9, (double?)betas?[1] ?? 0.999, (double?)options["eps"] ?? 1e-8);
        var multipliers = o["lr_multipliers"]?.AsArray();
        for (var i = 0; i < 25; i++)
        {
            foreach (var (n, p) in parameters) p.grad = inputs.Load("grad." + n)[i].clone();
            adam.Step(((double?)options["lr"] ?? 1e-3) * ((double?)multipliers?[i] ?? 1));
            foreach (var (n, p) in parameters.Where(_ => i is 0 or 4 or 24)) Near.Equal(expected.Load($"step{i + 1}.{n}"), p, 3e-6, 0, $"{name} step {i + 1} {n}");
        }
    }

    [Fact]
    public void Clipping_equals_PyTorch()
    {
        using var scope = NewDisposeScope();
        var (inputs, expected) = (Open("clipping"), Cases("clipping.json"));
        foreach (var o in expected.Where(c => (string)c["name"]! is "above" or "below" or "tiny_max"))
        {
            var parameters = inputs.Tensors.Keys.Where(k => k.StartsWith("grad.", StringComparison.Ordinal)).Select(k => (Name: k["grad.".Length..], Gradient: inputs.Load(k).clone())).Select(g => { var p = zeros_like(g.Gradient).requires_grad_(true); p.grad = g.Gradient; return (g.Name, Parameter: p); }).ToList();
            using var adam = new AdamW(parameters);
            Near.Equal(Number(o["total_norm"]!), adam.Step(0, (double)o["max_norm"]!), 1e-6 * Number(o["total_norm"]!), "norm");
            foreach (var (n, p) in parameters) Near.Equal(inputs.Load($"{o["name"]}.{n}"), p.grad!, 1e-12, 1e-6, $"{o["name"]} {n}");
        }
    }

    private static double Number(JsonNode n) => n.GetValueKind() == System.Text.Json.JsonValueKind.Number ? (double)n : double.NaN;

    public static TheoryData<string> Schedules => ["constant", "constant_warmup", "linear", "cosine", "cosine_min_rate", "inverse_sqrt", "wsd_linear_min", "nanogpt"];

    [Theory, MemberData(nameof(Schedules))]
    public void Schedules_equal_their_sources(string name)
    {
        var o = Cases("schedules.json").First(c => (string)c["name"]! == name);
        var options = o["options"]!;
        long Int(params string[] keys) => keys.Select(k => (long?)options[k]).FirstOrDefault(v => v is not null) ?? 0;
        var steps = Int("num_training_steps", "decay") is > 0 and var s ? s : 200;
        var rate = (double?)o["lr"] ?? (double)options["lr"]!;
        var schedule = new Schedule
        {
            Kind = name.Split('_')[0] switch { "nanogpt" => "cosine", "inverse" => "inverse_sqrt", var kind => kind },
            Rate = rate,
            Steps = steps,
            Warmup = Int("num_warmup_steps", "warmup"),
            Floor = (double?)options["min_lr_rate"] ?? (double?)options["min_lr_ratio"] ?? ((double?)options["min_lr"] / rate) ?? 0,
            Decay = Int("num_decay_steps"),
            StartAtZero = name != "nanogpt",
        }.Validate();
        var rates = o["learning_rates"]!.AsArray();
        // Hugging Face warms wsd up from the floor, ours from 0 as every other: compared behind the warm-up.
        for (var i = name.StartsWith("wsd", StringComparison.Ordinal) ? (int)schedule.Warmup : 0; i < (name.StartsWith("cosine", StringComparison.Ordinal) ? steps + 1 : rates.Count); i++)   // Hugging Face's cosine rises again behind the end; ours holds the floor
            Near.Equal((double)rates[i]!, schedule.At(i), 1e-12 * rate, $"{name} step {i}");
    }

    [Fact]
    public void A_schedule_that_cannot_be_is_refused_with_all_its_faults()
    {
        var message = Assert.Throws<InvalidDataException>(() => new Schedule { Kind = "cosin", Rate = 0, Warmup = 5000 }.Validate()).Message;
        foreach (var part in (string[])["train.schedule = 'cosin'", "train.lr = 0", "train.warmup = 5000"]) Assert.Contains(part, message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("gpt2"), InlineData("openai-gpt"), InlineData("openai-gpt-double-heads"), InlineData("gpt_neo"), InlineData("gpt_neox"), InlineData("falcon"), InlineData("falcon-new"), InlineData("llama"), InlineData("llama3"), InlineData("mistral"), InlineData("qwen2"), InlineData("qwen3")]
    [InlineData("marian"), InlineData("marian-relu"), InlineData("bert-pretraining"), InlineData("bert-sequence-classification"), InlineData("bert-regression"), InlineData("bert-multiple-choice"), InlineData("bert-question-answering"), InlineData("bert-token-classification"), InlineData("distilbert-mlm"), InlineData("distilbert-sequence-classification"), InlineData("roberta-mlm")]
    public void Twenty_steps_of_training_equal_PyTorch(string name)
    {
        using var scope = NewDisposeScope();
        var fixture = new HuggingFaceFixture(name);
        var (e, t) = (fixture.Tensors, fixture.Json["training"]!);
        using var model = name == "openai-gpt-double-heads" ? (nn.Module)ModelFolder.LoadChooser(fixture.Folder) : HuggingFaceFixture.Decoders.Contains(name) ? (nn.Module)ModelFolder.Load(fixture.Folder) : name.StartsWith("marian", StringComparison.Ordinal) ? ModelFolder.LoadEncoderDecoder(fixture.Folder) : ModelFolder.LoadEncoder(fixture.Folder);
        model.train();
        using var adam = new AdamW(model.named_parameters().Select(p => (p.name, (Tensor)p.parameter)));
        for (var s = 0; s < 20; s++)
        {
            using var step = NewDisposeScope();
            adam.ZeroGradients();
            var loss = model is EncoderModel encoder ? fixture.Loss(encoder, $"train.{s % 4}.") : model is Gpt1 { Task: Gpt1Head.MultipleChoice } two ? fixture.TwoHeads(two, $"train.{s % 4}.").Loss : Loss(e.Load($"train.{s % 4}.input_ids"), e.Load($"train.{s % 4}.labels"), e.Load($"train.{s % 4}.attention_mask"));
            loss.backward();
            Near.Equal((double)t["losses"]![s]!, loss.item<float>(), 1e-4, $"loss {s}");
            Near.Equal((double)t["gradient_norms"]![s]!, adam.Step((double)t["learning_rates"]![s]!, clip: 1), 1e-3 * (double)t["gradient_norms"]![s]!, $"gradient norm {s}");
        }
        fixture.CheckParameters(model);

        Tensor Loss(Tensor ids, Tensor labels, Tensor real)
        {
            if (model is EncoderDecoder translator) return HuggingFaceFixture.Loss(translator, ids, labels);
            return HuggingFaceFixture.Loss((CausalLanguageModel)model, ids, labels, real);
        }
    }
}
