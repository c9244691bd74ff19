using System.Text.Json.Nodes;

namespace Lect.Studio;

/// <summary>An answer in the shape of OpenAI's errors.</summary>
internal sealed class ApiError(int status, string message, string type, string? param = null, string? code = null) : Exception(message)
{
    public int Status => status;

    public JsonObject ToJson() => new() { ["error"] = new JsonObject { ["message"] = Message, ["type"] = type, ["param"] = param, ["code"] = code } };

    public static ApiError Bad(string message, string? param = null, string? code = null) => new(400, message, "invalid_request_error", param, code);

    public static ApiError NoModel(string name, IEnumerable<string> there) => new(404, $"Found no model '{name}'. Expected one of: {string.Join(", ", there)}.", "invalid_request_error", "model", "model_not_found");

    /// <summary>What a fault is to a caller.</summary>
    public static ApiError Of(Exception fault) => fault switch
    {
        ApiError own => own,
        QueueFullException => new(429, fault.Message, "rate_limit_error", code: "queue_full"),
        InvalidDataException or System.Text.Json.JsonException or NotSupportedException => Bad(fault.Message),
        BadHttpRequestException bad => new(bad.StatusCode, bad.Message, "invalid_request_error"),
        ObjectDisposedException => new(503, "The server is stopping.", "server_error", code: "stopping"),
        _ => new(500, "Something went wrong; the server's log says what.", "server_error"),
    };
}
