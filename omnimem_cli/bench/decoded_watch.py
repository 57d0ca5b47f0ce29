"""A watch of a real file that is decoded while the model works: how much of both goes on at the same time.

Knows a session and the decoder's clock; knows no policy.
"""

import tempfile
import time
from pathlib import Path

from omnimem_cli.bench.timing_clip import write_long_clip
from omnimem_cli.media.decode import Source, segments_ahead
from omnimem_cli.media.probe import probe
from omnimem_cli.session.session import Session

CHUNKS = 4
"""Of video that are watched: all but the first can be decoded while the model works."""


def decoded_watch(session: Session, length_s: float) -> dict:
    """Watch ``CHUNKS`` chunks, or ``length_s`` seconds where these are less, from a file.

    Returns seconds of decoding, of the model and of both together, seconds of video, and ``hidden``: the share of the
    shorter one that went on during the other, 0 where they took turns.
    """
    form = session.plan.format
    video_s = min(length_s, CHUNKS * session.segments_per_chunk * form.segment_s)
    with tempfile.TemporaryDirectory() as folder:
        path = write_long_clip(Path(folder), video_s)
        began = time.perf_counter()
        with Source(
            probe(str(path)), form, end_s=video_s, queue=segments_ahead(form, session.segments_per_chunk)
        ) as source:
            for _ in session.watch(source):
                pass
        wall_s = time.perf_counter() - began
    model_s, decode_s = session.stage_times.encode_s + session.stage_times.prefill_s, source.busy_s
    hidden = max(0.0, decode_s + model_s - wall_s) / min(decode_s, model_s)
    seconds = {"decode_s": decode_s, "model_s": model_s, "wall_s": wall_s, "video_s": session.end_s, "hidden": hidden}
    return {name: round(value, 3) for name, value in seconds.items()}
