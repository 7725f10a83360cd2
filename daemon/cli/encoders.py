"""`alscope encoders`."""

from __future__ import annotations

import time
from dataclasses import asdict

import click

from daemon.cli.session import Session, config_option, json_option, pass_session


@click.command("encoders")
@json_option
@config_option
@pass_session
def encoders_command(session: Session, as_json: bool) -> None:
    """Every encoder, newest first: which one selects, the figures of its self-test, and why one was refused.

    \b
    Example:
      alscope encoders
      alscope encoders --json | jq '.[] | {state, result}'
    """
    from rich.text import Text

    from daemon.cli.output import print_json, say, table
    from daemon.device import device
    from daemon.policy import idle_encoder_settings
    from daemon.selftest import self_test_words
    from daemon.wording import clock
    from daemon.wording_state import glyph

    found = session.look().encoders[::-1]
    if as_json:
        print_json([asdict(encoder) for encoder in found])
        return
    if not found:
        say("no encoder yet; the first is made once encoder.min_patches patches are there")
        return
    words = {"current": "selects", "embedding": "embeds the pool"}
    rows = [
        [
            e.version,
            e.kind,
            Text.assemble(glyph(e.state), words.get(e.state, e.state)),
            str(e.n_patches),
            clock(e.created_at, time.time()),
            e.reason or self_test_words(e.result),
        ]
        for e in found
    ]
    table(["version", "kind", "state", ">patches", "made", "self-test"], rows, flexible=("self-test",))
    idle = idle_encoder_settings(session.settings.encoder, device(session.settings.run))
    if idle:
        say((f"no autoencoder is trained here, so nothing heeds {', '.join(idle)}: `alscope doctor`", "dim"))
