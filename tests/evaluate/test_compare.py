"""Paired comparison on cases with a known answer, and its errors of the first kind by simulation."""

import numpy as np
import pytest
from scipy.stats import binomtest

from tasks.errors import LavaflowError
from tasks.evaluate.answers import write_answers
from tasks.evaluate.compare import compare, pair, sign_test
from tasks.refs import EvalReport, Score


def reports(make_answer, candidate, champion, groups=None):
    """Answers of two models with the given scores."""
    names = [f"q{number}" for number in range(len(candidate))]
    groups = groups or names
    return [
        [make_answer(name, float(score), group=group) for name, score, group in zip(names, scores, groups, strict=True)]
        for scores in (candidate, champion)
    ]


def test_wins_losses_and_difference_are_counted_question_by_question(make_answer):
    paired = pair(*reports(make_answer, [1, 1, 1, 0, 1], [0, 0, 1, 1, 1]), "holdout")
    assert (paired.n, paired.wins, paired.losses, paired.groups) == (5, 2, 1, 5)
    assert (paired.candidate, paired.champion, paired.difference) == (80.0, 60.0, 20.0)
    assert paired.p_better == pytest.approx(0.5)  # 2 or 3 of 3 fair coins


@pytest.mark.parametrize(("wins", "losses"), [(0, 0), (1, 0), (0, 3), (15, 5), (700, 640), (2000, 1500)])
def test_the_sign_test_is_the_exact_binomial_one(wins, losses):
    expected = binomtest(wins, wins + losses, 0.5, alternative="greater").pvalue if wins + losses else 1.0
    assert sign_test(wins, losses) == pytest.approx(expected, rel=1e-9)


def test_equal_models_differ_by_nothing_with_certainty(make_answer):
    paired = pair(*reports(make_answer, [1, 0] * 50, [1, 0] * 50), "holdout")
    assert (paired.difference, paired.low, paired.high, paired.p_better) == (0.0, 0.0, 0.0, 1.0)
    assert paired.minimum_detectable == 5.0  # five wins without a loss are the fewest that reach 5%


def test_the_interval_is_the_normal_one_where_there_are_many_questions(make_answer):
    wins, losses, ties = 120, 80, 800
    paired = pair(
        *reports(make_answer, [1] * wins + [0] * losses + [1] * ties, [0] * wins + [1] * (losses + ties)), "x"
    )
    mean = (wins - losses) / 1000
    error = np.sqrt(((wins + losses) / 1000 - mean**2) / 1000)
    assert paired.difference == pytest.approx(100 * mean)
    assert paired.low == pytest.approx(100 * (mean - 1.96 * error), abs=0.15)
    assert paired.high == pytest.approx(100 * (mean + 1.96 * error), abs=0.15)
    assert paired.minimum_detectable == pytest.approx(100 * (1.645 + 0.842) * error, rel=0.03)


def test_questions_on_one_picture_are_one_draw(make_answer):
    candidate, champion = [1] * 6 + [0] * 2 + [1] * 8, [0] * 6 + [1] * 2 + [1] * 8
    alone = pair(*reports(make_answer, candidate, champion), "x")
    groups = [f"g{number // 2}" for number in range(16)]
    shared = pair(*reports(make_answer, candidate, champion, groups), "x")
    assert (shared.wins, shared.losses, shared.groups) == (6, 2, 8)
    assert shared.difference == alone.difference
    assert shared.high - shared.low > 1.2 * (alone.high - alone.low)
    assert shared.p_better == pytest.approx(sign_test(3, 1))


def test_groups_of_unlike_size_weigh_by_their_questions(make_answer):
    scores = reports(make_answer, [1] * 7, [0] * 7, ["a", "a", "a", "b", "c", "c", "d"])
    paired = pair(*scores, "x")
    assert (paired.difference, paired.low, paired.high) == (100.0, 100.0, 100.0)


def test_the_interval_and_the_test_come_out_the_same_every_time(make_answer):
    scores = reports(make_answer, [1, 0, 1, 1, 0, 1] * 20, [0, 1, 1, 0, 0, 1] * 20)
    assert pair(*scores, "x") == pair(*scores, "x")


def test_questions_that_one_model_failed_are_left_out_and_counted(make_answer):
    candidate, champion = reports(make_answer, [1, 1, 1], [0, 1, 1])
    candidate[0] = make_answer("q0", 0.0, prediction=None, error="no memory")
    paired = pair(candidate, champion, "x")
    assert (paired.n, paired.failed, paired.wins, paired.losses) == (2, 1, 0, 0)


def test_reports_on_different_questions_cannot_be_compared(make_answer):
    candidate, champion = reports(make_answer, [1, 1], [0, 1])
    with pytest.raises(LavaflowError, match=r"different questions \(1 are in one report only, such as q1\)"):
        pair(candidate, champion[:1], "x")
    champion[1] = make_answer("q1", question="another")
    with pytest.raises(LavaflowError, match="question q1 is not the same"):
        pair(candidate, champion, "x")


def test_reports_are_read_from_their_folders(make_answer, tmp_path):
    score = Score(metric="m", value=0, accuracy=0, asked=2, failed=0, unparsed=0)
    refs = []
    for name, answers in zip("ab", reports(make_answer, [1, 1], [0, 1]), strict=True):
        (tmp_path / name).mkdir()
        write_answers(tmp_path / name / "holdout.jsonl", answers)
        path = str(tmp_path / name)
        refs.append(EvalReport(path=path, digest=name, model=name, form="merged", scores={"holdout": score}))
    assert compare(*refs, "holdout").difference == 50.0
    with pytest.raises(LavaflowError, match="mme was not evaluated; there are holdout"):
        compare(*refs, "mme")


def simulate(make_answer, pictures, questions_each, better, runs, seed):
    """Share of runs that the 5% test promotes; questions on a picture are right or wrong together."""
    random = np.random.default_rng(seed)
    names = [(f"q{number}", f"g{number // questions_each}") for number in range(pictures * questions_each)]
    graded = [[make_answer(name, score, group=group) for score in (0.0, 1.0)] for name, group in names]
    promoted = 0
    for _ in range(runs):
        right = random.random((2, pictures)) < np.array([[0.7 + better], [0.7]])
        scores = right.repeat(questions_each, axis=1).astype(int)
        ours, theirs = ([choice[score] for choice, score in zip(graded, row, strict=True)] for row in scores)
        promoted += pair(ours, theirs, "x").p_better <= 0.05
    return promoted / runs


@pytest.mark.parametrize("questions_each", [1, 3])
def test_equal_models_are_promoted_no_more_often_than_the_level(make_answer, questions_each):
    share = simulate(make_answer, 120, questions_each, better=0.0, runs=300, seed=questions_each)
    assert (
        0.01 <= share <= 0.075
    )  # 5% less the discreteness of the exact test; three standard errors of 300 runs are 3.8


def test_a_truly_better_model_is_found(make_answer):
    assert simulate(make_answer, 120, 1, better=0.2, runs=60, seed=5) > 0.9
