"""Transcripts: windows of at most half a minute, cut at pauses.

Knows loudness, windows and questions. Hours of words cannot come out of a few thousand entries at the end, so
every window is read whole, in one batch with others: those that end in the newest chunk, and those before that had
room to wait for them; silence is never asked about.
"""

import textwrap
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from omnimem_cli.base.errors import InputError
from omnimem_cli.base.settings import Settings
from omnimem_cli.base.timecode import format_span
from omnimem_cli.results.codes import warning
from omnimem_cli.tasks.alarms import WindowAlarms
from omnimem_cli.tasks.loudness import QUIET_DB, SILENCE_DB, LevelCounts, Loudness
from omnimem_cli.tasks.prompts import NOTHING_SAID, TRANSCRIBE, instruct
from omnimem_cli.tasks.reply import clean_reply
from omnimem_cli.tasks.retry import answers_to
from omnimem_cli.tasks.task import Task

if TYPE_CHECKING:
    import numpy as np

    from omnimem_cli.media.segment import Segment
    from omnimem_cli.session.answering import Answer
    from omnimem_cli.session.session import ChunkEnd, Session, Window

WINDOW_S = 30.0
LEAST_SKIPPED_S = 1.0  # less is not worth a warning
HINT_CHARACTERS = 1000  # of subtitles in a question: half a minute of fast speech is about 600
WINDOW_TOKENS = 384  # half a minute of fast speech is about 120 words


class Transcribe(Task):
    """One transcript. ``recent_s``: the longest window, where the model hears so long a stretch at once."""

    name = "transcribe"
    writes_while_watching = True

    def __init__(self, settings: Settings, *, window_s: float = WINDOW_S):
        self.recent_s = window_s
        self.settings = settings
        self.needs_audio_scan = settings.vad == "energy"
        self.warnings: list[dict] = []
        self.segments: list[dict] = []
        self.subtitles: dict | None = None  # what is known of those in use; see `take_subtitles`
        self._lines: list[dict] = []  # of them
        self.heard = Loudness(_detector(settings.vad))
        self.alarms = WindowAlarms()
        self._open_s: float | None = None  # where the window that was not yet asked about begins
        self._sound = False
        self._loudness = LevelCounts()  # of the whole input after a scan, else of what was heard so far
        self._scanned = False
        self._waiting: list[tuple[Window, Window]] = []  # windows to ask about, and where in them something is heard
        self._skipped_s = 0.0  # of sound that could be speech and was taken for silence

    def take_subtitles(self, facts: dict, lines: list[dict]) -> None:
        """Write down these instead of asking, or ask with them as hints, by their role."""
        self.subtitles, self._lines = facts, lines
        if self._given:
            self.needs_audio_scan, self.needs_watch, self.recent_s = False, False, 0.0

    def take_no_subtitles(self, pictures: Sequence[str]) -> None:
        """Say that the model is asked as without ``--subtitles``."""
        if pictures:
            message = f"The subtitles are pictures ({', '.join(pictures)}), which are not read; the model was asked."
            self.warnings.append(warning("picture_subtitles", message))
        else:
            self.warnings.append(warning("no_subtitles", "No fitting subtitles were found; the model was asked."))

    @property
    def _given(self) -> bool:
        """Whether subtitles are the transcript."""
        return self.subtitles is not None and self.subtitles["role"] == "transcript"

    def scan_audio(self, audio: "np.ndarray") -> None:
        """Learn how loud the input is."""
        self._scanned = True
        self._loudness.add(audio)

    def on_chunk(self, session: "Session", chunk_end: "ChunkEnd", segments: "Sequence[Segment]") -> None:
        """Listen, and ask about windows that can grow no further, once no more of them fit in one batch."""
        if self._given:
            return
        for segment in segments:
            self._sound = self._sound or len(segment.audio) > 0
            self.heard.add(segment.start_s, segment.audio)
            if not self._scanned:
                self._loudness.add(segment.audio)
        if self._open_s is None:
            self._open_s = chunk_end.start_s
        windows = self._complete(chunk_end, min(self.recent_s, session.plan.window_s))
        spans = [self._speech_span(window) for window in windows]
        heard = [(window, span) for window, span in zip(windows, spans, strict=True) if span is not None]
        self.heard.drop_before(self._open_s)
        self._waiting += heard
        full = len(self._waiting) + len(heard) >= session.questions  # if one more comes with the next chunk
        if full or chunk_end.last or not session.may_wait:
            self.catch_up(session)
        elif self._waiting:
            session.hold_from(self._waiting[0][0][0])

    def catch_up(self, session: "Session") -> None:
        """Ask about the windows that wait, all in one batch."""
        waiting, self._waiting = self._waiting, []
        if waiting:
            self._ask(session, waiting)
            session.hold_from(None)

    @property
    def wishes(self) -> dict:
        """What the segments depend on."""
        own = {"spoken_language": self.settings.spoken_language, "glossary": list(self.settings.glossary)}
        used = {"subtitles": self.settings.subtitles} if self.settings.subtitles else {}
        return own | {"vad": self.settings.vad} | used

    def look_back(self, session: "Session") -> None:
        """Raise InputError: words are gone once they are evicted."""
        hint = "Take it while watching: omnimem watch VIDEO --with transcript, or omnimem transcribe VIDEO."
        raise InputError("The memory holds no transcript with these options.", hint, code="no_transcript")

    def finish(self, session: "Session", end_s: float) -> dict:
        """``{"transcript": {language, segments, subtitles}}``; subtitles that are the transcript need no session."""
        if self._given:
            return self._transcript(self.subtitles["language"] or self.settings.spoken_language, self._lines)
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
        self.alarms.end()
        self.warnings += self.alarms.warnings
        return self._transcript(self.settings.spoken_language, self.segments)

    def _transcript(self, language: str | None, segments: list[dict]) -> dict:
        return {"transcript": {"language": language, "segments": segments, "subtitles": self.subtitles}}

    def state(self) -> dict:
        """Plain values to go on from."""
        assert not self._waiting, "windows that wait are asked about first"
        own = {"open_s": self._open_s, "sound": self._sound, "heard": self.heard.state()}
        loudness = {"loudness": self._loudness.counts.tolist(), "scanned": self._scanned, "skipped_s": self._skipped_s}
        written = {"segments": self.segments, "warnings": self.warnings, "alarms": self.alarms.state()}
        used = {"subtitles": self.subtitles, "lines": self._lines} if self.subtitles else {}
        return {**written, **own, **loudness, **used}

    def load_state(self, state: dict) -> None:
        """Go on where ``state`` was taken."""
        self.segments, self.warnings = list(state["segments"]), list(state["warnings"])
        self._open_s, self._sound = state["open_s"], state["sound"]
        self.heard.load_state(state["heard"])
        self.alarms.load_state(state["alarms"])
        self._loudness, self._scanned = LevelCounts(state["loudness"]), state["scanned"]
        self._skipped_s = state["skipped_s"]
        self.subtitles, self._lines = state.get("subtitles"), state.get("lines", [])

    def _complete(self, chunk_end: "ChunkEnd", most_s: float) -> "list[Window]":
        """The windows that can grow no further, cut where it is quiet; at the end of the input, all."""
        windows, now_s = [], chunk_end.end_s
        while now_s - self._open_s > most_s + 1e-6:
            latest_s = self._open_s + most_s
            windows.append((self._open_s, self.heard.pause(self._open_s + most_s / 2, latest_s)))
            self._open_s = windows[-1][1]
        if chunk_end.last and now_s > self._open_s:
            windows.append((self._open_s, now_s))
            self._open_s = now_s
        return windows

    def _ask(self, session: "Session", heard: "list[tuple[Window, Window]]") -> None:
        """Ask for the words of windows, each given with the span in which something is heard."""
        texts = self._words(session, [window for window, _ in heard])
        for (_, (start_s, end_s)), text in zip(heard, texts, strict=True):
            if text:
                self.segments.append({"start_s": round(start_s, 3), "end_s": round(end_s, 3), "text": text})

    def _speech_span(self, window: "Window") -> "Window | None":
        """From the first to the last sound of the window that can be speech."""
        # What a detector of speech left is speech, however quiet.
        gate_db = self._loudness.gate_db() if self.heard.speech is None else SILENCE_DB
        span = self.heard.speech_span(*window, gate_db)
        if span is None:
            self._skipped_s += self.heard.uneven_s(*window)
        return span

    def _words(self, session: "Session", windows: "list[Window]") -> list[str]:
        wishes = {"spoken_language": self.settings.spoken_language, "glossary": self.settings.glossary}
        tokens = self.settings.max_tokens or WINDOW_TOKENS
        questions = [instruct(TRANSCRIBE, subtitles=self._hint(window), **wishes) for window in windows]
        answers = answers_to(session, questions, max_tokens=tokens, whole=windows)
        return [self._cleaned(answer, window) for answer, window in zip(answers, windows, strict=True)]

    def _cleaned(self, answer: "Answer", window: "Window") -> str:
        reply = clean_reply(answer.text, answer.finished, f"The transcript of {format_span(*window)}", answer.tokens)
        text = " ".join(reply.text.split())
        if text or answer.tokens:  # one empty window is no news; several on end are an alarm
            self.warnings += reply.warnings
        said = None if _bare(text) == _bare(NOTHING_SAID) else text
        self.alarms.add(window, said)
        return said or ""

    def _hint(self, window: "Window") -> str:
        """What the subtitles say in a window."""
        said = (line["text"] for line in self._lines if line["end_s"] > window[0] and line["start_s"] < window[1])
        return textwrap.shorten(" ".join(said), HINT_CHARACTERS, placeholder=" …")


def _detector(vad: str) -> "Callable[[np.ndarray], np.ndarray] | None":
    if vad == "energy":
        return None
    from omnimem_cli.tasks.voice_activity import Speech

    return Speech()


def _bare(text: str) -> str:
    return text.casefold().strip(" .()[]")
