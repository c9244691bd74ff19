using Microsoft.EntityFrameworkCore;
using Microsoft.EntityFrameworkCore.Design;
using Microsoft.EntityFrameworkCore.Storage.ValueConversion;

namespace Lect.Studio;

/// <summary>Which of two answers somebody prefers.</summary>
public sealed class StoredVote
{
    /// <summary>Key.</summary>
    public Guid Id { get; init; } = Guid.CreateVersion7();
    /// <summary>When, UTC.</summary>
    public DateTimeOffset At { get; init; } = DateTimeOffset.UtcNow;
    /// <summary>Who; no address is kept.</summary>
    public required string Rater { get; init; }
    /// <summary>The conversation before the answers, as JSON.</summary>
    public required string Prompt { get; init; }
    /// <summary>The answer that stood first, and the second.</summary>
    public required string First { get; init; }
    /// <summary>The other.</summary>
    public required string Second { get; init; }
    /// <summary>Who gave the first.</summary>
    public required string FirstModel { get; init; }
    /// <summary>Who gave the second.</summary>
    public required string SecondModel { get; init; }
    /// <summary><c>first</c>, <c>second</c>, <c>tie</c> or <c>bad</c> (both).</summary>
    public required string Choice { get; init; }
    /// <summary>Why.</summary>
    public string? Comment { get; init; }
    /// <summary>Hash of prompt, answers, rater and choice: the same vote counts once.</summary>
    public required string Fingerprint { get; init; }
}

/// <summary>A conversation that is kept.</summary>
public sealed class StoredConversation
{
    /// <summary>Key.</summary>
    public Guid Id { get; init; } = Guid.CreateVersion7();
    /// <summary>Its beginning.</summary>
    public required string Title { get; set; }
    /// <summary>With whom.</summary>
    public required string Model { get; set; }
    /// <summary>Turns as JSON, the system's first where there is one.</summary>
    public required string Messages { get; set; }
    /// <summary>When it was last changed, UTC.</summary>
    public DateTimeOffset Updated { get; set; } = DateTimeOffset.UtcNow;
}

/// <summary>What the studio keeps. One model of data for two databases, each with its migrations.</summary>
public abstract class StudioDb(DbContextOptions options) : DbContext(options)
{
    /// <summary>Every vote.</summary>
    public DbSet<StoredVote> Votes => Set<StoredVote>();
    /// <summary>Every conversation.</summary>
    public DbSet<StoredConversation> Conversations => Set<StoredConversation>();

    /// <inheritdoc/>
    protected override void OnModelCreating(ModelBuilder modelBuilder)
    {
        modelBuilder.Entity<StoredVote>(vote =>
        {
            vote.HasIndex(v => v.Fingerprint).IsUnique();
            vote.HasIndex(v => v.At);
            vote.Property(v => v.Rater).HasMaxLength(100);
            vote.Property(v => v.Choice).HasMaxLength(10);
        });
        modelBuilder.Entity<StoredConversation>().HasIndex(c => c.Updated);
    }
}

/// <summary>A file.</summary>
public sealed class SqliteDb(DbContextOptions<SqliteDb> options) : StudioDb(options)
{
    /// <inheritdoc/>
    protected override void ConfigureConventions(ModelConfigurationBuilder configurationBuilder) => configurationBuilder.Properties<DateTimeOffset>().HaveConversion<DateTimeOffsetToBinaryConverter>();   // SQLite cannot order the others
}

/// <summary>A server.</summary>
public sealed class PostgresDb(DbContextOptions<PostgresDb> options) : StudioDb(options);

internal sealed class SqliteFactory : IDesignTimeDbContextFactory<SqliteDb>
{
    public SqliteDb CreateDbContext(string[] args) => new(new DbContextOptionsBuilder<SqliteDb>().UseSqlite("Data Source=design.db").Options);
}

internal sealed class PostgresFactory : IDesignTimeDbContextFactory<PostgresDb>
{
    public PostgresDb CreateDbContext(string[] args) => new(new DbContextOptionsBuilder<PostgresDb>().UseNpgsql("Host=localhost").Options);
}
