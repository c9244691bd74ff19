namespace Lect.Benchmarks;

/// <summary>word2vec.c's training loop in plain C#: arrays, scalar arithmetic, a table of a hundred million cells, threads without locks. What a port looks like that changes nothing.</summary>
internal sealed class PlainWord2Vec(WordCorpus corpus, int size, int window, int negative, double sample, bool cbow)
{
    private const int TableSize = 100_000_000, ExpTableSize = 1000, MaxExp = 6;

    private readonly float[] syn0 = new float[corpus.Vocabulary.Words.Count * size], syn1neg = new float[corpus.Vocabulary.Words.Count * size], expTable = new float[ExpTableSize];
    private readonly int[] table = new int[TableSize];
    private readonly long[] counts = [.. corpus.Vocabulary.Counts];
    private readonly double trainWords = corpus.Vocabulary.Total;
    private long done;

    public void Prepare()
    {
        for (var i = 0; i < ExpTableSize; i++)
        {
            expTable[i] = (float)Math.Exp((i / (float)ExpTableSize * 2 - 1) * MaxExp);
            expTable[i] /= expTable[i] + 1;
        }
        var power = counts.Sum(c => Math.Pow(c, 0.75));
        var (word, sum) = (0, Math.Pow(counts[0], 0.75) / power);
        for (var a = 0; a < TableSize; a++)
        {
            table[a] = word;
            if (a / (double)TableSize > sum && word < counts.Length - 1) sum += Math.Pow(counts[++word], 0.75) / power;
        }
        ulong random = 1;
        for (var i = 0; i < syn0.Length; i++)
        {
            random = unchecked(random * 25214903917 + 11);
            syn0[i] = ((random & 0xFFFF) / 65536f - 0.5f) / size;
        }
    }

    public void Train(int threads)
    {
        var all = Enumerable.Range(0, threads).Select(id => new Thread(() => Work(id, threads))).ToList();
        all.ForEach(t => t.Start());
        all.ForEach(t => t.Join());
    }

    private void Work(int id, int threads)
    {
        var (at, end) = (corpus.Length * id / threads, corpus.Length * (id + 1) / threads);
        var (sentence, read, neu1, neu1e) = (new int[1000], new int[4096], new float[size], new float[size]);
        var (random, start, alpha) = ((ulong)id, cbow ? 0.05f : 0.025f, cbow ? 0.05f : 0.025f);
        int held = 0, next = 0, length = 0, position = 0;
        long words = 0, last = 0;
        while (true)
        {
            if (words - last > 10_000)
            {
                alpha = Math.Max(start * (1 - Interlocked.Add(ref done, words - last) / ((float)trainWords + 1)), start * 0.0001f);
                last = words;
            }
            if (position >= length)
            {
                (length, position) = (0, 0);
                while (length < 1000)
                {
                    if (next == held)
                    {
                        if (at == end) break;
                        held = (int)Math.Min(read.Length, end - at);
                        corpus.Read(at, read.AsSpan(0, held));
                        (at, next) = (at + held, 0);
                    }
                    var w = read[next++];
                    words++;
                    if (w == 0) break;
                    if (sample > 0)
                    {
                        var ran = (Math.Sqrt(counts[w] / (sample * trainWords)) + 1) * (sample * trainWords) / counts[w];
                        random = unchecked(random * 25214903917 + 11);
                        if (ran < (random & 0xFFFF) / 65536f) continue;
                    }
                    sentence[length++] = w;
                }
                if (length == 0)
                {
                    if (at == end && next == held) return;
                    continue;
                }
            }
            var word = sentence[position];
            Array.Clear(neu1);
            Array.Clear(neu1e);
            random = unchecked(random * 25214903917 + 11);
            var b = (int)(random % (ulong)window);
            if (cbow)
            {
                var cw = 0;
                for (var a = b; a < window * 2 + 1 - b; a++)
                {
                    var c = position - window + a;
                    if (a == window || c < 0 || c >= length) continue;
                    for (var d = 0; d < size; d++) neu1[d] += syn0[sentence[c] * size + d];
                    cw++;
                }
                if (cw > 0)
                {
                    for (var d = 0; d < size; d++) neu1[d] /= cw;
                    Negatives(neu1, 0, neu1e, word, alpha, ref random);
                    for (var a = b; a < window * 2 + 1 - b; a++)
                    {
                        var c = position - window + a;
                        if (a == window || c < 0 || c >= length) continue;
                        for (var d = 0; d < size; d++) syn0[sentence[c] * size + d] += neu1e[d];
                    }
                }
            }
            else
            {
                for (var a = b; a < window * 2 + 1 - b; a++)
                {
                    var c = position - window + a;
                    if (a == window || c < 0 || c >= length) continue;
                    Array.Clear(neu1e);
                    var l1 = sentence[c] * size;
                    Negatives(syn0, l1, neu1e, word, alpha, ref random);
                    for (var d = 0; d < size; d++) syn0[l1 + d] += neu1e[d];
                }
            }
            position++;
        }
    }

    private void Negatives(float[] h, int l1, float[] neu1e, int word, float alpha, ref ulong random)
    {
        for (var k = 0; k < negative + 1; k++)
        {
            var (target, label) = (word, 1);
            if (k > 0)
            {
                random = unchecked(random * 25214903917 + 11);
                target = table[(random >> 16) % TableSize];
                if (target == 0) target = (int)(random % (ulong)(counts.Length - 1)) + 1;
                if (target == word) continue;
                label = 0;
            }
            var l2 = target * size;
            var f = 0f;
            for (var c = 0; c < size; c++) f += h[l1 + c] * syn1neg[l2 + c];
            var g = f > MaxExp ? (label - 1) * alpha : f < -MaxExp ? label * alpha : (label - expTable[(int)((f + MaxExp) * (ExpTableSize / MaxExp / 2))]) * alpha;
            for (var c = 0; c < size; c++) neu1e[c] += g * syn1neg[l2 + c];
            for (var c = 0; c < size; c++) syn1neg[l2 + c] += g * h[l1 + c];
        }
    }
}
