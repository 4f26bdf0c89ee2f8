"""Finds a model by local folder or hub id, and says what its content is, without importing torch.

base_ref("llava-hf/llava-1.5-7b-hf", revision=None)      # ModelRef of the fetched snapshot
find_model("data/digits/clip", key="prepare.alignment.model")
"""

from pathlib import Path

from tasks.errors import LavaflowError
from tasks.refs import ModelRef, Ref
from tasks.store import digest_json, digest_tree

WANTED = ["*.json", "*.safetensors", "*.jinja", "*.model", "*.txt"]
"""No pickled weights, and no code."""


def find_model(model: str, *, key: str, revision: str | None = None) -> Ref:
    """The folder of a model; a hub id is fetched and pinned to its commit.

    Args:
        model: local folder or hub id.
        key: of the recipe, for the error.
        revision: hub commit or tag; None for the newest.

    Raises:
        LavaflowError: neither a folder nor a model on the hub.
    """
    folder = Path(model)
    if folder.is_dir():
        return Ref(path=model, digest=digest_tree(folder))
    if model.count("/") != 1 or model.startswith((".", "/")):
        raise LavaflowError(f"{key}: {model} is neither a folder here nor a hub id (owner/name)")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        local = Path(snapshot_download(model, revision=revision, allow_patterns=WANTED))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError) as error:
        said = " ".join(str(error).split())[:200]
        raise LavaflowError(f"{key}: cannot fetch {model} from the hub: {said}") from error
    return Ref(path=str(local), digest=digest_json([model, local.name]))  # the snapshot is named by its commit


def base_ref(base: str, revision: str | None = None) -> ModelRef:
    """The reference of a recipe's base model. Raises LavaflowError as `find_model`."""
    found = find_model(base, key="model.base", revision=revision)
    return ModelRef(path=found.path, digest=found.digest, form="base", bytes=weight_bytes(found.folder))


def weight_bytes(folder: Path) -> int:
    """Size of a model folder's weight files in bytes."""
    return sum(file.stat().st_size for file in folder.glob("*.safetensors"))
