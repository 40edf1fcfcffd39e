"""``docs/guarantees.md`` and the tests that prove it name each other."""

import pytest

from tests.support.fault_rows import named_tests, promises, rows, rows_of

SIZES = {"A": 25, "B": 21, "C": 17, "D": 17, "E": 9, "F": 9}


def test_the_page_has_every_row_once():
    """The catalogue goes from A1 to F9, without a gap."""
    wanted = [f"{letter}{n + 1}" for letter, size in SIZES.items() for n in range(size)]
    assert list(rows()) == wanted


def test_every_row_has_a_test_or_a_reason():
    """A fault that is listed happens in a test named after it."""
    named = named_tests()
    without = [
        name
        for name, row in rows().items()
        if name not in named and not row.listed_only
    ]
    assert without == []


def test_every_test_that_is_named_after_a_row_has_one():
    """A name such as ``test_a26_...`` stands for nothing."""
    assert set(named_tests()) - set(rows()) == set()


def test_the_page_has_every_guarantee_once():
    """G1 to G16."""
    assert list(promises()) == [f"G{number + 1}" for number in range(16)]


def test_every_guarantee_is_proven_by_rows_with_tests():
    """A promise without a test is none."""
    named = named_tests()
    for promise, proofs in promises().items():
        assert any(proof in named for proof in proofs), promise
        assert set(proofs) <= set(rows()), promise


def test_every_row_with_a_test_proves_a_guarantee():
    """A test that proves nothing is not worth its time."""
    proofs = {proof for each in promises().values() for proof in each}
    assert set(named_tests()) - proofs == set()


@pytest.mark.parametrize(
    ("test", "named"),
    [
        ("test_a1_env_killed", ["A1"]),
        ("test_a7_a8_a9_killed", ["A7", "A8", "A9"]),
        ("test_a_name", []),
        ("test_b64_is_a_row", ["B64"]),
        ("test_e", []),
    ],
)
def test_names_of_tests_are_taken_apart(test, named):
    """One test may stand for several rows."""
    assert rows_of(test) == named
