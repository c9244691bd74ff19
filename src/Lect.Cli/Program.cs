using System.CommandLine;
using System.Globalization;
using Lect;

// Numbers are written the same everywhere; the messages are English.
CultureInfo.DefaultThreadCurrentCulture = CultureInfo.CurrentCulture = CultureInfo.InvariantCulture;
Console.OutputEncoding = new System.Text.UTF8Encoding(encoderShouldEmitUTF8Identifier: false);

var root = new RootCommand("lect: language models in .NET, from word2vec to RLHF")
{
    DataCommands.Create(), TokenizerCommands.Create(), TrainCommands.Create(), GenerateCommand.Create(), ScoreCommand.Create(), InspectCommand.Create(), Screen.Verbose,
};
var parsed = root.Parse(args);
if (parsed.Errors.Count > 0)
{
    foreach (var error in parsed.Errors) Console.Error.WriteLine(error.Message);
    Console.Error.WriteLine($"Try: lect {string.Join(' ', args.TakeWhile(a => !a.StartsWith('-')).Take(2))} --help");
    return 2;
}
try { return await parsed.InvokeAsync(new InvocationConfiguration { EnableDefaultExceptionHandler = false, ProcessTerminationTimeout = null }); }
catch (OperationCanceledException) { return 130; }
catch (Exception e) { return Screen.Report(e, parsed.GetValue(Screen.Verbose)); }
