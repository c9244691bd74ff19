using Lect.Text;

namespace Lect.Tests;

/// <summary>Which tokens a step sees.</summary>
public class PackedBatchesTests
{
    private static TokenIds Ids(int n) => new([.. Enumerable.Range(0, n)]);

    [Theory, InlineData(true), InlineData(false)]
    public void A_step_is_a_function_of_seed_and_number(bool shuffle)
    {
        long[] At(long seed, long step) => [.. new PackedBatches(Ids(1000), 7, 4, 4, seed, shuffle).At(step).SelectMany(b => b.Ids)];
        var batches = new PackedBatches(Ids(1000), 7, 4, 4, 5, shuffle);
        foreach (var step in (long[])[9, 2, 77, 2]) Assert.Equal(At(5, step), batches.At(step).SelectMany(b => b.Ids));
        Assert.NotEqual(At(5, 1), At(6, 1));
        Assert.NotEqual(At(5, 1), At(5, 2));
    }

    [Fact]
    public void Labels_are_the_tokens_that_follow()
    {
        foreach (var batch in new PackedBatches(Ids(500), 9, 5, 2, 1, shuffle: false).At(3)) Assert.Equal(batch.Ids.Select(i => i + 1), batch.Labels);
        Assert.Equal([2, 2, 1], new PackedBatches(Ids(500), 9, 5, 2, 1, shuffle: false).At(3).Select(b => b.Rows));
    }

    [Fact]
    public void Shuffled_blocks_come_once_an_epoch_in_another_order_each()
    {
        var batches = new PackedBatches(Ids(1000), 10, 1, 1, 1, shuffle: true);
        var starts = Enumerable.Range(0, 196).Select(s => batches.At(s)[0].Ids[0]).ToList();
        var (first, second) = (starts[..98], starts[98..]);   // 99 blocks, one of them for the phase
        Assert.Equal(98, first.Distinct().Count());
        Assert.All(first, s => Assert.Equal(first[0] % 10, s % 10));
        Assert.Equal(98, second.Distinct().Count());
        Assert.NotEqual(first.Select(s => s / 10), second.Select(s => s / 10));
    }

    [Theory]
    [InlineData(101, 10, 10), InlineData(105, 10, 10), InlineData(7, 10, 10), InlineData(105, 10, 3), InlineData(101, 10, 5), InlineData(12, 10, 1)]
    public void In_order_every_token_but_the_first_is_predicted_once(int n, int block, int stride)
    {
        var batches = PackedBatches.InOrder(Ids(n), block, 3, stride).ToList();
        Assert.Equal(Enumerable.Range(1, n - 1).Select(i => (long)i), batches.SelectMany(b => b.Labels).Where(l => l != -100).Order());
        foreach (var (id, label) in batches.SelectMany(b => b.Ids.Zip(b.Labels)).Where(p => p.Second != -100)) Assert.Equal(id + 1, label);
        if (stride < block)   // every label has at least block - stride tokens before it, where the text has
            foreach (var batch in batches.Skip(1))
                for (var i = 0; i < batch.Labels.Length; i++)
                    if (batch.Labels[i] != -100) Assert.True(i % (batch.Ids.Length / batch.Rows) >= Math.Min(block - stride, (int)batch.Labels[i] - 1));
    }

    [Fact]
    public void A_split_shorter_than_a_block_is_refused() =>
        Assert.Contains("train.block", Assert.Throws<InvalidDataException>(() => new PackedBatches(Ids(10), 10, 1, 1, 1, false)).Message, StringComparison.Ordinal);
}
