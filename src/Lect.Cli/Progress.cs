using System.Diagnostics;
using System.Globalization;
using System.Text.Json.Nodes;

namespace Lect;

/// <summary>Shows how a run goes on standard error: one line that is rewritten on a terminal, lines from time to time elsewhere.</summary>
internal sealed class Progress : IDisposable
{
    private static readonly TimeSpan s_between = TimeSpan.FromSeconds(10);   // where nothing can be rewritten

    private readonly bool rewrites = !Console.IsErrorRedirected;
    private readonly Stopwatch sinceLast = new();
    private int shown;

    public void Show(TrainEvent e)
    {
        if (e.Metrics["lr"] is null && Unit(e) is null) { Note(Evaluation(e)); return; }
        var line = Line(e);
        if (rewrites)
        {
            var fitted = line.Length < Console.WindowWidth ? line : line[..Math.Max(0, Console.WindowWidth - 1)];
            Console.Error.Write("\r" + fitted.PadRight(shown));
            shown = fitted.Length;
        }
        else if (!sinceLast.IsRunning || sinceLast.Elapsed > s_between || e.Step == e.Steps)
        {
            sinceLast.Restart();
            Console.Error.WriteLine(line);
        }
    }

    /// <summary>A line that stays.</summary>
    public void Note(string text)
    {
        if (shown > 0) Console.Error.Write("\r" + new string(' ', shown) + "\r");
        shown = 0;
        Console.Error.WriteLine(text);
    }

    private static string Line(TrainEvent e) => Name(e)
        + (e.Metrics["loss"] is null ? "" : Text($"  loss {Number(e.Metrics, "loss"):0.0000}")) + Text($"  lr {Number(e.Metrics, "lr"):0.00e+0}")
        + (e.Metrics["grad_norm"] is null ? "" : Text($"  norm {Number(e.Metrics, "grad_norm"):0.00}"))
        + (Unit(e) is { } unit ? Text($"  {Number(e.Metrics, unit + "_per_second_per_thread"):N0} {unit}/s a thread") : Text($"  {Number(e.Metrics, "tokens_per_second"):N0} tokens/s"))
        + $"  {Time(e.Remaining)} left";

    // Word vectors have no steps: they say how far they are.
    private static string Name(TrainEvent e) => Unit(e) is null ? $"step {e.Step}/{e.Steps}" : Text($"{100.0 * e.Step / e.Steps,5:0.0} %");

    private static string? Unit(TrainEvent e) => Array.Find(["words", "pairs"], unit => e.Metrics.ContainsKey(unit + "_per_second_per_thread"));

    private static string Text(FormattableString text) => text.ToString(CultureInfo.InvariantCulture);

    private static string Evaluation(TrainEvent e)
    {
        var figures = string.Join("  ", e.Metrics.Where(m => m.Key != "step" && m.Value?.GetValueKind() == System.Text.Json.JsonValueKind.Number).Select(m => string.Create(CultureInfo.InvariantCulture, $"{m.Key} {(double)m.Value!:0.0000}")));
        return $"step {e.Step}  {figures}" + (e.Metrics["sample"] is { } sample ? $"\n  | {((string)sample!).ReplaceLineEndings("\n  | ")}" : "");
    }

    private static double Number(JsonObject metrics, string name) => (double?)metrics[name] ?? double.NaN;

    public static string Time(TimeSpan time) => time == TimeSpan.MaxValue ? "?" : time.TotalHours >= 1 ? $"{(int)time.TotalHours}:{time.Minutes:00}:{time.Seconds:00}" : $"{time.Minutes}:{time.Seconds:00}";

    public void Dispose()
    {
        if (shown > 0) Console.Error.WriteLine();
    }
}
