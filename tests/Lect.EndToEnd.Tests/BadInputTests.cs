using Lect.Testing;

namespace Lect.EndToEnd.Tests;

/// <summary>What a newcomer gets wrong first: exit code 2, a message that says what was found and what to do, no stack trace.</summary>
public sealed class BadInputTests : TemporaryFolder
{
    private static string Gpt2 => Fixtures.Path_("hf", "gpt2");

    private static void Refused(Tool.Answer answer, params string[] says)
    {
        Assert.True(answer.Code == 2, $"exit code {answer.Code}: {answer.Error}");
        Assert.DoesNotContain("   at ", answer.Error, StringComparison.Ordinal);
        foreach (var part in says) Assert.Contains(part, answer.Error, StringComparison.Ordinal);
    }

    [Fact]
    public void Training_names_key_line_and_folder()
    {
        var output = At("out");
        Refused(Tool.Run("train", "gpt", "-c", Write("a.yaml", "train:\n  steps: 5\n  blok: 8\n"), "--out", output), "line 3", "train.blok", "block");
        Refused(Tool.Run("train", "gpt", "-c", "nowhere.yaml", "--out", output), "nowhere.yaml");
        Refused(Tool.Run("train", "gpt", "--set", "train.steps=1", $"data.path={Folder}/nothing.txt", "--out", output), "nothing.txt");
        Refused(Tool.Run("train", "gpt", "--set", "train.steps=1", $"data.path={Write("short.txt", "short")}", "tokenizer.kind=char", "--out", output + "2"), "train.block");
        Refused(Tool.Run("train", "gpt", "--set", "train.steps=1", $"data.path={Write("small.txt", "a small text\n")}", "tokenizer.size=5000", "--out", output + "3"), "--size");
        Refused(Tool.Run("train", "gpt", "--set", "train.steps=1", "--out", Gpt2), "Expected a new or empty folder");
        Refused(Tool.Run("train", "gpt", "--set", "train.steps=1"), "--out");
        Refused(Tool.Run("train", "gpt", "--resume", "--out", output + "4"), "no run");
    }

    [Fact]
    public void Models_name_file_key_and_fault()
    {
        Refused(Tool.Run("generate", "--model", Folder, "x"), "config.json");
        Refused(Tool.Ask("{\"ids\":[5,120]}\n", "generate", "--model", Gpt2, "--json"), "line 1", "120", "0 to 119");
        Refused(Tool.Ask($"{{\"ids\":[{string.Join(',', Enumerable.Repeat(5, 60))}]}}\n", "generate", "--model", Gpt2, "--json"), "60 tokens", "40", "--truncate");
        Refused(Tool.Ask("{\"ids\":[5]}\nnonsense\n", "score", "--model", Gpt2, "--json"), "line 2");
        Refused(Tool.Ask("{\"prompt\":\"hello\"}\n", "generate", "--model", Gpt2, "--json"), "no tokenizer");
        Refused(Tool.Run("classify", "--model", Gpt2, "x"), "GPT2LMHeadModel");
        Directory.CreateDirectory(At("cut"));
        File.Copy(Path.Combine(Gpt2, "config.json"), At("cut", "config.json"));
        File.WriteAllBytes(At("cut", "model.safetensors"), File.ReadAllBytes(Path.Combine(Gpt2, "model.safetensors"))[..5000]);
        Refused(Tool.Run("generate", "--model", At("cut"), "x"), "model.safetensors");
        Refused(Tool.Run("inspect", At("nothing")), "nothing");
        Refused(Tool.Run("inspect", "--compare", Gpt2), "two with --compare");
        Refused(Tool.Run("convert", At("nothing.bin"), "--out", At("x")), "nothing.bin");
        Refused(Tool.Run("generate", "--model", Gpt2, "--context", "80", "x"), "learned positions");
        Refused(Tool.Run("evaluate", "few-shot", "--model", Gpt2, "--shots", "some"), "--shots");
        Refused(Tool.Run("finetune", "gpt1", "--task", "tag", "--set", "model.path=x", "--out", At("x")), "classify, entail, similarity, choice");
        Refused(Tool.Run("train", "gpt", "--set", "train.steps=1", "model.architecture=llama", "model.hidden_size=big", "--out", At("x")), "hidden_size");
        Refused(Tool.Run("train", "gpt", "--set", "train.steps=1", "model.architecture=gpt5", "--out", At("x")), "gpt5", "qwen3");
        Refused(Tool.Run("train", "gpt", "--set", "train.steps=1", "model.architecture=llama", "model.n_embd=8", "--out", At("x")), "model.n_embd", "hidden_size");
    }

    [Fact]
    public void Word_vectors_name_file_word_and_option()
    {
        var vectors = Fixtures.Path_("embeddings", "eval.vectors.bin");
        Refused(Tool.Run("nearest", "--vectors", vectors, "feelling"), "'feelling'", "'feeling'");
        Refused(Tool.Ask("{\"word\":\"the\"}\n{\"word\":\"qqq\"}\n", "nearest", "--vectors", vectors, "--json"), "line 2", "'qqq'");
        Refused(Tool.Run("analogy", "--vectors", vectors, "the of"), "2 words", "three");
        Refused(Tool.Ask("{\"a\":\"the\",\"b\":\"of\"}\n", "analogy", "--vectors", vectors, "--json"), "line 1", "\"c\"");
        Refused(Tool.Run("nearest", "--vectors", vectors, "--top-k", "0", "the"), "at least 1");
        Refused(Tool.Run("nearest", "--vectors", Folder, "the"), "vectors.bin");
        Refused(Tool.Run("embed", "--vectors", vectors, "qqqq zzzz"), "no word with a vector");
        Refused(Tool.Run("map", "--vectors", vectors, "--only", "the", "of", "--out", At("map.html")), "2 words");
        Refused(Tool.Run("evaluate", "analogies", "--vectors", vectors, "--questions", Write("q.txt", ": a\nthe of\n")), "q.txt, line 2");
        Refused(Tool.Run("evaluate", "similarity", "--vectors", vectors, "--pairs", Write("p.txt", "the of much\n")), "p.txt, line 1");
        File.WriteAllBytes(At("cut.bin"), File.ReadAllBytes(vectors)[..9000]);
        Refused(Tool.Run("nearest", "--vectors", At("cut.bin"), "the"), "cut.bin", "cut short");
        Refused(Tool.Run("train", "word2vec", "--set", "word2vec.size=0", "--out", At("out")), "word2vec.size = 0");
        Refused(Tool.Run("train", "word2vec", "-c", Write("w.yaml", "word2vec:\n  dimension: 5\n"), "--out", At("out")), "line 2", "word2vec.dimension");
    }

    [Fact]
    public void Encoders_name_head_verb_and_place()
    {
        string Bert(string name) => Fixtures.Path_("hf", "bert-" + name);
        Refused(Tool.Run("fill-mask", "--model", Bert("question-answering"), "x"), "BertForQuestionAnswering", "lect answer");
        Refused(Tool.Run("tag", "--model", Gpt2, "x"), "lect generate");
        Refused(Tool.Run("generate", "--model", Bert("pretraining"), "x"), "lect fill-mask");
        Refused(Tool.Ask("{\"ids\":[5,6]}\n", "fill-mask", "--model", Bert("pretraining"), "--json"), "line 1", "--mask-id");
        Refused(Tool.Ask("{\"ids\":[5,6],\"positions\":[7]}\n", "fill-mask", "--model", Bert("pretraining"), "--json"), "position 7");
        Refused(Tool.Ask("{\"ids\":[5,6],\"token_type_ids\":[0,5]}\n", "classify", "--model", Bert("sequence-classification"), "--json"), "token type 5", "0 to 1");
        Refused(Tool.Ask("{\"ids\":[5,6],\"token_type_ids\":[0]}\n", "tag", "--model", Bert("token-classification"), "--json"), "1 token_type_ids for 2 ids");
        Refused(Tool.Ask($"{{\"ids\":[{string.Join(',', Enumerable.Repeat(5, 600))}]}}\n", "next-sentence", "--model", Bert("pretraining"), "--json"), "600 tokens");
        Refused(Tool.Ask("{\"choice_ids\":[[5,6]]}\n", "choose", "--model", Bert("multiple-choice"), "--json"), "1 choices");
        Refused(Tool.Ask("{\"text\":\"a\"}\n", "classify", "--model", Bert("regression"), "--json"), "no tokenizer");
        Refused(Tool.Run("embed", "x"), "--vectors", "--model");
        Refused(Tool.Run("finetune", "tag", "--set", "train.steps=1", "--out", At("o1")), "model.path");
        Refused(Tool.Run("finetune", "tag", "--set", "model.pat=x", "--out", At("o2")), "model.pat", "from_nothing");
        Refused(Tool.Run("train", "bert", "--set", "train.steps=1", "train.mask=2", "--out", At("o3")), "train.mask = 2");
        Refused(Tool.Run("evaluate", "glue", "--task", "cola", "--gold", Write("g.txt", "1\n0\n"), "--predicted", Write("h.txt", "1\n")), "2 lines", "1 in");
        Refused(Tool.Run("evaluate", "ner", "--gold", Write("g.conll", "a O\nb O\n"), "--predicted", Write("h.conll", "a O\n")), "2 true and 1 predicted");
        var one = Write("one.json", """{"data":[{"paragraphs":[{"context":"Ada.","qas":[{"id":"a","question":"Who?","answers":[{"text":"Ada","answer_start":0}]},{"id":"b","question":"Why?","answers":[]}]}]}]}""");
        foreach (var (given, said) in new[] { ("{\"a\":5}", "'a'"), ("{\"a\":\"x\",\"a\":\"y\"}", "no readable JSON"), ("{\"c\":\"x\"}", "no prediction") }) Refused(Tool.Run("evaluate", "squad", "--data", one, "--predictions", Write("p.json", given)), said);
        var left = Tool.Run("evaluate", "squad", "--data", one, "--predictions", Write("p.json", "{\"a\":\"Ada\"}"), "--json");
        Assert.Equal((0, 1), (left.Code, (int)left.Json[0]["total"]!));   // as SQuAD 2's script: without a prediction it is no question
        Assert.Contains("left out", left.Error, StringComparison.Ordinal);
        Refused(Tool.Ask("{\"choices\":[null,\"a\"],\"prompt\":\"x\"}\n", "choose", "--model", Bert("multiple-choice"), "--json"), "line 1", "choices");
        Refused(Tool.Ask("{\"words\":[null,\"a\"]}\n", "tag", "--model", Bert("token-classification"), "--json"), "line 1", "words");
        Refused(Tool.Run("answer", "--model", Bert("question-answering"), "--n-best", "0", "who?", "--context", "x"), "--n-best 0");
        Refused(Tool.Run("evaluate", "squad", "--data", Write("s.json", "{\"x\":1}"), "--predictions", Write("p.json", "{}")), "s.json", "data");
    }

    [Fact]
    public void A_bad_line_can_be_skipped()
    {
        var answer = Tool.Ask("{\"ids\":[5,6]}\nnonsense\n{\"ids\":[null]}\n{\"ids\":[5],\"ids\":[6]}\n{\"ids\":[7,8]}\n", "score", "--model", Gpt2, "--json", "--skip-bad-lines");
        Assert.Equal((0, 2), (answer.Code, answer.Json.Count));
        foreach (var said in (string[])["line 2", "line 3: found null", "line 4: found a key twice"]) Assert.Contains(said, answer.Error, StringComparison.Ordinal);
    }

    [Fact]
    public void Nothing_of_others_is_overwritten()
    {
        string Holds(string name, params string[] files)
        {
            foreach (var file in files) { Directory.CreateDirectory(Path.GetDirectoryName(At(name, file))!); File.WriteAllText(At(name, file), "precious"); }
            return At(name);
        }
        var text = Write("text.txt", "a small text\n");
        Refused(Tool.Run("train", "gpt", "--set", "train.steps=1", $"data.path={text}", "--out", Holds("run", "metrics.jsonl", "data/mine.txt")), "no run of Lect's");
        Refused(Tool.Run("train", "word2vec", "--set", $"data.path={text}", "--out", At("run")), "no run of Lect's");
        Refused(Tool.Run("tokenizer", "train", "--input", text, "--out", Holds("model", "tokenizer.json", "model.safetensors")), "model.safetensors");
        Refused(Tool.Run("data", "prepare", "--input", text, "--out", Holds("tokens", "train.bin")), "train.bin");
        foreach (var file in (string[])["run/metrics.jsonl", "run/data/mine.txt", "model/tokenizer.json", "tokens/train.bin"]) Assert.Equal("precious", File.ReadAllText(At(file)));
        foreach (var verb in (string[][])[["train", "word2vec"], ["tokenizer", "train"], ["data", "prepare"]]) Refused(Tool.Run([.. verb, "--out", text]), "text.txt");
        Refused(Tool.Run("train", "word2vec", "--out", ""), "--out without a name");
    }

    [Fact]
    public void Tokenizers_learn_from_text_as_it_is_read_everywhere()
    {
        var rows = Write("rows.jsonl", Enumerable.Range(0, 50).Select(i => $$"""{"text":"{{i}} caf\u00e9s","other":1}"""));
        Assert.Equal(0, Tool.Run("tokenizer", "train", "--input", rows, "--kind", "word", "--size", "30", "--out", At("words")).Code);
        Assert.Contains("\"cafés\":", File.ReadAllText(At("words", "tokenizer.json")).Replace(" ", "", StringComparison.Ordinal), StringComparison.Ordinal);
        Assert.DoesNotContain("\\\"text\\\"", File.ReadAllText(At("words", "tokenizer.json")), StringComparison.Ordinal);
        Refused(Tool.Run("tokenizer", "train", "--input", rows, "--column", "body", "--out", At("x")), "rows.jsonl", "text, other", "'body'");
        File.WriteAllBytes(At("latin.txt"), [(byte)'c', 0xe9, (byte)'\n']);
        Refused(Tool.Run("tokenizer", "train", "--input", At("latin.txt"), "--out", At("x")), "latin.txt, line 1", "UTF-8");
        Refused(Tool.Run("tokenizer", "train", "--input", rows, "--kind", "word", "--size", "1", "--out", At("x")), "2 special ones");
        Refused(Tool.Run("tokenizer", "train", "--input", rows, "--kind", "char", "--size", "9", "--out", At("x")), "characters");
        Refused(Tool.Run("tokenizer", "train", "--input", rows, "--size", "0", "--out", At("x")), "at least 1");
        Refused(Tool.Run("tokenizer", "decode", "--tokenizer", At("words"), "99999999999"), "whole numbers");
        Refused(Tool.Run("tokenizer", "encode", "--tokenizer", At("words"), "--input", rows, "and a text"), "both a text and --input");
        Refused(Tool.Run("tokenizer", "encode", "--tokenizer", Write("neg.json", """{"model":{"type":"BPE","vocab":{"a":0,"b":-5},"merges":[]}}"""), "a"), "neg.json", "-5");
        Refused(Tool.Run("tokenizer", "encode", "--tokenizer", Write("empty.tiktoken", ""), "a"), "256 bytes");
        File.WriteAllBytes(At("latin.jsonl"), [.. "{\"text\":\"1 caf"u8, 0xe9, .. "\"}\n{\"text\":\"1 cafés\"}\n"u8]);
        Refused(Tool.Run("tokenizer", "encode", "--tokenizer", At("words"), "--input", At("latin.jsonl"), "--json"), "line 1", "UTF-8");
        var kept = Tool.Run("tokenizer", "encode", "--tokenizer", At("words"), "--input", At("latin.jsonl"), "--json", "--skip-bad-lines");
        Assert.Equal("cafés", (string)Assert.Single(kept.Json)["tokens"]![1]!);
    }

    [Fact]
    public void Options_that_would_do_nothing_are_refused()
    {
        var text = Write("text.txt", "a small text\n");
        var vectors = Fixtures.Path_("embeddings", "eval.vectors.bin");
        Refused(Tool.Run("embed", "--vectors", vectors, "--device", "cpu", "the"), "--device with --vectors");
        Refused(Tool.Run("data", "show", text, "--rows", "-1"), "--rows -1");
        Refused(Tool.Run("data", "prepare", "--column", "body", "--out", At("x")), "--column without --input");
        Refused(Tool.Run("train", "gpt", "-c", "nowhere.yaml", "--resume", "--out", At("x")), "nowhere.yaml");
        Refused(Tool.Run("train", "word2vec", "--set", $"data.path={text}", "phrases.passes=1", "phrases.scoring=npmi", "--out", At("x")), "phrases.threshold = 100");
        Refused(Tool.Run("train", "glove", "--set", $"data.path={Write("more.txt", string.Concat(Enumerable.Repeat("a b c\n", 20)))}", "glove.window_size=2000000000", "--out", At("y")), "window_size");
    }

    // Of a folder's generation_config.json every key that changes an answer is applied, or refused with its name.
    [Fact]
    public void What_generation_config_says_is_applied_or_refused()
    {
        foreach (var file in (string[])["config.json", "model.safetensors"]) Copy(Path.Combine(Gpt2, file), At("model", file));
        Tool.Answer Says(string json, params string[] options)
        {
            File.WriteAllText(At("model", "generation_config.json"), json);
            return Tool.Ask("{\"ids\":[5,9,31]}\n", ["generate", "--model", At("model"), "--json", .. options]);
        }
        int[] Ids(Tool.Answer answer) => [.. Assert.Single(answer.Json)["ids"]!.AsArray().Select(i => (int)i!)];
        var plain = Ids(Says("{}", "--max-new-tokens", "12"));
        Assert.Equal(12, plain.Length);
        Assert.Equal(plain[..7], Ids(Says("""{"max_length": 10}""")));
        Assert.Equal(plain, Ids(Says("""{"max_length": 10}""", "--max-new-tokens", "12")));
        Assert.DoesNotContain(plain[0], Ids(Says($$"""{"suppress_tokens": [{{plain[0]}}], "max_new_tokens": 12}""")));
        Assert.Equal(plain[..1], Ids(Says($$"""{"eos_token_id": {{plain[0]}}, "max_new_tokens": 12}""")));
        Assert.DoesNotContain(plain[0], Ids(Says($$"""{"eos_token_id": {{plain[0]}}, "min_length": 9, "max_new_tokens": 12}"""))[..6]);
        Assert.Equal(plain, Ids(Says("""{"typical_p": 1.0, "num_beam_groups": 1, "diversity_penalty": 0.0, "suppress_tokens": [], "begin_suppress_tokens": null, "max_new_tokens": 12}""")));
        Refused(Says("""{"max_length": 3}"""), "3 tokens", "max_length");
        foreach (var key in (string[])["begin_suppress_tokens", "forced_decoder_ids", "sequence_bias"]) Refused(Says($$"""{"{{key}}": [[5, 6]]}"""), "generation_config.json", key);
        Refused(Says("""{"guidance_scale": 1.5}"""), "guidance_scale");
        Refused(Says("""{"num_beams": 2, "do_sample": true}"""), "num_beams = 2");
        Refused(Says("""{"num_beams": 0}"""), "at least 1");
        Refused(Says("""{"do_sample": "yes"}"""), "do_sample = \"yes\"");
        Refused(Says("""{"bad_words_ids": [[5000]]}"""), "[[5000]]", "0 to 119");
        Refused(Says("""{"bad_words_ids": [[]]}"""), "none of them empty");
        Refused(Says("""{"eos_token_id": [5.5]}"""), "eos_token_id");
        Assert.Equal(plain, Ids(Says("""{"eos_token_id": [50256, -1], "renormalize_logits": true, "max_new_tokens": 12}""")));
        Assert.Equal(plain[..7], Ids(Says("""{"max_length": 10}""", "--truncate")));
        Refused(Says("""{"top_k": 5, "top_k": 6}"""), "a key twice");

        foreach (var file in (string[])["config.json", "model.safetensors"]) Copy(Path.Combine(Fixtures.Path_("hf", "marian"), file), At("marian", file));
        Tool.Answer Translated(string json, params string[] options)
        {
            File.WriteAllText(At("marian", "generation_config.json"), json);
            return Tool.Ask("{\"ids\":[5,6,7,0]}\n", ["translate", "--model", At("marian"), "--json", .. options]);
        }
        Assert.Equal(Translated("""{"max_length": 12}""", "--beams", "1").Output, Translated("""{"max_length": 12, "num_beams": 1}""").Output);
        // With the most probable token taken away, what is left has the probability 1 again.
        double[] Scores(string json) => [.. Translated(json).Json.Select(j => (double)j["score"]!)];
        Assert.True(Scores("""{"max_length": 12, "num_beams": 2, "suppress_tokens": [41], "renormalize_logits": true}""")[0] > Scores("""{"max_length": 12, "num_beams": 2, "suppress_tokens": [41]}""")[0] + 0.01);
        Refused(Translated("""{"repetition_penalty": 5.0}"""), "repetition_penalty");
        Refused(Translated("""{"min_length": 5}"""), "min_length");
    }

    private static void Copy(string from, string to)
    {
        Directory.CreateDirectory(Path.GetDirectoryName(to)!);
        File.Copy(from, to);
    }

    [Fact]
    public void Options_that_do_not_go_together_are_refused()
    {
        Refused(Tool.Run("generate", "--model", Gpt2, "--greedy", "--beams", "3", "x"), "--greedy together with --beams");
        Refused(Tool.Run("generate", "--model", Gpt2, "--length-penalty", "2", "x"), "without beam search");
        Refused(Tool.Run("generate", "--model", Gpt2, "--beams", "2", "--num-samples", "2", "x"), "--num-samples 2");
        Refused(Tool.Run("generate", "--model", Gpt2, "--reward", "nowhere", "x"), "--num-samples 1");
        Refused(Tool.Run("generate", "--model", Gpt2, "--temperature", "nan", "x"), "--temperature nan");
        Refused(Tool.Run("generate", "--model", Gpt2, "x", "--stop", ""), "empty --stop");
        Refused(Tool.Ask("{\"ids\":[5]}\n", "generate", "--model", Gpt2, "--beams", "2", "--json", "--stop", "a"), "beam search with texts to stop at");
        Refused(Tool.Run("chat", "--model", Gpt2, "--temperature", "-1"), "--temperature -1");
        Refused(Tool.Run("translate", "--model", Fixtures.Path_("hf", "marian"), "--length-penalty", "nan", "x"), "--length-penalty nan");
        var text = Write("text.txt", "a small text\n");
        Refused(Tool.Run("convert", Gpt2, "--out", text), "text.txt");
        Refused(Tool.Run("evaluate", "chrf", "--hypotheses", text, "--references", text, "--char-order", "0"), "--char-order 0");
        Refused(Tool.Run("evaluate", "bleu", "--hypotheses", text, "--references", text, "--samples", "5"), "--samples without --baseline");
        foreach (var (verb, key) in new[] { ("transformer", "kind=sutskever"), ("transformer", "eos_token_id=9"), ("seq2seq", "heads=2"), ("seq2seq", "source_vocab_size=5") })
            Refused(Tool.Run("train", verb, "--set", "train.steps=1", $"model.{key}", "--out", At("x")), "model." + key.Split('=')[0]);
        Refused(Tool.Run("train", "transformer", "--set", "train.steps=1", "data.letters=5", "--out", At("x")), "data.letters");
    }

    // A head of its own beside tied embeddings, and weights that are no numbers.
    [Fact]
    public void Weights_that_cannot_be_meant_are_refused()
    {
        var llama = Fixtures.Path_("hf", "llama");
        Copy(Path.Combine(llama, "model.safetensors"), At("tied", "model.safetensors"));
        var config = File.ReadAllText(Path.Combine(llama, "config.json"));
        File.WriteAllText(At("tied", "config.json"), System.Text.RegularExpressions.Regex.Replace(config, "\"tie_word_embeddings\": *false", "\"tie_word_embeddings\": true", System.Text.RegularExpressions.RegexOptions.None, TimeSpan.FromSeconds(1)));
        Assert.NotEqual(config, File.ReadAllText(At("tied", "config.json")));
        Refused(Tool.Ask("{\"ids\":[5,6]}\n", "score", "--model", At("tied"), "--json"), "lm_head.weight", "tie_word_embeddings");
        Copy(Path.Combine(Gpt2, "model.safetensors"), At("deep", "model.safetensors"));
        File.WriteAllText(At("deep", "config.json"), System.Text.RegularExpressions.Regex.Replace(File.ReadAllText(Path.Combine(Gpt2, "config.json")), "\"n_layer\": *[0-9]+", "\"n_layer\": 1000000", System.Text.RegularExpressions.RegexOptions.None, TimeSpan.FromSeconds(1)));
        Refused(Tool.Ask("{\"ids\":[5,6]}\n", "score", "--model", At("deep"), "--json"), "n_layer = 1000000");
        Copy(Path.Combine(Gpt2, "config.json"), At("nan", "config.json"));
        var weights = File.ReadAllBytes(Path.Combine(Gpt2, "model.safetensors"));
        for (var i = weights.Length - 4096; i < weights.Length; i++) weights[i] = 0xff;   // whichever these are: fp32 of ones alone is no number
        File.WriteAllBytes(At("nan", "model.safetensors"), weights);
        Refused(Tool.Ask("{\"ids\":[5,6]}\n", "generate", "--model", At("nan"), "--json"), "NaN");
        Refused(Tool.Ask("{\"ids\":[5,6]}\n", "score", "--model", At("nan"), "--json"), "NaN");
    }

    // lect … | head: what nobody reads is not computed.
    [Fact]
    public void A_reader_that_goes_ends_the_work()
    {
        Assert.SkipWhen(OperatingSystem.IsWindows(), "asked of the system by poll");
        var many = Write("many.jsonl", Enumerable.Repeat("{\"ids\":[5,9,31]}", 100_000));
        foreach (var verb in (string[][])[["generate", "--model", Gpt2, "--json", "--input", many], ["data", "show", many]])
        {
            using var process = Tool.Start(verb);
            Assert.StartsWith("{", process.StandardOutput.ReadLine(), StringComparison.Ordinal);
            process.StandardOutput.Close();
            Assert.True(process.WaitForExit(TimeSpan.FromMinutes(1)), "it works on");
            Assert.Equal(1, process.ExitCode);
        }
    }

    [Fact]
    public void A_misspelt_verb_or_option_is_told()
    {
        Refused(Tool.Run("trian"), "trian");
        Refused(Tool.Run("generate", "--modle", "x"), "--modle");
    }

    [Fact]
    public void Every_verb_has_help_with_an_example()
    {
        string[][] verbs = [["demo"], ["data", "list"], ["data", "show"], ["data", "prepare"], ["tokenizer", "train"], ["tokenizer", "encode"], ["tokenizer", "decode"], ["tokenizer", "show"], ["train", "gpt"], ["train", "word2vec"], ["train", "glove"], ["train", "seq2seq"], ["train", "transformer"], ["train", "bert"], ["finetune", "classify"], ["finetune", "pairs"], ["finetune", "choice"], ["finetune", "qa"], ["finetune", "tag"], ["finetune", "gpt1"], ["align", "sft"], ["align", "reward"], ["align", "dpo"], ["align", "ppo"], ["align", "grpo"], ["align", "online-dpo"], ["align", "rejection"], ["serve"], ["improve"], ["chat"], ["chat-template"], ["reward"], ["fill-mask"], ["next-sentence"], ["choose"], ["answer"], ["tag"], ["generate"], ["score"], ["classify"], ["translate"], ["attention"], ["show", "attention"], ["show", "mask"], ["show", "positions"], ["show", "norm"], ["nearest"], ["analogy"], ["embed"], ["map"], ["evaluate", "perplexity"], ["evaluate", "few-shot"], ["evaluate", "analogies"], ["evaluate", "similarity"], ["evaluate", "bleu"], ["evaluate", "chrf"], ["evaluate", "ter"], ["evaluate", "translation"], ["evaluate", "glue"], ["evaluate", "ner"], ["evaluate", "squad"], ["evaluate", "rouge"], ["evaluate", "reward"], ["evaluate", "win-rate"], ["inspect"], ["convert"], ["bench", "train"], ["bench", "llama"], ["bench", "bert"], ["bench", "decode"], ["bench", "lora"], ["bench", "sampling"], ["bench", "pairs"], ["bench", "tokenizer"], ["completion"]];
        var help = string.Concat(verbs.Select(v => Tool.Run([.. v, "--help"]).Output));
        Assert.Equal(verbs.Length, System.Text.RegularExpressions.Regex.Count(help, "Example: ", System.Text.RegularExpressions.RegexOptions.None, TimeSpan.FromSeconds(1)));
        Approve.Text("help", string.Join('\n', help.Split('\n').Select(l => l.Contains("--threads", StringComparison.Ordinal) ? l.Replace($"[default: {Environment.ProcessorCount}]", "[default: all cores]", StringComparison.Ordinal) : l)));
    }

    [Fact]
    public void Help_names_the_tool_and_completion_knows_the_verbs()
    {
        var help = Tool.Run("--help");
        Assert.Equal(0, help.Code);
        Assert.Contains("lect [command]", help.Output, StringComparison.Ordinal);
        Assert.DoesNotContain("Lect.Cli", help.Output, StringComparison.Ordinal);
        Assert.Contains("train", Tool.Run("[suggest:8]", "lect tra").Output, StringComparison.Ordinal);
        Assert.Contains("complete", Tool.Run("completion", "bash").Output, StringComparison.Ordinal);
    }
}
