"""Quantities against the examples of Kubernetes, and properties."""

import contextlib
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.kube.quantity import QuantityError, parse_quantity


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("0", 0),
        ("500m", 0.5),
        ("0.1m", 0.0001),
        ("100n", 1e-7),
        ("250u", 0.00025),
        ("1e3", 1000),
        ("1E3", 1000),
        ("1E", 1e18),
        ("12e-2", 0.12),
        ("9Ei", 9 * 2**60),
        ("1.5Gi", 1.5 * 2**30),
        ("128Ki", 131072),
        ("1k", 1000),
        ("2M", 2e6),
        ("2.5T", 2.5e12),
        ("3P", 3e15),
        (".5", 0.5),
        ("5.", 5),
        ("+1", 1),
        ("-1Mi", -(2**20)),
        (8, 8),
        (0.25, 0.25),
    ],
)
def test_parses_what_kubernetes_parses(text, number):
    assert parse_quantity(text) == number


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("", "is not a quantity"),
        ("1 Gi", "is not a quantity"),
        ("1gi", "is not a quantity"),
        ("1K", "is not a quantity"),
        ("1mi", "is not a quantity"),
        ("1e", "is not a quantity"),
        ("1e3Ki", "is not a quantity"),
        ("--1", "is not a quantity"),
        ("٣", "is not a quantity"),
        ("NaN", "is not a quantity"),
        ("inf", "is not a quantity"),
        ("1\n", "is not a quantity"),
        ("1e999", "out of range"),
        (math.nan, "out of range"),
        (math.inf, "out of range"),
        ("1" * 65, "too long"),
        (True, "not bool"),
        (None, "not NoneType"),
    ],
)
def test_refuses_anything_else_and_says_what_is_wrong(value, says):
    with pytest.raises(QuantityError, match=says):
        parse_quantity(value)


@given(st.integers(-(10**6), 10**6), st.sampled_from(["n", "u", "m", "", "k", "M", "G", "T"]))
def test_decimal_suffixes_are_powers_of_a_thousand(number, suffix):
    power = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12}[suffix]
    assert parse_quantity(f"{number}{suffix}") == float(f"{number}e{power}")


@given(st.text(max_size=80))
def test_any_text_is_parsed_to_a_finite_number_or_refused(text):
    with contextlib.suppress(QuantityError):
        assert math.isfinite(parse_quantity(text))
