"""What an orchestration must not use, by its public name, and what to use instead.

A rule stands here when what it names gives another answer in a replay (clocks, randomness, the
process and its surroundings), acts on the world at every replay (files, network, processes), or
cannot run on the orchestration's loop (threads). What merely repeats harmlessly, such as `print`,
is left alone.
"""

from __future__ import annotations

from collections.abc import Mapping

_NOW = "ctx.now()"
_RANDOM = "ctx.random()"
_ACTIVITY = "an activity"
_INPUT = "the input, or an activity that reads it"
_STARTED_BY_THE_HOST = "what the host has running: await"

FORBIDDEN_NAMES: Mapping[str, str] = {
    "time.time": _NOW,
    "time.time_ns": _NOW,
    "time.monotonic": _NOW,
    "time.monotonic_ns": _NOW,
    "time.perf_counter": _NOW,
    "time.perf_counter_ns": _NOW,
    "time.process_time": _NOW,
    "time.process_time_ns": _NOW,
    "time.thread_time": _NOW,
    "time.localtime": _NOW,
    "time.gmtime": _NOW,
    "time.ctime": _NOW,
    "time.sleep": "await asyncio.sleep(…)",
    "datetime.datetime.now": _NOW,
    "datetime.datetime.utcnow": _NOW,
    "datetime.datetime.today": _NOW,
    "datetime.date.today": f"{_NOW}.date()",
    "uuid.uuid1": "ctx.uuid4()",
    "uuid.uuid4": "ctx.uuid4()",
    "uuid.uuid6": "ctx.uuid4()",
    "uuid.uuid7": "ctx.uuid4()",
    "uuid.getnode": _INPUT,
    "builtins.hash": "hashlib, for Python's hashes of text differ from process to process",
    "builtins.id": "a key of your own",
    "builtins.open": _ACTIVITY,
    "builtins.input": "ctx.schedule_wait(…)",
    "io.open": _ACTIVITY,
    "gc.collect": "nothing: it runs clean-up at a moment that no replay repeats",
    "os.urandom": _RANDOM,
    "os.getrandom": _RANDOM,
    "os.environ": _INPUT,
    "os.getenv": _INPUT,
    "os.getpid": _INPUT,
    "os.getcwd": _INPUT,
    "os.cpu_count": _INPUT,
    "os.listdir": _ACTIVITY,
    "os.scandir": _ACTIVITY,
    "os.walk": _ACTIVITY,
    "os.stat": _ACTIVITY,
    "os.open": _ACTIVITY,
    "os.remove": _ACTIVITY,
    "os.unlink": _ACTIVITY,
    "os.rename": _ACTIVITY,
    "os.replace": _ACTIVITY,
    "os.mkdir": _ACTIVITY,
    "os.makedirs": _ACTIVITY,
    "os.system": _ACTIVITY,
    "os.popen": _ACTIVITY,
    "os.fork": _ACTIVITY,
    "asyncio.run": _STARTED_BY_THE_HOST,
    "asyncio.Runner": _STARTED_BY_THE_HOST,
    "asyncio.new_event_loop": _STARTED_BY_THE_HOST,
    "asyncio.all_tasks": "a list of the tasks that you created",
    "asyncio.to_thread": _ACTIVITY,
    "asyncio.open_connection": _ACTIVITY,
    "asyncio.start_server": _ACTIVITY,
    "asyncio.open_unix_connection": _ACTIVITY,
    "asyncio.start_unix_server": _ACTIVITY,
    "asyncio.create_subprocess_exec": _ACTIVITY,
    "asyncio.create_subprocess_shell": _ACTIVITY,
    "asyncio.run_coroutine_threadsafe": "asyncio.create_task(…)",
    "asyncio.wrap_future": _ACTIVITY,
}
"""Functions, classes and objects."""

FORBIDDEN_MODULES: Mapping[str, str] = {
    "random": _RANDOM,
    "secrets": _RANDOM,
    "numpy.random": _RANDOM,
    "threading": _ACTIVITY,
    "multiprocessing": _ACTIVITY,
    "concurrent.futures": _ACTIVITY,
    "subprocess": _ACTIVITY,
    "socket": _ACTIVITY,
    "shutil": _ACTIVITY,
    "tempfile": _ACTIVITY,
    "sqlite3": _ACTIVITY,
    "smtplib": _ACTIVITY,
    "http.client": _ACTIVITY,
    "urllib.request": _ACTIVITY,
    "requests": _ACTIVITY,
    "httpx": _ACTIVITY,
}
"""Everything callable in these, exceptions left out."""

HARMLESS = frozenset({"random.Random", "random.Random.__init__"})
"""Seeded by the caller."""
