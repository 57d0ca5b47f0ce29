"""The words that ``error.code`` and ``warnings[].code`` may hold, and their meanings. Knows no result."""

from omnimem_cli.base.paths import hide_secrets

ERROR_CODES = {
    "usage": "the command line is wrong; nothing was started",
    "input": "the input cannot be watched",
    "missing": "the input does not exist",
    "directory": "the input is a folder, and -r was not given",
    "empty": "the input has no bytes",
    "unreadable": "the input, or a folder of -r, may not be read, or its disk failed",
    "not_media": "the input is not a media file that ffmpeg can read",
    "incomplete": "the input looks incomplete, such as a download that still runs",
    "unopened": "the input, or the stream behind a URL, cannot be opened",
    "page": "no media could be had from a web page",
    "no_stream": "the input has no usable picture or sound",
    "no_track": "the input has no such audio or video track",
    "no_decoder": "ffmpeg has no decoder of the input's picture and sound",
    "encrypted": "the input is encrypted",
    "empty_range": "the range lies outside the input",
    "frame_rate": "--fps asks for more frames than the input has",
    "undecodable": "nothing in the input could be decoded",
    "stalled": "the input delivered nothing for too long",
    "network": "the file points to the network, which local files may not do",
    "apart": "picture and sound of the stream are too far apart to be read together",
    "not_memory": "the input is not a memory file of omnimem",
    "memory_damaged": "the memory file is damaged, cut or altered",
    "memory_newer": "the memory file was written by a newer omnimem",
    "subtitles": "the subtitles of the input cannot be read",
    "no_transcript": "the memory holds no transcript with these options",
    "live_away": "no live watch listens there, or it has ended",
    "live_busy": "the live watch has too many questions waiting",
    "live_early": "the memory of the live watch holds nothing of the time that was asked about",
    "live_request": "what was sent to the live watch is no request",
    "timeout": "the time limit for one input was reached",
    "environment": "something is missing on this machine",
    "no_ffmpeg": "ffmpeg was not found",
    "open_files": "the limit of open files was reached",
    "no_weights": "the model's weights are not on this machine",
    "download": "the model's weights could not be downloaded",
    "model": "the model folder is broken or of a kind that is not supported",
    "device": "there is no such device",
    "does_not_fit": "model and budget exceed the device",
    "budget_too_small": "the budget cannot hold the prompt and one chunk",
    "output": "the result could not be written",
    "interrupted": "stopped by Ctrl-C or by a signal",
    "unexpected": "a bug in omnimem; --debug shows the traceback",
}
"""``error.code``: word -> meaning."""


WARNING_CODES = {
    "foreign_world": "the model knows only generated videos: what it says about this one means nothing",
    "coverage_low": "less than 98 % of a stream entered the model",
    "duration_unknown": "the length of the input is unknown, and so is its coverage",
    "live_stopped": "a signal, --timeout or a break ended live input; the result is of what came until then",
    "behind": "the model was slower than a live stream; frames or whole segments were left out",
    "events_lost": "events of a live watch could not be written, because a disk was full or a reader too slow",
    "gap": "a stream has no data for a while; that time does not count as watched",
    "joined": "recordings were joined in one file; they are watched one after the other",
    "short_track": "the sound ends long before another sound track of the input does",
    "unread_bytes": "a part of the file is not read, such as a recording that was written after another",
    "no_decoder": "ffmpeg has no decoder of a stream, which is not watched",
    "encrypted": "a stream is encrypted and not watched",
    "truncated_input": "a stream ends earlier than the file says",
    "decode_errors": "ffmpeg reported errors while decoding",
    "key_frames": "key frames alone were decoded, and what was shown for a while between two of them was not seen",
    "all_frames": "key frames alone were wanted and cannot be had of this input; all frames were decoded",
    "no_gpu_decoder": "the GPU's decoder was wanted and cannot be had; the processor decoded the same frames",
    "loudest_channel": "the mean of the channels loses what is heard; the loudest one was taken there",
    "not_finite": "the model's encoders gave tokens that are not finite numbers, which were left out",
    "positions_beyond": "the video is longer than the positions that the model was trained on; see --positions lazy",
    "no_sound": "the input has no sound to transcribe",
    "no_subtitles": "there are no fitting subtitles; the speech was transcribed by the model",
    "picture_subtitles": "the subtitles are pictures; the speech was transcribed by the model",
    "silent": "no speech was found: the transcript is empty",
    "quiet_sound": "the sound is so quiet that words may be misheard; a louder copy may help",
    "quiet_skipped": "sound that may be speech was too quiet beside the rest, and nothing was asked about it",
    "notes_late": "notes were taken from a kept memory, which holds little of what is long past",
    "not_looked": "no second look was possible: the video is not at hand",
    "no_text": "an answer consists of tokens without text, such as special tokens",
    "sound_not_entered": "sound was decoded, and no token of it entered the model",
    "nothing_written": "something was heard for several windows on end, and the model wrote nothing",
    "same_words": "the transcript is the same for several windows on end: it may be invented",
    "repetition": "the model repeated itself; the repeats were cut",
    "answer_cut": "an answer reached its token limit",
    "answer_empty": "the model gave no answer",
    "answer_invalid": "an answer reached its token limit before it could fit its schema; its data is null",
}
"""``warnings[].code``: word -> meaning. Computed, never generated by a model."""


DEGRADING = frozenset(
    {
        "coverage_low",
        "unread_bytes",
        "not_finite",
        "answer_invalid",
        "not_looked",
        "no_text",
        "sound_not_entered",
        "nothing_written",
        "same_words",
    }
)
"""Warnings that make a finished result count as degraded under ``--strict``."""

OF_ANSWERS = frozenset({"not_looked", "no_text", "repetition", "answer_cut", "answer_empty", "answer_invalid"})
"""Warnings of an ask that are about its answers, not about its watch."""


def warning(code: str, message: str) -> dict:
    """One warning; its code is a word of WARNING_CODES. Secrets of addresses are hidden."""
    assert code in WARNING_CODES, f"the warning code {code!r} is not listed in results.WARNING_CODES"
    return {"code": code, "message": hide_secrets(message)}
