"""Numbers and texts as the report writes them: thousands, points, bytes, durations. Jinja filters, all of them."""

import re
from collections.abc import Callable
from datetime import datetime

from tasks.dataset import IMAGE

MINUS = "\N{MINUS SIGN}"
LONGEST = 280
"""Characters of a text from the data; the rest is cut, since a row may be a book."""


def count(value: float) -> str:
    """1234567 -> 1,234,567"""
    return f"{value:,.0f}"


def figure(value: float) -> str:
    """A label of an axis: as few digits as it needs."""
    return f"{value:,g}".replace("-", MINUS)


def points(value: float, digits: int = 1) -> str:
    """93.456 -> 93.5"""
    return f"{value:,.{digits}f}".replace("-", MINUS)


def signed(value: float, digits: int = 1) -> str:
    """-0.52 -> \N{MINUS SIGN}0.5, with a plus where it rises; a difference that rounds to nothing has no sign."""
    text = f"{value:+,.{digits}f}"
    return text[1:] if float(text.replace(",", "")) == 0 else text.replace("-", MINUS)


def share(part: float, whole: float) -> str:
    """Percent with one digit, and `< 0.1%` for what is there but small."""
    percent = 100 * part / whole if whole else 0.0
    return "< 0.1%" if 0 < percent < 0.05 else f"{percent:.1f}%"


def size(value: float) -> str:
    """Bytes in powers of ten, as disks are sold: 2847392 -> 2.85 MB"""
    for unit in ("bytes", "kB", "MB", "GB", "TB"):
        if value < 1000 or unit == "TB":
            break
        value /= 1000
    return f"{value:.0f} {unit}" if unit == "bytes" else f"{value:.3g} {unit}"


def duration(seconds: float) -> str:
    """0.4 s, 47 s, 3 min 20 s, 5 h 07 min"""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60:02d} min"


def date(text: str) -> str:
    """2026-11-23T19:31:05+0000 -> 23 Nov 2026, 19:31"""
    when = datetime.strptime(text, "%Y-%m-%dT%H:%M:%S%z")
    return f"{when.day} {when:%b %Y, %H:%M}"


def rate(value: float) -> str:
    """A learning rate: 0.0002 -> 2e-4"""
    mantissa, _, exponent = f"{value:.2e}".partition("e")
    return f"{float(mantissa):g}e{int(exponent)}".replace("-", MINUS)


def chance(value: float) -> str:
    """A p-value: 0.031; below a thousandth only that."""
    return "< 0.001" if value < 0.001 else f"{value:.2g}" if value < 0.995 else "1.0"


def plain(text: str, longest: int = LONGEST) -> str:
    """A text from the data without image marks and control characters, and not too long."""
    clean = re.sub(r"[^\S\n]+", " ", "".join(c for c in text.replace(IMAGE, "") if c.isprintable() or c in "\n\t "))
    clean = clean.strip()
    return clean if len(clean) <= longest else clean[: longest - 1].rstrip() + "…"


def typeset(text: str) -> str:
    """A line of figures written for a terminal: real minus signs and arrows."""
    return re.sub(r"(?<![\w.-])-(?=\d)", MINUS, text).replace("->", "\N{RIGHTWARDS ARROW}")


FILTERS: dict[str, Callable[..., str]] = {
    function.__name__: function
    for function in (count, points, signed, share, size, duration, date, rate, chance, plain, typeset)
}
