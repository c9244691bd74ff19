using Xunit;

namespace Lect.Testing;

/// <summary>Texts that must not drift unseen: tests/fixtures/approved/NAME.txt. A change of one is a decision, never a way to make a test green.</summary>
public static class Approve
{
    /// <summary>Compares with the approved text; writes what was found beside it where they differ.</summary>
    public static void Text(string name, string found)
    {
        var path = Fixtures.Path_("approved", name + ".txt");
        var approved = File.Exists(path) ? File.ReadAllText(path) : "";
        if (approved == found) return;
        Directory.CreateDirectory(Path.GetDirectoryName(path)!);
        File.WriteAllText(Path.ChangeExtension(path, ".received.txt"), found);
        Assert.Fail($"{name} differs from what was approved: compare {path} with its .received.txt. If the change is meant, move the one over the other in the commit that causes it.");
    }
}
