"""A training that was saved goes on where it was; what is written lies on the way to the mean of two runs."""

import shutil

import numpy as np
import torch

from omnimem_cli.models.catalogue import row
from omnimem_cli.models.loader import NANO, LocalModel, load_local
from omnimem_cli.train import nano
from omnimem_cli.train.budget_stage import text_weights
from omnimem_cli.train.nano_tokenizer import build_tokenizer
from omnimem_cli.train.text_stage import TextStage


def _stage(seed):
    return TextStage(nano.new_model(seed), build_tokenizer(), 40, 3, lambda record: None)


def _same(one, other):
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(_same, one, other))
    return one == other


def test_a_training_is_saved_without_pickled_objects_and_loaded_whole(tmp_path):
    saved, loaded = _stage(0), _stage(1)
    saved._refill(np.random.default_rng(0))
    saved.optimiser.step(sum(parameter.square().sum() for parameter in saved.lm.parameters()), 0)
    saved.step = 1
    nano.save_training(saved, tmp_path / "text.pt")
    nano.load_training(loaded, tmp_path / "text.pt")
    assert _same(saved.model.state_dict(), loaded.model.state_dict())
    assert _same(saved.state(), loaded.state())
    videos = [[encoded.video for encoded in stage.replay] for stage in (saved, loaded)]
    assert videos[0] == videos[1]
    assert np.array_equal(videos[0][0].picture(1.0), videos[1][0].picture(1.0))


def test_weights_on_the_way_to_the_mean_of_the_runs_are_what_is_written(tmp_path, monkeypatch):
    shutil.copytree(NANO, tmp_path / "checkpoint")
    before = text_weights(load_local(LocalModel(row("nano"), NANO), device="cpu").model)

    def side_by_side(target, arguments):
        assert target is nano.train_under_budgets and len({seed for _, seed, _, _ in arguments}) == 2
        for number, (steps, _, folder, saved) in enumerate(arguments):
            assert (steps, folder) == (20, tmp_path)
            torch.save({"mean": {name: p.detach() + number for name, p in before.items()}}, saved)

    monkeypatch.setattr(nano, "side_by_side", side_by_side)
    nano.budget_stage(2.0, 7, tmp_path)
    written = load_local(LocalModel(row("nano"), tmp_path / "nano"), device="cpu").model
    for name, p in written.named_parameters():
        near = before[name] + 0.75 * 0.5 if name in before else None
        assert near is None or torch.allclose(p, near, rtol=0.01, atol=1e-3), name
