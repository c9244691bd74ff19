using System.Text.Json.Nodes;
using Lect.Models;
using Lect.Testing;
using Lect.Text;
using TorchSharp;
using static Lect.Tests.Alignment.AlignmentFixture;
using static TorchSharp.torch;

namespace Lect.Tests.Alignment;

/// <summary>PPO against an independent recomputation with every tensor on the way, GRPO against TRL, adapters against PEFT.</summary>
public sealed class PolicyTests
{
    [Theory]
    [InlineData("gpt2", false)]
    [InlineData("gpt2", true)]
    [InlineData("llama", true)]
    [InlineData("llama", false)]
    public void A_rollout_and_a_whole_update_of_PPO(string kind, bool shared)
    {
        var name = $"{kind}.{(shared ? "shared_trunk" : "separate_value_model")}";
        var (inputs, expected, tensors) = (Json("ppo", "inputs.json"), Json("ppo", "expected.json")[name]!, Tensors("ppo", "tensors.safetensors"));
        var settings = inputs["settings"]!;
        double S(string key) => (double)settings[key]!;
        var queries = inputs["queries"]!.AsArray().Select(Ids).ToList();
        var rows = queries.Zip(inputs["responses"]!.AsArray(), (q, r) => AnswerRow.Of(q, Ids(r))).ToList();
        using CausalLanguageModel policy = Model(kind), reference = Model(kind + "-ref"), reward = Scorer(kind + "-reward");
        nn.Module value = shared ? new ValueHead(policy.Width) : Scorer(kind + "-reward");
        using var owned = value;
        if (shared)
        {
            using var scope = NewDisposeScope();
            using var noGrad = no_grad();
            foreach (var (key, parameter) in value.named_parameters()) parameter.copy_(tensors.Load($"{kind}.v_head.{key}"));
        }

        using (NewDisposeScope())
        {
            // The fixture's tensors have a column a response token; ours one a token of the row, at the place that predicts it.
            var longest = (int)settings["response"]!;
            Tensor Aligned(Tensor x) => stack([.. queries.Select((q, i) => nn.functional.pad(x[i], [0, longest], value: 0).narrow(0, q.Length - 1, longest))]) * mask_BR();
            Tensor mask_BR() => tensors.Load("response_mask").to(ScalarType.Float32);
            double[] Expected(string key) => ToArray(tensors.Load($"{name}.{key}"));
            void Same(string key, Tensor found) => Near(Expected(key), ToArray(found.dim() == 1 ? found : Aligned(found)), Values, $"{name} {key}");

            var batch = new AnswerBatch(rows, 0);
            Rollout rollout;
            using (no_grad())
            {
                var scores = batch.Scores(reward, 0).squeeze(1);
                Same("scores", scores);
                var (hasEnd, penalty) = (rows.Select(r => r.Ids[^1] == 2).ToArray(), (float)S("missing_eos_penalty"));
                rollout = Rollout.Of(policy, value, reference, batch, S("temperature"));
                Same("old_logps", rollout.LogProbs);
                Same("reference_logps", rollout.Reference);
                Same("values", rollout.Values);
                Same("entropy", rollout.Entropy);
                var penalized = scores - tensor(hasEnd.Select(h => h ? 0f : penalty).ToArray());
                Same("scores_missing_eos_subtracted", penalized);
                var mask = rollout.Mask;
                foreach (var k in (string[])["k1", "k2", "k3"])
                {
                    var kl = PolicyGradient.Kl(rollout.LogProbs, rollout.Reference, k) * mask;
                    Same($"kl_{k}", kl);
                    Same($"rewards_{k}", PolicyGradient.Rewards(kl, penalized, mask, S("kl_coef")));
                }
                var rewards = PolicyGradient.Rewards(PolicyGradient.Kl(rollout.LogProbs, rollout.Reference, (string)settings["estimator"]!) * mask, penalized, mask, S("kl_coef"));
                foreach (var (shifts, unbiased) in ((bool, bool)[])[(false, false), (false, true), (true, false), (true, true)])
                    Same($"rewards_whitened.shift_mean_{(shifts ? "true" : "false")}.unbiased_{(unbiased ? "true" : "false")}", PolicyGradient.Whiten(rewards, mask, shifts, unbiased));
                foreach (var pair in settings["gae"]!.AsArray())
                {
                    var (gamma, lambda) = ((double)pair![0]!, (double)pair[1]!);
                    var (a, r) = PolicyGradient.Gae(rewards, rollout.Values, mask, gamma, lambda);
                    Same(FormattableString.Invariant($"advantages.gamma{gamma:0.0##}.lambda{lambda}"), a);
                    Same(FormattableString.Invariant($"returns.gamma{gamma:0.0##}.lambda{lambda}"), r);
                }
                var (advantages, returns) = PolicyGradient.Gae(rewards, rollout.Values, mask, (double)settings["gae"]![0]![0]!, (double)settings["gae"]![0]![1]!);
                var statistics = expected["rollout_statistics"]!;
                Near((double)statistics["mean_kl_per_sequence"]!, PolicyGradient.Kl(rollout.LogProbs, rollout.Reference, "k1").sum(1).mean().item<float>(), Values, "kl of a row");
                Near((double)statistics["mean_entropy"]!, PolicyGradient.Mean(rollout.Entropy, mask).item<float>(), Values, "entropy");
                Near((double)statistics["mean_return"]!, PolicyGradient.Mean(returns, mask).item<float>(), Values, "return");
                Near((double)statistics["explained_variance"]!, Rollout.ExplainedVariance(rollout.Values, returns, mask), Values, "explained variance");
                rollout = rollout with { Advantages = PolicyGradient.Whiten(advantages, mask, shiftsMean: true, unbiased: true), Returns = returns };
                Same("advantages_whitened", rollout.Advantages!);
            }

            using var optimizer = Optimizer([.. Parameters(policy, "policy.").Select(p => (p.Key, p.Value)), .. Parameters(value, shared ? "value.v_head." : "value.").Select(p => (p.Key, p.Value))], S("eps"));
            var clipping = new PpoClipping(S("cliprange"), S("cliprange_value"), S("vf_coef"), S("ent_coef"));
            var live = new List<long>();
            foreach (var step in expected["minibatches"]!.AsArray())
            {
                live.Add(DisposeScopeManager.Statistics.ThreadTotalLiveCount);
                using var scope = NewDisposeScope();
                var chosen = Ids(step!["rows"]);
                optimizer.ZeroGradients();
                var figures = rollout.Loss(policy, value, [.. chosen.Select(i => rows[i])], chosen, 0, S("temperature"), clipping);
                figures.Loss.backward();
                Near((double)step["loss"]!, figures.Loss.item<float>(), Trajectory, "loss");
                Near((double)step["policy_loss"]!, figures.Policy, Trajectory, "policy");
                Near((double)step["value_loss"]!, figures.Value, Trajectory, "value");
                Near((double)step["entropy"]!, figures.Entropy, Trajectory, "entropy");
                Near((double)step["approx_kl_half_square"]!, figures.ApproxKl, Trajectory, "approximate kl");
                Near((double)step["clip_fraction"]!, figures.ClipFraction, Trajectory, "clipped");
                Near((double)step["value_clip_fraction"]!, figures.ValueClipFraction, Trajectory, "values clipped");
                Near((double)step["mean_ratio"]!, figures.Ratio, Trajectory, "ratio");
                Near((double)step["grad_norm"]!, optimizer.Step(S("lr"), S("max_grad_norm")), Trajectory, "norm");
            }
            Assert.Equal(live[0], live[^1]);   // nothing is left behind by a step
        }
        Final(Parameters(policy, "policy.").Concat(Parameters(value, shared ? "value.v_head." : "value.")).ToDictionary(p => p.Key, p => p.Value), expected["final_parameters"]!, name);
    }

    [Fact]
    public void Controller_and_normalization()
    {
        var expected = Json("ppo", "expected.json");
        var c = expected["adaptive_kl_controller"]!;
        var coefficient = (double)c["init"]!;
        foreach (var (kl, next) in c["kl"]!.AsArray().Zip(c["coefficients"]!.AsArray()))
            Near((double)next!, coefficient = PolicyGradient.NextCoefficient(coefficient, (double)kl!, (double)c["target"]!, (double)c["horizon"]!, (long)c["n_steps"]!), 1e-12, "coefficient");
        var n = expected["reward_normalization"]!;
        var (gain, bias) = PolicyGradient.Normalization(Numbers(n["raw"]));
        Near((double)n["gain"]!, gain, 1e-9, "gain");
        Near((double)n["bias"]!, bias, 1e-9, "bias");
    }

    [Theory]
    [NoTensorLeaks]
    [InlineData("gpt2")]
    [InlineData("llama")]
    public void Each_kind_of_GRPO_equals_TRLs(string kind)
    {
        var (inputs, all, tensors) = (Json("grpo", "inputs.json"), Json("grpo", "expected.json"), Tensors("grpo", "tensors.safetensors"));
        var (expected, group, rewards, longest) = (all[kind]!, (int)inputs["num_generations"]!, Numbers(inputs["rewards"]), (int)inputs["max_completion_length"]!);
        foreach (var scale in (string[])["group", "batch", "none"]) Near(Numbers(expected["advantages"]![scale]), GroupLoss.Advantages(rewards, group, scale), 1e-9, scale);
        using var policy = Model(kind);
        using var outer = NewDisposeScope();
        // TRL's rows: padded on the left, GPT-2's positions counted from the padding.
        var (ids, real, mask) = (tensors.Load("input_ids").to(ScalarType.Int64), tensors.Load("attention_mask").to(ScalarType.Int64), tensors.Load("completion_mask").to(ScalarType.Float32));
        var (b, t) = (ids.shape[0], ids.shape[1]);
        Tensor LogProbs()
        {
            var hidden = policy.Hidden(ids, real, arange(t).unsqueeze(0)).narrow(1, t - longest - 1, longest);
            return TokenLogProbs.Of(policy, hidden, ids.narrow(1, t - longest, longest), (double)all["temperature"]!).LogProbs_BT * mask;
        }
        Tensor Load(string name) => tensors.Load($"{kind}.{name}");
        using (no_grad()) Near(ToArray(Load("policy_logps")), ToArray(LogProbs()), Values, "log-probabilities");
        var (old, reference, tokens) = (Load("old_logps"), Load("reference_logps"), (long)mask.sum().item<float>());
        Tensor Loss(JsonNode c, out GroupLoss loss, out double kl, out double clipped, Tensor? rows = null, long? of = null)
        {
            loss = new() { Kind = (string)c["loss_type"]!, Beta = (double)c["beta"]!, Epsilon = (double)c["epsilon"]!, EpsilonHigh = (double?)c["epsilon_high"], Delta = (double?)c["delta"], Level = (string?)c["level"] ?? "token", KlTimesRatio = (bool)c["kl_times_ratio"]! };
            var advantages = tensor(GroupLoss.Advantages(rewards, group, (string)c["scale_rewards"]!).Select(a => (float)a).ToArray());
            var (perToken, divergence, isClipped) = loss.PerToken(LogProbs(), old, reference, advantages, mask);
            kl = PolicyGradient.Mean(divergence, mask).item<float>();
            clipped = loss.Level == "sequence" ? isClipped.to(ScalarType.Float32).mean().item<float>() : PolicyGradient.Mean(isClipped.to(ScalarType.Float32), mask).item<float>();
            return (perToken * mask * loss.Weights(mask, b, tokens, longest)).sum();
        }
        foreach (var c in expected["cases"]!.AsArray())
        {
            using var scope = NewDisposeScope();
            ZeroGradients(policy);
            var value = Loss(c!, out var loss, out var kl, out var clipped);
            value.backward();
            var what = c!.ToJsonString();
            Near((double)c["loss"]!, value.item<float>(), Values, what);
            Near((double)c["grad_norm"]!, GradNorm(policy), Values, "norm of " + what);
            Near((double)c["kl"]!, kl, Values, "divergence of " + what);
            if (loss.Kind != "cispo") Near((double)c["clip_fraction"]!, clipped, Values, "clipped of " + what);   // cispo clips elsewhere than the fixture counts
        }
        ZeroGradients(policy);
        var run = expected["updates_with_first_case_independent"]!;
        Train(policy, new JsonObject { ["independent_float64"] = run.DeepClone() }, _ => Loss(expected["cases"]![0]!, out var _, out var _, out var _), $"grpo {kind}");
        Final(Parameters(policy), run["final_parameters"]!, $"grpo {kind}");
    }

    public static TheoryData<string> Adapters { get; } = [.. Directory.GetDirectories(At("lora")).Select(d => Path.GetFileName(d)!).Order(StringComparer.Ordinal)];

    [Theory]
    [NoTensorLeaks]
    [MemberData(nameof(Adapters))]
    public void Adapters_equal_PEFTs_attached_merged_saved_and_trained(string name)
    {
        var expected = Json("lora", "expected.json")[name]!;
        var (batch, folder, kind) = (Tensors("lora", "batch.safetensors"), At("lora", name), (string)expected["model"]!);
        var scores = kind.EndsWith("-reward", StringComparison.Ordinal);
        CausalLanguageModel Open() => scores ? Scorer(kind) : Model(kind);
        using var outer = NewDisposeScope();
        var (ids, real) = (batch.Load("input_ids").to(ScalarType.Int64), batch.Load("attention_mask").to(ScalarType.Int64));
        Tensor Logits(CausalLanguageModel model) => scores ? model.Scores(ids, real) : model.Logits(ids, real) * real.unsqueeze(2);
        void Same(string key, CausalLanguageModel model, string what)
        {
            using var noGrad = no_grad();
            Near(ToArray(batch.Load($"{name}.{key}")), ToArray(Logits(model)), Logits_, what);
        }

        using var model = Open();
        Same("base_logits", model, "without");
        var config = Lora.Load(model, folder);
        Same("logits", model, "attached");
        if (!scores) using (Lora.Off(model)) Same("base_logits", model, "switched off");
        Assert.Equal((long)expected["trainable_count"]!, Trained(model).Sum(p => p.Item2.numel()));

        using (var merged = Open())
        {
            Lora.Merge(merged, folder);
            Same("logits", merged, "merged");
            Final(Parameters(merged), expected["merged_weights"]!, name + ", merged");
        }

        var copy = Directory.CreateTempSubdirectory("lora").FullName;
        Lora.Save(model, config, copy);
        Assert.Equal(File.ReadAllBytes(Path.Combine(folder, "adapter_model.safetensors")).Length > 0, File.Exists(Path.Combine(copy, "adapter_model.safetensors")));
        using (var again = Open())
        {
            Lora.Merge(again, copy);
            Same("logits", again, "saved and merged");
        }

        Tensor Loss()
        {
            if (scores) return (Logits(model).squeeze(1) - batch.Load("score_targets")).square().mean();
            var labels = where(real.narrow(1, 1, real.shape[1] - 1).eq(1), ids.narrow(1, 1, ids.shape[1] - 1), tensor(-100L));
            return -TokenLogProbs.Of(model, model.Hidden(ids, real).narrow(1, 0, ids.shape[1] - 1), labels).LogProbs_BT.sum() / real.narrow(1, 1, real.shape[1] - 1).sum();
        }
        Train(model, expected["training"]!, _ => Loss(), name);
        Lora.Save(model, config, copy);
        var final = Weights.Open(Path.Combine(copy, "adapter_model.safetensors"));
        Final(final.Names.ToDictionary(n => n, n => final.Load(n)), expected["final_parameters"]!, name + ", trained");
    }

    private const double Logits_ = AlignmentFixture.Logits;
}
