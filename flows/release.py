"""The flows `promote` and `rollback`: what a person runs, from the command line or as a deployment.

prefect deployment run promote/promote -p recipe=params/digits.yaml       # running it is the approval
prefect deployment run rollback/rollback -p recipe=params/digits.yaml
"""

from pathlib import Path

from prefect import flow

from flows import steps
from tasks.console import set_levels
from tasks.recipe import load_recipe
from tasks.release.promote import Promotion


@flow(name="promote", flow_run_name="{recipe}", persist_result=False)
def promote(recipe: str, version: int | None = None) -> Promotion:
    """Let a judged version serve, if every gate holds.

    Args:
        recipe: path of the recipe file.
        version: number of the version; default the candidate.

    Raises:
        LavaflowError: there is none, or it was judged against another champion.
    """
    set_levels()
    return steps.promote(load_recipe(Path(recipe)), version)


@flow(name="rollback", flow_run_name="{recipe}", persist_result=False)
def rollback(recipe: str) -> Promotion:
    """Let the previous champion serve again, and bar the one it replaces.

    Raises:
        LavaflowError: there is none to go back to.
    """
    set_levels()
    return steps.rollback(load_recipe(Path(recipe)))
