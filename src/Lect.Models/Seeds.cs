using System.Text;
using TorchSharp;

namespace Lect.Models;

/// <summary>
/// Keyed randomness: a stream is made where it is needed, from what it is for, so that nothing depends on how often something was
/// drawn before. That is what makes resuming exact.
/// </summary>
public static class Seeds
{
    /// <summary>A 63-bit seed of (seed, purpose, step, micro-step).</summary>
    public static long For(long seed, string purpose, long step = 0, long microStep = 0)
    {
        var h = Mix((ulong)seed);
        foreach (var b in Encoding.UTF8.GetBytes(purpose)) h = Mix(h ^ b);
        return (long)(Mix(Mix(h ^ (ulong)step) ^ (ulong)microStep) >> 1);
    }

    // The finalizer of splitmix64 (Steele, Lea and Flood 2014).
    private static ulong Mix(ulong z)
    {
        z += 0x9E3779B97F4A7C15;
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9;
        z = (z ^ (z >> 27)) * 0x94D049BB133111EB;
        return z ^ (z >> 31);
    }

    /// <summary>A generator of that stream; the caller disposes it.</summary>
    public static torch.Generator Generator(long seed, string purpose, long step = 0, long microStep = 0) => new((ulong)For(seed, purpose, step, microStep), torch.CPU);

    /// <summary>A .NET random source of that stream.</summary>
    public static Random Random(long seed, string purpose, long step = 0, long microStep = 0)
    {
        var s = For(seed, purpose, step, microStep);
        return new Random((int)(s ^ (s >> 32)));
    }
}
