using System.CommandLine;
using System.Globalization;
using System.Text.Json.Nodes;

namespace Lect;

/// <summary>lect bench: how fast this machine is at Lect's jobs.</summary>
internal static class BenchCommands
{
    private static readonly BenchShape s_gpt = new();
    private static readonly Option<int> s_layers = Number("--layers", "Layers", s_gpt.Layers), s_heads = Number("--heads", "Attention heads", s_gpt.Heads), s_width = Number("--width", "Width", s_gpt.Width), s_vocab = Number("--vocab", "Tokens of the vocabulary", s_gpt.Vocab),
        s_batch = Number("--batch", "Rows", s_gpt.Batch), s_seq = Number("--seq", "Tokens a row", s_gpt.Seq), s_threads = Number("--threads", "Threads", s_gpt.Threads);
    private static readonly Option<string> s_dtype = new("--dtype") { Description = "fp32, bf16 or auto (the faster one here)", DefaultValueFactory = _ => "auto" };

    private static Option<int> Number(string name, string description, int otherwise)
    {
        var option = new Option<int>(name) { Description = description, DefaultValueFactory = _ => otherwise };
        option.Validators.Add(found => { if (found.GetValueOrDefault<int>() < 1) found.AddError($"Found {name} {found.GetValueOrDefault<int>()}. Expected at least 1."); });
        return option;
    }

    public static Command Create()
    {
        s_dtype.AcceptOnlyFromAmong("fp32", "bf16", "auto");
        return new("bench", "Measure speed on this machine, beside baselines of the same run") { Train(), Llama(), Bert("bert"), Decode(), Lora(), Sampling(), Pairs("pairs"), TokenizerCommand(), Plain(), Bert("plain-bert"), Pairs("plain-pairs") };
    }

    private static Command Shaped(string name, string description, Action<BenchShape, bool> run) => Shaped(name, description, (_, shape, json) => run(shape, json));

    private static Command Shaped(string name, string description, Action<ParseResult, BenchShape, bool> run)
    {
        var json = Screen.Json();
        var command = new Command(name, description) { s_layers, s_heads, s_width, s_vocab, s_batch, s_seq, s_dtype, s_threads, json };
        command.SetAction(int (parsed) => { run(parsed, Shape(parsed), parsed.GetValue(json)); return 0; });
        return command;
    }

    private static BenchShape Shape(ParseResult p) => new() { Layers = p.GetValue(s_layers), Heads = p.GetValue(s_heads), Width = p.GetValue(s_width), Vocab = p.GetValue(s_vocab), Batch = p.GetValue(s_batch), Seq = p.GetValue(s_seq), Dtype = p.GetValue(s_dtype)!, Threads = p.GetValue(s_threads) };

    private static Command Train() => Shaped("train", "A training step of GPT-2 beside its matrix products and beside plain TorchSharp. Example: lect bench train --seq 256", (shape, json) =>
        Show(TrainBench.Run(shape, s => TrainBench.InAnotherProcess(["bench", "plain-train", .. Arguments(s.ToJson())])), json));

    private static Command Bert(string name)
    {
        var d = new BenchShape { Vocab = 30522, Batch = 8, Seq = 128 };
        var (vocab, batch, seq, json) = (Number("--vocab", "Tokens of the vocabulary", d.Vocab), Number("--batch", "Rows", d.Batch), Number("--seq", "Tokens a row", d.Seq), Screen.Json());
        var command = new Command(name, "A pre-training step of BERT beside its matrix products and beside plain TorchSharp. Example: lect bench bert --layers 4 --width 256 --heads 4") { s_layers, s_heads, s_width, vocab, batch, seq, s_dtype, s_threads, json };
        var sentences = new Option<int>("--sentences") { Description = "Sentences classified in batches and one by one; 0: only the step" };
        command.Add(sentences);
        command.Hidden = name != "bert";
        command.SetAction(int (p) =>
        {
            var shape = Shape(p) with { Vocab = p.GetValue(vocab), Batch = p.GetValue(batch), Seq = p.GetValue(seq) };
            if (p.GetValue(sentences) > 0) Show(BertBench.Sentences(shape, p.GetValue(sentences)), p.GetValue(json));
            else if (command.Hidden) Console.WriteLine(BertBench.Plain(shape));
            else Show(BertBench.Run(shape, s => TrainBench.InAnotherProcess(["bench", "plain-bert", .. Arguments(s.ToJson())])), p.GetValue(json));
            return 0;
        });
        return command;
    }

    private static Command Llama() => Shaped("llama", "A Llama beside a GPT-2 of its shape: a training step, its kernels, reading a prompt. Example: lect bench llama --seq 256", (shape, json) =>
    {
        foreach (var result in LlamaBench.Run(shape)) Show(result, json);
    });

    private static Command Lora() => Shaped("lora", "A training step of a low-rank adapter beside one of all weights. Example: lect bench lora --layers 4 --width 256 --heads 4 --vocab 8000", (shape, json) =>
    {
        var (result, resident, whole) = AlignBench.LoraStep(shape);
        Show(result, json);
        if (!json) Console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"  {resident:0} MB resident with the adapter, {whole:0} MB with all weights"));
    });

    private static Command Sampling() => Shaped("sampling", "Answers sampled in a batch beside one by one. Example: lect bench sampling --layers 4 --width 192 --heads 4 --vocab 4000 --batch 64 --seq 96", (shape, json) => Show(AlignBench.Sampling(shape), json));

    private static Command Decode()
    {
        var llama = new Option<bool>("--llama") { Description = "A Llama instead of GPT-2" };
        var command = Shaped("decode", "Greedy decoding with the cache. Example: lect bench decode --batch 1 --seq 256", (parsed, shape, json) =>
        {
            var (result, first, last) = DecodeBench.Run(shape, parsed.GetValue(llama));
            Show(result, json);
            if (!json) Console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{first:0.00} ms a token in the first quarter, {last:0.00} in the last"));
        });
        command.Add(llama);
        return command;
    }

    // The baseline of `train`: a process of its own, since its heap must be as it comes.
    private static Command Plain()
    {
        var command = Shaped("plain-train", "The baseline of 'bench train'", (shape, _) => Console.WriteLine(TrainBench.Plain(shape)));
        command.Hidden = true;
        return command;
    }

    private static Command Pairs(string name)
    {
        var d = new PairsShape();
        var kind = new Option<string>("--kind") { Description = "transformer, attention (Bahdanau) or fixed (the same without attention)", DefaultValueFactory = _ => d.Kind };
        var (layers, heads, width, vocab) = (Number("--layers", "Layers of each side", d.Layers), Number("--heads", "Attention heads", d.Heads), Number("--width", "Width", d.Width), Number("--vocab", "Tokens of each vocabulary", d.Vocab));
        var (batch, seq, json) = (Number("--batch", "Pairs", d.Batch), Number("--seq", "Tokens of each side", d.Seq), Screen.Json());
        var command = new Command(name, "A training step of an encoder-decoder beside its products and beside plain TorchSharp. Example: lect bench pairs --kind attention") { kind, layers, heads, width, vocab, batch, seq, s_dtype, s_threads, json };
        command.Hidden = name != "pairs";
        command.SetAction(int (p) =>
        {
            var shape = d with { Kind = p.GetValue(kind)!, Layers = p.GetValue(layers), Heads = p.GetValue(heads), Width = p.GetValue(width), Vocab = p.GetValue(vocab), Batch = p.GetValue(batch), Seq = p.GetValue(seq), Dtype = p.GetValue(s_dtype)!, Threads = p.GetValue(s_threads) };
            if (command.Hidden) Console.WriteLine(PairsBench.Plain(shape));
            else Show(PairsBench.Run(shape, s => TrainBench.InAnotherProcess(["bench", "plain-pairs", .. Arguments(s.ToJson())])), p.GetValue(json));
            return 0;
        });
        return command;
    }

    // A shape's keys are the options' names; what has no option (dropout) is always the same.
    private static IEnumerable<string> Arguments(JsonObject shape) => shape.Where(p => p.Key != "dropout").SelectMany(p => new[] { "--" + p.Key, p.Value!.ToString() });

    private static Command TokenizerCommand()
    {
        var json = Screen.Json();
        var command = new Command("tokenizer", "Learning and encoding byte-level BPE and WordPiece on the SDK's prose, one thread. Example: lect bench tokenizer") { json };
        command.SetAction(int (parsed) =>
        {
            foreach (var result in TokenizerBench.Run(TokenizerBench.Documents(), out _)) Show(result, parsed.GetValue(json));
            return 0;
        });
        return command;
    }

    private static void Show(BenchResult r, bool json)
    {
        if (json) { Console.WriteLine(r.ToJson().ToJsonString()); return; }
        Console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{r.Name}: best {r.Best:0.##}, median {r.Median:0.##} {r.Unit} of {r.Runs} runs") + string.Create(CultureInfo.InvariantCulture, $"{(r.Baseline is { } b ? $"; {r.Against} {b:0.##}, ratio {r.Best / b:0.00}" : "")}{(r.ShareOfBound is { } s ? $"; {s:0.00} of what the products alone allow" : "")}"));
        Console.WriteLine("  " + r.Config.ToJsonString());
    }
}
