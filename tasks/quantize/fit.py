"""Whether a model can be quantized at all, told from its config in a moment, before anything heavy is loaded.

check_fit(AutoConfig.from_pretrained(folder), "gptq", group_size=128)
"""

from transformers import PreTrainedConfig

from tasks.errors import LavaflowError
from tasks.quantize.job import Method

TEXT_MODELS = ("llama", "mistral", "qwen2")
"""Language models whose layers are named and wired as `tasks/quantize/llava_definition.py` says."""


def check_fit(config: PreTrainedConfig, method: Method, group_size: int) -> None:
    """Whether this model's layers can be quantized this way.

    Raises:
        LavaflowError: another family, or a width that the group size or the packing does not divide.
    """
    text = config.text_config if config.model_type == "llava" else None
    if text is None or text.model_type not in TEXT_MODELS:
        found = config.model_type if text is None else f"llava with {text.model_type}"
        known = ", ".join(TEXT_MODELS)
        raise LavaflowError(f"quantize: {found} is not supported; only llava with a language model of {known}")
    heads = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    widths = {
        "hidden_size": text.hidden_size,
        "intermediate_size": text.intermediate_size,
        "query": heads * text.num_attention_heads,
        "key and value": heads * text.num_key_value_heads,
    }
    for name, width in widths.items():
        if width % 64 and method == "awq":  # its clipping looks at 64 outputs at a time
            raise LavaflowError(f"quantize.awq: the model's {name} width {width} is no multiple of 64; use gptq")
        if width % group_size:
            raise LavaflowError(
                f"quantize.{method}.group_size: {group_size} does not divide the model's {name} width {width}; "
                "use 32 or 64, or leave this format out"
            )
