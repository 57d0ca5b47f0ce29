"""Loading a model: names, folders, and what can be wrong with them."""

import torch

from omnimem_cli.models.loader import load


def test_both_layouts_load_the_same_weights(tiny_folder, tiny_full_folder):
    one, other = (load(str(folder), device="cpu") for folder in (tiny_folder, tiny_full_folder))
    for name, weight in one.model.state_dict().items():
        assert torch.equal(weight, other.model.state_dict()[name]), name
