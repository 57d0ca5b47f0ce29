"""Writes the demo clip and its true script: `python -m omnimem_cli.world.build_demo`.

The clip is of an evaluation seed and evaluation voices: no training has seen or heard it. It is one that nano gets
right; `omnimem_cli/models/nano/README.md` says how often it does.
"""

from pathlib import Path

from omnimem_cli.world.mp4 import write_mp4, write_script
from omnimem_cli.world.video import make_video

CLIP = Path(__file__).with_name("demo.mp4")
SEED, EVENTS = 60_203, 10


def main() -> None:
    """Write clip and script."""
    video = make_video(SEED, EVENTS, "skew", "eval")
    write_mp4(video, CLIP)
    write_script(video, CLIP.with_suffix(".json"))


if __name__ == "__main__":
    main()
