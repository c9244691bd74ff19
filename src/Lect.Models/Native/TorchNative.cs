using System.Diagnostics.CodeAnalysis;
using System.Reflection;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Loader;
using System.Runtime.Versioning;
using Microsoft.Win32.SafeHandles;
using TorchSharp;

namespace Lect.Models;

/// <summary>
/// Makes libtorch load: on Linux x64 it finds the libraries in the NuGet cache when the program's folder has none, and lets
/// TorchSharp's native half load where the C++ runtime is older than GCC 13's (Debian 12, Ubuntu 22.04).
/// </summary>
/// <remarks>
/// libLibTorchSharp.so 0.107 asks for GLIBCXX_3.4.32, but only through a marker symbol that nothing uses. With that one entry
/// marked weak, in a copy in memory, the dynamic linker accepts an older runtime. The hook runs only after .NET's own search
/// failed, so where the library loads as it is, nothing happens here. Elsewhere (Windows, macOS) NuGet's files are used as they are.
/// </remarks>
public static partial class TorchNative
{
    /// <summary>Environment variable: a folder with libtorch_cpu.so and the rest, looked into first.</summary>
    public const string DirectoryVariable = "LECT_LIBTORCH_DIR";

    private static readonly Lock s_finding = new();
    private static int s_hooked;
    private static nint s_shim, s_found;

#pragma warning disable CA2255 // it must run before TorchSharp's static constructor, and a failed one is final
    [ModuleInitializer]
#pragma warning restore CA2255
    internal static void Initialize()
    {
        if (!OperatingSystem.IsLinux() || RuntimeInformation.ProcessArchitecture != Architecture.X64 || Interlocked.Exchange(ref s_hooked, 1) != 0) return;
        if (Environment.GetEnvironmentVariable("LECT_PLAIN_HEAP") is null) KeepHeap();
        SpinBriefly();
        var torchSharp = typeof(torch).Assembly;   // typeof does not run the static constructor
        (AssemblyLoadContext.GetLoadContext(torchSharp) ?? AssemblyLoadContext.Default).ResolvingUnmanagedDll += Resolve;
        try { NativeLibrary.SetDllImportResolver(torchSharp, Found); }
        catch (InvalidOperationException) { }   // the program has one of its own
    }

    /// <summary>Loads libtorch now.</summary>
    /// <exception cref="PlatformNotSupportedException">It cannot be loaded here; the message says what is missing.</exception>
    public static void Load()
    {
        Initialize();
        try { torch.InitializeDeviceType(DeviceType.CPU); }
        catch (Exception e) when (e is TypeInitializationException or DllNotFoundException or NotSupportedException)
        {
            throw new PlatformNotSupportedException($"libtorch cannot be loaded on this machine ({RuntimeInformation.RuntimeIdentifier}). Lect needs Linux x64 with glibc 2.35 or later, Windows x64 or macOS arm64, and the package "
                + $"libtorch-cpu of version {LibtorchVersion() ?? "2.10.0"}: add it to the program (PackageReference of libtorch-cpu-linux-x64, -win-x64 or -osx-arm64; docs/howto/dotnet.md), or set {DirectoryVariable} to a folder that holds its libraries. Cause: {(e.InnerException ?? e).Message.Split('\n')[0]}", e);
        }
    }

    // glibc gives large blocks back to the system and faults them in again at every step, which costs a training step half
    // of its time. Kept in the heap they are reused: 1.3 to 2.2 times faster. Must come before libtorch allocates.
    [SupportedOSPlatform("linux")]
    private static void KeepHeap()
    {
        const int TrimThreshold = -1, MmapThreshold = -3, MmapMax = -4;
        try
        {
            _ = mallopt(MmapThreshold, 1 << 30);
            _ = mallopt(TrimThreshold, int.MaxValue);
            _ = mallopt(MmapMax, 0);
        }
        catch (EntryPointNotFoundException) { }   // another C library (musl): its allocator has no such setting
    }

    // Idle threads of OpenMP's team wait for the next kernel by spinning, some milliseconds by default; where anything else wants the
    // cores, two runs beside each other take ten times as long. 5,000 turns bridge the gaps of a training step, and cost one alone nothing.
    // Read by libgomp when it is loaded; an environment that says otherwise is left alone.
    [SupportedOSPlatform("linux")]
    private static void SpinBriefly()
    {
        if (Environment.GetEnvironmentVariable("GOMP_SPINCOUNT") is null && Environment.GetEnvironmentVariable("OMP_WAIT_POLICY") is null) _ = setenv("GOMP_SPINCOUNT", "5000", 1);
    }

    // Asked for each of TorchSharp's native functions, whoever finds their library: .NET's own search or Resolve.
    [SupportedOSPlatform("linux")]
    private static nint Found(string name, Assembly assembly, DllImportSearchPath? search)
    {
        if (name != "LibTorchSharp") return 0;
        lock (s_finding)
        {
            if (s_found == 0 && NativeLibrary.TryLoad(name, assembly, search, out s_found)) ScalarGrace.Install(s_found);
            return s_found;
        }
    }

    [SupportedOSPlatform("linux")]
    private static nint Resolve(Assembly assembly, string name) => assembly.GetName().Name != "TorchSharp" ? 0 : name switch
    {
        "torch_cpu" => LoadFirst("libtorch_cpu.so"),
        "torch_cuda" => LoadFirst("libtorch_cuda.so"),
        "LibTorchSharp" => s_shim != 0 ? s_shim : s_shim = LoadShim(),
        _ => 0,
    };

    [SupportedOSPlatform("linux")]
    private static nint LoadShim()
    {
        // The shim's own needs are found by name once they are loaded, so it may come from any folder, or from memory.
        foreach (var needed in (string[])["libc10.so", "libtorch_cpu.so", "libtorch.so"]) LoadFirst(needed);
        foreach (var path in Candidates("libLibTorchSharp.so"))
        {
            if (NativeLibrary.TryLoad(path, out var handle)) return handle;
            byte[] image;
            try { image = File.ReadAllBytes(path); } catch (IOException) { continue; }
            if (ElfVersionNeed.Weaken(image, "libstdc++.so.6", "GLIBCXX_3.4.32", "_ZSt21ios_base_library_initv") && LoadFromMemory(image) is not 0 and var patched) return patched;
        }
        return 0;
    }

    // An anonymous memory file, or a private temporary one where the kernel refuses that.
    [SupportedOSPlatform("linux")]
    private static nint LoadFromMemory(byte[] image)
    {
        const uint CloseOnExec = 1;
        var descriptor = memfd_create("libLibTorchSharp.so", CloseOnExec);
        if (descriptor >= 0)
        {
            using var file = new SafeFileHandle(descriptor, ownsHandle: true);
            RandomAccess.Write(file, image, 0);
            if (NativeLibrary.TryLoad($"/proc/self/fd/{descriptor}", out var handle)) return handle;
        }
        var folder = Directory.CreateTempSubdirectory("lect-native-");
        try
        {
            var path = Path.Combine(folder.FullName, "libLibTorchSharp.so");
            File.WriteAllBytes(path, image);
            return NativeLibrary.TryLoad(path, out var handle) ? handle : 0;
        }
        finally { folder.Delete(recursive: true); }
    }

    private static nint LoadFirst(string file) => Candidates(file).Select(path => NativeLibrary.TryLoad(path, out var handle) ? handle : 0).FirstOrDefault(handle => handle != 0);

    private static IEnumerable<string> Candidates(string file) => Directories().Distinct().Select(folder => Path.Combine(folder, file)).Where(File.Exists);

    [UnconditionalSuppressMessage("SingleFile", "IL3000", Justification = "An empty location is skipped; the program's folder is searched as well.")]
    private static IEnumerable<string> Directories()
    {
        const string Native = "runtimes/linux-x64/native";
        if (Environment.GetEnvironmentVariable(DirectoryVariable) is { Length: > 0 } chosen) yield return chosen;
        yield return AppContext.BaseDirectory.TrimEnd('/');
        yield return Path.Combine(AppContext.BaseDirectory, Native);
        if (Path.GetDirectoryName(typeof(torch).Assembly.Location) is { Length: > 0 } home) { yield return home; yield return Path.Combine(home, Native); }
        var cache = Environment.GetEnvironmentVariable("NUGET_PACKAGES") is { Length: > 0 } set ? set : Path.Combine(Environment.GetFolderPath(Environment.SpecialFolder.UserProfile), ".nuget", "packages");
        var version = typeof(torch).Assembly.GetCustomAttribute<AssemblyInformationalVersionAttribute>()?.InformationalVersion.Split('+')[0] ?? "";
        yield return Path.Combine(cache, "torchsharp", version, Native);
        if (LibtorchVersion() is { } libtorch) yield return Path.Combine(cache, "libtorch-cpu-linux-x64", libtorch, Native);
    }

    // torch.__version__ would run the static constructor that is waiting for this: the constant is read instead.
    private static string? LibtorchVersion()
    {
        var version = typeof(torch).GetField("libtorchPackageVersion", BindingFlags.NonPublic | BindingFlags.Static)?.GetRawConstantValue() as string;
        return version is not null && version.Count(c => c == '.') == 3 && version.EndsWith(".0", StringComparison.Ordinal) ? version[..^2] : version;
    }

    [LibraryImport("libc")]
    private static partial int mallopt(int parameter, int value);

    [LibraryImport("libc", StringMarshalling = StringMarshalling.Utf8)]
    private static partial int setenv(string name, string value, int overwrite);

    [LibraryImport("libc", StringMarshalling = StringMarshalling.Utf8)]
    private static partial int memfd_create(string name, uint flags);
}
