"""What a report is made of: references, the gate table and what became of the candidate; the rest it reads itself.

inputs = ReportInputs(recipe=recipe, recipe_path="params/digits.yaml", recipe_text=text, data=data, trained=trained,
                      weights={"base": base, "merged": merged, "gptq": gptq},
                      evaluations={"base": report, "merged": ..., "gptq": ...}, gates=table,
                      outcome=Outcome(state="promoted", why="every gate holds"), holdout_uses=1)
build_report(inputs, Path("report.html"))
"""

from typing import Literal

from pydantic import BaseModel, ConfigDict, NonNegativeInt

from tasks.recipe import Recipe
from tasks.refs import DatasetRef, EvalReport, Form, ModelRef
from tasks.release.gates import GateTable

EvalName = Literal["base", "champion", "merged", "gptq", "awq"]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Outcome(_Part):
    """What became of the candidate."""

    state: Literal["promoted", "not promoted", "waiting"]
    """`waiting`: registered, and a person decides."""
    why: str = ""
    """In one sentence, beside what the gate table says."""
    version: int | None = None
    """Number of the candidate in the registry."""
    champion: int | None = None
    """Number of the version that serves now."""


class ReportInputs(_Part):
    """One run, by reference. What was not made (no quantization, one stage) is left out, and so is its section."""

    recipe: Recipe
    recipe_path: str
    """The file, as the user types it behind `lavaflow retrain`."""
    recipe_text: str
    """The file's text; what this run overrode is in `recipe`."""
    data: DatasetRef
    trained: ModelRef | None = None
    """The training's folder (form `adapter`)."""
    weights: dict[Form, ModelRef]
    """`base` and what was made of it: `merged`, `gptq`, `awq`."""
    evaluations: dict[EvalName, EvalReport]
    """`champion` only if it is not the base."""
    gates: GateTable | None = None
    outcome: Outcome
    holdout_uses: NonNegativeInt
    """Candidates that were judged on this hold-out so far, this one among them."""
    commit: str | None = None
    """Git commit of the working folder, `+` behind it if files were changed."""
    libraries: dict[str, str] = {}
    """Versions of what computed it."""

    @property
    def champion(self) -> EvalReport | None:
        """What the candidate had to beat."""
        return self.evaluations.get("champion") or self.evaluations.get("base")

    @property
    def candidate(self) -> EvalReport | None:
        """The answers of the weights that would serve; of the merged ones if those were not evaluated."""
        return self.evaluations.get(self.recipe.serve.weights) or self.evaluations.get("merged")
