"""The texts that tasks put to a model. Knows no model and no video.

Nano is trained on exactly these wordings (and a few paraphrases), so a change here asks for a new nano.
"""

SUMMARY = "Summarize this video: what is shown, and what is said."
NOTE = "Describe this part of the video: what is shown, and what is said."
TRANSCRIBE = "Write down the speech in this part of the video word for word."
TITLE = "Give this part of the video a short title."
NOTHING_SAID = "(no speech)"
OUTLINE = "These notes were taken while watching, in order:"
SCHEMA = "Answer with JSON only, no other text, matching this JSON Schema:"
NOT_IN_VIDEO = "Not in the video."
SAY_NOT_IN_VIDEO = f"If the video does not answer this, write only: {NOT_IN_VIDEO}"

STOPS = (
    "\nHuman:",
    "\nUser:",
    "\nAssistant:",
    "<|im_start|>",
    "<|im_end|>",
    "<|endoftext|>",
)
"""Where a model begins to play the other speaker: the answer ends before."""

LANGUAGES = {
    "ar": "Arabic", "bn": "Bengali", "cs": "Czech", "da": "Danish", "de": "German", "el": "Greek",
    "en": "English", "es": "Spanish", "fa": "Persian", "fi": "Finnish", "fr": "French", "he": "Hebrew",
    "hi": "Hindi", "hu": "Hungarian", "id": "Indonesian", "it": "Italian", "ja": "Japanese",
    "ko": "Korean", "ms": "Malay", "nl": "Dutch", "no": "Norwegian", "pl": "Polish", "pt": "Portuguese",
    "ro": "Romanian", "ru": "Russian", "sv": "Swedish", "th": "Thai", "tr": "Turkish",
    "uk": "Ukrainian", "ur": "Urdu", "vi": "Vietnamese", "yue": "Cantonese", "zh": "Chinese",
}  # fmt: skip
"""ISO 639 codes that the language options may use; other words are passed on as they are."""


def instruct(
    question: str,
    *,
    language: str | None = None,
    spoken_language: str | None = None,
    glossary: tuple[str, ...] = (),
    subtitles: str = "",
    may_be_absent: bool = False,
) -> str:
    """The question, followed by a sentence for each wish that was given."""
    wishes = [question]
    if spoken_language:
        wishes.append(f"The speech is in {language_name(spoken_language)}.")
    if glossary:
        wishes.append(f"Names and terms that may occur: {', '.join(glossary)}.")
    if subtitles:
        wishes.append(f"Subtitles of this part, which may be wrong: {subtitles}")
    if language:
        wishes.append(f"Answer in {language_name(language)}.")
    if may_be_absent:
        wishes.append(SAY_NOT_IN_VIDEO)
    return " ".join(wishes)


def language_name(language: str) -> str:
    """``de`` and ``de-AT`` -> ``German``; what is no known code stays."""
    return LANGUAGES.get(language.lower().replace("_", "-").split("-")[0], language)


def language_code(language: str) -> str:
    """``German`` -> ``de``; what is no known name stays."""
    return next((code for code, name in LANGUAGES.items() if name.casefold() == language.casefold()), language)
