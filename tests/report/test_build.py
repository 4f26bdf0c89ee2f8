"""The report as a whole: one safe, small, reproducible file that says what happened and why."""

import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
from PIL import Image
from report_data import EVIL, prepared, recipe, run

from tasks.evaluate.answers import read_answers, write_answers
from tasks.evaluate.compare import compare
from tasks.refs import DatasetRef
from tasks.report.inputs import ReportInputs
from tasks.report.words import MINUS

Page = Callable[[ReportInputs], str]


class Elements(HTMLParser):
    """Every tag of a page with its attributes, and all of its text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.texts: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    @property
    def text(self) -> str:
        """In single spaces, with a terminal's minus signs and arrows."""
        return re.sub(r"\s+", " ", " ".join(self.texts)).replace(MINUS, "-").replace("\N{RIGHTWARDS ARROW}", "->")


def section(html: str, name: str) -> str:
    """The text of one section."""
    return Elements(html.split(f'<section id="{name}">')[1].split("</section>")[0]).text


def test_a_browser_asks_for_nothing(promoted: ReportInputs, page: Page) -> None:
    html = page(promoted)
    for tag, attributes in Elements(html).tags:
        assert tag not in ("script", "link", "iframe", "object", "embed", "base", "form")
        assert attributes.get("src", "data:image/").startswith("data:image/")
        assert attributes.get("href", "#").startswith("#")
    assert not re.search(r"url\(|@import", html)
    assert "default-src 'none'" in html


def test_texts_of_the_data_stay_texts(promoted: ReportInputs, page: Page) -> None:
    html = page(promoted)
    evil = Elements(EVIL).tags
    assert not [found for found in Elements(html).tags if found in evil]
    assert "<script" not in html
    assert not [one for _, attributes in Elements(html).tags for one in attributes if one.startswith("on")]
    for name in ("questions", "data"):  # as a kind, as a dropped row's text, as its path
        assert '<script>alert("row")</script>' in section(html, name)


def test_paths_words_and_versions_are_escaped_as_well(promoted: ReportInputs, page: Page) -> None:
    outcome = promoted.outcome.model_copy(update={"why": EVIL})
    changed = {"outcome": outcome, "recipe_path": EVIL, "recipe_text": EVIL, "commit": EVIL, "libraries": {EVIL: EVIL}}
    html = page(promoted.model_copy(update=changed))
    assert "<script" not in html
    assert html.count("&lt;script&gt;") > 8


def test_every_reason_stands_with_its_count(promoted: ReportInputs, page: Page) -> None:
    html = page(promoted)
    found = {
        name: int(count.replace(",", ""))
        for name, count in re.findall(
            r'<summary><span><code>(\w+)</code></span>\s*<span class="n">([\d,]+)</span>', html
        )
    }
    assert found == promoted.data.reasons
    assert len(found) >= 10
    assert f"{promoted.data.rows:,} rows came in" in section(html, "data")


def test_dropped_rows_are_shown_with_picture_and_detail(promoted: ReportInputs, page: Page) -> None:
    html = page(promoted).split("<code>duplicate</code>")[1].split("</details>")[0]
    assert html.count('<img src="data:image/') == 8  # the card's examples
    assert "the same picture and text as" in html


def test_the_verdict_comes_first_and_says_why(refused: ReportInputs, page: Page) -> None:
    html = page(refused)
    head = Elements(html.split("</header>")[0]).text
    assert "Not promoted" in head
    assert "version 1, serves on" in head
    assert refused.gates
    first = next(row for row in refused.gates.rows if not row.holds)
    assert f"{first.name} : {first.measured}. Needed: {first.needed}" in head
    for name in refused.gates.failing:
        assert name in head


def test_a_failing_gate_says_what_was_measured_and_needed(refused: ReportInputs, page: Page) -> None:
    rows = page(refused).split('<section id="gates">')[1].split("</section>")[0].split("<tr>")[2:]
    assert refused.gates
    assert len(rows) == len(refused.gates.rows)
    for row, gate in zip(rows, refused.gates.rows, strict=True):
        text = Elements(row.split("</tr>")[0]).text
        assert ("holds" if gate.holds else "fails") in text
        assert gate.name in text
        for words in (gate.measured, gate.needed):
            assert words in text


def test_the_outcome_is_told_apart(promoted: ReportInputs, plain: ReportInputs, page: Page) -> None:
    head = page(promoted).split("</header>")[0]
    assert "has a new champion: version 4" in head
    assert "lavaflow rollback params/digits.yaml" in head
    head = page(plain).split("</header>")[0]
    assert "Waiting for a person" in head
    assert "lavaflow rollback" not in head


def test_differences_are_those_of_compare(promoted: ReportInputs, page: Page) -> None:
    text = section(page(promoted), "benchmarks")
    for ours, theirs in (("gptq", "base"), ("gptq", "merged"), ("awq", "merged"), ("merged", "base")):
        block = text.split(f"{ours} against {theirs} ")[1]
        paired = compare(promoted.evaluations[ours], promoted.evaluations[theirs], "textvqa")
        shown = f"TextVQA {paired.difference:+.1f} {paired.low:+.1f} to {paired.high:+.1f}".replace("+0.0", "0.0")
        assert shown in block


def test_models_that_were_asked_other_questions_are_named_and_not_compared(refused: ReportInputs, page: Page) -> None:
    champion = refused.evaluations["champion"]
    file = champion.folder / "mme.jsonl"
    before = file.read_bytes()
    try:
        write_answers(file, read_answers(file)[1:])
        assert "Not comparable: mme: " in section(page(refused), "benchmarks")
    finally:
        file.write_bytes(before)


def test_questions_won_and_lost_are_shown_with_both_answers(refused: ReportInputs, page: Page) -> None:
    html = page(refused)
    lost = html.split("<h3>Lost: ")[1].split("</section>")[0]
    answers = {a.id: a for a in read_answers(refused.evaluations["champion"].folder / "holdout.jsonl")}
    ours = read_answers(refused.evaluations["gptq"].folder / "holdout.jsonl")
    losses = [answer for answer in ours if answer.score < answers[answer.id].score]
    assert lost.startswith(f"{len(losses)} hold-out question")
    assert lost.count('<img src="data:image/') == 6
    assert losses[0].expected[0] in lost
    assert str(losses[0].prediction) in lost


def test_sections_without_data_are_left_out(plain: ReportInputs, page: Page) -> None:
    html = page(plain)
    assert plain.data.reasons == {}
    for absent in ("Dropped, and why", "Does the text fit", "gptq", "awq", "instruct"):
        assert absent not in html.split('<section id="lineage"')[0]
    bare = plain.model_copy(update={"trained": None, "evaluations": {}, "gates": None, "weights": {}})
    html = page(bare)
    assert re.findall(r'<section id="(\w+)"', html) == ["data", "costs", "lineage", "back"]


def test_the_same_run_gives_the_same_bytes(promoted: ReportInputs, page: Page) -> None:
    assert page(promoted) == page(promoted.model_copy(deep=True))


def test_how_often_the_hold_out_was_used_is_told_with_what_it_means(refused: ReportInputs, page: Page) -> None:
    text = section(page(refused), "gates")
    assert "7 candidates have been judged on this hold-out" in text
    assert "30.2%" in text  # 1 - 0.95^7


def test_two_thousand_dropped_rows_with_long_texts_stay_small(shop: Path, page: Page) -> None:
    data = noisy_data(shop / "noisy")
    html = page(run(recipe(), source=str(shop / "noisy/rows.jsonl")))
    assert sum(data.reasons.values()) >= 2000
    assert len(html.encode()) < 5_000_000
    assert html.count('<img src="data:image/') > 8
    longest = max(Elements(html.split("<summary>The recipe")[0]).text.split(" "), key=len)
    assert len(longest) < 500


def noisy_data(folder: Path) -> DatasetRef:
    """Pictures that do not compress, half of their rows dropped as repetitions, with texts without end."""
    random = np.random.default_rng(0)
    folder.mkdir()
    rows = []
    for number in range(60):
        Image.fromarray(random.integers(0, 255, (200, 260, 3), dtype=np.uint8)).save(folder / f"{number}.png")
        split = "holdout" if number % 6 == 0 else "train"
        asked = f"Question: Which number is written here? {number} {'x' * 4000}\nAnswer: {number}"
        rows += [json.dumps({"image": f"{number}.png", "text": asked, "split": split})] * 20
    rows += [f"{number} {'is no JSON' * 100}" for number in range(900)]
    (folder / "rows.jsonl").write_text("\n".join(rows))
    return prepared(str(folder / "rows.jsonl"), recipe())
