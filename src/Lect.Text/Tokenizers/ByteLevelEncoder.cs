using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Text;

namespace Lect.Text;

/// <summary>
/// The fast path of byte-level BPE: scans pieces straight from the text, looks each up in a table of pieces seen before, and merges
/// only new ones. Gives the same ids as the step-by-step pipeline (a test compares them on every fixture text).
/// </summary>
internal sealed class ByteLevelEncoder(PatternScanner scanner, BytePairEncoding model) : IDisposable
{
    private readonly ThreadLocal<PieceCache> caches = new(() => new PieceCache());

    public void Dispose() => caches.Dispose();

    public void Encode(string source, List<int> into)
    {
        var cache = caches.Value!;
        var text = source.AsSpan();
        for (int at = 0, end; at < text.Length; at = end)
        {
            end = scanner.End(text, at);
            var piece = text[at..end];
            var hash = PieceCache.Hash(piece);
            if (cache.TryGet(piece, hash, out var ids)) Append(into, ids);
            else EncodeNew(piece, hash, cache, into);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Append(List<int> into, ReadOnlySpan<int> ids)
    {
        if (ids.Length == 1) into.Add(ids[0]);
        else into.AddRange(ids);
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private void EncodeNew(ReadOnlySpan<char> piece, uint hash, PieceCache cache, List<int> into)
    {
        var bytes = new byte[Encoding.UTF8.GetMaxByteCount(piece.Length)];
        var all = bytes.AsSpan(0, Encoding.UTF8.GetBytes(piece, bytes));
        int[] ids;
        if (model.IgnoreMerges && model.Vocabulary.TryGetValue(ByteAlphabet.Spell(all), out var whole)) ids = [whole];
        else
        {
            var symbols = new List<int>(all.Length);
            foreach (var b in all) if (model.ByteIds[b] is >= 0 and var id) symbols.Add(id);
            var span = CollectionsMarshal.AsSpan(symbols);
            ids = span[..model.Merge(span, new int[span.Length])].ToArray();
        }
        into.AddRange(ids);
        if (piece.Length <= PieceCache.LongestPiece) cache.Add(piece, hash, ids);
    }
}
