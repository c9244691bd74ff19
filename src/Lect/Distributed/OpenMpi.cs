using System.Runtime.InteropServices;

namespace Lect;

/// <summary>The six functions of Open MPI that data-parallel training needs, from its C library.</summary>
/// <remarks>Handles are the addresses of the library's own objects (mpi.h: <c>MPI_FLOAT</c> is <c>&amp;ompi_mpi_float</c>). Errors end the process: Open MPI's own default.</remarks>
internal sealed unsafe class OpenMpi
{
    private const int Serialized = 2;   // MPI_THREAD_SERIALIZED: any thread calls, one at a time
    private const int Piece = 1 << 20;   // numbers a call: pieces of 4 MB are summed at 5 GB/s, 40 MB at once at 0.4 (temporary memory is faulted in)

    private readonly delegate* unmanaged<void*, void*, int, nint, nint, nint, int> allreduce;
    private readonly delegate* unmanaged<void*, int, nint, int, nint, int> broadcast;
    private readonly delegate* unmanaged<nint, int> barrier;
    private readonly delegate* unmanaged<int> finalize;
    private readonly nint world, single, @double, sum;

    /// <exception cref="InvalidDataException">There is no such library.</exception>
    public OpenMpi()
    {
        if (!NativeLibrary.TryLoad("libmpi.so.40", out var library) && !NativeLibrary.TryLoad("libmpi", out library) || !NativeLibrary.TryGetExport(library, "ompi_mpi_comm_world", out world))
            throw new InvalidDataException("Found that mpirun started this process, and no library of Open MPI (libmpi.so.40). Expected Open MPI 4 or later: install it (Debian and Ubuntu: openmpi-bin), and use its own mpirun.");
        nint Export(string name) => NativeLibrary.GetExport(library, name);
        (single, @double, sum) = (Export("ompi_mpi_float"), Export("ompi_mpi_double"), Export("ompi_mpi_op_sum"));
        allreduce = (delegate* unmanaged<void*, void*, int, nint, nint, nint, int>)Export("MPI_Allreduce");
        broadcast = (delegate* unmanaged<void*, int, nint, int, nint, int>)Export("MPI_Bcast");
        barrier = (delegate* unmanaged<nint, int>)Export("MPI_Barrier");
        finalize = (delegate* unmanaged<int>)Export("MPI_Finalize");
        var sizeOf = (delegate* unmanaged<nint, int*, int>)Export("MPI_Comm_size");
        var begin = (delegate* unmanaged<void*, void*, int, int*, int>)Export("MPI_Init_thread");
        int size, provided;
        _ = begin(null, null, Serialized, &provided);
        _ = sizeOf(world, &size);
        Count = size;
    }

    public int Count { get; }

    public void Sum(float* numbers, long count)
    {
        for (long at = 0; at < count; at += Piece) _ = allreduce((void*)1, numbers + at, (int)Math.Min(Piece, count - at), single, sum, world);   // 1: MPI_IN_PLACE
    }

    public void Sum(double* numbers, int count) => _ = allreduce((void*)1, numbers, count, @double, sum, world);

    public void Broadcast(float* numbers, long count)
    {
        for (long at = 0; at < count; at += Piece) _ = broadcast(numbers + at, (int)Math.Min(Piece, count - at), single, 0, world);
    }

    public void Broadcast(double* numbers, int count) => _ = broadcast(numbers, count, @double, 0, world);

    public void Barrier() => _ = barrier(world);

    public void End() => _ = finalize();
}
