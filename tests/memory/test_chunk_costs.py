"""What a chunk costs beside its work: bytes are counted once, and quantized keys are read once per layer."""

import pytest
import torch
from decoders import omni_decoder, stream
from oracles import cuts, prompts

from omnimem_cli.memory import redundancy
from omnimem_cli.memory.budget import even_budgets
from omnimem_cli.memory.chunk_pass import ChunkPass
from omnimem_cli.memory.focus import FocusedMemory
from omnimem_cli.memory.forms import Quantized
from omnimem_cli.memory.memory import Memory
from omnimem_cli.memory.policies import POLICIES, make_policy
from omnimem_cli.memory.repositioning import make_position_map
from omnimem_cli.memory.tokens import AUDIO, VISUAL

CHUNK = 37


def memory_of(policy="omnimem", kv_bits=16, positions="keep", focus=(), recent_s=0.0) -> Memory:
    decoder = omni_decoder()
    budgets = even_budgets(len(decoder.layers), 40, 0.7, True, True)
    more = {"position_map": make_position_map(positions, decoder, 64), "prompts": prompts, "kv_bits": kv_bits}
    kind = (lambda *given, **named: FocusedMemory(focus, *given, **named)) if focus else Memory
    memory = kind(decoder, make_policy(policy), budgets, dtype=torch.float32, **more)
    if recent_s:
        memory.hold_recent(recent_s)
    return memory


def absorbed(memory: Memory, seconds: int = 9) -> Memory:
    for chunk in cuts(stream(seconds), (CHUNK,)):
        memory.absorb(chunk)
    return memory


@pytest.mark.parametrize("recent_s", [0.0, 4.0])
@pytest.mark.parametrize("positions", ["keep", "lazy", "retime"])
@pytest.mark.parametrize("kv_bits", [16, 4])
@pytest.mark.parametrize("policy", [*POLICIES, "omnimem:score=code"])
def test_bytes_kept_up_layer_by_layer_are_those_of_counting_all(policy, kv_bits, positions, recent_s, monkeypatch):
    memory, counted, note = memory_of(policy, kv_bits, positions, recent_s=recent_s), [], Memory.note_peak

    def noted(self, outside=0, retained=None):
        counted.append(retained is not None)
        assert retained in (None, self.nbytes)
        note(self, outside, retained)

    monkeypatch.setattr(Memory, "note_peak", noted)
    absorbed(memory)
    assert any(counted) is not memory.policy.per_chunk


def test_all_layers_are_counted_a_few_times_per_chunk_and_not_once_in_each(monkeypatch):
    memory, counts, count = memory_of(), [], Memory.nbytes.fget
    assert len(memory.stores) >= 3
    monkeypatch.setattr(Memory, "nbytes", property(lambda self: counts.append(1) or count(self)))
    chunk = next(iter(cuts(stream(9), (CHUNK,))))
    memory.absorb(chunk)
    assert len(counts) == 4  # before its layers, after them, after the decision, after the positions


@pytest.mark.parametrize("focus", [(), ("a red square",)])
@pytest.mark.parametrize("kv_bits", [8, 4])
@pytest.mark.parametrize("policy", ["omnimem", "salience"])
def test_keys_of_a_layer_are_dequantized_once_per_chunk_and_none_is_held_afterwards(
    policy, kv_bits, focus, monkeypatch
):
    memory, reads, read = memory_of(policy, kv_bits, focus=focus), [], Quantized.keys
    monkeypatch.setattr(Quantized, "keys", lambda self, *given: reads.append(1) or read(self, *given))
    for number, chunk in enumerate(cuts(stream(9), (CHUNK,))):
        reads.clear()
        memory.absorb(chunk)
        assert len(reads) <= len(memory.stores), f"chunk {number}"
        assert all(store._read is None for store in memory.stores)
    assert len(reads) == len(memory.stores)


def test_a_pass_that_breaks_off_holds_no_keys(monkeypatch):
    memory = absorbed(memory_of(kv_bits=4))
    monkeypatch.setattr(ChunkPass, "_admit", lambda *given: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        memory.absorb(next(iter(cuts(stream(9), (CHUNK,)))))
    assert all(store._read is None for store in memory.stores)


def test_what_is_read_within_is_what_would_be_read_anew():
    store = absorbed(memory_of(kv_bits=4)).stores[0]
    anew = store._keys
    with store.reading():
        assert torch.equal(store._keys, anew) and store._keys is store._keys
        store.keep(torch.arange(5)[None])
        assert torch.equal(store._keys, anew[:, :, :5])


@pytest.mark.parametrize("pool", ["one", "split"])
def test_twins_are_sought_where_not_all_stay_among_as_many_entries_of_a_kind_as_there_are(pool, monkeypatch):
    memory, compared, wanted, full = memory_of(f"salience:pool={pool}"), [], [], []
    within = redundancy._likeness_to_those_before
    monkeypatch.setattr(
        redundancy, "_likeness_to_those_before", lambda *rows: compared.append(len(rows[0])) or within(*rows)
    )
    scores = type(memory.policy).scores

    def counted(self, view):
        of_kind = [int((view.table["kind"] == kind).sum()) for kind in (VISUAL, AUDIO)]
        rooms = (view.budget.visual, view.budget.audio) if pool == "split" else (view.budget.total,)
        fits = all(n <= room for n, room in zip(of_kind if pool == "split" else [sum(of_kind)], rooms, strict=True))
        full.append(not fits)
        wanted.extend([] if fits else of_kind)
        return scores(self, view)

    monkeypatch.setattr(type(memory.policy), "scores", counted)
    for chunk in cuts(stream(9), (8,)):
        memory.absorb(chunk)
    assert compared == wanted and len(set(wanted)) > 2
    assert full[: len(memory.stores)] == [False] * len(memory.stores) and full[-1]
