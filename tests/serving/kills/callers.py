"""Services that can be killed, and clients that do not give up: the same key again until there is an answer."""

import http.client
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil

from tests.edge_runtime.broker import free_port, until
from tests.serving.service import seen

ROOT = Path(__file__).parents[3]
LATER = (502, 503, 504)


class ServiceProcess:
    """The service on a centre.toml; `whole`: with all processes that BentoML starts."""

    def __init__(self, config, name, *, whole=False):
        self.port, self.log = free_port(), config.with_name(f"{name}.log")
        module = ["bentoml", "serve", "serving.service:Overhaul", "--port"] if whole else ["tests.serving.kills.serve"]
        self._command = [sys.executable, "-m", *module, str(self.port)]
        home = str(config.with_name("bentoml"))
        self._environment = {**os.environ, "OVERHAUL_CENTRE": str(config), "BENTOML_HOME": home}
        self.process = None

    def start(self, ready=True):
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self._command, cwd=ROOT, env=self._environment, stdout=log, stderr=log, start_new_session=True
            )
        if ready:
            until(lambda: self.process.poll() is not None or self._ready(), 60, "the service")
            assert self.process.poll() is None, self.log.read_text()[-3000:]
        return self

    def kill(self):
        """SIGKILL, all of it."""
        if self.process is not None:
            # A worker of BentoML has a session of its own, and would go on without the process that watches over it.
            self.process.send_signal(signal.SIGSTOP)  # so that it starts no other meanwhile
            workers = psutil.Process(self.process.pid).children(recursive=True)
            for each in (*workers, self.process):
                each.kill()
            self.process.wait()
            psutil.wait_procs(workers, 20)
            self.process = None

    def _ready(self):
        try:
            return ask(self.port, "GET", "/readyz")[0] == 200
        except OSError:
            return False


def ask(port, method, path, body=None, headers=None):
    """Status, body, headers; `OSError` if there is nobody, or no longer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request(method, path, body, {"Content-Type": "application/json", **(headers or {})})
        answer = connection.getresponse()
        return answer.status, answer.read(), answer.headers
    except http.client.HTTPException as error:
        raise ConnectionError(error) from error
    finally:
        connection.close()


class Client(threading.Thread):
    """Sends what `_run` says to any of the services, until `stop`; the last request is waited for."""

    def __init__(self, services, seed):
        super().__init__(daemon=True)
        self.failure, self.again = None, 0
        self._services, self._dice, self._over = services, random.Random(seed), threading.Event()

    def stop(self):
        self._over.set()

    def run(self):
        try:
            while not self._over.is_set():
                self.turn()
                time.sleep(0.01)
        except BaseException as error:
            self.failure = error

    def post(self, key, body):
        """The answer to `body` (status, bytes), whatever is killed meanwhile."""
        data = json.dumps({"fleet": "tiny", "continue": True, **body}).encode()
        deadline = time.monotonic() + 100
        while time.monotonic() < deadline:
            port = self._dice.choice(self._services).port
            try:
                status, answer, headers = ask(port, "POST", "/predict", data, {"Idempotency-Key": key})
            except OSError:
                pass
            else:
                if status not in LATER:
                    return status, answer
                assert float(headers["retry-after"]) > 0
            self.again += 1
            time.sleep(0.05)
        raise AssertionError(f"no answer to {key}")


class Caller(Client):
    """Continues the twins of its own machines, one after the other; `told`: asset → answers, the k-th to the k-th."""

    def __init__(self, services, seed, assets):
        super().__init__(services, seed)
        self.told = {asset: [] for asset in assets}

    def turn(self):
        for asset, told in self.told.items():
            count = len(told)
            body = {"asset": asset, "observations": seen(60 * count, flow=float(self._dice.randint(1, 300)))}
            status, answer = self.post(f"{asset}-{count}", body)
            assert status == 200, answer
            told.append(json.loads(answer))


class Racer(Client):
    """Wants to be the one that continues the twin of `asset`; `won`: number → its answer."""

    def __init__(self, services, seed, asset):
        super().__init__(services, seed)
        self.won, self.lost, self._asset, self._who, self._after = {}, [], asset, seed % 2, 0

    def turn(self):
        after = self._after
        body = {"asset": self._asset, "after": after, "observations": seen(60 * after + self._who)}
        status, answer = self.post(f"{self._who}-{after}", body)
        told = json.loads(answer)
        if status == 200:
            self.won[after + 1] = told
        else:
            assert status == 409, answer
            assert told["error"]["code"] in ("conflict", "not_newer"), answer
            self.lost.append(after + 1)
        self._after += 1
