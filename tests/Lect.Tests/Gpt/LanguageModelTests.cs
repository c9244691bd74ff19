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
