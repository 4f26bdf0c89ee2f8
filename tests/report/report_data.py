"""A whole run's folders, written by the real writers with made-up answers and losses: what a report is made from.

python tests/report/report_data.py FOLDER      # writes the sample reports into FOLDER, to be looked at
"""

import io
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from tasks.dataset import Dataset, Message
from tasks.evaluate import holdout
from tasks.evaluate.answers import Benchmark, Picture, Question, write_answers
from tasks.evaluate.holdout import HOLDOUT
from tasks.evaluate.mme import MME
from tasks.evaluate.mmmu import MMMU
from tasks.evaluate.stage import EVALUATE
from tasks.evaluate.textvqa import TEXTVQA
from tasks.prepare.output import write_dataset
from tasks.prepare.pipeline import clean_rows
from tasks.prepare.sources import folder_of, read_source
from tasks.prepare.stage import PREPARE
from tasks.quantize.job import REPORT, Agreement, Report, Size
from tasks.quantize.stage import QUANTIZE
from tasks.recipe import Recipe, load_recipe
from tasks.refs import DatasetRef, EvalReport, ModelRef
from tasks.release.bundle import make_bundle
from tasks.release.gates import judge
from tasks.release.smoke import SmokeResult
from tasks.report.build import build_report
from tasks.report.inputs import Outcome, ReportInputs
from tasks.store import MANIFEST, digest_tree, read_manifest, run_stage
from tasks.train.ending import EndRule
from tasks.train.stage import MERGE, TRAIN

DIGITS = Path(__file__).parents[2] / "params" / "digits.yaml"
INKS = {"red": "#b3332b", "blue": "#27509c", "green": "#2c7a45", "black": "#222222"}
PAPERS = ("#f7f3e8", "#e8eef7", "#fbe9e7", "#ffffff")
SECONDS = {"prepare": 41.2, "train": 187.4, "merge": 2.3, "evaluate": 24.8, "quantize": 37.9}
EVIL = '<script>alert("row")</script><img src="http://evil.test/x.png" onerror="alert(1)">'


def recipe(**stages: Any) -> Recipe:
    """The digits recipe; `keep` is how many of its training stages there are, `serve` the form that serves, `align`
    whether pairs are judged."""
    made = load_recipe(DIGITS, ["train.stages.instruct.until.epochs=5"])
    prepare = made.prepare if stages.get("align", True) else made.prepare.model_copy(update={"alignment": None})
    train = made.train.model_copy(update={"stages": made.train.stages[: stages.get("keep", 3)]})
    serve = made.serve.model_copy(update={"weights": stages.get("serve", "gptq")})
    return made.model_copy(update={"prepare": prepare, "train": train, "serve": serve})


def number_picture(seed: int, side: int = 72) -> tuple[Image.Image, int, str]:
    """A number on paper: the picture, the number and the colour of its ink."""
    random = np.random.default_rng(seed)
    number, ink = int(random.integers(10, 100)), list(INKS)[int(random.integers(0, len(INKS)))]
    image = Image.new("RGB", (side * 3 // 2, side), PAPERS[int(random.integers(0, len(PAPERS)))])
    place = (int(random.integers(6, side // 2)), int(random.integers(-2, side // 4)))
    ImageDraw.Draw(image).text(place, str(number), fill=INKS[ink], font=ImageFont.load_default(size=side * 2 // 3))
    return image, number, ink


def questions_of(name: str, number: int, ink: str, turn: int) -> dict[str, str]:
    """One row about a picture; kinds take turns."""
    kind, asked, answer = [
        ("read", "Which number is written here?", str(number)),
        ("ink", "What colour is the ink?", ink),
        ("yes/no", "Is the number even?", "yes" if number % 2 == 0 else "no"),
        ("describe", "Describe the picture.", f"The number {number}, written by hand in {ink} ink."),
    ][turn % 4]
    split = "holdout" if turn % 5 == 0 else "validation" if turn % 23 == 1 else "train"
    return {"image": name, "text": f"Question: {asked}\nAnswer: {answer}", "kind": kind, "split": split}


def write_source(folder: Path, rows: int, defects: bool) -> str:
    """A JSONL file with pictures beside it; with defects, one or more of most kinds."""
    (folder / "images").mkdir(parents=True)
    lines: list[Any] = []
    for turn in range(rows):
        name = f"images/{turn:05d}.png"
        image, number, ink = number_picture(turn)
        image.save(folder / name)
        lines.append(questions_of(name, number, ink, turn))
    if defects:
        lines += _defects(folder, lines)
    text = "".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines)
    (folder / "rows.jsonl").write_text(text)
    return str(folder / "rows.jsonl")


def _defects(folder: Path, lines: Sequence[dict[str, str]]) -> list[Any]:
    file = io.BytesIO()
    number_picture(1)[0].save(file, "JPEG")
    (folder / "images/half.jpg").write_bytes(file.getvalue()[: len(file.getvalue()) // 2])
    (folder / "images/text.png").write_text("this is no picture")
    Image.new("RGB", (80, 80), "#ddd").save(folder / "images/blank.png")
    Image.new("RGB", (12, 12), "#ddd").save(folder / "images/small.png")
    row = {"text": "Question: Which number is written here?\nAnswer: 12", "split": "train"}
    broken = [{"image": f"images/{name}", **row} for name in ("half.jpg", "text.png", "blank.png", "small.png")]
    copies = [line for line in lines if line["split"] == "train"][:9]
    long = {"image": "images/00007.png", "text": f"Question: Why?\nAnswer: {'A very long answer. ' * 200}"}
    wrong = [
        {**line, "text": f"Question: Describe the picture.\nAnswer: A wooden table, number {n}.", "kind": "wrong"}
        for n, line in enumerate(lines[1:14])
    ]
    return [
        *broken,
        *copies,
        *wrong,
        {"image": "images/00009.png", "text": f"Question: {EVIL}\nAnswer: {EVIL}", "kind": EVIL, "split": "holdout"},
        {"image": "images/00011.png", "text": "Question: What is it?\nAnswer: ", "split": "train"},
        {"image": f"images/{EVIL}", **row},
        {"image": "../../secret.png", **row},
        {"text": f"Question: {EVIL}\nAnswer: {EVIL}"},
        long,
        '{"image": "images/00001.png", "text": "Question: cut off',
        f"{EVIL} is no JSON",
    ]


def prepared(source: str, plan: Recipe) -> DatasetRef:
    """The dataset of a source, cleaned by the real pipeline with a judge that dislikes wooden tables."""
    config = plan.prepare.model_copy(update={"sources": [source]})
    lines = list(read_source(source))

    def score(candidates: Sequence[Any]) -> list[float | None]:
        random = np.random.default_rng(3)
        drawn = random.normal(4.6, 1.1, len(candidates)).round(4).tolist()
        wooden = ["wooden" in one.record.answer for one in candidates]
        spoken = [len(one.record.answer.split()) >= 3 for one in candidates]
        return [(value - 5.5 * bad if said else None) for value, bad, said in zip(drawn, wooden, spoken, strict=True)]

    def build(folder: Path) -> dict[str, Any]:
        result = clean_rows(lines, {source: folder_of(source)}, config, {}, score if config.alignment else None)
        write_dataset(folder, lines, result, config.alignment.model if config.alignment else None)
        reasons: dict[str, int] = {}
        for item in result.quarantined:
            reasons[item.reason] = reasons.get(item.reason, 0) + 1
        splits = {
            name: len([row for row in result.rows if row.split == name]) for name in ("train", "validation", "holdout")
        }
        return {"rows": len(lines), "splits": splits, "reasons": reasons}

    return _timed(run_stage(PREPARE, inputs={source: digest_tree(Path(source))}, section=config, build=build))


def trained(plan: Recipe, data: DatasetRef, diverged: bool = False) -> ModelRef:
    """A training's folder: losses that fall as they do, written by the trainer."""
    from tasks.train.trainer import Ending, Trainer

    def build(folder: Path) -> dict[str, Any]:
        random = np.random.default_rng(5)
        trainer = Trainer(None, plan.train, [], [], None, folder, None)  # type: ignore[call-arg, arg-type]
        endings, loss, rows = [], 3.1, 2600
        for number, stage in enumerate(plan.train.stages):
            rule = EndRule(stage, rows, plan.train.samples_per_update)
            floor, reason, update, eval_loss = 1.2 / 4**number, None, 0, None
            while reason is None:
                loss = floor + (loss - floor) * (0.95 if number < 2 else 0.99)
                seen = (
                    loss * float(random.lognormal(0, 0.12)) * (1.4 ** max(0, update - 30) if diverged and number else 1)
                )
                eval_loss = loss * 1.05 if rule.wants_look(update) else None
                rates = {name: how.lr * rule.lr_scale(update) for name, how in stage.components.items()}
                trainer._write_metrics(stage.name, update, seen, eval_loss, rates, dict.fromkeys(rates, 1.0), 0.3)
                reason = rule.after_update(update, seen, eval_loss)
                update += 1
            ended = {"updates": update, "samples": update * 48, "target_tokens": update * 291}
            smoothed = rule.progress.smoothed or 0.0
            endings.append(Ending(stage=stage.name, reason=reason, loss=smoothed, eval_loss=loss * 1.05, **ended))
            if reason == "diverged":
                break
        (folder / "endings.json").write_text(json.dumps([ending.model_dump() for ending in endings]))
        return {"form": "adapter", "bytes": 1_204_000, "base": "data/digits/base"}

    return _timed(
        run_stage(TRAIN, inputs={"data": data.digest, "worse": str(diverged)}, section=plan.train, build=build)
    )


def weights(form: str, size: int) -> ModelRef:
    """A model's folder, with no model in it: a report reads its size and how it was quantized."""
    stage = MERGE if form == "merged" else QUANTIZE

    def build(folder: Path) -> dict[str, Any]:
        (folder / "model.safetensors").write_text(f"{form} {size}")
        if form in ("gptq", "awq"):
            report = Report(
                method=form, bits=4, group_size=32, engine="gptqmodel 7.6.0", engine_asked="gptqmodel",
                calibrated_in="float32", rows=64, tokens=5120, linear_ratio=0.2969, layers=[], versions={},
                size=Size(linears=297, linears_16bit=1000, total=size),
                agreement=Agreement(rows=64, tokens=402, same_token=0.985, kl=0.004),
            )  # fmt: skip
            (folder / REPORT).write_text(report.model_dump_json())
        return {"form": form, "bytes": size}

    return _timed(run_stage(stage, inputs={"form": form, "size": str(size)}, section={}, build=build))


def base() -> ModelRef:
    folder = Path("data/digits/base")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.safetensors").write_text("base")
    return ModelRef(path=str(folder), digest=digest_tree(folder), form="base", bytes=11_200_000)


def benchmark_questions(data: DatasetRef) -> dict[Benchmark, list[Question]]:
    """The dataset's hold-out, and a few dozen questions of each benchmark."""
    asked = {HOLDOUT: holdout.read(recipe().evaluate.holdout, Dataset(data.folder))}

    def many(
        name: str, count: int, kinds: Sequence[str], expected: Callable[[int], tuple[str, ...]], **more: Any
    ) -> list[Question]:
        return [
            Question(
                id=f"{name}{n}", expected=expected(n), category=kinds[n // 2 % len(kinds)], group=f"{name}{n // 2}",
                messages=(Message(role="user", content="<image>\nIs it so?"),),
                images=(Picture.stored("x", b"x"),), **more,
            )
            for n in range(count)
        ]  # fmt: skip

    asked[MME] = many("mme", 120, ("existence", "count", "OCR"), lambda n: (("Yes", "No")[n % 2],), variant="llava")
    asked[TEXTVQA] = many("tv", 80, ("",), lambda n: (str(n),) * 7 + (f"{n}0",) * 3)
    options = {"options": ("a", "b", "c"), "question_type": "multiple-choice"}
    asked[MMMU] = many("mmmu", 60, ("Math", "Design", "Art"), lambda n: ("ABC"[n % 3],), **options)
    return asked


def evaluated(model: ModelRef, data: DatasetRef, skill: float) -> EvalReport:
    """Answers that are right with a chance of `skill`; a more skilful model is right wherever a lesser one is."""

    def build(folder: Path) -> dict[str, Any]:
        scores = {}
        for benchmark, asked in benchmark_questions(data).items():
            random = np.random.default_rng(len(asked))
            # a common draw makes models agree, an own one makes them differ here and there
            own = np.random.default_rng(int(model.digest[:8], 16)).random(len(asked))
            right = (random.random(len(asked)) < skill) ^ (own < 0.004)
            said = [one.expected[0] if good else _wrong(one) for one, good in zip(asked, right, strict=True)]
            answers = [
                benchmark.answer(question, text, [one.sha for one in question.images], None)
                for question, text in zip(asked, said, strict=True)
            ]
            write_answers(folder / f"{benchmark.name}.jsonl", answers)
            scores[benchmark.name] = benchmark.score(answers).model_dump()
        return {"model": model.digest, "form": model.form, "scores": scores}

    inputs = {"model": model.digest, "data": data.digest, "skill": str(skill)}
    return _timed(run_stage(EVALUATE, inputs=inputs, section=recipe().evaluate, build=build))


def _wrong(question: Question) -> str:
    """A wrong answer of the right sort."""
    turned = {"Yes": "No", "No": "Yes", "yes": "no", "no": "yes", "A": "B", "B": "C", "C": "A", "red": "black"}
    return turned.get(question.expected[0], question.expected[0].replace("1", "7").replace("4", "9") + "8")


def _timed(ref: Any) -> Any:
    """The same result, with the times of a real run in its manifest."""
    manifest = read_manifest(ref.folder)
    assert manifest
    when = {"seconds": SECONDS[manifest.stage], "finished": "2026-11-23T19:31:05+0000"}
    (ref.folder / MANIFEST).write_text(manifest.model_copy(update=when).model_dump_json())
    return ref


def run(
    plan: Recipe,
    *,
    source: str | None = None,
    skills: tuple[float, float, float] = (0.75, 0.95, 0.94),
    diverged: bool = False,
    forms: Sequence[str] = ("gptq", "awq"),
    looks: int = 1,
    earlier: float | None = None,
    waiting: bool = False,
) -> ReportInputs:
    """Everything that the flow hands to the report.

    Args:
        plan: the recipe.
        source: its JSONL; default a fresh one of 260 rows with defects.
        skills: share of right answers of base, merged and quantized model.
        diverged: whether the training left for good.
        forms: that were quantized.
        looks: how often the hold-out was used.
        earlier: skill of an earlier champion; None if it is the base.
        waiting: whether a person decides.
    """
    source = source or write_source(Path("data/digits"), 260, defects=True)
    data, start = prepared(source, plan), base()
    training, merged = trained(plan, data, diverged), weights("merged", 11_200_000)
    made = {"merged": merged, **{form: weights(form, 4_100_000 + len(form)) for form in forms}}
    reports = {form: evaluated(ref, data, skills[1 if form == "merged" else 2]) for form, ref in made.items()}
    evaluations = {"base": evaluated(start, data, skills[0]), **reports}
    champion = evaluations["base"]
    if earlier is not None:
        champion = evaluations["champion"] = evaluated(weights("gptq", 4_099_999), data, earlier)
    bundle = make_bundle(plan, weights=list(made.values()), reports=list(reports.values()), data=data, trained=training)
    smoke = SmokeResult(engine="transformers", asked=52, answered=52, same=51, differing=[])
    table = judge(bundle, champion, plan.promote.gates, smoke)
    state = "waiting" if waiting else "promoted" if table.holds else "not promoted"
    return ReportInputs(
        recipe=plan,
        recipe_path="params/digits.yaml",
        recipe_text=DIGITS.read_text(),
        data=data,
        trained=training,
        weights={"base": start, **made},
        evaluations=evaluations,
        gates=table,
        outcome=Outcome(
            state=state,
            why="It replaces version 1." if state == "promoted" else "",
            version=4,
            champion=4 if state == "promoted" else 1,
        ),
        holdout_uses=looks,
        commit="6d00cf0a1b2c3d4e5f60718293a4b5c6d7e8f901+",
        libraries={"torch": "2.13.0", "transformers": "5.17.0", "peft": "0.21.2", "gptqmodel": "7.6.0"},
    )


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    os.chdir(folder)
    source = write_source(Path("data/digits"), 900, defects=True)
    build_report(run(recipe(), source=source), Path("promoted.html"))

    build_report(
        run(recipe(), source=source, skills=(0.75, 0.6, 0.55), diverged=True, looks=7, earlier=0.9),
        Path("refused.html"),
    )
    clean = write_source(Path("data/clean"), 120, defects=False)
    plain = recipe(keep=1, serve="merged", align=False)
    build_report(run(plain, source=clean, forms=(), waiting=True, skills=(0.9, 0.93, 0)), Path("waiting.html"))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
