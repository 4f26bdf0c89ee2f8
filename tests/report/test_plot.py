"""Geometry of the plots."""

import pytest

from tasks.report.plot import POINTS, Scale, bars, path, thin, y_ticks


@pytest.mark.parametrize(
    ("scale", "ticks"),
    [
        (Scale(0, 348), [0, 100, 200, 300]),
        (Scale(-2.7, 7.1), [-2, 0, 2, 4, 6]),
        (Scale(0.2, 3, log=True), [0.2, 0.5, 1, 2]),
        (Scale(1.7e-6, 2e-3, log=True), [1e-5, 1e-4, 1e-3]),
        (Scale(1, 1), [1]),
    ],
)
def test_ticks_are_round_and_few(scale: Scale, ticks: list[float]) -> None:
    assert scale.ticks(5) == pytest.approx(ticks)


def test_a_logarithmic_axis_puts_equal_ratios_at_equal_distances() -> None:
    scale = Scale(1, 100, log=True)
    assert scale.share(10) == pytest.approx(0.5)
    assert scale.share(0) == 0  # the end of a cosine
    assert scale.share(1000) == 1


def test_axes_grow_upwards_while_the_drawing_grows_downwards() -> None:
    assert path([(0, 0), (1, 1)]) == "M0 1000L1000 0"
    assert [(tick.at, tick.label) for tick in y_ticks(Scale(-1, 1), 2)] == [
        (100, "\N{MINUS SIGN}1"),
        (50, "0"),
        (0, "1"),
    ]


def test_bars_stand_on_each_other_and_empty_ones_are_left_out() -> None:
    assert bars([0, 0.5, 1], [0.25, 0], [0.5, 0]) == "M0 750V250H500V750Z"


def test_a_long_curve_is_thinned_to_means_that_cover_it() -> None:
    values = [float(number % 2) for number in range(10 * POINTS)]
    points = thin(values)
    assert len(points) == POINTS
    assert {value for _, value in points} == {0.5}
    assert points[0][0] == 4.5
    assert points[-1][0] == 10 * POINTS - 5.5
    assert thin([3.0, 4.0]) == [(0, 3.0), (1, 4.0)]
