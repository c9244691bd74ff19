using Lect.Models;
using Lect.Text;
using TorchSharp;
using static TorchSharp.torch;

namespace Lect;

/// <summary>An encoder with its head and tokenizer, as a model folder holds them. Not thread-safe.</summary>
public abstract class EncoderTool : IDisposable
{
    private protected EncoderTool(string folder, string device, params ReadOnlySpan<EncoderHead> heads) : this(ModelFolder.LoadEncoder(folder, Devices.Choose(device), heads), folder) { }

    private protected EncoderTool(EncoderModel model, string folder) => (Model, Tokenizer) = (model, Tokenizer.LoadIfThere(folder));

    /// <summary>The network.</summary>
    public EncoderModel Model { get; }

    /// <summary>Its tokenizer; null where the folder has none, and only ids can be used.</summary>
    public Tokenizer? Tokenizer { get; }

    private protected Tokenizer Words => Tokenizer ?? throw Tokenizer.Missing();

    /// <summary>Ids and types of a text, or of a pair.</summary>
    /// <param name="text">The text.</param>
    /// <param name="pair">The second one.</param>
    /// <param name="truncate">Cuts what is longer than the model's positions, the longer text first, instead of leaving it to be refused.</param>
    /// <exception cref="InvalidDataException">The folder has no tokenizer.</exception>
    public EncoderRow Encode(string text, string? pair = null, bool truncate = false) => EncoderRow.Of(Words, text, pair, truncate ? Model.ContextLength : null);

    // What is made of the rows: they are padded on the right to one length, and what is padding changes nothing.
    private protected T Read<T>(IReadOnlyList<EncoderRow> rows, Func<Tensor, T> make)
    {
        foreach (var row in rows) row.Check(Model, Model.TypeCount);
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        return make(new EncoderBatch(rows, Model.PadId).Hidden(Model));
    }

    // Whether a token is of the text: special ones are not, but for the one that stands for an unknown word.
    private protected bool IsOfText(int id) => Tokenizer?.IsSpecial(id) != true || id == Tokenizer.Unknown;

    internal static double[] Numbers(Tensor values)
    {
        using var scope = NewDisposeScope();
        return values.to(ScalarType.Float64).cpu().contiguous().data<double>().ToArray();
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        Model.Dispose();
        GC.SuppressFinalize(this);
    }
}

/// <summary>A token that could stand in a place.</summary>
/// <param name="Id">Its id.</param>
/// <param name="Token">As the vocabulary spells it; null without a tokenizer.</param>
/// <param name="Probability">p(token | the others).</param>
public readonly record struct TokenGuess(int Id, string? Token, double Probability);

/// <summary>An encoder that tells masked tokens.</summary>
public sealed class MaskedLanguageModel : EncoderTool
{
    private const int ScoredRows = 64;

    private MaskedLanguageModel(string folder, string device) : base(folder, device, EncoderHead.ForMaskedLM, EncoderHead.ForPreTraining) { }

    private MaskedLanguageModel(EncoderModel model, string folder) : base(model, folder) { }

    /// <summary>Opens a model folder.</summary>
    /// <exception cref="InvalidDataException">Something is missing or damaged, or the model has another head.</exception>
    public static MaskedLanguageModel Load(string folder, string device = "auto") => new(folder, device);

    /// <summary>The network of a folder with new weights, as it is before it has learned anything.</summary>
    /// <exception cref="InvalidDataException">The configuration is missing or cannot be honoured.</exception>
    public static MaskedLanguageModel Untrained(string folder, long seed = 1, string device = "auto") => new(ModelFolder.LoadEncoder(folder, EncoderHead.ForMaskedLM, seed, device: Devices.Choose(device), fromNothing: true).Model, folder);

    /// <summary>Ids of a text with mask tokens in it. A text that writes its special tokens itself ([CLS] … [SEP] … [SEP]) gets no others.</summary>
    public EncoderRow EncodeMasked(string text)
    {
        var (first, last) = Words.Around;
        var ids = Words.Encode(text, addSpecialTokens: false).Ids;
        if (ids is not [var begin, ..] || begin != first) return Encode(text);
        var type = 0;
        return new(ids, [.. ids.Select(id => id == last ? type++ : type).Select(t => Math.Min(t, 1))]);
    }

    /// <summary>The most probable tokens of some places.</summary>
    /// <param name="row">Ids with masks.</param>
    /// <param name="topK">How many of each.</param>
    /// <param name="positions">The places; null: every mask token.</param>
    /// <param name="maskId">Id of the mask; null: the tokenizer's.</param>
    /// <exception cref="InvalidDataException">No mask, or a place outside the row.</exception>
    public IReadOnlyList<IReadOnlyList<TokenGuess>> Fill(EncoderRow row, int topK = 5, IReadOnlyList<int>? positions = null, int? maskId = null)
    {
        if (topK < 1 || topK > Model.VocabularySize) throw new InvalidDataException($"Found --top-k {topK}. Expected 1 to {Model.VocabularySize}, the vocabulary.");
        positions ??= [.. row.Ids.Index().Where(t => t.Item == Mask(maskId)).Select(t => t.Index)];
        if (positions.Count == 0) throw new InvalidDataException($"Found no {Tokenizer?.TokenOf(Mask(maskId)) ?? "mask"} in the text. Expected at least one, or \"positions\" to look at.");
        foreach (var p in positions)
            if (p < 0 || p >= row.Ids.Length) throw new InvalidDataException($"Found the position {p} in a text of {row.Ids.Length} tokens. Expected 0 to {row.Ids.Length - 1}.");
        return Read([row], hidden_1TC =>
        {
            var (probs, ids) = Model.MaskedLogits(hidden_1TC[0].index_select(0, tensor(positions.Select(x => (long)x).ToArray(), device: hidden_1TC.device))).softmax(-1).topk(topK);
            return (IReadOnlyList<IReadOnlyList<TokenGuess>>)[.. Numbers(probs).Zip(ids.cpu().contiguous().data<long>().ToArray(), (probability, id) => new TokenGuess((int)id, Tokenizer?.TokenOf((int)id), probability)).Chunk(topK)];
        });
    }

    /// <summary>The log-probability of each token when it alone is masked (pseudo-log-likelihood, Salazar et al. 2020); null for special tokens, but for the one that stands for an unknown word.</summary>
    public Scored Score(EncoderRow row, int? maskId = null)
    {
        var mask = Mask(maskId);
        var places = row.Ids.Index().Where(t => IsOfText(t.Item)).Select(t => t.Index).ToList();
        var logprobs = new double?[row.Ids.Length];
        foreach (var chunk in places.Chunk(ScoredRows))
        {
            var rows = chunk.Select(place => { var ids = row.Ids.ToArray(); ids[place] = mask; return row with { Ids = ids }; }).ToList();
            var found = Read(rows, hidden_BTC =>
            {
                var own_BC = hidden_BTC[arange(chunk.Length, device: hidden_BTC.device), tensor(chunk.Select(c => (long)c).ToArray(), device: hidden_BTC.device)];
                return Numbers(Model.MaskedLogits(own_BC).log_softmax(-1).gather(1, tensor(chunk.Select(c => (long)row.Ids[c]).ToArray(), chunk.Length, 1, device: hidden_BTC.device)));
            });
            for (var i = 0; i < chunk.Length; i++) logprobs[chunk[i]] = found[i];
        }
        return new(row.Ids, logprobs, logprobs.Sum(l => l ?? 0));
    }

    private int Mask(int? given) => given ?? Tokenizer?.Mask ?? throw new InvalidDataException("Found no mask token: the folder has no tokenizer that names one. Expected --mask-id, or \"positions\".");
}

/// <summary>An encoder that tells whether a text follows another.</summary>
public sealed class NextSentenceModel : EncoderTool
{
    private NextSentenceModel(string folder, string device) : base(folder, device, EncoderHead.ForNextSentencePrediction, EncoderHead.ForPreTraining) { }

    /// <summary>Opens a model folder.</summary>
    /// <exception cref="InvalidDataException">Something is missing or damaged, or the model has another head.</exception>
    public static NextSentenceModel Load(string folder, string device = "auto") => new(folder, device);

    /// <summary>The probability of each pair that its second text is the next one.</summary>
    public double[] IsNext(IReadOnlyList<EncoderRow> rows) => Read(rows, hidden => Numbers(Model.NextSentence(hidden).softmax(-1).select(1, 0)));
}

/// <summary>A model that chooses among continuations: an encoder, or GPT-1 with two heads. Not thread-safe.</summary>
public sealed class ChoiceModel : IDisposable
{
    private ChoiceModel(ISequenceClassifier model, Tokenizer? tokenizer) => (Model, Tokenizer) = (model, tokenizer);

    /// <summary>The network.</summary>
    public ISequenceClassifier Model { get; }

    /// <summary>Its tokenizer; null where the folder has none, and only ids can be used.</summary>
    public Tokenizer? Tokenizer { get; }

    /// <summary>Opens a model folder.</summary>
    /// <exception cref="InvalidDataException">Something is missing or damaged, or the model has another head.</exception>
    public static ChoiceModel Load(string folder, string device = "auto") => new(ModelFolder.LoadChooser(folder, Devices.Choose(device)), Tokenizer.LoadIfThere(folder));

    /// <summary>Ids and types of a prompt and what could follow.</summary>
    /// <inheritdoc cref="EncoderTool.Encode"/>
    public EncoderRow Encode(string prompt, string choice, bool truncate = false) => EncoderRow.Of(Tokenizer ?? throw Tokenizer.Missing(), prompt, choice, truncate ? Model.ContextLength : null);

    /// <summary>The probability of each choice, a row each.</summary>
    public double[] Choose(IReadOnlyList<EncoderRow> choices)
    {
        if (choices.Count < 2) throw new InvalidDataException($"Found {choices.Count} choices. Expected at least two.");
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        return EncoderTool.Numbers(EncoderBatch.Scores(Model, choices).flatten().softmax(0));
    }

    /// <inheritdoc/>
    public void Dispose() => Model.Dispose();
}

/// <summary>An encoder that finds answers in texts.</summary>
public sealed class AnswerModel : EncoderTool
{
    private AnswerModel(string folder, string device) : base(folder, device, EncoderHead.ForQuestionAnswering) { }

    /// <summary>Opens a model folder.</summary>
    /// <exception cref="InvalidDataException">Something is missing or damaged, or the model has another head.</exception>
    public static AnswerModel Load(string folder, string device = "auto") => new(folder, device);

    /// <summary>The best answers, best first. A long context is read in windows that overlap.</summary>
    /// <param name="question">What is asked.</param>
    /// <param name="context">Where the answer stands.</param>
    /// <param name="most">How many.</param>
    /// <param name="withNone">That there is no answer competes too (SQuAD 2).</param>
    /// <param name="maxLength">Tokens of a window; as many as the model has positions, and 384, at most.</param>
    /// <param name="stride">Tokens that two windows share.</param>
    public IReadOnlyList<Answer> Answer(string question, string context, int most = 1, bool withNone = false, int maxLength = 384, int stride = 128)
    {
        if (most < 1 || maxLength < 8 || stride < 0) throw new InvalidDataException($"Found --n-best {most}, --max-length {maxLength}, --stride {stride}. Expected at least 1, 8 and 0.");
        var windows = AnswerWindow.Of(Words, question, context, (int)Math.Min(maxLength, Model.ContextLength), stride);
        var outputs = windows.ConvertAll(w => Ends([w.Row])[0]);
        return BestAnswers.Of(context, windows, outputs, most, withNone);
    }

    /// <summary>The best stretch of a row's tokens, of those of the second text where it says which they are: places of tokens instead of text.</summary>
    public Answer Answer(EncoderRow row)
    {
        var isPair = row.Types?.Contains(1) == true;
        var window = new AnswerWindow(row, [.. row.Ids.Select((id, t) => IsOfText(id) && (!isPair || row.Types![t] == 1) ? ((int, int)?)(t, t + 1) : null)]);
        var best = BestAnswers.Of(new string(' ', row.Ids.Length), [window], [Ends([row])[0]])[0];
        return best with { Text = Tokenizer?.Decode(row.Ids[best.Start..best.End], skipSpecialTokens: true) ?? "" };
    }

    private float[][] Ends(IReadOnlyList<EncoderRow> rows) => Read(rows, hidden =>
    {
        var values = Model.Output(hidden).cpu().contiguous().data<float>().ToArray();
        return values.Chunk(values.Length / rows.Count).ToArray();
    });
}

/// <summary>A stretch of text of a type.</summary>
/// <param name="Type">What it is.</param>
/// <param name="Start">Where it begins, in UTF-16 units (of words given one by one or ids: the first one's number).</param>
/// <param name="End">The one behind its end.</param>
/// <param name="Text">Its words.</param>
/// <param name="Score">Mean probability of its tags.</param>
public readonly record struct TextEntity(string Type, int Start, int End, string Text, double Score);

/// <summary>An encoder that tags words.</summary>
public sealed class TagModel : EncoderTool
{
    private TagModel(string folder, string device) : base(folder, device, EncoderHead.ForTokenClassification) { }

    /// <summary>Opens a model folder.</summary>
    /// <exception cref="InvalidDataException">Something is missing or damaged, or the model has another head.</exception>
    public static TagModel Load(string folder, string device = "auto") => new(folder, device);

    /// <summary>Words of a text and their places: runs of letters and digits, and single marks.</summary>
    public static IReadOnlyList<(int Start, int End)> Split(string text) => [.. SdkTasks.WordPlaces(text)];

    /// <summary>A tag a word and the entities they name; a text longer than the model's positions comes in several pieces.</summary>
    /// <param name="text">What the places of the words are in.</param>
    /// <param name="words">Where the words stand.</param>
    public (IReadOnlyList<string> Tags, IReadOnlyList<TextEntity> Entities) Tag(string text, IReadOnlyList<(int Start, int End)> words)
    {
        var (tags, scores) = Tag([.. words.Select(w => text[w.Start..w.End])]);
        return (tags, Entities(tags, scores, (first, last) => (words[first].Start, words[last].End, text[words[first].Start..words[last].End])));
    }

    /// <summary>A tag a word, and its probability.</summary>
    public (IReadOnlyList<string> Tags, IReadOnlyList<double> Scores) Tag(IReadOnlyList<string> words)
    {
        var (tags, scores) = (new List<string>(), new List<double>());
        while (tags.Count < words.Count)
        {
            var (row, firsts) = TagTask.Words(Words, [.. words.Skip(tags.Count)], (int)Model.ContextLength);
            if (firsts.Count == 0) throw new InvalidDataException($"Found a word that does not fit into {Model.ContextLength} tokens.");
            Add(row, firsts);
        }
        return (tags, scores);

        void Add(EncoderRow row, IReadOnlyList<int> places)
        {
            var (t, s) = Tokens(row);
            tags.AddRange(places.Select(p => t[p]));
            scores.AddRange(places.Select(p => s[p]));
        }
    }

    /// <summary>A tag a token, and its probability.</summary>
    public (IReadOnlyList<string> Tags, IReadOnlyList<double> Scores) Tokens(EncoderRow row)
    {
        var labels = Model.Labels;
        var probs = Read([row], hidden => Numbers(Model.Output(hidden)[0].softmax(-1))).Chunk(labels.Count).ToList();
        return ([.. probs.Select(p => labels[Array.IndexOf(p, p.Max())])], [.. probs.Select(p => p.Max())]);
    }

    /// <summary>The entities that tags name, as seqeval reads them.</summary>
    /// <param name="tags">One a word.</param>
    /// <param name="scores">Their probabilities.</param>
    /// <param name="place">Where the words from a first to a last stand, and their text.</param>
    public static IReadOnlyList<TextEntity> Entities(IReadOnlyList<string> tags, IReadOnlyList<double> scores, Func<int, int, (int Start, int End, string Text)> place) =>
        [.. EntityMetrics.Entities(tags).Select(e => place(e.First, e.Last) is var p ? new TextEntity(e.Type, p.Start, p.End, p.Text, scores.Skip(e.First).Take(e.Last - e.First + 1).Average()) : default)];
}

/// <summary>An encoder as a maker of vectors for texts.</summary>
public sealed class TextEmbedder : EncoderTool
{
    private TextEmbedder(string folder, string device) : base(folder, device) { }

    /// <summary>Opens a model folder; whatever its head is.</summary>
    /// <exception cref="InvalidDataException">Something is missing or damaged.</exception>
    public static TextEmbedder Load(string folder, string device = "auto") => new(folder, device);

    /// <summary>The mean of each row's final activations, special tokens included, as Sentence-BERT (Reimers and Gurevych 2019).</summary>
    public float[][] Embed(IReadOnlyList<EncoderRow> rows) => Read(rows, hidden_BTC => rows.Select((row, i) => hidden_BTC[i].narrow(0, 0, row.Ids.Length).mean([0L]).cpu().data<float>().ToArray()).ToArray());
}
