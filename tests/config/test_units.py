from __future__ import annotations

import math
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reauth_proxy.config import units


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("500ms", 0.5), ("10s", 10.0), ("10 s", 10.0), ("5m", 300.0), ("1h", 3600.0), ("1d", 86_400.0), ("0", 0.0),
        ("10", 10.0), ("1.5", 1.5), (".5s", 0.5), ("366d", units.LONGEST), (10, 10.0), (0.25, 0.25), (0, 0.0),
    ],
)  # fmt: skip
def test_a_duration_is_written_with_a_unit_or_in_seconds(written: object, meant: float) -> None:
    assert units.seconds(written) == meant


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ("soon", 'expected a duration such as 10s, got "soon"'),
        ("", 'expected a duration such as 10s, got ""'),
        ("-1s", 'expected a duration such as 10s, got "-1s"'),
        ("10:30", 'expected a duration such as 10s, got "10:30"'),
        ("1e3", 'expected a duration such as 10s, got "1e3"'),
        ("nan", 'expected a duration such as 10s, got "nan"'),
        ("10S", 'expected a duration such as 10s, got "10S"'),
        ("١s", 'expected a duration such as 10s, got "١s"'),
        (True, "expected a duration such as 10s, got true"),
        (-1, "expected a duration such as 10s, got -1"),
        (math.nan, "expected a duration such as 10s, got nan"),
        (math.inf, "expected a duration of at most 366d, got a number beyond measure"),
        (-math.inf, "expected a duration such as 10s, got a number beyond measure"),
        (10**4000, "expected a duration of at most 366d, got a number beyond measure"),
        (-(10**400), "expected a duration such as 10s, got a number beyond measure"),
        (None, "expected a duration such as 10s, got nothing"),
        (["10s"], "expected a duration such as 10s, got a list"),
        ({}, "expected a duration such as 10s, got a mapping"),
        ("367d", 'expected a duration of at most 366d, got "367d"'),
    ],
)
def test_what_is_no_duration_is_told(written: object, told: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the whole text is compared
        units.seconds(written)
    assert str(caught.value) == told


def test_some_durations_must_not_be_zero() -> None:
    assert units.positive_seconds("1ms") == 0.001
    with pytest.raises(ValueError, match=r'^expected a duration longer than 0s, got "0s"$'):
        units.positive_seconds("0s")


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("64KiB", 65_536), ("8MiB", 8 << 20), ("1GiB", 1 << 30), ("10kB", 10_000), ("1MB", 10**6), ("2GB", 2 * 10**9),
        ("1.5MiB", 3 << 19), ("0", 0), ("17", 17), ("17B", 17), ("64 kib", 65_536), ("1024GiB", 1 << 40), (17, 17),
    ],
)  # fmt: skip
def test_a_size_is_written_with_a_unit_or_in_bytes(written: object, meant: int) -> None:
    assert units.size(written) == meant


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ("big", 'expected a size such as 64KiB, got "big"'),
        ("64K", 'expected a size such as 64KiB, got "64K"'),
        ("-1", 'expected a size such as 64KiB, got "-1"'),
        (True, "expected a size such as 64KiB, got true"),
        (1.5, "expected a size such as 64KiB, got 1.5"),
        (-1, "expected a whole number of bytes, 0 or more, such as 64KiB, got -1"),
        ("0.5B", 'expected a whole number of bytes, 0 or more, such as 64KiB, got "0.5B"'),
        ("1025GiB", 'expected a size of at most 1024GiB, got "1025GiB"'),
        (None, "expected a size such as 64KiB, got nothing"),
    ],
)
def test_what_is_no_size_is_told(written: object, told: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the whole text is compared
        units.size(written)
    assert str(caught.value) == told


@pytest.mark.parametrize(("written", "meant"), [("1", 1), ("10000", 10_000), ("10_000", 10_000), (5, 5)])
def test_a_whole_number_is_written_in_decimal(written: object, meant: int) -> None:
    assert units.whole(written, 1, 10_000) == meant


@pytest.mark.parametrize(
    "written", ["010", "0x10", "1:30", "1_0", "1.0", "", "-1", "10001", "9" * 5000, 0, True, 1.0, None]
)
def test_octal_sexagesimal_and_the_like_are_no_whole_numbers(written: object) -> None:
    with pytest.raises(ValueError, match=r"^expected a whole number from 1 to 10000, got "):
        units.whole(written, 1, 10_000)


@pytest.mark.parametrize("written", ["true", "True", "TRUE", "yes", "on", True])
def test_a_switch_is_on(written: object) -> None:
    assert units.switch(written) is True


@pytest.mark.parametrize("written", ["false", "no", "off", "Off", False])
def test_a_switch_is_off(written: object) -> None:
    assert units.switch(written) is False


@pytest.mark.parametrize("written", ["y", "1", "", 1, None, "maybe"])
def test_what_is_no_switch_is_told(written: object) -> None:
    with pytest.raises(ValueError, match=r"^expected true or false, got "):
        units.switch(written)


@given(st.one_of(st.text(max_size=30), st.integers(), st.floats(), st.booleans(), st.none()))
def test_whatever_is_written_is_a_bounded_amount_or_told(written: object) -> None:
    readers: list[tuple[Callable[[object], float], float]] = [
        (units.seconds, units.LONGEST),
        (units.size, units.LARGEST),
    ]
    for read, most in readers:
        try:
            amount = read(written)
        except ValueError:
            continue
        assert 0 <= amount <= most


@given(st.integers(0, 10**9), st.sampled_from(["ms", "s", "m"]))
def test_a_duration_is_its_number_times_its_unit(number: int, unit: str) -> None:
    factor = {"ms": 0.001, "s": 1.0, "m": 60.0}[unit]
    if number * factor <= units.LONGEST:
        assert units.seconds(f"{number}{unit}") == number * factor
