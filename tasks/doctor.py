"""`lavaflow doctor [RECIPE]`: what this machine can run, what a recipe needs, and the remedy for each gap."""

import importlib.util
import os
import shutil
import socket
import sys
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from urllib.parse import urlsplit

from tasks.recipe import Recipe

EXTRAS = {"gptqmodel": "quantize", "bitsandbytes": "qlora", "starlette": "serve", "uvicorn": "serve", "openai": "serve"}
ALWAYS = ("torch", "transformers", "peft", "prefect", "mlflow", "dvc")
BYTES_A_WEIGHT = {"float32": 4, "bfloat16": 2, "float16": 2}


@dataclass(frozen=True)
class Check:
    """One thing looked at."""

    name: str
    holds: bool | None
    """None: told for information."""
    found: str
    remedy: str = ""


def examine(recipe: Recipe | None) -> list[Check]:
    """Look at this machine and, with a recipe, at what it needs."""
    checks = [_python(), *(_package(name) for name in ALWAYS), *_machine()]
    if recipe:
        checks += [*_extras(recipe), *_files(recipe), *_room(recipe), _port(recipe), _tracking(recipe)]
    else:
        checks += [_package(name, needed=False) for name in EXTRAS]
    return checks


def _python() -> Check:
    found = ".".join(map(str, sys.version_info[:3]))
    return Check("Python", sys.version_info >= (3, 11), found, "use Python 3.11 or newer")


def _package(name: str, needed: bool = True) -> Check:
    extra = EXTRAS.get(name)
    remedy = f"pip install 'lavaflow[{extra}]'" if extra else "make install"
    try:
        return Check(name, True, version(name))
    except PackageNotFoundError:
        return Check(name, False if needed else None, f"not installed ({remedy})", remedy)


def _machine() -> list[Check]:
    free = shutil.disk_usage(".").free
    return [
        Check(
            "processors",
            None,
            str(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()),
        ),
        Check("memory", None, f"{_memory() / 1e9:.1f} GB free"),
        Check("disk", free > 5e9, f"{free / 1e9:.1f} GB free here", "free 5 GB on this file system"),
        Check("accelerator", None, _accelerator()[0]),
    ]


def _extras(recipe: Recipe) -> list[Check]:
    needed = ["starlette", "uvicorn", "openai"]
    if recipe.quantize.gptq or recipe.quantize.awq:
        needed.append("gptqmodel")
    if recipe.model.load_in_4bit:
        needed.append("bitsandbytes")
    checks = [_package(name) for name in needed]
    if recipe.serve.engine == "vllm":
        here = Path(".vllm/bin/python").exists()
        checks.append(Check("vllm", here, "in .vllm" if here else "no .vllm environment", "make vllm"))
    return checks


def _files(recipe: Recipe) -> list[Check]:
    remedy = f"lavaflow sample {recipe.sample}" if recipe.sample else "put it there, or change the recipe"
    paths = {f"prepare.sources {source}": source for source in recipe.prepare.sources}
    paths |= {"model.base": recipe.model.base}
    if recipe.prepare.alignment:
        paths["prepare.alignment.model"] = recipe.prepare.alignment.model
    for name in ("mme", "textvqa", "mmmu"):
        if section := getattr(recipe.evaluate, name):
            paths[f"evaluate.{name}"] = section.path
    checks = []
    for key, path in paths.items():
        if Path(path).exists():
            checks.append(Check(key, True, path))
        elif recipe.sample:
            checks.append(Check(key, None, f"{path}: will be made by `{remedy}`"))
        elif key in ("model.base", "prepare.alignment.model") and path.count("/") == 1:
            checks.append(_hub(key, path))
        else:
            checks.append(Check(key, False, f"{path}: not there", remedy))
    return checks


def _hub(key: str, model: str) -> Check:
    from huggingface_hub import try_to_load_from_cache

    if isinstance(try_to_load_from_cache(model, "config.json"), str):
        return Check(key, True, f"{model}: in the hub's cache")
    reached = _reaches("huggingface.co", 443)
    return Check(
        key, reached, f"{model}: {'on the hub' if reached else 'the hub is out of reach'}", "download it to a folder"
    )


def _room(recipe: Recipe) -> list[Check]:
    """Memory for the weights and what trains, disk for the merged and quantized copies; estimates from the config."""
    count = _weights(recipe)
    if count is None:
        return [Check("memory for training", None, "unknown until the base model is here")]
    width = BYTES_A_WEIGHT[recipe.model.dtype]
    held = count * (0.6 if recipe.model.load_in_4bit else width)
    full = any(
        plan.train == "full" for s in recipe.train.stages for n, plan in s.components.items() if n == "language_model"
    )
    needed = held + (count * 16 if full else 0.05 * count * 16) + 2e9
    name, device_memory = _accelerator()
    where, free = (name, device_memory) if device_memory else ("this machine", _memory())
    disk = shutil.disk_usage(".").free
    copies = count * width * 2.5
    return [
        Check(
            "memory for training",
            free >= needed,
            f"about {needed / 1e9:.0f} GB needed, {free / 1e9:.0f} GB on {where}",
            "use a card with more memory, model.load_in_4bit: nf4, or LoRA instead of full training",
        ),
        Check(
            "disk for models",
            disk >= copies,
            f"about {copies / 1e9:.0f} GB needed",
            "free space for merged and 4-bit copies",
        ),
    ]


def _weights(recipe: Recipe) -> int | None:
    """Weights of the base model, from its files' sizes."""
    folder = Path(recipe.model.base)
    size = sum(file.stat().st_size for file in folder.glob("*.safetensors")) if folder.is_dir() else 0
    if size:
        return size // BYTES_A_WEIGHT[recipe.model.dtype]
    return (
        7_060_000_000
        if "7b" in recipe.model.base.lower()
        else 13_350_000_000
        if "13b" in recipe.model.base.lower()
        else None
    )


def _port(recipe: Recipe) -> Check:
    with socket.socket() as probe:
        try:
            probe.bind((recipe.serve.host, recipe.serve.port))
        except OSError as error:
            return Check(
                "serve.port", False, f"{recipe.serve.port}: {error.strerror}", "stop what uses it, or change serve.port"
            )
    return Check("serve.port", True, f"{recipe.serve.port} is free")


def _tracking(recipe: Recipe) -> Check:
    parts = urlsplit(recipe.tracking.uri)
    if parts.scheme not in ("http", "https"):
        return Check("tracking.uri", True, recipe.tracking.uri.split("@")[-1])
    reached = _reaches(parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80))
    return Check("tracking.uri", reached, f"{parts.hostname}: {'answers' if reached else 'no answer'}", "make up")


def _reaches(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), 3).close()
    except OSError:
        return False
    return True


def _memory() -> float:
    """Free memory in bytes."""
    file = Path("/proc/meminfo")
    if file.exists():
        kilobytes = {line.split(":")[0]: line.split()[1] for line in file.read_text().splitlines()}
        return float(kilobytes["MemAvailable"]) * 1024
    return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))


def _accelerator() -> tuple[str, float]:
    """Name and free memory in bytes of the accelerator; zero if there is none."""
    if importlib.util.find_spec("torch") is None:
        return "unknown without torch", 0.0
    import torch

    if torch.cuda.is_available():
        return torch.cuda.get_device_name(), float(torch.cuda.mem_get_info()[0])
    found = torch.accelerator.current_accelerator(check_available=True)
    return (str(found), 0.0) if found else ("none: the CPU computes", 0.0)
