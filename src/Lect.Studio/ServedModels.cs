using System.Diagnostics.Metrics;

namespace Lect.Studio;

/// <summary>A model that is served: a decoder that answers, an encoder that gives vectors, or a translation model whose attention can be seen.</summary>
internal sealed record ServedModel(string Name, long Created) : IDisposable
{
    public ModelHost? Host { get; init; }
    public LectEmbeddingGenerator? Embedder { get; init; }
    public Translator? Translator { get; init; }

    public string Kind => Host is not null ? "chat" : Embedder is not null ? "embedding" : "translation";

    public void Dispose()
    {
        Host?.Dispose();
        Embedder?.Dispose();
        Translator?.Dispose();
    }
}

/// <summary>The models by their names. A name never is a path.</summary>
internal sealed class ServedModels : IDisposable
{
    private readonly List<ServedModel> all = [];

    /// <summary>Opens every folder.</summary>
    /// <exception cref="InvalidDataException">One cannot be opened.</exception>
    public ServedModels(StudioOptions options)
    {
        try
        {
            foreach (var given in options.Models) all.Add(Open(given, options));
        }
        catch { Dispose(); throw; }
    }

    public IReadOnlyList<ServedModel> All => all;

    public ServedModel? Find(string name) => all.Find(m => m.Name == name);

    private ServedModel Open(string given, StudioOptions options)
    {
        var parts = Directory.Exists(given) ? [given] : given.Split('+');
        foreach (var folder in parts)
            if (!Directory.Exists(folder)) throw new InvalidDataException($"Found no folder {folder} (--model {given}). Expected a model folder, or FOLDER+ADAPTER.");
        var name = Lect.Models.ModelFolder.NameOf(parts[^1]);
        for (var (own, n) = (name, 2); Find(name) is not null; n++) name = $"{own}-{n}";
        var model = new ServedModel(name, DateTimeOffset.UtcNow.ToUnixTimeSeconds());
        if (Translator.IsAt(parts[0])) return model with { Translator = Translator.Load(parts[0], options.Device) };
        if (Lect.Models.ModelFolder.IsEncoder(parts[0])) return model with { Embedder = new(TextEmbedder.Load(parts[0], options.Device), name) };
        return model with { Host = new(LanguageModel.Load(parts[0], options.Device, adapters: parts[1..], type: options.Dtype), options.Hosting) };
    }

    /// <summary>Takes no more requests; waits for those in work.</summary>
    public void Stop(TimeSpan grace) => Parallel.ForEach(all.Where(m => m.Host is not null), m => m.Host!.Stop(grace));

    public void Dispose()
    {
        foreach (var model in all) model.Dispose();
    }
}

/// <summary>What is measured, for Prometheus and whoever else listens.</summary>
internal sealed class StudioMetrics : IDisposable
{
    public const string Name = "Lect.Studio";
    private readonly Meter meter = new(Name);
    private readonly Counter<long> requests;
    private readonly Histogram<double> firstToken, perSecond;

    public StudioMetrics(ServedModels models)
    {
        static KeyValuePair<string, object?> Of(ServedModel m) => new("model", m.Name);
        IEnumerable<Measurement<long>> Each(Func<ModelHost, long> value) => models.All.Where(m => m.Host is not null).Select(m => new Measurement<long>(value(m.Host!), Of(m)));
        meter.CreateObservableGauge("lect.requests.active", () => Each(h => h.Active), description: "Requests that are being answered");
        meter.CreateObservableGauge("lect.requests.waiting", () => Each(h => h.Waiting), description: "Requests that wait");
        meter.CreateObservableCounter("lect.tokens", () => Each(h => h.TokensMade), description: "Tokens made");
        requests = meter.CreateCounter<long>("lect.requests", description: "Requests answered");
        firstToken = meter.CreateHistogram<double>("lect.time_to_first_token", "s", "From a request to its first token");
        perSecond = meter.CreateHistogram<double>("lect.tokens_per_second", description: "Of an answer, behind its first token");
    }

    public void Answered(string model, string reason, double first, int tokens, double seconds)
    {
        KeyValuePair<string, object?> name = new("model", model);
        requests.Add(1, name, new("finish_reason", reason));
        if (double.IsFinite(first)) firstToken.Record(first, name);
        if (tokens > 1 && seconds > first) perSecond.Record((tokens - 1) / (seconds - first), name);
    }

    public void Dispose() => meter.Dispose();
}
