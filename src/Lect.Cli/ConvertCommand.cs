using System.CommandLine;

namespace Lect;

/// <summary>lect convert: models from and to other formats.</summary>
internal static class ConvertCommand
{
    public static Command Create()
    {
        var source = new Argument<string>("source") { Description = "A model folder, or a .bin of llama2.c" };
        var output = new Option<string>("--out") { Description = "The new folder", Required = true };
        var type = new Option<string?>("--dtype") { Description = string.Join(", ", ModelConversion.Types) };
        var tokenizer = new Option<string?>("--tokenizer") { Description = "The tokenizer.bin of a llama2.c model" };
        var adapter = Screen.Adapter();
        var command = new Command("convert", "Write a model folder from another format, in another precision, or with adapters merged into it. Example: lect convert runs/gpt --adapter runs/sft-lora --out runs/sft") { source, output, type, tokenizer, adapter };
        command.SetAction(int (parsed) =>
        {
            ModelConversion.Run(parsed.GetValue(source)!, parsed.GetValue(output)!, parsed.GetValue(type)?.ToUpperInvariant(), parsed.GetValue(tokenizer), parsed.GetValue(adapter));
            Console.Error.WriteLine($"model in {parsed.GetValue(output)}");
            return 0;
        });
        return command;
    }
}
