"""Transcripts: windows of at most half a minute, cut at pauses.

Knows loudness, windows and questions. Hours of words cannot come out of a few thousand entries at the end, so
every window is asked before anything of it is evicted; silence is never asked about.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from omnimem_cli.base.errors import InputError
from omnimem_cli.base.settings import Settings
from omnimem_cli.base.timecode import format_span
from omnimem_cli.results.codes import warning
from omnimem_cli.tasks.loudness import QUIET_DB, SILENCE_DB, LevelCounts, Loudness
from omnimem_cli.tasks.prompts import NOTHING_SAID, TRANSCRIBE, instruct
from omnimem_cli.tasks.reply import clean_reply
from omnimem_cli.tasks.retry import answers_to
from omnimem_cli.tasks.task import Task

if TYPE_CHECKING:
    import numpy as np

    from omnimem_cli.media.segment import Segment
    from omnimem_cli.session.session import ChunkEnd, Session

WINDOW_S = 30.0
LEAST_SKIPPED_S = 1.0  # less is not worth a warning
WINDOW_TOKENS = 384  # half a minute of fast speech is about 120 words


class Transcribe(Task):
    """One transcript. ``window_s``: the longest window; what the memory grants may shorten it.

    A window is cut once the next chunk would not fit, so that no window is older than ``reserve_s`` when it is
    asked about.
    """

    name = "transcribe"
    writes_while_watching = True

    def __init__(self, settings: Settings, *, window_s: float = WINDOW_S):
        self.settings = settings
        self.needs_audio_scan = settings.vad == "energy"
        self._fit(window_s, 0.0)
        self.warnings: list[dict] = []
        self.segments: list[dict] = []
        self.heard = Loudness(_detector(settings.vad))
        self._open_s: float | None = None  # where the window that was not yet asked about begins
        self._sound = False
        self._loudness = LevelCounts()  # of the whole input after a scan, else of what was heard so far
        self._scanned = False
        self._skipped_s = 0.0  # of sound that could be speech and was taken for silence

    def set_reserve(self, reserve_s: float, segment_s: float) -> None:
        """Make windows as short as the reserve, but not shorter than a segment. Without sound nothing is granted."""
        if reserve_s:
            self._fit(min(self.window_s, reserve_s), segment_s)

    def _fit(self, window_s: float, segment_s: float) -> None:
        self.window_s = max(window_s, segment_s)
        self.chunk_s = max(self.window_s / 3, segment_s)
        self.rest_s = max(self.window_s - self.chunk_s, self.window_s / 2)  # what may stay open after a chunk
        self.reserve_s = self.rest_s + self.chunk_s

    def scan_audio(self, audio: "np.ndarray") -> None:
        """Learn how loud the input is."""
        self._scanned = True
        self._loudness.add(audio)

    def on_chunk(self, session: "Session", chunk_end: "ChunkEnd", segments: "Sequence[Segment]") -> None:
        """Listen, and ask about each window that can grow no further."""
        for segment in segments:
            self._sound = self._sound or len(segment.audio) > 0
            self.heard.add(segment.start_s, segment.audio)
            if not self._scanned:
                self._loudness.add(segment.audio)
        if self._open_s is None:
            self._open_s = chunk_end.start_s
        if not chunk_end.last:
            self._ask_until(session, chunk_end.end_s, self.rest_s)

    @property
    def wishes(self) -> dict:
        """What the segments depend on."""
        own = {"spoken_language": self.settings.spoken_language, "glossary": list(self.settings.glossary)}
        return own | {"vad": self.settings.vad}

    def look_back(self, session: "Session") -> None:
        """Raise InputError: words are gone once they are evicted."""
        hint = "Take it while watching: omnimem watch VIDEO --with transcript, or omnimem transcribe VIDEO."
        raise InputError("The memory holds no transcript with these options.", hint, code="no_transcript")

    def finish(self, session: "Session", end_s: float) -> dict:
        """``{"transcript": {language, segments}}``."""
        if self._open_s is not None:
            self._ask_until(session, end_s, self.window_s)
            self._ask_window(session, end_s)
        if not self._sound:
            self.warnings.append(warning("no_sound", "The input has no sound to transcribe."))
        elif not self.segments and not self.warnings:
            self.warnings.append(warning("silent", "No speech was found, so the transcript is empty."))
        if self.segments and (loud_db := self._loudness.loud_db()) < QUIET_DB:
            message = f"The loudest second of the sound is at {loud_db:.0f} dBFS: words so quiet may be misheard."
            self.warnings.append(warning("quiet_sound", message))
        if self._skipped_s >= LEAST_SKIPPED_S:
            message = f"{self._skipped_s:.0f} s of quiet sound, maybe speech, were taken for silence."
            self.warnings.append(warning("quiet_skipped", message))
        return {"transcript": {"language": self.settings.spoken_language, "segments": self.segments}}

    def state(self) -> dict:
        """Plain values to go on from."""
        own = {"open_s": self._open_s, "sound": self._sound, "heard": self.heard.state()}
        loudness = {"loudness": self._loudness.counts.tolist(), "scanned": self._scanned, "skipped_s": self._skipped_s}
        return {"segments": self.segments, "warnings": self.warnings, **own, **loudness}

    def load_state(self, state: dict) -> None:
        """Go on where ``state`` was taken."""
        self.segments, self.warnings = list(state["segments"]), list(state["warnings"])
        self._open_s, self._sound = state["open_s"], state["sound"]
        self.heard.load_state(state["heard"])
        self._loudness, self._scanned = LevelCounts(state["loudness"]), state["scanned"]
        self._skipped_s = state["skipped_s"]

    def _ask_until(self, session: "Session", now_s: float, rest_s: float) -> None:
        """Ask about windows until no more than ``rest_s`` seconds are left open."""
        while now_s - self._open_s > rest_s + 1e-6:
            latest_s = min(self._open_s + self.window_s, now_s)
            self._ask_window(session, self.heard.pause((self._open_s + latest_s) / 2, latest_s))

    def _ask_window(self, session: "Session", cut_s: float) -> None:
        """Ask for the words up to ``cut_s``, where something can be heard there."""
        window = (self._open_s, cut_s)
        # What a detector of speech left is speech, however quiet.
        gate_db = self._loudness.gate_db() if self.heard.speech is None else SILENCE_DB
        speech_span = self.heard.speech_span(*window, gate_db)
        self._open_s = cut_s
        if speech_span is None:
            self._skipped_s += self.heard.uneven_s(*window)
        else:
            text = self._words(session, window)
            if text:
                self.segments.append(
                    {"start_s": round(speech_span[0], 3), "end_s": round(speech_span[1], 3), "text": text}
                )
        self.heard.drop_before(cut_s)

    def _words(self, session: "Session", window: tuple[float, float]) -> str:
        wishes = {"spoken_language": self.settings.spoken_language, "glossary": self.settings.glossary}
        tokens = self.settings.max_tokens or WINDOW_TOKENS
        question = instruct(TRANSCRIBE, **wishes)
        (answer,) = answers_to(session, [question], max_tokens=tokens, window=window, evidence=False)
        reply = clean_reply(answer.text, answer.finished, f"The transcript of {format_span(*window)}")
        text = " ".join(reply.text.split())
        if text:  # to write nothing about a noise is a good answer
            self.warnings += reply.warnings
        return "" if _bare(text) == _bare(NOTHING_SAID) else text


def _detector(vad: str) -> "Callable[[np.ndarray], np.ndarray] | None":
    if vad == "energy":
        return None
    from omnimem_cli.tasks.voice_activity import Speech

    return Speech()


def _bare(text: str) -> str:
    return text.casefold().strip(" .()[]")
