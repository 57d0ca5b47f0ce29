"""What the engine and the adapters are compared with: the library's one-shot pass, and short ways to a memory."""

import copy
import functools

import torch
from decoders import omni_decoder, question
from library import library_mel, library_rows

from omnimem_cli.memory.budget import even_budgets
from omnimem_cli.memory.mass import BIAS
from omnimem_cli.memory.memory import Memory
from omnimem_cli.memory.policies import make_policy
from omnimem_cli.memory.table import Table
from omnimem_cli.memory.tokens import AUDIO, QUESTION, VISUAL, TokenChunk, text_chunk


def ask(memory, n=7, seed=9, window=None):
    embeds, positions = question(n, seed=seed)
    fork = memory.fork() if window is None else memory.fork_copies([memory.copy_window(*window)])
    return fork.forward(embeds[None], positions[:, None])[0]


def one_shot(decoder, piece, masks=None, n=7, shift=0):
    """The stock forward pass over stream and question; ``masks`` [layers] [L, L] forbid keys per layer where they are
    False or -inf, other numbers are added; ``shift`` moves the question's positions."""
    return plain_pass(copy.deepcopy(decoder), piece, masks, n, shift)


def plain_pass(stock, piece, masks=None, n=7, shift=0):
    """As ``one_shot``, by this decoder, which it changes."""
    stock.set_attn_implementation("eager")
    embeds, positions = question(n)
    total = len(piece) + n
    causal = torch.ones(total, total, dtype=torch.bool).tril()
    hooks = []
    for i, layer in enumerate(stock.layers):
        mask = causal if masks is None else masks[i]
        added = torch.zeros(total, total).masked_fill(~mask, -torch.inf) if mask.dtype == torch.bool else mask
        bias = added.masked_fill(~causal, -torch.inf)[None, None]

        def put(module, args, kwargs, bias=bias):
            kwargs["attention_mask"] = bias
            return args, kwargs

        hooks.append(layer.self_attn.register_forward_pre_hook(put, with_kwargs=True))
    out = stock(
        inputs_embeds=torch.cat([piece.embeds, embeds])[None],
        position_ids=torch.cat([piece.positions, positions + shift], dim=1)[:, None],
        use_cache=False,
    ).last_hidden_state[0]
    return out[-n:]


def eviction_masks(history: list, chunk: int, seen: int, n: int = 7) -> list[torch.Tensor]:
    """What a one-shot pass adds to its scores, by layer: [L, L] of ``seen`` tokens and n of a question, -inf at what it
    must not see. ``history``: the tables of all layers after each chunk (`tables_of`)."""
    masks = [torch.zeros(seen + n, seen + n) for _ in history[0]]
    for c, tables in enumerate(history):
        done = min((c + 1) * chunk, seen)
        for mask, table in zip(masks, tables, strict=True):
            held = torch.full((done,), -torch.inf)
            held[table["index"][0].long()] = table[BIAS][0] if BIAS in table.columns else 0.0
            mask[done:, :done] = held
    return masks


def tables_of(memory: Memory) -> list[Table]:
    """Copies of the tables of all layers."""
    return [Table({name: column.clone() for name, column in s.table.columns.items()}) for s in memory.stores]


QUESTION_TEXT = "What is shown?"


def one_shot_inputs(adapter, fps, frames, sound) -> dict:
    """What the library's own preprocessing hands to the Thinker (its Omni processor needs torchvision)."""
    inputs, layout = {}, []
    if frames is not None:
        grid, rows = library_rows(frames)
        inputs |= {"video_grid_thw": grid, "pixel_values_videos": rows}
        inputs["video_second_per_grid"] = torch.tensor([2.0 / fps])
    if sound is not None:
        mel, mask = library_mel(sound)
        inputs |= {"input_features": mel, "feature_attention_mask": mask}
    layout = placeholders(adapter.model, inputs)
    text = "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n"
    text += layout + QUESTION_TEXT + "<|im_end|>\n<|im_start|>assistant\n"
    ids = torch.tensor([adapter.tokenizer(text).input_ids])
    both = frames is not None and sound is not None
    return inputs | {"input_ids": ids, "attention_mask": torch.ones_like(ids), "use_audio_in_video": both}


def placeholders(model, inputs) -> str:
    """Vision and audio marks around placeholder tokens, in the library's interleave."""
    cells = int(inputs["video_grid_thw"][0, 1:].prod()) // 4 if "video_grid_thw" in inputs else 0
    sounds = 0
    if "feature_attention_mask" in inputs:
        frames = int(inputs["feature_attention_mask"].sum())
        sounds = ((frames - 1) // 2 - 1) // 2 + 1
    if not cells:
        return "<|audio_bos|>" + "<|AUDIO|>" * sounds + "<|audio_eos|>"
    pairs = int(inputs["video_grid_thw"][0, 0])
    if "feature_attention_mask" not in inputs:
        return "<|vision_bos|>" + "<|VIDEO|>" * pairs * cells + "<|vision_eos|>"
    times = torch.arange(pairs).repeat_interleave(cells) * float(inputs["video_second_per_grid"]) * 25
    blocks = [model.get_chunked_index(t, 50, 0) for t in (times, torch.arange(sounds))]
    text = "<|vision_bos|><|audio_bos|>"
    for j in range(max(map(len, blocks))):
        for token, block in zip(("<|VIDEO|>", "<|AUDIO|>"), blocks, strict=True):
            text += token * (block[j][1] - block[j][0]) if j < len(block) else ""
    return text + "<|audio_eos|><|vision_eos|>"


def alike(piece: TokenChunk, *kinds: int) -> TokenChunk:
    """The same stream with one embedding for all tokens of these kinds."""
    for kind in kinds:
        piece.embeds[piece.kind == kind] = torch.ones(piece.embeds.shape[1]) / 8
    return piece


EVERY = (37,)


def prompts(texts):
    """Questions of unequal length, positioned after anything."""
    pieces = []
    for i, text in enumerate(texts):
        embeds, positions = question(3 + i + len(text) % 3, seed=i)
        pieces.append(text_chunk(embeds, int(positions[0, 0]), QUESTION))
    return pieces


@functools.cache
def decoder():
    return omni_decoder()


def memory_of(policy: str, piece: TokenChunk, entries: int, kv_bits: int = 16) -> Memory:
    has_video, has_audio = (bool((piece.kind == k).any()) for k in (VISUAL, AUDIO))
    budgets = even_budgets(4, entries, 0.7, has_video, has_audio)
    return Memory(decoder(), make_policy(policy), budgets, dtype=torch.float32, prompts=prompts, kv_bits=kv_bits)


def cuts(piece: TokenChunk, sizes):
    start, i = 0, 0
    while start < len(piece):
        stop = min(start + sizes[i % len(sizes)], len(piece))
        yield piece.cut(start, stop)
        start, i = stop, i + 1


def watched(policy: str, piece: TokenChunk, sizes=EVERY, entries=40, kv_bits=16) -> Memory:
    memory = memory_of(policy, piece, entries, kv_bits)
    for chunk in cuts(piece, sizes):
        memory.absorb(chunk)
    return memory
