using System.Text.Json;
using System.Text.Json.Nodes;
using TorchSharp;

namespace Lect;

/// <summary>TensorBoard's event files, written from the lines of metrics.jsonl: after a resume they are made anew from it, so that no step stands twice.</summary>
internal sealed class EventLog(RunFolder run) : IDisposable
{
    private TorchSharp.Modules.SummaryWriter? writer;

    private string Folder => Path.Combine(run.Path, "tensorboard");

    /// <summary>Replaces what an earlier process wrote by what metrics.jsonl has.</summary>
    public void Begin()
    {
        if (!run.IsOurs) return;
        if (Directory.Exists(Folder)) Directory.Delete(Folder, recursive: true);
        writer = torch.utils.tensorboard.SummaryWriter(Folder);
        foreach (var line in RunFolder.ReadMetrics(run.Path)) Write(line);
    }

    public void Write(JsonObject line)
    {
        if (writer is null) return;
        var step = (int)(long)line["step"]!;
        foreach (var (name, value) in line)
            if (name is not ("step" or "tokens") && value?.GetValueKind() == JsonValueKind.Number) writer.add_scalar(name.StartsWith("val_", StringComparison.Ordinal) || name.Contains('/', StringComparison.Ordinal) ? name : "train/" + name, (float)(double)value, step);
        if (line["sample"] is { } sample) writer.add_text("sample", (string)sample!, step);
    }

    public void Dispose() => (writer as IDisposable)?.Dispose();
}
