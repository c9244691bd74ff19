using System.CommandLine;
using System.Globalization;
using System.Text.Json.Nodes;
using Spectre.Console;

namespace Lect;

/// <summary>lect show attention|mask|positions|norm: the matrices of the lecture's slides.</summary>
internal static class ShowCommands
{
    public static Command Create() => new("show", "The lecture's slides as numbers") { Attention(), Mask(), Positions(), Norm() };

    private static Command Attention()
    {
        var text = new Argument<string>("sentence") { Description = "Words between blanks", DefaultValueFactory = _ => "She is eating a green apple ." };
        var width = new Option<int>("--width") { Description = "d, numbers of a query and of a key", DefaultValueFactory = _ => 64 };
        var seed = new Option<long>("--seed") { Description = "Key of the random numbers", DefaultValueFactory = _ => 1 };
        var json = Screen.Json();
        var command = new Command("attention", "Scaled dot-product attention of a sentence whose vectors are drawn at random: scores, masked scores, softmax. Example: lect show attention") { text, width, seed, json };
        command.SetAction(int (parsed) =>
        {
            var words = parsed.GetValue(text)!.Split(' ', StringSplitOptions.RemoveEmptyEntries);
            if (words.Length == 0 || parsed.GetValue(width) < 1) throw new InvalidDataException("Found no word, or a width below 1. Expected at least one.");
            return Scores(Slides.RandomScores(words.Length, parsed.GetValue(width), parsed.GetValue(seed)), words, parsed.GetValue(json));
        });
        return command;
    }

    private static Command Mask()
    {
        var json = Screen.Json();
        var command = new Command("mask", "The slide's five positions: scores, -inf above the diagonal, softmax. Example: lect show mask") { json };
        command.SetAction(int (parsed) => Scores(Slides.Scores, null, parsed.GetValue(json)));
        return command;
    }

    private static int Scores(double[,] scores, string[]? words, bool json)
    {
        var masked = Slides.Masked(scores);
        (string, double[,])[] all = [("scores", scores), ("softmax", Slides.Softmax(scores)), ("masked_scores", masked), ("masked_softmax", Slides.Softmax(masked))];
        return Show(all, words, words, json);
    }

    private static Command Positions()
    {
        var positions = new Option<int>("--positions") { Description = "Rows", DefaultValueFactory = _ => 10 };
        var width = new Option<int>("--width") { Description = "Columns; odd ones too", DefaultValueFactory = _ => 5 };
        var json = Screen.Json();
        var command = new Command("positions", "Sinusoidal positional encoding, as numbers or (more than 12 columns) as a heat map. Example: lect show positions --positions 40 --width 64") { positions, width, json };
        command.SetAction(int (parsed) =>
        {
            var (rows, columns) = (parsed.GetValue(positions), parsed.GetValue(width));
            if (rows is < 1 or > 10_000 || columns is < 1 or > 10_000) throw new InvalidDataException($"Found {rows} positions of width {columns}. Expected 1 to 10,000 of each.");
            return Show([("positions", Slides.Positions(rows, columns))], [.. Enumerable.Range(0, rows).Select(r => r.ToString(CultureInfo.InvariantCulture))], [.. Enumerable.Range(0, columns).Select(c => c.ToString(CultureInfo.InvariantCulture))], parsed.GetValue(json));
        });
        return command;
    }

    private static Command Norm()
    {
        var json = Screen.Json();
        var command = new Command("norm", "The slide's scores as activations: layer normalization by rows, batch normalization by columns. Example: lect show norm") { json };
        command.SetAction(int (parsed) => Show([("activations", Slides.Scores), ("layer_norm", Slides.LayerNorm(Slides.Scores)), ("batch_norm", Slides.BatchNorm(Slides.Scores))], null, null, parsed.GetValue(json)));
        return command;
    }

    private static int Show((string Name, double[,] Values)[] matrices, string[]? rows, string[]? columns, bool json)
    {
        if (json)
        {
            Console.WriteLine(new JsonObject(matrices.Select(m => KeyValuePair.Create(m.Name, (JsonNode?)Json(m.Values)))).ToJsonString());
            return 0;
        }
        foreach (var (name, values) in matrices)
        {
            Console.WriteLine(name.Replace('_', ' '));
            if (values.GetLength(1) > 12) HeatMap(values);
            else Table(values, rows, columns);
        }
        return 0;
    }

    private static JsonArray Json(double[,] values) => new([.. Enumerable.Range(0, values.GetLength(0)).Select(r => new JsonArray([.. Enumerable.Range(0, values.GetLength(1)).Select(c => double.IsFinite(values[r, c]) ? JsonValue.Create(values[r, c]) : (JsonNode)"-inf")]))]);

    private static void Table(double[,] values, string[]? rows, string[]? columns)
    {
        var table = new Table().Border(TableBorder.Rounded);
        table.AddColumn("");
        for (var c = 0; c < values.GetLength(1); c++) table.AddColumn(new TableColumn(Markup.Escape(columns?[c] ?? "")).RightAligned());
        if (columns is null) table.HideHeaders();
        for (var r = 0; r < values.GetLength(0); r++)
            table.AddRow([Markup.Escape(rows?[r] ?? ""), .. Enumerable.Range(0, values.GetLength(1)).Select(c => double.IsNegativeInfinity(values[r, c]) ? "-∞" : values[r, c].ToString("0.000", CultureInfo.InvariantCulture))]);
        AnsiConsole.Write(table);
    }

    // One sign a number, from -1 to 1.
    private static void HeatMap(double[,] values)
    {
        const string Shades = " .:-=+*#%@";
        for (var r = 0; r < values.GetLength(0); r++)
            Console.WriteLine(string.Concat(Enumerable.Range(0, values.GetLength(1)).Select(c => Shades[Math.Clamp((int)((values[r, c] + 1) / 2 * Shades.Length), 0, Shades.Length - 1)])));
    }
}
