// Baselines that need other people's code, measured in the same run as ours ('lect bench' has the rest):
//   dotnet run -c Release --project bench/Lect.Benchmarks -- tokenizer
//   dotnet run -c Release --project bench/Lect.Benchmarks -- words [CORPUS] [--programs FOLDER_OF_C_PROGRAMS]
// and proofs that are too long for a test:
//   dotnet run -c Release --project bench/Lect.Benchmarks -- memory
//   dotnet run -c Release --project bench/Lect.Benchmarks -- stream
using System.Globalization;
using Lect.Benchmarks;

CultureInfo.CurrentCulture = CultureInfo.InvariantCulture;
if (args is ["tokenizer"]) { TokenizerBaseline.Run(); return 0; }
if (args is ["words", .. var rest]) { WordsBaseline.Run(rest); return 0; }
if (args is ["memory"]) return MemoryProof.Run();
if (args is ["stream"]) return StreamProof.Run();
Console.Error.WriteLine("Expected: tokenizer, words, memory or stream.");
return 2;
