// Baselines that need other people's code, measured in the same run:
//   dotnet run -c Release --project bench/Lect.Benchmarks -- tokenizer | gpt [BATCH TOKENS]
using System.Globalization;
using Lect.Benchmarks;

CultureInfo.CurrentCulture = CultureInfo.InvariantCulture;
switch (args)
{
    case ["tokenizer"]: TokenizerBench.Run(); return 0;
    case ["gpt"]: GptBench.Run(4, 256); return 0;
    case ["gpt", var batch, var tokens]: GptBench.Run(int.Parse(batch), int.Parse(tokens)); return 0;
    default: Console.Error.WriteLine("Expected: tokenizer, or gpt [BATCH TOKENS]."); return 2;
}
