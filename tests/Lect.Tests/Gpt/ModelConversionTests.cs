using System.Buffers.Binary;
using Lect.Models;
using Lect.Testing;
using TorchSharp;
using static TorchSharp.torch;

namespace Lect.Tests.Gpt;

/// <summary>llama2.c's checkpoints, and folders from one precision to another.</summary>
public sealed class ModelConversionTests : TemporaryFolder
{
    private static string Stories => Fixtures.Shared("data", "checkpoints", "stories260K", "stories260K.bin");

    // What llama2.c (commit 350e04f, gcc -O2, run stories260K.bin -z tok512.bin -t 0 -n 256) generates from nothing.
    private static readonly int[] s_story =
    [
        403, 407, 261, 378, 432, 383, 286, 261, 376, 298, 315, 421, 395, 317, 426, 338, 401, 396, 267, 337, 410, 408, 419, 292, 411, 322, 265, 282, 295, 433, 426, 385, 328, 432, 358, 394, 261, 370, 432, 352,
        266, 268, 388, 426, 338, 391, 266, 267, 337, 335, 312, 432, 398, 312, 286, 267, 414, 270, 333, 415, 426, 13, 438, 310, 439, 419, 357, 336, 432, 313, 438, 310, 432, 278, 316, 439, 419, 298, 414, 267,
        265, 282, 295, 433, 426, 436, 317, 286, 296, 418, 269, 279, 292, 416, 439, 413, 409, 416, 327, 263, 415, 294, 267, 400, 426, 338, 336, 432, 313, 442, 391, 267, 337, 335, 364, 420, 268, 388, 432, 398,
        359, 280, 303, 439, 413, 272, 417, 264, 312, 426, 436, 13, 438, 310, 286, 296, 418, 269, 279, 292, 416, 439, 413, 409, 416, 327, 263, 415, 294, 267, 400, 426, 338, 336, 432, 313, 442, 439, 423, 262,
        304, 420, 422, 432, 317, 426, 359, 279, 292, 416, 439, 413, 409, 416, 327, 263, 415, 294, 267, 400, 426, 436, 13, 438, 310, 279, 292, 416, 439, 413, 391, 267, 281, 421, 427, 311, 357, 432, 384, 358,
        336, 432, 313, 442, 439, 423, 262, 304, 420, 422, 432, 357, 426, 359, 279, 292, 416, 439, 413, 409, 416, 327, 263, 415, 294, 267, 400, 426, 436, 320, 285, 357, 336, 432, 313, 455, 289, 439, 413, 263,
        304, 420, 422, 432, 317, 426, 410, 448, 411, 280, 303, 281, 421, 427, 364,
    ];

    [Fact]
    public void A_story_is_llama2_cs_token_for_token()
    {
        ModelConversion.Run(Stories, At("stories"), tokenizer: Fixtures.Shared("data", "checkpoints", "stories260K", "tok512.bin"));
        using var model = LanguageModel.Load(At("stories"));
        var story = model.Generate([1], model.Defaults with { Decoding = model.Defaults.Decoding with { MaxNewTokens = s_story.Length } });
        Assert.Equal(s_story, story.Ids);
        Assert.StartsWith("Once upon a time, there was a little girl named Lily. She loved to play outside in the park.", story.Text, StringComparison.Ordinal);
        Assert.Equal([1, 317, 269, 274, 287, 263, 377, 267], model.Encode("Lily and Tom went to"));   // as the program reads it
        Assert.Equal("Lily and Tom went to é 日", model.Tokenizer!.Decode(model.Encode("Lily and Tom went to é 日"), skipSpecialTokens: true));
    }

    // Version 1: another header, and the norms in front.
    [Fact]
    public void Both_versions_of_the_format_are_the_same_model()
    {
        var old = File.ReadAllBytes(Stories);
        int Number(int at) => BinaryPrimitives.ReadInt32LittleEndian(old.AsSpan(at));
        var (width, inner, layers, heads, keyHeads, vocabulary, context) = (Number(0), Number(4), Number(8), Number(12), Number(16), Number(20), Number(24));
        var at = 28;
        byte[] Take(int floats) { var part = old[at..(at + 4 * floats)]; at += 4 * floats; return part; }
        var (table, attentionNorms) = (Take(vocabulary * width), Take(layers * width));
        var attention = Take(layers * (2 * width * width + 2 * width * (width / heads * keyHeads)));
        var (innerNorms, inners, last) = (Take(layers * width), Take(3 * layers * width * inner), Take(width));
        var header = new byte[256];
        old.AsSpan(0, 28).CopyTo(header.AsSpan(8));
        BinaryPrimitives.WriteUInt32LittleEndian(header, 0x616b3432);
        header[4] = header[36] = 1;
        File.WriteAllBytes(At("new.bin"), [.. header, .. attentionNorms, .. innerNorms, .. last, .. table, .. attention, .. inners]);
        using var scope = NewDisposeScope();
        using Llama a = Llama2C.Load(Stories), b = Llama2C.Load(At("new.bin"));
        foreach (var ((name, x), (_, y)) in a.named_parameters().Zip(b.named_parameters())) Assert.True(x.equal(y).all().item<bool>(), name);

        string Refused(string name, byte[] bytes) { File.WriteAllBytes(At(name), bytes); return Assert.Throws<InvalidDataException>(() => Llama2C.Load(At(name))).Message; }
        Assert.Contains("cut short", Refused("cut.bin", old[..^4]), StringComparison.Ordinal);
        header[4] = 2;
        Assert.Contains("quantized", Refused("q.bin", [.. header, .. old]), StringComparison.Ordinal);
        Assert.Equal(context, (int)a.ContextLength);
    }

    [Fact]
    public void What_is_no_checkpoint_is_refused()
    {
        File.WriteAllBytes(At("zeros.bin"), new byte[1000]);
        Assert.Contains("in its header", Assert.Throws<InvalidDataException>(() => Llama2C.Load(At("zeros.bin"))).Message, StringComparison.Ordinal);
        Assert.Contains("no file", Assert.Throws<InvalidDataException>(() => Llama2C.Load(At("none.bin"))).Message, StringComparison.Ordinal);
        File.WriteAllBytes(At("tok.bin"), [1, 0, 0, 0, 0, 0, 0, 0, 200, 0, 0, 0, 65]);
        Assert.Contains("cut short", Assert.Throws<InvalidDataException>(() => Lect.Text.Llama2CTokenizer.Load(At("tok.bin"))).Message, StringComparison.Ordinal);
    }

    [Theory, InlineData("BF16", "bfloat16", 4e-3), InlineData("F16", "float16", 5e-4), InlineData("F32", "float32", 0)]
    public void Folders_change_their_precision_and_nothing_else(string type, string name, double relative)
    {
        var source = Fixtures.Path_("hf", "llama-sharded");
        ModelConversion.Run(source, At("out"), type);
        using var scope = NewDisposeScope();
        Weights before = Weights.Open(source), after = Weights.Open(At("out"));
        Assert.Equal(before.Names.Order(), after.Names.Order());
        foreach (var key in before.Names)
        {
            Assert.Equal(type, after.Info(key).Dtype);
            Near.Equal(before.Load(key), after.Load(key), 1e-7, relative, key);
        }
        Assert.Equal(name, (string?)ModelFolder.ReadConfig(At("out"))["dtype"]);
        Assert.Equal(["config.json", "generation_config.json", "model.safetensors"], Directory.GetFiles(At("out")).Select(Path.GetFileName).Order());
        Assert.False(File.Exists(At("out", "model.safetensors.index.json")));
        using var model = LanguageModel.Load(At("out"));
        Assert.Contains("Expected a new folder", Assert.Throws<InvalidDataException>(() => ModelConversion.Run(source, At("out"))).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_number_that_does_not_fit_is_refused()
    {
        Directory.CreateDirectory(At("big"));
        using (var t = tensor(new[] { 1f, 1e6f })) SafeTensorsFile.Write(At("big", "model.safetensors"), [("a", t)]);
        File.WriteAllText(At("big", "config.json"), "{}");
        Assert.Contains("'a' that are too large for F16", Assert.Throws<InvalidDataException>(() => ModelConversion.Run(At("big"), At("small"), "F16")).Message, StringComparison.Ordinal);
        ModelConversion.Run(At("big"), At("small"), "BF16");   // what failed left nothing in the way
        Assert.Contains("F32, F16, BF16", Assert.Throws<InvalidDataException>(() => ModelConversion.Run(At("big"), At("small"), "int8")).Message, StringComparison.Ordinal);
    }
}
