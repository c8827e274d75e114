"""Files of public sources: they are downloaded from a server in this process and checked, in one go or in several."""

import dataclasses
import hashlib
import os
import re
import signal
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import pytest
from tqdm.notebook import tqdm as notebook_bar

from hybridlib.data.sources import source as module
from hybridlib.data.sources.source import File, check_space, fetch, location
from hybridlib.paths import project_root

CONTENT = bytes(range(256)) * 41 + b"end"  # 10,499 bytes
CHUNK = 100


class Server(ThreadingHTTPServer):
    """A server of CONTENT, under every path that does not begin with /absent."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.ranges = True  # whether it can begin in the middle
        self.length = True  # whether it says how much there is
        self.sent = []  # how many bytes it sends before it closes the connection, a request each; then all
        self.pause = 0.0  # seconds before each thousand bytes
        self.asked = []  # the Range of each request

    def url(self, name="file.json"):
        return f"http://127.0.0.1:{self.server_port}/{name}"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        wanted = self.headers["Range"]
        self.server.asked.append(wanted)
        if self.path.startswith("/absent"):
            return self.send_error(404)
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and self.server.ranges else 0
        if start and start >= len(CONTENT):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(CONTENT)}")
            self.send_header("Content-Length", "0")
            return self.end_headers()
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}")
        if self.server.length:
            self.send_header("Content-Length", str(len(CONTENT) - start))
        self.end_headers()
        limit = self.server.sent.pop(0) if self.server.sent else len(CONTENT)
        for place in range(start, min(start + limit, len(CONTENT)), 1000):
            time.sleep(self.server.pause)
            self.wfile.write(CONTENT[place : min(place + 1000, start + limit)])

    def log_message(self, *arguments):
        pass


@pytest.fixture
def server():
    with Server() as running:
        threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield running
        running.shutdown()


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    """Set the folder of downloads, and small chunks; return the folder."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("HYBRIDLIB_DATA", raising=False)
    monkeypatch.setattr(module, "_CHUNK", CHUNK)
    return tmp_path / "hybridlib"


def pinned(server, name="file.json", kind="sha256"):
    digest = hashlib.new(kind, CONTENT).hexdigest()
    return File(f"some/{name}", server.url(name), f"{kind}:{digest}", len(CONTENT))


def keep(cache, content):
    """Write what an earlier download has left."""
    (cache / "some").mkdir(parents=True)
    (cache / "some/file.json.part").write_bytes(content)


def parts(cache):
    return list(cache.rglob("*.part"))


# --- downloads


@pytest.mark.parametrize("kind", ["sha256", "md5"])
@pytest.mark.parametrize("length", [True, False])
def test_a_file_is_downloaded_once_and_kept(server, cache, kind, length):
    server.length = length
    for _ in range(3):
        path = fetch(pinned(server, kind=kind), "some")
    assert path == cache / "some/file.json" and path.read_bytes() == CONTENT
    assert server.asked == [None]
    assert not parts(cache)


@pytest.mark.parametrize(
    ("ranges", "bytes_kept", "asked"),
    [
        *((True, size, [f"bytes={size}-"]) for size in (1, 5000, len(CONTENT) - 1)),
        (True, len(CONTENT), [f"bytes={len(CONTENT)}-"]),  # whole: it needs only its name
        (True, len(CONTENT) + 4, [f"bytes={len(CONTENT) + 4}-", None]),  # longer than the file: it is dropped
        # A server that cannot begin in the middle is read from the start.
        *((False, size, [f"bytes={size}-"]) for size in (5000, len(CONTENT), len(CONTENT) + 7)),
    ],
)
def test_a_download_goes_on_where_an_earlier_one_broke_off(server, cache, ranges, bytes_kept, asked):
    server.ranges = ranges
    keep(cache, (CONTENT * 2)[:bytes_kept])
    assert fetch(pinned(server), "some").read_bytes() == CONTENT
    assert server.asked == asked


def test_a_connection_that_breaks_is_taken_up_as_long_as_bytes_come_in(server, caplog):
    server.sent = [3000, 2000]
    assert fetch(pinned(server), "some").read_bytes() == CONTENT
    starts = [int(wanted.removeprefix("bytes=").rstrip("-")) for wanted in server.asked[1:]]
    # Bytes that came in after the last whole chunk may be lost.
    assert server.asked[0] is None and 3000 - CHUNK <= starts[0] <= 3000 and starts[0] < starts[1] <= 5000
    assert [message for message in caplog.messages if "broke off after 3.00kB; going on" in message]


def test_a_connection_that_breaks_for_good_says_what_is_kept_and_the_next_call_goes_on_from_there(server, cache):
    server.sent = [3000, 0]
    with pytest.raises(ConnectionError) as caught:
        fetch(pinned(server), "some")
    (part,) = parts(cache)
    size = part.stat().st_size
    assert 3000 - CHUNK <= size <= 3000 and part.read_bytes() == CONTENT[:size]
    message = (
        f"{server.url()} cannot be downloaded: .*; {size} bytes are kept in {part}, from where the next call goes on"
    )
    assert re.fullmatch(message, str(caught.value))
    assert not (cache / "some/file.json").exists()
    assert fetch(pinned(server), "some").read_bytes() == CONTENT
    assert server.asked[2:] == [f"bytes={size}-"]


def test_a_server_that_begins_anew_and_always_breaks_is_given_up(server, cache):
    server.ranges, server.sent = False, [3000] * 9
    with pytest.raises(ConnectionError, match="cannot be downloaded"):
        fetch(pinned(server), "some")
    assert len(server.asked) == 2  # the second did not get further than the first


@pytest.mark.parametrize(("name", "reason"), [("absent.json", "404 Client .*"), (None, ".*")])
def test_a_file_that_is_gone_or_whose_server_does_not_answer_is_named(server, name, reason):
    url = server.url(name) if name else "http://127.0.0.1:1/file.json"
    with pytest.raises(ConnectionError, match=f"{re.escape(url)} cannot be downloaded: {reason}; 0 bytes are kept"):
        fetch(dataclasses.replace(pinned(server), url=url), "some")


def test_what_differs_from_the_published_file_is_removed_and_the_next_call_begins_anew(server, cache):
    keep(cache, b"other bytes")
    whole = b"other bytes" + CONTENT[11:]
    digests = [hashlib.sha256(content).hexdigest() for content in (whole, CONTENT)]
    with pytest.raises(ValueError) as caught:
        fetch(pinned(server), "some")
    assert str(caught.value) == (
        f"{server.url()} differs from the published file: its sha256 is {digests[0]}, expected {digests[1]}; what was "
        "downloaded is removed, try again"
    )
    assert not parts(cache) and not (cache / "some/file.json").exists()
    assert fetch(pinned(server), "some").read_bytes() == CONTENT


@pytest.mark.parametrize(("bytes_kept", "needed"), [(0, len(CONTENT)), (5000, len(CONTENT) - 5000)])
@pytest.mark.parametrize("length", [True, False])
def test_a_disk_that_is_too_full_is_said_before_the_download(server, cache, monkeypatch, bytes_kept, needed, length):
    keep(cache, CONTENT[:bytes_kept])
    server.length = length  # the pinned size stands in
    monkeypatch.setattr(module.shutil, "disk_usage", lambda folder: SimpleNamespace(free=needed - 1))
    with pytest.raises(OSError, match=f"some has .*kB free, too little for {server.url()} of {needed / 1000:.1f}"):
        fetch(pinned(server), "some")
    assert parts(cache)[0].stat().st_size == bytes_kept
    monkeypatch.setattr(module.shutil, "disk_usage", lambda folder: SimpleNamespace(free=needed))
    assert fetch(pinned(server), "some").read_bytes() == CONTENT


def test_space_is_asked_of_a_folder_that_does_not_exist_yet(tmp_path):
    check_space(tmp_path / "not" / "yet", 1, "a file")
    with pytest.raises(OSError, match=r"not/yet has .* free, too little for a file of 1\.00PB"):
        check_space(tmp_path / "not" / "yet", 10**15, "a file")


@pytest.mark.parametrize("bytes_kept", [0, 5000])
def test_the_bar_counts_bytes_from_what_is_kept_and_the_size_is_logged(server, cache, monkeypatch, caplog, bytes_kept):
    bars = []

    class Bar(module.tqdm):
        def __init__(self, **options):
            super().__init__(**options | {"disable": False})
            bars.append((self, options))

    monkeypatch.setattr(module, "tqdm", Bar)
    keep(cache, CONTENT[:bytes_kept])
    with caplog.at_level("INFO", logger=module.__name__):
        fetch(pinned(server), "some")
    ((bar, options),) = bars
    assert (bar.total, bar.initial, bar.n) == (len(CONTENT), bytes_kept, len(CONTENT))
    assert (bar.unit, bar.unit_scale, bar.desc) == ("B", True, "some/file.json")
    size = {0: "10.5kB", 5000: "5.50kB"}[bytes_kept]  # of 10,499 and 5,499 bytes
    assert caplog.messages == [f"some: downloading {size} of {server.url()} to {cache / 'some'}"]
    # None makes it quiet where nobody looks, but not in a notebook, whose output is no terminal either.
    assert options["disable"] is None
    assert not notebook_bar(total=1, disable=None, display=False).disable


# --- processes

FETCH = """
import sys, time
from pathlib import Path
from types import SimpleNamespace
from hybridlib.data.sources import source
source._CHUNK = 100
print("ready", flush=True)
sys.stdin.readline()
path = source.fetch(source.File(*sys.argv[1:4], None), "some")
print(path.read_bytes() == bytes(range(256)) * 41 + b"end")
"""


def process(file):
    environment = {**os.environ, "PYTHONPATH": str(project_root())}
    command = [sys.executable, "-c", FETCH, file.path, file.url, file.checksum]
    started = subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert started.stdout.readline() == "ready\n"
    return started


def test_two_processes_that_want_the_same_file_download_it_once(server, cache):
    server.pause = 0.05  # half a second in all
    both = [process(pinned(server)) for _ in range(2)]
    for one in both:
        one.stdin.write("go\n")
        one.stdin.flush()
    assert [one.communicate(timeout=30)[0] for one in both] == ["True\n", "True\n"]
    assert server.asked == [None]
    assert not parts(cache)


def test_a_killed_download_goes_on_where_it_was(server, cache):
    server.pause = 0.05
    killed = process(pinned(server))
    killed.stdin.write("go\n")
    killed.stdin.flush()
    deadline = time.monotonic() + 30
    while not (parts(cache) and parts(cache)[0].stat().st_size) and time.monotonic() < deadline:
        time.sleep(0.01)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    size = parts(cache)[0].stat().st_size
    assert 0 < size < len(CONTENT)
    assert fetch(pinned(server), "some").read_bytes() == CONTENT
    assert server.asked == [None, f"bytes={size}-"]


# --- files that are there


@pytest.fixture
def data(monkeypatch, tmp_path):
    """Put the file into HYBRIDLIB_DATA, read-only, and return its path."""
    (tmp_path / "data/some").mkdir(parents=True)
    path = tmp_path / "data/some/file.json"
    path.write_bytes(CONTENT)
    path.parent.chmod(0o555)
    monkeypatch.setenv("HYBRIDLIB_DATA", str(tmp_path / "data"))
    yield path
    path.parent.chmod(0o755)


def test_a_local_file_is_used_as_it_lies(server, cache, data):
    assert fetch(pinned(server), "some") == data == location(pinned(server))
    assert list(data.parent.iterdir()) == [data]
    assert not server.asked and not cache.exists()


def test_a_local_file_that_is_missing_is_named_with_where_to_get_it(server, data):
    with pytest.raises(FileNotFoundError) as caught:
        fetch(pinned(server, "other.json"), "some")
    assert str(caught.value) == (
        f"{data.with_name('other.json')} of some does not exist; get it from {server.url('other.json')}, or unset "
        "HYBRIDLIB_DATA to download it"
    )
    assert not server.asked


def test_an_empty_variable_is_none(server, cache, monkeypatch):
    monkeypatch.setenv("HYBRIDLIB_DATA", "")
    assert fetch(pinned(server), "some") == cache / "some/file.json"


@pytest.mark.parametrize("local", [True, False])
def test_a_file_that_was_altered_is_refused_wherever_it_lies(server, cache, data, monkeypatch, local):
    if not local:
        monkeypatch.delenv("HYBRIDLIB_DATA")
    path = fetch(pinned(server), "some")
    path.write_bytes(CONTENT[:-1])
    found, expected = (hashlib.sha256(content).hexdigest() for content in (CONTENT[:-1], CONTENT))
    message = f"{path} differs from the published file: its sha256 is {found}, expected {expected}; delete it and get "
    with pytest.raises(ValueError, match=message + server.url()):
        fetch(pinned(server), "some")


def test_a_file_is_checked_once_unless_it_changes(server, data, monkeypatch):
    module._digest.cache_clear()
    digests = []
    digest = hashlib.file_digest
    monkeypatch.setattr(hashlib, "file_digest", lambda *given: digests.append(1) or digest(*given))
    for _ in range(3):
        fetch(pinned(server), "some")
    assert len(digests) == 1
    status = data.stat()
    data.write_bytes(CONTENT.replace(b"end", b"and"))  # of the same size
    os.utime(data, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    with pytest.raises(ValueError, match="differs from the published file"):
        fetch(pinned(server), "some")
    assert len(digests) == 2


def test_a_file_without_a_published_checksum_is_checked_by_its_size_where_that_is_known(server, data):
    for size in (None, len(CONTENT)):
        assert fetch(File("some/file.json", server.url(), None, size), "some") == data
    with pytest.raises(ValueError, match=f"the published file: it has {len(CONTENT)} bytes, expected 7; delete it"):
        fetch(File("some/file.json", server.url(), None, 7), "some")
    assert isinstance(data, Path)
