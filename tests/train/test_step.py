"""Packing is exact: the same loss and the same gradients as one sample at a time."""

import torch

from tasks.dataset import Dataset
from tasks.models import load_model, load_processor
from tasks.train.attention import PACKED
from tasks.train.examples import ExampleMaker
from tasks.train.packing import pack
from tasks.train.pixels import PixelStore
from tasks.train.step import row_loss


def losses_and_gradients(tiny_llava, dataset_folder, together, implementation):
    """Loss of a whole update and every gradient, in float64."""
    model = load_model(tiny_llava, dtype="float32", device=torch.device("cpu")).double()
    model.set_attn_implementation({"text_config": implementation})
    processor = load_processor(tiny_llava)
    data = Dataset(dataset_folder)
    make = ExampleMaker(processor, model.config)
    examples = [make(row) for row in data.rows("train")]
    pixels = PixelStore(data, processor.image_processor)
    rows = pack(examples, max_length=400, max_images=4, together=together)
    total = sum(row_loss(model, row, pixels.batch(row.images)) for row in rows)
    total.backward()
    return len(rows), total.item(), {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


def test_packed_rows_give_the_loss_and_gradients_of_single_samples_under_plain_attention(tiny_llava, dataset_folder):
    singles, loss, gradients = losses_and_gradients(tiny_llava, dataset_folder, False, "eager")
    packed, packed_loss, packed_gradients = losses_and_gradients(tiny_llava, dataset_folder, True, PACKED)
    assert packed < singles / 2
    # not closer, because Llama's norms round to float32 whatever the model's dtype
    assert abs(packed_loss - loss) < 1e-8 * loss
    assert gradients.keys() == packed_gradients.keys()
    for part in ("vision_tower", "multi_modal_projector", "language_model", "lm_head"):
        names = [name for name in gradients if part in name]
        assert names
        scale = max(gradients[name].abs().max() for name in names)  # some are zero by symmetry: key biases
        for name in names:
            assert (gradients[name] - packed_gradients[name]).abs().max() < 1e-6 * scale, name


def test_a_sample_cannot_see_its_neighbour_in_the_row(tiny_llava, dataset_folder):
    model = load_model(tiny_llava, dtype="float32", device=torch.device("cpu")).double()
    model.set_attn_implementation({"text_config": PACKED})
    width = model.config.text_config.hidden_size
    row = torch.randn(1, 20, width, dtype=torch.float64, requires_grad=True)
    positions = torch.cat([torch.arange(8), torch.arange(12)])[None]
    out = model.model.language_model(
        inputs_embeds=row, position_ids=positions, segments=(8, 12), use_cache=False
    ).last_hidden_state
    (gradient,) = torch.autograd.grad(out[0, 8:].sum(), row)
    assert gradient[0, :8].abs().max() == 0
    assert gradient[0, 8:].abs().min() > 0
