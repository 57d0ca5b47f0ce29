"""A budget in bytes holds at every moment, whatever the family, the policy, the positions and the length."""

import random
from dataclasses import replace

import pytest
import torch
from salmonn_tiny import tiny_salmonn
from streams import frames_of, media_of, segments_of, sound_of
from tiny import tiny_omni
from tiny_qwen3 import tiny_qwen3_omni

from omnimem_cli.base.budget import Budget
from omnimem_cli.base.choices import KV_BITS
from omnimem_cli.base.errors import DoesNotFitError
from omnimem_cli.base.settings import Settings
from omnimem_cli.media.segment import Media
from omnimem_cli.memory import selection
from omnimem_cli.memory.policies import POLICIES, make_policy
from omnimem_cli.models.adapter import Adapter
from omnimem_cli.models.loader import load
from omnimem_cli.models.salmonn import adapter as salmonn
from omnimem_cli.session.session import Session
from omnimem_cli.session.sizing import WatchConfig, size_memory, watch_options

POLICY_SETTINGS = [name for name in POLICIES if make_policy(name).bounded] + [
    "omnimem:score=code", "omnimem:pool=one", "streammem:pool=split", "hermes:pool=split",
]  # fmt: skip
POSITIONS = ("keep", "lazy", "eager", "retime")
FREE = 2**40


@pytest.fixture(scope="module")
def adapters(tmp_path_factory) -> dict[str, dict[str, Adapter]]:
    """Every family in two number types."""
    where = tmp_path_factory.mktemp("families")
    folders = {
        "qwen2.5-omni": tiny_omni(where / "omni"),
        "qwen3-omni": tiny_qwen3_omni(where / "three"),
        "salmonn25": tiny_salmonn(where / "salmonn25", "salmonn25"),
        "salmonn3": tiny_salmonn(where / "salmonn3", "salmonn3"),
    }
    types = ("float32", "bfloat16")
    return {name: {t: load(str(folder), device="cpu", dtype=t) for t in types} for name, folder in folders.items()}


def watch_at_random(adapters, seed: int, family: str | None = None) -> str:
    """One watch with everything drawn from ``seed``. Returns what it was; fails where the budget does not hold."""
    draw = random.Random(seed)
    family = family or draw.choice(sorted(adapters))
    adapter = adapters[family][draw.choice(("float32", "bfloat16"))]
    lengths = draw.choice([(1, 1), (1, 1), (1, 0.3), (0.5, 1), (1, None), (None, 1)])
    seconds = draw.choice([2.0, 9.0, 31.0, 47.0, 95.0])
    video_s, audio_s = (None if share is None else share * seconds for share in lengths)
    media = media_of(video_s, audio_s, 84, 56)
    settings = Settings(
        policy=draw.choice(POLICY_SETTINGS),
        positions=draw.choice(POSITIONS),
        kv_bits=draw.choice(KV_BITS),
        fps=draw.choice([None, 2.0]),
        chunk=draw.choice([None, None, 64, 900]),
        max_pixels=draw.choice([None, 64 * 64]),
    )
    recent_s = draw.choice([0.0, 0.0, 4.0, 30.0])
    what = f"{seed}: {family} {adapter.dtype} {video_s}/{audio_s} s {settings.policy} {settings.positions} {recent_s}"
    what += f" {settings.kv_bits} bits"
    least = least_bytes(settings, adapter, media, recent_s)
    config = sized(settings, adapter, media, least * draw.uniform(1.0, 3.0), recent_s)
    for memory in chunk_ends(adapter, settings, media, config):
        assert memory.nbytes <= memory.peak_bytes <= config.budget.bytes, what
    return what


def sized(settings: Settings, adapter: Adapter, media, size: float, recent_s: float = 0.0) -> WatchConfig:
    bounded = replace(settings, budget=Budget(bytes=int(size)))
    return size_memory(bounded, adapter, adapter.plan(media, watch_options(settings)), media, recent_s, FREE)


def endless(width: int, height: int) -> Media:
    """A live stream of picture and sound."""
    media = media_of(60, 60, width, height)
    return replace(media, video=replace(media.video, duration_s=None), audio=replace(media.audio, duration_s=None))


def least_bytes(settings: Settings, adapter: Adapter, media, recent_s: float = 0.0) -> int:
    """The least budget that works, as the refusal of a smaller one names it."""
    with pytest.raises(DoesNotFitError) as refusal:
        sized(settings, adapter, media, 1, recent_s)
    return 1024 * int(refusal.value.hint.split("--budget ")[1].split("KiB")[0])


def chunk_ends(adapter: Adapter, settings: Settings, media, config: WatchConfig):
    """The memory at every chunk's end of a watch of noise."""
    plan = adapter.plan(media, watch_options(settings))
    form, stream = plan.format, adapter.open(media, plan)
    frames = media.video and frames_of(media.video.duration_s, form.fps, form.width, form.height)
    sound = media.audio and sound_of(media.audio.duration_s)
    if sound is not None:
        stream.scan_audio(torch.from_numpy(sound))
    session = Session(stream, config.memory(stream), config.chunk_tokens)
    if config.recent_s:
        session.memory.hold_recent(config.recent_s)
    for _ in session.watch(segments_of(form, frames, sound)):
        yield session.memory


@pytest.mark.parametrize("seed", range(36))
def test_a_byte_budget_holds_at_every_moment_of_a_random_watch(adapters, seed):
    watch_at_random(adapters, seed, sorted(adapters)[seed % len(adapters)])


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_byte_budgets_hold_in_500_random_watches(adapters):
    assert len({watch_at_random(adapters, seed) for seed in range(1000, 1500)}) == 500


def test_timestamps_count_in_a_byte_budget_and_in_the_estimate_of_the_device(adapters):
    adapter, media, settings = adapters["salmonn3"]["float32"], media_of(240, 240, 84, 56), Settings(fps=1.0)
    config = sized(settings, adapter, media, 4_500_000)
    *_, memory = chunk_ends(adapter, settings, media, config)
    assert memory.counts()[1] > 1000 and memory.peak_bytes <= 4_500_000 <= config.needed
    with pytest.raises(DoesNotFitError, match="smaller than the prompt and one chunk"):
        sized(settings, adapter, media, 600 * 1024)


@pytest.mark.parametrize("share", [1.0, 1.7])
def test_a_policy_that_keeps_all_text_stays_within_its_bytes_however_long_the_input(adapters, share, monkeypatch):
    for module in (selection, salmonn):
        monkeypatch.setattr(module, "MAX_TEXT_GROUPS", 20)
    adapter, media = adapters["salmonn3"]["float32"], media_of(95, None, 84, 56)
    settings = Settings(fps=2.0, policy="omnimem:score=code", chunk=900)
    config = sized(settings, adapter, media, share * least_bytes(settings, adapter, media))
    *_, memory = chunk_ends(adapter, settings, media, config)
    assert len(memory.stores[0].table["group"].unique()) > 40
    assert memory.peak_bytes <= config.budget.bytes


@pytest.mark.parametrize("family", ["qwen2.5-omni", "salmonn25", "salmonn3"])
@pytest.mark.parametrize("policy", ["omnimem", "omnimem:score=code"])
def test_bytes_that_hold_no_endless_stream_are_refused_in_a_sentence(adapters, family, policy):
    adapter, media, settings = adapters[family]["float32"], endless(84, 56), Settings(policy=policy)
    if policy == "omnimem" or family == "qwen2.5-omni":
        assert sized(settings, adapter, media, 1e9).entries > 0
    else:
        with pytest.raises(DoesNotFitError, match="keeps all timestamps"):
            sized(settings, adapter, media, 1e9)


def test_spans_of_several_steps_bring_late_sound_and_still_hold(adapters, monkeypatch):
    adapter = adapters["salmonn3"]["float32"]
    monkeypatch.setattr(type(adapter), "timestamps", 5)
    media, settings = media_of(95, 95, 84, 56), Settings(fps=1.0, policy="hermes")
    assert adapter.plan(media, watch_options(settings)).late_tokens > 30
    config = sized(settings, adapter, media, least_bytes(settings, adapter, media))
    for memory in chunk_ends(adapter, settings, media, config):
        assert memory.peak_bytes <= config.budget.bytes
