using System.Runtime.InteropServices;

namespace Lect;

/// <summary>Ctrl+C, SIGTERM and SIGUSR1 ask for an end that keeps what was learned; a second time they end at once.</summary>
/// <remarks>SIGUSR1 is what mpirun passes on as it is: at SIGTERM and Ctrl+C it kills its processes a second later, whatever they are writing.</remarks>
internal sealed class StopSignals : IDisposable
{
    private static readonly PosixSignal[] s_signals = [PosixSignal.SIGINT, PosixSignal.SIGTERM, .. OperatingSystem.IsLinux() ? [(PosixSignal)10] : OperatingSystem.IsMacOS() ? [(PosixSignal)30] : (PosixSignal[])[]];

    private readonly CancellationTokenSource source = new();
    private readonly PosixSignalRegistration[] registrations;
    private readonly string what;

    public StopSignals(string what = "stopping after this step, with a checkpoint")
    {
        this.what = what;
        registrations = [.. s_signals.Select(s => PosixSignalRegistration.Create(s, Stop))];
    }

    public CancellationToken Token => source.Token;

    private void Stop(PosixSignalContext context)
    {
        if (source.IsCancellationRequested) return;
        context.Cancel = true;
        if (Processes.IsFirst) Console.Error.WriteLine($"\nlect: {what} (once more: at once)");
        source.Cancel();
    }

    public void Dispose()
    {
        foreach (var registration in registrations) registration.Dispose();
        source.Dispose();
    }
}
