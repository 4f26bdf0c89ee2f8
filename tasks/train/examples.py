"""A row as the model trains on it: token ids with image places expanded, and what is to be predicted where.

    maker = ExampleMaker(processor, model.config)
    example = maker(row)            # Example(ids=(1, 32000, ...), labels=(-100, ..., 29871, 2), images=("ab..",))

Target tokens are the assistant's words and the end of its turn; everything else is context. They are found by
character spans in the rendered conversation, so any chat template works whose rendering of the first turns is a
prefix of its rendering of all of them.
"""

from dataclasses import dataclass

from transformers import PreTrainedConfig, ProcessorMixin

from tasks.dataset import IMAGE, Row
from tasks.errors import LavaflowError
from tasks.prompts import render

IGNORE = -100
"""The label of context; PyTorch's cross entropy leaves it out."""


@dataclass(frozen=True)
class Example:
    """One training sample."""

    row: str
    """Id of the row it was made from."""
    ids: tuple[int, ...]
    """Token ids; each picture is a run of image tokens, as many as the projector gives features."""
    labels: tuple[int, ...]
    """Token that is to be predicted at each place (from the place before), or IGNORE; as long as `ids`."""
    images: tuple[str, ...]
    """SHA-256 of the pictures, in the order of their tokens."""

    @property
    def target_tokens(self) -> int:
        return sum(label != IGNORE for label in self.labels)


@dataclass(frozen=True)
class _Answer:
    """Characters of the rendered conversation in which the assistant speaks."""

    start: int
    end: int
    marked: bool
    """Whether the template marks the end of the turn, such as by `<|im_end|>`."""


def image_tokens(config: PreTrainedConfig) -> int:
    """How many tokens one picture takes, from the model's config alone (LLaVA-1.5: 576).

    Raises:
        LavaflowError: the vision tower has no fixed grid of patches.
    """
    vision = config.vision_config
    size, patch = getattr(vision, "image_size", None), getattr(vision, "patch_size", None)
    if not isinstance(size, int) or not isinstance(patch, int):
        raise LavaflowError(
            f"{config.model_type}: pictures take a varying number of tokens; only fixed grids are known"
        )
    class_token = "siglip" not in vision.model_type  # CLIP's towers have one
    dropped = config.vision_feature_select_strategy == "default"  # the first feature, whatever it is
    return (size // patch) ** 2 + class_token - dropped


class ExampleMaker:
    """Makes examples from rows with a model's tokenizer and chat template."""

    def __init__(self, processor: ProcessorMixin, config: PreTrainedConfig) -> None:
        self.processor = processor
        self.tokenizer = processor.tokenizer
        self.image_id: int = config.image_token_id
        self.image_token = IMAGE
        self.control = [token for token in self.tokenizer.all_special_tokens if token != IMAGE]
        self.tokens_an_image = image_tokens(config)

    def __call__(self, row: Row) -> Example:
        """Raises LavaflowError if the chat template's prefix rule does not hold or an image has no place."""
        text, answers = self._render(row)
        encoded = self.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        ids = self._start(text)
        labels = [IGNORE] * len(ids)
        ends: list[int] = []
        """Places behind an answer whose end the template leaves unmarked."""
        for token, (start, end) in zip(encoded["input_ids"], encoded["offset_mapping"], strict=True):
            inside = any(a.start < end and start < a.end for a in answers)
            if labels and not inside and labels[-1] != IGNORE and any(not a.marked and a.end <= start for a in answers):
                ends.append(len(ids))
            repeats = self.tokens_an_image if token == self.image_id else 1
            ids += [token] * repeats
            labels += [token if inside else IGNORE] * repeats
        if labels[-1] != IGNORE and not answers[-1].marked:
            ends.append(len(ids))
            ids.append(self.tokenizer.eos_token_id)
            labels.append(IGNORE)
        for place in ends:
            # The turn must end here, even where the template goes on without an end token: LLaVA-1.5's does
            labels[place] = self.tokenizer.eos_token_id
        if ids.count(self.image_id) != self.tokens_an_image * len(row.images):
            raise LavaflowError(f"row {row.id} ({row.source}:{row.line}): its image markers and images do not match")
        return Example(row.id, tuple(ids), tuple(labels), tuple(row.images))

    def control_token(self, row: Row) -> str | None:
        """A special token that stands in a row's text, where it would be read as the template's own."""
        texts = [message.content.replace(self.image_token, "") for message in row.messages]
        return next((token for token in self.control if any(token in text for text in texts)), None)

    def _start(self, text: str) -> list[int]:
        """The begin token, where the tokenizer sets one and the template has not."""
        bos = self.tokenizer.bos_token_id
        sets_one = bos is not None and self.tokenizer("x")["input_ids"][0] == bos
        return [bos] if sets_one and not text.startswith(self.tokenizer.bos_token) else []

    def _render(self, row: Row) -> tuple[str, list[_Answer]]:
        """The rendered conversation without trailing space, and where the assistant speaks in it."""
        text = render(self.processor, row.messages, ask=False).rstrip()
        answers = []
        for number, message in enumerate(row.messages):
            if message.role != "assistant":
                continue
            before = render(self.processor, row.messages[:number], ask=True)
            after = render(self.processor, row.messages[: number + 1], ask=False).rstrip()
            if not (text.startswith(before) and text.startswith(after)):
                raise LavaflowError(f"row {row.id}: the chat template changes earlier turns when later ones follow")
            said = after[len(before) :]
            answers.append(_Answer(len(before), len(after), marked=said.strip() != message.content.strip()))
        if not answers:
            raise LavaflowError(
                f"row {row.id} ({row.source}:{row.line}): the assistant says nothing, so nothing trains"
            )
        return text, answers
