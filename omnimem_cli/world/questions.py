"""Questions about generated videos, with their answers and where in the video each part of an answer is found.

Knows the script of a video, not its pixels. The list answers have one line per slide, `- red circle 3 plan, apple`:
colour, shape, digit and written word, and after a comma the word that is spoken during it, if any. A video without
pictures has lines `- apple`. `scoring.parse_summary` reads that form back.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from omnimem_cli.tasks.prompts import NOT_IN_VIDEO, NOTE, NOTHING_SAID, SUMMARY, TITLE, TRANSCRIBE
from omnimem_cli.world.slides import COLOURS, SHAPES
from omnimem_cli.world.video import Event, Video
from omnimem_cli.world.words import WORDS

LISTS = ("summary", "note", "transcribe")
WORD_ONSET_S, WORD_ECHO_S = 0.2, 0.6

WORDINGS = {
    "summary": (SUMMARY, "What is shown in this video, and what is said?", "List every slide and every spoken word."),
    "note": (NOTE, "What is shown and said in this part?", "List the slides and words of this part."),
    "transcribe": (TRANSCRIBE, "Transcribe the speech.", "What is said? Write down every word."),
    "title": (TITLE, "Name this part of the video."),
    "digit": (
        "What digit is on the {slide}?",
        "Which number is written on the {slide}?",
        "What digit does the {slide} have?",
    ),
    "written": (
        "Which word is written on the {slide}?",
        "What is written below the {slide}?",
        "What can be read on the {slide}?",
    ),
    "word_at": (
        "Which word is said while the {slide} is shown?",
        "What is spoken during the {slide}?",
        "What do you hear while the {slide} is on screen?",
    ),
    "slide_at": (
        "What is shown while the word {word} is said?",
        "Which slide is on screen when {word} is spoken?",
        "What do you see when you hear {word}?",
    ),
    "next_slide": ("What is shown after the {slide}?", "Which slide comes right after the {slide}?"),
    "previous_slide": ("What is shown before the {slide}?", "Which slide comes right before the {slide}?"),
    "next_word": ("Which word is said after {word}?", "What is the next word after {word}?"),
    "previous_word": ("Which word is said before {word}?", "What is the last word before {word}?"),
    "first_slide": ("What is shown first?", "Which slide comes first?"),
    "last_slide": ("What is shown last?", "Which slide comes last?"),
    "first_word": ("Which word is said first?", "What is the first word?"),
    "last_word": ("Which word is said last?", "What is the last word?"),
    "count_slides": ("How many slides are shown?", "How many slides are there?"),
    "count_words": ("How many words are said?", "How many words do you hear?"),
    "when": ("When is the {slide} shown?", "At what second does the {slide} appear?"),
}


@dataclass(frozen=True)
class Evidence:
    """A stretch of the video that holds an answer: seconds, and whether to look ("slide") or to listen ("word")."""

    start_s: float
    end_s: float
    kind: str


NOWHERE = Evidence(0.0, 0.0, "nowhere")
"""What tells an answer that says that nothing was found."""


@dataclass(frozen=True)
class Part:
    """A piece of an answer's text and the stretches any of which tells it.

    leads: the number of the earlier part that names what to look for, None where the question does.
    """

    text: str
    evidence: tuple[Evidence, ...] = ()
    leads: int | None = None


@dataclass(frozen=True)
class View:
    """What a question may look at: the video from start_s to end_s, with which streams."""

    start_s: float
    end_s: float
    picture: bool = True
    sound: bool = True


@dataclass(frozen=True)
class Question:
    """A question, its answer in parts, and what it may look at.

    modality: asked by -> answered from. names: what the question names, as single words ("red", "circle").
    """

    kind: str
    text: str
    parts: tuple[Part, ...]
    view: View
    modality: str
    names: tuple[str, ...] = ()

    @property
    def answer(self) -> str:
        """The whole answer."""
        return "".join(part.text for part in self.parts)

    @property
    def evidence(self) -> tuple[float, float] | None:
        """From when to when the first stretch of evidence lasts, in seconds."""
        found = [e for part in self.parts for e in part.evidence if e != NOWHERE]
        return (found[0].start_s, found[0].end_s) if found else None


class _Scene:
    """What of a script is visible and audible in a view."""

    def __init__(self, video: Video, view: View):
        self.view = view
        self.slides = [e for e in video.events if view.picture and self._shown(e)]
        self.spoken = [e for e in video.events if view.sound and self._said(e)]

    def _shown(self, event: Event) -> bool:
        """Whether a whole second of the clock, as a frame pair covers it, shows the event and begins in the view."""
        first = max(np.ceil(event.start_s - 0.5), np.ceil(self.view.start_s))
        return first + 1 <= event.end_s + 0.001 and first < self.view.end_s

    def _said(self, event: Event) -> bool:
        inside = self.view.start_s <= event.word_start_s and event.word_end_s <= self.view.end_s
        return event.word is not None and inside

    def seen(self, event: Event) -> tuple[Evidence, ...]:
        start_s, end_s = max(event.start_s, self.view.start_s), min(event.end_s, np.ceil(self.view.end_s))
        return (Evidence(start_s, float(end_s), "slide"),)

    def heard(self, event: Event) -> tuple[Evidence, ...]:
        end_s = min(event.word_end_s + WORD_ECHO_S, event.end_s, self.view.end_s)
        return (Evidence(event.word_start_s + WORD_ONSET_S, max(end_s, event.word_end_s), "word"),)


def _name(event: Event) -> str:
    return f"{event.slide.colour} {event.slide.shape}"


def _list(scene: _Scene) -> tuple[Part, ...]:
    """One line per slide with its word; without pictures one line per word."""
    parts: list[Part] = []
    name = None
    for event in scene.slides or scene.spoken:
        where = scene.seen(event) if scene.slides else scene.heard(event)
        parts.append(Part("\n-" if parts else "-", where, name))
        if scene.slides:
            parts.append(Part(f" {_name(event)}", where, name))
            name = len(parts) - 1
            parts += [Part(f" {text}", where, name) for text in (event.slide.digit, event.slide.title)]
        if event in scene.spoken:
            parts += [Part(",", scene.heard(event), name)] if scene.slides else []
            parts.append(Part(f" {event.word}", scene.heard(event), name))
            name = name if scene.slides else len(parts) - 1
    return tuple(parts)


def _transcript(scene: _Scene) -> tuple[Part, ...]:
    if not scene.spoken:
        return (Part(NOTHING_SAID, (NOWHERE,)),)
    texts = [scene.spoken[0].word] + [f" {event.word}" for event in scene.spoken[1:]]
    leads = [None, *range(len(texts) - 1)]
    return tuple(Part(text, scene.heard(e), n) for text, e, n in zip(texts, scene.spoken, leads, strict=True))


def _wording(kind: str, rng: np.random.Generator, **names: str) -> str:
    texts = WORDINGS[kind]
    return texts[rng.integers(len(texts))].format(**names)


def _ask(kind: str, modality: str, scene: _Scene, rng: np.random.Generator, *parts: Part, **names: str) -> Question:
    return Question(kind, _wording(kind, rng, **names), parts, scene.view, modality, _words_of(names))


def _words_of(names: dict[str, str]) -> tuple[str, ...]:
    return tuple(" ".join(names.values()).split())


def _pick(items: list, rng: np.random.Generator) -> Event | None:
    return items[rng.integers(len(items))] if items else None


def _summary(scene: _Scene, rng: np.random.Generator) -> Question | None:
    parts = _list(scene)
    return _ask("summary", "all", scene, rng, *parts) if parts else None


def _note(scene: _Scene, rng: np.random.Generator) -> Question | None:
    parts = _list(scene)
    return _ask("note", "all", scene, rng, *parts) if parts else None


def _transcribe(scene: _Scene, rng: np.random.Generator) -> Question | None:
    return _ask("transcribe", "audio", scene, rng, *_transcript(scene)) if scene.view.sound else None


def _title(scene: _Scene, rng: np.random.Generator) -> Question | None:
    if not scene.slides:
        return None
    first = scene.slides[0]
    return _ask("title", "visual", scene, rng, Part(_name(first), scene.seen(first)))


def _on_slide(kind: str, scene: _Scene, rng: np.random.Generator, label: str) -> Question | None:
    """What a slide says under `label` ("digit" or "title")."""
    event = _pick(scene.slides, rng)
    if event is None:
        return None
    part = Part(getattr(event.slide, label), scene.seen(event))
    return _ask(kind, "visual->visual", scene, rng, part, slide=_name(event))


def _word_at(scene: _Scene, rng: np.random.Generator) -> Question | None:
    event = _pick([e for e in scene.spoken if e in scene.slides], rng)
    if event is None:
        return None
    return _ask("word_at", "visual->audio", scene, rng, Part(event.word, scene.heard(event)), slide=_name(event))


def _slide_at(scene: _Scene, rng: np.random.Generator) -> Question | None:
    event = _pick([e for e in scene.spoken if e in scene.slides], rng)
    if event is None:
        return None
    part = Part(_name(event), scene.heard(event))
    return _ask("slide_at", "audio->visual", scene, rng, part, word=event.word)


def _neighbour(kind: str, scene: _Scene, rng: np.random.Generator, step: int) -> Question | None:
    """The slide or word right after (step 1) or before (step -1) another.

    Looking back, the evidence is the other one: while it lasted, what came before it was known.
    """
    slides = kind.endswith("slide")
    events = scene.slides if slides else scene.spoken
    if len(events) < 2:
        return None
    at = int(rng.integers(max(0, -step), len(events) - max(0, step)))
    known, answer = events[at], events[at + step]
    where = scene.seen if slides else scene.heard
    evidence = where(answer if step > 0 else known)
    if slides:
        return _ask(kind, "visual->visual", scene, rng, Part(_name(answer), evidence), slide=_name(known))
    return _ask(kind, "audio->audio", scene, rng, Part(answer.word, evidence), word=known.word)


def _end(kind: str, scene: _Scene, rng: np.random.Generator, at: int) -> Question | None:
    """The first (at 0) or last (at -1) slide or word."""
    if kind.endswith("slide"):
        if not scene.slides:
            return None
        return _ask(kind, "visual", scene, rng, Part(_name(scene.slides[at]), scene.seen(scene.slides[at])))
    if not scene.spoken:
        return None
    return _ask(kind, "audio", scene, rng, Part(scene.spoken[at].word, scene.heard(scene.spoken[at])))


def _count(kind: str, scene: _Scene, rng: np.random.Generator) -> Question | None:
    slides = kind.endswith("slides")
    present = scene.view.picture if slides else scene.view.sound
    counted, where = (scene.slides, scene.seen) if slides else (scene.spoken, scene.heard)
    if not present or scene.view.start_s > 0:
        return None
    part = Part(str(len(counted)), where(counted[-1]) if counted else (NOWHERE,))
    return _ask(kind, "visual" if slides else "audio", scene, rng, part)


def _when(scene: _Scene, rng: np.random.Generator) -> Question | None:
    event = _pick([e for e in scene.slides if e.start_s >= scene.view.start_s], rng)
    if event is None:
        return None
    begins = Evidence(event.start_s, min(event.start_s + 2.0, event.end_s), "slide")
    part = Part(f"{int(event.start_s)} seconds", (begins,))
    return _ask("when", "visual->time", scene, rng, part, slide=_name(event))


def _absent(scene: _Scene, rng: np.random.Generator) -> Question | None:
    """A retrieval question about something that the view does not hold."""
    shown = {_name(e) for e in scene.slides}
    said = {e.word for e in scene.spoken}
    slides = [f"{c} {s}" for c in COLOURS for s in SHAPES if f"{c} {s}" not in shown]
    words = [w for w in WORDS if w not in said]
    by_slide = ("digit", "written", "word_at", "next_slide", "previous_slide", "when")
    kinds = (*by_slide, "slide_at", "next_word", "previous_word")
    kind = kinds[rng.integers(len(kinds))]
    by_word = kind not in by_slide
    things = words if by_word else slides
    if not things:
        return None
    names = {"word" if by_word else "slide": things[rng.integers(len(things))]}
    text = _wording(kind, rng, **names)
    return Question("absent", text, (Part(NOT_IN_VIDEO, (NOWHERE,)),), scene.view, "none", _words_of(names))


KINDS: dict[str, Callable[[_Scene, np.random.Generator], Question | None]] = {
    "summary": _summary,
    "note": _note,
    "transcribe": _transcribe,
    "title": _title,
    "digit": lambda scene, rng: _on_slide("digit", scene, rng, "digit"),
    "written": lambda scene, rng: _on_slide("written", scene, rng, "title"),
    "word_at": _word_at,
    "slide_at": _slide_at,
    "next_slide": lambda scene, rng: _neighbour("next_slide", scene, rng, 1),
    "previous_slide": lambda scene, rng: _neighbour("previous_slide", scene, rng, -1),
    "next_word": lambda scene, rng: _neighbour("next_word", scene, rng, 1),
    "previous_word": lambda scene, rng: _neighbour("previous_word", scene, rng, -1),
    "first_slide": lambda scene, rng: _end("first_slide", scene, rng, 0),
    "last_slide": lambda scene, rng: _end("last_slide", scene, rng, -1),
    "first_word": lambda scene, rng: _end("first_word", scene, rng, 0),
    "last_word": lambda scene, rng: _end("last_word", scene, rng, -1),
    "count_slides": lambda scene, rng: _count("count_slides", scene, rng),
    "count_words": lambda scene, rng: _count("count_words", scene, rng),
    "when": _when,
    "absent": _absent,
}
SHORT_KINDS = tuple(kind for kind in KINDS if kind not in ("summary", "note", "transcribe", "title"))


def question(kind: str, video: Video, rng: np.random.Generator, view: View | None = None) -> Question | None:
    """One question of `kind` about `video` as `view` shows it (default: all of it); None where it makes no sense."""
    return KINDS[kind](_Scene(video, view or View(0.0, video.duration_s)), rng)


def questions(video: Video, seed: int, kinds: tuple[str, ...] = SHORT_KINDS, per_kind: int = 1) -> list[Question]:
    """Questions of every kind about the whole video, the same for the same arguments."""
    rng = np.random.default_rng((seed, video.seed))
    made = [question(kind, video, rng) for kind in kinds for _ in range(per_kind)]
    return list(dict.fromkeys(q for q in made if q))


def window(video: Video, start_s: float, end_s: float) -> View:
    """A view of a stretch with both edges moved into a pause of the speech, at most a few seconds away."""
    return View(_pause(video, start_s), max(_pause(video, end_s), _pause(video, start_s) + 1.0))


def _pause(video: Video, time_s: float) -> float:
    """The first moment at or after `time_s`, in steps of 0.5 s, that is well clear of any word."""
    while any(e.word and e.word_start_s - 0.1 < time_s < e.word_end_s + 0.4 for e in video.events):
        time_s += 0.5
    return min(time_s, video.duration_s)
