using Lect.Models;
using TorchSharp;
using static TorchSharp.torch;

namespace Lect;

/// <summary>
/// AdamW (Loshchilov and Hutter 2019, algorithm 2): Adam with decoupled weight decay, p -= lr * decay * p, on parameters of two or
/// more dimensions only. One call into libtorch's fused kernel for all parameters.
/// </summary>
/// <remarks>Owns its state tensors, fp32. Not thread-safe.</remarks>
public sealed class AdamW : IDisposable
{
    // TorchSharp has no binding of the fused optimizer; TorchScript reaches it, with lists of tensors. Numbers go in as one tensor.
    private static readonly Lazy<jit.CompilationUnit> s_script = new(() => jit.compile("""
        def step(ps: List[Tensor], gs: List[Tensor], ms: List[Tensor], vs: List[Tensor], steps: List[Tensor], numbers: Tensor, divisor: Optional[Tensor]):
            lr, beta1, beta2, decay, eps = float(numbers[0]), float(numbers[1]), float(numbers[2]), float(numbers[3]), float(numbers[4])
            none: List[Tensor] = []
            torch._foreach_add_(steps, 1)
            torch._fused_adamw_(ps, gs, ms, vs, none, steps, lr=lr, beta1=beta1, beta2=beta2, weight_decay=decay, eps=eps, amsgrad=False, maximize=False, grad_scale=divisor, found_inf=None)
            return 0
        def norm(gs: List[Tensor]):
            return torch.linalg_vector_norm(torch.stack(torch._foreach_norm(gs, 2.0)))

        """));

    private readonly List<(string Name, Tensor Parameter)> parameters;
    private readonly Func<string, double>? rateOf;
    private readonly Dictionary<string, (Tensor M, Tensor V, Tensor Step)> state = new(StringComparer.Ordinal);
    private readonly double beta1, beta2, epsilon, decay;

    /// <param name="parameters">Names and parameters, each once.</param>
    /// <param name="decay">Weight decay of matrices.</param>
    /// <param name="beta1">Decay of the first moment.</param>
    /// <param name="beta2">Decay of the second moment.</param>
    /// <param name="epsilon">Added to the root of the second moment.</param>
    /// <param name="rateOf">What the learning rate of each parameter is multiplied by; null: 1.</param>
    public AdamW(IEnumerable<(string Name, Tensor Parameter)> parameters, double decay = 0.1, double beta1 = 0.9, double beta2 = 0.95, double epsilon = 1e-8, Func<string, double>? rateOf = null)
    {
        (this.parameters, this.decay, this.beta1, this.beta2, this.epsilon, this.rateOf) = ([.. parameters], decay, beta1, beta2, epsilon, rateOf);
        using var scope = NewDisposeScope();
        foreach (var (name, p) in this.parameters)
            state[name] = (zeros_like(p).DetachFromDisposeScope(), zeros_like(p).DetachFromDisposeScope(), zeros([]).DetachFromDisposeScope());
    }

    /// <summary>The moments and step counts under <c>name.exp_avg</c>, <c>name.exp_avg_sq</c> and <c>name.step</c>, for checkpoints; the tensors stay the optimizer's.</summary>
    public IEnumerable<(string Name, Tensor Tensor)> State => state.SelectMany(s => new[] { ($"{s.Key}.exp_avg", s.Value.M), ($"{s.Key}.exp_avg_sq", s.Value.V), ($"{s.Key}.step", s.Value.Step) });

    /// <summary>Takes the moments of a checkpoint.</summary>
    /// <exception cref="InvalidDataException">One is missing.</exception>
    public void LoadState(Weights weights)
    {
        using var scope = NewDisposeScope();
        foreach (var (name, tensor) in State)
            tensor.copy_(weights.Names.Contains(name) ? weights.Load(name) : throw new InvalidDataException($"Found no '{name}' in the checkpoint's optimizer state. It belongs to another model, or is damaged."));
    }

    /// <summary>One update by the gradients of now, scaled so that their global norm is at most <paramref name="clip"/>: times min(1, clip / (norm + 1e-6)), as PyTorch.</summary>
    /// <param name="rate">Learning rate.</param>
    /// <param name="clip">Largest norm. The scaling is part of the update's one pass over memory, and leaves the gradients scaled.</param>
    /// <returns>The norm before scaling; where it is no number, the parameters are none either.</returns>
    /// <remarks>Parameters without a gradient are left alone.</remarks>
    public double Step(double rate, double clip = double.PositiveInfinity)
    {
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        var gradients = Gradients().ToArray();
        if (gradients.Length == 0) return 0;
        var norm = ((Tensor)s_script.Value.invoke("norm", (object)gradients)).item<float>();
        var divisor = norm + 1e-6 <= clip ? null : tensor((float)((norm + 1e-6) / clip));
        foreach (var group in parameters.Where(p => p.Parameter.grad is not null).GroupBy(p => (IsMatrix: p.Parameter.dim() >= 2, Rate: rateOf?.Invoke(p.Name) ?? 1)))
        {
            var names = group.Select(p => p.Name).ToArray();
            s_script.Value.invoke("step", group.Select(p => p.Parameter).ToArray(), group.Select(p => p.Parameter.grad!).ToArray(), names.Select(n => state[n].M).ToArray(), names.Select(n => state[n].V).ToArray(),
                names.Select(n => state[n].Step).ToArray(), tensor(new[] { rate * group.Key.Rate, beta1, beta2, group.Key.IsMatrix ? decay : 0.0, epsilon }), divisor!);
        }
        return norm;
    }

    /// <summary>The gradients of now, by parameter; they stay the parameters'.</summary>
    public IReadOnlyList<Tensor> Gradients() => [.. parameters.Select(p => p.Parameter.grad).OfType<Tensor>()];

    /// <summary>Sums the gradients over the processes of a data-parallel run (<see cref="Processes"/>). Parameters that had no part in this process's share count as 0.</summary>
    internal void SumGradients()
    {
        if (Processes.Count == 1) return;
        using var scope = NewDisposeScope();
        var have = parameters.ConvertAll(p => p.Parameter.grad is null ? 0.0 : 1).ToArray();
        Processes.Sum(have);
        foreach (var (i, (_, p)) in parameters.Index())
            if (have[i] > 0 && p.grad is null) p.grad = zeros_like(p);
        Processes.Sum(Gradients());
    }

    /// <summary>Forgets the gradients.</summary>
    public void ZeroGradients()
    {
        foreach (var (_, p) in parameters)
            if (p.grad is { } gradient) { gradient.Dispose(); p.grad = null; }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (var (_, tensor) in State) tensor.Dispose();
    }
}
