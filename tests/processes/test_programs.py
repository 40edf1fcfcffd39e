"""The program of a command: found, or said clearly why not."""

import os

import pytest

from rlay.errors import LaunchFailed
from rlay.processes.programs import find_program, not_executed, words_of


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The current directory, with one program in it."""
    program = tmp_path / "Game.x86_64"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def refusal(word, cwd=None):
    """Look for a program that is none; what is said of it."""
    with pytest.raises(LaunchFailed) as caught:
        find_program(word, cwd, os.environ)
    assert caught.value.stage == "execute"
    return str(caught.value)


@pytest.mark.parametrize("command", ["game", ["game"], ("game",)])
def test_words_of_a_program_are_its_name(command):
    """A str is one word, whatever stands in it."""
    assert words_of(command) == ["game"]


def test_words_of_paths_are_text(tmp_path):
    """As subprocess takes them."""
    assert words_of([tmp_path / "a b", "-x"]) == [str(tmp_path / "a b"), "-x"]


@pytest.mark.parametrize("command", ["", [], [""], 7, b"game", None])
def test_words_of_no_command_are_refused(command):
    """Before anything is looked for."""
    with pytest.raises(ValueError, match="is no command"):
        words_of(command)


def test_find_program_takes_a_path_from_here(folder):
    """It is absolute then: the program may run in another directory."""
    assert find_program("./Game.x86_64", None, {}) == str(folder / "Game.x86_64")


def test_find_program_takes_a_path_from_its_own_directory_first(folder, monkeypatch):
    """``cwd`` is where a shell would stand."""
    monkeypatch.chdir("/")
    found = find_program("./Game.x86_64", str(folder), {})
    assert found == str(folder / "Game.x86_64")


def test_find_program_takes_a_name_on_the_path(folder):
    """That of the program's own environment."""
    found = find_program("Game.x86_64", None, {"PATH": str(folder)})
    assert found == str(folder / "Game.x86_64")


def test_misspelt_path_names_the_right_one(folder):
    """Among the programs beside it."""
    text = refusal("./game.x86")
    assert text.startswith("'./game.x86' cannot be executed: No such file or directory")
    assert text.endswith(f"Did you mean {folder}/Game.x86_64?")


def test_name_of_a_file_here_says_how_to_write_it(folder):
    """A bare name is looked for on $PATH alone."""
    assert refusal("Game.x86_64").endswith("write ./Game.x86_64")


def test_arguments_in_the_same_word_are_noticed(folder):
    """A str is not cut at its spaces."""
    assert "each argument as a word of its own" in refusal("./Game.x86_64 --level=3")
    assert "each argument as a word of its own" in refusal("no-such-program --level=3")


def test_file_that_is_not_executable_says_how_to_mark_it(folder):
    """As after a download."""
    (folder / "new").write_text("#!/bin/sh\n")
    assert refusal("./new").endswith(f"chmod +x {folder}/new")


def test_directory_names_the_programs_in_it(folder):
    """A folder of a game is easily taken for the game."""
    text = refusal("./")
    assert "it is a directory" in text
    assert text.endswith(f"{folder}/Game.x86_64")


def test_refusal_of_the_system_is_explained():
    """Its own words are terse."""
    assert "another system or processor" in str(
        not_executed("./game", "[Errno 8] Exec format error: './game'")
    )
    assert "interpreter that its first line names" in str(
        not_executed("./game", "[Errno 2] No such file or directory: './game'")
    )
