"""``rlay health``: what a container's health check runs."""

import http.server
import json
import threading
from typing import Any

import pytest

from rlay.cli import main

WELL = {"ok": True, "problem": "", "links": 1}
ILL = {"ok": False, "problem": "it drains"}


@pytest.fixture
def bridge():
    """Something that answers as a bridge does; ``pages`` says what."""
    pages: dict[str, tuple[int, Any]] = {
        "/readyz": (200, WELL),
        "/livez": (200, WELL),
    }

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            status, body = pages[self.path]
            text = body if isinstance(body, bytes) else json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_):
            pass

    server: Any
    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        server.pages = pages
        server.address = f"127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def run(capsys):
    """Run the command; exit code, stdout and stderr."""

    def run_words(*words):
        code = main(["health", *words])
        return (code, *capsys.readouterr())

    return run_words


def test_bridge_that_is_well_is_0(run, bridge):
    """With the facts on stdout."""
    code, out, err = run("--health", bridge.address)
    assert (code, json.loads(out), err) == (0, WELL, "")


def test_bridge_that_is_not_well_is_1(run, bridge):
    """With the reason."""
    bridge.pages["/readyz"] = (503, ILL)
    assert run("--health", bridge.address) == (1, "", "not well: it drains\n")
    assert run("--health", bridge.address, "--live")[0] == 0


def test_bridge_that_does_not_answer_is_1(run, bridge):
    """It is not there, or somebody else is."""
    bridge.pages["/readyz"] = (200, b"<html>")
    code, _, err = run("--health", bridge.address)
    assert (code, "is no bridge's health address" in err) == (1, True)
    code, _, err = run("--health", "127.0.0.1:1")
    assert (code, "no answer from 127.0.0.1:1" in err) == (1, True)


def test_address_is_that_of_the_bridge(run, bridge, monkeypatch, tmp_path):
    """By the same variable and the same file."""
    monkeypatch.setenv("RLAY_BRIDGE_HEALTH", bridge.address)
    assert run()[0] == 0
    monkeypatch.delenv("RLAY_BRIDGE_HEALTH")
    path = tmp_path / "b.toml"
    path.write_text(f'health = "{bridge.address}"\nlisten = "127.0.0.1:1"\n')
    assert run("--config", str(path))[0] == 0


def test_without_an_address_it_is_called_wrongly(run):
    """Exit code 2, with both ways to give it."""
    code, _, err = run()
    assert code == 2
    assert "RLAY_BRIDGE_HEALTH" in err
