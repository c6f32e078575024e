from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reauth_proxy.issuers import lifetimes

NOW = 1_800_000_000.0  # Fri, 15 Jan 2027 08:00:00 GMT


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (3600, 3600.0),
        (3600.5, 3600.5),
        ("3600", 3600.0),
        ("3600.0", 3600.0),
        (" 3600 ", 3600.0),
        ("3.6e3", 3600.0),
        (0, None),
        (0.0, None),
        (-1, None),
        ("-5", None),
        ("0", None),
        (1e20, lifetimes.LONGEST),
        ("1e300", lifetimes.LONGEST),
        (10**400, None),
        ("1e999", None),
        (float("nan"), None),
        (float("inf"), None),
        ("nan", None),
        ("Infinity", None),
        ("abc", None),
        ("", None),
        ("3_600", None),
        ("٣", None),
        ("9" * 100, None),
        (None, None),
        (True, None),
        ([3600], None),
        ({}, None),
    ],
)
def test_expires_in(value: object, seconds: float | None) -> None:
    assert lifetimes.expires_in(value) == seconds


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (NOW + 60, 60.0),
        (int(NOW) + 60, 60.0),
        (str(int(NOW) + 60), 60.0),
        ((NOW + 60) * 1000, 60.0),
        (NOW - 60, None),
        (NOW, None),
        (5, None),
        (0, None),
        (-1, None),
        ("2027-01-15T08:01:00Z", 60.0),
        ("2027-01-15t08:01:00z", 60.0),
        ("2027-01-15T10:01:00+02:00", 60.0),
        ("2027-01-15T08:01:00.1234567Z", pytest.approx(60.123, abs=0.001)),
        ("2027-01-15 08:01:00Z", 60.0),
        ("2027-01-15T08:01:00", None),
        ("2027-01-15", None),
        ("2027-13-45T99:99:99Z", None),
        ("0001-01-01T00:00:00+14:00", None),
        ("soon", None),
        (None, None),
        ("0001-01-01T00:00:00Z", None),
        (False, None),
        (10**400, None),
    ],
)
def test_expires_at(value: object, seconds: float | None) -> None:
    assert lifetimes.expires_at(value, NOW) == seconds


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("0", 0.0),
        ("120", 120.0),
        (" 5 ", 5.0),
        ("Fri, 15 Jan 2027 08:00:30 GMT", 30.0),
        ("Fri, 15 Jan 2027 07:00:00 GMT", 0.0),
        ("Friday, 15-Jan-27 08:00:30 GMT", 30.0),
        ("-3", None),
        ("1.5", None),
        ("99999999999", None),
        ("later", None),
        ("", None),
        ("x" * 1000, None),
    ],
)
def test_retry_after(value: str | None, seconds: float | None) -> None:
    assert lifetimes.retry_after(value, NOW) == seconds


@pytest.mark.parametrize(
    ("date", "expected"),
    [
        (None, NOW),
        ("nonsense", NOW),
        ("Fri, 15 Jan 2027 08:00:20 GMT", NOW),
        ("Fri, 15 Jan 2027 09:00:00 GMT", NOW + 3600),
        ("Fri, 15 Jan 2027 07:00:00 GMT", NOW - 3600),
    ],
)
def test_another_clock_is_believed_only_if_it_clearly_differs(date: str | None, expected: float) -> None:
    assert lifetimes.their_now(date, NOW) == expected


@given(st.text() | st.integers() | st.floats() | st.from_regex(r"[0-9+\-.eE]{1,50}") | st.datetimes().map(str))
def test_nothing_is_too_strange(value: object) -> None:
    for seconds in (lifetimes.expires_in(value), lifetimes.expires_at(value, NOW)):
        assert seconds is None or 0 < seconds <= lifetimes.LONGEST
    if isinstance(value, str):
        wait = lifetimes.retry_after(value, NOW)
        assert wait is None or wait >= 0
