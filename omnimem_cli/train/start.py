"""Where nano's text model begins: not everything that a transformer can learn has to be learned from questions.

Knows the towers' outputs, the embeddings and two attention layers; trains nothing.
"""

import numpy as np
import torch
from torch import Tensor, nn
from transformers import Qwen2Tokenizer

from omnimem_cli.train.architecture import EVIDENCE_LAYER, HIDDEN, NAME_LAYER
from omnimem_cli.train.encoders import IGNORE, audio_batch, vision_batch
from omnimem_cli.train.losses import name_ids
from omnimem_cli.train.towers import hear, see

MEDIA_SCALE, TEXT_SCALE, NAME_NORM = 2.0, 0.7, 10.0  # as large as what layers come to write beside it
NAMES_COPIED, EVIDENCE_COPIED, SOUGHT = 1.5, 0.2, 2.0
OUTPUT_SCALE = 0.07  # of the last norm, so that logits begin small all the same


@torch.no_grad()
def settle(model: nn.Module, tokenizer: Qwen2Tokenizer, before: nn.Linear, seed: int) -> None:
    """Give the text model a start at which media tokens can be read and names looked up.

    before: what reads out what came before (`Binding.before`).
    """
    name_media(model, tokenizer, seed)
    look_up_names(model.model.language_model, before)


@torch.no_grad()
def look_up_names(lm: nn.Module, before: nn.Linear) -> None:
    """Let like find like from the first step: 64 words would each have to learn it from a few questions.

    Where names in the question are read and where the evidence is, values are copied as they are; where the evidence
    is looked for, half of the heads ask for tokens that have the name, half for tokens that have it as what came
    before.
    """
    nn.init.orthogonal_(before.weight)
    reader, seeker = lm.layers[NAME_LAYER].self_attn, lm.layers[EVIDENCE_LAYER].self_attn
    for attention, share in ((reader, NAMES_COPIED), (seeker, EVIDENCE_COPIED)):
        values = nn.init.normal_(attention.v_proj.weight, std=HIDDEN**-0.5)
        attention.o_proj.weight.copy_(share * torch.cat([v.T for v in _by_query_head(attention, values)], 1))
    keys = nn.init.normal_(seeker.k_proj.weight, std=SOUGHT * HIDDEN**-0.5)
    heads = _by_query_head(seeker, keys)
    asked = [k if number % 2 == 0 else k @ before.weight.T for number, k in enumerate(heads)]
    seeker.q_proj.weight.copy_(torch.cat(asked))


def _by_query_head(attention: nn.Module, weight: Tensor) -> list[Tensor]:
    """A projection to key-value heads, as [head_dim, hidden] per query head."""
    return [w for w in weight.split(attention.head_dim) for _ in range(attention.num_key_value_groups)]


@torch.no_grad()
def name_media(model: nn.Module, tokenizer: Qwen2Tokenizer, seed: int) -> None:
    """Make media tokens readable with the embeddings of names.

    The towers' outputs are centred and scaled; the embedding of every name (" red", "7", " apple", " nothing") is the
    direction that tells it best from the others in the towers' outputs, by ridge regression; "apple" is " apple" plus
    a direction common to all first words.
    """
    rng = np.random.default_rng(seed)
    pictures, slides = (torch.cat(x) for x in zip(*(vision_batch(rng) for _ in range(14)), strict=True))
    sounds, words = (torch.cat(x) for x in zip(*(audio_batch(rng) for _ in range(28)), strict=True))
    seen = _centre(see(model.model.visual, pictures), model.model.visual.merger.mlp[2]).flatten(0, 1)
    heard = _centre(hear(model.model.audio_tower, sounds), model.model.audio_tower.proj).flatten(0, 1)
    table = model.model.language_model.embed_tokens.weight
    table.normal_(0, TEXT_SCALE)
    model.model.language_model.norm.weight.fill_(OUTPUT_SCALE)
    nothing = torch.zeros(table.shape[1])
    names = name_ids(tokenizer)
    for ids, labels in zip(names, [*slides.repeat_interleave(4, 0).unbind(1), words.flatten()], strict=True):
        known = labels != IGNORE
        directions = _telling(seen if len(labels) == len(seen) else heard, labels, known, len(ids))
        table[ids[1:]] = NAME_NORM * directions[1:]
        nothing += NAME_NORM * directions[0] / len(names)
    table[names[0][0]] = nothing
    vocabulary, offset = tokenizer.get_vocab(), torch.zeros(table.shape[1]).normal_(0, TEXT_SCALE)
    for token, number in vocabulary.items():
        if token.startswith("Ġ") and token.removeprefix("Ġ") in vocabulary:
            table[vocabulary[token.removeprefix("Ġ")]] = table[number] + offset


def _centre(tokens: Tensor, last: nn.Linear) -> Tensor:
    """Change a tower's last layer so that its outputs have mean 0 and deviation MEDIA_SCALE; its outputs then."""
    scale = MEDIA_SCALE / (tokens - tokens.mean((0, 1))).std()
    mean = tokens.mean((0, 1))
    last.weight.mul_(scale)
    last.bias.sub_(mean).mul_(scale)
    return (tokens - mean) * scale


def _telling(tokens: Tensor, labels: Tensor, known: Tensor, classes: int) -> Tensor:
    """Directions of norm 1 [classes, hidden] along which tokens of a class stand out."""
    x, y = tokens[known], torch.nn.functional.one_hot(labels[known], classes).float()
    normal = x.T @ x / len(x)
    ridge = 0.01 * normal.diagonal().mean() * torch.eye(len(normal))
    return torch.nn.functional.normalize(torch.linalg.solve(normal + ridge, x.T @ (y - y.mean(0))).T)
