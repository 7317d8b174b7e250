import pytest

from benchmarks.presets import EXPECTED


@pytest.mark.parametrize(
    ("preset", "found", "verdict"),
    [
        ("classic", 153.3, "aim met"),
        ("classic", 156.0, "REGRESSION"),  # within the aim, but worse than what was reached
        ("plane", 132.0, "aim met"),
        ("plane", 134.3, "aim missed, no regression"),
        ("plane", 136.0, "REGRESSION"),
    ],
)
def test_a_preset_fails_on_a_regression_and_not_on_a_missed_aim(preset: str, found: float, verdict: str) -> None:
    assert EXPECTED[preset].verdict(found) == verdict


@pytest.mark.parametrize("preset", EXPECTED)
def test_what_a_preset_has_reached_is_no_regression(preset: str) -> None:
    assert EXPECTED[preset].verdict(EXPECTED[preset].reached) != "REGRESSION"
