"""A chunk that is encoded beside the one before it changes nothing but the order of work."""

import threading
from dataclasses import replace
from operator import length_hint
from types import SimpleNamespace

import pytest
import torch
from families import MAKERS
from streams import frames_of, media_of, segments_of, sound_of

from omnimem_cli.base.budget import Budget
from omnimem_cli.base.settings import Settings
from omnimem_cli.media.segment import Segment
from omnimem_cli.models.adapter import WatchOptions
from omnimem_cli.models.loader import load
from omnimem_cli.session import encoded_ahead, footprint
from omnimem_cli.session.encoded_ahead import EncodedAhead
from omnimem_cli.session.session import Session
from omnimem_cli.session.sizing import size_memory

SETTINGS = Settings(budget=Budget(60), max_pixels=56 * 56, device="cpu")


@pytest.fixture(scope="module", params=MAKERS)
def adapter(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory):
    return load(str(MAKERS[request.param](tmp_path_factory.mktemp("tiny") / request.param)), device="cpu")


def begun(adapter, count: float = 5.4) -> tuple[Session, list[Segment]]:
    """A session of two segments per chunk, and the segments that it is to watch."""
    options = WatchOptions(max_pixels=SETTINGS.max_pixels)
    seconds = count * adapter.plan(media_of(60.0, 60.0), options).format.segment_s
    media = media_of(seconds, seconds)
    plan = adapter.plan(media, options)
    settings = replace(SETTINGS, chunk=2 * plan.tokens_per_segment)
    stream, sound = adapter.open(media, plan), sound_of(seconds)
    stream.scan_audio(torch.from_numpy(sound))
    form = plan.format
    session = Session(stream, size_memory(settings, adapter, plan, media).memory(stream), settings.chunk)
    return session, segments_of(form, frames_of(seconds, form.fps, form.width, form.height), sound)


def watched_ahead(session: Session, segments: list[Segment]):
    """The watch of a session for which all segments are there."""
    rest = iter(segments)
    return session.watch(rest, lambda: length_hint(rest))


def equal(one: object, other: object) -> bool:
    """Trees of plain values and tensors, bit by bit."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(equal(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(equal, one, other))
    return torch.equal(one, other) if isinstance(one, torch.Tensor) else one == other


def test_after_each_chunk_state_and_answers_are_those_of_a_watch_in_order(adapter):
    plain, segments = begun(adapter)
    ahead, _ = begun(adapter)
    both = zip(plain.watch(segments), watched_ahead(ahead, segments), strict=True)
    for (end, _), (same_end, _) in both:
        assert end == same_end and equal(plain.state(), ahead.state())
        assert plain.ask(["What?"], max_tokens=3) == ahead.ask(["What?"], max_tokens=3)
    assert ahead.chunks_seen == 3


def test_a_watch_that_ends_between_two_chunks_goes_on_from_the_one_it_has_seen(adapter):
    whole, segments = begun(adapter)
    list(whole.watch(segments))
    broken, _ = begun(adapter)
    watch = watched_ahead(broken, segments)
    _, seen = next(watch)
    watch.close()
    resumed, _ = begun(adapter)
    resumed.load_state(broken.state())
    for session in (broken, resumed):
        list(watched_ahead(session, segments[seen[-1].index + 1 :]))
        assert equal(session.state(), whole.state())


def noted(session: Session, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the encoders and the language model do, in order."""
    done, kind, absorb = [], type(session.stream), session.memory.absorb
    encode = kind.encode
    monkeypatch.setattr(kind, "encode", lambda stream, segments: done.append("encode") or encode(stream, segments))
    monkeypatch.setattr(session.memory, "absorb", lambda chunk: done.append("absorb") or absorb(chunk))
    return done


def test_a_chunk_is_encoded_before_the_one_before_it_is_watched_where_its_segments_are_there(tiny_adapter, monkeypatch):
    session, segments = begun(tiny_adapter, 6)
    done, begins = noted(session, monkeypatch), EncodedAhead.__init__
    monkeypatch.setattr(EncodedAhead, "seconds", 100.0)
    monkeypatch.setattr(EncodedAhead, "__init__", lambda ahead, *of: begins(ahead, *of) or ahead._thread.join())
    list(watched_ahead(session, segments))
    assert done == ["encode", "encode", "absorb", "encode", "absorb", "absorb"]
    assert session.stage_times.encode_s > 200


def test_on_a_cpu_a_chunk_is_encoded_while_the_one_before_it_is_watched(tiny_adapter, monkeypatch):
    session, segments = begun(tiny_adapter, 4)
    watching, kind, absorb = threading.Event(), type(session.stream), session.memory.absorb
    encode, waited = kind.encode, []

    def encoded(stream, own):
        if threading.current_thread() is not threading.main_thread():
            waited.append(watching.wait(60))
        return encode(stream, own)

    monkeypatch.setattr(kind, "encode", encoded)
    monkeypatch.setattr(session.memory, "absorb", lambda chunk: watching.set() or absorb(chunk))
    assert len(list(watched_ahead(session, segments))) == 2
    assert waited == [True]


def test_what_goes_wrong_in_the_thread_is_raised_where_the_chunk_is_taken(tiny_adapter, monkeypatch):
    session, segments = begun(tiny_adapter, 4)

    def broken(stream, own):
        raise RuntimeError("no such kernel")

    monkeypatch.setattr(type(session.stream), "encode", broken)
    ahead = EncodedAhead(session.stream, segments)
    with pytest.raises(RuntimeError, match="no such kernel"):
        ahead.take()


@pytest.mark.parametrize("there", [None, lambda: 1])
def test_it_never_waits_for_segments(there, tiny_adapter, monkeypatch):
    session, segments = begun(tiny_adapter, 6)
    done = noted(session, monkeypatch)
    list(session.watch(segments, there))
    assert done == ["encode", "absorb"] * 3


def test_where_pictures_are_left_out_chunks_are_encoded_when_their_turn_comes(tiny_adapter, monkeypatch):
    session, segments = begun(tiny_adapter, 6)
    session.stills = SimpleNamespace(left_out=lambda source, ahead: iter(source))
    done = noted(session, monkeypatch)
    list(watched_ahead(session, segments))
    assert done == ["encode", "absorb"] * 3


class Side:
    """Stands for a CUDA stream, and for the one of the language model."""

    def __init__(self, order: list[str], name: str):
        self.order, self.name, self.device = order, name, "cuda:0"

    def wait_stream(self, other: "Side") -> None:
        self.order.append(f"{self.name} waits for {other.name}")

    def record_event(self, event: SimpleNamespace) -> SimpleNamespace:
        self.order.append(f"{self.name} is marked")
        return event

    def wait_event(self, event: SimpleNamespace) -> None:
        self.order.append(f"{self.name} waits for a mark")

    def __enter__(self) -> None:
        self.order.append(f"{self.name} takes over")

    def __exit__(self, *error: object) -> None:
        self.order.append(f"{self.name} ends")


def test_on_a_gpu_the_encoders_begin_behind_the_language_model_and_it_goes_on_behind_them(tiny_adapter, monkeypatch):
    session, segments = begun(tiny_adapter, 2)
    order: list[str] = []
    main, side = Side(order, "main"), Side(order, "side")
    cuda = SimpleNamespace(
        current_stream=lambda device: main,
        stream=lambda stream: stream,
        Event=lambda enable_timing: SimpleNamespace(elapsed_time=lambda other: 250.0),
    )
    monkeypatch.setattr(encoded_ahead, "torch", SimpleNamespace(cuda=cuda))
    kind = type(session.stream)
    encode = kind.encode
    monkeypatch.setattr(kind, "encode", lambda stream, own: order.append("encodes") or encode(stream, own))
    ahead = EncodedAhead(session.stream, segments, side)
    begins = ["side waits for main", "side takes over", "side is marked", "encodes", "side is marked", "side ends"]
    assert order == begins
    assert len(ahead.take()) == len(segments) and order == [*begins, "main waits for a mark"]
    assert ahead.seconds == 0.25


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_a_gpu_tokens_and_answers_are_those_of_a_watch_in_order(tiny_folder):
    adapter = load(str(tiny_folder), device="cuda", dtype="float32")
    plain, segments = begun(adapter, 40)
    ahead, _ = begun(adapter, 40)
    for _ in zip(plain.watch(segments), watched_ahead(ahead, segments), strict=True):
        assert plain.ask(["What?"], max_tokens=3) == ahead.ask(["What?"], max_tokens=3)
    assert plain.memory.counts() == ahead.memory.counts()
    assert ahead.stage_times.encode_s > 0


@pytest.mark.parametrize(
    ("device", "one_core", "seconds", "room", "wanted"),
    [
        ("cuda", 0, 60.0, 1.0, True),
        ("cuda", 0, 60.0, -1.0, False),
        ("cuda", 0, 1.0, 1.0, False),
        ("cpu", 0, 60.0, 1.0, False),
        ("cpu", footprint.ONE_CORE, 60.0, 1.0, True),
    ],
)
def test_a_gpu_and_a_small_model_encode_ahead_where_that_leaves_the_budget_what_it_needs(
    device, one_core, seconds, room, wanted, tiny_adapter, monkeypatch
):
    monkeypatch.setattr(footprint, "ONE_CORE", one_core)
    media = media_of(seconds, seconds)
    plan = tiny_adapter.plan(media, WatchOptions(max_pixels=SETTINGS.max_pixels))
    monkeypatch.setattr(footprint, "find_device", lambda name: torch.device(device))
    sizing = footprint.footprint_of(
        SETTINGS, size_memory(SETTINGS, tiny_adapter, plan, media).policy, tiny_adapter, plan, media
    )
    needed, more = sizing.peak_bytes_of_input(60), sizing.ahead_bytes_of_input(60)
    free = int((needed + more + room * 1024) / footprint.AUTO_SHARE)
    fitted = size_memory(SETTINGS, tiny_adapter, plan, media, free=free)
    assert fitted.ahead_bytes == wanted * more and fitted.needed == needed + wanted * more
    assert fitted.held_bytes <= int(free * footprint.AUTO_SHARE) - fitted.needed
    assert (more > 0) == ((device == "cuda" or one_core > 0) and seconds > 1.0)
