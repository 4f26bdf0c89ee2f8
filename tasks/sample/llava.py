"""A small LLaVA that is true to the architecture: CLIP tower, two-layer projector, Llama, real tokenizer and template.

    tokenizer = train_tokenizer(captions)
    model = llava(LlavaSize(), tokenizer)      # weights as transformers initializes them
    save_model(model, llava_processor(LlavaSize(), tokenizer), folder)

    random_llava(tmp_path)                     # the same in one call, for tests that need a model and no skill

What differs from llava-hf/llava-1.5-7b-hf is the size and nothing else: features come from the tower's layer before
the last, the class token is dropped, the prompt is `USER: <image>\\n... ASSISTANT:`. transformers, peft, gptqmodel and
vLLM therefore treat it like the real one.
"""

from collections.abc import Iterable
from pathlib import Path

import torch
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import (
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
)

# by the module that needs no torchvision: the plain name warns without it
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from tasks.models import save_model
from tasks.sample.widths import TINY, LlavaSize

__all__ = ["TINY", "LlavaSize", "llava", "llava_processor", "random_llava", "train_tokenizer"]

BOS, EOS, UNKNOWN, PAD, IMAGE = "<s>", "</s>", "<unk>", "<pad>", "<image>"

WORDS = r"\n?\([A-Z]\)| ?\w+| ?[^\s\w]+|\s+"
"""What the tokenizer never merges across: an option's letter with its brackets, a word, a run of signs or spaces."""
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{% if message['role'] != 'system' %}{{ message['role'] | upper }}: {% endif %}"
    "{% if message['content'] is string %}{{ message['content'] }} {% else %}"
    "{% for part in message['content'] if part['type'] == 'image' %}{{ '<image>\\n' }}{% endfor %}"
    "{% for part in message['content'] if part['type'] == 'text' %}{{ part['text'] }} {% endfor %}"
    "{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}ASSISTANT:{% endif %}"
)


def vision_config(size: LlavaSize) -> CLIPVisionConfig:
    """The tower, the same in the CLIP pair and in the LLaVA."""
    return CLIPVisionConfig(
        hidden_size=size.vision_width,
        intermediate_size=4 * size.vision_width,
        projection_dim=size.vision_width,
        num_hidden_layers=size.vision_layers,
        num_attention_heads=size.heads,
        image_size=size.image,
        patch_size=size.patch,
    )


def llava(size: LlavaSize, tokenizer: PreTrainedTokenizerFast) -> LlavaForConditionalGeneration:
    """A model with fresh weights, float32, in eval mode."""
    special = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    language = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=size.text_width,
        intermediate_size=3 * size.text_width,
        num_hidden_layers=size.text_layers,
        num_attention_heads=size.heads,
        num_key_value_heads=size.heads,
        max_position_embeddings=size.context,
        pad_token_id=tokenizer.pad_token_id,
        tie_word_embeddings=False,
        initializer_range=0.04,  # the usual 0.02 suits a width of 4,096
        **special,
    )
    config = LlavaConfig(
        vision_config=vision_config(size),
        text_config=language,
        image_token_index=tokenizer.convert_tokens_to_ids(IMAGE),
        image_seq_length=size.image_tokens,
        vision_feature_layer=-2,
        vision_feature_select_strategy="default",
        pad_token_id=tokenizer.pad_token_id,
    )
    model = LlavaForConditionalGeneration(config).eval()
    for name, token in {**special, "pad_token_id": tokenizer.pad_token_id}.items():
        setattr(model.generation_config, name, token)
    return model


def image_processor(size: LlavaSize) -> CLIPImageProcessorPil:
    """Scale, crop and normalize as CLIP does."""
    return CLIPImageProcessorPil(
        size={"shortest_edge": size.image}, crop_size={"height": size.image, "width": size.image}
    )


def llava_processor(size: LlavaSize, tokenizer: PreTrainedTokenizerFast) -> LlavaProcessor:
    """Pictures and chat to model inputs."""
    return LlavaProcessor(
        image_processor=image_processor(size),
        tokenizer=tokenizer,
        patch_size=size.patch,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,  # the class token, which "default" drops again
        image_token=IMAGE,
        chat_template=CHAT_TEMPLATE,
    )


def train_tokenizer(texts: Iterable[str], vocabulary: int = 768) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer: any text is encodable, frequent words are one token, every digit is its own.

    Args:
        texts: what to learn the merges from; the same texts in the same order give the same tokenizer.
        vocabulary: most entries, special tokens and the 256 bytes included.
    """
    core = Tokenizer(models.BPE(unk_token=UNKNOWN))
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(WORDS), "isolated"),
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    core.decoder = decoders.ByteLevel()
    special = [AddedToken(token, special=True, normalized=False) for token in (BOS, EOS, UNKNOWN, PAD, IMAGE)]
    core.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=vocabulary,
            min_frequency=2,
            special_tokens=special,
            initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
            show_progress=False,
        ),
    )
    core.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A", special_tokens=[(BOS, core.token_to_id(BOS))]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        bos_token=BOS,
        eos_token=EOS,
        unk_token=UNKNOWN,
        pad_token=PAD,
        extra_special_tokens={"image_token": IMAGE},
        model_max_length=2048,
        padding_side="left",
    )


def random_llava(folder: Path, seed: int = 0, size: LlavaSize = TINY) -> None:
    """Save a small LLaVA with random weights, as `tasks.models` loads it.

    Args:
        folder: where; made if absent.
        seed: of the weights; torch's own random state is left as it was.
        size: default the smallest.
    """
    words = "USER: ASSISTANT: Question: Answer: Which number is shown? Is the ink red or blue? yes no A B C D"
    tokenizer = train_tokenizer([words] * 4, vocabulary=384)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        save_model(llava(size, tokenizer), llava_processor(size, tokenizer), folder)
