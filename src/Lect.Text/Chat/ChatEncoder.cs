using System.Text.Json.Nodes;

namespace Lect.Text;

/// <summary>What of a text is learned in instruction tuning.</summary>
public enum LearnedPart
{
    /// <summary>The completion; of a conversation, everything that the assistant says.</summary>
    Answers,
    /// <summary>Of a conversation, the last turn alone.</summary>
    LastAnswer,
    /// <summary>All of it.</summary>
    Everything,
}

/// <summary>Prompts, completions and conversations as token ids, the way TRL prepares them. Safe to use from many threads.</summary>
/// <param name="tokenizer">The model's.</param>
/// <param name="template">The model's; null: there is none, and only prompts and completions can be encoded.</param>
/// <param name="endOfAnswer">The token that ends a completion; null: none is added.</param>
public sealed class ChatEncoder(Tokenizer tokenizer, ChatTemplate? template, string? endOfAnswer)
{
    /// <summary>The tokenizer.</summary>
    public Tokenizer Tokenizer => tokenizer;

    /// <summary>The template; null: none.</summary>
    public ChatTemplate? Template => template;

    /// <summary>A prompt and its completion, with the end token behind it.</summary>
    /// <param name="prompt">Text.</param>
    /// <param name="completion">Text; what is learned.</param>
    /// <param name="learned">Answers or everything.</param>
    public AnswerRow Encode(string prompt, string completion, LearnedPart learned = LearnedPart.Answers)
    {
        if (endOfAnswer is not null && !completion.EndsWith(endOfAnswer, StringComparison.Ordinal)) completion += endOfAnswer;
        var ids = tokenizer.EncodeIds(prompt + completion);
        return AnswerRow.Behind(ids, learned == LearnedPart.Everything || prompt.Length == 0 ? 0 : Prompt(prompt).Length);
    }

    /// <summary>Ids of a prompt, to be continued.</summary>
    public int[] Prompt(string prompt) => tokenizer.EncodeIds(prompt);

    /// <summary>Ids of a conversation that ends with the beginning of an answer.</summary>
    /// <exception cref="InvalidDataException">There is no template, or it refuses the messages.</exception>
    public int[] Prompt(JsonArray messages, TemplateOptions? options = null) => tokenizer.EncodeIds(Needed.Render(messages, (options ?? new()) with { AddGenerationPrompt = true }).Text, addSpecialTokens: false);

    private ChatTemplate Needed => template ?? throw new InvalidDataException($"Found messages, and no chat template. Expected a model folder with chat_template.jinja or a template in tokenizer_config.json, or one of Lect's own ({string.Join(", ", ChatTemplate.BuiltIn.Keys)}).");

    /// <summary>A conversation.</summary>
    /// <param name="messages">With roles and contents.</param>
    /// <param name="learned">Which part.</param>
    /// <param name="options">Tools and variables.</param>
    /// <exception cref="InvalidDataException">There is no template, it refuses the messages, or what the assistant says cannot be found in what it writes.</exception>
    public AnswerRow Encode(JsonArray messages, LearnedPart learned = LearnedPart.Answers, TemplateOptions? options = null)
    {
        options ??= new();
        var chat = Needed.Render(messages, options);
        if (learned != LearnedPart.Answers)   // ids are enough, which are several times as fast as tokens with their places
            return AnswerRow.Behind(tokenizer.EncodeIds(chat.Text, addSpecialTokens: false), learned == LearnedPart.Everything ? 0 : Prompt(new JsonArray([.. messages.SkipLast(1).Select(m => m!.DeepClone())]), options).Length);
        var tokens = tokenizer.Encode(chat.Text, addSpecialTokens: false);
        var spans = Needed.MarksGenerated ? chat : chat with { Generated = [.. Answers(messages, chat.Text, options)] };
        return new(tokens.Ids, [.. ChatTemplate.AssistantMask(spans, tokens).Select(m => m == 1)]);
    }

    // For templates that mark nothing: what an answer adds to the conversation before it, with its beginning open.
    private IEnumerable<(int Start, int End)> Answers(JsonArray messages, string whole, TemplateOptions options)
    {
        for (var i = 0; i < messages.Count; i++)
        {
            if ((string?)messages[i]!["role"] != "assistant") continue;
            var before = i == 0 ? "" : Needed.Render(new([.. messages.Take(i).Select(m => m!.DeepClone())]), options with { AddGenerationPrompt = true }).Text;
            var with = Needed.Render(new([.. messages.Take(i + 1).Select(m => m!.DeepClone())]), options).Text;
            if (!whole.StartsWith(with, StringComparison.Ordinal) || !with.StartsWith(before, StringComparison.Ordinal)) throw new InvalidDataException("Found a chat template that writes earlier turns differently once there are later ones, and that marks no answers. Expected {% generation %} in the template, or 'sft.learn: last' to learn the last turn alone.");
            yield return (before.Length, Math.Max(before.Length, PythonText.TrimEnd(with).Length));   // the line end behind a turn is not said by anybody
        }
    }
}
