using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Versioning;
using TorchSharp;
using Xunit;

namespace Lect.Models.Tests.Native;

[CollectionDefinition("alone", DisableParallelization = true)]
public sealed class Alone;

[SupportedOSPlatform("linux")]
[Collection("alone")]   // other tests use numbers, too
public sealed class ScalarGraceTests
{
    public ScalarGraceTests()
    {
        Assert.SkipUnless(OperatingSystem.IsLinux() && RuntimeInformation.ProcessArchitecture == Architecture.X64, "Only Linux x64 has it.");
        TorchNative.Load();
    }

    // What a collection in the middle of `x * 1234.5` does: the object is gone, its number must not be.
    [Fact]
    public unsafe void A_number_lives_on_after_its_object()
    {
        var scalar = 1234.5.ToScalar();
        var native = (void*)Handle(scalar);
        var before = new Span<byte>(native, Bytes).ToArray();
        scalar.Dispose();
        Assert.Equal(before, new Span<byte>(native, Bytes).ToArray());
    }

    [Fact]
    public async Task Numbers_are_freed_in_the_end()
    {
        const int Many = 20_000;
        for (var i = 0; i < Many; i++) i.ToScalar().Dispose();
        for (var i = 0; i < 2; i++)
        {
            await Task.Delay(TimeSpan.FromSeconds(1.1), TestContext.Current.CancellationToken);
            0.5.ToScalar().Dispose();
        }
        Assert.InRange(ScalarGrace.Waiting, 1, Many - 1);
    }

    private const int Bytes = 32;   // of c10::Scalar

    [UnsafeAccessor(UnsafeAccessorKind.Method, Name = "get_Handle")]
    private static extern nint Handle(Scalar scalar);
}
