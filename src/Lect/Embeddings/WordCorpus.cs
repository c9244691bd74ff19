using System.Runtime.InteropServices;
using System.Text;
using Lect.Text;

namespace Lect;

/// <summary>Words and how often each stands in the text, most frequent first, ties by first appearance.</summary>
public sealed class WordVocabulary
{
    /// <summary>The end of a sentence, as word2vec.c writes it: its word 0.</summary>
    public const string SentenceEnd = "</s>";

    private readonly Dictionary<string, int> index;

    /// <param name="words">Distinct.</param>
    /// <param name="counts">Of each.</param>
    public WordVocabulary(IReadOnlyList<string> words, IReadOnlyList<long> counts)
    {
        (Words, Counts, Total) = (words, counts, counts.Sum());
        index = new(words.Count, StringComparer.Ordinal);
        for (var i = 0; i < words.Count; i++) index.TryAdd(words[i], i);
    }

    /// <summary>The words.</summary>
    public IReadOnlyList<string> Words { get; }

    /// <summary>Occurrences of each.</summary>
    public IReadOnlyList<long> Counts { get; }

    /// <summary>Their sum.</summary>
    public long Total { get; }

    /// <summary>The number of a word; -1: not there.</summary>
    public int IndexOf(string word) => index.GetValueOrDefault(word, -1);

    /// <summary>Writes "word count" lines, as word2vec.c's -save-vocab and GloVe's vocab_count do.</summary>
    public void Save(string path)
    {
        using var writer = new StreamWriter(path, false, new UTF8Encoding(false)) { NewLine = "\n" };
        for (var i = 0; i < Words.Count; i++) writer.WriteLine(FormattableString.Invariant($"{Words[i]} {Counts[i]}"));
    }
}

/// <summary>How text becomes sentences of words.</summary>
public sealed record WordSplitting
{
    /// <summary>
    /// <c>whitespace</c>: words between spaces, a sentence a line (word2vec.c; for text that is tokenized already). <c>text</c>: runs of letters, digits and underscores, sentences end at . ! ? ; before
    /// white space, at blank lines and at tabs. Absent: text for the SDK corpus, whitespace for files.
    /// </summary>
    public string? Kind { get; init; }
    /// <summary>Lower case. <value>false</value></summary>
    public bool Lowercase { get; init; }

    internal IEnumerable<string> Faults()
    {
        if (Kind is not (null or "whitespace" or "text")) yield return $"tokenizer.kind = '{Kind}': expected whitespace or text";
    }
}

/// <summary>Cuts text into words as it comes, in pieces of any size.</summary>
internal sealed class WordSplitter(WordSplitting splitting, Action<ReadOnlySpan<char>> word, Action end)
{
    private const int MostLetters = 1000;   // what is longer is no word; it is cut

    private readonly bool isText = splitting.Kind == "text";
    private readonly char[] held = new char[MostLetters];
    private int length;
    private bool isOpen, afterNewline, afterStop;   // words since the last end; what the last character was

    public void Add(ReadOnlySpan<char> text)
    {
        foreach (var raw in text)
        {
            var c = splitting.Lowercase ? char.ToLowerInvariant(raw) : raw;
            if (isText) AddText(c);
            else if (c is ' ' or '\t') EndWord();
            else if (c == '\n') EndSentence();
            else if (c != '\r') Hold(c);
        }
    }

    /// <summary>The end of a document: no word or sentence goes over it.</summary>
    public void EndDocument()
    {
        EndWord();
        if (isOpen) EndSentence();
        afterNewline = afterStop = false;
    }

    private void AddText(char c)
    {
        if (char.IsLetterOrDigit(c) || c == '_' || char.IsSurrogate(c) || char.GetUnicodeCategory(c) is System.Globalization.UnicodeCategory.NonSpacingMark) { Hold(c); afterNewline = afterStop = false; return; }
        if (c is '\'' or '’' && length > 0) { Hold('\''); return; }   // inside a word, if a letter follows
        EndWord();
        var isSpace = char.IsWhiteSpace(c);
        if (isOpen && ((isSpace && afterStop) || c == '\t' || (c == '\n' && afterNewline))) EndSentence();
        if (c == '\n') afterNewline = true;
        else if (!isSpace) afterNewline = false;
        afterStop = c is '.' or '!' or '?' or ';' || (afterStop && c is '"' or ')' or '\'' or '”');
    }

    private void Hold(char c)
    {
        if (length == MostLetters) EndWord();
        held[length++] = c;
    }

    private void EndWord()
    {
        if (isText) while (length > 0 && held[length - 1] == '\'') length--;
        if (length == 0) return;
        word(held.AsSpan(0, length));
        (length, isOpen) = (0, true);
    }

    private void EndSentence()
    {
        EndWord();
        end();
        isOpen = false;
    }
}

/// <summary>A text as numbers of words, in a memory-mapped file of its own: 0 ends a sentence, word 1 is the most frequent. Words below the minimal count leave no gap.</summary>
public sealed class WordCorpus : IDisposable
{
    private readonly TokenIds ids;

    private WordCorpus(WordVocabulary vocabulary, TokenIds ids) => (Vocabulary, this.ids) = (vocabulary, ids);

    /// <summary>Word 0 is <c>&lt;/s&gt;</c>, whose count is the number of sentences.</summary>
    public WordVocabulary Vocabulary { get; }

    /// <summary>Numbers in the file: words and ends of sentences.</summary>
    public long Length => ids.Count;

    /// <summary>Copies numbers from a place on.</summary>
    public void Read(long at, Span<int> into) => ids.Read(at, into);

    /// <summary>Reads text once: counts the words and writes their numbers; joins phrases if that is asked for.</summary>
    /// <param name="documents">Text; long documents in pieces.</param>
    /// <param name="splitting">How words are found.</param>
    /// <param name="minCount">Words with fewer occurrences are left out.</param>
    /// <param name="file">Where the numbers are written.</param>
    /// <param name="source">What the text is called in messages.</param>
    /// <param name="most">Words kept at most (the most frequent ones); 0: all.</param>
    /// <param name="phrases">Which pairs of words become one; null: none.</param>
    /// <param name="note">Told of the phrases.</param>
    /// <param name="stop">Gives up.</param>
    /// <exception cref="InvalidDataException">No words, or none that is frequent enough.</exception>
    public static WordCorpus Build(IEnumerable<Document> documents, WordSplitting splitting, long minCount, string file, string source = "this text", int most = 0, PhraseOptions? phrases = null, Action<string>? note = null, CancellationToken stop = default)
    {
        var (words, counts) = ReadWords(documents, splitting, file, stop);
        if (words.Count == 1) throw new InvalidDataException($"Found no words in {source}. Expected text.");
        for (var pass = 0; pass < (phrases?.Passes ?? 0); pass++)
        {
            stop.ThrowIfCancellationRequested();
            var found = Phrases.Find(file, words, counts, phrases!);
            note?.Invoke($"pass {pass + 1} over pairs of words: {found.Scores.Count:N0} phrases{string.Concat(found.Scores.OrderByDescending(s => s.Value).Take(5).Select((s, i) => (i == 0 ? ", such as " : ", ") + $"{words[s.Key.First]}_{words[s.Key.Second]}"))}");
            found.Join(file, words, counts);
        }
        var kept = Enumerable.Range(1, words.Count - 1).Where(w => counts[w] >= minCount && counts[w] > 0).OrderByDescending(w => counts[w]).ToList();   // stable: ties by first appearance
        if (most > 0 && kept.Count > most) kept.RemoveRange(most, kept.Count - most);
        if (kept.Count < 2) throw new InvalidDataException($"Found {kept.Count} words that stand at least {minCount} times in {source}; the most frequent of its {words.Count - 1:N0} words stands {counts.Skip(1).Max():N0} times. Expected at least two: lower min_count, or give more text.");
        var final = new int[words.Count];
        Array.Fill(final, -1);
        final[0] = 0;
        for (var i = 0; i < kept.Count; i++) final[kept[i]] = i + 1;
        var length = IdFile.Rewrite(file, (from, to) =>
        {
            var n = 0;
            foreach (var id in from)
                if (final[id] >= 0) to[n++] = final[id];
            return n;
        });
        return new(new([WordVocabulary.SentenceEnd, .. kept.Select(w => words[w])], [counts[0], .. kept.Select(w => counts[w])]), TokenIds.Map(file, length, 4));
    }

    // Numbers by first appearance.
    private static (List<string> Words, List<long> Counts) ReadWords(IEnumerable<Document> documents, WordSplitting splitting, string file, CancellationToken stop)
    {
        var (numbers, words, counts) = (new Dictionary<string, int>(StringComparer.Ordinal) { [WordVocabulary.SentenceEnd] = 0 }, new List<string> { WordVocabulary.SentenceEnd }, new List<long> { 0 });
        using var writer = new IdFile(file);
        var lookup = numbers.GetAlternateLookup<ReadOnlySpan<char>>();
        var splitter = new WordSplitter(splitting, word =>
        {
            if (!lookup.TryGetValue(word, out var id))
            {
                lookup[word] = id = words.Count;
                words.Add(word.ToString());
                counts.Add(0);
            }
            counts[id]++;
            writer.Write(id);
        }, () => { counts[0]++; writer.Write(0); });
        foreach (var document in documents)
        {
            stop.ThrowIfCancellationRequested();
            splitter.Add(document.Text);
            if (document.IsEnd) splitter.EndDocument();
        }
        return (words, counts);
    }

    /// <inheritdoc/>
    public void Dispose() => ids.Dispose();
}

/// <summary>A file of numbers of words, as it is written and changed.</summary>
internal sealed class IdFile(string path) : IDisposable
{
    private readonly FileStream stream = new(path, FileMode.Create, FileAccess.Write, FileShare.None, 1);
    private readonly int[] written = new int[1 << 16];
    private int held;

    public void Write(int id)
    {
        if (held == written.Length) Flush();
        written[held++] = id;
    }

    private void Flush()
    {
        stream.Write(MemoryMarshal.AsBytes(written.AsSpan(0, held)));
        held = 0;
    }

    public void Dispose()
    {
        Flush();
        stream.Dispose();
    }

    /// <summary>Reads numbers in pieces of some hundred thousand.</summary>
    public static IEnumerable<ReadOnlyMemory<int>> Read(string path)
    {
        using var file = new FileStream(path, FileMode.Open, FileAccess.Read, FileShare.Read, 1);
        var buffer = new int[1 << 18];
        for (int read; (read = file.ReadAtLeast(MemoryMarshal.AsBytes(buffer.AsSpan()), buffer.Length * 4, throwOnEndOfStream: false)) > 0;) yield return buffer.AsMemory(0, read / 4);
    }

    /// <summary>How a piece becomes another that is not longer; gives its length.</summary>
    public delegate int Change(ReadOnlySpan<int> from, Span<int> to);

    /// <summary>Changes a file in place: what is read is always ahead of what is written.</summary>
    /// <returns>Numbers that are left.</returns>
    public static long Rewrite(string path, Change change)
    {
        using var file = new FileStream(path, FileMode.Open, FileAccess.ReadWrite, FileShare.None, 1);
        var (from, to) = (new int[1 << 18], new int[(1 << 18) + 1]);   // one word may come over from the piece before
        long left = 0;
        for (long at = 0; at < file.Length;)
        {
            file.Position = at;
            var read = file.ReadAtLeast(MemoryMarshal.AsBytes(from.AsSpan()), from.Length * 4, throwOnEndOfStream: false);
            at += read;
            var kept = change(from.AsSpan(0, read / 4), to);
            file.Position = left * 4;
            file.Write(MemoryMarshal.AsBytes(to.AsSpan(0, kept)));
            left += kept;
        }
        file.SetLength(left * 4);
        return left;
    }
}
