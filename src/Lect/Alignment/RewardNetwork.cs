using System.Text.Json.Nodes;
using Lect.Models;
using Lect.Text;
using TorchSharp;
using static TorchSharp.torch;

namespace Lect;

/// <summary>What gives a text its reward: a decoder that reads conversations by their template, or an encoder that reads a prompt and its answer as a pair of texts.</summary>
internal abstract class RewardNetwork : IDisposable
{
    /// <summary>What is trained.</summary>
    public abstract nn.Module Module { get; }

    /// <summary>The same, as a classifier of one label.</summary>
    public abstract ISequenceClassifier Classifier { get; }

    /// <summary>Null: the folder has none, and only ids can be used.</summary>
    public abstract Tokenizer? Tokenizer { get; }

    /// <summary>C.</summary>
    public abstract long Width { get; }

    /// <summary>The precision of matrix products.</summary>
    public abstract ComputeType Compute { set; }

    /// <summary>An answer behind its prompt.</summary>
    public virtual AnswerRow Encode(JsonArray prompt, string answer) => Encode(ChatData.Answered(prompt, answer));

    /// <summary>A conversation.</summary>
    public abstract AnswerRow Encode(JsonArray messages);

    /// <summary>A comparison; its prompt is the same for both.</summary>
    public abstract ComparisonRow Encode(Comparison comparison);

    /// <summary>Checks that a row can be read.</summary>
    public abstract void Check(AnswerRow row);

    /// <summary>A row without so many of its first words that it can be read; of an encoder's pair, of the prompt's.</summary>
    public abstract AnswerRow Fitted(AnswerRow row);

    /// <summary>The rewards [B], owned by the current scope.</summary>
    public abstract Tensor Scores(IReadOnlyList<AnswerRow> rows);

    public abstract void Save(string folder);

    public abstract void Load(string folder);

    public virtual string Describe() => $"{Module.GetName()}: {ModelFolder.Short(Module.parameters().Sum(p => p.numel()))} parameters";

    public void Dispose() => Module.Dispose();

    /// <summary>Opens the folder to train.</summary>
    public static RewardNetwork Open(AlignConfig config, Action<string>? note)
    {
        if (!ModelFolder.IsEncoder(config.Model.Path!)) return new DecoderReward(AlignedModel.Open(config, isScorer: true, note));
        if (config.Lora is not null || config.Model.Template is not null) throw new InvalidDataException($"Found {(config.Lora is null ? "model.template" : "lora")} with the encoder of {config.Model.Path}. Expected it with a decoder: an encoder reads prompt and answer as a pair of texts, and all its weights are trained.");
        var (model, made) = ModelFolder.LoadEncoder(config.Model.Path!, EncoderHead.ForSequenceClassification, config.Seed, ["LABEL_0"], Devices.Choose(config.Train.Device), config.Train.Dropout);
        if (made.Count > 0) note?.Invoke($"new: {string.Join(", ", made)}");
        return new EncoderReward(model, Tokenizer.Load(config.Model.Path!));
    }

    /// <summary>Opens a reward model.</summary>
    /// <exception cref="InvalidDataException">It is none.</exception>
    public static RewardNetwork Load(string folder, Device device, IReadOnlyList<string>? adapters, DateTime? now)
    {
        var config = ModelFolder.ReadConfig(folder);
        var hasScore = ModelFolder.HeadOf(config) == EncoderHead.ForSequenceClassification;
        if (ModelFolder.IsEncoder(folder))
        {
            if (adapters is { Count: > 0 }) throw new InvalidDataException($"Found --adapter with the encoder of {folder}. Expected it with a decoder.");
            if (!hasScore || ModelConfig.LabelsOf(config).Count != 1) throw new InvalidDataException($"{folder}: found an encoder without a score. Expected one with a score (…ForSequenceClassification of one label), as lect align reward makes it.");
            return new EncoderReward(ModelFolder.LoadEncoder(folder, device), Tokenizer.LoadIfThere(folder));
        }
        var (words, tokenizer) = AlignedModel.WordsOf(folder, adapters);
        var read = tokenizer is null ? default : AlignedModel.EncoderOf(words, tokenizer, now: now);
        var (model, made) = ModelFolder.LoadScorer(folder, tokenizer is null ? null : tokenizer.Padding ?? tokenizer.IdOf(read.EndOfText), device: device);
        try
        {
            foreach (var adapter in adapters ?? []) hasScore |= Lora.Merge(model, adapter).ModulesToSave?.Contains("score") == true;
            return hasScore ? new DecoderReward(model, tokenizer, read.Encoder) : throw new InvalidDataException($"{folder}: found a model that continues texts{(made.Count > 0 && adapters is { Count: > 0 } ? ", and adapters without a score" : "")}. Expected one with a score (…ForSequenceClassification of one label), as lect align reward makes it.");
        }
        catch { model.Dispose(); throw; }
    }
}

/// <summary>The score at the last token of a conversation.</summary>
internal sealed class DecoderReward(CausalLanguageModel model, Tokenizer? tokenizer, ChatEncoder? encoder) : RewardNetwork
{
    private readonly AlignedModel? trained;
    private readonly int? padId = (int?)model.ConfigJson["pad_token_id"] is >= 0 and var id ? id : null;   // behind it the score is read; null: none

    public DecoderReward(AlignedModel trained) : this(trained.Model, trained.Tokenizer, trained.Encoder) => this.trained = trained;

    public override nn.Module Module => model;
    public override ISequenceClassifier Classifier => model;
    public override Tokenizer? Tokenizer => tokenizer;
    public override long Width => model.Width;
    public override ComputeType Compute { set => model.Compute = value; }

    private ChatEncoder Words => encoder ?? throw Text.Tokenizer.Missing();

    public override AnswerRow Encode(JsonArray messages) => Words.Encode(messages, LearnedPart.Everything);
    public override ComparisonRow Encode(Comparison comparison) => ComparisonRow.Of(Words, comparison);
    public override void Check(AnswerRow row) => new EncoderRow(row.Ids).Check(model, typeCount: 0);
    public override AnswerRow Fitted(AnswerRow row) => row.Ids.Length <= model.ContextLength ? row : new(row.Ids[^(int)model.ContextLength..], row.Counts[^(int)model.ContextLength..]);
    public override Tensor Scores(IReadOnlyList<AnswerRow> rows) => new AnswerBatch(rows, padId ?? 0).Scores(model, padId).squeeze(1);
    public override void Save(string folder) => trained!.Save(folder);
    public override void Load(string folder) => trained!.Load(folder);
    public override string Describe() => trained!.Describe();
}

/// <summary>The score of [CLS] prompt [SEP] answer [SEP]; of a conversation the prompt is what was said before, line by line.</summary>
internal sealed class EncoderReward(EncoderModel model, Tokenizer? tokenizer) : RewardNetwork
{
    public override nn.Module Module => model;
    public override ISequenceClassifier Classifier => model;
    public override Tokenizer? Tokenizer => tokenizer;
    public override long Width => model.Width;
    public override ComputeType Compute { set => model.Compute = value; }

    public override AnswerRow Encode(JsonArray prompt, string answer)
    {
        var encoded = (tokenizer ?? throw Text.Tokenizer.Missing()).Encode(ChatData.TextOf(prompt), answer);
        return new(encoded.Ids, [.. encoded.TypeIds.Select(t => t == 1)]);
    }

    public override AnswerRow Encode(JsonArray messages) => Encode([.. messages.SkipLast(1).Select(m => m!.DeepClone())], (string?)messages[^1]!["content"] ?? "");

    public override ComparisonRow Encode(Comparison comparison) => new(Encode(comparison.Prompt, comparison.Chosen), Encode(comparison.Prompt, comparison.Rejected), 0, comparison);

    public override void Check(AnswerRow row) => Read(row).Check(model, model.TypeCount);

    // [CLS] prompt [SEP] answer [SEP]: what is too much goes behind [CLS], and where the answer alone is too long before the last [SEP].
    public override AnswerRow Fitted(AnswerRow row)
    {
        var over = row.Ids.Length - (int)model.ContextLength;
        if (over <= 0) return row;
        var fromPrompt = Math.Clamp(Array.IndexOf(row.Counts, true) - 2, 0, over);
        T[] Kept<T>(T[] all) => [.. all[..1], .. all[(1 + fromPrompt)..^(1 + over - fromPrompt)], .. all[^1..]];
        return new(Kept(row.Ids), Kept(row.Counts));
    }

    public override Tensor Scores(IReadOnlyList<AnswerRow> rows) => EncoderBatch.Scores(model, [.. rows.Select(Read)]).squeeze(1);

    private static EncoderRow Read(AnswerRow row) => new(row.Ids, [.. row.Counts.Select(c => c ? 1 : 0)]);

    public override void Save(string folder)
    {
        ModelFolder.Save(model, folder);
        tokenizer!.Save(folder);
    }

    public override void Load(string folder) => ModelFolder.LoadWeights(model, Weights.Open(folder), folder);
}
