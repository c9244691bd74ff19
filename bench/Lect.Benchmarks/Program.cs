// Baselines that need other people's code, measured in the same run as ours ('lect bench' has the rest):
//   dotnet run -c Release --project bench/Lect.Benchmarks -- tokenizer
using System.Globalization;
using Lect.Benchmarks;

CultureInfo.CurrentCulture = CultureInfo.InvariantCulture;
if (args is ["tokenizer"]) { TokenizerBaseline.Run(); return 0; }
Console.Error.WriteLine("Expected: tokenizer.");
return 2;
