using System.Text.Json.Nodes;
using Lect.Testing;
using static TorchSharp.torch;

namespace Lect.Models.Tests;

/// <summary>Good, bad and hostile files with the verdicts of the safetensors library (fixtures/files/README.md).</summary>
[NoTensorLeaks]
public class SafeTensorsTests
{
    private static readonly string s_files = Fixtures.Path_("files");

    // One file lists its cases, the other maps names to them.
    private static IEnumerable<(string Name, JsonNode Case)> Files(string folder)
    {
        var json = Fixtures.Json(Path.Combine(s_files, folder, "expected.json"));
        return json["files"] is JsonArray list ? list.Select(n => ((string)n!["file"]!, n)) : json.AsObject().Select(p => (p.Key, p.Value!));
    }

    private static void SameAs(JsonNode expected, SafeTensorsFile file)
    {
        Assert.Equal(expected["metadata"]?.AsObject().ToDictionary(p => p.Key, p => (string)p.Value!), file.Metadata);
        Assert.Equal(expected["tensors"]!.AsObject().Select(p => p.Key).Order(StringComparer.Ordinal), file.Tensors.Keys.Order(StringComparer.Ordinal));
        foreach (var (name, t) in expected["tensors"]!.AsObject())
        {
            var info = file.Tensors[name];
            Assert.Equal((string)t!["dtype"]!, info.Dtype);
            Assert.Equal(t["shape"]!.AsArray().Select(s => (long)s!), info.Shape);
            Assert.Equal(info.Length, file.ReadBytes(name).Length);
            if (info.Dtype is "F32" or "F16" or "BF16" or "F64") SameValues(t["values"]!.AsArray(), file.Load(name).to(ScalarType.Float64), name);
        }
    }

    private static void SameValues(JsonArray expected, Tensor found, string name)
    {
        using var values = found.reshape(-1);
        var numbers = expected.Select(v => v!.GetValueKind() == System.Text.Json.JsonValueKind.String ? (string)v! switch { "nan" => double.NaN, "inf" => double.PositiveInfinity, _ => double.NegativeInfinity } : (double)v!).ToArray();
        Assert.True(numbers.SequenceEqual(values.data<double>().ToArray()), name);
        found.Dispose();
    }

    [Fact]
    public void Good_files_are_read()
    {
        using var scope = NewDisposeScope();
        foreach (var (name, entry) in Files("safetensors")) SameAs(entry, SafeTensorsFile.Open(Path.Combine(s_files, "safetensors", name)));
    }

    [Fact]
    public void Bad_files_are_refused_with_their_name()
    {
        using var scope = NewDisposeScope();
        foreach (var (name, entry) in Files("bad-safetensors"))
        {
            var path = Path.Combine(s_files, "bad-safetensors", name);
            switch ((string)entry["must"]!)
            {
                case "refuse": Assert.Contains(name, Assert.Throws<InvalidDataException>(() => SafeTensorsFile.Open(path)).Message, StringComparison.Ordinal); break;
                case "read": SameAs(entry["read_as"]!, SafeTensorsFile.Open(path)); break;
            }
        }
    }

    [Fact]
    public void Shards_are_read_from_their_own_folder_only()
    {
        using var scope = NewDisposeScope();
        var expected = Fixtures.Json(Path.Combine(s_files, "sharded", "expected.json"));
        foreach (var (name, verdict) in expected["cases"]!.AsObject())
        {
            var folder = Path.Combine(s_files, "sharded", name);
            if ((string)verdict! == "refuse") { Assert.Throws<InvalidDataException>(() => Weights.Open(folder)); continue; }
            var weights = Weights.Open(folder);
            Assert.Equal(expected["tensors"]!.AsObject().Select(p => p.Key).Order(StringComparer.Ordinal), weights.Names.Order(StringComparer.Ordinal));
            foreach (var (key, t) in expected["tensors"]!.AsObject()) SameValues(t!["values"]!.AsArray(), weights.Load(key).to(ScalarType.Float64), key);
        }
    }
}
