"""``rlay doctor`` on this machine: each sickness is found, and has its remedy."""

import datetime
import json
import os
import sys
from importlib.metadata import version

import pytest

from rlay.bridge.settings import BridgeSettings
from rlay.cli import doctor_bridge, doctor_machine, main
from rlay.cli.findings import Level, info, run_checks
from rlay.protocol.addresses import Endpoint
from rlay.transport.mem_server import MemServer
from tests.support.bridge_child import LIMIT_S, BridgeChild
from tests.support.certificates import Authority
from tests.support.waiting import wait_until

NOW = datetime.datetime.now(datetime.UTC)
DAY = datetime.timedelta(days=1)


@pytest.fixture
def run(capsys, channel_directory, monkeypatch):
    """Run the command; exit code, and findings."""
    for name in list(os.environ):
        if name.startswith(("RLAY_BRIDGE_", "RLAY_T")):
            monkeypatch.delenv(name)

    def run_words(*words):
        capsys.readouterr()
        code = main(["doctor", "--json", *words])
        return code, json.loads(capsys.readouterr().out)

    return run_words


def of(findings, check):
    return [each for each in findings if each["check"] == check]


def only(findings):
    (found,) = findings
    return found


def test_machine_that_is_well_has_no_problem(run):
    """Exit code 0; nothing without its remedy."""
    code, found = run()
    assert code == 0
    assert {each["level"] for each in found} <= {"ok", "info", "warning"}
    assert all(each["fix"] for each in found if each["level"] == "warning")
    checks = {each["check"] for each in found}
    assert {"versions", "directory", "space", "memory", "channels"} <= checks


def test_findings_are_printed_with_their_fix(capsys, channel_directory, monkeypatch):
    """One line each, and one for what to do."""
    monkeypatch.setenv("RLAY_BRIDGE_LISTEN", "0.0.0.0:7450")
    assert main(["doctor"]) == 1
    out = capsys.readouterr().out
    assert "ok       versions: rlay " in out
    assert "problem  settings: listening at 0.0.0.0:7450 is refused" in out
    assert "         fix: " in out


def test_check_that_stumbles_does_not_stop_the_others():
    """It says what happened to it."""

    def broken_check():
        raise ZeroDivisionError("x")

    found = list(run_checks([broken_check, lambda: [info("b", "c")]]))
    assert [each.level for each in found] == [Level.WARNING, Level.INFO]
    assert "ZeroDivisionError: x" in found[0].text
    assert found[0].check == "broken check"


# ----------------------------------------------------------------------- directory


@pytest.mark.leaves_files
def test_directory_of_others_is_a_problem(run, channel_directory):
    """With what ls -l says."""
    inner = channel_directory / f"rlay-{os.geteuid()}"
    inner.mkdir()
    inner.chmod(0o777)
    channel_directory.chmod(0o777)
    code, found = run()
    assert code == 1
    assert "is not ours alone" in only(of(found, "directory"))["text"]


def test_b16_directory_is_told_by_device_and_inode(run, channel_directory):
    """Two containers that see other numbers do not share it."""
    facts = os.stat(channel_directory)
    _, found = run()
    (told,) = (each["text"] for each in found if "inode" in each["text"])
    assert f"device {facts.st_dev}, inode {facts.st_ino}" in told


def test_directory_that_is_not_there_is_no_problem(run, tmp_path):
    """It will be made; unless that cannot be."""
    code, found = run("--directory", str(tmp_path / "new"))
    assert (code, of(found, "directory")[0]["level"]) == (0, "info")
    code, found = run("--directory", str(tmp_path / "a" / "b"))
    assert (code, of(found, "directory")[1]["level"]) == (1, "problem")


MOUNTS = """\
/dev/vda / ext4 rw 0 0
tmpfs /dev/shm tmpfs rw 0 0
disk /mnt/with\\040space xfs rw 0 0
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/dev/shm", "tmpfs"),
        ("/dev/shm/rlay-0", "tmpfs"),
        ("/dev/shmother", "ext4"),
        ("/mnt/with space/x", "xfs"),
    ],
)
def test_file_system_is_that_of_the_nearest_mount(path, kind):
    """By whole names."""
    assert doctor_machine.file_system_of(path, MOUNTS) == kind


@pytest.mark.parametrize(
    ("kind", "blocks", "free", "level"),
    [
        ("tmpfs", 1000, 900, "ok"),
        ("tmpfs", 64, 64, "warning"),
        ("tmpfs", 1000, 10, "problem"),
    ],
)
def test_space_is_judged_by_what_is_free(run, monkeypatch, kind, blocks, free, level):
    """Docker's 64 MB are a warning before they are full. In MiB."""
    facts = [1 << 20, 1 << 20, blocks, free, free, 0, 0, 0, 0, 255]
    monkeypatch.setattr("os.statvfs", lambda _: os.statvfs_result(facts))
    found = only(of(run()[1], "space"))
    assert found["level"] == level
    if level != "ok":
        assert "--shm-size" in found["fix"]


def test_directory_on_a_disk_is_a_warning(run, monkeypatch):
    """Slots would be written to it."""
    monkeypatch.setattr(doctor_machine, "file_system_of", lambda _: "ext4")
    found = only(of(run()[1], "file system"))
    assert found["level"] == "warning"
    assert "tmpfs" in found["fix"]


# -------------------------------------------------------------------------- limits


@pytest.mark.parametrize(
    ("limit", "usage", "level"),
    [
        ("max", 1 << 20, "ok"),
        (str(1 << 30), 1 << 20, "ok"),
        (str(1 << 30), 900 << 20, "warning"),
    ],
)
def test_b3_memory_of_a_container_is_judged_by_what_is_left(
    tmp_path, limit, usage, level
):
    """By the files of its control group, of both versions."""
    (tmp_path / "memory.max").write_text(limit + "\n")
    (tmp_path / "memory.current").write_text(f"{usage}\n")
    assert only(doctor_machine.memory_limit(tmp_path)).level == level
    older = tmp_path / "v1" / "memory"
    older.mkdir(parents=True)
    limit = str(2**63 - 4096) if limit == "max" else limit
    (older / "memory.limit_in_bytes").write_text(limit)
    (older / "memory.usage_in_bytes").write_text(str(usage))
    assert only(doctor_machine.memory_limit(tmp_path / "v1")).level == level


def test_few_descriptors_are_a_warning(monkeypatch):
    """What a process may ask for counts, not what it has."""
    monkeypatch.setattr("resource.getrlimit", lambda _: (64, 256))
    found = [each for each in doctor_machine.limits() if each.check == "open files"]
    assert only(found).level == "warning"
    monkeypatch.setattr("resource.getrlimit", lambda _: (64, 1 << 20))
    found = [each for each in doctor_machine.limits() if each.check == "open files"]
    assert only(found).level == "ok"


def test_package_that_is_too_old_is_a_problem(monkeypatch):
    """With the command that mends it."""
    monkeypatch.setattr(
        doctor_machine, "version", lambda n: "1.2.0" if n == "msgpack" else version(n)
    )
    found = [each for each in doctor_machine.versions() if each.level == "problem"]
    assert only(found).fix == "pip install 'msgpack>=1.2.1'"


# ------------------------------------------------------------------------ channels


@pytest.mark.leaves_files
def test_dead_and_broken_channels_are_found(run, children, channel_directory):
    """With the commands that help."""
    children.start_code(
        "import os; from rlay.transport.mem_server import MemServer; "
        "MemServer.create('dead'); os._exit(0)"
    ).wait()
    (channel_directory / "odd").mkdir(mode=0o700)
    server = MemServer.create("sound")
    code, found = run()
    server.close()
    assert code == 1
    dead, odd, _ = of(found, "channels")
    assert (dead["level"], dead["fix"]) == ("warning", "rlay clean")
    assert "dead" in dead["text"]
    assert (odd["level"], odd["text"].partition(":")[0]) == ("problem", "odd")


# -------------------------------------------------------------------------- bridge


@pytest.fixture
def pair(tmp_path):
    """A certificate and its key."""
    return Authority(tmp_path).issue()


def test_settings_that_would_be_refused_are_a_problem():
    """As the bridge itself says it; in one line."""
    exposed = BridgeSettings(listen=(Endpoint("0.0.0.0", 7450),))
    found = only(doctor_bridge.settings(exposed))
    assert found.level == "problem"
    assert "rlay cert new" in found.fix
    assert "\n" not in found.text + found.fix
    wrong = BridgeSettings(listen=(Endpoint("::1", 1),), tls_cert="x")
    assert only(doctor_bridge.settings(wrong)).level == "problem"


def test_settings_that_do_are_named():
    """An insecure one with a warning."""
    settings = BridgeSettings(listen=(Endpoint("0.0.0.0", 7450),), insecure=True)
    found = list(doctor_bridge.settings(settings))
    assert [each.level for each in found] == ["ok", "warning"]
    assert "0.0.0.0:7450" in found[0].text


def test_misspelt_variable_is_a_problem(run, monkeypatch):
    """And the rest is looked at all the same."""
    monkeypatch.setenv("RLAY_BRIDGE_LISTN", "x")
    code, found = run()
    assert code == 1
    assert "RLAY_BRIDGE_LISTEN" in of(found, "settings")[0]["text"]
    assert of(found, "versions")


def test_token_that_others_read_is_a_problem(tmp_path):
    """With its mode."""
    path = tmp_path / "token"
    path.write_bytes(b"x" * 32)
    path.chmod(0o644)
    settings = BridgeSettings(token_file=str(path))
    found = only(doctor_bridge.token(settings))
    assert (found.level, "-rw-r--r--" in found.text) == ("problem", True)
    path.chmod(0o600)
    assert only(doctor_bridge.token(settings)).level == "ok"


@pytest.mark.parametrize(
    ("after", "level"),
    [
        (0 * DAY, "ok"),
        (20 * DAY, "warning"),
        (40 * DAY, "problem"),
        (-9 * DAY, "problem"),
    ],
)
def test_certificate_is_judged_by_its_days(pair, after, level):
    """Two weeks before its end it is a warning; names stand in it."""
    found = only(doctor_bridge.validity(str(pair.cert), NOW + after))
    assert found.level == level
    if level in ("ok", "warning"):
        assert "localhost, 127.0.0.1" in found.text


def test_key_that_does_not_fit_is_a_problem(tmp_path):
    """Both files stand in the message."""
    authority = Authority(tmp_path)
    ours, other = authority.issue("ours"), authority.issue("other")
    settings = BridgeSettings(tls_cert=str(ours.cert), tls_key=str(other.key))
    assert only(doctor_bridge.certificates(settings)).level == "problem"


def test_certificates_that_do_are_named(pair):
    """With the fingerprint that the other machine is given."""
    settings = BridgeSettings(tls_cert=str(pair.cert), tls_key=str(pair.key))
    first, second = doctor_bridge.certificates(settings)
    assert (first.level, second.level) == ("ok", "ok")
    assert "fingerprint" in first.text


def test_running_bridge_is_named_and_its_dead_links_too(run, children, tmp_path):
    """Each with the command that looks further."""
    directory = tmp_path / "d"
    directory.mkdir(mode=0o700)
    served = BridgeChild(children, "--directory", directory, "--connect", "127.0.0.1:1")

    def bridge_findings():
        code, found = run("--directory", str(directory))
        assert code == 0
        found = of(found, "bridge")
        return found if len(found) == 2 else None

    first, second = wait_until(bridge_findings, LIMIT_S)
    assert f"process {served.child.pid} " in first["text"]
    assert second["level"] == "warning"
    assert second["fix"] == "rlay doctor --peer 127.0.0.1:1"
    served.end()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="mounts of Linux")
def test_file_system_of_this_machine_is_known():
    """From the system itself."""
    assert doctor_machine.file_system_of("/proc") == "proc"
