"""Tables, where stdout is no terminal."""

from rlay.cli.tables import number, print_table


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


def test_number_for_people():
    """Grouped digits; none is a dash."""
    assert number(1234567.8) == "1,234,568"
    assert number(0) == "0"
    assert number(None) == "-"
