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

    public void Encode(ReadOnlySpan<char> text, List<int> into)
    {
        var cache = caches.Value!;
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

    /// <summary>Pieces and their ids, in three flat arrays; when full it starts anew.</summary>
    private sealed class PieceCache
    {
        public const int LongestPiece = 64;
        private const int Slots = 1 << 18, MostPieces = Slots / 2;

        private readonly (uint Hash, int Text, short Length, short Count, int Ids)[] slots = new (uint, int, short, short, int)[Slots];
        private char[] texts = new char[1 << 16];
        private int[] ids = new int[1 << 16];
        private int textsUsed, idsUsed = 1, pieces;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static uint Hash(ReadOnlySpan<char> piece)
        {
            ref var p = ref Unsafe.As<char, byte>(ref MemoryMarshal.GetReference(piece));
            var n = piece.Length * 2;
            ulong h = (uint)n * 0x9E3779B97F4A7C15;
            var i = 0;
            for (; i + 8 <= n; i += 8) h = ulong.RotateLeft((h ^ Unsafe.ReadUnaligned<ulong>(ref Unsafe.Add(ref p, i))) * 0xBF58476D1CE4E5B9, 29);
            if (i + 4 <= n) { h = ulong.RotateLeft((h ^ Unsafe.ReadUnaligned<uint>(ref Unsafe.Add(ref p, i))) * 0xBF58476D1CE4E5B9, 29); i += 4; }
            if (i < n) h = (h ^ Unsafe.ReadUnaligned<ushort>(ref Unsafe.Add(ref p, i))) * 0xBF58476D1CE4E5B9;
            return (uint)((h ^ (h >> 31)) * 0x94D049BB133111EB >> 32);
        }

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public bool TryGet(ReadOnlySpan<char> piece, uint hash, out ReadOnlySpan<int> found)
        {
            for (var at = hash & (Slots - 1); ; at = (at + 1) & (Slots - 1))
            {
                ref var slot = ref slots[at];
                if (slot.Ids == 0) { found = default; return false; }
                if (slot.Hash == hash && slot.Length == piece.Length && texts.AsSpan(slot.Text, slot.Length).SequenceEqual(piece))
                {
                    found = ids.AsSpan(slot.Ids, slot.Count);
                    return true;
                }
            }
        }

        public void Add(ReadOnlySpan<char> piece, uint hash, int[] value)
        {
            if (pieces++ == MostPieces) { Array.Clear(slots); (textsUsed, idsUsed, pieces) = (0, 1, 1); }
            if (textsUsed + piece.Length > texts.Length) Array.Resize(ref texts, texts.Length * 2);
            if (idsUsed + value.Length > ids.Length) Array.Resize(ref ids, ids.Length * 2);
            var at = hash & (Slots - 1);
            while (slots[at].Ids != 0) at = (at + 1) & (Slots - 1);
            piece.CopyTo(texts.AsSpan(textsUsed));
            value.CopyTo(ids, idsUsed);
            slots[at] = (hash, textsUsed, (short)piece.Length, (short)value.Length, idsUsed);
            textsUsed += piece.Length;
            idsUsed += value.Length;
        }
    }
}
