namespace Lect.Text;

/// <summary>
/// What a person or a file gave cannot be used. The message says what was found, what was expected and what to do;
/// the command line prints it and exits with 2.
/// </summary>
public sealed class InvalidInputException : Exception
{
    /// <summary>An error with its message.</summary>
    public InvalidInputException(string message) : base(message) { }

    /// <summary>An error with its message and cause.</summary>
    public InvalidInputException(string message, Exception inner) : base(message, inner) { }

    /// <summary>An error without a message.</summary>
    public InvalidInputException() { }
}
