# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who is let in, and what the backend sees of it."""

from __future__ import annotations

import json

import pytest

from tests.proxy.conftest import OTHER, TOKEN

GET = b"GET /v1/models HTTP/1.1\r\nHost: x\r\n"


def headers(*lines: str) -> bytes:
    return GET + "".join(f"{line}\r\n" for line in (*lines, "Connection: close")).encode("latin-1") + b"\r\n"


def test_the_token_opens(nginx, backend):
    assert nginx.ask().status == 200
    assert [asked.path for asked in backend.asked] == ["/v1/models"]


@pytest.mark.parametrize(
    "authorization",
    [
        "", "Bearer", "Bearer ", TOKEN, f"bearer {TOKEN}", f"BEARER {TOKEN}", f"Bearer  {TOKEN}", f"Bearer\t{TOKEN}", f"Basic {TOKEN}", f"Token {TOKEN}",
        f"Bearer {TOKEN.upper()}", f"Bearer {TOKEN.swapcase()}", f"Bearer {TOKEN[:-1]}", f"Bearer {TOKEN}0", f"Bearer {TOKEN[:12]}",
        f"Bearer {TOKEN[:12]}{'0' * 36}",
        f"Bearer {TOKEN},", f"Bearer {TOKEN} x", f'Bearer "{TOKEN}"', f"Bearer {TOKEN}\x00", f"Bearer {TOKEN[::-1]}", f"Bearer {TOKEN}, Bearer {TOKEN}",
    ],
)  # fmt: skip
def test_anything_else_does_not(nginx, backend, authorization):
    status = nginx.raw(headers(f"Authorization: {authorization}"))
    assert status == (400 if "\x00" in authorization else 401)
    assert not backend.asked


def test_without_a_header_and_with_the_token_elsewhere(nginx, backend):
    assert nginx.raw(headers()) == 401
    assert nginx.raw(headers(f"X-Api-Key: {TOKEN}", f"Proxy-Authorization: Bearer {TOKEN}", f"Cookie: Authorization=Bearer {TOKEN}")) == 401
    assert nginx.raw(headers(f"Authorization_: Bearer {TOKEN}")) == 401
    assert nginx.raw(GET.replace(b"/v1/models", f"/v1/models?api_key={TOKEN}".encode()) + b"Connection: close\r\n\r\n") == 401
    assert not backend.asked


@pytest.mark.parametrize("pair", [(TOKEN, "x"), ("x", TOKEN), (TOKEN, TOKEN)])
def test_two_of_them_are_refused(nginx, backend, pair):
    assert nginx.raw(headers(*(f"Authorization: Bearer {token}" for token in pair))) == 400
    assert not backend.asked


def test_a_refusal_says_what_is_missing(nginx):
    answer = nginx.ask(token="")
    assert answer.getheader("WWW-Authenticate") == "Bearer"
    assert "Authorization: Bearer TOKEN" in json.loads(answer.read())["error"]["message"]


# --- the list of models -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "target", "status"),
    [
        ("GET", "/api/tags", 200), ("GET", "http://elsewhere/api/tags", 200),
        *((method, "/api/tags", 401) for method in ("HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "PROPFIND")),
        *(
            ("GET", target, 401)
            for target in (
                "/api/tags?x", "/api/tags?", "/api/tags/", "//api/tags", "/api//tags", "/api/%74ags", "/api/x/../tags", "/./api/tags", "/api/tags/..",
                "/API/tags", "/api/Tags", "/api/tags;x", "/api/tags%20", "/api/tags/../chat", "/api/generate", "/",
            )
        ),
        # nothing to nginx, or to HTTP
        ("get", "/api/tags", 400), ("GET", "/api/tags%00", 400), ("TRACE", "/api/tags", 405), ("CONNECT", "/api/tags", 405),
    ],
)  # fmt: skip
def test_get_api_tags_alone_is_exempt(nginx, backend, method, target, status):
    assert nginx.raw(f"{method} {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode()) == status
    assert len(backend.asked) == (status == 200)


def test_a_request_hidden_in_an_exempt_one_is_none(nginx, backend):
    inner = b"POST /api/delete HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"
    length = f"Content-Length: {len(inner)}\r\n".encode()
    start = b"GET /api/tags HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
    assert nginx.raw(start + length + b"\r\n" + inner) == 200
    assert nginx.raw(start + length + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + inner) == 400
    assert nginx.raw(start + b"Transfer-Encoding: identity, chunked\r\n\r\n0\r\n\r\n" + inner) in (400, 501)
    assert [asked.line for asked in backend.asked] == ["GET /api/tags HTTP/1.1"]


@pytest.mark.parametrize("nginx", [{"exempt_tags": False}], indirect=True)
def test_the_exemption_can_be_switched_off(nginx, backend):
    assert nginx.ask("/api/tags", token="").status == 401
    assert nginx.ask("/api/tags").status == 200


# --- what the backend sees ----------------------------------------------------------------------------------------------------------------


def test_neither_the_token_nor_the_name_reaches_the_backend(nginx, backend):
    assert nginx.ask("/v1/chat?a=%20b", headers={"Host": "gpu1.example.org", "Connection": "keep-alive, x-hop", "TE": "trailers", "X-Kept": "1"}).status == 200
    asked = backend.asked[0]
    assert asked.line == "GET /v1/chat?a=%20b HTTP/1.1"
    found = dict(asked.headers)
    assert found["host"] == "127.0.0.1"
    assert found["x-kept"] == "1"
    assert not {"authorization", "connection", "te"} & set(found)
    assert TOKEN not in str(asked.headers)


# --- rotation -----------------------------------------------------------------------------------------------------------------------------


def test_two_tokens_for_a_while(nginx):
    assert nginx.ask(token=OTHER).status == 401
    nginx.reload(TOKEN, OTHER)
    assert [nginx.ask(token=token).status for token in (TOKEN, OTHER, TOKEN[:12] + OTHER[12:])] == [200, 200, 401]
    nginx.reload(OTHER)
    assert [nginx.ask(token=token).status for token in (TOKEN, OTHER)] == [401, 200]


def test_nginx_is_told_no_token(nginx):
    assert not [path for path in nginx.directory.iterdir() if path.is_file() and TOKEN[12:] in path.read_text()]
