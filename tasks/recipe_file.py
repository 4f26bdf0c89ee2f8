"""Reads a recipe's YAML and words its errors: file, line, key, what is wrong, the nearest valid name.

    params/digits.yaml:31: train.stages.align.projecter: no such key; did you mean `projector`?

Nothing else of lavaflow reads YAML. Duplicate keys and aliases, and with them merge keys, are refused: what a file
says must be seen in it.
"""

import difflib
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from tasks.errors import LavaflowError

M = TypeVar("M", bound=BaseModel)
Location = tuple[str | int, ...]


def read_recipe(path: Path, overrides: list[str], model: type[M]) -> M:
    """Read, override and validate; every failure is a LavaflowError that names its place."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise LavaflowError(
            f"{path}: cannot read the recipe ({error}){_nearest_file(path) if isinstance(error, OSError) else ''}"
        ) from None
    try:
        _refuse_aliases(text, path)
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        lines: dict[Location, int] = {}
        if root is not None:
            _index(root, (), lines, path)
        values = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError) as error:
        said = " ".join(str(error).replace('"<unicode string>"', str(path)).split())
        raise LavaflowError(f"{path}: not valid YAML: {said}") from None
    if not isinstance(values, dict):
        raise LavaflowError(f"{path}: a recipe is a mapping of sections; see params/digits.yaml")
    if "name" in values:
        raise LavaflowError(f"{path}: `name` is not a key; a recipe is named by its file")
    for override in overrides:
        _override(values, override)
    if "name" in values:
        raise LavaflowError("--set name: not a key; a recipe is named by its file")
    try:
        return model.model_validate({**values, "name": path.stem})
    except ValidationError as error:
        messages = [_message(path, lines, values, model, problem) for problem in error.errors()]
        raise LavaflowError("\n".join(messages)) from None


def _refuse_aliases(text: str, path: Path) -> None:
    """`*name` says elsewhere what stands here, and ten lines of it can unfold to a thousand million values."""
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        if isinstance(event, yaml.AliasEvent):
            line = event.start_mark.line + 1 if event.start_mark else 1
            raise LavaflowError(f"{path}:{line}: *{event.anchor}: aliases are not read; write the value out")


def _index(node: yaml.Node, where: Location, lines: dict[Location, int], path: Path) -> None:
    """Note the line of every key, and refuse a key that stands twice in one mapping."""
    lines[where] = node.start_mark.line + 1
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise LavaflowError(f"{path}:{key.start_mark.line + 1}: a key must be a name")
            place = (*where, key.value)
            if place in lines:
                line = key.start_mark.line + 1
                raise LavaflowError(f"{path}:{line}: {_dotted(place)}: stands twice (first in line {lines[place]})")
            _index(value, place, lines, path)
            lines[place] = key.start_mark.line + 1
    elif isinstance(node, yaml.SequenceNode):
        for number, value in enumerate(node.value):
            _index(value, (*where, number), lines, path)


def _override(values: dict[str, Any], text: str) -> None:
    """Apply one `a.b=c`; a list item is named by its number or by its `name`."""
    dotted, equals, value = text.partition("=")
    keys = dotted.strip().split(".")
    if not equals or not all(keys):
        raise LavaflowError(f"--set {text}: write it as section.key=value, such as train.max_length=1024")
    place: Any = values
    for number, key in enumerate(keys):
        last = number == len(keys) - 1
        if isinstance(place, list):
            names = [item.get("name") if isinstance(item, dict) else None for item in place]
            index = names.index(key) if key in names else int(key) if key.isdigit() else -1
            if not 0 <= index < len(place):
                known = ", ".join(str(name) for name in names if name) or f"0 to {len(place) - 1}"
                raise LavaflowError(f"--set {text}: no item `{key}` in {'.'.join(keys[:number])}; it has {known}")
            target: Any = index
        elif isinstance(place, dict):
            target = key
            if not last and place.get(key) is None:
                place[key] = {}
        else:
            raise LavaflowError(f"--set {text}: {'.'.join(keys[:number])} is a single value")
        if last:
            try:
                place[target] = yaml.safe_load(value)
            except yaml.YAMLError as error:
                raise LavaflowError(f"--set {text}: the value is not YAML: {' '.join(str(error).split())}") from None
        place = place[target]


def _message(path: Path, lines: dict[Location, int], values: Any, model: type[BaseModel], problem: Any) -> str:
    where = _in_file(problem["loc"], values)
    line = next((lines[where[:n]] for n in range(len(where), -1, -1) if where[:n] in lines), 1)
    place = f"{path}:{line}: {_dotted(_by_name(where, values)) or 'recipe'}"
    if problem["type"] == "extra_forbidden":
        known = _known_keys(model, problem["loc"][:-1])
        close = difflib.get_close_matches(str(where[-1]), known, n=1, cutoff=0.5)
        remedy = f"did you mean `{close[0]}`?" if close else f"valid here: {', '.join(known)}"
        return f"{place}: no such key; {remedy}"
    if problem["type"] == "missing":
        return f"{place}: is missing; add it"
    reason = problem["msg"].removeprefix("Value error, ")
    given = problem.get("input")
    shown = f" (it is {given!r})" if isinstance(given, str | int | float | bool) else ""
    return f"{place}: {reason}{shown}"


def _in_file(loc: Location, values: Any) -> Location:
    """Drop the parts of a pydantic location that name a union's branch and stand nowhere in the file."""
    where: list[str | int] = []
    for number, part in enumerate(loc):
        last = number == len(loc) - 1
        inside = (isinstance(values, dict) and part in values) or (isinstance(values, list) and isinstance(part, int))
        if inside:
            values = values[part]
        elif not last:
            continue
        where.append(part)
    return tuple(where)


def _by_name(where: Location, values: Any) -> Location:
    """Name list items by their `name` where they have one: `train.stages.align` rather than `train.stages.0`."""
    named: list[str | int] = []
    for part in where:
        try:
            values = values[part]
        except (KeyError, IndexError, TypeError):
            values = None
        is_item = isinstance(part, int) and isinstance(values, dict) and isinstance(values.get("name"), str)
        named.append(values["name"] if is_item else part)
    return tuple(named)


def _known_keys(model: type[BaseModel], loc: Location) -> list[str]:
    """The valid keys of the section at a pydantic location, read from the JSON schema."""
    schema = model.model_json_schema()
    definitions = schema.get("$defs", {})

    def options(node: dict[str, Any]) -> list[dict[str, Any]]:
        if "$ref" in node:
            return options(definitions[node["$ref"].rsplit("/", 1)[-1]])
        branches = node.get("anyOf", []) + node.get("oneOf", [])
        return [choice for branch in branches for choice in options(branch)] or [node]

    nodes = options(schema)
    for part in loc:
        if isinstance(part, int):
            nodes = [choice for node in nodes if "items" in node for choice in options(node["items"])]
        elif inner := [node["properties"][part] for node in nodes if part in node.get("properties", {})]:
            nodes = [choice for node in inner for choice in options(node)]
        else:  # the tag of a discriminated union, such as `lora`
            nodes = [n for n in nodes if any(p.get("const") == part for p in n.get("properties", {}).values())]
    return sorted({key for node in nodes for key in node.get("properties", {})} - ({"name"} if not loc else set()))


def _nearest_file(path: Path) -> str:
    recipes = [str(file) for file in sorted(path.parent.glob("*.yaml"))] if path.parent.is_dir() else []
    close = difflib.get_close_matches(str(path), recipes, n=1)
    return f"; did you mean {close[0]}?" if close else ""


def _dotted(where: Location) -> str:
    return ".".join(str(part) for part in where)
