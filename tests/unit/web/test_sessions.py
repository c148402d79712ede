"""Cookies that hold without a store."""

from __future__ import annotations

import pytest

from imgtag.web.session import LIFETIME, Sessions, read_cookie, write_cookie

TOKEN = "a token of sixteen and more"


class Clock:
    now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


def test_a_cookie_holds_until_its_time():
    """Also at another sidecar with the same token, as after a restart; not a second longer."""
    clock = Clock()
    cookie = Sessions(TOKEN, clock).open()
    other = Sessions(TOKEN, clock)
    assert other.find(cookie)

    clock.now += LIFETIME - 1
    assert other.find(cookie)
    clock.now += 2
    assert other.find(cookie) is None


def test_a_new_token_ends_all_sessions():
    """Whoever has left cannot come back."""
    assert Sessions(TOKEN + "!").find(Sessions(TOKEN).open()) is None


def test_a_closed_session_stays_closed():
    """The cookie may have been copied."""
    sessions = Sessions(TOKEN)
    cookie, other = sessions.open(), sessions.open()
    sessions.close(cookie)

    assert sessions.find(cookie) is None
    assert sessions.find(other)


@pytest.mark.parametrize(
    "change", [lambda c: "", lambda c: "..", lambda c: "9" + c, lambda c: c[:-1], lambda c: "ü" + c]
)
def test_a_changed_cookie_is_none(change):
    """Its end, its name and its signature belong together."""
    sessions = Sessions(TOKEN)

    assert sessions.find(change(sessions.open())) is None


def test_the_token_is_compared_whole():
    """A prefix, a longer one and none are not it."""
    sessions = Sessions(TOKEN)

    assert sessions.accepts(TOKEN)
    assert [False] * 4 == [sessions.accepts(text) for text in ("", TOKEN[:-1], TOKEN + "x", TOKEN.upper())]


def test_the_header_is_read_as_it_is_written():
    """Among other cookies, and without them."""
    header = write_cookie("a.b.c", secure=True)

    assert "a.b.c" == read_cookie(f"other=1; {header.partition(';')[0]}")
    assert "" == read_cookie("other=1; =; ;;")
    assert header.endswith("; Secure")
    assert "Max-Age=0" in write_cookie("", secure=False)


@pytest.mark.parametrize("before", ["", 'prefs={"theme":"dark"}; ', "x=hello world; ", "flag; ", "a=b=c;", "ü=ö; "])
@pytest.mark.parametrize("after", ["", '; prefs={"a,b":1}', "; flag"])
def test_cookies_of_other_programs_hide_nothing(before, after):
    """They come along from every port of the host, in whatever form."""
    assert read_cookie(f"{before}imgtag_session=1.a.b{after}") == "1.a.b"
    assert read_cookie(f"{before}ximgtag_session=1{after}") == ""
