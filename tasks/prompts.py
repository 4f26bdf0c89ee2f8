"""A conversation as the model reads it: one place, so training, evaluation, calibration and serving put it alike.

    render(processor, row.messages[:-1])       # "USER: <image>\\nWhat is it? ASSISTANT:"

The wording around the turns is the model's own chat template; nothing is added to it here.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tasks.dataset import IMAGE, Message

if TYPE_CHECKING:
    from transformers import ProcessorMixin


def render(processor: "ProcessorMixin", messages: Sequence[Message], *, ask: bool = True) -> str:
    """The chat template's text, one image marker a picture.

    Args:
        processor: holds the chat template.
        messages: the turns so far.
        ask: end with the words that let the assistant speak.
    """
    conversation = [{"role": message.role, "content": parts(message.content)} for message in messages]
    return str(processor.apply_chat_template(conversation, add_generation_prompt=ask, tokenize=False))


def parts(content: str) -> list[dict[str, Any]]:
    """Content parts in OpenAI's form: images where `<image>` stood, and the text between, stripped."""
    found: list[dict[str, Any]] = []
    for number, text in enumerate(content.split(IMAGE)):
        if number:
            found.append({"type": "image"})
        if stripped := text.strip():
            found.append({"type": "text", "text": stripped})
    return found
