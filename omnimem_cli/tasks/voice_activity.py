"""Which of the sound is speech, as silero-vad hears it: an extra, `pip install "omnimem-cli[vad]"`.

Knows samples only. Every stretch is heard from a fresh start, so that a watch that was broken off and continues hears
the same as one that was not.
"""

import numpy as np
import torch

from omnimem_cli.media.segment import SAMPLE_RATE
from omnimem_cli.tasks.loudness import BLOCK_S

FRAME = 512  # samples; silero-vad takes no other number at 16 kHz
SPEECH = 0.5  # the probability from which its own tools call a frame speech


class Speech:
    """A loaded detector."""

    def __init__(self) -> None:
        threads = torch.get_num_threads()
        from silero_vad import load_silero_vad  # takes all of torch down to one thread

        torch.set_num_threads(threads)
        self._model = load_silero_vad()

    @torch.no_grad()
    def __call__(self, audio: np.ndarray) -> np.ndarray:
        """Whether there is speech in each block of 0.1 s: bool [ceil(n / 1600)] of samples [n] at 16 kHz."""
        size = round(BLOCK_S * SAMPLE_RATE)
        found = np.zeros(-(-len(audio) // size), bool)
        frames = torch.from_numpy(np.pad(audio.astype(np.float32), (0, -len(audio) % FRAME))).split(FRAME)
        self._model.reset_states()
        for number, frame in enumerate(frames if len(audio) else ()):
            middle = min(number * FRAME + FRAME // 2, len(audio) - 1)
            found[middle // size] |= float(self._model(frame, SAMPLE_RATE)) >= SPEECH
        return found
