"""Widths and depths of the small LLaVA; apart from `llava.py`, so that reading a size imports no torch."""

from pydantic import BaseModel, ConfigDict


class LlavaSize(BaseModel):
    """Widths and depths of a small LLaVA and of the CLIP pair its tower comes from."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    image: int = 48
    """Side of the square that a picture is scaled to, in pixels."""
    patch: int = 12
    """Side of one image token's patch, in pixels."""
    vision_width: int = 128
    vision_layers: int = 4
    text_width: int = 128
    text_layers: int = 3
    heads: int = 4
    context: int = 512
    """Tokens a prompt and its answer may have, image tokens included."""

    @property
    def image_tokens(self) -> int:
        """What a picture costs in the prompt."""
        return (self.image // self.patch) ** 2


TINY = LlavaSize(vision_width=32, vision_layers=2, text_width=64, text_layers=2)
"""Enough to run every code path in milliseconds."""
