"""What a running bridge tells: its pages, its counters, and rlay ls."""

import contextlib
import http.client
import json
import re
import sys
from pathlib import Path

import pytest

import rlay
from rlay.bridge.status import clean_status
from rlay.cli import main
from rlay.transport.bridge_status import PRESENCE_FILE, STATUS_FILE, read_status
from rlay.transport.mem_server import MemServer
from tests.support.bridge_child import LIMIT_S, BridgeChild
from tests.support.waiting import wait_until

FAST = ("--heartbeat-s", "0.1", "--dead-after-s", "5")


def serve(name: str) -> None:
    rlay.ServerBackend("CartPole-v1", name=name).run()


@pytest.fixture
def watched(children):
    """A bridge with health."""
    served = BridgeChild(children, "--health", "127.0.0.1:0", *FAST)
    yield served
    served.end()


@pytest.fixture
def dialer(children, watched, tmp_path):
    """Another bridge, of another machine, which dials that one and one nobody is."""
    directory = tmp_path / "far"
    directory.mkdir(mode=0o700)
    words = [sys.executable, "-m", "rlay", "bridge", "--directory", directory, *FAST]
    words += ["--connect", f"127.0.0.1:{watched.port}", "--connect", "127.0.0.1:1"]
    child = children.start_command([*words, "--health", "127.0.0.1:0"], forever=True)
    wait_until(lambda: "is up" in child.stderr, LIMIT_S)
    child.directory = directory
    return child


def get(address, page):
    """Status and text of a page."""
    connection = http.client.HTTPConnection(address, timeout=LIMIT_S)
    connection.request("GET", page)
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    return answer.status, text


def metrics(address):
    """Numbers by name and labels."""
    lines = get(address, "/metrics")[1].splitlines()
    pairs = (line.rpartition(" ") for line in lines if not line.startswith("#"))
    return {name: float(value) for name, _, value in pairs}


def health_of(child):
    found = re.search(r"health at http://([0-9.:]+)/", child.stderr)
    assert found
    return found[1]


# --------------------------------------------------------------------------- health


def test_bridge_alone_is_well(watched):
    """Both pages, and the command; nobody has to be linked for that."""
    for page in ("/livez", "/readyz"):
        status, text = get(watched.health(), page)
        assert (status, json.loads(text)["ok"]) == (200, True)
    assert main(["health", "--health", watched.health()]) == 0


def test_link_that_is_down_fails_neither_page(dialer, watched):
    """It stands in the facts: a restart would not bring the other machine back."""
    address = health_of(dialer)
    assert get(address, "/livez")[0] == 200
    status, text = get(address, "/readyz")
    assert status == 200
    assert json.loads(text)["down"] == {"127.0.0.1:1": "nobody listens there"}


# -------------------------------------------------------------------------- metrics


def test_metrics_count_links_and_bytes(dialer, watched):
    """On both sides; the address in a label is the one that was dialed."""
    near, far = watched.health(), health_of(dialer)
    wait_until(lambda: metrics(near)['rlay_links{kind="accepted"}'] == 1, LIMIT_S)
    assert metrics(near)['rlay_links{kind="dialed"}'] == 0
    found = metrics(far)
    assert found[f'rlay_link_up{{address="127.0.0.1:{watched.port}"}}'] == 1
    assert found['rlay_link_up{address="127.0.0.1:1"}'] == 0
    assert found['rlay_bytes_total{dir="sent"}'] > 0
    assert found['rlay_bytes_total{dir="received"}'] > 0
    assert found["process_open_fds"] > 0
    median = f'{{address="127.0.0.1:{watched.port}",quantile="0.5"}}'
    name = "rlay_link_round_trip_seconds" + median
    assert wait_until(lambda: metrics(far).get(name), LIMIT_S) > 0


def test_metrics_count_channels(dialer, watched):
    """Shared here, mirrored there."""
    server = MemServer.create("cart")
    far = health_of(dialer)
    wait_until(lambda: metrics(far)['rlay_channels{kind="mirrored"}'] == 1, LIMIT_S)
    assert metrics(watched.health())['rlay_channels{kind="shared"}'] == 1
    server.close()


def test_metrics_count_steps_and_their_time(dialer, watched, children):
    """On the side that asks; a histogram, cumulative as Prometheus has it."""
    children.start(serve, "cart", forever=True)
    env = rlay.ClientEnv("cart", directory=dialer.directory)
    env.reset(seed=1)
    for _ in range(5):
        env.step(0)
    found = metrics(health_of(dialer))
    assert found["rlay_step_seconds_count"] == 6
    assert found['rlay_step_seconds_bucket{le="+Inf"}'] == 6
    assert 0 < found["rlay_step_seconds_sum"] < 6 * LIMIT_S
    assert found['rlay_steps_total{dir="request"}'] == 6
    assert found["rlay_sessions_total"] == 1
    answered = metrics(watched.health())
    assert answered["rlay_step_seconds_count"] == 0
    assert answered['rlay_steps_total{dir="reply"}'] == 6
    env.close()


@pytest.mark.leaves_files
def test_metrics_count_an_environment_that_is_lost(dialer, watched, children):
    """By whether a request in flight was executed: here there is none."""
    child = children.start(serve, "cart", forever=True)
    env = rlay.ClientEnv("cart", directory=dialer.directory)
    env.reset(seed=1)
    far = health_of(dialer)
    assert metrics(far)["rlay_slot_bytes"] > 0
    child.kill()
    name = 'rlay_env_lost_total{executed="no"}'
    assert wait_until(lambda: metrics(far).get(name), LIMIT_S) == 1
    assert metrics(far)["rlay_slot_bytes"] == 0
    env.close()


def test_d1_metrics_count_strangers_by_reason(watched):
    """D1: and nothing that they wrote becomes a label."""
    with contextlib.suppress(OSError, http.client.HTTPException):
        get(f"127.0.0.1:{watched.port}", "/" + "evil" * 10)
    found = wait_until(
        lambda: {
            name: count
            for name, count in metrics(watched.health()).items()
            if name.startswith("rlay_protocol_errors_total")
        },
        LIMIT_S,
    )
    assert found == {'rlay_protocol_errors_total{kind="RemoteProtocolError"}': 1}
    assert "evil" not in get(watched.health(), "/metrics")[1]


def test_every_metric_is_in_the_reference(watched):
    """By its name."""
    page = Path(__file__).parents[2] / "docs" / "reference" / "bridge-settings.md"
    text = get(watched.health(), "/metrics")[1]
    names = set(re.findall(r"^# TYPE (rlay_\w+) ", text, re.MULTILINE))
    assert len(names) > 15
    assert {name for name in names if f"`{name}" not in page.read_text()} == set()


# ------------------------------------------------------------------------------- ls


def test_ls_shows_the_links(dialer, watched, capsys):
    """Who is there, how far away, and what is wrong with the other one."""

    def listed():
        capsys.readouterr()
        assert main(["ls", "--directory", str(dialer.directory)]) == 0
        return capsys.readouterr().out

    out = wait_until(lambda: (text := listed()).count(" ms") == 2 and text, LIMIT_S)
    rows = {line.split()[1]: line for line in out.splitlines() if line[:3] == "to "}
    assert " up " in rows[f"127.0.0.1:{watched.port}"]
    assert "(bridge, plain)" in rows[f"127.0.0.1:{watched.port}"]
    assert " down " in rows["127.0.0.1:1"]
    assert "nobody listens there" in rows["127.0.0.1:1"]
    assert "sessions 0, resumes 0, reconnects 0" in out


def test_ls_of_links_is_json_if_asked(watched, capsys):
    """All that the bridge says."""
    status = wait_until(read_status, LIMIT_S)
    assert status
    capsys.readouterr()
    assert main(["ls", "--links", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["pid"] == status["pid"] == watched.child.pid
    assert found["listening"] == [f"127.0.0.1:{watched.port}"]


def test_ls_of_links_without_a_bridge_says_so(channel_directory, capsys):
    """Exit code 1."""
    assert main(["ls", "--links"]) == 1
    assert f"no bridge serves {channel_directory}" in capsys.readouterr().err


@pytest.mark.leaves_files
def test_what_a_killed_bridge_said_is_not_believed(children, channel_directory):
    """Its lock is free."""
    served = BridgeChild(children)
    wait_until(read_status, LIMIT_S)
    served.child.kill()
    assert (channel_directory / STATUS_FILE).exists()
    assert read_status() is None


@pytest.mark.leaves_files
def test_clean_removes_what_a_killed_bridge_said(children, channel_directory, capsys):
    """Its number stays, for the next bridge."""
    served = BridgeChild(children)
    wait_until(read_status, LIMIT_S)
    served.child.kill()
    hidden = channel_directory / f"{STATUS_FILE}.new"
    hidden.write_bytes(b"{")
    for verb, options in (("would remove", ["--dry-run"]), ("removed", [])):
        assert {each.name for each in channel_directory.iterdir()} == {
            PRESENCE_FILE, STATUS_FILE, hidden.name,
        }  # fmt: skip
        capsys.readouterr()
        assert main(["clean", *options]) == 0
        out = capsys.readouterr().out
        assert f"{verb} {channel_directory / STATUS_FILE} (" in out
        assert out.count("no bridge holds its lock") == 2
    assert [each.name for each in channel_directory.iterdir()] == [PRESENCE_FILE]
    assert main(["clean"]) == 0
    assert "nothing to remove" in capsys.readouterr().out


def test_clean_leaves_a_living_bridge_alone(watched, channel_directory):
    """It holds its lock."""
    wait_until(read_status, LIMIT_S)
    assert clean_status() == []
    assert read_status() is not None


def test_clean_removes_what_was_said_where_the_number_is_gone(channel_directory):
    """Without that file there is no bridge."""
    path = channel_directory / STATUS_FILE
    path.write_bytes(b"{}")
    (removal,) = clean_status()
    assert (removal.name, removal.size_bytes) == (STATUS_FILE, 2)
    assert not path.exists()


def test_bridge_that_ends_leaves_no_file(children, channel_directory):
    """Nor a half-written one."""
    served = BridgeChild(children)
    wait_until(read_status, LIMIT_S)
    served.end()
    assert list(channel_directory.iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"version": 99}'])
def test_status_that_is_none_is_not_shown(watched, channel_directory, content):
    """Such as that of another version."""
    wait_until(read_status, LIMIT_S)
    watched.child.send_signal(19)  # SIGSTOP: it writes no more
    path = channel_directory / STATUS_FILE
    path.write_bytes(content)
    assert read_status() is None
    watched.child.send_signal(18)


# ------------------------------------------------------------------- log and memory


def test_log_says_which_channel_and_which_peer(children):
    """As fields of a JSON object, beside the sentence."""
    served = BridgeChild(children, "--log-json")
    server = MemServer.create("cart")
    served.until_logged("channel 'cart' is here")
    server.close()
    served.until_logged("channel 'cart' is gone")
    served.end()
    found = [json.loads(line) for line in served.child.stderr.splitlines()]
    assert [each["channel"] for each in found if "channel" in each] == ["cart"] * 2
    assert all({"ts", "level", "event", "logger"} <= set(each) for each in found)


def test_running_bridge_has_no_numpy_and_no_gymnasium(watched):
    """Health and its metrics included: no library of theirs is mapped."""
    get(watched.health(), "/metrics")
    maps = Path(f"/proc/{watched.child.pid}/maps").read_text()
    assert "uvloop" in maps  # else this would prove nothing
    assert "numpy" not in maps  # nor gymnasium, which cannot be without it
