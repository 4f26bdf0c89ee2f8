"""The `lavaflow` command. A room is imported only when its command runs, so `--help` is quick.

    lavaflow retrain params/digits.yaml            python -m tasks.cli retrain params/digits.yaml

Exit status: 0 done, 1 a bug (with its traceback), 2 something the user can mend (one line), 3 the candidate was not
promoted, 130 stopped by Ctrl-C.
"""

import argparse
import atexit
import gc
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tasks import commands, console

Command = Callable[[argparse.Namespace], int]

RECIPE_COMMANDS: dict[str, tuple[Command, str, str]] = {
    "retrain": (
        commands.retrain,
        "run everything: prepare, train, evaluate, quantize, gate, promote, report",
        "Stages whose inputs, settings and code are unchanged are taken from runs/; a killed run goes on where it\n"
        "stopped when you give the same command again. Exit status 3: the candidate was judged and not promoted.",
    ),
    "prepare": (
        commands.prepare,
        "clean the data: broken, repeated, contaminated and misaligned rows go to quarantine",
        "The dataset lies in runs/prepare/ and, under DVC, in data/prepared/. Rows in = rows kept + rows quarantined.",
    ),
    "train": (
        commands.train,
        "fine-tune in stages and merge the result into one plain model",
        "With --data FOLDER it trains on a dataset that was prepared elsewhere (a GPU box without DVC and Prefect).",
    ),
    "quantize": (
        commands.quantize,
        "export the merged model to the recipe's 4-bit forms, reload and check them",
        "Runs in a process of its own; its log lies in the result's folder.",
    ),
    "evaluate": (
        commands.evaluate,
        "score the base and every form of the fine-tuned model",
        "With --weights it scores the named forms only: base, merged, gptq, awq.",
    ),
    "promote": (
        commands.promote,
        "let a judged version serve, if every gate holds",
        "Without --version it takes the candidate. The gate table says what failed. --lift N lets a version that was\n"
        "rolled back be promoted again.",
    ),
    "rollback": (
        commands.rollback,
        "let the previous champion serve again, and bar the one it replaces",
        "Start `lavaflow serve` again afterwards. `lavaflow promote RECIPE --lift N` lifts the bar.",
    ),
    "serve": (
        commands.serve,
        "serve the champion behind an OpenAI-compatible API, on loopback and with a key",
        "The key is that of $LAVAFLOW_API_KEY, or one made in runs/serve/. --try asks one hold-out question and ends.",
    ),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; its exit status."""
    options = parser().parse_args(arguments)
    console.set_up(options.verbose)
    gc.set_threshold(5_000)  # what prefect, mlflow and dvc import is no garbage: looking through it
    atexit.register(gc.freeze)  # again and again, and once more at the end, took a third of an unchanged run
    try:
        command: Command = options.run
        return command(options)
    except (Exception, KeyboardInterrupt) as error:
        words = console.explain(error)
        if words is None:
            raise
        for line in words.splitlines():
            print(f"lavaflow: {line}", file=sys.stderr)
        return 130 if isinstance(error, KeyboardInterrupt) else 2


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = _Parser(
        prog="lavaflow",
        description="Keeps a LLaVA-style vision-language model current: clean data, training, gates, a way back.",
        epilog="Start here: lavaflow retrain params/digits.yaml. tasks/recipe.py explains every key of a recipe.",
    )
    top.add_argument("-v", "--verbose", action="store_true", help="say more")
    verbs = top.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name, (run, about, more) in RECIPE_COMMANDS.items():
        verb = _add(verbs, name, run, about, more)
        verb.add_argument("recipe", metavar="RECIPE", type=Path, help="a recipe file, such as params/digits.yaml")
        verb.add_argument(
            "--set",
            metavar="KEY=VALUE",
            action="append",
            default=[],
            dest="overrides",
            help="override one value for this run, such as train.max_length=1024 or train.stages.align.until.steps=50",
        )
        _own_options(name, verb)
    _add_others(verbs)
    return top


def _own_options(name: str, verb: argparse.ArgumentParser) -> None:
    if name in ("train", "evaluate", "quantize"):
        verb.add_argument("--data", metavar="FOLDER", type=Path, help="a prepared dataset, instead of the recipe's own")
    if name == "evaluate":
        verb.add_argument("--weights", nargs="+", choices=("base", "merged", "gptq", "awq"), help="forms to score")
    if name == "promote":
        verb.add_argument("--version", metavar="N", type=int, help="of the registered model; default the candidate")
        verb.add_argument("--lift", metavar="N", type=int, help="lift the bar on a version that was rolled back")
    if name == "serve":
        verb.add_argument("--try", action="store_true", dest="once", help="ask one hold-out question, then end")


def _add_others(verbs: "argparse._SubParsersAction[Any]") -> None:
    sample = _add(
        verbs,
        "sample",
        commands.sample,
        "make an embedded data set, its benchmarks and its base model",
        "digits: scikit-learn's 1,797 scanned digits as questions about pictures, with planted defects and their\n"
        "ledger; a CLIP and a small LLaVA pre-trained on the spot. Takes a few minutes on two cores.",
    )
    sample.add_argument("name", choices=("digits",))
    score = _add(
        verbs,
        "score",
        commands.score,
        "score a file of predictions by a benchmark's official rules",
        "FILE is JSON Lines. mme: question_id, category, question, answer, prediction. textvqa: question_id, answers,\n"
        "prediction. mmmu: id, question_type, options, answer, prediction.",
    )
    score.add_argument("benchmark", choices=("mme", "textvqa", "mmmu"))
    score.add_argument("file", metavar="FILE", type=Path)
    score.add_argument("--json", action="store_true", help="print one JSON object")
    data = _add(verbs, "data", None, "the data's life outside of a run", "")
    actions = data.add_subparsers(title="actions", metavar="ACTION", required=True)
    announce = _add(
        actions,
        "announce",
        commands.announce,
        "say that new data is here: starts the deployment `on-new-data`",
        "Emits the event dataset.updated on the Prefect server (`make up`, or $PREFECT_API_URL).",
    )
    announce.add_argument("recipe", metavar="RECIPE", type=Path, help="the recipe that is to be retrained on it")
    announce.set_defaults(overrides=[])
    doctor = _add(
        verbs,
        "doctor",
        commands.doctor,
        "say what this machine can run, and what a recipe needs that is not here",
        "Exit status 2 if something the recipe needs is missing; every gap comes with its remedy.",
    )
    doctor.add_argument("recipe", metavar="RECIPE", type=Path, nargs="?")
    doctor.add_argument("--set", metavar="KEY=VALUE", action="append", default=[], dest="overrides")


class _Parser(argparse.ArgumentParser):
    """Keeps the line breaks of the explanations."""

    def __init__(self, **options: object) -> None:
        super().__init__(formatter_class=argparse.RawDescriptionHelpFormatter, **options)  # type: ignore[arg-type]


def _add(
    verbs: "argparse._SubParsersAction[Any]", name: str, run: Command | None, about: str, more: str
) -> argparse.ArgumentParser:
    described = f"{about[0].upper()}{about[1:]}."
    verb = verbs.add_parser(name, help=about, description=f"{described}\n\n{more}".rstrip())
    verb.set_defaults(run=run)
    return verb


if __name__ == "__main__":
    sys.exit(main())
