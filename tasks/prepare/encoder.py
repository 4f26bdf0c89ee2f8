"""A CLIP-style model that turns pictures and texts into vectors of one space (CLIP, SigLIP: any dual encoder).

encoder = DualEncoder(Path("data/digits/clip"), pick_device("auto"), batch_size=64)
cosines = encoder.images(pictures) @ encoder.texts(texts).T

The only file of this room that imports torch.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from transformers import AutoModel, AutoProcessor

from tasks.errors import LavaflowError

Vectors = NDArray[np.float32]
"""(n, width), each row of length 1."""


class DualEncoder:
    """The model and its processor.

    Raises:
        LavaflowError: no such model there, or one without two encoders.
    """

    def __init__(self, folder: Path, device: torch.device, batch_size: int) -> None:
        try:
            model = AutoModel.from_pretrained(
                str(folder), dtype=torch.float32, use_safetensors=True, trust_remote_code=False
            )
            self.processor = AutoProcessor.from_pretrained(str(folder), trust_remote_code=False)
        except (OSError, ValueError, ImportError) as error:
            said = " ".join(str(error).split())[:200]
            raise LavaflowError(
                f"prepare.alignment.model: cannot load {folder} as a CLIP-style model: {said}"
            ) from error
        if not hasattr(model, "get_image_features") or not hasattr(model, "get_text_features"):
            raise LavaflowError(
                f"prepare.alignment.model: {folder} is a {type(model).__name__}, not a CLIP-style model"
            )
        self.model = model.to(device).eval()
        self.device = device
        self.batch_size = batch_size
        self.max_tokens = int(model.config.text_config.max_position_embeddings)
        # SigLIP reads a text's meaning off the last position, so it must see the padding that it was trained with
        self.padding: Any = "max_length" if "siglip" in model.config.model_type else True

    def images(self, images: Sequence[Image.Image]) -> Vectors:
        """Vectors of RGB pictures, `batch_size` at a time."""
        return self._vectors(images, self._image_batch)

    def texts(self, texts: Sequence[str]) -> Vectors:
        """Vectors of texts, `batch_size` at a time; what is longer than the model reads is cut off at its end."""
        return self._vectors(texts, self._text_batch)

    def _image_batch(self, images: Sequence[Image.Image]) -> Any:
        inputs = self.processor.image_processor(images=list(images), return_tensors="pt").to(self.device)
        return self.model.get_image_features(pixel_values=inputs["pixel_values"])

    def _text_batch(self, texts: Sequence[str]) -> Any:
        inputs = self.processor.tokenizer(
            list(texts), padding=self.padding, truncation=True, max_length=self.max_tokens, return_tensors="pt"
        ).to(self.device)
        return self.model.get_text_features(input_ids=inputs["input_ids"], attention_mask=inputs.get("attention_mask"))

    @torch.inference_mode()
    def _vectors(self, items: Sequence[Any], encode: Callable[[Sequence[Any]], Any]) -> Vectors:
        found = [encode(items[at : at + self.batch_size]) for at in range(0, len(items), self.batch_size)]
        vectors = torch.cat([one if isinstance(one, torch.Tensor) else one.pooler_output for one in found])
        return torch.nn.functional.normalize(vectors.float(), dim=-1).cpu().numpy()
