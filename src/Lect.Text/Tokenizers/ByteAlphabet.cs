using System.Text;

namespace Lect.Text;

/// <summary>GPT-2's spelling of bytes: each of the 256 as one printable character, so that any text can be a key in a JSON file.</summary>
internal static class ByteAlphabet
{
    private static readonly char[] s_chars = Build();
    private static readonly Dictionary<char, byte> s_bytes = s_chars.Select((c, i) => (c, i)).ToDictionary(p => p.c, p => (byte)p.i);

    private static char[] Build()
    {
        var chars = new char[256];
        var next = 256;
        for (var b = 0; b < 256; b++) chars[b] = b is (>= '!' and <= '~') or (>= '¡' and <= '¬') or (>= '®' and <= 'ÿ') ? (char)b : (char)next++;
        return chars;
    }

    public static char CharOf(byte b) => s_chars[b];

    public static IEnumerable<string> All => s_chars.Select(c => c.ToString());

    /// <summary>The text with every UTF-8 byte as its character.</summary>
    public static NormalizedText Spell(NormalizedText text) => text.Rewrite(NormalizedText.Characters(text.Text).SelectMany(c =>
        Encoding.UTF8.GetBytes(c).Select((b, i) => (s_chars[b].ToString(), i > 0 ? 1 : 0))));

    public static string Spell(ReadOnlySpan<byte> bytes)
    {
        var text = new StringBuilder(bytes.Length);
        foreach (var b in bytes) text.Append(s_chars[b]);
        return text.ToString();
    }

    /// <summary>The bytes that a token spells; a token with any other character (an added one) stands for its own UTF-8.</summary>
    public static byte[] Bytes(string token)
    {
        var bytes = new byte[token.Length];
        for (var i = 0; i < token.Length; i++)
        {
            if (!s_bytes.TryGetValue(token[i], out var b)) return Encoding.UTF8.GetBytes(token);
            bytes[i] = b;
        }
        return bytes;
    }
}
