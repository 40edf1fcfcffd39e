"""Tables, where stdout is no terminal."""

from rlay.cli.tables import fitted, number, print_table


def test_table_is_aligned_and_has_no_decoration(capsys):
    """Numbers to the right, no spaces at the end of a line: fit for other programs."""
    print_table(("NAME", "STEPS"), [("cart", "7"), ("a", "12,000")], numbers=("STEPS",))
    assert capsys.readouterr().out == (
        "NAME   STEPS\n"
        "cart       7\n"
        "a     12,000\n"
    )  # fmt: skip


def test_table_is_as_wide_as_it_must_be(capsys):
    """Nothing is cut off, whatever the terminal's width would be."""
    print_table(("A", "B"), [("x" * 200, "y" * 200)])
    assert "x" * 200 + "  " + "y" * 200 in capsys.readouterr().out


def test_fitted_cuts_only_the_long_columns():
    """So that a row is one line; what is cut ends in an ellipsis."""
    rows = [["cart", "x" * 50, "y" * 50], ["a", "short", "y" * 50]]
    found = fitted(("NAME", "ONE", "TWO"), rows, ("ONE", "TWO"), 60)
    assert found[0] == ["cart", "x" * 22 + "\u2026", "y" * 22 + "\u2026"]
    assert found[1] == ["a", "short", "y" * 22 + "\u2026"]


def test_fitted_leaves_what_has_room():
    """Nothing is cut without need."""
    rows = [["cart", "x" * 20]]
    assert fitted(("NAME", "ONE"), rows, ("ONE",), 60) == rows


def test_fitted_leaves_a_little_where_there_is_no_room():
    """A process id is worth a second line."""
    rows = [["cart", "123456 python"]]
    assert fitted(("NAME", "ONE"), rows, ("ONE",), 10) == [["cart", "123456 \u2026"]]


def test_number_for_people():
    """Grouped digits; none is a dash."""
    assert number(1234567.8) == "1,234,568"
    assert number(0) == "0"
    assert number(None) == "-"
