"""Numbers, names and lists as text."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markupsafe import Markup

from mimprobe.claims.estimates import Estimate, within
from mimprobe.figures import Style
from mimprobe.report.wording import (
    amount,
    breakable,
    counted,
    interval,
    listed,
    named,
    number,
    value_of,
)

MINUS = "\N{MINUS SIGN}"


@pytest.mark.parametrize(
    ("value", "reach", "text", "bracket"),
    [
        (12.345, 0.3, "12.3", "12.0 to 12.6"), (12.344, 0.03, "12.34", "12.31 to 12.37"),
        (0.00367, 0.0114, "0.004", f"{MINUS}0.008 to 0.015"), (5.26, 1.0, "5.3", "4.3 to 6.3"),
        (5.26, 2.0, "5", "3 to 7"), (5.26, 1.94, "5.3", "3.3 to 7.2"),
        (12.345, 3.0, "12", "9 to 15"), (12345.6, 321.0, "12,346", "12,025 to 12,667"),
        (-0.5, 0.2, f"{MINUS}0.5", f"{MINUS}0.7 to {MINUS}0.3"), (1.0, 0.0, "1.00", "1.00 to 1.00"),
        (0.123456, math.nan, "0.123", ""), (1234.5, math.nan, "1,234", ""), (0.0, 0.0, "0.00",
        "0.00 to 0.00"), (math.nan, math.nan, "no value", ""),
        (0.5, 1e-12, "0.500000", "0.500000 to 0.500000"),
    ],
)  # fmt: skip
def test_a_value_has_the_digits_that_its_interval_allows(value, reach, text, bracket):
    found = within(value, reach)
    assert value_of(found) == text
    assert interval(found) == bracket


@given(st.floats(-1e5, 1e5), st.floats(1e-5, 1e4))
def test_a_written_value_lies_within_its_interval(value, reach):
    written = float(value_of(within(value, reach)).replace(MINUS, "-").replace(",", ""))
    assert abs(written - value) <= reach * (1 + 1e-9)


def test_signs():
    assert number(0.5, 1, signed=True) == "+0.5"
    assert number(-0.5, 1, signed=True) == f"{MINUS}0.5"
    assert interval(within(0.0, 0.5), signed=True) == f"{MINUS}0.5 to +0.5"
    assert number(math.inf, 1) == "no value"


def test_an_amount_has_its_unit_and_its_interval_in_brackets():
    assert amount(within(5.0, 0.2), "px").striptags() == "5.0 px (4.8 to 5.2)"
    assert amount(within(5.0, 0.2), "").striptags() == "5.0 (4.8 to 5.2)"
    assert amount(Estimate(5.0), "px") == "5.00\N{NO-BREAK SPACE}px"
    assert "<b>" not in amount(Estimate(5.0), "<b>")


def test_an_amount_has_as_many_decimals_as_asked_for_and_more_where_the_interval_has():
    found = Estimate(0.0173, -0.0211, 0.0557)
    assert "0.017" in amount(found, "", least=3)
    assert "0.056)" in amount(found, "", least=3)
    assert amount(Estimate(0.5, 0.4999, 0.5001), "", least=2) == amount(
        Estimate(0.5, 0.4999, 0.5001), ""
    )


def test_names_are_escaped_and_break_after_separators():
    assert breakable("a_b:c") == Markup("a_<wbr>b:<wbr>c")
    assert breakable("<script>") == "&lt;script&gt;"
    marked = named('"><img src=x>', Style("#123456", "s", "-"))
    assert marked == Markup(
        '<span class="model" style="--mark:#123456">&#34;&gt;&lt;img src=x&gt;</span>'
    )


def test_lists_and_counts():
    assert listed([]) == ""
    assert listed(["a"]) == "a"
    assert listed(["a", "b"]) == "a and b"
    assert listed(["a", "b", "c"]) == "a, b and c"
    assert listed([Markup("<b>a</b>"), "<i>"]) == "<b>a</b> and &lt;i&gt;"
    assert isinstance(listed(["<i>"]), Markup)
    assert listed(["<i>"]) == "&lt;i&gt;"
    assert [counted(n, "image") for n in (0, 1, 1200)] == ["0 images", "1 image", "1,200 images"]
