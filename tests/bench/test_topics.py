"""Videos whose topics are known, and how near chapters end to their changes."""

from itertools import pairwise

from omnimem_cli.bench.tables import topics_table
from omnimem_cli.bench.topics import _row
from omnimem_cli.world.topics import TOPIC_S, topic_video


def test_a_topic_shares_nothing_with_its_neighbours():
    video, changes = topic_video(7, 5)
    bounds = [0.0, *changes, video.duration_s + 1]
    kinds = []
    for start_s, end_s in pairwise(bounds):
        events = [event for event in video.events if start_s <= event.start_s < end_s]
        assert events and all(event.end_s <= end_s for event in events)
        kinds.append(
            [{e.slide.colour for e in events}, {e.slide.shape for e in events}, {e.word for e in events if e.word}]
        )
    assert all(not a & b for before, after in pairwise(kinds) for a, b in zip(before, after, strict=True))
    lengths = [end - start for start, end in zip(bounds, changes, strict=False)]
    assert len(changes) == 4 and all(TOPIC_S[0] <= length <= TOPIC_S[1] for length in lengths)
    assert topic_video(7, 5)[0].events == video.events


def test_a_row_says_how_far_changes_are_from_ends_and_the_table_shows_it():
    row = _row("topic", [0.0, 2.0, 10.0, 20.0], 5.0)
    assert row == {"by": "topic", "median_s": 6.0, "mean_s": 8.0, "near": 0.5, "chapters": 5.0}
    table = topics_table({"rows": [row], "changes": 4, "videos": 1, "chapter_s": 70.0, "model": "nano"})
    assert "topic             5.0   6.0 s  8.0 s         50%" in table
