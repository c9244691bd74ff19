using Lect.Testing;
using TorchSharp;
using static TorchSharp.torch;

namespace Lect.Models.Tests;

/// <summary>Recurrent encoder-decoders against PyTorch (fixtures/seq2seq, part b).</summary>
[NoTensorLeaks]
public class RnnSeq2SeqTests
{
    public static TheoryData<string> Kinds => ["bahdanau", "bahdanau_appendix", "fixed_context", "sutskever", "luong_general", "luong_dot"];

    [Theory, MemberData(nameof(Kinds))]
    public void Logits_attention_and_gradients(string name)
    {
        using var scope = NewDisposeScope();
        var (model, json, tensors) = Seq2SeqFixture.Open<RnnSeq2Seq>(name);
        using var own = model;
        var (source, target, gold) = Seq2SeqFixture.Batch(tensors);
        var sink = new AttentionSink();
        using (no_grad())
        using (var state = model.Encode(source))
        {
            if (name != "sutskever" && tensors.Tensors.ContainsKey("out.encoder_states")) Near.Equal(tensors.Load("out.encoder_states"), state["source"], 2e-5, 0, "encoder states");
            Near.Equal(tensors.Load("out.logits"), model.Logits(state, target, sink), 2e-5, 0, "logits");
        }
        if (tensors.Tensors.ContainsKey("out.attention"))
        {
            var real = gold.ne(-100).unsqueeze(-1);
            Near.Equal(tensors.Load("out.attention") * real, sink.At(0).squeeze(1) * real, 2e-5, 0, "attention");
        }
        var loss = model.Loss(source, target, gold, 1.0 / (long)json["tokens"]!);
        loss.backward();
        Near.Equal((double)json["loss"]!, loss.item<float>(), 1e-5, "loss");
        var norms = json["grad_norms"]!["by_parameter"]!.AsObject();
        foreach (var (key, parameter) in model.named_parameters()) Near.Equal((double)norms[key]!, parameter.grad!.norm().item<float>(), 1e-4 * Math.Max(1, (double)norms[key]!), "gradient of " + key);
    }

    [Theory, MemberData(nameof(Kinds))]
    public void Steps_one_by_one_are_the_whole(string name)
    {
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        var (model, _, tensors) = Seq2SeqFixture.Open<RnnSeq2Seq>(name);
        using var own = model;
        var (source, target, _) = Seq2SeqFixture.Batch(tensors);
        using var whole = model.Encode(source);
        using var stepwise = model.Encode(source);
        var expected = model.Logits(whole, target);
        for (var t = 0; t < target.shape[1]; t++) Near.Equal(expected.select(1, t), model.Logits(stepwise, target.narrow(1, t, 1)).squeeze(1), 1e-5, 0, $"step {t}");
    }

    // Widths that are no whole number of vectors, rows of different lengths.
    [Theory, InlineData(false), InlineData(true)]
    public void The_gru_kernel_is_torchs_packed_gru(bool bf16)
    {
        using var scope = NewDisposeScope();
        using var generator = Seeds.Generator(3, "test");
        using var gru = nn.GRU(19, 37, batchFirst: true, bidirectional: true);
        using (no_grad()) foreach (var (_, p) in gru.named_parameters()) p.normal_(0, 0.4, generator);
        var parameters = gru.named_parameters().ToDictionary(p => p.name, p => (Tensor)p.parameter);
        var x = randn([4, 6, 19], generator: generator).detach().requires_grad_(true);
        long[] lengths = [6, 1, 4, 5];
        var real = arange(6).unsqueeze(0) < tensor(lengths).unsqueeze(1);
        using var packed = nn.utils.rnn.pack_padded_sequence(x, tensor(lengths), batch_first: true, enforce_sorted: false);
        var (read, _) = gru.call(packed);
        using (read)
        {
            var (expected, _) = nn.utils.rnn.pad_packed_sequence(read, batch_first: true, total_length: 6);
            Tensor Own(string suffix) => GruKernels.Sequence(x, real, suffix.Length > 0, (parameters["weight_ih_l0" + suffix], parameters["weight_hh_l0" + suffix], parameters["bias_ih_l0" + suffix], parameters["bias_hh_l0" + suffix]), bf16 ? ComputeType.BFloat16 : ComputeType.Float32);
            var found = cat([Own(""), Own("_reverse")], -1);
            var tolerance = bf16 ? 5e-2 : 1e-5;
            Near.Equal(expected, found, tolerance, tolerance, "states");
            var up = randn(expected.shape, generator: generator);
            Dictionary<string, Tensor> Gradients(Tensor y)
            {
                gru.zero_grad();
                x.grad?.zero_();
                y.backward([up], retain_graph: true);
                return parameters.Append(new("x", x)).ToDictionary(p => p.Key, p => p.Value.grad!.clone());
            }
            var (wanted, own) = (Gradients(expected), Gradients(found));
            foreach (var (key, gradient) in wanted) Near.Equal(gradient, own[key], (bf16 ? 5e-2 : 2e-5) * gradient.abs().max().item<float>(), 0, "gradient of " + key);
        }
    }

    [Fact]
    public void The_fused_decoder_is_the_plain_one()
    {
        using var scope = NewDisposeScope();
        using var model = new RnnSeq2Seq(new() { SourceVocabSize = 30, TargetVocabSize = 30, Embed = 19, Hidden = 21, DecoderHidden = 37, Attention = 53, Maxout = 17 });
        model.Initialize(1);
        var source = EncoderDecoder.Padded([[5, 6, 7, 8, 2], [9, 2], [11, 12, 13, 2]], 0);
        var target = EncoderDecoder.Padded([[1, 5, 6, 7], [1, 9], [1, 11, 12]], 0);
        var up = randn(3, 4, 17, generator: Seeds.Generator(1, "test"));
        Dictionary<string, Tensor> Gradients(IActivationSink? sink)
        {
            model.zero_grad();
            using var state = model.Encode(source);
            model.Decode(state, target, sink).backward([up]);
            return model.named_parameters().Where(p => p.parameter.grad is not null).ToDictionary(p => p.name, p => p.parameter.grad!.clone());
        }
        var (plain, fused) = (Gradients(new AttentionSink()), Gradients(null));   // who wants to see the weights gets the plain formulas
        Assert.Equal(plain.Keys, fused.Keys);
        foreach (var (key, gradient) in plain) Near.Equal(gradient, fused[key], 2e-5 * Math.Max(1, gradient.abs().max().item<float>()), 0, key);
    }
}
