"""Numbers and texts as the report writes them."""

import pytest

from tasks.report import words
from tasks.report.words import MINUS


@pytest.mark.parametrize(
    ("said", "text"),
    [
        (words.count(1234567), "1,234,567"),
        (words.signed(-0.52), f"{MINUS}0.5"),
        (words.signed(1.25, 2), "+1.25"),
        (words.signed(-0.04), "0.0"),
        (words.share(1, 3), "33.3%"),
        (words.share(1, 100_000), "< 0.1%"),
        (words.share(0, 0), "0.0%"),
        (words.size(2847392), "2.85 MB"),
        (words.size(512), "512 bytes"),
        (words.duration(0.44), "0.4 s"),
        (words.duration(200), "3 min 20 s"),
        (words.duration(3599.7), "1 h 00 min"),
        (words.date("2026-11-03T09:31:05+0000"), "3 Nov 2026, 09:31"),
        (words.rate(0.0002), f"2e{MINUS}4"),
        (words.rate(0.00125), f"1.25e{MINUS}3"),
        (words.chance(0.0004), "< 0.001"),
        (words.chance(0.0312), "0.031"),
        (words.chance(0.9999), "1.0"),
        (words.typeset("3.0 -> -2.5 (hold-out, 2.7e-07)"), f"3.0 → {MINUS}2.5 (hold-out, 2.7e-07)"),
    ],
)
def test_numbers_read_as_people_write_them(said: str, text: str) -> None:
    assert said == text


def test_texts_lose_image_marks_control_characters_and_their_tails() -> None:
    assert words.plain("<image>\nIs it\x00 \ud800so?\u202e") == "Is it so?"
    assert len(words.plain("a" * 1000)) == words.LONGEST
    assert words.plain("a" * 1000).endswith("…")
