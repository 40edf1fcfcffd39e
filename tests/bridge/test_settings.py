"""What a bridge is told: rules between settings, and that the reference tells them."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from rlay.bridge.setting_sources import load_settings
from rlay.bridge.settings import (
    SETTINGS,
    BridgeSettings,
    SettingsError,
    check_settings,
    is_loopback,
)
from rlay.errors import AuthError

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "bridge-settings.md"
SECURE = {"token_file": "t", "tls_cert": "c", "tls_key": "k"}
PINNED = {"token_file": "t", "tls_fingerprint": "ab" * 32}


def check(**options):
    """Settings from options alone."""
    return load_settings(options, {})


# ------------------------------------------------------------------- nothing to do


def test_bridge_that_has_nothing_to_do_shows_an_example():
    """Both commands, for both machines."""
    with pytest.raises(SettingsError) as caught:
        check()
    assert "rlay bridge --listen 0.0.0.0:7450" in str(caught.value)
    assert "rlay bridge --connect HOST:7450" in str(caught.value)


@pytest.mark.parametrize("what", ["listen", "connect"])
def test_bridge_that_listens_or_dials_has_something_to_do(what):
    """On this machine nothing else is needed."""
    check(**{what: ["127.0.0.1:7450"]})


# ------------------------------------------------------------------------ exposure


@pytest.mark.parametrize(
    "host",
    ["0.0.0.0", "[::]", "192.0.2.7", "[2001:db8::7]", "simulator", "10.0.0.1",
     "128.0.0.1", "[::ffff:192.0.2.7]", "localhost.example", "127.0.0.1.example"],
)  # fmt: skip
@pytest.mark.parametrize("what", ["listen", "connect"])
def test_address_that_others_reach_needs_token_and_tls(what, host):
    """Refused without either; the message has the commands that mend it."""
    both = SECURE if what == "listen" else PINNED
    for lacks in ({}, {"token_file": "t"}, both | {"token_file": None}):
        with pytest.raises(AuthError) as caught:
            check(**{what: [f"{host}:7450"]}, **lacks)
        text = str(caught.value)
        assert f"{host}:7450 is refused" in text
        assert (
            f"rlay bridge --{what} {host}:7450 --token-file rlay.token --tls-" in text
        )
        assert "--insecure" in text
    check(**{what: [f"{host}:7450"]}, **both)


@pytest.mark.parametrize(
    ("given", "lacks"),
    [
        ({}, "no token and no TLS."),
        ({"token_file": "t"}, "no TLS."),
        ({"tls_cert": "c", "tls_key": "k"}, "no token."),
    ],
)
def test_refusal_says_what_is_missing(given, lacks):
    """And only that."""
    with pytest.raises(AuthError) as caught:
        check(listen=["0.0.0.0:7450"], **given)
    assert f"there is {lacks}" in str(caught.value)


def test_one_address_that_others_reach_is_enough_to_be_refused():
    """It may stand behind one that they do not."""
    with pytest.raises(AuthError, match=r"0\.0\.0\.0:7450 is refused"):
        check(listen=["127.0.0.1:7450", "0.0.0.0:7450"])


def test_tls_of_the_listener_is_none_for_the_dialer():
    """A certificate of our own does not say whom we talk to."""
    with pytest.raises(AuthError, match="dialing sim:7450 is refused"):
        check(connect=["sim:7450"], **SECURE)


def test_insecure_is_what_the_user_says():
    """Everything is allowed then, health requests too."""
    check(
        listen=["0.0.0.0:7450"],
        connect=["sim:7450"],
        health="0.0.0.0:7451",
        insecure=True,
    )


def test_health_that_others_reach_is_refused():
    """Token and TLS make no difference: it has neither."""
    with pytest.raises(AuthError, match="rlay health"):
        check(listen=["127.0.0.1:0"], health="0.0.0.0:7451", **SECURE)
    check(listen=["127.0.0.1:0"], health="127.0.0.1:7451")


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "127.1.2.3", "::1", "localhost", "LOCALHOST", "::ffff:127.0.0.1"],
)
def test_loopback_is_of_this_machine_alone(host):
    """By its number, or by the one name that means it everywhere."""
    assert is_loopback(host)


# --------------------------------------------------------------------------- rules


@pytest.mark.parametrize("given", ["tls_cert", "tls_key"])
def test_certificate_and_key_go_together(given):
    """The missing one is named."""
    missing = {"tls_cert": "tls_key", "tls_key": "tls_cert"}[given]
    with pytest.raises(SettingsError, match=f"{given} is given without {missing}"):
        check(listen=["127.0.0.1:0"], **{given: "file"})


def test_authority_and_fingerprint_exclude_each_other():
    """One of them would not be checked, silently."""
    with pytest.raises(SettingsError, match="both given"):
        check(connect=["127.0.0.1:1"], tls_ca="ca", tls_fingerprint="ab" * 32)


@pytest.mark.parametrize(
    "given", [{"listen": ["127.0.0.1:0"]}, {"connect": ["127.0.0.1:1"], **SECURE}]
)
def test_authority_of_dialers_needs_a_listener_with_tls(given):
    """It would not be checked, silently."""
    with pytest.raises(SettingsError, match="tls_client_ca"):
        check(tls_client_ca="ca", **given)


def test_link_is_not_dead_after_one_late_heartbeat():
    """The numbers stand in the message."""
    with pytest.raises(SettingsError, match=r"is 3, but .* 2 times heartbeat_s, 4:"):
        check(listen=["127.0.0.1:0"], heartbeat_s="2", dead_after_s="3")
    check(listen=["127.0.0.1:0"], heartbeat_s="2", dead_after_s="4")


def test_port_0_is_nothing_to_dial():
    """To listen at, it is."""
    with pytest.raises(SettingsError, match="nobody listens on port 0"):
        check(connect=["127.0.0.1:0"])
    check(listen=["127.0.0.1:0"])


@pytest.mark.parametrize("prefix", ["../", "a/", ".x", "x" * 64, "sim 1"])
def test_prefix_makes_names_that_are_allowed(prefix):
    """Else no mirror could be made."""
    with pytest.raises(SettingsError, match="prefix"):
        check(connect=["127.0.0.1:1"], prefix=prefix)
    check(connect=["127.0.0.1:1"], prefix="sim1-")


@pytest.mark.parametrize(
    ("descriptors", "links"),
    [(128, 64), (64, 1), (10, 1), (1_000_000, 1024), (-1, 1024)],
)
def test_links_leave_descriptors_for_the_rest(monkeypatch, descriptors, links):
    """By default as many as the system allows, and 1024 at most."""
    monkeypatch.setattr("resource.getrlimit", lambda _: (descriptors, descriptors))
    assert BridgeSettings().links_limit() == links
    assert BridgeSettings(max_links=7).links_limit() == 7


def test_defaults_are_within_their_bounds():
    """Nobody could give them otherwise."""
    for setting in SETTINGS:
        if isinstance(setting.default, (int, float)) and setting.metavar:
            assert setting.least <= setting.default <= setting.most


def test_checked_settings_are_what_came():
    """The check changes nothing."""
    settings = check(listen=["127.0.0.1:0"])
    assert check_settings(settings) is settings


# ----------------------------------------------------------------------- reference


def row(setting):
    """A row of the table in the reference."""
    options = ", ".join(f"`{option}`" for option in setting.options)
    if setting.metavar:
        options = f"`{setting.option} {setting.metavar}`"
    variables = ", ".join(f"`{variable}`" for variable in setting.variables)
    cells = (options, variables, f"`{setting.name}`", setting.shown_default)
    return f"| {' | '.join(cells)} | {setting.text} |"


def test_table_of_the_reference_is_that_of_the_code():
    """Options, variables, keys, defaults and meanings; in this order, and no others."""
    lines = PAGE.read_text().splitlines()
    begin = lines.index("| --- | --- | --- | --- | --- |") + 1
    end = lines.index("", begin)
    assert lines[begin:end] == [row(setting) for setting in SETTINGS]


def test_file_in_the_reference_is_accepted(tmp_path):
    """As it stands."""
    (text,) = re.findall(r"```toml\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert tomllib.loads(text)
    (tmp_path / "bridge.toml").write_text(text)
    settings = load_settings({}, {}, str(tmp_path / "bridge.toml"))
    assert settings.share == ("cartpole*", "sim.*")


def test_settings_load_neither_asyncio_nor_numpy():
    """The command line reads them before it knows whether a bridge is wanted."""
    code = (
        "import sys, rlay.bridge.setting_sources; "
        "sys.exit(bool({'asyncio', 'numpy', 'gymnasium'} & set(sys.modules)))"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
