"""``rlay doctor``: what is wrong, and what to do about it."""

import json
import os
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Final

import click

from rlay.bridge.setting_sources import gather_settings
from rlay.bridge.settings import SETTINGS, BridgeSettings, SettingsError
from rlay.cli.bridge import setting_option
from rlay.cli.findings import Finding, Level, problem, run_checks
from rlay.cli.words import FAILED, directory_option, json_option
from rlay.errors import AuthError, ChannelError
from rlay.protocol.addresses import Endpoint, parse_endpoint
from rlay.transport.credentials import (
    TOKEN_FILE_VARIABLE,
    Credentials,
    from_environment,
    load_token,
)

_OF_A_DIALER: Final = (
    "token_file", "tls", "tls_ca", "tls_fingerprint", "tls_cert", "tls_key"
)  # fmt: skip
_COLORS: Final = {Level.OK: "green", Level.WARNING: "yellow", Level.PROBLEM: "red"}


def _dialer_options(command: Callable[..., Any]) -> Callable[..., Any]:
    for setting in reversed(SETTINGS):
        if setting.name in _OF_A_DIALER:
            command = setting_option(setting)(command)
    return command


class _Place(click.ParamType):  # type: ignore[type-arg]  # older ones have none
    """``HOST:PORT``."""

    name = "HOST:PORT"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> Endpoint:
        """Return the endpoint; fail with what is wrong with it."""
        try:
            return parse_endpoint(value)
        except ChannelError as error:
            self.fail(str(error))


@click.command()
@click.option(
    "--peer", metavar="HOST:PORT", type=_Place(), help="A bridge to go to, in stages."
)
@click.option("--channel", metavar="NAME", help="A channel to look for at the peer.")
@click.option(
    "--config",
    metavar="FILE",
    help="The bridge's file of settings. Default: $RLAY_BRIDGE_CONFIG.",
)
@_dialer_options
@json_option
@directory_option
def doctor(
    peer: Endpoint | None,
    channel: str | None,
    config: str | None,
    as_json: bool,
    directory: str | None,
    **options: Any,
) -> int:
    """Look for what commonly goes wrong, here or on the way to another machine.

    Every line that is not ok says what to do. Exit code 1: there is a problem.
    """
    options["directory"] = directory
    findings = _findings(peer, channel, config, options)
    found = []
    for finding in findings:
        found.append(finding)
        if not as_json:
            _print(finding)
    if as_json:
        click.echo(json.dumps([each._asdict() for each in found], indent=2))
    return FAILED if any(each.level is Level.PROBLEM for each in found) else 0


def _findings(
    peer: Endpoint | None,
    channel: str | None,
    config: str | None,
    options: dict[str, Any],
) -> Iterator[Finding]:
    try:
        settings = gather_settings(options, config=config)
    except SettingsError as error:
        yield problem("settings", str(error), "mend it, or take it away")
        settings = BridgeSettings(directory=options["directory"])
    if peer is None:
        yield from run_checks(_of_this_machine(settings))
    else:
        yield from run_checks([partial(_go, peer, channel, settings)])


def _of_this_machine(settings: BridgeSettings) -> list[Callable[[], Iterator[Finding]]]:
    from rlay.cli import doctor_bridge, doctor_machine

    return [
        doctor_machine.versions,
        partial(doctor_machine.directory, settings.directory),
        doctor_machine.limits,
        partial(doctor_machine.channels, settings.directory),
        partial(doctor_bridge.settings, settings),
        partial(doctor_bridge.token, settings),
        partial(doctor_bridge.certificates, settings),
        partial(doctor_bridge.running, settings.directory),
    ]


def _go(
    endpoint: Endpoint, channel: str | None, settings: BridgeSettings
) -> Iterator[Finding]:
    from rlay.cli.doctor_peer import Journey, peer

    try:
        credentials = _credentials(settings)
    except AuthError as error:
        yield problem("token", str(error), "mend the file, or name another one")
        return
    tls = settings.dials_tls or bool(credentials.ca or credentials.fingerprint)
    yield from peer(Journey(endpoint, tls, credentials, channel))


def _credentials(settings: BridgeSettings) -> Credentials:
    """Return those of the settings, and what they lack from the environment."""
    here = from_environment({**os.environ, TOKEN_FILE_VARIABLE: ""})
    path = settings.token_file
    checked = settings.tls_ca or settings.tls_fingerprint
    return Credentials(
        token=None if path is None else load_token(path),
        ca=settings.tls_ca if checked else here.ca,
        fingerprint=settings.tls_fingerprint if checked else here.fingerprint,
        cert=settings.tls_cert or here.cert,
        key=settings.tls_key or here.key,
    )


def _print(finding: Finding) -> None:
    level = click.style(f"{finding.level:<8}", fg=_COLORS.get(finding.level))
    click.echo(f"{level} {finding.check}: {finding.text}")
    if finding.fix:
        click.echo(f"{'':8} fix: {finding.fix}")
