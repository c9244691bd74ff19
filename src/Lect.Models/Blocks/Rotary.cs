using System.Runtime.Intrinsics;
using System.Text.Json.Nodes;
using TorchSharp;
using static TorchSharp.torch;

namespace Lect.Models;

/// <summary>How rotary positions turn (config.json's <c>rope_parameters</c>, of older files <c>rope_theta</c> and <c>rope_scaling</c>), and how they stretch beyond the context that a model was trained with.</summary>
public sealed record RotaryConfig
{
    /// <summary>Base of the wavelengths (Su et al. 2021, section 3.2.2). <value>10000</value></summary>
    public double RopeTheta { get; init; } = 10000;
    /// <summary><c>default</c>; <c>linear</c> (position interpolation, Chen et al. 2023); <c>dynamic</c> (NTK-aware: the base grows with the text); <c>yarn</c> (Peng et al. 2023); <c>llama3</c> (Llama 3.1). <value>default</value></summary>
    public string RopeType { get; init; } = "default";
    /// <summary>How many times longer the context is.</summary>
    public double? Factor { get; init; }
    /// <summary>The context of the training; absent: <c>max_position_embeddings</c>.</summary>
    public double? OriginalMaxPositionEmbeddings { get; init; }
    /// <summary>llama3: wavelengths longer than the old context / this are divided by the factor.</summary>
    public double? LowFreqFactor { get; init; }
    /// <summary>llama3: wavelengths shorter than the old context / this stay as they are.</summary>
    public double? HighFreqFactor { get; init; }
    /// <summary>yarn: factor of cosines and sines; absent: by equation 22.</summary>
    public double? AttentionFactor { get; init; }
    /// <summary>yarn: turns within the old context from which on a wavelength stays as it is. <value>32</value></summary>
    public double? BetaFast { get; init; }
    /// <summary>yarn: turns below which a wavelength is interpolated. <value>1</value></summary>
    public double? BetaSlow { get; init; }
    /// <summary>yarn: factor in the logarithm of the attention factor (DeepSeek).</summary>
    public double? Mscale { get; init; }
    /// <summary>yarn: what the attention factor is divided by (DeepSeek).</summary>
    public double? MscaleAllDim { get; init; }
    /// <summary>yarn: whether the ramp's ends are whole numbers. <value>true</value></summary>
    public bool? Truncate { get; init; }
    /// <summary>Which part of a head turns. <value>1</value></summary>
    public double? PartialRotaryFactor { get; init; }

    /// <summary>The kinds.</summary>
    public static IReadOnlyList<string> Types { get; } = ["default", "linear", "dynamic", "yarn", "llama3"];

    internal IEnumerable<string> Faults()
    {
        if (!Types.Contains(RopeType)) yield return $"rope_type = '{RopeType}': expected {string.Join(", ", Types)}";
        if (!(RopeTheta > 0)) yield return FormattableString.Invariant($"rope_theta = {RopeTheta}: expected more than 0");
        if (RopeType is "linear" or "dynamic" or "llama3" && !(Factor >= 1)) yield return FormattableString.Invariant($"rope_parameters.factor = {Factor}: expected 1 or more for rope_type '{RopeType}'");
        if (RopeType is "yarn" && (Factor is <= 0 || OriginalMaxPositionEmbeddings is <= 0 || BetaFast is <= 0 || BetaSlow is <= 0)) yield return "rope_parameters: found a factor, original_max_position_embeddings, beta_fast or beta_slow of 0 or less";
        if (RopeType is "yarn" && Factor is null && OriginalMaxPositionEmbeddings is null) yield return "rope_parameters: found neither factor nor original_max_position_embeddings, expected one of them for rope_type 'yarn'";
        if (RopeType is "llama3" && !(LowFreqFactor > 0 && HighFreqFactor > LowFreqFactor && OriginalMaxPositionEmbeddings > 0)) yield return FormattableString.Invariant($"rope_parameters: low_freq_factor = {LowFreqFactor}, high_freq_factor = {HighFreqFactor}, original_max_position_embeddings = {OriginalMaxPositionEmbeddings}: expected all above 0, and the second larger than the first");
        if (PartialRotaryFactor is <= 0 or > 1) yield return FormattableString.Invariant($"partial_rotary_factor = {PartialRotaryFactor}: expected more than 0 and at most 1");
    }

    /// <summary>Makes a configuration's context longer by position interpolation (Chen et al. 2023): positions are divided by as much as the context grows, so that none is larger than those learned.</summary>
    /// <param name="config">config.json; changed.</param>
    /// <param name="context">The new context.</param>
    /// <param name="source">What messages call the configuration.</param>
    /// <exception cref="InvalidDataException">Positions are not rotary, stretched already, or the context is not longer.</exception>
    internal static void Interpolate(JsonObject config, long context, string source)
    {
        if ((string?)config["model_type"] is not ("llama" or "mistral" or "qwen2" or "qwen3" or "gpt_neox" or "falcon")) throw new InvalidDataException($"{source}: found learned positions. Expected rotary ones (llama, mistral, qwen2, qwen3, gpt_neox, falcon) to make the context longer.");
        var rope = (JsonObject)Normalized(config)["rope_parameters"]!;
        if ((string?)rope["rope_type"] is not (null or "default")) throw new InvalidDataException($"{source}: found rope_type '{(string?)rope["rope_type"]}'. Expected plain rotary positions to make the context longer: these are stretched already.");
        long old;
        using (var model = ModelFolder.Create(config, META, source)) old = model.ContextLength;   // some files leave it to the architecture
        if (context <= old) throw new InvalidDataException($"Found a context of {context}. Expected more than the model's {old}.");
        (rope["rope_type"], rope["factor"], config["max_position_embeddings"]) = ("linear", (double)context / old, context);
        foreach (var key in (string[])["rope_scaling", "rope_theta", "rotary_emb_base", "rotary_pct", "partial_rotary_factor"]) config.Remove(key);
        config["rope_parameters"] = rope.DeepClone();
    }

    /// <summary>The positions that a model of so many is good for: dynamic and yarn stretch beyond what the file says.</summary>
    internal long Context(long maxPositionEmbeddings) => RopeType switch
    {
        "dynamic" => (long)(maxPositionEmbeddings * (Factor ?? 1)),
        "yarn" => Math.Max(maxPositionEmbeddings, (long)((OriginalMaxPositionEmbeddings ?? maxPositionEmbeddings) * (Factor ?? 1))),
        _ => maxPositionEmbeddings,
    };

    /// <summary>config.json with older names of rotary keys brought to <c>rope_parameters</c>.</summary>
    /// <param name="config">As read.</param>
    /// <param name="partly">The part of a head that turns where the file does not say.</param>
    internal static JsonObject Normalized(JsonObject config, double? partly = null)
    {
        var copy = (JsonObject)config.DeepClone();
        foreach (var key in (string[])["rope_parameters", "rope_scaling"])
            if (copy[key] is not (null or JsonObject)) throw new InvalidDataException($"Found {key} = {copy[key]!.ToJsonString()}. Expected an object, as {{\"rope_type\": \"linear\", \"factor\": 2}}.");
        var rope = copy["rope_parameters"] as JsonObject ?? copy["rope_scaling"] as JsonObject ?? [];
        rope = (JsonObject)rope.DeepClone();
        if (rope["type"] is { } type) { rope["rope_type"] ??= type.DeepClone(); rope.Remove("type"); }
        foreach (var (old, name) in (ReadOnlySpan<(string, string)>)[("rope_theta", "rope_theta"), ("rotary_emb_base", "rope_theta"), ("partial_rotary_factor", "partial_rotary_factor"), ("rotary_pct", "partial_rotary_factor")])
            if (copy[old] is { } value) { rope[name] ??= value.DeepClone(); copy.Remove(old); }
        if (partly is not null) rope["partial_rotary_factor"] ??= partly;
        copy.Remove("rope_scaling");
        copy["rope_parameters"] = rope;
        return copy;
    }
}

/// <summary>
/// Rotary positions (Su et al. 2021, equation 34): each pair (x_i, x_{i+r/2}) of the first r elements of a head turns by position / theta^(2i/r), so that the product of a query and a key
/// depends on their distance.
/// </summary>
internal sealed unsafe class Rotary
{
    private readonly RotaryConfig config;
    private readonly long context;

    /// <param name="config">How.</param>
    /// <param name="headWidth">d.</param>
    /// <param name="context">max_position_embeddings.</param>
    public Rotary(RotaryConfig config, long headWidth, long context)
    {
        (this.config, this.context) = (config, context);
        Turning = (long)(headWidth * (config.PartialRotaryFactor ?? 1));
    }

    /// <summary>r, the elements of a head that turn.</summary>
    public long Turning { get; }

    /// <summary>Cosines and sines of positions, each [B or 1, T, r/2].</summary>
    /// <param name="positions_BT">int64.</param>
    public (Tensor Cos, Tensor Sin) At(Tensor positions_BT)
    {
        var longest = config.RopeType == "dynamic" ? positions_BT.max().item<long>() + 1 : 0;
        var (frequencies, factor) = Frequencies(longest);
        var angle_BTr = positions_BT.to(ScalarType.Float32).unsqueeze(-1) * tensor(frequencies, device: positions_BT.device);
        return (angle_BTr.cos() * factor, angle_BTr.sin() * factor);
    }

    /// <summary>Radians a position of each pair, and the factor of cosines and sines.</summary>
    /// <param name="length">Tokens of the text; counts for <c>dynamic</c> alone.</param>
    internal (float[] Frequencies, double Factor) Frequencies(long length)
    {
        var (r, theta, old, factor) = (Turning, config.RopeTheta, config.OriginalMaxPositionEmbeddings ?? context, config.Factor ?? 1);
        if (config.RopeType == "dynamic") theta *= Math.Pow((factor * Math.Max(length, context) / context) - (factor - 1), r / (r - 2.0));
        var plain = Enumerable.Range(0, (int)r / 2).Select(i => 1 / Math.Pow(theta, 2.0 * i / r)).ToArray();
        return config.RopeType switch
        {
            "linear" => ([.. plain.Select(f => (float)(f / factor))], 1),
            "llama3" => ([.. plain.Select(f => (float)Llama3(f, old, factor))], 1),
            "yarn" => Yarn(plain, old, config.Factor ?? context / old),
            _ => ([.. plain.Select(f => (float)f)], 1),
        };
    }

    // Long wavelengths are stretched, short ones stay, those between are mixed (Llama 3.1's reference code).
    private double Llama3(double frequency, double old, double factor)
    {
        var turns = old * frequency / (2 * Math.PI);
        var mix = Math.Clamp((turns - config.LowFreqFactor!.Value) / (config.HighFreqFactor!.Value - config.LowFreqFactor.Value), 0, 1);
        return ((1 - mix) * frequency / factor) + (mix * frequency);
    }

    // Peng et al. 2023, equations 17 to 22: the same by a ramp over the pairs, and scores are sharpened.
    private (float[], double) Yarn(double[] plain, double old, double factor)
    {
        double Pair(double turns) => Turning * Math.Log(old / (turns * 2 * Math.PI)) / (2 * Math.Log(config.RopeTheta));
        var (low, high) = (Pair(config.BetaFast ?? 32), Pair(config.BetaSlow ?? 1));
        if (config.Truncate != false) (low, high) = (Math.Floor(low), Math.Ceiling(high));
        (low, high) = (Math.Max(low, 0), Math.Min(high, Turning - 1));
        if (low == high) high += 0.001;
        double Sharper(double by) => factor <= 1 ? 1 : (0.1 * by * Math.Log(factor)) + 1;
        var attention = config.AttentionFactor ?? (config is { Mscale: > 0, MscaleAllDim: > 0 } ? Sharper(config.Mscale.Value) / Sharper(config.MscaleAllDim.Value) : Sharper(1));
        return ([.. plain.Select((f, i) => { var stretch = Math.Clamp((i - low) / (high - low), 0, 1); return (float)((f / factor * stretch) + (f * (1 - stretch))); })], attention);
    }

    /// <summary>Splits a projection into heads and turns them: [B, T, H d] to [B, H, T, d].</summary>
    /// <param name="x_BTC">Queries or keys of all heads, [B, T, H d] or [B, T, H, d].</param>
    /// <param name="heads">H.</param>
    /// <param name="turn">Of <see cref="At"/>.</param>
    public static Tensor Heads(Tensor x_BTC, long heads, (Tensor Cos, Tensor Sin) turn)
    {
        if (!Simd.Takes(x_BTC)) return HeadsPlain(x_BTC, heads, turn);
        return Function.Run(x_BTC.shape is { Length: 3 } shape ? x_BTC.reshape(shape[0], shape[1], heads, -1) : x_BTC, turn.Cos, turn.Sin);
    }

    /// <summary>The same by libtorch's operations.</summary>
    internal static Tensor HeadsPlain(Tensor x_BTC, long heads, (Tensor Cos, Tensor Sin) turn)
    {
        var x = x_BTC.reshape(x_BTC.shape[0], x_BTC.shape[1], heads, -1).transpose(1, 2);
        var (half, cos, sin) = (turn.Cos.shape[^1], turn.Cos.unsqueeze(1), turn.Sin.unsqueeze(1));
        var (first, second) = (x.narrow(-1, 0, half), x.narrow(-1, half, half));
        return cat([((first * cos) - (second * sin)).to(x.dtype), ((second * cos) + (first * sin)).to(x.dtype), x.narrow(-1, 2 * half, x.shape[^1] - 2 * half)], -1);
    }

    private sealed class Function : KernelFunction<Function>
    {
        public override string Name => "Rotary";

        public override Tensor forward(autograd.AutogradContext ctx, params object[] vars)
        {
            using var scope = NewDisposeScope();
            var (x, cos, sin) = (((Tensor)vars[0]).contiguous(), ((Tensor)vars[1]).contiguous(), ((Tensor)vars[2]).contiguous());
            var shape = x.shape;
            var y = empty([shape[0], shape[2], shape[1], shape[3]], dtype: x.dtype);
            Turn(x, y, cos, sin, back: false);
            ctx.Save([cos, sin]);
            return y.MoveToOuterDisposeScope();
        }

        public override List<Tensor> backward(autograd.AutogradContext ctx, Tensor grad_output)
        {
            using var scope = NewDisposeScope();
            var saved = ctx.get_saved_variables();
            var g = grad_output.contiguous();
            var dx = empty([g.shape[0], g.shape[2], g.shape[1], g.shape[3]], dtype: g.dtype);
            Turn(dx, g, saved[0], saved[1], back: true);
            return [dx.MoveToOuterDisposeScope(), null!, null!];
        }
    }

    // Between x [B, T, H, d] and y [B, H, T, d]: to y, turned; or back to x, turned the other way.
    private static void Turn(Tensor x, Tensor y, Tensor cos, Tensor sin, bool back)
    {
        var (shape, ofCos) = (x.shape, cos.shape);
        var (b, t, h, d, half, shared) = (shape[0], shape[1], shape[2], shape[3], ofCos[^1], ofCos[0] == 1);
        nint px = (nint)Simd.Pointer(x), py = (nint)Simd.Pointer(y), pc = (nint)Simd.Pointer(cos), ps = (nint)Simd.Pointer(sin);
        void Run<T>() where T : struct, IElement => Cores.For(b * t, Math.Max(1, (1 << 13) / (h * d)), (from, to) =>
        {
            for (var row = from; row < to; row++)
            {
                float* c = (float*)pc + (shared ? row % t : row) * half, s = (float*)ps + (shared ? row % t : row) * half;
                for (long head = 0; head < h; head++)
                {
                    void* own = (byte*)px + (row * h + head) * d * T.Size, other = (byte*)py + ((row / t * h + head) * t + row % t) * d * T.Size;
                    if (back) TurnHead<T>(other, own, c, s, half, d, -1); else TurnHead<T>(own, other, c, s, half, d, 1);
                }
            }
        });
        if (x.dtype == ScalarType.Float32) Run<Single32>(); else Run<Brain16>();
    }

    private static void TurnHead<T>(void* x, void* y, float* cos, float* sin, long half, long d, float sign) where T : struct, IElement
    {
        long i = 0;
        for (; i + Simd.Width <= half; i += Simd.Width)
        {
            Vector512<float> a = T.Load(x, i), b = T.Load(x, i + half), c = Vector512.Load(cos + i), s = Vector512.Load(sin + i) * sign;
            T.Store(y, i, a * c - b * s);
            T.Store(y, i + half, b * c + a * s);
        }
        for (; i < half; i++)
        {
            float a = T.Get(x, i), b = T.Get(x, i + half), c = cos[i], s = sin[i] * sign;
            T.Set(y, i, a * c - b * s);
            T.Set(y, i + half, b * c + a * s);
        }
        for (i = 2 * half; i < d; i++) T.Set(y, i, T.Get(x, i));
    }
}
