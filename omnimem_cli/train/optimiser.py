"""Muon for the matrices inside blocks, AdamW for everything else, warm-up and linear decay."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

WARM_UP = 40


def rate(step: int, steps: int, decay: float) -> float:
    """Share of the full learning rate: linear warm-up, linear decay over the last `decay` of the run."""
    left = (steps - step) / max(1.0, decay * steps)
    return min(1.0, (step + 1) / WARM_UP, max(left, 0.02))


class Optimiser:
    """One step of both optimisers over the parameters of some modules that ask for gradients."""

    def __init__(self, modules: Iterable[nn.Module], steps: int, muon_lr: float, adam_lr: float, decay: float):
        named = [item for module in modules for item in module.named_parameters() if item[1].requires_grad]
        matrices = [p for name, p in named if p.ndim == 2 and ("layers." in name or "blocks." in name)]
        known = {id(p) for p in matrices}
        others = [p for _, p in named if id(p) not in known]
        self.parameters = [p for _, p in named]
        self.steps, self.decay = steps, decay
        self.pairs = [(torch.optim.Muon(matrices, lr=muon_lr, weight_decay=0.0), muon_lr)]
        self.pairs.append((torch.optim.AdamW(others, lr=adam_lr, betas=(0.9, 0.98), weight_decay=0.0), adam_lr))

    def step(self, loss: Tensor, step: int) -> None:
        """Back-propagate `loss`, clip the gradient to norm 1 and update at the rate of `step`."""
        for optimiser, _ in self.pairs:
            optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.parameters, 1.0)
        for optimiser, peak in self.pairs:
            for group in optimiser.param_groups:
                group["lr"] = peak * rate(step, self.steps, self.decay)
            optimiser.step()

    def state_dict(self) -> list[dict]:
        """The states of both optimisers."""
        return [optimiser.state_dict() for optimiser, _ in self.pairs]

    def load_state_dict(self, states: list[dict]) -> None:
        """Undo `state_dict`."""
        for (optimiser, _), state in zip(self.pairs, states, strict=True):
            optimiser.load_state_dict(state)
