using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;
using System.Runtime.Versioning;

namespace Lect.Models;

/// <summary>Lets the numbers that TorchSharp hands to libtorch live until libtorch has read them (Linux x64).</summary>
/// <remarks>
/// In <c>x * 0.5</c>, and also in <c>x + y</c>, TorchSharp 0.107 makes a native number and passes its address, but nothing keeps the object that owns
/// it alive during the call: a garbage collection of another thread can free the number before libtorch looks at it. On a busy
/// machine that is one call in some ten thousand ("Unknown scalar type", "Expected false to be true"), or a wrong number and no message.
/// So the function that frees a number is replaced by one that waits: what was given up is freed a second later at the earliest.
/// </remarks>
[SupportedOSPlatform("linux")]
internal static unsafe partial class ScalarGrace
{
    private const int Read = 1, Write = 2, Execute = 4;
    private static readonly TimeSpan s_grace = TimeSpan.FromSeconds(1);
    private static readonly Lock s_lock = new();
    private static delegate* unmanaged<nint, void> s_delete;
    private static List<nint> s_before = [], s_now = [];   // given up in the second before this one began, and since
    private static long s_began = Environment.TickCount64;

    /// <summary>How many numbers wait to be freed.</summary>
    public static int Waiting { get { lock (s_lock) return s_before.Count + s_now.Count; } }

    /// <summary>Replaces the function in TorchSharp's loaded native half. Where the system does not allow that, or the function is not the one known, all stays as it is.</summary>
    /// <returns>Whether it was replaced.</returns>
    public static bool Install(nint torchSharp)
    {
        ReadOnlySpan<byte> known = [0x48, 0x85, 0xff, 0x74];   // test rdi, rdi; je: the beginning of `delete scalar`
        if (!NativeLibrary.TryGetExport(torchSharp, "THSTorch_dispose_scalar", out var function) || !NativeLibrary.TryGetExport(torchSharp, "_ZdlPv", out var delete)) return false;
        if (function % Vector128<byte>.Count != 0 || !new ReadOnlySpan<byte>((void*)function, known.Length).SequenceEqual(known)) return false;
        s_delete = (delegate* unmanaged<nint, void>)delete;

        Span<byte> jump = [0x48, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xe0, 0xcc, 0xcc, 0xcc, 0xcc];   // mov rax, later; jmp rax
        delegate* unmanaged<nint, void> later = &Later;
        MemoryMarshal.Write(jump[2..], (nint)later);
        var page = function & -Environment.SystemPageSize;   // one page: the function's beginning is aligned to 16 bytes
        if (mprotect(page, Environment.SystemPageSize, Read | Write | Execute) != 0) return false;
        Vector128.Create<byte>(jump).StoreAligned((byte*)function);   // at once: another thread sees the old function or the new one
        _ = mprotect(page, Environment.SystemPageSize, Read | Execute);
        return true;
    }

    [UnmanagedCallersOnly]
    private static void Later(nint scalar)
    {
        if (scalar == 0) return;
        lock (s_lock)
        {
            s_now.Add(scalar);
            if (Environment.TickCount64 - s_began < s_grace.TotalMilliseconds) return;
            foreach (var old in s_before) s_delete(old);
            s_before.Clear();
            (s_before, s_now, s_began) = (s_now, s_before, Environment.TickCount64);
        }
    }

    [LibraryImport("libc")]
    private static partial int mprotect(nint address, nint length, int protection);
}
