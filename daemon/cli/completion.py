"""`alscope completion`: a script for the shell that completes commands, options, and names from the workspace."""

from __future__ import annotations

import sys

import click

from daemon.cli.groups import Choice

VARIABLE = "_ALSCOPE_COMPLETE"
INSTALL = {
    "bash": "mkdir -p ~/.local/share/bash-completion/completions && "
    "alscope completion bash > ~/.local/share/bash-completion/completions/alscope",
    "zsh": "mkdir -p ~/.zfunc && alscope completion zsh > ~/.zfunc/_alscope; "
    "and before compinit in ~/.zshrc: fpath=(~/.zfunc $fpath)",
    "fish": "mkdir -p ~/.config/fish/completions && alscope completion fish > ~/.config/fish/completions/alscope.fish",
}
"""What to type, once, by shell."""


@click.command("completion")
@click.argument("shell", type=Choice(tuple(INSTALL)), metavar="bash|zsh|fish")
def completion_command(shell: str) -> None:
    """Print the script that lets a shell complete commands, options, and the ids of suggestions, jobs, models and volumes.

    Install it once, and open a new terminal; ids are those of the workspace that config.toml, $ALSCOPE_CONFIG or --config names.
    In zsh, ~/.zshrc needs fpath=(~/.zfunc $fpath) before compinit. bash needs version 4.4 or newer, with its package
    bash-completion.

    \b
    Examples:
      alscope completion bash > ~/.local/share/bash-completion/completions/alscope
      alscope completion zsh > ~/.zfunc/_alscope
      alscope completion fish > ~/.config/fish/completions/alscope.fish
      eval "$(alscope completion bash)"
    """
    from click.shell_completion import get_completion_class

    from daemon.cli.main import alscope

    kind = get_completion_class(shell)
    assert kind is not None
    made = kind(alscope, {}, "alscope", VARIABLE)
    click.echo(kind.source_template % made.source_vars())
    if sys.stdout.isatty():
        click.echo(f"\nTo install it: {INSTALL[shell]}", err=True)
