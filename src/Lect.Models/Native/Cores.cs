using System.Runtime.InteropServices;
using TorchSharp;

namespace Lect.Models;

/// <summary>Runs C# loops on the threads that libtorch uses (OpenMP's team), so that the two do not fight over the cores.</summary>
internal static unsafe class Cores
{
    [ThreadStatic]
    private static bool t_inside;
    private static Action<int, int>? s_body;
    private static int s_parts, s_next;
    private static readonly Lock s_lock = new();
    private static readonly nint s_gomp = Find();

    // libtorch brings its own copy of libgomp, with a hash in its name.
    private static nint Find()
    {
        TorchNative.Load();
        if (!OperatingSystem.IsLinux()) return 0;
        var line = File.ReadLines("/proc/self/maps").FirstOrDefault(l => l.Contains("/libgomp", StringComparison.Ordinal));
        if (line is null || !NativeLibrary.TryLoad(line[line.IndexOf('/', StringComparison.Ordinal)..], out var library)) return 0;
        return NativeLibrary.TryGetExport(library, "GOMP_parallel", out var parallel) ? parallel : 0;
    }

    /// <summary>Calls <paramref name="body"/>(from, to) on consecutive ranges of [0, n), one a thread. The split depends only on n and the number of threads.</summary>
    public static void For(long n, long grain, Action<long, long> body)
    {
        var threads = (int)Math.Clamp(n / Math.Max(1, grain), 1, torch.get_num_threads());
        if (threads == 1) { body(0, n); return; }
        Run(threads, (id, count) => body(n * id / count, n * (id + 1) / count));
    }

    private static void Run(int parts, Action<int, int> body)
    {
        if (s_gomp == 0 || t_inside) { Parallel.For(0, parts, id => body(id, parts)); return; }
        lock (s_lock)
        {
            (s_body, s_parts, s_next, t_inside) = (body, parts, -1, true);
            try { ((delegate* unmanaged<delegate* unmanaged<void*, void>, void*, uint, uint, void>)s_gomp)(&Enter, null, (uint)parts, 0); }
            finally { (s_body, t_inside) = (null, false); }
        }
    }

    // Threads take the next part until none is left, so that a smaller team than asked for does all the work too.
    // A kernel must not throw: an exception cannot cross OpenMP's frames.
    [UnmanagedCallersOnly]
    private static void Enter(void* unused)
    {
        for (int id; (id = Interlocked.Increment(ref s_next)) < s_parts;) s_body!(id, s_parts);
    }
}
