using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace Lect.Text;

/// <summary>Pieces and their ids, in three flat arrays; when full it starts anew.</summary>
internal sealed class PieceCache
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
