"""A recipe's errors name the file, the line, the key and what would be right."""

from pathlib import Path

import pytest

from tasks.errors import LavaflowError
from tasks.recipe import LastLayers, Lora, load_recipe

PARAMS = Path(__file__).parents[1] / "params"
DIGITS = PARAMS / "digits.yaml"


@pytest.mark.parametrize("file", sorted(PARAMS.glob("*.yaml")), ids=lambda file: file.stem)
def test_every_recipe_of_the_project_is_valid(file):
    assert load_recipe(file).name == file.stem


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("train.stages.align.projecter={}", "train.stages.align.projecter: no such key; did you mean `projector`?"),
        ("train.stages.0.projector.lrr=1", "train.stages.align.projector.lrr: no such key; did you mean `lr`?"),
        ("train.stages.instruct.language_model.rnk=2", "language_model.rnk: no such key; did you mean `rank`?"),
        ("train.maxlength=3", "train.maxlength: no such key; did you mean `max_length`?"),
        ("trian=1", "trian: no such key; did you mean `train`?"),
        ("train.stages.align.projector.lr=fast", "projector.lr: Input should be a valid number"),
        ("train.stages.align.projector.train=some", "expected tags"),
        ("train.stages.align.until={}", "a stage needs an end"),
        ("serve.weights=awq quantize.awq=null", "serve.weights is awq, but quantize has no section `awq`"),
        ("evaluate.holdout=null", "cannot be null"),
        ("train.stages.align=null", "train.stages.0"),
        ("prepare.split.holdout=0.99", "nothing is left to train on"),
        ("train.stages.align.projector.lr=.inf", "should be a finite number"),
    ],
)
def test_a_wrong_key_or_value_is_named_with_its_remedy(override, said):
    with pytest.raises(LavaflowError) as error:
        load_recipe(DIGITS, override.split())
    assert said in str(error.value)
    assert str(error.value).startswith(f"{DIGITS}:")


def test_the_line_is_that_of_the_key_in_the_file(tmp_path):
    text = DIGITS.read_text().replace("samples_per_update", "samples_an_update")
    line = next(n for n, row in enumerate(text.splitlines(), 1) if "samples_an_update" in row)
    (tmp_path / "mine.yaml").write_text(text)
    with pytest.raises(LavaflowError, match=rf"mine.yaml:{line}: train.samples_an_update: no such key"):
        load_recipe(tmp_path / "mine.yaml")


def test_a_key_that_stands_twice_is_refused(tmp_path):
    (tmp_path / "mine.yaml").write_text(DIGITS.read_text() + "\nserve: {port: 9}\n")
    with pytest.raises(LavaflowError, match="serve: stands twice"):
        load_recipe(tmp_path / "mine.yaml")


def test_a_missing_file_is_named_with_the_nearest_one():
    with pytest.raises(LavaflowError, match=r"did you mean .*digits.yaml"):
        load_recipe(PARAMS / "digit.yaml")


def test_set_reaches_into_lists_by_name_and_by_number():
    recipe = load_recipe(DIGITS, ["train.stages.refine.projector.lr=0.5", "train.stages.0.until.epochs=9"])
    assert recipe.train.stages[2].projector.lr == 0.5
    assert recipe.train.stages[0].until.epochs == 9


@pytest.mark.parametrize(
    "override", ["train", "=1", "train.stages.middle.warmup=1", "train.max_length.x=1", "train.seed=[", "name=other"]
)
def test_an_override_that_cannot_be_meant_is_refused(override):
    with pytest.raises(LavaflowError, match="--set"):
        load_recipe(DIGITS, [override])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: &a [x]\nb: [*a, *a]\n", "2: \\*a: aliases are not read"),
        ("? [a, b]\n: 1\n", "1: a key must be a name"),
        ("a: " + "[" * 3000, "not valid YAML"),
    ],
    ids=["alias", "key", "depth"],
)
def test_yaml_that_unfolds_or_has_no_names_is_refused(tmp_path, text, said):
    (tmp_path / "bad.yaml").write_text(text)
    with pytest.raises(LavaflowError, match=said):
        load_recipe(tmp_path / "bad.yaml")


def test_components_are_typed_by_how_they_train():
    stages = load_recipe(DIGITS).train.stages
    assert isinstance(stages[1].language_model, Lora)
    assert isinstance(stages[2].vision_tower, LastLayers)
