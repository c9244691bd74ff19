using System.CommandLine;
using System.CommandLine.Help;
using System.Globalization;
using Lect;

// Numbers are written the same everywhere; the messages are English.
CultureInfo.DefaultThreadCurrentCulture = CultureInfo.CurrentCulture = CultureInfo.InvariantCulture;
Console.OutputEncoding = new System.Text.UTF8Encoding(encoderShouldEmitUTF8Identifier: false);

var root = new RootCommand("lect: language models in .NET, from word2vec to RLHF")
{
    DemoCommand.Create(), DataCommands.Create(), TokenizerCommands.Create(), TrainCommands.Create(), TrainCommands.Finetune(), TrainCommands.Align(), ChatCommands.Chat(), ChatCommands.Template(), ChatCommands.Reward(), GenerateCommand.Create(), ScoreCommand.Create(),
    EncoderCommands.FillMask(), EncoderCommands.NextSentence(), ClassifyCommand.Create(), EncoderCommands.Choose(), EncoderCommands.Answer(), EncoderCommands.Tag(), TranslateCommand.Create(), AttentionCommand.Create(), ServeCommands.Serve(), ServeCommands.Improve(), ShowCommands.Create(), VectorCommands.Nearest(), VectorCommands.Analogy(), VectorCommands.Embed(), VectorCommands.Map(), EvaluateCommands.Create(), InspectCommand.Create(), ConvertCommand.Create(), BenchCommands.Create(), CompletionCommand.Create(), Screen.Verbose,
};
var parsed = root.Parse(args);
if (parsed.Errors.Count > 0 && parsed.Action is not HelpAction)
{
    foreach (var error in parsed.Errors) Console.Error.WriteLine(error.Message);
    Console.Error.WriteLine($"Try: lect {string.Join(' ', args.TakeWhile(a => !a.StartsWith('-')).Take(2))} --help");
    return 2;
}
if (parsed.CommandResult.GetResult("--out") is System.CommandLine.Parsing.OptionResult { Tokens: [{ Value.Length: 0 }] })
{
    Console.Error.WriteLine("lect: Found --out without a name. Expected a folder or file.");
    return 2;
}
if (parsed.CommandResult.Children.OfType<System.CommandLine.Parsing.OptionResult>().FirstOrDefault(o => (o.Option.ValueType == typeof(double) || o.Option.ValueType == typeof(double?)) && o.GetValueOrDefault<double?>() is { } number && !double.IsFinite(number)) is { } endless)
{
    Console.Error.WriteLine($"lect: Found {endless.Option.Name} {endless.Tokens[0].Value}. Expected a number.");
    return 2;
}
// System.CommandLine calls the program by its assembly (Lect.Cli); people type lect.
using var help = parsed.Action is HelpAction ? new StringWriter() : null;
var configuration = new InvocationConfiguration { EnableDefaultExceptionHandler = false, ProcessTerminationTimeout = null };
if (help is not null) configuration.Output = help;
try
{
    var code = await parsed.InvokeAsync(configuration);
    Console.Out.Write(help?.ToString().Replace(root.Name, "lect", StringComparison.Ordinal));
    return code;
}
catch (OperationCanceledException) { return 130; }
catch (Exception e)
{
    if (!Processes.IsFirst) Thread.Sleep(TimeSpan.FromSeconds(2));   // the first process most likely says the same, and mpirun ends this one
    return Screen.Report(e, parsed.GetValue(Screen.Verbose));
}
