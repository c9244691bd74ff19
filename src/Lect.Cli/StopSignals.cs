using System.Runtime.InteropServices;

namespace Lect;

/// <summary>Ctrl+C and SIGTERM ask for an end that keeps what was learned; a second time they end at once.</summary>
internal sealed class StopSignals : IDisposable
{
    private readonly CancellationTokenSource source = new();
    private readonly PosixSignalRegistration[] registrations;
    private readonly string what;

    public StopSignals(string what = "stopping after this step, with a checkpoint")
    {
        this.what = what;
        registrations = [.. new[] { PosixSignal.SIGINT, PosixSignal.SIGTERM }.Select(s => PosixSignalRegistration.Create(s, Stop))];
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
