// The tokenizers of Marian's published translation models (opus-mt): a SentencePiece model a side cuts the text, and one vocab.json gives both sides' pieces their ids.
using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using System.Text.RegularExpressions;

namespace Lect.Text;

/// <summary>Opens the tokenizers of a Marian folder: <c>source.spm</c>, <c>target.spm</c>, <c>vocab.json</c>. Ids equal those of Hugging Face's MarianTokenizer.</summary>
public static partial class MarianTokenizers
{
    /// <summary>The files of such a folder.</summary>
    public static IReadOnlyList<string> Files { get; } = ["source.spm", "target.spm", "vocab.json"];

    private static readonly string[] s_special = ["</s>", "<unk>", "<pad>"];

    /// <summary>Whether a folder has all of them.</summary>
    public static bool AreIn(string folder) => Files.All(f => File.Exists(Path.Combine(folder, f)));

    /// <summary>Both tokenizers. A source text may begin with the language to translate into, <c>&gt;&gt;fra&lt;&lt;</c>.</summary>
    /// <exception cref="InvalidDataException">A file is damaged; the message says which.</exception>
    public static (Tokenizer Source, Tokenizer Target) Load(string folder)
    {
        var path = Path.Combine(folder, Files[2]);
        Dictionary<string, int> vocabulary;
        try { vocabulary = JsonSerializer.Deserialize<Dictionary<string, int>>(File.ReadAllText(path)) ?? []; }
        catch (JsonException e) { throw new InvalidDataException($"{path} is no readable vocabulary: {e.Message}", e); }
        foreach (var token in s_special) if (!vocabulary.ContainsKey(token)) throw new InvalidDataException($"{path}: found no '{token}'. Expected {string.Join(", ", s_special)} and the pieces of both sides.");
        return (Make(SentencePieceFile.Read(Path.Combine(folder, Files[0])), vocabulary), Make(SentencePieceFile.Read(Path.Combine(folder, Files[1])), vocabulary));
    }

    private static Tokenizer Make(SentencePieceFile file, Dictionary<string, int> vocabulary)
    {
        var (model, normalizer, decoder) = file.Parts();
        return new(new MarianModel(model, vocabulary), null, new MarianPreTokenizer(normalizer), null, new MarianDecoder(decoder), s_special.Select(t => new AddedToken(vocabulary[t], t)));
    }

    /// <summary>The pieces of a SentencePiece model under the ids of vocab.json; what that lacks is unknown.</summary>
    private sealed class MarianModel(TokenModel pieces, Dictionary<string, int> vocabulary) : TokenModel
    {
        private readonly int unknown = vocabulary[s_special[1]];

        public override IReadOnlyDictionary<string, int> Vocabulary => vocabulary;

        public override JsonObject ToJson() => new() { ["type"] = "Marian", ["vocab"] = VocabularyJson() };

        public override void Tokenize(string piece, List<(int Id, string Token, int From, int To)> into)
        {
            var first = into.Count;
            if (MarianPreTokenizer.IsLanguage(piece)) into.Add((0, piece, 0, piece.Length));
            else pieces.Tokenize(piece, into);
            for (var i = first; i < into.Count; i++) into[i] = vocabulary.TryGetValue(into[i].Token, out var id) ? into[i] with { Id = id } : into[i] with { Id = unknown, Token = s_special[1] };
        }
    }

    /// <summary>A language at the beginning is a piece of its own; the rest is SentencePiece's.</summary>
    private sealed partial class MarianPreTokenizer(SentencePieceNormalizer normalizer) : PreTokenizer
    {
        [GeneratedRegex(">>.+<<", RegexOptions.CultureInvariant)]
        private static partial Regex Language { get; }

        public static bool IsLanguage(string piece) => piece.StartsWith(">>", StringComparison.Ordinal) && piece.EndsWith("<<", StringComparison.Ordinal) && piece.Length > 4;

        public override JsonObject ToJson() => normalizer.ToJson();

        public override IEnumerable<NormalizedText> Split(NormalizedText text)
        {
            var languages = Language.Matches(text.Text);
            if (languages.Count > 0 && languages[0].Index == 0) yield return text.Slice(0, languages[0].Length);
            if (languages.Count > 0) text = text.Replace(languages.Select(m => (m.Index, m.Index + m.Length)), "");
            yield return normalizer.Normalize(text);
        }
    }

    /// <summary>A side's pieces as SentencePiece joins them; special tokens stand between, with a space behind.</summary>
    private sealed class MarianDecoder(SentencePieceDecoder pieces) : Decoder
    {
        public override JsonObject ToJson() => pieces.ToJson();

        public override IEnumerable<string> Chain(IReadOnlyList<string> tokens)
        {
            var (text, run) = (new StringBuilder(), new List<string>());
            foreach (var token in tokens)
            {
                if (!s_special.Contains(token)) { run.Add(token); continue; }
                text.Append(pieces.Decode(run)).Append(token).Append(' ');
                run.Clear();
            }
            text.Append(pieces.Decode(run));
            return [text.Replace(SentencePieceNormalizer.Space, " ").ToString().Trim()];
        }
    }
}
