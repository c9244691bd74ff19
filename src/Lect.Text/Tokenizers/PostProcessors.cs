using System.Text.Json.Nodes;

namespace Lect.Text;

/// <summary>The last step of encoding: special tokens around one text or a pair, and trimmed offsets.</summary>
internal abstract class PostProcessor
{
    public abstract List<Token> Process(List<Token> first, List<Token>? second, bool addSpecialTokens);

    public abstract JsonObject ToJson();

    public static List<Token> Join(List<Token> first, List<Token>? second) => second is null ? first : [.. first, .. second.Select(t => t with { TypeId = 1 })];

    // Leading and trailing white space does not count to the range of a byte-level token.
    protected static List<Token> TrimOffsets(List<Token> tokens, bool addPrefixSpace)
    {
        for (var i = 0; i < tokens.Count; i++)
        {
            var (text, start, end) = (tokens[i].Text, tokens[i].Start, tokens[i].End);
            int leading = text.TakeWhile(IsSpace).Count(), trailing = text.Reverse().TakeWhile(IsSpace).Count();
            if (leading > 0)
            {
                if (addPrefixSpace && leading == 1 && (i == 0 || start == 0)) leading = 0;   // the space that was put in front
                start = Math.Min(start + leading, end);
            }
            if (trailing == text.Length && leading == 0) end = start;   // nothing but that space
            else if (trailing > 0 && end >= trailing) end = Math.Max(end - trailing, start);
            tokens[i] = tokens[i] with { Start = start, End = end };
        }
        return tokens;
    }

    private static bool IsSpace(char c) => c == ByteAlphabet.CharOf((byte)' ') || char.IsWhiteSpace(c);
}

/// <summary>Adds nothing; may trim offsets.</summary>
internal sealed class ByteLevelPostProcessor(bool addPrefixSpace, bool trimOffsets, bool useRegex) : PostProcessor
{
    public override JsonObject ToJson() => ByteLevelPreTokenizer.Json(addPrefixSpace, trimOffsets, useRegex);

    public override List<Token> Process(List<Token> first, List<Token>? second, bool addSpecialTokens) => trimOffsets
        ? Join(TrimOffsets(first, addPrefixSpace), second is null ? null : TrimOffsets(second, addPrefixSpace))
        : Join(first, second);
}

/// <summary>RoBERTa's: <c>&lt;s&gt; A &lt;/s&gt;</c>, and <c>&lt;s&gt; A &lt;/s&gt; &lt;/s&gt; B &lt;/s&gt;</c>, all of type 0.</summary>
internal sealed class RobertaPostProcessor((string Text, int Id) sep, (string Text, int Id) cls, bool trimOffsets, bool addPrefixSpace) : PostProcessor
{
    public override JsonObject ToJson() => new()
    {
        ["type"] = "RobertaProcessing",
        ["sep"] = new JsonArray(sep.Text, sep.Id),
        ["cls"] = new JsonArray(cls.Text, cls.Id),
        ["trim_offsets"] = trimOffsets,
        ["add_prefix_space"] = addPrefixSpace,
    };

    public override List<Token> Process(List<Token> first, List<Token>? second, bool addSpecialTokens)
    {
        if (trimOffsets) { TrimOffsets(first, addPrefixSpace); if (second is not null) TrimOffsets(second, addPrefixSpace); }
        if (!addSpecialTokens) return second is null ? first : [.. first, .. second];
        Token Put((string Text, int Id) t) => new(t.Id, t.Text, 0, 0, Special: true);
        return second is null
            ? [Put(cls), .. first, Put(sep)]
            : [Put(cls), .. first, Put(sep), Put(sep), .. second, Put(sep)];
    }
}

/// <summary>A template such as <c>[CLS] $A [SEP] $B:1 [SEP]:1</c>.</summary>
internal sealed class TemplatePostProcessor(JsonArray single, JsonArray pair, JsonObject specialTokens) : PostProcessor
{
    private readonly List<Item> singleItems = Read(single, specialTokens), pairItems = Read(pair, specialTokens);

    private sealed record Item(bool Sequence, bool Second, int TypeId, IReadOnlyList<(int Id, string Text)> Tokens);

    public override JsonObject ToJson() => new()
    {
        ["type"] = "TemplateProcessing",
        ["single"] = single.DeepClone(),
        ["pair"] = pair.DeepClone(),
        ["special_tokens"] = specialTokens.DeepClone(),
    };

    public override List<Token> Process(List<Token> first, List<Token>? second, bool addSpecialTokens)
    {
        var result = new List<Token>();
        foreach (var item in second is null ? singleItems : pairItems)
            if (item.Sequence) result.AddRange((item.Second ? second! : first).Select(t => t with { TypeId = item.TypeId }));
            else if (addSpecialTokens) result.AddRange(item.Tokens.Select(t => new Token(t.Id, t.Text, 0, 0, Special: true, TypeId: item.TypeId)));
        return result;
    }

    private static List<Item> Read(JsonArray template, JsonObject specials) =>
        [.. template.Select(node => node!["Sequence"] is { } sequence
            ? new Item(true, (string?)sequence["id"] == "B", (int)sequence["type_id"]!, [])
            : new Item(false, false, (int)node["SpecialToken"]!["type_id"]!, Tokens(specials[(string)node["SpecialToken"]!["id"]!]!)))];

    private static List<(int, string)> Tokens(JsonNode special) =>
        [.. special["ids"]!.AsArray().Zip(special["tokens"]!.AsArray(), (id, text) => ((int)id!, (string)text!))];
}

/// <summary>Post-processors one after the other; those behind the first see one joined text.</summary>
internal sealed class SequencePostProcessor(IReadOnlyList<PostProcessor> parts) : PostProcessor
{
    public override JsonObject ToJson() => new() { ["type"] = "Sequence", ["processors"] = new JsonArray([.. parts.Select(p => p.ToJson())]) };

    public override List<Token> Process(List<Token> first, List<Token>? second, bool addSpecialTokens)
    {
        // The ByteLevel step only trims, and does so on each text alone.
        foreach (var part in parts.SkipLast(1))
        {
            first = part.Process(first, null, addSpecialTokens);
            if (second is not null) second = part.Process(second, null, addSpecialTokens);
        }
        return parts.Count == 0 ? Join(first, second) : parts[^1].Process(first, second, addSpecialTokens);
    }
}
