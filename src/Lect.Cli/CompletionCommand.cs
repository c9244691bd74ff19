using System.CommandLine;

namespace Lect;

/// <summary>lect completion: scripts that let a shell complete verbs and options; they ask the tool itself.</summary>
internal static class CompletionCommand
{
    private const string Bash = """
        _lect() {
            local IFS=$'\n'
            COMPREPLY=($(compgen -W "$(lect "[suggest:${COMP_POINT}]" "${COMP_LINE}" 2>/dev/null)" -- "${COMP_WORDS[COMP_CWORD]}"))
        }
        complete -o default -F _lect lect
        """;

    private const string Zsh = """
        #compdef lect
        _lect() {
            local -a found
            found=("${(@f)$(lect "[suggest:${#BUFFER}]" "$BUFFER" 2>/dev/null)}")
            if [[ -n "$found" ]]; then compadd -a found; else _files; fi
        }
        compdef _lect lect
        """;

    private const string Fish = """
        complete -c lect -a '(set -l line (commandline -cp); lect "[suggest:"(string length -- "$line")"]" "$line" 2>/dev/null)'
        """;

    private const string PowerShell = """
        Register-ArgumentCompleter -Native -CommandName lect -ScriptBlock {
            param($word, $ast, $position)
            lect "[suggest:$position]" "$ast" | Where-Object { $_ -like "$word*" } | ForEach-Object { [System.Management.Automation.CompletionResult]::new($_) }
        }
        """;

    public static Command Create()
    {
        var shell = new Argument<string>("shell") { Description = "bash, zsh, fish or pwsh" };
        shell.AcceptOnlyFromAmong("bash", "zsh", "fish", "pwsh");
        var command = new Command("completion", "Print a script that completes verbs and options. Example: eval \"$(lect completion bash)\"") { shell };
        command.SetAction(int (parsed) =>
        {
            Console.WriteLine(parsed.GetValue(shell) switch { "bash" => Bash, "zsh" => Zsh, "fish" => Fish, _ => PowerShell });
            return 0;
        });
        return command;
    }
}
