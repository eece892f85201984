"""The web application over real sockets: sessions, forgery, limits, streams."""

import re
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from stayline.domain.errors import Refusal
from tests.browser import sample_desk
from tests.browser.page_server import PageServer


@pytest.fixture
def server(tmp_path: Path) -> Iterator[PageServer]:
    """A Workspace process on fake engines."""
    running = PageServer(tmp_path, beat=0.2).start()
    yield running
    running.stop()


def client_of(server: PageServer) -> httpx.Client:
    """A browser without scripts."""
    return httpx.Client(base_url=server.address, timeout=10)


def login(client: httpx.Client, user: str = "agent01", password: str = "stayline") -> httpx.Response:
    """Through the form, as a browser does."""
    form = client.get("/login")
    token = re.search(r'name="token" value="(\w+)"', form.text)
    assert token is not None
    return client.post("/login", data={"token": token[1], "user": user, "password": password, "place": ""})


def desk_of(client: httpx.Client) -> tuple[str, dict[str, str]]:
    """The desk's page id, and the headers that its requests carry."""
    page = client.get("/desk")
    assert page.status_code == 200
    key = re.search(r"/desk/stream\?page=([\w-]+)", page.text)
    token = re.search(r'"X-CSRF-Token": "(\w+)"', page.text)
    assert key is not None
    assert token is not None
    return key[1], {"X-CSRF-Token": token[1], "X-Page": key[1], "HX-Request": "true"}


def test_the_browsers_address_goes_with_the_password(server: PageServer) -> None:
    with client_of(server) as client:
        login(client)
    assert server.engines["agent01"].calls[0] == ("login", "agent01", "", "127.0.0.1")


def test_login_opens_the_desk_and_every_answer_is_guarded(server: PageServer) -> None:
    with client_of(server) as client:
        assert client.get("/desk").headers["location"] == "/login"
        answer = login(client)
        assert (answer.status_code, answer.headers["location"]) == (303, "/desk")
        cookie = answer.headers["set-cookie"].lower()
        assert "httponly" in cookie
        assert "samesite=lax" in cookie
        page = client.get("/desk")
        assert "Nora Lindqvist" in page.text
        assert page.headers["content-security-policy"].startswith("default-src 'self';")
        assert "unsafe" not in page.headers["content-security-policy"]
        assert page.headers["cache-control"] == "no-store"
        assert not re.search(r"<script(?![^>]*src=)|\son\w+=|\sstyle=", page.text), "nothing inline"
        assert not re.search(r'(src|href)="(https?:)?//', page.text), "nothing from elsewhere"


def test_a_wrong_password_opens_nothing_and_stops_its_engine(server: PageServer) -> None:
    with client_of(server) as client:
        answer = login(client, password="nonsense")
        assert answer.status_code == 401
        assert "The user name or the password is wrong." in answer.text
        assert client.get("/desk").headers["location"] == "/login"
        assert server.engines["agent01"].closed


def test_posts_that_no_page_of_ours_made_are_refused(server: PageServer) -> None:
    with client_of(server) as client:
        login(client)
        _, headers = desk_of(client)
        assert (
            client.post("/desk/ready", data={}, headers=headers | {"X-CSRF-Token": "0" * 64}).status_code
            == 409
        )
        assert client.post("/desk/ready", data={}).status_code == 409
        foreign = headers | {"Sec-Fetch-Site": "cross-site"}
        assert client.post("/desk/ready", data={}, headers=foreign).status_code == 409
        elsewhere = headers | {"Origin": "https://evil.example"}
        assert client.post("/desk/ready", data={}, headers=elsewhere).status_code == 409
        assert client.post("/logout", data={}, headers={"X-CSRF-Token": ""}).status_code == 409
        assert client.post("/login", data={"user": "agent01", "password": "stayline"}).status_code == 403
        assert [call for call in server.engines["agent01"].calls if call[0] == "set_ready"] == []
        form = headers | {"Content-Type": "application/x-www-form-urlencoded"}
        assert client.post("/desk/ready", content=b"", headers=form).status_code == 204


def test_one_agents_cookie_and_token_do_nothing_to_another(server: PageServer) -> None:
    with client_of(server) as nora, client_of(server) as tomas:
        login(nora, "agent01")
        login(tomas, "agent02")
        _, noras = desk_of(nora)
        server.do(lambda: server.engines["agent01"].put(sample_desk.owned()))
        assert tomas.post("/desk/choose", data={"i": "i1"}, headers=noras).status_code == 409
        _, own = desk_of(tomas)
        answer = tomas.post("/desk/send", data={"i": "i1", "text": "hello"}, headers=own)
        assert answer.status_code == 409
        assert "no longer on your desk" in answer.text
        assert [call for call in server.engines["agent01"].calls if call[0] == "send"] == []


def test_malformed_and_oversized_requests_get_a_sentence(server: PageServer) -> None:
    with client_of(server) as client:
        login(client)
        _, headers = desk_of(client)
        server.do(lambda: server.engines["agent01"].put(sample_desk.owned()))
        form = headers | {"Content-Type": "application/x-www-form-urlencoded"}
        for body in (b"text=" + b"x" * 70_000, b"&".join(b"f%d=1" % n for n in range(50)), b"text=\xff\xfe"):
            answer = client.post("/desk/send", content=body, headers=form)
            assert answer.status_code == 409
            assert 'hx-target="#said"' in answer.text
        assert client.post("/desk/send", json={"i": "i1"}, headers=headers).status_code == 409
        assert client.post("/desk/nonsense", data={"i": "i1"}, headers=headers).status_code == 409
        assert client.post("/desk/send", data={"i": "i1", "text": " \n"}, headers=headers).status_code == 409
        long = client.post("/desk/send", data={"i": "i1", "text": "x" * 9_000}, headers=headers)
        assert "8000 are allowed" in long.text
        assert client.get("/desk/dialog/../../etc/passwd").status_code in (404, 409)
        assert client.get("/desk/stream?page=..").status_code == 400
        bad_key = client.post(
            "/desk/case", data={"i": "i1", "key": "Language", "value": "x"}, headers=headers
        )
        assert "cannot be edited" in bad_key.text
        assert [call for call in server.engines["agent01"].calls if call[0] in ("send", "change")] == []


def test_a_refusal_reaches_the_page_with_reason_and_remedy(server: PageServer) -> None:
    with client_of(server) as client:
        login(client)
        _, headers = desk_of(client)
        engine = server.engines["agent01"]
        engine.refusals["set_ready"] = Refusal(code="x", reason="You are <not> allowed.", fix="Ask somebody.")
        answer = client.post("/desk/ready", data={"x": "1"}, headers=headers)
        assert answer.status_code == 409
        assert "You are &lt;not&gt; allowed. Ask somebody." in answer.text


def test_the_stream_sends_everything_once_then_only_what_changed(server: PageServer) -> None:
    with client_of(server) as client:
        login(client)
        key, _ = desk_of(client)
        engine = server.engines["agent01"]
        with client.stream("GET", f"/desk/stream?page={key}") as stream:
            assert stream.headers["content-type"].startswith("text/event-stream")
            messages = messages_of(stream)
            first = next(one for one in messages if "frag-list" in one)
            assert first.count("<hx-partial") == 14
            server.do(lambda: engine.show(site="Site_A"))
            beats = [next(messages) for _ in range(2)]
            assert all(one.startswith("event: beat") for one in beats), "nothing visible changed"
            server.do(lambda: engine.put(sample_desk.offer()))
            second = next(one for one in messages if "<hx-partial" in one)
            assert set(re.findall(r"hx-target=\"#frag-(\w+)\"", second)) == {"title", "offers"}


def messages_of(stream: httpx.Response) -> Iterator[str]:
    """Server-sent events, one at a time."""
    buffer = ""
    for text in stream.iter_text():
        buffer += text
        while "\n\n" in buffer:
            message, buffer = buffer.split("\n\n", 1)
            yield message


def test_many_changes_reach_a_page_in_few_messages(server: PageServer) -> None:
    with client_of(server) as client:
        login(client)
        key, _ = desk_of(client)
        engine = server.engines["agent01"]
        server.do(lambda: engine.put(sample_desk.owned()))
        with client.stream("GET", f"/desk/stream?page={key}") as stream:
            messages = messages_of(stream)
            next(one for one in messages if "frag-list" in one)
            for number in range(300):
                server.do(lambda number=number: engine.say("i1", f"line {number};"))  # type: ignore[misc]
            seen = 0
            for one in messages:
                seen += "<hx-partial" in one
                if "line 299;" in one:
                    break
        assert seen < 150


def test_a_newer_stream_of_the_same_page_ends_the_older(server: PageServer) -> None:
    with client_of(server) as client, client_of(server) as same:
        login(client)
        key, _ = desk_of(client)
        same.cookies = client.cookies
        engine = server.engines["agent01"]
        with client.stream("GET", f"/desk/stream?page={key}") as old:
            messages = messages_of(old)
            next(messages)
            with same.stream("GET", f"/desk/stream?page={key}") as new:
                newer = messages_of(new)
                next(newer)
                for _ in messages:
                    pass
                assert server.do(lambda: engine.watchers) == 1


def test_the_chosen_interaction_comes_back_with_the_event_id(server: PageServer, tmp_path: Path) -> None:
    with client_of(server) as client:
        login(client)
        engine = server.engines["agent01"]
        two = [sample_desk.owned(), sample_desk.owned("i2", "Amara Okafor")]
        server.do(lambda: engine.show(interactions=two))
        with client.stream(
            "GET", "/desk/stream?page=page-of-before", headers={"Last-Event-ID": "i2"}
        ) as stream:
            first = next(one for one in messages_of(stream) if "frag-head" in one)
        assert first.startswith("id: i2\n")
        assert "<h1>Amara Okafor</h1>" in first


def test_a_second_login_takes_over_the_desk_and_needs_the_password(server: PageServer) -> None:
    with client_of(server) as first, client_of(server) as second:
        login(first)
        engine = server.engines["agent01"]
        server.do(lambda: engine.put(sample_desk.owned()))
        assert login(second, password="nonsense").status_code == 401
        assert first.get("/desk").status_code == 200
        assert login(second).status_code == 303
        assert "Maria Keller" in second.get("/desk").text
        assert server.engines["agent01"] is engine
        assert first.get("/desk").headers["location"] == "/login"


def test_sessions_outlive_the_process_only_while_their_engine_can_be_restored(tmp_path: Path) -> None:
    first = PageServer(tmp_path).start()
    with client_of(first) as client:
        login(client)
        first.stop()
        assert first.engines["agent01"].closed
        second = PageServer(tmp_path, port=first.port, restorable=True).start()
        assert client.get("/desk").status_code == 200
        second.stop()
        third = PageServer(tmp_path, port=first.port, restorable=False).start()
        assert client.get("/desk").status_code == 303
        third.stop()


def test_another_host_name_is_refused(server: PageServer) -> None:
    with client_of(server) as client:
        assert client.get("/login", headers={"Host": "evil.example"}).status_code == 400
        assert client.get("/health").text == "ok"


def test_a_login_lasts_while_it_is_used_and_is_dropped_when_it_is_not(server: PageServer) -> None:
    with client_of(server) as client, client_of(server) as other:
        login(client)
        engine = server.engines["agent01"]
        for hours in (11, 22, 33):
            server.ahead = hours * 3600.0
            assert client.get("/desk").status_code == 200
        key, _ = desk_of(client)
        with client.stream("GET", f"/desk/stream?page={key}") as stream:
            messages = messages_of(stream)
            next(messages)
            server.ahead = 50 * 3600.0
            login(other, "agent02")
            assert not engine.closed, "a page is open"
        server.ahead = 100 * 3600.0
        assert client.get("/desk").status_code == 303
        login(other, "agent03")
        assert engine.closed


def test_a_page_that_reads_nothing_is_dropped_and_costs_nobody_else_anything(tmp_path: Path) -> None:
    server = PageServer(tmp_path, beat=0.05, stall=0.5).start()
    with client_of(server) as client, socket.create_connection(("127.0.0.1", server.port)) as deaf:
        login(client)
        key, _ = desk_of(client)
        engine = server.engines["agent01"]
        server.do(lambda: engine.put(sample_desk.owned()))
        cookie = "; ".join(f"{name}={value}" for name, value in client.cookies.items())
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        deaf.sendall(
            f"GET /desk/stream?page={key} HTTP/1.1\r\nHost: localhost\r\nCookie: {cookie}\r\n\r\n".encode()
        )
        wait_for(lambda: server.do(lambda: engine.watchers) == 1)
        # Each change makes some 100 KB to send: far more than the socket's buffers hold.
        deadline = time.monotonic() + 20
        number = 0
        while server.do(lambda: engine.watchers) == 1 and time.monotonic() < deadline:
            number += 1
            server.do(lambda number=number: engine.say("i1", f"{number} " + "long " * 20_000))  # type: ignore[misc]
            assert client.get("/health").elapsed.total_seconds() < 5
        assert server.do(lambda: engine.watchers) == 0
    server.stop()


def wait_for(holds: Callable[[], bool]) -> None:
    """Wait until a condition holds, ten seconds at most."""
    deadline = time.monotonic() + 10
    while not holds() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert holds()
