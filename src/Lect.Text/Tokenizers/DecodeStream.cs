namespace Lect.Text;

/// <summary>Ids to text one by one, never breaking a character: what is not yet whole is held back until it is.</summary>
/// <remarks>The text of all steps together is the decoded text, but for a tail of bytes that never became a character.</remarks>
public sealed class DecodeStream(Tokenizer tokenizer, bool skipSpecialTokens = false)
{
    private const int TokensBefore = 8;   // more than the bytes of a character

    private readonly List<int> ids = [];
    private string shown = "";      // text of ids[..context], which was already given out
    private int context;

    /// <summary>A stream that goes on with a text: its first word keeps the blank that stands between the two.</summary>
    /// <param name="tokenizer">Whose ids.</param>
    /// <param name="before">The ids of what stands before; their text is not given again.</param>
    /// <param name="skipSpecialTokens">Special tokens give no text.</param>
    public DecodeStream(Tokenizer tokenizer, IReadOnlyList<int> before, bool skipSpecialTokens = false) : this(tokenizer, skipSpecialTokens)
    {
        ids.AddRange(before.Skip(before.Count - TokensBefore));
        while ((shown = tokenizer.Decode(ids, skipSpecialTokens)).StartsWith('\uFFFD')) ids.RemoveAt(0);   // the rest of a character
        if (shown.EndsWith('\uFFFD'))   // a prompt that ends within a character
        {
            ids.Clear();
            shown = "";
        }
        context = ids.Count;
    }

    /// <summary>Takes all ids that are left and ends: their text at once.</summary>
    public string Rest(IEnumerable<int> last)
    {
        ids.AddRange(last);
        return Flush();
    }

    /// <summary>Takes the next id; gives the text that it completes, or null while a character is incomplete.</summary>
    public string? Add(int id)
    {
        ids.Add(id);
        var text = tokenizer.Decode(ids, skipSpecialTokens);
        if (text.Length <= shown.Length || text.EndsWith('\uFFFD')) return null;
        var fresh = text[shown.Length..];
        ids.RemoveRange(0, context);
        (shown, context) = (tokenizer.Decode(ids, skipSpecialTokens), ids.Count);
        return fresh;
    }

    /// <summary>What is still held back, bytes of an incomplete character as U+FFFD.</summary>
    public string Flush()
    {
        var text = tokenizer.Decode(ids, skipSpecialTokens);
        ids.Clear();
        var rest = text.Length > shown.Length ? text[shown.Length..] : "";
        (shown, context) = ("", 0);
        return rest;
    }
}
