using System.Data.Common;
using System.Security.Cryptography;
using System.Text;
using Microsoft.Data.Sqlite;
using Microsoft.EntityFrameworkCore;

namespace Lect.Studio;

/// <summary>Votes and conversations in a SQLite file or a PostgreSQL database. Safe to use from many threads and processes; what was confirmed survives a crash.</summary>
public sealed class StudioStore
{
    private readonly Func<StudioDb> create;

    private StudioStore(Func<StudioDb> create) => this.create = create;

    /// <summary>Opens a database, and brings it to this version.</summary>
    /// <param name="db">A file, or a connection string of PostgreSQL (<c>Host=…;Database=…</c>).</param>
    /// <exception cref="InvalidDataException">It cannot be opened.</exception>
    public static StudioStore Open(string db)
    {
        var store = new StudioStore(Maker(db));
        try
        {
            using var context = store.create();
            context.Database.Migrate();
            if (context.Database.IsSqlite()) context.Database.ExecuteSqlRaw("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;");
            return store;
        }
        catch (Exception e) when (e is DbException or InvalidOperationException or System.Net.Sockets.SocketException)
        {
            throw new InvalidDataException($"Found that the database cannot be opened ({e.GetBaseException().Message}). Expected a file that can be written, or PostgreSQL's connection string (Host=…;Database=…;Username=…) of a server that answers.", e);
        }
    }

    private static Func<StudioDb> Maker(string db)
    {
        if (db.Contains('=', StringComparison.Ordinal) && !File.Exists(db))
        {
            var server = new DbContextOptionsBuilder<PostgresDb>().UseNpgsql(db).Options;
            return () => new PostgresDb(server);
        }
        if (Path.GetDirectoryName(Path.GetFullPath(db)) is { } folder) Directory.CreateDirectory(folder);
        var file = new DbContextOptionsBuilder<SqliteDb>().UseSqlite(new SqliteConnectionStringBuilder { DataSource = db }.ToString()).Options;
        return () => new SqliteDb(file);
    }

    /// <summary>Keeps a vote.</summary>
    /// <returns>False where the same rater has given the same vote before.</returns>
    public async Task<bool> Add(StoredVote vote)
    {
        await using var context = create();
        context.Votes.Add(vote);
        try
        {
            await context.SaveChangesAsync();
            return true;
        }
        catch (DbUpdateException)
        {
            await using var other = create();
            if (await other.Votes.AnyAsync(v => v.Fingerprint == vote.Fingerprint)) return false;
            throw;
        }
    }

    /// <summary>Keeps votes, all or none.</summary>
    /// <returns>How many were new.</returns>
    public async Task<int> AddAll(IReadOnlyList<StoredVote> votes)
    {
        for (var again = true; ; again = false)
        {
            await using var context = create();
            var known = (await context.Votes.Select(v => v.Fingerprint).ToListAsync()).ToHashSet(StringComparer.Ordinal);
            var fresh = votes.Where(v => known.Add(v.Fingerprint)).ToList();
            context.Votes.AddRange(fresh);
            try
            {
                await context.SaveChangesAsync();
                return fresh.Count;
            }
            catch (DbUpdateException) when (again) { }   // somebody voted the same meanwhile
        }
    }

    /// <summary>Votes in the order of their coming.</summary>
    public async Task<List<StoredVote>> Votes()
    {
        await using var context = create();
        return await context.Votes.AsNoTracking().OrderBy(v => v.At).ThenBy(v => v.Id).ToListAsync();
    }

    /// <summary>The same vote has the same fingerprint, whichever answer stood first.</summary>
    public static string FingerprintOf(string rater, string prompt, string first, string second, string choice)
    {
        if (string.CompareOrdinal(first, second) > 0) (first, second, choice) = (second, first, choice switch { "first" => "second", "second" => "first", _ => choice });
        return Convert.ToHexString(SHA256.HashData(Encoding.UTF8.GetBytes(string.Join('\0', rater, prompt, first, second, choice))));
    }

    /// <summary>Conversations, the latest first.</summary>
    public async Task<List<StoredConversation>> Conversations(int most = 200)
    {
        await using var context = create();
        return await context.Conversations.AsNoTracking().OrderByDescending(c => c.Updated).Take(most).ToListAsync();
    }

    /// <summary>One of them; null: there is none.</summary>
    public async Task<StoredConversation?> Conversation(Guid id)
    {
        await using var context = create();
        return await context.Conversations.AsNoTracking().FirstOrDefaultAsync(c => c.Id == id);
    }

    /// <summary>Keeps a conversation, new or as it is now.</summary>
    public async Task Keep(Guid id, string title, string model, string messages)
    {
        await using var context = create();
        if (await context.Conversations.FirstOrDefaultAsync(c => c.Id == id) is { } old) (old.Title, old.Model, old.Messages, old.Updated) = (title, model, messages, DateTimeOffset.UtcNow);
        else context.Conversations.Add(new() { Id = id, Title = title, Model = model, Messages = messages });
        await context.SaveChangesAsync();
    }

    /// <summary>Forgets a conversation.</summary>
    public async Task Forget(Guid id)
    {
        await using var context = create();
        await context.Conversations.Where(c => c.Id == id).ExecuteDeleteAsync();
    }
}
