using System.Text;
using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.Json.Nodes;
using Lect.Models;
using TorchSharp;

namespace Lect;

/// <summary>Where a run stands.</summary>
/// <param name="Step">Optimizer steps taken.</param>
/// <param name="Tokens">Tokens seen.</param>
/// <param name="BestStep">The step of the best evaluation; -1 before the first.</param>
/// <param name="Best">Its figure, lower is better (the negative of one whose highest value is best).</param>
public sealed record RunState(long Step, long Tokens, long BestStep, double Best)
{
    /// <summary>Nothing done yet.</summary>
    public static RunState Start { get; } = new(0, 0, -1, double.MaxValue);
}

/// <summary>
/// The folder of a training run: <c>run.yaml</c>, <c>metrics.jsonl</c>, <c>tensorboard/</c>, <c>checkpoints/step-NNNNNN/</c>, and at its root the model in
/// Hugging Face's layout. A checkpoint is written beside its place, flushed and renamed, so that a kill at any moment leaves a usable one.
/// </summary>
public sealed class RunFolder : IDisposable
{
    private const string SettingsFile = "run.yaml", Metrics = "metrics.jsonl", Optimizer = "optimizer.safetensors", State = "state.json";

    private static readonly JsonSerializerOptions s_json = new() { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

    private readonly FileStream? occupied, metrics;

    private RunFolder(string path, bool isOurs)
    {
        Path = path;
        if (!isOurs) return;
        occupied = new(System.IO.Path.Combine(path, "lock"), FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.None, 1, FileOptions.DeleteOnClose);
        metrics = new(System.IO.Path.Combine(path, Metrics), FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.Read);
    }

    /// <summary>The folder.</summary>
    public string Path { get; }

    /// <summary>Whether this process writes the folder; in the others of a data-parallel run (<see cref="Processes"/>) what would be written is not.</summary>
    internal bool IsOurs => metrics is not null;

    /// <summary>Checkpoints, oldest first.</summary>
    public IReadOnlyList<string> Checkpoints => CheckpointsIn(Path);

    private static List<string> CheckpointsIn(string path) => Directory.Exists(System.IO.Path.Combine(path, "checkpoints"))
        ? [.. Directory.GetDirectories(System.IO.Path.Combine(path, "checkpoints"), "step-*").Where(c => File.Exists(System.IO.Path.Combine(c, State))).OrderBy(StepOf)] : [];

    private static long StepOf(string checkpoint) => long.TryParse(System.IO.Path.GetFileName(checkpoint)["step-".Length..], out var step) ? step : -1;

    /// <summary>Whether a folder holds a run.</summary>
    public static bool IsAt(string path) => File.Exists(System.IO.Path.Combine(path, SettingsFile));

    /// <summary>The settings of a run that is to go on: its own, which <paramref name="sets"/> may only lengthen.</summary>
    /// <param name="path">The run's folder.</param>
    /// <param name="sets"><c>train.steps</c>, and what the run has anyway.</param>
    /// <exception cref="InvalidDataException">No run there, other settings, or fewer steps.</exception>
    public static T SettingsOf<T>(string path, IReadOnlyList<string> sets) where T : IRecipeConfig, new()
    {
        if (!IsAt(path)) throw new InvalidDataException($"Found no run in {path}: it holds no {SettingsFile}. Expected the folder of a run that was begun (--out); leave --resume away to begin one.");
        var file = System.IO.Path.Combine(path, SettingsFile);
        var (began, goesOn) = (RunFile.Load<T>(file), RunFile.Load<T>(file, sets));
        foreach (var set in sets.Where(s => !s.StartsWith("train.steps=", StringComparison.Ordinal)))
            if (RunFile.Write(RunFile.Load<T>(file, [set])) != RunFile.Write(began))
                throw new InvalidDataException($"Found --set {set} for the run in {path}, which was begun with another value. Expected train.steps only: the rest stays as the run began. Begin a new run (another --out) for other settings.");
        if (goesOn.Loop.Steps < began.Loop.Steps) throw new InvalidDataException($"Found train.steps = {goesOn.Loop.Steps} for the run in {path}, which was begun with {began.Loop.Steps}. Expected at least as many: a run that is resumed can only be lengthened.");
        return goesOn;
    }

    /// <summary>Whether a folder holds a run with something to lose, its own or that of a seed (seed-N): a checkpoint.</summary>
    public static bool IsOccupied(string path) => CheckpointsIn(path).Count > 0 || (Directory.Exists(path) && Directory.EnumerateDirectories(path, "seed-*").Any(IsOccupied));

    /// <summary>Begins a run in a new or empty folder, or in one where a run ended before its first checkpoint.</summary>
    /// <exception cref="InvalidDataException">The folder holds something else.</exception>
    public static RunFolder Begin<T>(string path, T settings)
    {
        if (path.Length == 0 || File.Exists(path)) throw new InvalidDataException($"Found {(path.Length == 0 ? "no name" : $"the file {path}")} where a run is to be kept. Expected a new or empty folder: choose another --out.");
        if (IsOccupied(path)) throw Occupied(path);
        if (File.Exists(System.IO.Path.Combine(path, VectorFiles.Vectors))) throw new InvalidDataException($"Found word vectors in {path}. Expected a new or empty folder: choose another --out, or remove it.");
        // A start that came to nothing left its settings, or, killed before it wrote these, an empty file of metrics.
        bool IsOfAStart(FileInfo file) => file.Name == "lock" || (file.Name == Metrics && file.Length == 0);
        if (!IsAt(path) && Directory.Exists(path) && (Directory.EnumerateDirectories(path).Any() || !new DirectoryInfo(path).EnumerateFiles().All(IsOfAStart)))
            throw new InvalidDataException($"Found files in {path} that are no run of Lect's. Expected a new or empty folder: choose another --out.");
        Directory.CreateDirectory(path);
        var run = Open(path);
        foreach (var made in new[] { "data", "tensorboard", "checkpoints" }.Select(d => System.IO.Path.Combine(path, d)).Where(Directory.Exists)) Directory.Delete(made, recursive: true);   // of a start that came to nothing
        run.metrics!.SetLength(0);
        run.SaveSettings(settings);
        return run;
    }

    /// <summary>Opens the run of a folder that has a checkpoint, else begins one there: what each recipe does first. In a data-parallel run all but the first process wait here until that one is ready to train.</summary>
    /// <param name="path">The run's folder.</param>
    /// <param name="settings">The run's; in a process that waited those that the first one resolved.</param>
    /// <exception cref="InvalidDataException">The folder holds something else, or another process works on it.</exception>
    public static RunFolder OpenOrBegin<T>(string path, ref T settings) where T : IRecipeConfig, new()
    {
        if (Processes.IsFirst) return CheckpointsIn(path).Count > 0 ? Open(path) : Begin(path, settings);
        Processes.Meet();
        settings = SettingsOf<T>(path, []);
        return new(path, isOurs: false);
    }

    /// <summary>What is said where a new run would overwrite another.</summary>
    public static InvalidDataException Occupied(string path) => new($"Found another run in {path}. Expected a new or empty folder: choose another --out, go on with that run by --resume, or remove it.");

    /// <summary>Opens a run that was begun. One process at a time.</summary>
    /// <exception cref="InvalidDataException">Another process works on it.</exception>
    public static RunFolder Open(string path)
    {
        try { return new(path, isOurs: true); }
        catch (IOException e) when (e.GetType() == typeof(IOException)) { throw new InvalidDataException($"Found that another process works on the run in {path}. Wait for it, or stop it. ({e.Message})", e); }
    }

    /// <summary>Writes run.yaml: the settings with everything resolved that was left open.</summary>
    public void SaveSettings<T>(T settings)
    {
        if (IsOurs) SaveSettings(Path, settings);
    }

    internal static void SaveSettings<T>(string path, T settings) => ModelFolder.WriteText(System.IO.Path.Combine(Directory.CreateDirectory(path).FullName, SettingsFile), RunFile.Write(settings));

    /// <summary>Goes back to the last checkpoint: fills the model's weights and the optimizer, and cuts the metrics behind it.</summary>
    /// <param name="model">Fills the model from the checkpoint's folder.</param>
    /// <param name="optimizer">Gets its moments.</param>
    /// <returns>Where the run stands; <see cref="RunState.Start"/> where there is no checkpoint.</returns>
    public RunState Restore(Action<string> model, AdamW optimizer)
    {
        var state = RunState.Start;
        if (!IsOurs) return state;
        if (Checkpoints is [.., var last])
        {
            state = JsonSerializer.Deserialize<RunState>(File.ReadAllText(System.IO.Path.Combine(last, State)))!;
            model(last);
            optimizer.LoadState(Weights.Open(System.IO.Path.Combine(last, Optimizer)));
        }
        CutMetrics(state.Step);
        return state;
    }

    /// <summary>The state of the last checkpoint, without loading it.</summary>
    public static RunState LastState(string path) => CheckpointsIn(path) is [.., var last] ? JsonSerializer.Deserialize<RunState>(File.ReadAllText(System.IO.Path.Combine(last, State)))! : RunState.Start;

    // The lines up to the checkpoint are the file's beginning: cut once, so that a kill meanwhile loses none of them.
    private void CutMetrics(long step)
    {
        metrics!.Position = 0;
        using var reader = new StreamReader(metrics, Encoding.UTF8, leaveOpen: true);
        long end = 0;
        while (step > 0 && reader.ReadLine() is { } line && Parse(line) is { } json && (long?)json["step"] <= step) end += Encoding.UTF8.GetByteCount(line) + 1;
        metrics.SetLength(Math.Min(end, metrics.Length));
        metrics.Position = metrics.Length;
    }

    private static JsonObject? Parse(string line)
    {
        try { return JsonNode.Parse(line) as JsonObject; }
        catch (JsonException) { return null; }   // a line that a kill cut short
    }

    /// <summary>Appends one event.</summary>
    public void Log(JsonObject line)
    {
        metrics?.Write(Encoding.UTF8.GetBytes(line.ToJsonString(s_json) + "\n"));
        metrics?.Flush();
    }

    /// <summary>Lines of a run's metrics.jsonl so far, while it goes on too.</summary>
    public static IEnumerable<JsonObject> ReadMetrics(string path)
    {
        using var reader = new StreamReader(new FileStream(System.IO.Path.Combine(path, Metrics), FileMode.Open, FileAccess.Read, FileShare.ReadWrite));
        while (reader.ReadLine() is { } line)
            if (Parse(line) is { } json) yield return json;
    }

    /// <summary>Writes a checkpoint; keeps the last ones and that of the best evaluation.</summary>
    /// <param name="state">Where the run stands.</param>
    /// <param name="saveModel">Writes the model into a folder.</param>
    /// <param name="optimizer">Its moments.</param>
    /// <param name="keep">How many of the last are kept.</param>
    /// <exception cref="IOException">It cannot be written; the checkpoints before it are untouched.</exception>
    public void Checkpoint(RunState state, Action<string> saveModel, AdamW optimizer, int keep = 2)
    {
        if (!IsOurs) return;
        var folder = System.IO.Path.Combine(Path, "checkpoints", $"step-{state.Step:000000}");
        if (Directory.Exists(folder)) return;   // written by the evaluation of the same step, or before a kill
        var temporary = System.IO.Path.Combine(Path, "checkpoints", "unfinished");
        try
        {
            if (Directory.Exists(temporary)) Directory.Delete(temporary, recursive: true);
            Directory.CreateDirectory(temporary);
            saveModel(temporary);
            SafeTensorsFile.Write(System.IO.Path.Combine(temporary, Optimizer), optimizer.State);
            ModelFolder.WriteText(System.IO.Path.Combine(temporary, State), JsonSerializer.Serialize(state) + "\n");
            Directory.Move(temporary, folder);
        }
        catch (IOException e)
        {
            if (Directory.Exists(temporary)) Directory.Delete(temporary, recursive: true);
            throw new IOException($"The checkpoint of step {state.Step} could not be written: {e.Message} {(Checkpoints is [.., var last] ? $"The last whole one is {last}. Free space and go on with --resume." : "There is none before it. Free space and begin again with --resume.")}", e);
        }
        foreach (var old in Checkpoints.SkipLast(keep).Where(c => StepOf(c) != state.BestStep))
        {
            Directory.Move(old, temporary);   // a kill leaves no half of it under its name
            Directory.Delete(temporary, recursive: true);
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        metrics?.Dispose();
        occupied?.Dispose();
    }
}
