"""Damaged media on purpose: small files with bytes flipped, cut and repeated, through probe and decode.

Knows media; knows no model. Every input must end in segments or in one typed error, in bounded time and memory;
anything else is counted as a crash or a hang and its file is kept.
"""

import subprocess
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from omnimem_cli.errors import InputError, MissingError
from omnimem_cli.media.decode import Source
from omnimem_cli.media.ffmpeg import ffmpeg_path
from omnimem_cli.media.probe import probe
from omnimem_cli.media.segment import Format

LAYOUT = Format(segment_s=2.0, fps=2, width=32, height=32, lookahead=200)
SEGMENTS = 30  # a damaged time stamp may promise hours: so many are watched, the rest is left
STALL_S = 20.0
HANG_S = 120.0
PICTURE = ("-f", "lavfi", "-i", "testsrc2=s=64x48:r=10:d=2")
SOUND = ("-f", "lavfi", "-i", "sine=r=16000:d=2")
SEEDS = {
    "seed.mp4": (*PICTURE, *SOUND, "-c:v", "libx264", "-preset", "ultrafast", "-c:a", "aac"),
    "seed.mkv": (*PICTURE, *SOUND, "-c:v", "mpeg4", "-c:a", "aac"),
    "seed.wav": (*SOUND, "-c:a", "pcm_s16le"),
    "seed.mp3": (*SOUND, "-c:a", "libmp3lame"),
}


@dataclass
class Outcome:
    """What became of all cases. ``outcomes`` counts "watched", "watched with warnings" and codes of errors."""

    cases: int = 0
    seconds: float = 0.0
    peak_mib: float = 0.0  # resident memory of this process, the largest growth since the beginning
    outcomes: Counter[str] = field(default_factory=Counter)
    crashes: list[str] = field(default_factory=list)
    hangs: list[str] = field(default_factory=list)

    def as_dict(self) -> dict:
        """Plain values, outcomes by falling count."""
        return asdict(self) | {"outcomes": dict(self.outcomes.most_common())}


def fuzz(
    folder: Path,
    *,
    cases: int | None = None,
    seconds: float | None = None,
    seed: int = 0,
) -> Outcome:
    """Run ``cases`` damaged files, or as many as fit in ``seconds``, in ``folder``; the same seed, the same files.

    Raises MissingError where ffmpeg cannot write the seeds.
    """
    originals = make_seeds(folder)
    outcome, begun, resident = Outcome(), time.monotonic(), resident_mib()
    while _more(outcome.cases, cases, time.monotonic() - begun, seconds):
        name = sorted(originals)[outcome.cases % len(originals)]
        damaged = mutated(originals[name], np.random.default_rng([seed, outcome.cases]))
        path = folder / f"case-{outcome.cases}{Path(name).suffix}"
        path.write_bytes(damaged)
        if _run_case(path, outcome):
            path.unlink()
        outcome.cases += 1
        outcome.peak_mib = max(outcome.peak_mib, resident_mib() - resident)
    outcome.seconds = time.monotonic() - begun
    return outcome


def _more(done: int, cases: int | None, spent_s: float, seconds: float | None) -> bool:
    return (cases is None or done < cases) and (seconds is None or spent_s < seconds)


def make_seeds(folder: Path) -> dict[str, bytes]:
    """The whole files that are damaged: name to content."""
    found = {}
    for name, options in SEEDS.items():
        path = folder / name
        quiet = [ffmpeg_path(), "-hide_banner", "-nostdin", "-v", "error", "-y"]
        done = subprocess.run([*quiet, *options, str(path)], stdin=subprocess.DEVNULL, capture_output=True, check=False)
        if done.returncode:
            raise MissingError(f"This ffmpeg cannot write {name}.", "Install a complete ffmpeg.", code="no_ffmpeg")
        found[name] = path.read_bytes()
    return found


def mutated(data: bytes, chance: np.random.Generator) -> bytes:
    """One to three damages: bytes flipped, a stretch cut out, repeated, overwritten, or the end cut off."""
    for _ in range(chance.integers(1, 4)):
        data = DAMAGES[chance.integers(len(DAMAGES))](bytearray(data), chance)
    return data


def _flip(data: bytearray, chance: np.random.Generator) -> bytes:
    # Headers lie at the ends of a file: half of the flips go there.
    reach = len(data) if chance.random() < 0.5 else min(len(data), 600)
    for place in chance.integers(0, max(1, reach), chance.integers(1, 30)):
        if data:
            data[place if chance.random() < 0.5 else len(data) - 1 - place] = chance.integers(256)
    return bytes(data)


def _stretch(data: bytearray, chance: np.random.Generator) -> slice:
    begin = int(chance.integers(0, max(1, len(data))))
    return slice(begin, begin + int(chance.integers(1, 2000)))


def _cut(data: bytearray, chance: np.random.Generator) -> bytes:
    del data[_stretch(data, chance)]
    return bytes(data)


def _repeat(data: bytearray, chance: np.random.Generator) -> bytes:
    part = _stretch(data, chance)
    return bytes(data[: part.stop] + data[part] + data[part.stop :])


def _overwrite(data: bytearray, chance: np.random.Generator) -> bytes:
    part = _stretch(data, chance)
    data[part] = chance.bytes(len(data[part]))
    return bytes(data)


def _end(data: bytearray, chance: np.random.Generator) -> bytes:
    return bytes(data[: chance.integers(1, max(2, len(data)))])


DAMAGES: Sequence[Callable[[bytearray, np.random.Generator], bytes]] = (_flip, _cut, _repeat, _overwrite, _end)


def _run_case(path: Path, outcome: Outcome) -> bool:
    """Watch one file in a thread of its own, so that a hang is noticed; whether all went well."""
    result: list[str | Exception] = []
    thread = threading.Thread(target=lambda: result.append(_watch(path)), daemon=True)
    thread.start()
    thread.join(HANG_S)
    if not result:
        outcome.hangs.append(str(path))
        return False
    if isinstance(result[0], Exception):
        outcome.crashes.append(f"{path}: {result[0]!r}")
        return False
    outcome.outcomes[result[0]] += 1
    return True


def _watch(path: Path) -> str | Exception:
    try:
        media = probe(str(path), timeout_s=STALL_S)
        with Source(media, LAYOUT, stall_s=STALL_S) as source:
            for _ in _first(source, SEGMENTS):
                pass
    except InputError as error:
        return error.code
    except Exception as error:  # the very thing looked for
        return error
    return "watched with warnings" if source.warnings else "watched"


def _first(source: Source, count: int) -> Iterator[None]:
    for index, segment in enumerate(source):
        assert len(segment.frames) == len(segment.frame_times) and np.isfinite(segment.audio).all()
        yield
        if index + 1 == count:
            return


def resident_mib() -> float:
    """Resident memory of this process; 0 where the system does not tell."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return 0.0
    return pages * 4096 / 2**20


@contextmanager
def kept_folder(keep: str | None) -> Iterator[Path]:
    """The folder to work in: the user's, or one that vanishes."""
    if keep is not None:
        Path(keep).mkdir(parents=True, exist_ok=True)
        yield Path(keep)
        return
    with tempfile.TemporaryDirectory(prefix="omnimem-fuzz-") as folder:
        yield Path(folder)


def fuzz_table(outcome: Outcome) -> str:
    """Counts per outcome, and every crash and hang, as lines of text."""
    rows = [*outcome.outcomes.most_common(), ("crashes", len(outcome.crashes)), ("hangs", len(outcome.hangs))]
    head = f"{outcome.cases} damaged files in {outcome.seconds:.0f} s, host RAM +{outcome.peak_mib:.0f} MiB"
    return "\n".join([head, *(f"{count:8d}  {name}" for name, count in rows), *outcome.crashes, *outcome.hangs])
