using System.Security.Cryptography;
using System.Text;
using Microsoft.Extensions.Logging;

namespace Lect.Studio;

/// <summary>Who may ask, and what an answer may do in a browser.</summary>
internal sealed class Guard(RequestDelegate next, StudioOptions options, ILogger<Guard> log)
{
    private readonly byte[][] keys = [.. options.ApiKeys.Select(k => SHA256.HashData(Encoding.UTF8.GetBytes(k)))];

    public async Task Invoke(HttpContext http)
    {
        var headers = http.Response.Headers;
        headers.ContentSecurityPolicy = "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'self'"
            + (http.Request.Path.StartsWithSegments("/swagger") ? "; style-src 'self' 'unsafe-inline'" : "");   // that page of others styles its elements in place
        headers.XContentTypeOptions = "nosniff";
        headers["Referrer-Policy"] = "no-referrer";
        headers["Cross-Origin-Resource-Policy"] = "same-origin";
        try
        {
            Check(http.Request);
            await next(http);
        }
        catch (OperationCanceledException) when (http.RequestAborted.IsCancellationRequested) { }   // the caller has gone
        catch (Exception e) when (e is not OutOfMemoryException && !http.Response.HasStarted)
        {
            var error = ApiError.Of(e);
            if (error.Status >= 500 && e is not (ApiError or ObjectDisposedException)) log.LogError(e, "a request failed");
            http.Response.StatusCode = error.Status;
            if (error.Status == 429) headers.RetryAfter = "1";
            await http.Response.WriteAsJsonAsync(error.ToJson());
        }
    }

    private void Check(HttpRequest request)
    {
        // A page of another site may make a browser ask this one: its origin says so. And a name that was made to point here is no name of ours.
        if (options.IsLocal && request.Host.Host is not ("localhost" or "127.0.0.1" or "[::1]" or "::1")) throw new ApiError(403, $"Found the host '{request.Host.Host}'. Expected localhost.", "permission_error");
        if (request.Headers.Origin.ToString() is { Length: > 0 } origin && origin != $"{request.Scheme}://{request.Host}") throw new ApiError(403, $"Found a request from {origin}. Expected one from this server's own pages.", "permission_error", code: "cross_origin");
        var needsKey = keys.Length > 0 && (request.Path.StartsWithSegments("/v1") || request.Path.StartsWithSegments("/api") || request.Path.StartsWithSegments("/metrics") || request.Path.StartsWithSegments("/openapi"));
        if (needsKey && !IsKey(request.Headers.Authorization.ToString())) throw new ApiError(401, "Found no API key that this server knows. Expected Authorization: Bearer KEY.", "authentication_error", code: "invalid_api_key");
    }

    // Every key is compared in full, hash with hash: the time tells nothing.
    private bool IsKey(string header)
    {
        if (!header.StartsWith("Bearer ", StringComparison.Ordinal)) return false;
        var (given, isKnown) = (SHA256.HashData(Encoding.UTF8.GetBytes(header["Bearer ".Length..].Trim())), false);
        foreach (var key in keys) isKnown |= CryptographicOperations.FixedTimeEquals(given, key);
        return isKnown;
    }
}
