using System.CommandLine;

namespace Lect;

/// <summary>lect attention: a page with what a model attends to.</summary>
internal static class AttentionCommand
{
    public static Command Create()
    {
        var (modelOption, device) = (Screen.Model(), Screen.Device());
        var text = new Option<string>("--text") { Description = "The text; for a translation model the source", Required = true };
        var target = new Option<string?>("--target") { Description = "What a translation model is made to say; by default its own translation" };
        var output = new Option<string>("--out") { Description = "The page", DefaultValueFactory = _ => "attention.html" };
        var command = new Command("attention", "A page with what each layer and head attends to. Example: lect attention --model runs/de-en --text \"ein mann sitzt auf einer bank\" --out map.html") { modelOption, device, text, target, output };
        command.SetAction(int (parsed) =>
        {
            var (folder, source) = (parsed.GetValue(modelOption)!, parsed.GetValue(text)!);
            IReadOnlyList<AttentionView> views;
            if (Translator.IsAt(folder))
            {
                using var translator = Translator.Load(folder, parsed.GetValue(device)!);
                views = AttentionMap.Of(translator, source, parsed.GetValue(target));
            }
            else
            {
                if (parsed.GetValue(target) is not null) throw new InvalidDataException("Found --target with a decoder. Expected it with a translation model only.");
                using var model = LanguageModel.Load(folder, parsed.GetValue(device)!);
                views = AttentionMap.Of(model, source);
            }
            File.WriteAllText(parsed.GetValue(output)!, AttentionMap.Page(source.Length > 80 ? source[..80] + "…" : source, views));
            Console.Error.WriteLine($"done: {parsed.GetValue(output)}");
            return 0;
        });
        return command;
    }
}
