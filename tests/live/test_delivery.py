"""Delivery: every event arrives in order, or is counted; nobody waits for a receiver."""

import http.server
import json
import threading
import time
from contextlib import contextmanager
from itertools import pairwise

import pytest
from events import event, validator

from omnimem_cli.base.errors import UsageError
from omnimem_cli.live.delivery import Delivery, NotDelivered, Patience
from omnimem_cli.live.receivers import Command, Webhook, variables, webhook_url

QUICK = Patience(try_s=0.5, tries=4, wait_s=0.02, waiting=8)


class Receiver(http.server.ThreadingHTTPServer):
    """Answers with the next of ``codes`` (the last one from then on); 0 hangs."""

    daemon_threads, block_on_close = True, False

    def __init__(self, *codes: int):
        super().__init__(("127.0.0.1", 0), Handler)
        self.codes, self.got, self.headers, self.tries = list(codes), [], [], 0
        self.released = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/hook"

    def next_code(self) -> int:
        self.tries += 1
        return self.codes.pop(0) if len(self.codes) > 1 else self.codes[0]


class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body, code = self.rfile.read(int(self.headers["Content-Length"])), self.server.next_code()
        if not code:
            self.server.released.wait(20)
            return
        if code < 300:
            self.server.got.append(json.loads(body))
            self.server.headers.append(self.headers)
        self.send_response(code)
        if code == 302:
            self.send_header("Location", self.server.url)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_GET(self):
        self.server.got.append("followed")
        self.send_response(200)
        self.end_headers()

    def log_message(self, *args):
        pass


@contextmanager
def receiving(*codes: int):
    with Receiver(*codes) as receiver:
        threading.Thread(target=receiver.serve_forever, daemon=True).start()
        yield receiver
        receiver.released.set()
        receiver.shutdown()


def titles(receiver: Receiver) -> list[str]:
    return [told["title"] for told in receiver.got]


def test_every_event_is_posted_in_order():
    with receiving(200) as receiver:
        delivery = Delivery("hook", Webhook(receiver.url), QUICK)
        for number in range(5):
            delivery.put(event(title=str(number)))
        delivery.close()
    assert titles(receiver) == list("01234")
    validator().validate(receiver.got[0])
    assert receiver.headers[0]["Content-Type"] == "application/json"
    assert (delivery.delivered, delivery.dropped, delivery.given_up, delivery.news()) == (5, 0, 0, "")


def test_a_receiver_that_recovers_gets_every_event_in_order():
    with receiving(503, 500, 429, 200) as receiver:
        delivery = Delivery("hook", Webhook(receiver.url), QUICK)
        for number in range(3):
            delivery.put(event(title=str(number)))
        delivery.close()
    assert titles(receiver) == list("012")
    assert receiver.tries == 6


def test_a_receiver_that_refuses_is_not_asked_twice():
    with receiving(404, 200) as receiver:
        delivery = Delivery("hook", Webhook(receiver.url), QUICK)
        delivery.put(event(title="refused"))
        delivery.put(event(title="taken"))
        delivery.close()
    assert titles(receiver) == ["taken"] and receiver.tries == 2
    assert delivery.given_up == 1
    assert delivery.news() == "hook did not get 1 events: 1 given up, 0 dropped (it answered 404 Not Found)."
    assert delivery.news() == ""


def test_what_tells_of_a_receivers_losses_does_not_go_to_it():
    with receiving(404) as receiver:
        delivery = Delivery("hook", Webhook(receiver.url), QUICK)
        delivery.put(event())
        delivery.put(event("status", tag="delivery", text="hook did not get 1 events"))
        delivery.put(event("status", tag="delivery", text="other did not get 1 events"))
        delivery.close()
    assert delivery.given_up == 2


def test_redirects_are_not_followed():
    with receiving(302) as receiver:
        delivery = Delivery("hook", Webhook(receiver.url), QUICK)
        delivery.put(event())
        delivery.close()
    assert receiver.got == [] and delivery.given_up == 1


def test_a_receiver_that_hangs_holds_nobody_up_and_the_oldest_events_are_dropped():
    with receiving(0) as receiver:
        delivery = Delivery("hook", Webhook(receiver.url), QUICK)
        began = time.monotonic()
        for number in range(100):
            delivery.put(event(title=str(number)))
        assert time.monotonic() - began < 0.2
        assert delivery.dropped >= 100 - QUICK.waiting - 1
        began = time.monotonic()
        delivery.close(limit_s=0.3)
        assert time.monotonic() - began < 0.6
    assert delivery.dropped == 100


def test_the_newest_events_are_the_ones_that_stay():
    with receiving(503, 200) as receiver:
        delivery = Delivery("hook", Webhook(receiver.url), Patience(tries=2, wait_s=0.3, waiting=3))
        for number in range(10):
            delivery.put(event(title=str(number)))
            time.sleep(0.05 if number == 0 else 0)
        delivery.close()
    assert titles(receiver) == list("0789")


def test_tries_come_later_each_time():
    tried = []

    def send(told, limit_s):
        tried.append(time.monotonic())
        raise NotDelivered("away")

    delivery = Delivery("hook", send, Patience(tries=4, wait_s=0.05))
    delivery.put(event())
    while delivery.given_up == 0:
        time.sleep(0.01)
    waits = [later - earlier for earlier, later in pairwise(tried)]
    assert len(tried) == 4
    assert all(wait >= least for wait, least in zip(waits, (0.05, 0.1, 0.2), strict=True))


def test_nobody_listening_is_a_failed_try():
    with receiving(200) as receiver:
        url = receiver.url
    with pytest.raises(NotDelivered, match="refused"):
        Webhook(url)(event(), 1.0)


def test_a_login_in_the_address_becomes_a_header_and_is_never_shown():
    with receiving(404, 200) as receiver:
        webhook = Webhook(receiver.url.replace("//", "//me:hunter2@") + "?key=hunter2")
        delivery = Delivery(webhook.name, webhook, QUICK)
        delivery.put(event())
        delivery.put(event())
        delivery.close()
    assert receiver.headers[0]["Authorization"] == "Basic bWU6aHVudGVyMg=="
    said = delivery.news()
    assert "hunter2" not in said and "***" in said


def test_a_receivers_name_and_its_errors_hide_a_token_in_the_path_and_the_words_of_a_command(tmp_path):
    token, word = "T0KEN/xoxb-9Zq", "p@ss-w0rd!"
    with receiving(404) as receiver:
        webhook = Webhook(f"{receiver.url}/{token}")
        delivery = Delivery(webhook.name, webhook, QUICK)
        delivery.put(event())
        delivery.close()
    script = tmp_path / "login"
    script.write_text('echo "login $1 refused: ${1#*@}" >&2; exit 1')
    command = Command(f"sh {script} '{word}'")
    refused = Delivery(command.name, command, Patience(tries=1))
    refused.put(event())
    refused.close()
    assert delivery.news() == (
        f"--webhook http://127.0.0.1:{receiver.server_port}/*** did not get 1 events: 1 given up, 0 dropped "
        "(it answered 404 Not Found)."
    )
    assert refused.news() == (
        "--exec sh *** did not get 1 events: 1 given up, 0 dropped (it ended with 1: *** *** refused: ss-***!)."
    )
    assert (Webhook("http://h").name, Command("beep").name) == ("--webhook http://h", "--exec beep")
    assert Command("KEY=hunter2 beep").name == "--exec ***"


def test_ps_shows_no_word_of_a_command(tmp_path):
    seen = tmp_path / "seen"
    Command(f"cat /proc/$$/cmdline > {seen}; env > {tmp_path}/env; : hunter2")(event(), 5.0)
    assert b"eval" in seen.read_bytes() and b"hunter2" not in seen.read_bytes()
    assert "hunter2" not in (tmp_path / "env").read_text(), "what it starts does not have it either"


def test_only_web_addresses_are_taken():
    assert webhook_url("https://host:8443/x?y=z", "--webhook")
    for wrong in ("host/T0KEN", "ftp://host/T0KEN", "http://", "http://host:99999/", "http://a b/", "file:///T0KEN"):
        with pytest.raises(UsageError, match="--webhook") as refused:
            webhook_url(wrong, "--webhook")
        assert "T0KEN" not in str(refused.value)


def test_an_address_with_other_letters_is_posted_to():
    with receiving(200) as receiver:
        Webhook(f"{receiver.url}/t\u00fcr")(event(), 1.0)
    assert len(receiver.got) == 1


def test_a_command_gets_the_event_on_its_input_and_in_variables(tmp_path):
    told = event("alert", title='It\'s "$HOME"; `id`', tag="door", state="open", level=1)
    Command(
        f'cat > {tmp_path}/in; echo "$OMNIMEM_EVENT_TITLE|$OMNIMEM_EVENT_TAG|$OMNIMEM_EVENT_LEVEL" > {tmp_path}/env'
    )(told, 5.0)
    assert (tmp_path / "in").read_bytes() == told.line
    assert (tmp_path / "env").read_text() == f"{told.title}|door|1\n"


def test_a_command_need_not_read(tmp_path):
    Command("true")(event(text="long " * 100_000), 5.0)


def test_a_command_that_fails_says_why_and_is_run_again(tmp_path):
    script = tmp_path / "notify"
    script.write_text(f"test -e {tmp_path}/mark || {{ touch {tmp_path}/mark; echo bad day >&2; exit 3; }}")
    delivery = Delivery("--exec", Command(f"sh {script}"), QUICK)
    delivery.put(event())
    delivery.close()
    assert delivery.delivered == 1
    assert delivery.error == "it ended with 3: bad day"


def test_a_command_that_hangs_is_killed_with_its_children(tmp_path):
    began = time.monotonic()
    with pytest.raises(NotDelivered, match=r"longer than 0\.3 s"):
        Command(f"(sleep 2; touch {tmp_path}/late) & sleep 60")(event(), 0.3)
    assert time.monotonic() - began < 2
    time.sleep(2.2)
    assert not (tmp_path / "late").exists()


def test_what_a_command_prints_stays_off_the_standard_output(capfd):
    Command("echo noise")(event(), 5.0)
    assert capfd.readouterr().out == ""


def test_variables_hold_no_zero_bytes_and_are_short_enough_to_start_a_process():
    found = variables(event(title="a\0b \ud83c", text="x" * 10**6))
    assert found["OMNIMEM_EVENT_TITLE"] == "ab ?"
    Command("true")(event(text="x y " * 10**5), 5.0)
