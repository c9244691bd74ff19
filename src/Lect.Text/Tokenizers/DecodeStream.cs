namespace Lect.Text;

/// <summary>Ids to text one by one, never breaking a character: what is not yet whole is held back until it is.</summary>
/// <remarks>The text of all steps together is the decoded text, but for a tail of bytes that never became a character.</remarks>
public sealed class DecodeStream(Tokenizer tokenizer, bool skipSpecialTokens = false)
{
    private readonly List<int> ids = [];
    private string shown = "";      // text of ids[..context], which was already given out
    private int context;

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
