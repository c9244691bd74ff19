namespace Lect.Text.Tests;

/// <summary>The corpus that is on every machine that can run these tests. Counts differ between SDKs: none is fixed here.</summary>
public class SdkCorpusTests
{
    private static readonly Lazy<IReadOnlyList<SdkText>> s_texts = new(SdkCorpus.Texts);

    [Fact]
    public void It_is_a_large_body_of_distinct_English_without_markup()
    {
        var texts = s_texts.Value;
        Assert.True(texts.Count > 50_000, $"{texts.Count} texts");
        Assert.Equal(texts.Count, texts.Select(t => t.Text).Distinct().Count());
        Assert.True(texts.Count(t => t.Text.Contains("<see", StringComparison.Ordinal)) < 20);
        Assert.True(texts.Sum(t => t.Text.Split(' ').LongLength) > 700_000);
    }

    [Fact]
    public void A_member_is_found_with_its_summary_and_parameters()
    {
        var trim = s_texts.Value.First(t => t.Member == "M:System.String.Trim" && t.Kind == "summary");
        Assert.Equal("Removes all leading and trailing white-space characters from the current string.", trim.Text);
        Assert.Contains(s_texts.Value, t => t.Kind == "exception" && t.Subject == "ArgumentNullException");
    }

    [Theory]
    // FNV-1a of these texts, computed by hand with the published constants
    [InlineData("", 0xcbf29ce484222325), InlineData("a", 0xaf63dc4c8601ec8c), InlineData("foobar", 0x85944171f73967e8)]
    public void Splits_are_by_the_published_hash(string text, ulong hash) =>
        Assert.Equal((hash % 100) switch { < 5 => CorpusSplit.Test, < 10 => CorpusSplit.Validation, _ => CorpusSplit.Train }, SdkCorpus.SplitOf(text));

    [Fact]
    public void A_twentieth_each_is_kept_for_validation_and_test()
    {
        foreach (var split in (CorpusSplit[])[CorpusSplit.Validation, CorpusSplit.Test])
            Assert.InRange(s_texts.Value.Count(t => SdkCorpus.SplitOf(t.Text) == split) / (double)s_texts.Value.Count, 0.045, 0.055);
    }
}
