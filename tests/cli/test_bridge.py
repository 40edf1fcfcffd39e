"""``rlay bridge``: from words to settings, and what comes back."""

import logging

import pytest

import rlay.bridge
from rlay.cli import main
from rlay.protocol.addresses import Endpoint


@pytest.fixture(autouse=True)
def _restored():
    """Give other tests the loggers as they were."""
    loggers = [logging.getLogger(name) for name in ("rlay", "asyncio")]
    before = [(log.handlers, log.propagate, log.level) for log in loggers]
    yield
    for log, (handlers, propagate, level) in zip(loggers, before, strict=True):
        for handler in log.handlers:
            if handler not in handlers:
                handler.close()
        log.handlers, log.propagate = handlers, propagate
        log.setLevel(level)


@pytest.fixture
def run(capsys, monkeypatch):
    """Run the command with a bridge that only takes its settings."""
    found = []

    def take(settings):
        found.append(settings)
        return 5

    monkeypatch.setattr(rlay.bridge, "run", take, raising=False)
    for name in ("LISTEN", "CONFIG", "TOKEN_FILE"):
        monkeypatch.delenv(f"RLAY_BRIDGE_{name}", raising=False)

    def run_words(*words):
        found.clear()
        code = main(["bridge", *words])
        return code, (found[0] if found else None), capsys.readouterr().err

    return run_words


def test_options_become_settings(run):
    """Given once or several times; the bridge's exit code is the command's."""
    code, settings, err = run(
        "--listen", "127.0.0.1:0", "--listen", "[::1]:7", "--share", "a*",
        "--heartbeat-s", "0.5", "--max-channels", "9", "--verbose",
    )  # fmt: skip
    assert (code, err) == (5, "")
    assert settings.listen == (Endpoint("127.0.0.1", 0), Endpoint("::1", 7))
    assert settings.share == ("a*",)
    assert settings.heartbeat_s == 0.5
    assert settings.max_channels == 9
    assert settings.verbose


def test_switch_can_be_turned_off_again(run, monkeypatch):
    """Where the environment turned it on."""
    monkeypatch.setenv("RLAY_BRIDGE_VERBOSE", "1")
    assert run("--listen", "127.0.0.1:0")[1].verbose
    assert not run("--listen", "127.0.0.1:0", "--no-verbose")[1].verbose


def test_file_is_named_by_an_option(run, tmp_path):
    """The command line goes before it."""
    path = tmp_path / "b.toml"
    path.write_text('listen = "127.0.0.1:1"\nprefix = "a-"\n')
    settings = run("--config", str(path), "--prefix", "b-")[1]
    assert settings.listen == (Endpoint("127.0.0.1", 1),)
    assert settings.prefix == "b-"


def test_bridge_with_nothing_to_do_is_called_wrongly(run):
    """Exit code 2, with an example of both commands."""
    code, settings, err = run()
    assert (code, settings) == (2, None)
    assert "rlay bridge --listen" in err
    assert "rlay bridge --connect" in err


def test_wrong_setting_is_called_wrongly(run):
    """Exit code 2, with the option's name."""
    code, settings, err = run("--listen", "nowhere:99999")
    assert (code, settings) == (2, None)
    assert "--listen: '99999' is no port" in err


def test_bridge_that_others_reach_is_refused(run):
    """Exit code 78, with the commands that mend it; --insecure insists."""
    words = ["--listen", "0.0.0.0:7450"]
    code, settings, err = run(*words)
    assert (code, settings) == (78, None)
    assert "rlay token new" in err
    assert "rlay cert new" in err
    assert run(*words, "--insecure")[0] == 5


def test_token_is_no_option(run):
    """It would be seen by everybody; the right one is named."""
    code, _, err = run("--token", "0123456789abcdef")
    assert code == 2
    assert "--token-file" in err


def test_log_is_written_as_json_if_asked(run, monkeypatch, capsys):
    """One object a line, on stderr."""

    def log(settings):
        logging.getLogger("rlay.bridge").info("link to %s is up", "sim")
        logging.getLogger("rlay").handlers[0].close()
        return 0

    monkeypatch.setattr(rlay.bridge, "run", log, raising=False)
    assert main(["bridge", "--listen", "127.0.0.1:0", "--log-json"]) == 0
    assert '"event": "link to sim is up"' in capsys.readouterr().err
    assert main(["bridge", "--listen", "127.0.0.1:0"]) == 0
    assert capsys.readouterr().err.endswith("Z INFO link to sim is up\n")
