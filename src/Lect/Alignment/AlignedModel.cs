using System.Text.Json.Nodes;
using Lect.Models;
using Lect.Text;
using TorchSharp;
using static TorchSharp.torch;

namespace Lect;

/// <summary>A model that is being aligned, with its tokenizer, template and perhaps an adapter.</summary>
internal sealed class AlignedModel : IDisposable
{
    private readonly LoraConfig? lora;
    private readonly string path;

    private AlignedModel(string path, CausalLanguageModel model, Tokenizer tokenizer, ChatEncoder encoder, string endOfText, LoraConfig? lora) => (this.path, Model, Tokenizer, Encoder, EndOfText, this.lora) = (path, model, tokenizer, encoder, endOfText, lora);

    public CausalLanguageModel Model { get; }
    public Tokenizer Tokenizer { get; }
    public ChatEncoder Encoder { get; }

    /// <summary>The token that ends an answer.</summary>
    public string EndOfText { get; }

    public int EndId => Tokenizer.IdOf(EndOfText)!.Value;

    /// <summary>What fills rows; where the vocabulary has no padding, the end.</summary>
    public int PadId => Tokenizer.Padding ?? EndId;

    /// <summary>Opens the folder to train.</summary>
    /// <param name="config">The run.</param>
    /// <param name="isScorer">It is to give one number a text.</param>
    /// <param name="note">Told what is new.</param>
    public static AlignedModel Open(AlignConfig config, bool isScorer, Action<string>? note)
    {
        var (folder, device) = (config.Model.Path!, Devices.Choose(config.Train.Device));
        if ((string?)ModelFolder.ReadConfig(folder)["model_type"] is { } type && ModelFolder.Encoders.Contains(type)) throw new InvalidDataException($"Found an encoder ({type}) in {folder}. Expected a decoder: an encoder can only be a reward model (lect align reward).");
        var tokenizer = Tokenizer.Load(folder);
        var (encoder, end) = EncoderOf(folder, tokenizer, config.Model.Template, config.Model.Now);
        CausalLanguageModel model;
        if (isScorer)
        {
            (model, var made) = ModelFolder.LoadScorer(folder, tokenizer.Padding ?? tokenizer.IdOf(end), config.Seed, device, config.Train.Dropout);
            if (made.Count > 0) note?.Invoke($"new: {string.Join(", ", made)}");
        }
        else model = ModelFolder.Load(folder, device, config.Train.Dropout);
        try
        {
            TokenizerConfig.RequireFit(tokenizer, model.VocabularySize, folder);
            return new(folder, model, tokenizer, encoder, end, config.Lora is { } section ? Lora.Attach(model, section.Config(folder, isScorer), config.Seed) : null);
        }
        catch { model.Dispose(); throw; }
    }

    /// <summary>Where a model's words are: an adapter that Lect trained has tokenizer, template and end token beside it, and the last such one's count.</summary>
    public static (string Folder, Tokenizer? Tokenizer) WordsOf(string folder, IReadOnlyList<string>? adapters)
    {
        foreach (var adapter in adapters?.Reverse() ?? [])
            if (Tokenizer.LoadIfThere(adapter) is { } own) return (adapter, own);
        return (folder, Tokenizer.LoadIfThere(folder));
    }

    /// <summary>A folder's template and the token that ends its answers.</summary>
    /// <param name="folder">The model's.</param>
    /// <param name="tokenizer">Its tokenizer.</param>
    /// <param name="template">A file, or one of Lect's own by name; null: the folder's, else plain.</param>
    /// <param name="now">The time that the template sees; null: the clock's.</param>
    public static (ChatEncoder Encoder, string EndOfText) EncoderOf(string folder, Tokenizer tokenizer, string? template = null, DateTime? now = null)
    {
        var tokens = ChatTemplate.SpecialTokensOf(folder);
        if (tokens.GetValueOrDefault("eos_token") is not { } end || tokenizer.IdOf(end) is null)
            end = tokenizer.EndOfText is { } id ? tokenizer.TokenOf(id)! : throw new InvalidDataException($"{folder}: found no token that ends a text in the tokenizer. Expected eos_token in tokenizer_config.json, or <|endoftext|>, </s> or <eos> in the vocabulary.");
        tokens["eos_token"] = end;
        var chat = (template is null ? ChatTemplate.LoadIfThere(folder) ?? new(ChatTemplate.BuiltIn["plain"])
            : new(ChatTemplate.BuiltIn.GetValueOrDefault(template) ?? (File.Exists(template) ? File.ReadAllText(template) : throw new InvalidDataException($"Found model.template = '{template}'. Expected a file, or one of {string.Join(", ", ChatTemplate.BuiltIn.Keys)}.")))).With(tokens, now);
        end = EndOf(chat, tokenizer, end, asked: template is not null);
        return (new(tokenizer, chat.With(new(tokens) { ["eos_token"] = end }, now), end), end);
    }

    // What a template ends an answer with: the tokenizer's end, or a token of its own.
    private static string EndOf(ChatTemplate template, Tokenizer tokenizer, string end, bool asked)
    {
        string behind;
        try
        {
            var text = template.Render([ChatData.Message("user", "question"), ChatData.Message("assistant", "answer")]).Text;
            behind = text.LastIndexOf("answer", StringComparison.Ordinal) is >= 0 and var at ? text[(at + 6)..] : "";
        }
        catch (InvalidDataException) { return end; }   // a template of other roles
        if (behind.Contains(end, StringComparison.Ordinal)) return end;
        var own = tokenizer.AddedTokens.Where(t => t.Special && behind.StartsWith(t.Content, StringComparison.Ordinal)).Select(t => t.Content).FirstOrDefault();
        return own ?? (asked ? throw new InvalidDataException($"Found a template that ends an answer with '{behind.Trim()}', which is neither '{end}' nor another special token of this tokenizer. Expected one that the model can say: model.template = plain or zephyr end with the tokenizer's own.") : end);
    }

    /// <summary>Writes the model folder, or the adapter's, with tokenizer and template.</summary>
    public void Save(string to)
    {
        if (lora is not null) Lora.Save(Model, lora, to);
        else ModelFolder.Save(Model, to);
        Tokenizer.Save(to);
        var settings = Path.Combine(to, "tokenizer_config.json");
        var json = File.Exists(settings) ? JsonNode.Parse(File.ReadAllText(settings))!.AsObject() : [];
        json["eos_token"] = EndOfText;
        if (Tokenizer.Padding is null) json["pad_token"] = EndOfText;
        ModelFolder.WriteText(settings, json.ToJsonString(new() { WriteIndented = true }) + "\n");
        ModelFolder.WriteText(Path.Combine(to, "chat_template.jinja"), Encoder.Template!.Source);
        ModelFolder.WriteText(Path.Combine(to, "generation_config.json"), new JsonObject { ["eos_token_id"] = EndId, ["pad_token_id"] = PadId }.ToJsonString() + "\n");
    }

    /// <summary>Fills the model from a checkpoint's folder.</summary>
    public void Load(string from)
    {
        if (lora is not null) Lora.Fill(Model, lora, from);
        else ModelFolder.LoadWeights(Model, Weights.Open(from), from);
    }

    /// <summary>The model that is compared with: a folder of its own, the one that this began as, or where there is nothing but an adapter this without it (null).</summary>
    public CausalLanguageModel? Reference(AlignConfig config)
    {
        if (config.Model.Reference is null && lora is { ModulesToSave: null or { Count: 0 } }) return null;
        var reference = ModelFolder.Load(config.Model.Reference ?? path, Model.HeadWeight.device, dropout: 0);
        return Fits(reference, "model.reference") ? reference : null;
    }

    /// <summary>Whether another model can read what this one reads.</summary>
    /// <exception cref="InvalidDataException">It has fewer tokens or positions.</exception>
    public bool Fits(CausalLanguageModel other, string role) => other.VocabularySize >= Tokenizer.VocabularySize && other.ContextLength >= Model.ContextLength ? true
        : throw new InvalidDataException($"Found {role} with {other.VocabularySize} embeddings and {other.ContextLength} positions. Expected at least {Tokenizer.VocabularySize} and {Model.ContextLength}, as the policy has: it reads the policy's tokens.");

    /// <summary>What a person may want to know before training begins.</summary>
    public string Describe() => $"{Model.GetName()}: {ModelFolder.Short(Model.parameters().Sum(p => p.numel()))} parameters, {ModelFolder.Short(Model.parameters().Where(p => p.requires_grad).Sum(p => p.numel()))} of them trained{(lora is null ? "" : $" (LoRA of rank {lora.R} at {string.Join(", ", lora.TargetModules!.AsArray())})")}";

    /// <inheritdoc/>
    public void Dispose() => Model.Dispose();
}
