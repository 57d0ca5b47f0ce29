"""Words that an option may take, each list once. Knows words; knows nothing of what they set going."""

DTYPES = ("float32", "bfloat16", "float16", "int8", "int4")
"""Types in which weights are held."""

FORMATS = ("md", "html", "json", "srt", "vtt", "txt", "chapters", "csv")
"""Formats of a result file, and their suffixes."""

SHOWN = ("auto", "plain", "json", "none")
"""Ways to show progress."""

MEMORY = "omnimem"
"""The format, and the suffix, of a memory file."""

STYLES = ("brief", "detailed", "chapters")
"""Forms of a summary."""

CHAPTERS_BY = ("topic", "clock")
"""Where chapters, and the parts of a detailed summary, end."""

CHAPTER_LENGTH = "3m"
"""Their length unless another is typed."""

POSITIONS = ("keep", "lazy", "eager", "retime")
"""What becomes of the rotary positions of kept keys (`memory.repositioning`)."""

KV_BITS = (16, 8, 4)
"""Bits of kept keys and values; 16: nothing is quantized, whatever the type of the keys."""

MROPE = ("released", "trained")
"""Rules of multimodal positions where a model's release has two."""

DECODE = ("all", "keyframes")
"""Which frames of a picture are decoded (`media.key_frames`)."""

HWACCEL = ("none", "auto", "cuda")
"""Whose decoder decodes a picture (`media.gpu_decoder`)."""

SLIDE_STYLES = ("even", "skew", "lecture")
"""How long slides of generated videos are shown."""

STILLS = ("watch", "skip")
"""What becomes of pictures that show nothing new (`media.stills`)."""

NOTES = ("auto", "on", "off")
"""Whether questions are put over notes that are taken on the way, too."""

SUBTITLES = ("use", "hint")
"""What becomes of the subtitles of an input: its transcript, or a part of each question for one."""

VAD = ("energy", "silero")
"""Voice-activity detectors."""

GIVE_UP_S, QUIET_S = 600.0, 30.0
"""How long a live source may be gone, and how long its picture may stand still or its sound be silent, unless typed."""
