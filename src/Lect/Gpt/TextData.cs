using Lect.Text;

namespace Lect;

/// <summary>The keys of <c>tokenizer</c>.</summary>
public record TokenizerConfig
{
    /// <summary>A tokenizer.json, or a folder that holds a tokenizer.</summary>
    public string? Path { get; init; }
    /// <summary>A new one, learned from the training split: <c>bpe</c> (bytes), <c>gpt1</c> (BPE of lower-case words), <c>wordpiece</c>, <c>unigram</c>, <c>char</c> or <c>word</c>. <value>bpe; bert: wordpiece</value></summary>
    public string? Kind { get; init; }
    /// <summary>Tokens of a new one (not for char). <value>8000</value></summary>
    public int? Size { get; init; }

    /// <summary>Case and accents do not count (wordpiece only). <value>true</value></summary>
    public bool? Lowercase { get; init; }

    internal virtual IEnumerable<string> Faults()
    {
        if (Path is not null && (Kind is not null || Size is not null)) yield return "tokenizer: found path together with kind or size, expected a tokenizer that is there, or one to learn";
        if (Kind is not (null or "bpe" or "gpt1" or "wordpiece" or "unigram" or "char" or "word")) yield return $"tokenizer.kind = '{Kind}': expected bpe, gpt1, wordpiece, unigram, char or word";
        if (Kind == "char" && Size is not null) yield return $"tokenizer.size = {Size}: a char tokenizer has as many tokens as there are characters; leave the key away";
        if (Size < 1) yield return $"tokenizer.size = {Size}: expected at least 1";
        if (Lowercase is not null && Kind != "wordpiece") yield return "tokenizer.lowercase: only a WordPiece vocabulary (kind: wordpiece) has it";
    }

    /// <summary>Checks what can be checked before texts are read.</summary>
    /// <exception cref="InvalidDataException">All faults together.</exception>
    public TokenizerConfig Validate() => Faults().ToList() is { Count: > 0 } faults ? throw new InvalidDataException("Found what cannot be honoured: " + string.Join("; ", faults) + ".") : this;

    /// <summary>Where the tokenizer is taken from, if not learned: its own path, else the model that is continued where no new one is asked for.</summary>
    internal string? GivenBy(string? modelPath) => Path ?? (Kind is null && Size is null ? modelPath : null);

    /// <summary>Checks that a model has an embedding for each of a tokenizer's tokens.</summary>
    internal static void RequireFit(Tokenizer tokenizer, long embeddings, string modelPath)
    {
        if (tokenizer.VocabularySize > embeddings) throw new InvalidDataException($"Found a tokenizer of {tokenizer.VocabularySize} tokens for a model with {embeddings} embeddings ({modelPath}). Expected the model's own tokenizer, or a smaller one.");
    }

    /// <summary>Learns the vocabulary from texts.</summary>
    public virtual Tokenizer Train(IEnumerable<string> texts) => Train(texts, specialTokens: null, words: 8000, minFrequency: 0);

    /// <summary>The one switch over the kinds.</summary>
    private protected Tokenizer Train(IEnumerable<string> texts, IReadOnlyList<string>? specialTokens, int words, int minFrequency) => Kind switch
    {
        "wordpiece" => TokenizerTrainer.WordPieces(texts, Size ?? 8000, Lowercase ?? true),
        "gpt1" => TokenizerTrainer.Gpt1(texts, Size ?? 8000, specialTokens),
        "unigram" => TokenizerTrainer.Unigram(texts, Size ?? 8000, specialTokens),
        "char" => TokenizerTrainer.Characters(texts, specialTokens: specialTokens),
        "word" => TokenizerTrainer.Words(texts, Size ?? words, specialTokens: specialTokens, minFrequency: minFrequency),
        _ => TokenizerTrainer.ByteLevelBpe(texts, Size ?? 8000, specialTokens),
    };
}

/// <summary>The keys of <c>data</c> where a recipe reads plain text.</summary>
public sealed record TextDataConfig
{
    /// <summary><c>sdk</c>: the documentation of the .NET SDK, unless <see cref="Path"/> is given.</summary>
    public string? Source { get; init; }
    /// <summary>A file, folder or glob, or a folder that <c>lect data prepare</c> made.</summary>
    public string? Path { get; init; }
    /// <summary>The SDK's documentation besides <see cref="Path"/>, with its own splits.</summary>
    public bool WithSdk { get; init; }
    /// <summary>What to validate on; then <see cref="Path"/> is for training alone.</summary>
    public string? ValidationPath { get; init; }
    /// <summary>The share kept for validation. <value>0.05</value></summary>
    public double? Validation { get; init; }
    /// <summary><c>hash</c>: by the hash of a document's text; <c>tail</c>: the last share of the file. Absent: tail for plain text, else hash.</summary>
    public string? Split { get; init; }
    /// <summary>The format (an ending without dot) where the file's name does not tell.</summary>
    public string? Format { get; init; }
    /// <summary>Our names to the file's: <c>text</c>.</summary>
    public Dictionary<string, string> Columns { get; init; } = [];

    internal IEnumerable<string> Faults()
    {
        if (Path is "" || ValidationPath is "") yield return "data: found an empty path";
        if (Source is not (null or "sdk")) yield return $"data.source = '{Source}': expected sdk, or data.path";
        if (Path is null && (ValidationPath ?? Split ?? Format) is not null) yield return "data: found validation_path, split or format without path; the SDK corpus has its own splits";
        if (Path is null && WithSdk) yield return "data.with_sdk: found without path; the SDK corpus is what is read then";
        if (Path is null && Validation is not null) yield return "data.validation: the SDK corpus has its own splits; give data.path to choose a share";
        if (ValidationPath is not null && (Validation ?? 0) > 0) yield return "data: found both validation and validation_path, expected one of them";
        if (ValidationPath is not null && Split is not null) yield return "data: found both split and validation_path, expected one of them";
        if (Validation is not (null or (>= 0 and < 1))) yield return FormattableString.Invariant($"data.validation = {Validation}: expected at least 0 and less than 1");
        if (Split is not (null or "hash" or "tail")) yield return $"data.split = '{Split}': expected hash or tail";
        foreach (var column in Columns.Keys.Where(c => c != "text")) yield return $"data.columns.{column}: this recipe reads the column 'text' only";
    }

    internal TextDataConfig WithFullPaths() => this with { Path = RunFile.FullPath(Path), ValidationPath = RunFile.FullPath(ValidationPath) };

    internal string Describe => Path is null ? "the documentation of the .NET SDK" : WithSdk ? $"{Path} and the documentation of the .NET SDK" : Path;

    /// <summary>The documents that these keys stand for.</summary>
    public IEnumerable<Document> Documents() => WithSdk ? Files().Concat(Lect.Text.Documents.Read(new())) : Files();

    internal IEnumerable<Document> Files() => Lect.Text.Documents.Read(new() { Path = Path, ValidationPath = ValidationPath, Validation = Validation ?? 0.05, Split = Split, Format = Format, TextColumn = Columns.GetValueOrDefault("text") ?? "text" });
}

/// <summary>Text to token ids: once a run, kept in its folder.</summary>
public static class TextData
{
    /// <summary>The tokenizer and the tokens of a run: prepared data as they are, those of an earlier start of this run, or new ones.</summary>
    /// <param name="data">Where the text is.</param>
    /// <param name="tokenizer">Which vocabulary.</param>
    /// <param name="modelPath">A model that is continued, whose tokenizer is taken where none is named.</param>
    /// <param name="folder">The run's.</param>
    /// <param name="note">Told what is being done.</param>
    internal static (Tokenizer, TokenFolder) Prepare(TextDataConfig data, TokenizerConfig tokenizer, string? modelPath, string folder, Action<string>? note)
    {
        var here = System.IO.Path.Combine(folder, "data");
        if (TokenFolder.IsAt(here)) return Open(here);
        var given = tokenizer.GivenBy(modelPath);
        if (data.Path is { } prepared && TokenFolder.IsAt(prepared))
        {
            if (data.WithSdk || (tokenizer.Kind ?? (object?)tokenizer.Size ?? data.ValidationPath ?? (object?)data.Validation ?? data.Split ?? data.Format) is not null || data.Columns.Count > 0)
                throw new InvalidDataException($"Found keys of tokenizer (kind, size) or data (with_sdk, validation, split, format, columns) beside the prepared data in {prepared}, which have all that. Expected data.path alone: --set tokenizer=null takes a file's tokenizer keys away.");
            return Check(Open(prepared), given);
        }
        var chosen = Chosen(data, tokenizer, given, note);
        note?.Invoke($"reading {data.Describe}");
        return (chosen, Write(here, data, chosen));
    }

    /// <summary>Prepared data in a folder of their own, for many runs.</summary>
    /// <param name="data">Where the text is.</param>
    /// <param name="tokenizer">Which vocabulary.</param>
    /// <param name="folder">Where to write: ids and tokenizer.</param>
    /// <param name="note">Told what is being done.</param>
    public static TokenFolder Prepare(TextDataConfig data, TokenizerConfig tokenizer, string folder, Action<string>? note = null) =>
        data.Faults().Concat(tokenizer.Faults()).ToList() is { Count: > 0 } faults ? throw new InvalidDataException(string.Join("; ", faults) + ".") : Write(folder, data, Chosen(data, tokenizer, tokenizer.Path, note));

    private static Tokenizer Chosen(TextDataConfig data, TokenizerConfig tokenizer, string? given, Action<string>? note)
    {
        if (given is not null) return Tokenizer.Load(given);
        note?.Invoke($"learning a tokenizer from {data.Describe}");
        return tokenizer.Train(data.Documents().Where(d => d.Split == CorpusSplit.Train).Select(d => d.Text));
    }

    private static TokenFolder Write(string folder, TextDataConfig data, Tokenizer tokenizer)
    {
        tokenizer.Save(folder);
        return TokenFolder.Write(folder, data.Documents(), tokenizer, data.Describe);
    }

    private static (Tokenizer, TokenFolder) Open(string folder) => (Tokenizer.Load(folder), TokenFolder.Open(folder));

    private static (Tokenizer, TokenFolder) Check((Tokenizer Tokenizer, TokenFolder Tokens) prepared, string? given) =>
        given is null || Tokenizer.Load(given).IsSameAs(prepared.Tokenizer) ? prepared
        : throw new InvalidDataException($"Found prepared data of another tokenizer than that of {given}. Expected the same tokenizer: prepare the data again with --tokenizer {given}.");

}
