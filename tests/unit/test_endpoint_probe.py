# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""endpoint_probe against a real llama-server, and against small servers that fail as real ones do."""

from __future__ import annotations

import base64
import contextlib
import http.server
import json
import os
import pathlib
import socket
import ssl
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request

import pytest

from ansible_collections.nemoclaw.fleet.plugins.module_utils._serving import endpoint as serving
from ansible_collections.nemoclaw.fleet.plugins.module_utils._serving import probe, url
from tests.bed import paths

KEY = "sk-canary-Zk3/9+x=="
NAMES = probe.Names("nemoclaw_inference.endpoint_url", "nemoclaw_inference.model", "nemoclaw_credentials.COMPATIBLE_API_KEY")
KIT = paths.TESTS / "kit"


def ask(base, *, model="m1", key=KEY, api="completions", timeout=5, also_at=(), verify=True):
    return probe.probe(serving.Endpoint(url.normalise(base), key, timeout, verify), model, api, [url.normalise(one) for one in also_at], NAMES)


@pytest.mark.parametrize(
    ("given", "base"),
    [
        ("http://h:8000", "http://h:8000/v1"),
        ("http://h:8000/", "http://h:8000/v1"),
        ("http://h:8000/v1/", "http://h:8000/v1"),
        ("http://h:8000/v1/chat/completions?x=1#y", "http://h:8000/v1"),
        ("http://h:8000/v1/models", "http://h:8000/v1"),
        ("https://api.anthropic.example/v1/messages", "https://api.anthropic.example/v1"),
        ("https://g.example/v1beta/openai", "https://g.example/v1beta/openai"),
        ("http://[::1]:8000", "http://[::1]:8000/v1"),
        ("http://me:pw@h", "http://me:pw@h/v1"),
    ],
)
def test_normalise(given, base):
    assert url.normalise(given) == base
    assert url.normalise(base) == base


@pytest.mark.parametrize("given", ["", "h:8000", "ftp://h", "http://", "http://h:99999"])
def test_what_is_no_url(given):
    with pytest.raises(ValueError, match=r"."):
        url.normalise(given)


class Server(http.server.ThreadingHTTPServer):
    """Answers as a function of method, path, headers and body says: C((status, text))."""

    daemon_threads = True

    def __init__(self, answer, address="127.0.0.1"):
        super().__init__((address, 0), self.Handler)
        self.answer = answer
        self.seen = []

    @property
    def base(self):
        return f"http://{self.server_address[0]}:{self.server_port}"

    class Handler(http.server.BaseHTTPRequestHandler):
        def log_message(self, *_arguments):
            pass

        def do_GET(self):
            body = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or b"{}")
            self.server.seen.append((self.path, dict(self.headers), body))
            status, text, *headers = self.server.answer(self.path, dict(self.headers), body)
            with contextlib.suppress(OSError):
                self.send_response(status)
                for name, value in headers:
                    self.send_header(name, value)
                self.end_headers()
                for block in [text] if isinstance(text, str) else text:
                    self.wfile.write(block.encode())
                    self.wfile.flush()

        do_POST = do_GET


@contextlib.contextmanager
def serving_by(answer, **options):
    with Server(answer, **options) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield server
        finally:
            server.shutdown()


def chat(text="OK", model="m1"):
    return 200, json.dumps({"model": model, "choices": [{"message": {"role": "assistant", "content": text}}]})


def listing(*models):
    return 200, json.dumps({"object": "list", "data": [{"id": model} for model in models]})


NOT_FOUND = (404, '{"detail":"Not Found"}')


def openai(path, headers, body):
    """Chat only, with a key, and particular about the model, as OpenAI and vLLM are."""
    if headers.get("Authorization") != f"Bearer {KEY}":
        return 401, json.dumps({"error": {"message": f"Incorrect API key provided: {headers.get('Authorization')}"}})
    if path == "/v1/models":
        return listing("m1", "m2")
    if path == "/v1/chat/completions":
        return chat() if body["model"] in ("m1", "alias") else (404, json.dumps({"error": {"message": f"The model `{body['model']}` does not exist."}}))
    return NOT_FOUND


@pytest.fixture
def api():
    with serving_by(openai) as server:
        yield server


def test_good(api):
    found = ask(api.base)
    assert (found["ok"], found["failure"], found["answer"], found["api"], found["apis"]) == (True, "", "OK", "completions", ["completions"])
    assert (found["models"], found["url"], found["status"]) == (["m1", "m2"], f"{api.base}/v1", 200)
    assert [body["model"] for path, _headers, body in api.seen if path.endswith("completions")] == ["m1"]


def test_auto_names_the_apis_there_are(api):
    assert ask(api.base, api="auto")["apis"] == ["completions"]


def test_unauthorized(api):
    found = ask(api.base, key="wrong")
    assert (found["ok"], found["failure"], found["status"]) == (False, "unauthorized", 401)
    assert "nemoclaw_credentials.COMPATIBLE_API_KEY" in found["remedy"]


def test_no_key_at_all(api):
    assert "none was sent" in ask(api.base, key="")["remedy"]


def test_key_with_a_line_break_is_not_sent(api):
    found = ask(api.base, key=KEY + "\n")
    assert found["failure"] == "unauthorized"
    assert "line break" in found["detail"]
    assert api.seen == []


def test_wrong_model(api):
    found = ask(api.base, model="m3")
    assert (found["failure"], found["status"]) == ("model_not_found", 404)
    assert "It serves m1, m2" in found["detail"]
    assert "nemoclaw_inference.model" in found["remedy"]


def test_a_name_that_is_not_listed_but_known_is_good(api):
    assert ask(api.base, model="alias")["ok"] is True


def test_server_that_takes_any_name():
    """As llama-server: it answers with what it has."""
    with serving_by(lambda path, _headers, _body: listing("m1") if path.endswith("models") else chat()) as server:
        assert ask(server.base)["ok"] is True
        found = ask(server.base, model="m2")
    assert found["failure"] == "model_not_found"
    assert "takes any model name but serves only m1, not m2" in found["detail"]


@pytest.mark.parametrize(("model", "listed"), [("gemini-2.5-flash", "models/gemini-2.5-flash"), ("llama3", "llama3:latest"), ("m1", "m1")])
def test_ways_to_list_a_model(model, listed):
    assert serving.listed(model, [listed, "other"])
    assert not serving.listed("else", [listed, "other"])


def test_page_is_not_an_api():
    with serving_by(lambda *_request: (200, "<html>Welcome</html>")) as server:
        found = ask(server.base)
    assert found["failure"] == "not_an_api"
    assert "<html>Welcome" in found["detail"]
    assert "nemoclaw_inference.endpoint_url" in found["remedy"]


def test_wrong_path_with_the_right_one_beside_it(api):
    found = ask(f"{api.base}/api/v3")
    assert (found["failure"], found["status"]) == ("not_an_api", 404)
    assert found["remedy"] == f"Set nemoclaw_inference.endpoint_url to {api.base}/v1: there an API answers."


def test_redirect_names_its_target():
    with serving_by(lambda *_request: (301, "", ("Location", "https://elsewhere.example/v1/"))) as server:
        found = ask(server.base)
    assert found["failure"] == "not_an_api"
    assert "redirects to https://elsewhere.example/v1/" in found["detail"]


def test_json_of_another_shape():
    with serving_by(lambda *_request: (200, '{"hello": "world"}')) as server:
        found = ask(server.base)
    assert found["failure"] == "not_an_api"
    assert '{"hello": "world"}' in found["detail"]


@pytest.mark.parametrize(
    ("status", "kind"), [(500, "server_error"), (503, "server_error"), (429, "rate_limited"), (400, "server_error"), (403, "unauthorized")]
)
def test_statuses(status, kind, monkeypatch):
    monkeypatch.setattr(serving, "PAUSES", (0, 0))
    with serving_by(lambda *_request: (status, '{"error": {"message": "out of memory"}}')) as server:
        found = ask(server.base)
    assert (found["failure"], found["status"]) == (kind, status)
    assert "out of memory" in found["detail"]
    assert found["remedy"]


@pytest.mark.parametrize("status", [429, 503])
def test_a_status_that_passes_is_waited_out_as_long_as_the_server_asks(status):
    refusals = iter([("Retry-After", "1")])

    def answer(path, headers, body):
        refusal = next(refusals, None) if path.endswith("/chat/completions") else None
        return (status, '{"error": {"message": "slow down"}}', refusal) if refusal else openai(path, headers, body)

    with serving_by(answer) as server:
        started = time.monotonic()
        found = ask(server.base, api="completions")
    assert (found["ok"], found["failure"]) == (True, "")
    assert time.monotonic() - started >= 1
    assert found["latency_ms"] < 1000


def test_a_wait_that_is_longer_than_the_time_there_is_ends_it_at_once():
    with serving_by(lambda *_request: (429, '{"error": {"message": "slow down"}}', ("Retry-After", "200"))) as server:
        started = time.monotonic()
        found = ask(server.base, api="completions", timeout=100)
    assert (found["failure"], found["status"]) == ("rate_limited", 429)
    assert time.monotonic() - started < 5
    assert len([path for path, _headers, _body in server.seen if path.endswith("/chat/completions")]) == 1


def closed_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def test_refused():
    port = closed_port()
    found = ask(f"http://127.0.0.1:{port}")
    assert found["failure"] == "refused"
    assert found["detail"] == f"nothing listens on 127.0.0.1:{port} (connection refused)"


def test_name_that_does_not_resolve():
    found = ask("http://no-such-host.invalid:8000")
    assert found["failure"] == "refused"
    assert "no-such-host.invalid does not resolve" in found["detail"]


def test_timeout_of_a_server_that_is_silent():
    with serving_by(lambda path, *_request: listing("m1") if path.endswith("models") else time.sleep(3) or chat()) as server:
        found = ask(server.base, timeout=1)
    assert found["failure"] == "timeout"
    assert "did not answer within 1 s" in found["detail"]
    assert "nemoclaw_inference.probe_timeout" in found["remedy"]


def test_timeout_of_a_server_that_drips():
    def drip():
        for _second in range(50):
            time.sleep(0.1)
            yield " " * 128

    with serving_by(lambda path, *_request: NOT_FOUND if path.endswith("models") else (200, drip())) as server:
        started = time.monotonic()
        found = ask(server.base, timeout=1)
    assert found["failure"] == "timeout"
    assert time.monotonic() - started < 4


def test_answer_without_end():
    def flood():
        while True:
            yield "x" * (1 << 16)

    with serving_by(lambda *_request: (200, flood())) as server:
        assert ask(server.base)["failure"] == "not_an_api"


def test_what_does_not_speak_http():
    with socket.create_server(("127.0.0.1", 0)) as server:

        def greet():
            with contextlib.suppress(OSError):
                while True:
                    connection, _peer = server.accept()
                    connection.sendall(b"SSH-2.0-OpenSSH_9.2p1\r\n")
                    connection.close()

        threading.Thread(target=greet, daemon=True).start()
        found = ask(f"http://127.0.0.1:{server.getsockname()[1]}")
    assert found["failure"] == "not_an_api"
    assert "does not answer as HTTP" in found["detail"]


def test_https_to_a_server_without_tls(api):
    found = ask(api.base.replace("http:", "https:"), timeout=2)
    assert found["failure"] == "tls"
    assert "does not speak TLS; with http:// instead of https:// it" in found["detail"]


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tls")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "key.pem", "-out", "cert.pem", "-days", "2", "-subj", "/CN=localhost",
         "-addext", "subjectAltName=DNS:localhost"],
        cwd=folder, check=True, capture_output=True,
    )  # fmt: skip
    return folder


@pytest.fixture
def tls_api(certificate):
    with serving_by(openai) as server:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate / "cert.pem", certificate / "key.pem")
        server.socket = context.wrap_socket(server.socket, server_side=True)
        yield server


def test_certificate_of_an_unknown_ca(tls_api):
    found = ask(f"https://localhost:{tls_api.server_port}")
    assert found["failure"] == "tls"
    assert "certificate that no CA known to this host has signed" in found["detail"]
    assert "update-ca-certificates" in found["remedy"]


def test_certificate_of_another_name(tls_api, certificate):
    found = ask(f"https://127.0.0.1:{tls_api.server_port}", verify=str(certificate / "cert.pem"))
    assert found["failure"] == "tls"
    assert "certificate for another name" in found["detail"]


def test_certificate_of_a_known_ca(tls_api, certificate):
    assert ask(f"https://localhost:{tls_api.server_port}", verify=str(certificate / "cert.pem"))["ok"] is True


def test_proxy_of_the_environment(api, monkeypatch):
    """Used, and named when it is the one that fails."""
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{closed_port()}")
    monkeypatch.setenv("no_proxy", "")
    found = ask("http://model.example:8000")
    assert found["failure"] == "refused"
    assert "proxy of the environment does not lead to model.example:8000" in found["detail"]
    monkeypatch.setenv("http_proxy", api.base)
    assert ask("http://model.example:8000")["failure"] == "not_an_api"
    assert api.seen[0][0] == "http://model.example:8000/v1/models"


def test_proxy_of_the_environment_is_not_for_the_host_itself(api, monkeypatch):
    """/etc/environment of a host behind a proxy seldom says no_proxy."""
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{closed_port()}")
    monkeypatch.setenv("no_proxy", "")
    found = ask(api.base, also_at=[api.base.replace("127.0.0.1", "localhost")])
    assert found["ok"] is True
    assert [place["ok"] for place in found["also_at"]] == [True]


def test_netrc_does_not_replace_the_key(api, monkeypatch, tmp_path):
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login other password other\n")
    (tmp_path / ".netrc").chmod(0o600)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert ask(api.base)["ok"] is True


def test_new_name_of_the_token_limit():
    """As OpenAI's newer models."""

    def answer(path, _headers, body):
        if path.endswith("models"):
            return listing("m1")
        if "max_tokens" in body:
            return 400, '{"error": {"message": "Unsupported parameter: \'max_tokens\'. Use \'max_completion_tokens\' instead."}}'
        return chat()

    with serving_by(answer) as server:
        assert ask(server.base)["ok"] is True


def anthropic(path, headers, _body):
    if headers.get("x-api-key") != KEY:
        return 401, '{"type":"error","error":{"type":"authentication_error","message":"invalid x-api-key"}}'
    if path == "/v1/messages" and headers.get("anthropic-version"):
        return 200, '{"type":"message","model":"m1","content":[{"type":"text","text":"OK"}]}'
    return 404, '{"type":"error","error":{"type":"not_found_error","message":"Not found"}}'


def test_anthropic():
    with serving_by(anthropic) as server:
        found = ask(server.base, api="auto")
        assert (found["ok"], found["api"], found["apis"], found["answer"]) == (True, "messages", ["messages"], "OK")
        assert ask(server.base, api="auto", key="wrong")["failure"] == "unauthorized"
        assert ask(server.base, api="completions")["failure"] == "unauthorized"


def test_loopback_only(api):
    other = f"http://127.0.0.2:{api.server_port}"
    found = ask(api.base, also_at=[other])
    assert found["failure"] == "loopback_only"
    assert "listens on loopback only: sandboxes reach 127.0.0.2" in found["detail"]
    assert "Bind the server to 127.0.0.2 or 0.0.0.0" in found["remedy"]
    assert found["also_at"][0]["ok"] is False


def test_bound_to_every_address():
    with serving_by(openai, address="0.0.0.0") as server:
        found = ask(f"http://127.0.0.1:{server.server_port}", also_at=[f"http://127.0.0.2:{server.server_port}"])
    assert (found["ok"], found["also_at"]) == (True, [{"url": f"http://127.0.0.2:{server.server_port}/v1", "ok": True, "detail": ""}])


def test_every_failure_has_its_own_remedy():
    kinds = ["unauthorized", "model_not_found", "not_an_api", "refused", "timeout", "tls", "rate_limited", "server_error", "loopback_only"]
    endpoint = serving.Endpoint("http://127.0.0.1:1/v1", KEY, 1)
    remedies = [probe.remedy(kind, endpoint, ["http://172.30.200.1:1/v1"], NAMES) for kind in kinds]
    assert len(set(remedies)) == len(kinds)


WRAPPER = """
import json, sys
from ansible.module_utils.testing import patch_module_args
from ansible_collections.nemoclaw.fleet.plugins.modules import endpoint_probe
with patch_module_args(json.load(sys.stdin)):
    endpoint_probe.main()
"""


def run_module(**options):
    """The module as Ansible runs it; returns its exit code and its result."""
    done = subprocess.run([sys.executable, "-c", WRAPPER], input=json.dumps(options), capture_output=True, text=True, check=False, env=environment())
    return done.returncode, json.loads(done.stdout), done.stdout + done.stderr


def environment():
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}


def encodings(key):
    return [key, json.dumps(key), base64.b64encode(key.encode()).decode().rstrip("="), urllib.request.quote(key, safe="")]


def test_a_server_that_echoes_the_key():
    def echo(path, headers, _body):
        if path.endswith("models"):
            return listing("m1", *encodings(KEY))
        return chat(" ".join([*encodings(KEY), headers["Authorization"]]))

    with serving_by(echo) as server:
        code, result, output = run_module(url=server.base, model="m1", api_key=KEY, api="completions")
    assert (code, result["ok"]) == (0, True)
    assert "********" in result["answer"]
    for form in encodings(KEY):
        assert form not in output


def test_the_module_fails_with_everything_in_its_result():
    with serving_by(openai) as server:
        options = {"url": server.base, "model": "m1", "api_key": "sk-canary-wrong", "api": "completions", "key_variable": "nemoclaw_credentials.K"}
        code, result, output = run_module(**options)
        assert (code, result["failed"], result["failure"]) == (1, True, "unauthorized")
        assert result["msg"].endswith("Set nemoclaw_credentials.K to a key that this endpoint accepts for the model.")
        assert "sk-canary-wrong" not in output
        code, result, _output = run_module(**options, fail_on_error=False)
        assert (code, result["ok"], result["failure"]) == (0, False, "unauthorized")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "is missing or empty. Apply role proxy or local_inference first, which makes it."),
        (b"\n", "is missing or empty. Apply role proxy or local_inference first, which makes it."),
        ("schlüssel".encode(), "holds something else than a key. Remove it, and apply role proxy or local_inference, which makes it anew."),
    ],
)
def test_a_file_without_a_key_is_named(tmp_path, content, said):
    path = tmp_path / "token"
    if content is not None:
        path.write_bytes(content)
    code, result, _output = run_module(url="http://127.0.0.1:1", model="m1", api_key_file=str(path))
    assert (code, result["msg"]) == (1, f"{path} {said}")


def test_the_module_names_the_variable_of_a_bad_url():
    code, result, _output = run_module(url="h:8000", model="m1")
    assert code == 1
    assert "nemoclaw_inference.endpoint_url" in result["msg"]


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    """The real llama-server of the test bed, on a port of this machine."""
    program = paths.LLAMA / "usr" / "bin" / "llama-server"
    if not program.exists():
        pytest.skip("no llama-server in the cache; 'python -m tests.bed up' makes it")
    (library,) = (paths.LLAMA / "usr" / "lib").glob("*-linux-gnu")
    (loader,) = library.glob("ld-linux-*.so.*")
    backend, *_others = [found for name in ("x64", "armv8.0*") for found in (library / "ggml").glob(f"*/libggml-cpu-{name}.so")]
    port = closed_port()
    with open(tmp_path_factory.mktemp("llama") / "log", "w") as log:
        server = subprocess.Popen(
            [str(loader), "--inhibit-cache", "--library-path", f"{library}:{library}/llama", str(program), "-m", str(KIT / "tiny-agent.gguf"),
             "--alias", "tiny-agent", "--host", "127.0.0.1", "--port", str(port), "--api-key", KEY, "-c", "4096", "-np", "1", "--temp", "0",
             "-n", "64", "-t", "1", "--chat-template-file", str(KIT / "last-user.jinja")],
            env={**os.environ, "GGML_BACKEND_PATH": str(backend)}, stdout=log, stderr=log,
        )  # fmt: skip
        try:
            wait_for(f"http://127.0.0.1:{port}/health", pathlib.Path(log.name))
            yield f"http://127.0.0.1:{port}"
        finally:
            server.terminate()
            server.wait(10)


def wait_for(health, log):
    for _tenth in range(300):
        with contextlib.suppress(urllib.error.URLError, OSError), urllib.request.urlopen(health, timeout=1):
            return
        time.sleep(0.1)
    pytest.fail(log.read_text()[-2000:])


def test_llama_server_speaks_all_apis(llama):
    found = ask(llama, model="tiny-agent", api="auto", timeout=60)
    assert (found["ok"], found["apis"], found["models"]) == (True, ["completions", "responses", "messages"], ["tiny-agent"])
    assert "pong from tiny-agent" in found["answer"]
    assert found["latency_ms"] > 0


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({"key": "wrong"}, "unauthorized"),
        ({"model": "another"}, "model_not_found"),
        ({"base": "/nothing"}, "not_an_api"),
        ({"also_at": ["http://127.0.0.2"]}, "loopback_only"),
    ],
)
def test_llama_server_used_wrongly(llama, changes, kind):
    also_at = [f"{one}:{llama.rpartition(':')[2]}" for one in changes.pop("also_at", [])]
    found = ask(llama + changes.pop("base", ""), **{"model": "tiny-agent", "timeout": 60, "also_at": also_at, **changes})
    assert found["failure"] == kind
