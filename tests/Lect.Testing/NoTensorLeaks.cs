using System.Reflection;
using System.Runtime.CompilerServices;
using Xunit;
using Xunit.v3;

namespace Lect.Testing;

/// <summary>Fails a test that leaves a tensor of a dispose scope alive on its thread (the idea is ImageSharp's ValidateDisposedMemoryAllocations).</summary>
/// <remarks>Reads TorchSharp's statistics by reflection, so that this project needs no libtorch.</remarks>
[AttributeUsage(AttributeTargets.Class | AttributeTargets.Method)]
public sealed class NoTensorLeaksAttribute : BeforeAfterTestAttribute
{
    private static readonly AsyncLocal<StrongBox<(int Thread, long Live)>?> s_before = new();

    private static long Live()
    {
        var statistics = Assembly.Load("TorchSharp").GetType("TorchSharp.DisposeScopeManager")!.GetProperty("Statistics", BindingFlags.Public | BindingFlags.Static)!.GetValue(null)!;
        return Convert.ToInt64(statistics.GetType().GetProperty("ThreadTotalLiveCount")!.GetValue(statistics), System.Globalization.CultureInfo.InvariantCulture);
    }

    public override void Before(MethodInfo methodUnderTest, IXunitTest test) => s_before.Value = new((Environment.CurrentManagedThreadId, Live()));

    public override void After(MethodInfo methodUnderTest, IXunitTest test)
    {
        if (s_before.Value is not { } before || before.Value.Thread != Environment.CurrentManagedThreadId) return;
        var left = Live() - before.Value.Live;
        Assert.True(left <= 0, $"{methodUnderTest.Name} left {left} tensors alive");
    }
}
