"""How much the sample holds and how long its base model is trained: every number that decides its content.

SampleSize()         # the demo: about 7,000 rows, six minutes of pre-training on two cores
SampleSize.tiny()    # for tests: the same parts, seconds
"""

from pydantic import BaseModel, ConfigDict, PositiveFloat, PositiveInt

from tasks.sample.widths import LlavaSize


class Section(BaseModel):
    """Base of the sections here."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Defects(Section):
    """What is wrong with some of the training rows, on purpose."""

    truncated: int = 40
    """Rows whose image file ends in the middle."""
    not_an_image: int = 20
    """Rows whose image file is something else."""
    missing: int = 20
    """Rows whose image file is not there."""
    bad_json: int = 25
    """Lines that are not JSON."""
    exact_duplicates: int = 100
    """Rows that stand there twice."""
    near_duplicates: int = 160
    """Rows that stand there a second time with a recompressed or resized picture."""
    contaminated: int = 60
    """Rows about a benchmark's picture."""
    mismatched: float = 0.04
    """Share of the training rows with a text of three words or more whose text is another picture's."""


class RowsSize(Section):
    """Data rows and benchmarks."""

    seed: int = 17
    """Deals the scans and draws everything from them."""
    train_images: PositiveInt = 2200
    validation_images: PositiveInt = 50
    holdout_images: PositiveInt = 170
    questions: PositiveInt = 3
    """Rows an image."""
    mme_images: PositiveInt = 60
    """Pictures a category, two questions each; five categories."""
    textvqa_images: PositiveInt = 100
    """One picture, two questions."""
    mmmu_questions: PositiveInt = 100
    """A subject; two subjects."""
    defects: Defects = Defects()


class BaseSize(Section):
    """Pre-training of the CLIP pair and of the base model, as LLaVA was."""

    seed: int = 17
    """Draws pictures, initial weights and batches; the scans are dealt by the rows' seed."""
    model: LlavaSize = LlavaSize()
    pictures: PositiveInt = 8000
    """Different pictures to learn from."""
    clip_steps: PositiveInt = 400
    clip_batch: PositiveInt = 128
    clip_lr: PositiveFloat = 1e-3
    steps: PositiveInt = 900
    """Updates of projector and language model."""
    batch: PositiveInt = 24
    """Pictures an update, each with eight questions."""
    lr: PositiveFloat = 3e-3


class SampleSize(Section):
    """The whole sample."""

    rows: RowsSize = RowsSize()
    base: BaseSize = BaseSize()

    @classmethod
    def tiny(cls) -> "SampleSize":
        """The same parts in seconds, with a base model that knows nothing."""
        few = Defects(
            truncated=2, not_an_image=2, missing=2, bad_json=3, exact_duplicates=4, near_duplicates=4, contaminated=3
        )
        rows = RowsSize(
            train_images=60,
            validation_images=6,
            holdout_images=12,
            mme_images=2,
            textvqa_images=6,
            mmmu_questions=6,
            defects=few,
        )
        narrow = LlavaSize(vision_width=32, vision_layers=2, text_width=64, text_layers=2)
        return cls(rows=rows, base=BaseSize(model=narrow, pictures=200, clip_steps=2, clip_batch=16, steps=2, batch=8))
