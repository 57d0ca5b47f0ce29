"""The page as text: nothing in it is markup that omnimem did not write, and nothing is fetched."""

import base64
import hashlib
import os
import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from reported import HOSTILE, STEPS, hostile, lecture
from scripted import result

from omnimem_cli.media.thumbnails import Thumbnail
from omnimem_cli.results.report import charts
from omnimem_cli.results.report.footage import Footage, relative_address
from omnimem_cli.results.report.page import is_report, write_html
from omnimem_cli.results.report.texts import Piece, blocks, pieces

FOOTAGE = Footage("lecture.mp4", (Thumbnail(3.0, b"\xff\xd8 picture"),))
STYLE = Path(charts.__file__).with_name("page.css").read_text("utf-8")


class Parsed(HTMLParser):
    """Tags with their attributes, and the text between them."""

    def __init__(self, page: str):
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.text += data


def attributes(page: str) -> list[tuple[str, str]]:
    return [pair for _, named in Parsed(page).tags for pair in named.items()]


def test_hostile_texts_add_no_tag_and_no_attribute():
    plain, attacked = (Parsed(write_html(made, FOOTAGE)) for made in (lecture("Trains"), hostile()))
    assert [tag for tag, _ in attacked.tags] == [tag for tag, _ in plain.tags]
    assert [set(named) for _, named in attacked.tags] == [set(named) for _, named in plain.tags]


def test_every_text_is_shown_as_it_is():
    attacked = Parsed(write_html(hostile(), FOOTAGE))
    assert attacked.text.count(HOSTILE) >= 15
    assert "7001" not in attacked.text


def test_the_page_names_nothing_outside_and_no_style_of_an_element():
    for made in (lecture(), hostile()):
        named = attributes(write_html(made, FOOTAGE))
        addresses = {name: value for name, value in named if name in ("src", "href", "action", "srcset", "poster")}
        assert {urlsplit(value).scheme for value in addresses.values()} <= {"", "data"}
        assert not [name for name, _ in named if name == "style" or name.startswith("on")]
    assert "url(" not in STYLE and "@import" not in STYLE


def test_the_policy_allows_this_style_and_this_script_and_no_other():
    page = write_html(hostile(), FOOTAGE)
    (policy,) = (n["content"] for t, n in Parsed(page).tags if n.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy and "http" not in policy
    for tag in ("style", "script"):
        (content,) = re.findall(f"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy


def test_a_page_has_a_part_per_text_and_the_times_of_each():
    text = write_html(lecture(), FOOTAGE)
    assert re.findall(r"<h2>(.*?)</h2>", text) == [
        "Summary", "Answers", "Transcript", "What was watched", "Budget per layer",
    ]  # fmt: skip
    times = [float(value) for name, value in attributes(text) if name == "data-time"]
    assert times == [3.0, 0.0, 5.0, 20.0, 41.0, 12.5, 1.0, 5.0, 20.0, 40.0, 55.0]
    assert 'src="lecture.mp4"' in text and "data:image/jpeg;base64,/9g" in text


@pytest.mark.parametrize("task", ["summarize", "transcribe", "ask"])
def test_a_result_without_distribution_lengths_and_streams_has_a_page(task):
    parts = {
        "summarize": {"summary": {"text": "", "chapters": []}},
        "transcribe": {"transcript": {"language": None, "segments": []}},
        "ask": {"answers": [{"id": "q1", "question": "", "answer": "", "status": "empty", "data": None}]},
    }
    made = result(task, parts[task])
    made["input"] |= {"duration_s": None, "video": None, "audio": None}
    made["coverage"] |= {"duration_s": None, "ratio": None}
    made["memory"] |= {"budget_entries": None, "split": None}
    text = write_html(made)
    assert "does not say where its kept entries lie" in text
    assert "<video" not in text and "<audio" not in text


def test_sound_alone_has_a_player_of_sound():
    made = result()
    made["input"] |= {"video": None}
    assert "<audio" in write_html(made, Footage("talk.mp3"))


@pytest.mark.parametrize("path", ["https://ann:geheim@host/talk.mp4?token=geheim", "https://ann:geheim@host"])
def test_addresses_are_shown_without_secrets(path):
    made = lecture()
    made["input"] |= {"path": path}
    assert "geheim" not in write_html(made)


def test_three_hours_of_speech_with_pictures_are_less_than_a_megabyte():
    made = lecture(coverage={"duration_s": 10_800.0, "video_s": 10_800.0, "audio_s": 10_800.0, "ratio": 1.0})
    said = "the work that is done along this path equals the heat that enters " * 2
    made["transcript"]["segments"] = [
        {"start_s": 7.2 * i, "end_s": 7.2 * i + 7, "text": said} for i in range(1500)
    ]  # fmt: skip
    pictures = tuple(Thumbnail(600.0 * i, b"\xff" * 24_000) for i in range(16))
    assert len(write_html(made, Footage("a.mp4", pictures))) < 1_000_000


def test_a_page_is_known_by_its_beginning():
    assert is_report(write_html(hostile()).encode()[:4096])
    assert not is_report(b"<!doctype html><title>omnimem</title>")


@pytest.mark.parametrize(
    "name",
    ["a b.mp4", "a#b?c%20d.mp4", "javascript:alert(1).mp4", 'q"uote<.mp4', "naïve.mp4", os.fsdecode(b"\xff.mp4")],
)
def test_the_address_of_a_video_leads_to_the_file_and_nowhere_else(tmp_path, name):
    address = relative_address(str(tmp_path / "videos" / name), tmp_path / "pages" / "x")
    parts = urlsplit(address)
    assert (parts.scheme, parts.netloc, parts.query, parts.fragment) == ("", "", "", "")
    assert unquote(address, errors="surrogateescape") == f"../../videos/{name}"
    assert ":" not in address and '"' not in address


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("at 1:05, then 0:59", [("text", "at "), ("time", 65.0), ("text", ", then "), ("time", 59.0)]),
        ("1:02:03–1:02:09", [("time", 3723.0), ("text", "–"), ("time", 3729.0)]),
        ("**1:05** is bold", [("bold", "1:05"), ("text", " is bold")]),
        ("9:59:59 is later", [("text", "9:59:59 is later")]),
        ("16:9, 1:5, 12:345, 1:00.5, a1:05", [("text", "16:9, 1:5, 12:345, 1:00.5, a1:05")]),
        ("", []),
    ],
)
def test_times_in_a_text_can_be_clicked(text, expected):
    made = [(p.kind, p.text if p.time_s is None else p.time_s) for p in pieces(text, 7200.0)]
    assert made == expected
    assert "".join(p.text for p in pieces(text, 7200.0)) == text.replace("**", "")


def test_a_piece_keeps_the_words_of_its_time():
    assert list(pieces("01:05", 100.0)) == [Piece("time", "01:05", 65.0)]


def test_markdown_becomes_blocks():
    made = [(b.kind, b.lines) for b in blocks("# Head\nOne\ntwo\n\n- a\n  * b\n1. c\n\n-no\n")]
    assert made == [
        ("heading", ["Head"]), ("paragraph", ["One", "two"]), ("list", ["a", "b", "c"]), ("paragraph", ["-no"]),
    ]  # fmt: skip


def test_places_are_shares_of_the_range():
    span = charts.Span(100.0, 300.0)
    assert [span.place(t) for t in (50, 100, 150, 300, 999)] == [0.0, 0.0, 25.0, 100.0, 100.0]
    assert span.ticks() == [(10.0, "2:00"), (40.0, "3:00"), (70.0, "4:00"), (100.0, "5:00")]


@pytest.mark.parametrize("length", [1.0, 52.0, 600.0, 10_800.0, 400_000.0, 1e9])
def test_there_are_few_ticks_for_any_length(length):
    assert 1 <= len(charts.Span(0.0, length).ticks()) <= 6


def test_bars_are_as_high_as_their_entries():
    made = charts.density(lecture(), charts.span_of(lecture()))
    assert len(made.bars["visual"]) == len(made.bars["audio"]) == len(made.steps) == STEPS
    assert made.most == {"visual": 28.0, "audio": 8.0}
    assert [bar.height for bar in made.bars["visual"]][:7] == pytest.approx(
        [64 * c / 28 for c in range(10, 29, 3)], abs=0.01
    )
    assert made.steps[3].text == "0:06–0:08: 19 visual, 7 audio, 1 text entries kept"


def test_speech_that_is_close_is_drawn_as_one():
    made = lecture()
    made["transcript"]["segments"] = [
        {"start_s": 1.0, "end_s": 4.0, "text": "a"}, {"start_s": 4.05, "end_s": 5.0, "text": "b"},
        {"start_s": 9.0, "end_s": 9.5, "text": "c"},
    ]  # fmt: skip
    assert [(b.start_s, b.end_s) for b in charts.speech_bars(made, charts.span_of(made))] == [(1.0, 5.0), (9.0, 9.5)]


def test_columns_of_layers_share_one_scale_with_the_budget():
    made = lecture()
    made["memory"]["distribution"]["budget_by_layer"]["visual"][0] = 912
    columns = charts.layers(made)
    assert columns[0].budget_px == charts.LAYERS_PX
    assert columns[1].budget_px == charts.LAYERS_PX / 2
    assert columns[1].visual_px == pytest.approx(charts.LAYERS_PX * 380 / 1024, abs=0.01)
    made["memory"]["distribution"]["budget_by_layer"] = None
    assert charts.layers(made)[0].budget is None


# Contrast, as WCAG 2.2 defines it


def luminance(colour: str) -> float:
    digits = colour[1:] if len(colour) == 7 else "".join(2 * digit for digit in colour[1:])
    parts = [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


SCHEMES = {
    name: dict(re.findall(r"--(\w+): (#\w+)", block))
    for name, block in zip(("light", "dark", "print"), re.findall(r":root \{(.*?)\}", STYLE, re.DOTALL), strict=True)
}
GROUNDS = ("paper", "raised", "mark", "alarm", "chapter")


@pytest.mark.parametrize("scheme", SCHEMES)
def test_texts_have_the_contrast_of_wcag_aa(scheme):
    colours = SCHEMES["light"] | SCHEMES[scheme]
    pairs = [(ink, ground) for ink in ("ink", "link") for ground in GROUNDS] + [("soft", "paper"), ("cursor", "paper")]
    weak = {pair: contrast(colours[pair[0]], colours[pair[1]]) for pair in pairs}
    assert {pair: ratio for pair, ratio in weak.items() if ratio < 4.5} == {}


@pytest.mark.parametrize("scheme", SCHEMES)
def test_drawings_have_the_contrast_of_wcag_aa(scheme):
    colours = SCHEMES["light"] | SCHEMES[scheme]
    pairs = [(kind, ground) for kind in ("visual", "audio") for ground in ("paper", "raised")] + [("soft", "line")]
    assert {pair: r for pair in pairs if (r := contrast(colours[pair[0]], colours[pair[1]])) < 3.0} == {}


def test_the_times_of_evidence_can_be_clicked():
    evidence = [{"start_s": 12.0, "end_s": 14.0, "kind": "audio", "score": 0.5}]
    paragraphs = [{"line": 0, "evidence": evidence}]
    summary = {"text": "A talk.", "chapters": [], "paragraphs": paragraphs}
    items = {"/0": evidence, "/1/inner/0": evidence}
    rows = [
        {
            "id": "q1",
            "question": "Who?",
            "answer": "Ann.",
            "status": "answered",
            "data": None,
            "evidence": evidence,
            "item_evidence": {},
        },
        {
            "id": "q2",
            "question": "Who?",
            "answer": "",
            "status": "answered",
            "data": {"who": "Bo"},
            "evidence": evidence,
            "item_evidence": {},
        },
        {
            "id": "q3",
            "question": "Who?",
            "answer": "",
            "status": "answered",
            "data": ["Ann"],
            "evidence": [],
            "item_evidence": items,
        },
        {"id": "q4", "question": "Who?", "answer": "", "status": "answered", "evidence": [], "item_evidence": items}
        | {"data": [{"who": "Bo", "inner": []}, {"who": "Al", "inner": ["x"]}]},
    ]
    for made, count in ((result("summarize", {"summary": summary}), 1), (result("ask", {"answers": rows}), 5)):
        buttons = [named["data-time"] for tag, named in Parsed(write_html(made)).tags if named.get("class") == "time"]
        assert buttons == ["12.0"] * count
