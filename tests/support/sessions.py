"""Sessions of a tiny random model that have watched noise."""

import torch
from streams import frames_of, media_of, segments_of, sound_of

from omnimem_cli.memory.budget import even_budgets
from omnimem_cli.memory.memory import Memory
from omnimem_cli.memory.policies import make_policy
from omnimem_cli.memory.repositioning import make_position_map
from omnimem_cli.models.adapter import WatchOptions
from omnimem_cli.session.session import Session


def session_of(adapter, video_s, audio_s, fps=2, policy="full", entries=120, chunk=100, positions="keep", **kw):
    """A session that has watched noise of these lengths, and what it watched."""
    frames = None if video_s is None else frames_of(video_s, fps, 112, 84)
    sound = None if audio_s is None else sound_of(audio_s)
    media = media_of(video_s, audio_s)
    plan = adapter.plan(media, WatchOptions(fps=fps, max_pixels=112 * 84))
    stream = adapter.open(media, plan)
    if sound is not None:
        stream.scan_audio(torch.from_numpy(sound))
    budgets = even_budgets(4, entries, 0.5, video_s is not None, audio_s is not None)
    position_map = make_position_map(positions, adapter.decoder, 64)
    memory = Memory(adapter.decoder, make_policy(policy), budgets, dtype=torch.float32, position_map=position_map)
    session = Session(stream, memory, chunk, **kw)
    moments = [chunk_end for chunk_end, _ in session.watch(segments_of(plan.format, frames, sound))]
    return session, moments, (frames, sound)
