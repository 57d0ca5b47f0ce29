"""Results to make pages of: a lecture with all there can be, and one whose every text is hostile."""

from scripted import result

HOSTILE = (
    """</script><script>window.hacked=1</script><img src=x onerror="window.hacked=1">'"><svg onload=hacked=1>{{7*7}}"""
)
HOSTILE = (
    "</script><script>window.hacked=1</script><img src=x onerror='window.hacked=1'>"
    "\"'><svg onload=window.hacked=1>&lt;{{ 7000 + 1 }}"
)
STEPS, LAYERS = 31, 6


def distribution() -> dict:
    """Of 62 seconds."""
    visual = [float(10 + 3 * (i % 7)) for i in range(STEPS)]
    audio = [float(4 + i % 5) for i in range(STEPS)]
    layers = {"visual": [400.0 - 20 * i for i in range(LAYERS)], "audio": [112.0] * LAYERS}
    return {
        "start_s": 0.0,
        "step_s": 2,
        "over_time": {"visual": visual, "audio": audio, "text": [1.0] * STEPS},
        "by_layer": layers | {"text": [12.0] * LAYERS},
        "budget_by_layer": {"visual": [400] * LAYERS, "audio": [112] * LAYERS},
    }


def lecture(text: str = "Trains", **changed: object) -> dict:
    """A result with summary, transcript and answers at once, which all say ``text``."""
    chapters = [
        {"start_s": 0.0, "end_s": 20.0, "title": text, "text": f"{text} at 0:05."},
        {"start_s": 20.0, "end_s": 61.5, "title": "", "text": text},
    ]
    segments = [{"start_s": s, "end_s": s + 4.0, "text": f"{text} {s:g}"} for s in (1.0, 5.0, 20.0, 40.0, 55.0)]
    rows = [{"term": text, "at_s": 12.5}, {"term": None, text: [text, 3, True]}]
    answers = [
        {
            "id": "q1",
            "question": text,
            "answer": f"- **{text}**\n- at 0:41 and 9:59:59",
            "status": "answered",
            "data": None,
        },
        {"id": "terms", "question": text, "answer": "", "status": "answered", "data": rows},
        {"id": "none", "question": text, "answer": "", "status": "empty", "data": None},
    ]
    made = result("summarize", {"summary": {"text": text, "chapters": chapters}}, **changed)
    made["memory"] = made["memory"] | {"distribution": distribution()}
    made["warnings"] = [*made["warnings"], {"code": "silent", "message": text}]
    return made | {"transcript": {"language": None, "segments": segments}, "answers": answers}


def hostile() -> dict:
    """The lecture, where every text would run a script if it were not escaped."""
    made = lecture(HOSTILE)
    made["input"] = made["input"] | {"path": f"talks/{HOSTILE}.mp4", "title": HOSTILE}
    made["model"] = made["model"] | {"name": HOSTILE}
    return made | {"preset": HOSTILE}
