namespace Lect;

/// <summary>The learning rate of each step: a warm-up, then a shape.</summary>
public sealed record Schedule
{
    /// <summary><c>constant</c>, <c>linear</c>, <c>cosine</c>, <c>inverse_sqrt</c> (Vaswani et al. 2017, section 5.3) or <c>wsd</c> (warm-up, stable, linear decay; Hu et al. 2024).</summary>
    public string Kind { get; init; } = "cosine";
    /// <summary>The highest rate.</summary>
    public double Rate { get; init; } = 3e-4;
    /// <summary>Steps in all; the decay ends with them.</summary>
    public long Steps { get; init; } = 1000;
    /// <summary>Steps of linear warm-up.</summary>
    public long Warmup { get; init; }
    /// <summary>The last rate as a share of the highest (linear, cosine, wsd).</summary>
    public double Floor { get; init; }
    /// <summary>Steps of decay at the end (wsd).</summary>
    public long Decay { get; init; }
    /// <summary>Hugging Face's warm-up step / warmup, whose first step has rate 0; otherwise nanoGPT's (step + 1) / (warmup + 1).</summary>
    public bool StartAtZero { get; init; }

    /// <summary>Checks what <see cref="At"/> relies on.</summary>
    /// <exception cref="InvalidDataException">All faults together.</exception>
    public Schedule Validate() => Faults().ToList() is { Count: > 0 } faults ? throw new InvalidDataException(string.Join("; ", faults) + ".") : this;

    internal IEnumerable<string> Faults()
    {
        if (Kind is not ("constant" or "linear" or "cosine" or "inverse_sqrt" or "wsd")) yield return $"train.schedule = '{Kind}': expected constant, linear, cosine, inverse_sqrt or wsd";
        if (!(Rate > 0)) yield return FormattableString.Invariant($"train.lr = {Rate}: expected more than 0");
        if (Warmup < 0 || Warmup > Steps) yield return $"train.warmup = {Warmup}: expected 0 to the number of steps, {Steps}";
        if (Floor is < 0 or > 1) yield return FormattableString.Invariant($"train.floor = {Floor}: expected 0 to 1");
        if (Kind == "wsd" && (Decay < 1 || Decay + Warmup > Steps)) yield return $"train.decay = {Decay}: expected 1 to {Steps - Warmup}, the steps behind the warm-up";
    }

    /// <summary>The rate of optimizer step <paramref name="step"/>, counted from 0; the floor holds behind the last step.</summary>
    public double At(long step)
    {
        var first = StartAtZero ? 0 : 1;
        if (step < Warmup) return Rate * (step + first) / (Warmup + first);
        return Rate * Kind switch
        {
            "constant" => 1,
            "linear" => Between(1 - Progress(step, Warmup, Steps)),
            "cosine" => Between(0.5 * (1 + Math.Cos(Math.PI * Progress(step, Warmup, Steps)))),
            "inverse_sqrt" => Math.Sqrt(Math.Max(1.0, Warmup) / Math.Max(1, step)),
            _ => Between(1 - Progress(step, Steps - Decay, Steps)),
        };
    }

    private double Between(double share) => Floor + (1 - Floor) * share;

    private static double Progress(long step, long from, long to) => Math.Clamp((double)(step - from) / Math.Max(1, to - from), 0, 1);
}
