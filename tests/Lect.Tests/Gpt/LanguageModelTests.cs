using Lect.Models;
using Lect.Testing;

namespace Lect.Tests.Gpt;

/// <summary>Answers to many prompts at once are those of the prompts one by one.</summary>
public sealed class LanguageModelTests
{
    [Fact]
    public void BatchAnswersAsOneByOne()
    {
        using var model = LanguageModel.Load(Fixtures.Path_("hf", "gpt2"));
        int[][] prompts = [[5, 9, 31], [7], [40, 2, 2, 18, 60, 3]];
        foreach (var options in (GenerationOptions[])[new() { Decoding = new() { MaxNewTokens = 12 } }, new() { Decoding = new() { MaxNewTokens = 12, Sample = true, Temperature = 0.9, Seed = 3 } }, new() { Decoding = new() { MaxNewTokens = 6 }, Beams = 3 }])
        {
            var together = model.Generate(prompts, options, [4, 5, 6]);
            for (var i = 0; i < prompts.Length; i++)
            {
                var alone = model.Generate(prompts[i], options, 4 + i);
                Assert.Equal(alone.Ids, together[i].Ids);
                Assert.Equal(alone.FinishReason, together[i].FinishReason);
                for (var t = 0; t < alone.Ids.Length; t++) Assert.Equal(alone.LogProbs[t], together[i].LogProbs[t], 1e-5);
            }
        }
    }

    [Fact]
    public void StreamsOfARowDoNotDependOnItsPlace()
    {
        using var model = LanguageModel.Load(Fixtures.Path_("hf", "gpt2"));
        var options = new GenerationOptions { Decoding = new() { MaxNewTokens = 20, Sample = true } };
        var answers = model.Generate([[5, 9], [5, 9], [5, 9]], options, [1, 2, 1]);
        Assert.Equal(answers[0].Ids, answers[2].Ids);
        Assert.NotEqual(answers[0].Ids, answers[1].Ids);
    }

    // A SentencePiece model writes a blank before a word: it stands where a text goes on, and not where one begins.
    [Fact]
    public async Task A_text_goes_on_with_its_blank_and_an_answer_begins_without()
    {
        var folder = Directory.CreateTempSubdirectory().FullName;
        var text = Path.Combine(folder, "text.txt");
        File.WriteAllText(text, string.Join('\n', Enumerable.Repeat("the cat sat on the mat and the dog sat on the log", 60)));
        PretrainGpt.Run(new() { Data = new() { Path = text, Validation = 0 }, Tokenizer = new() { Kind = "unigram", Size = 60 }, Model = new() { ["n_layer"] = 1, ["n_embd"] = 32, ["n_head"] = 2 }, Train = new() { Steps = 60, Block = 32, BatchSize = 8, Lr = 1e-2, EvalEvery = 0, Precision = "fp32", SampleTokens = 0 } }, Path.Combine(folder, "run"));
        using var model = LanguageModel.Load(Path.Combine(folder, "run"));
        var options = model.Defaults with { Decoding = model.Defaults.Decoding with { MaxNewTokens = 12 } };
        using var host = new ModelHost(LanguageModel.Load(Path.Combine(folder, "run")));
        var withBlank = 0;
        foreach (var prompt in (string[])["the cat", "the cat sat", "on the log the cat sat on", "the dog sat"])
        {
            var ids = model.Encode(prompt);
            var bare = model.Generate(ids, options);
            var whole = model.Tokenizer!.Decode([.. ids, .. bare.Ids], skipSpecialTokens: true)[prompt.Length..];
            Assert.Equal(whole.TrimStart(), bare.Text);
            if (whole[0] == ' ') withBlank++;
            Assert.Equal(whole, model.Generate(ids, options with { Continues = true }).Text);
            Assert.Equal(whole, string.Concat(model.Stream(prompt, options)));
            Assert.Equal(bare.Text, string.Concat(model.Stream(ids, options)));
            var stop = whole.Trim()[^3..];
            Assert.Equal(whole[..whole.IndexOf(stop, StringComparison.Ordinal)], model.Generate(ids, options with { Continues = true, Stop = [stop] }).Text);
            Assert.Equal(whole[..whole.IndexOf(stop, StringComparison.Ordinal)], string.Concat(model.Stream(prompt, options with { Stop = [stop] })));
            foreach (var (continues, expected) in new[] { (true, whole), (false, bare.Text) })
            {
                var said = "";
                await foreach (var piece in host.StreamAsync(ids, options with { Continues = continues }, cancel: TestContext.Current.CancellationToken)) said += piece.Text;
                Assert.Equal(expected, said);
            }
        }
        Assert.NotEqual(0, withBlank);
        Directory.Delete(folder, recursive: true);
    }

    [Fact]
    public void OptionsOfOnesOwnEndWhereTheFolderSays()
    {
        var folder = Directory.CreateTempSubdirectory().FullName;
        foreach (var file in Directory.EnumerateFiles(Fixtures.Path_("hf", "gpt2")).Where(f => Path.GetExtension(f) is ".json" or ".safetensors")) File.Copy(file, Path.Combine(folder, Path.GetFileName(file)));
        int said;
        using (var model = LanguageModel.Load(folder)) said = model.Generate([5, 9, 31], new() { Decoding = new() { MaxNewTokens = 1, EosTokenIds = [] } }).Ids[0];
        File.WriteAllText(Path.Combine(folder, "generation_config.json"), $$"""{"eos_token_id": {{said}}}""");
        using (var model = LanguageModel.Load(folder))
        {
            Assert.Equal("stop", model.Generate([5, 9, 31], new GenerationOptions { Decoding = new() { MaxNewTokens = 12 } }).FinishReason);
            Assert.Equal(12, model.Generate([5, 9, 31], new GenerationOptions { Decoding = new() { MaxNewTokens = 12, EosTokenIds = [] } }).Ids.Length);
        }
        Directory.Delete(folder, recursive: true);
    }
}
