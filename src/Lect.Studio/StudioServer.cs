using System.Threading.RateLimiting;
using Microsoft.AspNetCore.Diagnostics.HealthChecks;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.RateLimiting;
using Microsoft.Extensions.FileProviders;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using OpenTelemetry.Metrics;

namespace Lect.Studio;

/// <summary><c>lect serve</c>: models behind OpenAI's interface, and the studio's pages.</summary>
public static class StudioServer
{
    /// <summary>Opens models and database, and makes the server; the caller starts it.</summary>
    /// <param name="options">What to serve.</param>
    /// <exception cref="InvalidDataException">Something given cannot be used.</exception>
    public static WebApplication Create(StudioOptions options)
    {
        options.Validate();
        var builder = WebApplication.CreateSlimBuilder(new WebApplicationOptions { ContentRootPath = AppContext.BaseDirectory });
        builder.Logging.ClearProviders().AddSimpleConsole(o => o.SingleLine = true).AddConsole(o => o.LogToStandardErrorThreshold = LogLevel.Trace).SetMinimumLevel(LogLevel.Warning).AddFilter("Microsoft.Extensions.Hosting.Internal.Host", LogLevel.None);   // what fails at the start is told by the caller
        builder.WebHost.ConfigureKestrel(kestrel =>
        {
            kestrel.AddServerHeader = false;
            kestrel.Limits.MaxRequestBodySize = options.MaxBody;
            kestrel.Limits.RequestHeadersTimeout = TimeSpan.FromSeconds(15);
            if (options.Host == "localhost") kestrel.ListenLocalhost(options.Port);
            else kestrel.Listen(System.Net.IPAddress.Parse(options.Host), options.Port);
        });
        AddServices(builder.Services, options);
        var app = builder.Build();
        Open(app.Services);
        Use(app);
        Map(app, options);
        return app;
    }

    private static void AddServices(IServiceCollection services, StudioOptions options)
    {
        services.Configure<HostOptions>(o => o.ShutdownTimeout = TimeSpan.FromSeconds(options.GraceSeconds + 5));
        services.AddSingleton(options).AddSingleton<ServedModels>().AddSingleton(_ => StudioStore.Open(options.Db)).AddSingleton<StudioMetrics>().AddSingleton<Views>().AddSingleton<WaitingRoom>();
        services.AddSingleton<Completions>().AddSingleton<ModelsApi>().AddSingleton<PreferencesApi>().AddSingleton<AttentionApi>().AddSingleton<RunsApi>().AddSingleton<DataApi>().AddSingleton<VectorsApi>();
        services.AddOpenApi();
        services.AddHealthChecks();
        services.AddOpenTelemetry().WithMetrics(m => m.AddMeter(StudioMetrics.Name, "Microsoft.AspNetCore.Hosting").AddPrometheusExporter());
        services.AddRateLimiter(limits =>
        {
            limits.RejectionStatusCode = 429;
            limits.OnRejected = async (context, cancel) =>
            {
                context.HttpContext.Response.Headers.RetryAfter = "60";
                await context.HttpContext.Response.WriteAsJsonAsync(new ApiError(429, $"Found more than {options.RequestsPerMinute} requests in a minute. Expected fewer.", "rate_limit_error", code: "rate_limit_exceeded").ToJson(), cancel);
            };
            limits.GlobalLimiter = PartitionedRateLimiter.Create<HttpContext, string>(http => http.Request.Path.StartsWithSegments("/v1") || http.Request.Path.StartsWithSegments("/api")
                ? RateLimitPartition.GetFixedWindowLimiter(http.Connection.RemoteIpAddress?.ToString() ?? "", _ => new() { PermitLimit = options.RequestsPerMinute, Window = TimeSpan.FromMinutes(1) })
                : RateLimitPartition.GetNoLimiter(""));
        });
    }

    // What can fail fails before the server is up.
    private static void Open(IServiceProvider services)
    {
        services.GetRequiredService<StudioStore>();
        services.GetRequiredService<ServedModels>();
        services.GetRequiredService<VectorsApi>();
        services.GetRequiredService<StudioMetrics>();
    }

    private static void Use(WebApplication app)
    {
        app.UseMiddleware<Guard>();
        app.UseRateLimiter();
        app.UseSwaggerUI(page => page.SwaggerEndpoint("/openapi/v1.json", "Lect"));
        app.UseFileServer(new FileServerOptions { FileProvider = new ManifestEmbeddedFileProvider(typeof(StudioServer).Assembly, "wwwroot") });
        app.Lifetime.ApplicationStopping.Register(() => app.Services.GetRequiredService<ServedModels>().Stop(TimeSpan.FromSeconds(app.Services.GetRequiredService<StudioOptions>().GraceSeconds)));
    }

    private static void Map(WebApplication app, StudioOptions options)
    {
        T Of<T>() where T : notnull => app.Services.GetRequiredService<T>();
        app.MapHealthChecks("/health", new HealthCheckOptions { Predicate = _ => false });
        app.MapHealthChecks("/ready");
        app.MapPrometheusScrapingEndpoint("/metrics");
        app.MapOpenApi();

        app.MapGet("/v1/models", () => Of<ModelsApi>().All());
        app.MapGet("/v1/models/{name}", (string name) => Of<ModelsApi>().One(name));
        app.MapPost("/v1/chat/completions", (Delegate)Of<Completions>().Chat);
        app.MapPost("/v1/completions", (Delegate)Of<Completions>().Text);
        app.MapPost("/v1/embeddings", Json(Of<ModelsApi>().Embeddings));

        var preferences = Of<PreferencesApi>();
        app.MapPost("/api/votes", Json(preferences.Vote));
        app.MapGet("/api/votes", (Delegate)preferences.Export);
        app.MapPost("/api/votes/import", Json(preferences.Import));
        app.MapGet("/api/votes/statistics", preferences.Statistics);
        app.MapGet("/api/prompts", preferences.Prompts);
        app.MapGet("/api/conversations", preferences.Conversations);
        app.MapGet("/api/conversations/{id:guid}", preferences.Conversation);
        app.MapPut("/api/conversations/{id:guid}", preferences.Keep);
        app.MapDelete("/api/conversations/{id:guid}", preferences.Forget);

        app.MapPost("/api/attention", Json(Of<AttentionApi>().Show));
        app.MapGet("/views/{id}", (string id) => Of<Views>().Get(id, null));
        app.MapGet("/views/{id}/{part}", (string id, string part) => Of<Views>().Get(id, part));
        app.MapGet("/api/vectors", () => Of<VectorsApi>().All());
        app.MapGet("/api/vectors/{name}/nearest", (string name, string word) => Of<VectorsApi>().Nearest(name, word));
        app.MapGet("/api/vectors/{name}/analogy", (string name, string a, string b, string c) => Of<VectorsApi>().Analogy(name, a, b, c));
        app.MapPost("/api/vectors/{name}/map", (string name) => Of<VectorsApi>().Map(name));
        app.MapGet("/api/runs", () => Of<RunsApi>().All());
        app.MapGet("/api/run", (string name) => Of<RunsApi>().One(name));
        app.MapGet("/api/run/metrics", (string name, HttpContext http) => Of<RunsApi>().Stream(name, http));
        app.MapGet("/api/data", () => Of<DataApi>().All());
        app.MapGet("/api/data/page", (HttpContext http) => Of<DataApi>().Page(http));
        app.MapFallback("/v1/{**rest}", (HttpContext http) => throw new ApiError(404, $"Found no {http.Request.Method} {http.Request.Path}. Expected /v1/models, /v1/chat/completions, /v1/completions or /v1/embeddings.", "invalid_request_error", code: "unknown_url"));
    }

    // A method of HttpContext alone would be taken for a RequestDelegate, whose value nobody writes.
    private static Delegate Json(Func<HttpContext, Task<System.Text.Json.Nodes.JsonObject>> handler) => handler;
}
