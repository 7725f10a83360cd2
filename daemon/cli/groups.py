"""Commands and values of options that are named wrongly: the message names the nearest one."""

from __future__ import annotations

from typing import Any

import click

from daemon.nearest import did_you_mean, nearest


class Group(click.Group):
    """A group that guesses what a misspelt subcommand was meant to be."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does, with the nearest name in the message."""
        known = self.list_commands(ctx)
        if not ctx.resilient_parsing and args[0] not in known and not args[0].startswith("-"):
            ctx.fail(f"no such command {args[0]!r}; {self.meant(ctx, args[0])}")
        return super().resolve_command(ctx, args)

    def meant(self, ctx: click.Context, said: str) -> str:
        """What to say of a command that there is not."""
        known = self.list_commands(ctx)
        return did_you_mean(said, known, f"there are {', '.join(known)}")


class Choice(click.Choice[str]):
    """One of a few words; the message for another one names the nearest."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """As click does."""
        try:
            return super().convert(value, param, ctx)
        except click.BadParameter as e:
            near = nearest(str(value), [str(choice) for choice in self.choices])
            hint = f" Did you mean {near!r}?" if near else ""
            raise click.BadParameter(e.message + hint, ctx=ctx, param=param) from None
