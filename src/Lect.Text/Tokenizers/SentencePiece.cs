// SentencePiece's model files (Kudo and Richardson 2018), read so that ids equal the library's own; a tokenizer.json made from one differs on a few texts.
using System.Text;
using System.Text.Json.Nodes;
using Google.Protobuf;

namespace Lect.Text;

/// <summary>What a <c>.model</c> or <c>.spm</c> file holds (sentencepiece_model.proto).</summary>
internal sealed record SentencePieceFile
{
    public enum Kind { Normal = 1, Unknown = 2, Control = 3, UserDefined = 4, Unused = 5, Byte = 6 }

    public sealed record Piece(string Text, float Score, Kind Kind)
    {
        public bool IsMatched => Kind is Kind.Normal or Kind.UserDefined or Kind.Unused;
    }

    public required ReadOnlyMemory<byte> Bytes { get; init; }
    public required IReadOnlyList<Piece> Pieces { get; init; }
    public bool IsBpe { get; private init; }
    public bool ByteFallback { get; private init; }
    public string UnknownSurface { get; private init; } = " \u2047 ";
    public CharsMap? Rules { get; private init; }
    public bool AddDummyPrefix { get; private init; } = true;
    public bool RemoveExtraWhitespaces { get; private init; } = true;
    public bool EscapeWhitespaces { get; private init; } = true;

    /// <exception cref="InvalidDataException">It is none, or it is cut short or damaged.</exception>
    public static SentencePieceFile Read(string path)
    {
        var bytes = File.ReadAllBytes(path);
        try
        {
            var file = Parse(bytes);
            if (file.Pieces.Count == 0 || file.Pieces.Count(p => p.Kind == Kind.Unknown) != 1 || file.Pieces.Any(p => p.Text.Length == 0)) throw new InvalidDataException($"found {file.Pieces.Count} pieces, {file.Pieces.Count(p => p.Kind == Kind.Unknown)} of them the unknown one");
            if (file.Pieces.GroupBy(p => p.Text, StringComparer.Ordinal).FirstOrDefault(g => g.Count() > 1) is { } twice) throw new InvalidDataException($"found the piece '{twice.Key}' twice");
            return file;
        }
        catch (Exception e) when (e is InvalidProtocolBufferException or InvalidDataException or ArgumentException)
        {
            throw new InvalidDataException($"{path} is no readable SentencePiece model: {e.Message} Expected a whole file as the library's trainer writes it; get it again.", e);
        }
    }

    private static SentencePieceFile Parse(byte[] bytes)
    {
        var pieces = new List<Piece>();
        var file = new SentencePieceFile { Bytes = bytes, Pieces = pieces };
        Fields(bytes, (field, value) =>
        {
            if (field == 1) pieces.Add(ReadPiece(value.ReadBytes()));
            else if (field == 2) file = ReadTrainer(file, value.ReadBytes());
            else if (field == 3) file = ReadNormalizer(file, value.ReadBytes());
            else return false;
            return true;
        });
        return file;
    }

    private static Piece ReadPiece(ByteString bytes)
    {
        var piece = new Piece("", 0, Kind.Normal);
        Fields(bytes.Memory, (field, value) =>
        {
            if (field == 1) piece = piece with { Text = value.ReadString() };
            else if (field == 2) piece = piece with { Score = value.ReadFloat() };
            else if (field == 3) piece = piece with { Kind = (Kind)value.ReadEnum() };
            else return false;
            return true;
        });
        return Enum.IsDefined(piece.Kind) && float.IsFinite(piece.Score) ? piece : throw new InvalidDataException($"found a piece '{piece.Text}' of kind {piece.Kind} with the score {piece.Score}.");
    }

    private static SentencePieceFile ReadTrainer(SentencePieceFile file, ByteString bytes)
    {
        Fields(bytes.Memory, (field, value) =>
        {
            if (field == 3)
            {
                var type = value.ReadEnum();
                if (type is not (1 or 2)) throw new InvalidDataException($"found a model of type {(type == 3 ? "word" : type == 4 ? "char" : type)}, this version of Lect knows unigram and bpe.");
                file = file with { IsBpe = type == 2 };
            }
            else if (field == 24) { if (value.ReadBool()) throw new InvalidDataException("found treat_whitespace_as_suffix, which this version of Lect does not know."); }
            else if (field == 35) file = file with { ByteFallback = value.ReadBool() };
            else if (field == 44) file = file with { UnknownSurface = value.ReadString() };
            else return false;
            return true;
        });
        return file;
    }

    private static SentencePieceFile ReadNormalizer(SentencePieceFile file, ByteString bytes)
    {
        Fields(bytes.Memory, (field, value) =>
        {
            if (field == 2) { var rules = value.ReadBytes(); file = file with { Rules = rules.Length > 0 ? new(rules.Memory) : null }; }
            else if (field == 3) file = file with { AddDummyPrefix = value.ReadBool() };
            else if (field == 4) file = file with { RemoveExtraWhitespaces = value.ReadBool() };
            else if (field == 5) file = file with { EscapeWhitespaces = value.ReadBool() };
            else return false;
            return true;
        });
        return file;
    }

    private static void Fields(ReadOnlyMemory<byte> message, Func<int, CodedInputStream, bool> read)
    {
        var input = new CodedInputStream(message.ToArray());
        while (input.ReadTag() is not 0 and var tag)
            if (!read(WireFormat.GetTagFieldNumber(tag), input)) input.SkipLastField();
    }

    private Unigram Unigram()
    {
        var most = Pieces.Where(p => p.Kind == Kind.Normal).Select(p => p.Score).DefaultIfEmpty(0).Max();
        var least = Pieces.Where(p => p.Kind == Kind.Normal).Select(p => p.Score).DefaultIfEmpty(0).Min();
        return new([.. Pieces.Select(p => (p.Text, p.Kind == Kind.UserDefined ? Encoding.UTF8.GetByteCount(p.Text) * most - 0.1 : p.Score))], Pieces.ToList().FindIndex(p => p.Kind == Kind.Unknown), ByteFallback,
            [.. Pieces.Select(p => p.Kind is Kind.Normal or Kind.UserDefined)], inSingle: true, least);
    }

    /// <summary>The parts of a tokenizer.</summary>
    public (TokenModel Model, SentencePieceNormalizer Normalizer, SentencePieceDecoder Decoder) Parts() => (IsBpe ? new SentencePieceBpe(this) : Unigram(), new(this), new(this));

    public static Tokenizer Load(string path)
    {
        var file = Read(path);
        var (model, normalizer, decoder) = file.Parts();
        return new(model, normalizer, null, null, decoder) { SentencePiece = file.Bytes };
    }
}

/// <summary>SentencePiece's normalizer: its compiled rules (the longest that fits), then white space: none at the ends nor twice, one in front, all shown as ▁.</summary>
internal sealed class SentencePieceNormalizer(SentencePieceFile file) : Normalizer
{
    public const string Space = "\u2581";

    private readonly byte[][] userDefined = [.. file.Pieces.Where(p => p.Kind == SentencePieceFile.Kind.UserDefined).Select(p => Encoding.UTF8.GetBytes(p.Text)).OrderByDescending(p => p.Length)];

    public override JsonObject ToJson() => new() { ["type"] = "SentencePiece", ["model"] = Convert.ToBase64String(file.Bytes.Span) };

    public override NormalizedText Normalize(NormalizedText text)
    {
        var (output, ranges) = (new StringBuilder(), new List<(int, int)>());
        var space = file.EscapeWhitespaces ? Space : " ";
        var (utf8, units) = Utf8(text.Text);
        var at = 0;
        if (file.RemoveExtraWhitespaces)
            while (at < utf8.Length && Rule(utf8.AsSpan(at)) is { Text: " " } blank) at += blank.Length;
        if (at == utf8.Length) return NormalizedText.Of("", []);
        if (file.AddDummyPrefix) Append(space, at, at + 1);
        var afterSpace = file.RemoveExtraWhitespaces;
        while (at < utf8.Length)
        {
            var (normalized, length) = Rule(utf8.AsSpan(at));
            if (afterSpace) normalized = normalized.TrimStart(' ');
            if (normalized.Length > 0)
            {
                Append(file.EscapeWhitespaces ? normalized.Replace(" ", Space, StringComparison.Ordinal) : normalized, at, at + length);
                afterSpace = normalized[^1] == ' ';
            }
            at += length;
            if (!file.RemoveExtraWhitespaces) afterSpace = false;
        }
        if (file.RemoveExtraWhitespaces)
            while (output.Length > 0 && output[^1] == space[0]) { output.Length--; ranges.RemoveAt(ranges.Count - 1); }
        return NormalizedText.Of(output.ToString(), [.. ranges]);

        void Append(string what, int from, int to)
        {
            output.Append(what);
            var range = text.Original(units[from], units[Math.Max(from, to - 1)] + 1);
            for (var i = 0; i < what.Length; i++) ranges.Add(range);
        }
    }

    // What a beginning becomes, and its bytes.
    private (string Text, int Length) Rule(ReadOnlySpan<byte> utf8)
    {
        foreach (var piece in userDefined) if (utf8.StartsWith(piece)) return (Encoding.UTF8.GetString(piece), piece.Length);
        if (file.Rules?.Find(utf8, longest: true) is { } found) return found;
        Rune.DecodeFromUtf8(utf8, out var rune, out var length);
        return (rune.ToString(), length);
    }

    // The bytes of a text, and the UTF-16 unit that each comes from.
    private static (byte[] Bytes, int[] Units) Utf8(string text)
    {
        var (bytes, units) = (new List<byte>(text.Length), new List<int>(text.Length));
        for (int i = 0, n; i < text.Length; i += n)
        {
            n = NormalizedText.RuneLength(text, i);
            foreach (var b in Encoding.UTF8.GetBytes(text, i, n)) { bytes.Add(b); units.Add(i); }
        }
        return ([.. bytes], [.. units]);
    }
}

/// <summary>SentencePiece's BPE: of all neighbours that make a token the one with the highest score is merged, the leftmost first.</summary>
internal sealed class SentencePieceBpe : TokenModel
{
    private readonly SentencePieceFile file;
    private readonly Dictionary<string, int> vocabulary = new(StringComparer.Ordinal), matched = new(StringComparer.Ordinal);
    private readonly string[] userDefined;
    private readonly int unknownId;
    private readonly int[] bytes;

    public SentencePieceBpe(SentencePieceFile file)
    {
        this.file = file;
        for (var id = 0; id < file.Pieces.Count; id++)
        {
            vocabulary.TryAdd(file.Pieces[id].Text, id);
            if (file.Pieces[id].IsMatched) matched.TryAdd(file.Pieces[id].Text, id);
            if (file.Pieces[id].Kind == SentencePieceFile.Kind.Unknown) unknownId = id;
        }
        userDefined = [.. file.Pieces.Where(p => p.Kind == SentencePieceFile.Kind.UserDefined).Select(p => p.Text).OrderByDescending(p => p.Length)];
        bytes = [.. Enumerable.Range(0, 256).Select(b => vocabulary.GetValueOrDefault(ByteToken.Of((byte)b), -1))];
    }

    public override IReadOnlyDictionary<string, int> Vocabulary => vocabulary;

    public override JsonObject ToJson() => new() { ["type"] = "SentencePiece" };

    private sealed class Symbol
    {
        public required int From, To, Previous, Next;
        public bool Frozen;
    }

    public override void Tokenize(string piece, List<(int Id, string Token, int From, int To)> into)
    {
        var symbols = new List<Symbol>();
        for (int at = 0, n; at < piece.Length; at += n)
        {
            var whole = userDefined.FirstOrDefault(u => piece.AsSpan(at).StartsWith(u, StringComparison.Ordinal));
            n = whole?.Length ?? NormalizedText.RuneLength(piece, at);
            symbols.Add(new() { From = at, To = at + n, Previous = symbols.Count - 1, Next = symbols.Count + 1, Frozen = whole is not null });
        }
        var queue = new PriorityQueue<(int Left, int Right, int Length), (float, int)>();
        var unused = new Dictionary<string, (string, string)>(StringComparer.Ordinal);
        for (var i = 1; i < symbols.Count; i++) Offer(i - 1, i);
        while (queue.TryDequeue(out var pair, out _))
        {
            var (left, right) = (symbols[pair.Left], symbols[pair.Right]);
            if (left.From == left.To || right.From == right.To || right.To - left.From != pair.Length) continue;   // one of them has gone into another
            (left.To, left.Next, right.From) = (right.To, right.Next, right.To);
            if (right.Next < symbols.Count) { symbols[right.Next].Previous = pair.Left; Offer(pair.Left, right.Next); }
            if (left.Previous >= 0) Offer(left.Previous, pair.Left);
        }
        var unknown = false;
        for (var i = 0; i < symbols.Count; i = symbols[i].Next) Add(piece[symbols[i].From..symbols[i].To], symbols[i].From);

        void Offer(int left, int right)
        {
            if (symbols[left].Frozen || symbols[right].Frozen) return;
            var text = piece[symbols[left].From..symbols[right].To];
            if (!matched.TryGetValue(text, out var id)) return;
            queue.Enqueue((left, right, text.Length), (-file.Pieces[id].Score, left));
            if (file.Pieces[id].Kind == SentencePieceFile.Kind.Unused) unused[text] = (piece[symbols[left].From..symbols[left].To], piece[symbols[right].From..symbols[right].To]);
        }

        void Add(string text, int from)
        {
            var known = vocabulary.TryGetValue(text, out var id) && id != unknownId;
            if (known && file.Pieces[id].Kind == SentencePieceFile.Kind.Unused && unused.TryGetValue(text, out var parts))
            {
                Add(parts.Item1, from);
                Add(parts.Item2, from + parts.Item1.Length);
            }
            else if (known) into.Add((id, text, from, from + text.Length));
            else if (file.ByteFallback) foreach (var b in Encoding.UTF8.GetBytes(text)) into.Add((bytes[b] >= 0 ? bytes[b] : unknownId, ByteToken.Of(b), from, from + text.Length));
            else if (unknown) into[^1] = (unknownId, into[^1].Token + text, into[^1].From, from + text.Length);   // a run of unknown characters is one token
            else into.Add((unknownId, text, from, from + text.Length));
            unknown = !known && !file.ByteFallback;
        }
    }
}

/// <summary>Pieces to text as SentencePiece joins them: the space in front is taken away, control pieces say nothing.</summary>
internal sealed class SentencePieceDecoder(SentencePieceFile file) : Decoder
{
    private readonly Dictionary<string, SentencePieceFile.Kind> kinds = file.Pieces.ToDictionary(p => p.Text, p => p.Kind, StringComparer.Ordinal);

    public override JsonObject ToJson() => new() { ["type"] = "SentencePiece" };

    public override IEnumerable<string> Chain(IReadOnlyList<string> tokens)
    {
        var (text, pending, atStart, sawSpace) = (new StringBuilder(), new List<byte>(), true, false);
        foreach (var token in tokens)
        {
            var kind = kinds.GetValueOrDefault(token, SentencePieceFile.Kind.Normal);
            if (kind == SentencePieceFile.Kind.Byte) { pending.Add(ByteToken.ByteOf(token)!.Value); continue; }
            Flush();
            if (sawSpace || text.Length > 0) atStart = false;
            sawSpace = false;
            if (kind == SentencePieceFile.Kind.Control) continue;
            if (kind == SentencePieceFile.Kind.Unknown) { text.Append(file.UnknownSurface); continue; }
            if (!kinds.ContainsKey(token)) { text.Append(token); continue; }
            var piece = token;
            if (atStart && (file.AddDummyPrefix || file.RemoveExtraWhitespaces) && piece.StartsWith(SentencePieceNormalizer.Space, StringComparison.Ordinal))
            {
                piece = piece[1..];
                sawSpace = !file.RemoveExtraWhitespaces;
            }
            text.Append(piece.Replace(SentencePieceNormalizer.Space, " ", StringComparison.Ordinal));
        }
        Flush();
        return [text.ToString()];

        void Flush()
        {
            for (var rest = pending.ToArray().AsSpan(); rest.Length > 0;)
            {
                var valid = Rune.DecodeFromUtf8(rest, out var rune, out var length) == System.Buffers.OperationStatus.Done;
                text.Append(valid ? rune.ToString() : "\uFFFD");
                rest = rest[(valid ? length : 1)..];
            }
            pending.Clear();
        }
    }
}
