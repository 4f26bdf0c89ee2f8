"""How much of what `lavaflow sample digits` planted does `lavaflow prepare` find, and what does it cost in good rows?

    python bench/defects.py params/digits.yaml

The ledger beside the rows is the truth, row by row; prepare never reads it. Prints one line a defect and exits with 1
if one is under what the project promises.
"""

import json
import sys
from collections import Counter, defaultdict
from pathlib import Path

from tasks.chain import Chain
from tasks.console import set_up, table
from tasks.dataset import Dataset
from tasks.recipe import load_recipe

PROMISED = {
    "truncated": 1.0,
    "not_an_image": 1.0,
    "missing": 1.0,
    "bad_json": 1.0,
    "exact_duplicate": 1.0,
    "contaminated": 1.0,
    "near_duplicate": 0.95,
    "mismatched": 0.80,
}
"""Least share found."""
GOOD_LOST = {"near_duplicate": 0.01, "in_benchmark": 0.01, "straddles_split": 0.01, "misaligned": 0.05}
"""Most good rows lost to a rule, as a share of all good rows (misaligned: of those that were judged).

Three of the rules rest on the comparison of pictures: the same number in the same ink on the same paper can look alike.
"""


def main() -> int:
    """Measure."""
    set_up(verbose=False)
    recipe = load_recipe(Path(sys.argv[1] if len(sys.argv) > 1 else "params/digits.yaml"))
    ref = Chain(recipe).data
    ledger = {
        entry["line"]: entry["defect"]
        for entry in map(json.loads, (Path(recipe.prepare.sources[0]).parent / "ledger.jsonl").open())
    }
    data = Dataset(ref.folder)
    dropped = {row.line: row.reason for row in data.quarantined()}
    judged_good = sum(row.alignment is not None for row in data.all_rows if row.line not in ledger)
    judged_good += sum(row.alignment is not None for row in data.quarantined() if row.line not in ledger)

    planted: dict[str, Counter[str]] = defaultdict(Counter)
    for line, defect in ledger.items():
        planted[defect][dropped.get(line, "kept")] += 1
    lost = Counter(reason for line, reason in dropped.items() if line not in ledger)
    good = ref.rows - len(ledger)

    rows, failed = [], []
    for defect, reasons in planted.items():
        share = 1 - reasons["kept"] / reasons.total()
        if share < PROMISED[defect]:
            failed.append(defect)
        said = ", ".join(f"{count} {reason}" for reason, count in reasons.most_common())
        rows.append((defect, reasons.total(), f"{share:.1%}", f"{PROMISED[defect]:.0%}", said))
    print(table(rows, ("planted", "rows", "found", "promised", "as")))
    costs = []
    for reason, count in lost.most_common():
        share = count / (judged_good if reason == "misaligned" else good)
        if share > GOOD_LOST.get(reason, 0.0):
            failed.append(f"good rows lost as {reason}")
        costs.append((reason, count, f"{share:.2%}", f"{GOOD_LOST.get(reason, 0.0):.0%}"))
    print(table(costs, ("good rows lost as", "rows", "share", "allowed")) if costs else "no good row lost")
    kept = sum(ref.splits.values())
    print(f"rows in {ref.rows} = kept {kept} + quarantined {sum(ref.reasons.values())}")
    if ref.rows != kept + sum(ref.reasons.values()):
        failed.append("rows in = kept + quarantined")
    if failed:
        print("under what is promised: " + ", ".join(failed))
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
