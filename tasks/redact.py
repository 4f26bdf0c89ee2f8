"""What may be shown of a recipe: its addresses without user and password.

shown("postgresql://user:secret@db/mlflow")          # postgresql://db/mlflow
without_secrets(recipe)
"""

from urllib.parse import urlsplit

from tasks.recipe import Recipe


def shown(uri: str) -> str:
    """A URI without its user and password."""
    parts = urlsplit(uri)
    return uri.replace(f"{parts.netloc.rpartition('@')[0]}@", "", 1) if "@" in parts.netloc else uri


def without_secrets(recipe: Recipe) -> Recipe:
    """The recipe as it may be printed, kept and shown: its tracking URI without user and password."""
    tracking = recipe.tracking.model_copy(update={"uri": shown(recipe.tracking.uri)})
    return recipe.model_copy(update={"tracking": tracking})
