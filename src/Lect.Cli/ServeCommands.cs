using System.CommandLine;
using System.Globalization;
using Lect.Studio;
using Microsoft.AspNetCore.Builder;
using Microsoft.Extensions.Hosting;

namespace Lect;

/// <summary>lect serve and lect improve: the studio, and what its votes are for.</summary>
internal static class ServeCommands
{
    public static Command Serve()
    {
        var d = new StudioOptions();
        var models = new Option<string[]>("--model") { Description = "Model folders, or FOLDER+ADAPTER; several are served at once", Required = true, AllowMultipleArgumentsPerToken = true };
        var vectors = new Option<string[]>("--vectors") { Description = "Word vectors to look at", AllowMultipleArgumentsPerToken = true };
        var host = new Option<string>("--host") { Description = "Address to listen at; others than this machine's need a key", DefaultValueFactory = _ => d.Host };
        var port = new Option<int>("--port") { Description = "Port; 0: any free one", DefaultValueFactory = _ => d.Port };
        var db = new Option<string>("--db") { Description = "A SQLite file, or PostgreSQL's connection string, for votes and conversations", DefaultValueFactory = _ => d.Db };
        var keys = new Option<string[]>("--api-key") { Description = "A key that callers must have; LECT_API_KEY does the same, out of sight of other programs" };
        var (runs, data, prompts) = (new Option<string>("--runs") { Description = "Where run folders are", DefaultValueFactory = _ => d.Runs }, new Option<string?>("--data") { Description = "A folder of data sets to look at" }, new Option<string?>("--prompts") { Description = "Prompts to ask raters about" });
        var (batch, queue, seconds, rate) = (new Option<int>("--max-batch") { Description = "Requests answered at the same time", DefaultValueFactory = _ => d.Hosting.MaxBatch }, new Option<int>("--max-queue") { Description = "Requests that may wait besides", DefaultValueFactory = _ => d.Hosting.MaxQueue }, new Option<double>("--timeout") { Description = "Seconds that a request may take", DefaultValueFactory = _ => d.RequestSeconds }, new Option<int>("--requests-per-minute") { Description = "Of one caller", DefaultValueFactory = _ => d.RequestsPerMinute });
        var (device, dtype) = (Screen.Device(), Screen.Dtype());
        var command = new Command("serve", "Models behind OpenAI's interface, with pages for chat, votes ('Which response do you prefer?'), attention, vectors, runs and data. Example: lect serve --model runs/sft runs/dpo") { models, vectors, device, dtype, host, port, db, keys, runs, data, prompts, batch, queue, seconds, rate };
        command.SetAction(async (parsed, cancel) =>
        {
            string[] known = Environment.GetEnvironmentVariable("LECT_API_KEY") is { Length: > 0 } key ? [key] : [];
            await using var app = StudioServer.Create(new()
            {
                Models = parsed.GetValue(models) ?? [],
                Vectors = parsed.GetValue(vectors) ?? [],
                Device = parsed.GetValue(device)!,
                Dtype = parsed.GetValue(dtype)!,
                Host = parsed.GetValue(host)!,
                Port = parsed.GetValue(port),
                Db = parsed.GetValue(db)!,
                ApiKeys = [.. parsed.GetValue(keys) ?? [], .. known],
                Runs = parsed.GetValue(runs)!,
                Data = parsed.GetValue(data),
                Prompts = parsed.GetValue(prompts),
                Hosting = new() { MaxBatch = parsed.GetValue(batch), MaxQueue = parsed.GetValue(queue) },
                RequestSeconds = parsed.GetValue(seconds),
                RequestsPerMinute = parsed.GetValue(rate),
            });
            try { await app.StartAsync(cancel); }
            catch (IOException e) { throw new InvalidDataException($"Found that {parsed.GetValue(host)}:{parsed.GetValue(port)} cannot be listened at ({e.GetBaseException().Message}). Expected a free --port (0: any).", e); }
            foreach (var url in app.Urls) Console.Error.WriteLine($"lect: the studio is at {url}, OpenAI's interface at {url}/v1 (Ctrl+C: finish what is in work, and end)");
            await app.WaitForShutdownAsync(cancel);
            return 0;
        });
        return command;
    }

    public static Command Improve()
    {
        var (model, device, sets) = (Screen.Model(), Screen.Device(), Screen.Sets());
        var db = new Option<string>("--db") { Description = "The database of lect serve", Required = true };
        var output = new Option<string>("--out") { Description = "The better model's folder", Required = true };
        var method = new Option<string>("--method") { Description = "dpo, or ppo against a reward model of the votes", DefaultValueFactory = _ => "dpo" };
        var command = new Command("improve", "Votes to a better model: a reward model and DPO or PPO from seven votes in ten, judged by the other three; a model that has not won is not taken. Example: lect improve --model runs/sft --db studio.db --out runs/better") { model, device, db, output, method, sets };
        command.SetAction(async (parsed, _) =>
        {
            using var stop = new StopSignals();
            using var progress = new Progress();
            var options = new ImproveOptions { Model = parsed.GetValue(model)!, Db = parsed.GetValue(db)!, Out = parsed.GetValue(output)!, Method = parsed.GetValue(method)!, Device = parsed.GetValue(device)!, Sets = parsed.GetValue(sets) ?? [] };
            var found = await Studio.Improve.Run(options, progress.Show, progress.Note, stop.Token);
            progress.Note(string.Create(CultureInfo.InvariantCulture, $"{found.HeldOut} held-out votes: the candidate moved towards the preferred answer in {found.Agrees:0.0%} ({found.Interval.Low:0.0%} to {found.Interval.High:0.0%}); the reward model agrees with {found.RewardAccuracy:0.0%}"));
            progress.Note(found.HasWon ? $"done: the better model is in {options.Out}\nNext: lect serve --model {options.Model} {options.Out}" : $"not taken: the interval's lower end is not above one half. The old model stays; the candidate is in {Path.Combine(options.Out, "candidate")}. More votes help.");
            return found.HasWon ? 0 : 1;
        });
        return command;
    }
}
