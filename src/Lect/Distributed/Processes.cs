using System.Globalization;
using Lect.Models;
using TorchSharp;
using static TorchSharp.torch;

namespace Lect;

/// <summary>
/// The processes that train one model together (data-parallel): <c>mpirun -n N lect train …</c>, with Open MPI. Each computes the gradients of its share of a step's
/// micro-batches; their sum is every process's gradient, so that N processes take the steps of one, from the same run file (what is drawn at random, dropout and hidden words, is drawn by micro-batch: the same where <c>train.micro_batch_size</c> is set). Without mpirun there is one.
/// </summary>
/// <remarks>
/// The first process is the run: it alone writes the run's folder, evaluates, and speaks. The others wait until it has prepared data and model, prepare from what it left in
/// the folder, and get its weights. The folder has to be the same for all (one machine, or a shared file system). Not thread-safe: one training at a time.
/// </remarks>
public static unsafe class Processes
{
    private static readonly Lazy<OpenMpi?> s_mpi = new(Begin);

    /// <summary>How many there are.</summary>
    public static int Count => s_mpi.Value?.Count ?? 1;

    /// <summary>Which one this is, from 0.</summary>
    public static int Rank { get; } = Told("OMPI_COMM_WORLD_RANK", otherwise: 0);

    /// <summary>Whether this is the process that writes and speaks.</summary>
    public static bool IsFirst => Rank == 0;

    private static int Told(string variable, int otherwise) => int.TryParse(Environment.GetEnvironmentVariable(variable), NumberStyles.None, CultureInfo.InvariantCulture, out var n) ? n : otherwise;

    private static OpenMpi? Begin()
    {
        if (Told("OMPI_COMM_WORLD_SIZE", 1) == 1) return Told("PMI_SIZE", 1) == 1 ? null : throw new InvalidDataException("Found processes started by another MPI than Open MPI (PMI_SIZE is set). Expected Open MPI's mpirun (mpirun --version says whose it is).");
        var mpi = new OpenMpi();
        // A process that ends with an error leaves without it: mpirun then ends the others, which may be waiting for this one.
        AppDomain.CurrentDomain.ProcessExit += (_, _) => { if (Environment.ExitCode is 0 or 130) mpi.End(); };
        return mpi;
    }

    /// <summary>Sets the threads of libtorch: those asked for, of several processes on one machine at most its part of the cores; not asked for, that.</summary>
    internal static void UseThreads(int? asked)
    {
        var (cores, here) = (Environment.ProcessorCount, Told("OMPI_COMM_WORLD_LOCAL_SIZE", 1));
        // Bound by mpirun, to a core or to a socket that several share, .NET counts those cores alone.
        if (Told("OMPI_MCA_orte_bound_at_launch", 0) == 1) cores = Math.Max(cores, File.ReadLines("/proc/cpuinfo").Count(l => l.StartsWith("processor", StringComparison.Ordinal)));
        var share = Math.Clamp(cores / here, 1, Environment.ProcessorCount);
        set_num_threads(Count == 1 ? asked ?? share : Math.Min(asked ?? share, share));
    }

    /// <summary>The threads that run.yaml keeps: of one process those that it has, of several those asked for, so that a run may go on with another number of them.</summary>
    internal static int? Kept(int? asked) => Count == 1 ? get_num_threads() : asked;

    /// <summary>Refuses more than one process.</summary>
    /// <param name="what">What does not divide: 'PPO samples …'.</param>
    /// <exception cref="InvalidDataException">There are several.</exception>
    public static void RequireOne(string what)
    {
        if (Count > 1) throw new InvalidDataException($"Found {Count} processes (mpirun). Expected one: {what}. Start it without mpirun.");
    }

    /// <summary>The micro-batches of a step: of so many rows, or, where that was left open, one for each process.</summary>
    internal static IEnumerable<T[]> Share<T>(IReadOnlyCollection<T> rows, int? microBatch) => microBatch is { } size ? rows.Chunk(size) : rows.Index().GroupBy(r => (long)r.Index * Count / rows.Count, r => r.Item).Select(part => part.ToArray());

    /// <summary>Whether this process computes a step's micro-batch.</summary>
    internal static bool Owns(int microBatch) => microBatch % Count == Rank;

    /// <summary>Waits until all are here.</summary>
    internal static void Meet() => s_mpi.Value?.Barrier();

    /// <summary>Replaces fp32 tensors by their sums over the processes; every process gives the same ones, in the same order.</summary>
    internal static void Sum(IEnumerable<Tensor> tensors) => Each(tensors, (mpi, numbers, count) => mpi.Sum((float*)numbers, count));

    /// <summary>Replaces numbers by their sums.</summary>
    internal static void Sum(Span<double> numbers)
    {
        fixed (double* p = numbers) s_mpi.Value?.Sum(p, numbers.Length);
    }

    /// <summary>Replaces tensors (fp32) by the first process's.</summary>
    internal static void TakeFromFirst(IEnumerable<Tensor> tensors) => Each(tensors, (mpi, numbers, count) => mpi.Broadcast((float*)numbers, count));

    /// <summary>Replaces numbers by the first process's.</summary>
    internal static void TakeFromFirst(Span<double> numbers)
    {
        fixed (double* p = numbers) s_mpi.Value?.Broadcast(p, numbers.Length);
    }

    private static void Each(IEnumerable<Tensor> tensors, Action<OpenMpi, nint, long> exchange)
    {
        if (s_mpi.Value is not { } mpi) return;
        using var noGrad = no_grad();
        foreach (var tensor in tensors)
        {
            using var scope = NewDisposeScope();
            var here = tensor.is_contiguous() && tensor.device_type == DeviceType.CPU && tensor.dtype == ScalarType.Float32 ? null : tensor.to(ScalarType.Float32).cpu().contiguous();
            exchange(mpi, (nint)Simd.Pointer(here ?? tensor), tensor.numel());
            if (here is not null) tensor.copy_(here);
        }
    }
}
