using System.Globalization;
using System.Text.Json.Nodes;
using Apache.Arrow;
using Apache.Arrow.Types;
using ParquetSharp;
using TimeUnit = Apache.Arrow.Types.TimeUnit;

namespace Lect.Text;

/// <summary>Parquet files, by Apache's own reader: a record batch in memory at a time; nested lists and structs as JSON.</summary>
internal static class ParquetRows
{
    public static IEnumerable<JsonObject> Read(string file)
    {
        using var reader = Try(file, () => Open(file));
        using var batches = Try(file, () => reader.GetRecordBatchReader());
        while (Try(file, () => batches.ReadNextRecordBatchAsync().AsTask().GetAwaiter().GetResult()) is { } batch)   // it completes at once: the native reader is synchronous
            using (batch)
                for (var row = 0; row < batch.Length; row++)
                {
                    var json = new JsonObject();
                    for (var column = 0; column < batch.ColumnCount; column++) json.Add(batch.Schema.GetFieldByIndex(column).Name, Value(batch.Column(column), row, file));
                    yield return json;
                }
    }

    // The format needs random access: a compressed file is unpacked into memory.
    private static ParquetSharp.Arrow.FileReader Open(string file)
    {
        if (Path.GetExtension(file) == ".parquet") return new(file);
        using var packed = DataFiles.Open(file);
        var unpacked = new MemoryStream();
        packed.CopyTo(unpacked);
        unpacked.Position = 0;
        return new(unpacked);
    }

    private static T Try<T>(string file, Func<T> read)
    {
        try { return read(); }
        catch (Exception e) when (e is ParquetException or NotSupportedException or ArgumentException or IOException || e.GetType() == typeof(Exception))   // the Arrow binding throws plain exceptions
        {
            throw new InvalidDataException($"{file} is no readable Parquet file: {e.Message.Split('\n')[0]} If it was downloaded, it may be cut short.", e);
        }
    }

    private static JsonNode? Value(IArrowArray array, int i, string file) => array.IsNull(i) ? null : array switch
    {
        StringArray a => a.GetString(i),
        LargeStringArray a => a.GetString(i),
        BooleanArray a => a.GetValue(i),
        Int8Array a => a.GetValue(i),
        Int16Array a => a.GetValue(i),
        Int32Array a => a.GetValue(i),
        Int64Array a => a.GetValue(i),
        UInt8Array a => a.GetValue(i),
        UInt16Array a => a.GetValue(i),
        UInt32Array a => a.GetValue(i),
        UInt64Array a => a.GetValue(i),
        HalfFloatArray a => Number((double)a.GetValue(i)!.Value),
        FloatArray a => Number(a.GetValue(i)!.Value),
        DoubleArray a => Number(a.GetValue(i)!.Value),
        Decimal128Array a => a.GetString(i),
        Decimal256Array a => a.GetString(i),
        Date32Array a => a.GetDateTime(i)!.Value.ToString("yyyy-MM-dd", CultureInfo.InvariantCulture),
        Date64Array a => a.GetDateTime(i)!.Value.ToString("yyyy-MM-dd", CultureInfo.InvariantCulture),
        TimestampArray a => Timestamp(a, i),
        Time32Array or Time64Array => Time(array, i),
        Apache.Arrow.Arrays.FixedSizeBinaryArray a => Convert.ToHexStringLower(a.GetBytes(i)),
        BinaryArray a => Convert.ToHexStringLower(a.GetBytes(i)),
        LargeBinaryArray a => Convert.ToHexStringLower(a.GetBytes(i)),
        DictionaryArray a => Value(a.Dictionary, int.Parse(Value(a.Indices, i, file)!.ToJsonString(), CultureInfo.InvariantCulture), file),
        ListArray a => List(a.Values, a.ValueOffsets[i], a.GetValueLength(i), file),
        LargeListArray a => List(a.Values, (int)a.ValueOffsets[i], (int)a.GetValueLength(i), file),
        FixedSizeListArray a when a.Data.DataType is FixedSizeListType type => List(a.Values, i * type.ListSize, type.ListSize, file),
        StructArray a when a.Data.DataType is StructType type => new JsonObject(type.Fields.Select((f, n) => KeyValuePair.Create(f.Name, Value(a.Fields[n], i, file)))),
        _ => throw new InvalidDataException($"{file}: found a column of the type {array.Data.DataType.Name}, which Lect does not read. Expected text, numbers, dates, and lists and structs of them."),
    };

    private static JsonValue Number(double value) => double.IsFinite(value) ? JsonValue.Create(value) : JsonValue.Create(value.ToString(CultureInfo.InvariantCulture));

    private static JsonArray List(IArrowArray values, int from, int count, string file) => new([.. Enumerable.Range(from, count).Select(j => Value(values, j, file))]);

    private static string Timestamp(TimestampArray array, int i)
    {
        var type = (TimestampType)array.Data.DataType;
        var ticks = type.Unit switch
        {
            TimeUnit.Second => array.GetValue(i)!.Value * TimeSpan.TicksPerSecond,
            TimeUnit.Millisecond => array.GetValue(i)!.Value * TimeSpan.TicksPerMillisecond,
            TimeUnit.Microsecond => array.GetValue(i)!.Value * TimeSpan.TicksPerMicrosecond,
            _ => array.GetValue(i)!.Value / TimeSpan.NanosecondsPerTick,
        };
        return DateTime.UnixEpoch.AddTicks(ticks).ToString("yyyy-MM-dd'T'HH:mm:ss.FFFFFFF", CultureInfo.InvariantCulture) + (type.Timezone is null ? "" : "Z");
    }

    private static string Time(IArrowArray array, int i) => (array switch
    {
        Time32Array a => TimeSpan.FromMilliseconds(a.GetMilliSeconds(i)!.Value),
        _ => TimeSpan.FromMicroseconds(((Time64Array)array).GetMicroSeconds(i)!.Value),
    }).ToString("c", CultureInfo.InvariantCulture);
}
