"""``rlay health``: is the bridge of this machine well? For container health checks."""

import http.client
import json
from typing import Any, Final

import click

from rlay.bridge.setting_sources import gather_settings
from rlay.bridge.settings import SettingsError
from rlay.cli.words import FAILED
from rlay.protocol.addresses import Endpoint

_LIMIT_S: Final = 3.0
_MOST_BYTES: Final = 64 * 1024


@click.command()
@click.option(
    "--health",
    metavar="HOST:PORT",
    help="Where the bridge answers. Default: as the bridge itself is told, by "
    "$RLAY_BRIDGE_HEALTH or by the file.",
)
@click.option(
    "--config",
    metavar="FILE",
    help="The bridge's file of settings. Default: $RLAY_BRIDGE_CONFIG.",
)
@click.option(
    "--live", is_flag=True, help="Only ask whether it lives, not if it is ready."
)
def health(health: str | None, config: str | None, live: bool) -> int:
    """Ask the bridge of this machine whether it is ready.

    Exit code 0: it is. 1: it is not, or it does not answer.
    """
    try:
        settings = gather_settings({"health": health}, config=config)
    except SettingsError as error:
        raise click.UsageError(str(error)) from None
    if settings.health is None:
        raise click.UsageError(
            "nobody said where the bridge answers. Give the bridge and this command "
            "the same address: --health 127.0.0.1:7451, or RLAY_BRIDGE_HEALTH"
        )
    page = "/livez" if live else "/readyz"
    problem, facts = _ask(settings.health, page)
    if problem:
        click.echo(f"not well: {problem}", err=True)
        return FAILED
    click.echo(json.dumps(facts))
    return 0


def _ask(endpoint: Endpoint, page: str) -> tuple[str, dict[str, Any]]:
    """Return what is wrong, "" if nothing is, and what the bridge said."""
    connection = http.client.HTTPConnection(
        endpoint.host, endpoint.port, timeout=_LIMIT_S
    )
    try:
        connection.request("GET", page)
        answer = connection.getresponse()
        facts = json.loads(answer.read(_MOST_BYTES))
        ok = answer.status == http.HTTPStatus.OK and facts["ok"] is True
        return ("" if ok else str(facts["problem"])), facts
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "strerror", None) or str(error) or repr(error)
        return f"no answer from {endpoint}: {reason}", {}
    except (ValueError, KeyError, TypeError):
        return f"{endpoint} is no bridge's health address", {}
    finally:
        connection.close()
