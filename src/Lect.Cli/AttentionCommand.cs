using System.CommandLine;
using Lect.Models;

namespace Lect;

/// <summary>lect attention: a page with what a model attends to.</summary>
internal static class AttentionCommand
{
    public static Command Create()
    {
        var (modelOption, device) = (Screen.Model(), Screen.Device());
        var text = new Option<string>("--text") { Description = "The text; for a translation model the source", Required = true };
        var target = new Option<string?>("--target") { Description = "What a translation model is made to say; by default its own translation" };
        var pair = new Option<string?>("--pair") { Description = "The second text of an encoder's pair" };
        var output = new Option<string>("--out") { Description = "The page", DefaultValueFactory = _ => "attention.html" };
        var command = new Command("attention", "A page with what each layer and head attends to. Example: lect attention --model runs/de-en --text \"ein mann sitzt auf einer bank\" --out map.html") { modelOption, device, text, pair, target, output };
        command.SetAction(int (parsed) =>
        {
            var (folder, source) = (parsed.GetValue(modelOption)!, parsed.GetValue(text)!);
            IReadOnlyList<AttentionView> views;
            if (parsed.GetValue(pair) is not null && !ModelFolder.IsEncoder(folder)) throw new InvalidDataException("Found --pair with a model that reads no pairs. Expected it with an encoder.");
            if (parsed.GetValue(target) is not null && !Translator.IsAt(folder)) throw new InvalidDataException("Found --target with a model that does not translate. Expected it with a translation model only.");
            if (Translator.IsAt(folder))
            {
                using var translator = Translator.Load(folder, parsed.GetValue(device)!);
                views = AttentionMap.Of(translator, source, parsed.GetValue(target));
            }
            else if (ModelFolder.IsEncoder(folder))
            {
                using var encoder = TextEmbedder.Load(folder, parsed.GetValue(device)!);
                views = AttentionMap.Of(encoder, source, parsed.GetValue(pair));
            }
            else
            {
                using var model = LanguageModel.Load(folder, parsed.GetValue(device)!);
                views = AttentionMap.Of(model, source);
            }
            var title = parsed.GetValue(pair) is { } second ? $"{source} {second}" : source;
            File.WriteAllText(parsed.GetValue(output)!, AttentionMap.Page(title, views));
            Console.Error.WriteLine($"done: {parsed.GetValue(output)}");
            return 0;
        });
        return command;
    }
}
