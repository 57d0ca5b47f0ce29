"""The first pass over the sound of a file, beside the loading of its model or the watch of another file.

Knows media and what learns from their sound; knows no weight and no task.
"""

import threading
import time
from collections.abc import Callable
from types import TracebackType

import numpy as np
import torch

from omnimem_cli.base.process import too_late
from omnimem_cli.base.settings import Settings
from omnimem_cli.media.segment import Media
from omnimem_cli.media.sound import SampleReader, open_sound, sound_blocks_of
from omnimem_cli.models.adapter import Adapter, AudioScan
from omnimem_cli.session.preflight import stall_s


def sound_pass(
    settings: Settings, media: Media, adapter: Adapter, listen: Callable[[np.ndarray], None] | None
) -> "SoundPass | None":
    """That of a file, for whoever needs it: ``listen`` and a model of ``adapter``'s kind, which may lack its weights.

    None where nobody does. A live source cannot be read twice: of it there is none.
    """
    scan = adapter.audio_scan()
    if media.audio is None or media.duration_s is None or (scan is None and listen is None):
        return None
    return SoundPass(settings, media, scan, listen)


class SoundPass:
    """All the sound of the chosen range, given in blocks of samples [n] to ``scan`` and ``listen`` by a thread.

    A context manager: its end waits for the end of the sound and raises what broke it off; after an error inside it
    the pass ends too. ``seconds``: what it took, which counts for the time limit of the input; beyond that it ends.
    """

    def __init__(
        self,
        settings: Settings,
        media: Media,
        scan: AudioScan | None,
        listen: Callable[[np.ndarray], None] | None,
    ):
        self.scan = scan
        self.seconds = 0.0
        self._settings, self._media, self._listen = settings, media, listen
        self._reader: SampleReader | None = None
        self._stopped = False
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="listen", daemon=True)

    def __enter__(self) -> "SoundPass":
        self._thread.start()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            if kind is not None:
                self.stop()
            self._thread.join()
        except BaseException:  # an interrupt
            self.stop()
            self._thread.join()
            raise
        if kind is None and self._error is not None:
            raise self._error

    def stop(self) -> None:
        """Hear no more; the thread ends soon after."""
        self._stopped = True
        if self._reader is not None:
            self._reader.process.kill()

    def _run(self) -> None:
        try:
            self._hear_all()
        except Exception as error:  # raised in the thread that waits
            self._error = error

    def _hear_all(self) -> None:
        settings, began = self._settings, time.monotonic()
        where = (settings.start_s or 0.0, settings.end_s, stall_s(settings))
        with open_sound(self._media, *where) as self._reader:
            for block in sound_blocks_of(self._reader):
                if self._stopped:
                    return
                self._take(block)
                self.seconds = time.monotonic() - began
                if settings.timeout_s is not None and self.seconds >= settings.timeout_s:
                    raise too_late(settings.timeout_s)

    def _take(self, block: np.ndarray) -> None:
        if self.scan is not None:
            self.scan.add(torch.from_numpy(block))
        if self._listen is not None:
            self._listen(block)
