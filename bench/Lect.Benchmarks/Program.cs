// Baselines that need other people's code, measured in the same run as ours ('lect bench' has the rest):
//   dotnet run -c Release --project bench/Lect.Benchmarks -- tokenizer
//   dotnet run -c Release --project bench/Lect.Benchmarks -- words [CORPUS] [--programs FOLDER_OF_C_PROGRAMS]
//   dotnet run -c Release --project bench/Lect.Benchmarks -- processes [LAYERS WIDTH BATCH]     (processes beside threads: Open MPI)
// and proofs that are too long for a test:
//   dotnet run -c Release --project bench/Lect.Benchmarks -- memory
//   dotnet run -c Release --project bench/Lect.Benchmarks -- stream
using System.Globalization;
using Lect.Benchmarks;

CultureInfo.CurrentCulture = CultureInfo.InvariantCulture;
if (args is ["tokenizer"]) { TokenizerBaseline.Run(); return 0; }
if (args is ["words", .. var rest]) { WordsBaseline.Run(rest); return 0; }
if (args is ["processes", "train", var run, var layers, var width, var batch]) return ProcessesBench.Train(run, int.Parse(layers), int.Parse(width), int.Parse(batch));
if (args is ["processes", .. var shape]) return ProcessesBench.Run(shape is [] ? ["4", "256", "32"] : shape);
if (args is ["memory"]) return MemoryProof.Run();
if (args is ["stream"]) return StreamProof.Run();
Console.Error.WriteLine("Expected: tokenizer, words, processes, memory or stream.");
return 2;
