"""`authz completion`: the script with which a shell completes commands, options and names.

Law: click's own scripts. They ask `authz` for each completion, so a new command needs nothing here.
"""

import click
from click.shell_completion import BashComplete, FishComplete, ZshComplete

_SHELLS = {"bash": BashComplete, "zsh": ZshComplete, "fish": FishComplete}
_PROGRAM = "authz"
_VARIABLE = "_AUTHZ_COMPLETE"  # with this name click answers completions by itself


@click.command(short_help="Print a script that completes commands in a shell.")
@click.argument("shell", type=click.Choice([*_SHELLS]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print a script that completes commands, options and names with the Tab key.

    \b
    bash, in ~/.bashrc:
      eval "$(authz completion bash)"
    zsh, in ~/.zshrc:
      eval "$(authz completion zsh)"
    fish, once:
      authz completion fish > ~/.config/fish/completions/authz.fish
    """  # noqa: D301 \b is click's mark for text that must not be rewrapped
    click.echo(_SHELLS[shell](ctx.find_root().command, {}, _PROGRAM, _VARIABLE).source())
