using System.Net;

namespace Lect.Studio;

/// <summary>What <c>lect serve</c> does.</summary>
public sealed record StudioOptions
{
    /// <summary>Model folders; <c>FOLDER+ADAPTER</c> for a LoRA adapter over a folder. The folder's last part is the model's name.</summary>
    public IReadOnlyList<string> Models { get; init; } = [];
    /// <summary>Folders or files of word vectors.</summary>
    public IReadOnlyList<string> Vectors { get; init; } = [];
    /// <summary>auto, cpu, cuda, cuda:N or mps.</summary>
    public string Device { get; init; } = "auto";
    /// <summary>fp32, or bf16: weights of decoders' products are rounded to it, which halves what a token reads. <value>fp32</value></summary>
    public string Dtype { get; init; } = "fp32";
    /// <summary>Address to listen at. <value>127.0.0.1</value></summary>
    public string Host { get; init; } = "127.0.0.1";
    /// <summary>0: any free one. <value>5080</value></summary>
    public int Port { get; init; } = 5080;
    /// <summary>A SQLite file, or PostgreSQL's connection string. <value>studio.db</value></summary>
    public string Db { get; init; } = "studio.db";
    /// <summary>Keys of which a caller must have one; none: only this machine may ask.</summary>
    public IReadOnlyList<string> ApiKeys { get; init; } = [];
    /// <summary>Where run folders are looked for. <value>runs</value></summary>
    public string Runs { get; init; } = "runs";
    /// <summary>Where data sets are looked for; null: nowhere.</summary>
    public string? Data { get; init; }
    /// <summary>Prompts for votes, a row each; null: the page's own few.</summary>
    public string? Prompts { get; init; }
    /// <summary>Limits of each model's host.</summary>
    public ModelHostOptions Hosting { get; init; } = new();
    /// <summary>How long a request may take. <value>300</value></summary>
    public double RequestSeconds { get; init; } = 300;
    /// <summary>Bytes of a request's body. <value>1 MiB</value></summary>
    public long MaxBody { get; init; } = 1 << 20;
    /// <summary>Requests a minute of one caller to the API and the pages' data. <value>600</value></summary>
    public int RequestsPerMinute { get; init; } = 600;
    /// <summary>How long requests in work are waited for at the end. <value>30</value></summary>
    public double GraceSeconds { get; init; } = 30;

    internal bool IsLocal => Host is "localhost" || (IPAddress.TryParse(Host, out var address) && IPAddress.IsLoopback(address));

    /// <summary>Checks what can be checked before anything is opened.</summary>
    /// <exception cref="InvalidDataException">All faults together.</exception>
    public StudioOptions Validate()
    {
        var faults = new List<string>();
        if (!IsLocal && ApiKeys.Count == 0) faults.Add($"found --host {Host} without --api-key: expected a key where others than this machine may ask");
        if (ApiKeys.Any(k => k.Length < 8)) faults.Add("found an --api-key of less than 8 characters");
        if (Host != "localhost" && !IPAddress.TryParse(Host, out _)) faults.Add($"found --host {Host}: expected an IP address or localhost");
        if (Port is < 0 or > 65535) faults.Add($"found --port {Port}: expected 0 to 65535");
        if (Hosting.MaxBatch < 1 || Hosting.MaxQueue < 1) faults.Add("found a batch or a queue below 1");
        if (!(RequestSeconds > 0) || MaxBody < 1 || RequestsPerMinute < 1) faults.Add("found a limit below 1");
        if (Data is not null && !Directory.Exists(Data)) faults.Add($"found no folder {Data} (--data)");
        return faults.Count == 0 ? this : throw new InvalidDataException("lect serve: " + string.Join("; ", faults) + ".");
    }
}
