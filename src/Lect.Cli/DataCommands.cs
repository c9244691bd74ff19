using System.CommandLine;
using System.Text.Encodings.Web;
using System.Text.Json;
using Lect.Text;

namespace Lect;

/// <summary>lect data show.</summary>
internal static class DataCommands
{
    private static readonly JsonSerializerOptions s_compact = new() { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

    public static Command Create() => new("data", "Look at data") { Show() };

    private static Command Show()
    {
        var path = new Argument<string>("path") { Description = "A file, folder or glob: .txt, .jsonl, .json, each also .gz or .zst" };
        var rows = new Option<int?>("--rows") { Description = "Rows to show; all by default" };
        var json = new Option<bool>("--json") { Description = "JSON lines on standard output (they are in any case)" };
        var command = new Command("show", "The rows as they are read. Example: lect data show train.jsonl --rows 3") { path, rows, json };
        command.SetAction(int (parsed) =>
        {
            foreach (var row in Rows.Read(parsed.GetValue(path)!).Take(parsed.GetValue(rows) ?? int.MaxValue)) Console.WriteLine(row.ToJsonString(s_compact));
            return 0;
        });
        return command;
    }
}
