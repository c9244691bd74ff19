using System.Buffers.Binary;
using System.Text;

namespace Lect.Models;

/// <summary>Edits the table of needed symbol versions (.gnu.version_r) of a 64-bit little-endian ELF library held in memory.</summary>
internal static class ElfVersionNeed
{
    private const uint Rela = 4, DynamicSymbols = 11, VersionNeed = 0x6ffffffe, VersionSymbols = 0x6fffffff;
    private const ushort Weak = 2;

    private readonly record struct Section(uint Type, int Offset, int Size, int Link);

    /// <summary>
    /// Marks <paramref name="version"/> of <paramref name="library"/> as weak if, and only if, the one symbol bound to it is
    /// <paramref name="onlySymbol"/> and no relocation refers to that symbol. Otherwise, and for anything that is no such file,
    /// the image stays as it was and the answer is false.
    /// </summary>
    public static bool Weaken(Span<byte> image, string library, string version, string onlySymbol)
    {
        try { return TryWeaken(image, library, version, onlySymbol); }
        catch (Exception e) when (e is ArgumentOutOfRangeException or OverflowException or IndexOutOfRangeException) { return false; }
    }

    private static bool TryWeaken(Span<byte> image, string library, string version, string onlySymbol)
    {
        if (image.Length < 64 || !image.StartsWith("\u007fELF"u8) || image[4] != 2 || image[5] != 1) return false;
        var sections = Sections(image);
        var need = Array.Find(sections, s => s.Type == VersionNeed);
        var versions = Array.Find(sections, s => s.Type == VersionSymbols);
        var symbolsIndex = Array.FindIndex(sections, s => s.Type == DynamicSymbols);
        if (need.Type == 0 || versions.Type == 0 || symbolsIndex < 0) return false;
        var (entry, index) = FindVersion(image, need, sections[need.Link].Offset, library, version);
        if (entry < 0) return false;

        var symbols = sections[symbolsIndex];
        var bound = -1;
        for (var i = 0; i < symbols.Size / 24; i++)
        {
            if ((U16(image, versions.Offset + i * 2) & 0x7fff) != index) continue;
            var name = Text(image, checked(sections[symbols.Link].Offset + (int)U32(image, symbols.Offset + i * 24)));
            if (bound >= 0 || name != onlySymbol) return false;
            bound = i;
        }
        if (bound < 0) return false;
        foreach (var s in sections)
            for (var at = s.Offset; s.Type == Rela && s.Link == symbolsIndex && at < s.Offset + s.Size; at += 24)
                if (U32(image, at + 12) == bound) return false;

        BinaryPrimitives.WriteUInt16LittleEndian(image[(entry + 4)..], (ushort)(U16(image, entry + 4) | Weak));
        return true;
    }

    private static Section[] Sections(ReadOnlySpan<byte> image)
    {
        var start = U64(image, 0x28);
        var sections = new Section[U16(image, 0x3c)];
        for (var i = 0; i < sections.Length; i++)
        {
            var at = checked(start + i * 64);
            sections[i] = new(U32(image, at + 4), U64(image, at + 24), U64(image, at + 32), (int)U32(image, at + 40));
        }
        return sections;
    }

    private static (int Entry, int Index) FindVersion(ReadOnlySpan<byte> image, Section need, int strings, string library, string version)
    {
        for (int at = need.Offset, next; ; at = checked(at + next))
        {
            var entry = checked(at + (int)U32(image, at + 8));
            next = (int)U32(image, at + 12);
            var isLibrary = Text(image, checked(strings + (int)U32(image, at + 4))) == library;
            for (int k = 0, count = U16(image, at + 2); k < count; k++, entry = checked(entry + (int)U32(image, entry + 12)))
                if (isLibrary && Text(image, checked(strings + (int)U32(image, entry + 8))) == version) return (entry, U16(image, entry + 6));
            if (next <= 0) return (-1, 0);
        }
    }

    private static ushort U16(ReadOnlySpan<byte> d, int at) => BinaryPrimitives.ReadUInt16LittleEndian(d[at..]);
    private static uint U32(ReadOnlySpan<byte> d, int at) => BinaryPrimitives.ReadUInt32LittleEndian(d[at..]);
    private static int U64(ReadOnlySpan<byte> d, int at) => checked((int)BinaryPrimitives.ReadUInt64LittleEndian(d[at..]));
    private static string Text(ReadOnlySpan<byte> d, int at) => Encoding.ASCII.GetString(d[at..][..d[at..].IndexOf((byte)0)]);
}
