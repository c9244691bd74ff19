using System.Diagnostics;
using System.Net;
using System.Net.Sockets;

namespace Lect.Studio.Tests;

/// <summary>A PostgreSQL of our own on a free port, where its programs are installed.</summary>
internal sealed class Postgres : IDisposable
{
    private readonly string folder, programs;

    private Postgres(string programs)
    {
        this.programs = programs;
        folder = Directory.CreateTempSubdirectory("postgres").FullName;
        using (var listener = new TcpListener(IPAddress.Loopback, 0))
        {
            listener.Start();
            Port = ((IPEndPoint)listener.LocalEndpoint).Port;
        }
        if (Environment.UserName == "root") Run("/bin/chown", "-R", "postgres", folder);   // its programs refuse to be root
        As("initdb", "-D", Path.Combine(folder, "data"), "-U", "lect", "-A", "trust", "-E", "UTF8", "--no-sync");
        As("pg_ctl", "-D", Path.Combine(folder, "data"), "-w", "-l", Path.Combine(folder, "log"), "-o", $"-p {Port} -c listen_addresses=127.0.0.1 -k {folder} -c fsync=off", "start");
    }

    public int Port { get; }

    public string Connection(string database) => $"Host=127.0.0.1;Port={Port};Username=lect;Database={database};Pooling=false";

    /// <summary>Null: there is none on this machine.</summary>
    public static Postgres? StartIfThere()
    {
        var found = (Directory.Exists("/usr/lib/postgresql") ? Directory.GetDirectories("/usr/lib/postgresql").OrderDescending().Select(d => Path.Combine(d, "bin")) : []).Concat((Environment.GetEnvironmentVariable("PATH") ?? "").Split(Path.PathSeparator)).FirstOrDefault(d => File.Exists(Path.Combine(d, "initdb")) && File.Exists(Path.Combine(d, "pg_ctl")));
        return found is null ? null : new(found);
    }

    private void As(string program, params string[] arguments)
    {
        var path = Path.Combine(programs, program);
        if (Environment.UserName == "root") Run("/bin/su", "postgres", "-s", "/bin/sh", "-c", string.Join(' ', arguments.Prepend(path).Select(a => $"'{a}'")));
        else Run(path, arguments);
    }

    private static void Run(string program, params string[] arguments)
    {
        using var process = Process.Start(new ProcessStartInfo(program, arguments) { RedirectStandardOutput = true, UseShellExecute = false, WorkingDirectory = "/" })!;
        process.OutputDataReceived += (_, _) => { };
        process.BeginOutputReadLine();
        if (!process.WaitForExit(60_000) || process.ExitCode != 0) throw new InvalidOperationException($"{program} {string.Join(' ', arguments)} failed.");
    }

    public void Dispose()
    {
        As("pg_ctl", "-D", Path.Combine(folder, "data"), "-m", "immediate", "stop");
        Directory.Delete(folder, recursive: true);
    }
}
