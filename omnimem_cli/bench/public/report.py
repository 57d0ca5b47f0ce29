"""The files and the figures of a run of a public benchmark. Knows answers, outcomes and datasets; watches nothing."""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from omnimem_cli import __version__
from omnimem_cli.base.settings import Settings
from omnimem_cli.bench.public.dataset import Answered, Dataset
from omnimem_cli.bench.public.scores import comparisons, policy_row
from omnimem_cli.bench.public.watches import ClipJob
from omnimem_cli.jobs.files import write_whole
from omnimem_cli.jobs.outcomes import Outcome
from omnimem_cli.models.catalogue import Row

SCORES = "scores.json"


def figures(
    dataset: Dataset,
    everything: Sequence[Answered],
    jobs: Sequence[ClipJob],
    outcomes: Mapping[str, Outcome],
    row: Row,
    settings: Settings,
    subtitles: bool,
) -> dict:
    """What `omnimem bench run` prints as JSON. ``row``: of the model."""
    policies = list(dict.fromkeys(job.policy for job in jobs))
    rows = []
    for policy in policies:
        own = [one for one in everything if one.policy == policy]
        rows.append(policy_row(policy, own, _results(policy, jobs, outcomes)))
    return {
        "name": dataset.name,
        "rows": rows,
        "comparisons": comparisons(everything),
        "how": _how(dataset, row, settings, subtitles),
    }


def _results(policy: str, jobs: Sequence[ClipJob], outcomes: Mapping[str, Outcome]) -> list[dict]:
    ended = [outcomes.get(job.key) for job in jobs if job.policy == policy]
    return [outcome.result for outcome in ended if outcome is not None and _is_done(outcome)]


def _is_done(outcome: Outcome) -> bool:
    return outcome.error is None and outcome.result is not None


def _how(dataset: Dataset, row: Row, settings: Settings, subtitles: bool) -> dict:
    """What the figures belong to: model, memory, frames, sound, subtitles, prompt, rule.

    A policy that says itself how many bits it keeps has its own.
    """
    return {
        "model": row.name,
        "adapter": settings.adapter,
        "dtype": settings.dtype,
        "budget": str(settings.budget or row.budget),
        "kv_bits": settings.kv_bits,
        "plan": settings.plan,
        "av_ratio": settings.av_ratio,
        "chunk": settings.chunk,
        "positions": settings.positions,
        "fps": settings.fps or row.fps,
        "max_pixels": settings.max_pixels or row.max_pixels,
        "sound": not settings.no_audio,
        "picture": not settings.no_video,
        "subtitles": subtitles,
        "prompt": dataset.prompt_id + ("+subtitles" if subtitles else ""),
        "extractor": dataset.extractor_id,
        "max_tokens": settings.max_tokens,
        "omnimem": __version__,
    }


def write_files(dataset: Dataset, everything: Sequence[Answered], result: dict, table: str, out: Path) -> list[Path]:
    """Scores, the table, and the dataset's own file of answers for every policy. Raises OutputError."""
    contents = {SCORES: json.dumps(result, indent=1) + "\n", "scores.txt": table + "\n"}
    for row in result["rows"]:
        own = [one for one in everything if one.policy == row["policy"]]
        name, text = dataset.submission(own)
        contents[f"{re.sub(r'[^A-Za-z0-9_.=-]', '-', row['policy'])}.{name}"] = text
    for name, text in contents.items():
        write_whole(out / name, text.encode())
    return [out / name for name in contents]
