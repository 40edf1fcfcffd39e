"""``rlay token new``: a secret that nobody else reads, and that no typo replaces."""

import os
import re
import stat

import pytest

from rlay.cli import main
from rlay.transport.credentials import load_token


@pytest.fixture
def run(capsys, tmp_path, monkeypatch):
    """Run a command in an empty directory; exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)

    def run_words(*words):
        code = main(["token", "new", *words])
        return (code, *capsys.readouterr())

    return run_words


def test_token_is_written_for_its_owner_alone(run, tmp_path):
    """32 random bytes as hexadecimal digits, mode 0600 under any umask."""
    before = os.umask(0)
    try:
        code, _, err = run("secret")
    finally:
        os.umask(before)
    assert (code, err) == (0, "")
    path = tmp_path / "secret"
    assert re.fullmatch(r"[0-9a-f]{64}\n", path.read_text())
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert load_token(path) == path.read_bytes().strip()


def test_token_goes_to_a_file_of_this_name_by_default(run, tmp_path):
    """And nothing else is left there."""
    assert run()[0] == 0
    assert [path.name for path in tmp_path.iterdir()] == ["rlay.token"]


def test_token_is_not_shown_unless_asked_for(run, tmp_path):
    """What is printed is where it is and what to do with it."""
    _, out, _ = run("a secret")
    path = tmp_path / "a secret"
    assert path.read_text().strip() not in out
    assert f"to {path}, mode 0600\n" in out
    assert f"  rlay bridge --token-file '{path}' ...\n" in out
    assert f"  export RLAY_TOKEN_FILE='{path}'\n" in out


def test_token_on_stdout_writes_no_file(run, tmp_path):
    """For programs that keep secrets elsewhere."""
    code, out, _ = run("--stdout")
    assert code == 0
    assert re.fullmatch(r"[0-9a-f]{64}\n", out)
    assert list(tmp_path.iterdir()) == []


def test_tokens_differ(run):
    """Each is new."""
    assert run("--stdout")[1] != run("--stdout")[1]


def test_token_that_is_there_is_kept(run, tmp_path):
    """Exit code 1; the old one still works, and --force is named."""
    run("secret")
    before = (tmp_path / "secret").read_text()
    code, out, err = run("secret")
    assert (code, out) == (1, "")
    assert "is there already" in err
    assert "--force" in err
    assert (tmp_path / "secret").read_text() == before
    assert len(list(tmp_path.iterdir())) == 1


def test_token_that_is_a_link_to_nothing_is_kept(run, tmp_path):
    """A link is not followed: it may lead anywhere."""
    (tmp_path / "secret").symlink_to(tmp_path / "elsewhere")
    assert run("secret")[0] == 1
    assert not (tmp_path / "elsewhere").exists()


def test_token_is_replaced_by_force(run, tmp_path):
    """Whole, with the right mode whatever the old one had."""
    run("secret")
    before = (tmp_path / "secret").read_text()
    (tmp_path / "secret").chmod(0o644)
    assert run("secret", "--force")[0] == 0
    assert (tmp_path / "secret").read_text() != before
    assert stat.S_IMODE((tmp_path / "secret").stat().st_mode) == 0o600
    assert len(list(tmp_path.iterdir())) == 1


def test_token_in_a_directory_that_is_not_there_fails(run, tmp_path):
    """Exit code 1, with the path."""
    code, _, err = run("none/secret")
    assert code == 1
    assert "none/secret' cannot be written: No such file" in err
    assert list(tmp_path.iterdir()) == []
