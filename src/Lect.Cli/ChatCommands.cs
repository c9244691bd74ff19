using System.CommandLine;
using System.Globalization;
using System.Text.Json.Nodes;
using Lect.Text;

namespace Lect;

/// <summary>lect chat, chat-template and reward: conversations.</summary>
internal static class ChatCommands
{
    public static Command Chat()
    {
        var (model, adapter, device, dtype) = (Screen.Model(), Screen.Adapter(), Screen.Device(), Screen.Dtype());
        var system = new Option<string?>("--system") { Description = "What the model is told before the conversation" };
        var temperature = new Option<double>("--temperature") { Description = "Of sampling; 0: always the most probable token", DefaultValueFactory = _ => 0.7 };
        var topP = new Option<double>("--top-p") { Description = "Sample from the tokens that make up this probability", DefaultValueFactory = _ => 0.95 };
        var tokens = new Option<int>("--max-new-tokens") { Description = "Tokens of an answer at most", DefaultValueFactory = _ => 256 };
        var seed = new Option<long>("--seed") { Description = "Key of the random numbers", DefaultValueFactory = _ => 1 };
        var command = new Command("chat", "Talk to a model. /reset begins anew, /system TEXT sets what it is told, /exit ends. Example: lect chat --model runs/sft") { model, adapter, device, dtype, system, temperature, topP, tokens, seed };
        command.SetAction(int (parsed) =>
        {
            if (!(parsed.GetValue(temperature) >= 0)) throw new InvalidDataException($"Found --temperature {parsed.GetValue(temperature)}. Expected 0 (always the most probable token) or more.");
            using var loaded = LanguageModel.Load(parsed.GetValue(model)!, parsed.GetValue(device)!, adapters: parsed.GetValue(adapter), type: parsed.GetValue(dtype)!);
            var options = loaded.Defaults with
            {
                Beams = 1,
                Truncate = true,
                Decoding = loaded.Defaults.Decoding with { Sample = parsed.GetValue(temperature) > 0, Temperature = parsed.GetValue(temperature) is > 0 and var t ? t : 1, TopP = parsed.GetValue(topP), MaxNewTokens = (int)Math.Min(parsed.GetValue(tokens), Math.Max(1, loaded.Model.ContextLength / 2)), Seed = parsed.GetValue(seed) },
            };
            return Talk(loaded, options, parsed.GetValue(system));
        });
        return command;
    }

    private static int Talk(LanguageModel model, GenerationOptions options, string? system)
    {
        var turns = new JsonArray();
        void Reset()
        {
            turns = [];
            if (!string.IsNullOrEmpty(system)) turns.Add(Turn("system", system));
        }
        Reset();
        for (long turn = 0; ; turn++)
        {
            if (!Console.IsInputRedirected) Console.Write("> ");
            if (Console.ReadLine() is not { } line || line.Trim() == "/exit") return 0;
            if (string.IsNullOrWhiteSpace(line)) continue;
            if (line.Trim() == "/reset") { Reset(); continue; }
            if (line.StartsWith("/system ", StringComparison.Ordinal)) { system = line[8..]; Reset(); continue; }
            turns.Add(Turn("user", line));
            var answer = new System.Text.StringBuilder();
            foreach (var piece in model.Stream(model.Encode(turns), options, Lect.Models.Seeds.For(0, "chat", turn)))
            {
                Console.Write(piece);
                answer.Append(piece);
            }
            Console.WriteLine();
            turns.Add(Turn("assistant", answer.ToString().Trim()));
        }
    }

    internal static JsonObject Turn(string role, string content) => new() { ["role"] = role, ["content"] = content };

    public static Command Template()
    {
        var model = Screen.Model();
        var command = new Command("chat-template", "The text that a conversation is to a model. Example: lect chat-template --model runs/sft \"Hello\"") { model };
        var lines = new JsonLines(command, "prompt");
        command.SetAction(int (parsed) =>
        {
            var folder = parsed.GetValue(model)!;
            var template = ChatTemplate.LoadIfThere(folder) ?? throw new InvalidDataException($"Found no chat template in {folder}. Expected chat_template.jinja, or chat_template in tokenizer_config.json.");
            var tokenizer = Tokenizer.LoadIfThere(folder);
            return lines.Run(parsed, (line, _) => Render(template, tokenizer, line), answer => (string)answer["text"]!);
        });
        return command;
    }

    private static JsonObject Render(ChatTemplate template, Tokenizer? tokenizer, JsonObject line)
    {
        var messages = line["messages"] as JsonArray ?? (line["prompt"] is { } prompt ? new JsonArray(Turn("user", (string)prompt!)) : throw new InvalidDataException("found no \"messages\". Expected a list of objects with role and content."));
        var chat = template.Render(messages, Options(line));
        var answer = new JsonObject { ["text"] = chat.Text };
        if (tokenizer is not null)
        {
            var encoded = tokenizer.Encode(chat.Text, addSpecialTokens: false);
            answer["ids"] = JsonLines.Array(encoded.Ids);
            if (template.MarksGenerated) answer["assistant_mask"] = JsonLines.Array(ChatTemplate.AssistantMask(chat, encoded));
        }
        return JsonLines.Echo(line, answer);
    }

    /// <summary>What a line gives a template besides its messages; keys that it does not know itself are the template's variables.</summary>
    internal static TemplateOptions Options(JsonObject line)
    {
        var known = (string[])["messages", "prompt", "ids", "id", "tools", "documents", "add_generation_prompt", "continue_final_message"];
        return new()
        {
            Tools = line["tools"] as JsonArray,
            Documents = line["documents"] as JsonArray,
            AddGenerationPrompt = (bool?)line["add_generation_prompt"] ?? false,
            ContinueFinalMessage = line["continue_final_message"] is JsonValue go ? go.TryGetValue<bool>(out var on) ? on ? "content" : null : (string?)go : null,
            Variables = new(line.Where(f => !known.Contains(f.Key)).Select(f => KeyValuePair.Create(f.Key, f.Value?.DeepClone()))),
        };
    }

    public static Command Reward()
    {
        var (model, adapter, device, batch) = (Screen.Model(), Screen.Adapter(), Screen.Device(), Screen.BatchSize());
        var command = new Command("reward", "What a reward model thinks of an answer. Example: lect reward --model runs/reward --input answers.jsonl") { model, adapter, device, batch };
        var lines = new JsonLines(command, "response");
        command.SetAction(int (parsed) =>
        {
            using var scorer = RewardScorer.Load(parsed.GetValue(model)!, parsed.GetValue(device)!, parsed.GetValue(adapter));
            return lines.Run(parsed, parsed.GetValue(batch), batch => [.. scorer.Score([.. batch.Select(l => Row(scorer, l.Json))]).Zip(batch, (reward, line) => JsonLines.Echo(line.Json, new() { ["reward"] = reward }))], answer => string.Create(CultureInfo.InvariantCulture, $"{(double)answer["reward"]!:0.0000}"));
        });
        return command;
    }

    private static AnswerRow Row(RewardScorer scorer, JsonObject line) => line["ids"] is JsonArray ids ? new(JsonLines.Numbers(ids, "ids"), line["token_type_ids"] is JsonArray types && types.Count == ids.Count ? [.. JsonLines.Numbers(types, "token_type_ids").Select(t => t == 1)] : new bool[ids.Count])
        : line["messages"] is JsonArray messages ? scorer.Encode(messages)
        : line["response"] is JsonValue response ? scorer.Encode(line["prompt"] switch { JsonArray turns => turns, JsonValue prompt => new JsonArray(Turn("user", (string)prompt!)), _ => [] }, (string)response!)
        : throw new InvalidDataException("found neither \"response\" (with \"prompt\"), \"messages\" nor \"ids\".");
}
