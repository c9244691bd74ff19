namespace Lect.Text;

/// <summary>A stretch of words of a type.</summary>
/// <param name="Type">What it is.</param>
/// <param name="First">Its first word.</param>
/// <param name="Last">Its last word.</param>
public readonly record struct Entity(string Type, int First, int Last);

/// <summary>How tags name stretches of words.</summary>
public enum TagScheme
{
    /// <summary>I within; B only where two of a type touch (CoNLL-2003 as published).</summary>
    Iob1,
    /// <summary>B begins each.</summary>
    Iob2,
    /// <summary>I within; E only where two of a type touch.</summary>
    Ioe1,
    /// <summary>E ends each.</summary>
    Ioe2,
    /// <summary>B begins, I within, E ends, S alone.</summary>
    Iobes,
    /// <summary>B begins, I within, L ends, U alone.</summary>
    Bilou,
}

/// <summary>Tags to entities and their figures, as seqeval has them.</summary>
public static class EntityMetrics
{
    /// <summary>The entities of a sentence, whatever the tags' order (seqeval's default mode: conlleval's rules): an I after O, or of another type, begins one.</summary>
    /// <param name="tags">One a word: O, or a letter and a type (<c>B-PER</c>).</param>
    /// <param name="suffix">The letter stands behind (<c>PER-B</c>).</param>
    public static List<Entity> Entities(IReadOnlyList<string> tags, bool suffix = false)
    {
        var entities = new List<Entity>();
        var (before, typeBefore, first) = ('O', "", 0);
        for (var i = 0; i <= tags.Count; i++)
        {
            var (letter, type) = i == tags.Count ? ('O', "_") : Parts(tags[i], suffix, fromEnd: suffix);
            if (before is not ('O' or '.') && (before is 'E' or 'S' || (before is 'B' or 'I' && letter is 'B' or 'S' or 'O') || typeBefore != type)) entities.Add(new(typeBefore, first, i - 1));
            if (letter is 'B' or 'S' || (letter is 'E' or 'I' && before is 'E' or 'S' or 'O') || (letter is not ('O' or '.') && typeBefore != type)) first = i;
            (before, typeBefore) = (letter, type);
        }
        return entities;
    }

    private static (char Letter, string Type) Parts(string tag, bool suffix, bool fromEnd)
    {
        if (tag.Length == 0) return ('O', "_");
        var rest = suffix ? tag[..^1] : tag[1..];
        var dash = fromEnd ? rest.LastIndexOf('-') : rest.IndexOf('-', StringComparison.Ordinal);
        var type = dash < 0 ? rest : fromEnd ? rest[..dash] : rest[(dash + 1)..];
        return (suffix ? tag[^1] : tag[0], type.Length == 0 ? "_" : type);
    }

    private enum Tie { Any, Same, Different }

    private sealed record Scheme(string Letters, (string Before, string Now, Tie Type)[] Start, (string Before, string Now, Tie Type)[] Inside, (string Before, string Now, Tie Type)[] End);

    private const string Every = "IOBESUL";

    private static readonly Dictionary<TagScheme, Scheme> s_schemes = new()
    {
        [TagScheme.Iob1] = new("IOB", [("O", "I", Tie.Any), ("I", "I", Tie.Different), ("B", "I", Tie.Any), ("I", "B", Tie.Same), ("B", "B", Tie.Same)], [("BI", "I", Tie.Same)], [("I", "I", Tie.Different), ("I", "OB", Tie.Any), ("B", "O", Tie.Any), ("B", "I", Tie.Different), ("B", "B", Tie.Same)]),
        [TagScheme.Iob2] = new("IOB", [(Every, "B", Tie.Any)], [("BI", "I", Tie.Same)], [("IB", "OB", Tie.Any), ("IB", "I", Tie.Different)]),
        [TagScheme.Ioe1] = new("IOE", [("O", "I", Tie.Any), ("I", "I", Tie.Different), ("E", "I", Tie.Any), ("E", "E", Tie.Same)], [("I", "IE", Tie.Same)], [("I", "IE", Tie.Different), ("I", "O", Tie.Any), ("E", "IE", Tie.Same)]),
        [TagScheme.Ioe2] = new("IOE", [("OE", "IE", Tie.Any), ("I", "IE", Tie.Different)], [("I", "IE", Tie.Same)], [("E", Every, Tie.Any)]),
        [TagScheme.Iobes] = new("IOBES", [(Every, "BS", Tie.Any)], [("BI", "IE", Tie.Same)], [("SE", Every, Tie.Any)]),
        [TagScheme.Bilou] = new("IOBUL", [(Every, "BU", Tie.Any)], [("BI", "IL", Tie.Same)], [("UL", Every, Tie.Any)]),
    };

    /// <summary>The entities whose tags keep to a scheme (seqeval's strict mode); others count for nothing.</summary>
    /// <exception cref="InvalidDataException">A letter that the scheme does not have.</exception>
    public static List<Entity> Entities(IReadOnlyList<string> tags, TagScheme scheme, bool suffix = false)
    {
        var (rules, entities) = (s_schemes[scheme], new List<Entity>());
        var all = tags.Select(t => (Letter: suffix ? t[^1] : t[0], Type: (suffix ? t[..^1] : t[1..]).Trim('-') is { Length: > 0 } type ? type : "_")).Append((Letter: 'O', Type: "_")).ToList();
        if (all.FirstOrDefault(t => !rules.Letters.Contains(t.Letter, StringComparison.Ordinal)) is { Letter: not '\0' } odd) throw new InvalidDataException($"Found the tag '{odd.Letter}-{odd.Type}'. Expected {string.Join(", ", rules.Letters.ToArray())} in tags of {scheme.ToString().ToUpperInvariant()}.");
        bool Fits((char Letter, string Type) before, (char Letter, string Type) now, (string Before, string Now, Tie Type)[] patterns) => patterns.Any(p =>
            p.Before.Contains(before.Letter, StringComparison.Ordinal) && p.Now.Contains(now.Letter, StringComparison.Ordinal) && (p.Type == Tie.Any || p.Type == Tie.Same == (before.Type == now.Type)));
        for (int i = 0, end; i < all.Count; i = end)
        {
            end = i + 1;
            if (!Fits(i == 0 ? ('O', "_") : all[i - 1], all[i], rules.Start)) continue;
            while (end < all.Count && Fits(all[end - 1], all[end], rules.Inside)) end++;
            if (end == all.Count) end = all.Count - 1;
            if (Fits(all[end - 1], all[end], rules.End)) entities.Add(new(all[i].Type, i, end - 1));
        }
        return entities;
    }

    /// <summary>Figures of entities: right are those with the same type, first and last word; accuracy is that of single tags.</summary>
    /// <param name="gold">True tags by sentence.</param>
    /// <param name="predicted">Said tags by sentence.</param>
    /// <param name="strict">The scheme that must be kept; null: seqeval's default mode.</param>
    /// <param name="suffix">The letter stands behind the type.</param>
    /// <exception cref="InvalidDataException">Sentences that are not as many or not as long.</exception>
    public static ClassReport Report(IReadOnlyList<IReadOnlyList<string>> gold, IReadOnlyList<IReadOnlyList<string>> predicted, TagScheme? strict = null, bool suffix = false)
    {
        if (gold.Count != predicted.Count) throw new InvalidDataException($"Found {gold.Count} true and {predicted.Count} predicted sentences. Expected as many.");
        for (var i = 0; i < gold.Count; i++)
            if (gold[i].Count != predicted[i].Count) throw new InvalidDataException($"Found {gold[i].Count} true and {predicted[i].Count} predicted tags in sentence {i + 1}. Expected one a word.");
        HashSet<(int, Entity)> All(IReadOnlyList<IReadOnlyList<string>> tags) => [.. tags.SelectMany((t, i) => (strict is { } scheme ? Entities(t, scheme, suffix) : Entities(t, suffix)).Select(e => (i, e)))];
        var (right, said) = (All(gold), All(predicted));
        var types = right.Concat(said).Select(e => e.Item2.Type).Distinct().Order(StringComparer.Ordinal).ToList();
        ClassScore Of(Func<(int, Entity), bool> which) => ClassScore.Of(right.Count(e => which(e) && said.Contains(e)), said.Count(which), right.Count(which));
        var (words, same) = (gold.Sum(s => (long)s.Count), gold.Zip(predicted, (g, p) => (long)g.Zip(p).Count(t => t.First == t.Second)).Sum());
        return new([.. types.Select(t => (t, Of(e => e.Item2.Type == t)))], words == 0 ? 0 : (double)same / words, Of(_ => true));
    }
}
