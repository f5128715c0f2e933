"""The server beside the bare model, overloaded, attacked, and told to end.

    python benchmarks/serving.py                # or with --images FOLDER

Throughput: clients that each send the next image when the last is answered, on connections that
they keep, against the same work without a server: bytes in, PNG bytes out, in a plain loop of one
process with `Predictor`. The model alone is `Predictor.infer` on what is in its frame already.
Processors is the time that all of them worked for an image, which hardly depends on what else runs
on the machine, as rates do. What sends the requests is a process of its own on the same cores, with
no HTTP library, for it to take little.

Overload: requests at five times the rate of the bare loop, whether or not others are answered.
Malformed: cut, damaged and random images and JSON. Memory is the server's resident set (of Linux).
"""

import argparse
import asyncio
import contextlib
import io
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np
from _measure import MIB, benchmark_parser, measure, print_table

CLIENTS = (1, 4, 16)
OVERLOAD = 5  # times the bare loop's rate
LIMIT = 30.0  # seconds, the server's default
CHECKED = 5  # images
KEPT = 3.0  # seconds; the server closes connections that are idle for five


def images(folder, number=32):
    """Encoded images: the first of a folder, or drawn ones of 640 × 480."""
    if folder:
        found = sorted(path for path in Path(folder).iterdir() if path.suffix == ".jpg")
        return [path.read_bytes() for path in found[:number]]
    import PIL.Image

    numbers = np.random.default_rng(0)
    encoded = []
    for _ in range(number):
        grid = PIL.Image.fromarray(numbers.integers(0, 256, (24, 32, 3), np.uint8))
        stream = io.BytesIO()
        grid.resize((640, 480), PIL.Image.Resampling.BICUBIC).save(stream, "JPEG", quality=90)
        encoded.append(stream.getvalue())
    return encoded


def bare(arguments):
    """Rates of the loop without a server, and of the model alone; what the loop returns."""
    from keras_salnet import Predictor
    from keras_salnet.images.files import encode_picture
    from keras_salnet.images.visualize import to_grey

    predictor = Predictor.load(arguments.model)
    encoded = images(arguments.images)

    def png(image):
        return encode_picture(to_grey(predictor(image)))

    def rate(function, items):
        for item in items[:CHECKED]:
            function(item)
        start, count, work = time.perf_counter(), 0, time.process_time()
        while (seconds := time.perf_counter() - start) < arguments.seconds:
            function(items[count % len(items)])
            count += 1
        return count / seconds, (time.process_time() - work) / count

    frames = [predictor.preprocess(image)[0][None] for image in encoded]
    loop, model = rate(png, encoded), rate(predictor.infer, frames)
    return {
        "bare": {"rate": loop[0], "work": loop[1]},
        "model": {"rate": model[0], "work": model[1]},
        "answers": [png(image).hex() for image in encoded[:CHECKED]],
    }


class Server:
    """`keras-salnet serve` in a process of its own."""

    def __init__(self, model):
        command = [sys.executable, "-m", "keras_salnet.cli", "serve", "--port", "0"]
        self.process = subprocess.Popen(
            [*command, "--model", model],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # where decoders tell what is wrong with images
            text=True,
        )
        self.host, port = self.process.stdout.readline().split()[2][len("http://") :].split(":")
        self.port = int(port)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()

    def work(self):
        """Seconds that processors have worked for it."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def memory(self, kind="VmRSS"):
        """MiB."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith(kind))
        return int(line.split()[1]) * 1024 / MIB


class Connection:
    """A connection to a `Server`, opened when it is needed."""

    def __init__(self, server):
        self._server = server
        self._streams = None
        self._used = 0.0

    async def post(self, body, path="/predict", media_type="image/jpeg"):
        """(status, body) of the answer."""
        if time.perf_counter() - self._used > KEPT:
            self.close()
        if self._streams is None:
            self._streams = await asyncio.open_connection(self._server.host, self._server.port)
        reader, writer = self._streams
        head = (
            f"POST {path} HTTP/1.1\r\nHost: {self._server.host}\r\nContent-Type: {media_type}\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        writer.write(head.encode() + body)
        answer = (await reader.readuntil(b"\r\n\r\n")).lower()
        length = int(answer.partition(b"content-length: ")[2].partition(b"\r")[0])
        content = await reader.readexactly(length)
        self._used = time.perf_counter()
        if b"connection: close" in answer:
            self.close()
        return int(answer.split(b" ", 2)[1]), content

    def close(self):
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


async def throughput(server, encoded, clients, seconds):
    """(answers a second, seconds of processors for each, latencies in seconds)."""
    latencies = []
    numbers = iter(range(sys.maxsize))

    async def client(until):
        connection = Connection(server)
        while time.perf_counter() < until:
            start = time.perf_counter()
            status, _ = await connection.post(encoded[next(numbers) % len(encoded)])
            if status != 200:
                sys.exit(f"{clients} clients: an answer of {status}")
            latencies.append(time.perf_counter() - start)
        connection.close()

    await asyncio.gather(*(client(time.perf_counter() + 1) for _ in range(clients)))
    latencies.clear()
    start, work = time.perf_counter(), server.work()
    await asyncio.gather(*(client(start + seconds) for _ in range(clients)))
    passed, work = time.perf_counter() - start, server.work() - work
    return len(latencies) / passed, work / len(latencies), latencies


async def check_answers(server, encoded, wanted):
    """Stop unless the server returns what the bare loop does."""
    connection = Connection(server)
    for image, png in zip(encoded, wanted, strict=False):
        if await connection.post(image) != (200, bytes.fromhex(png)):
            sys.exit("The server returns other maps than the bare loop.")
    connection.close()


async def overload(server, encoded, rate, seconds):
    """Requests of a fixed rate: their statuses, and the latencies of those that were accepted."""
    statuses, latencies, idle, asked = Counter(), [], [], []

    async def ask(image):
        connection = idle.pop() if idle else Connection(server)
        start = time.perf_counter()
        try:
            status, _ = await connection.post(image)
        except OSError as error:
            status = type(error).__name__
            connection.close()
        statuses[status] += 1
        if status == 200:
            latencies.append(time.perf_counter() - start)
        idle.append(connection)

    start = time.perf_counter()
    while (passed := time.perf_counter() - start) < seconds:
        due = int(rate * passed)
        asked += [
            asyncio.create_task(ask(encoded[number % len(encoded)]))
            for number in range(len(asked), due)
        ]
        await asyncio.sleep(0.005)
    await asyncio.gather(*asked)
    for connection in idle:
        connection.close()
    return statuses, latencies


def malformed(number, encoded, seed=0):
    """(path, media type, body) of hostile requests, the same each time."""
    numbers = random.Random(seed)
    seeds = [encoded[0], *_small_images()]
    values = ("null", "1e999", "[[[]]]", '{"b64": 1}', '{"b64": "AAAA"}', "[1, [2]]", "[" * 2000)
    keys = ("instances", "inputs", "signature_name", "x")
    for index in range(number):
        kind = index % 4
        if kind == 3:
            pairs = (f'"{numbers.choice(keys)}": {numbers.choice(values)}' for _ in range(2))
            body = "{" + ", ".join(pairs) + numbers.choice(("}", "", "}}"))
            yield "/v1/models/fast:predict", "application/json", body.encode()
            continue
        body = bytearray(numbers.choice(seeds))
        if kind == 0:  # cut
            del body[numbers.randrange(len(body)) :]
        elif kind == 1:  # damaged, in the header above all
            for _ in range(numbers.choice((1, 3, 10))):
                place = numbers.randrange(min(len(body), numbers.choice((60, 600, len(body)))))
                body[place] = numbers.choice((0, 255, numbers.randrange(256)))
        else:
            body = numbers.choice((b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF89a"))
            body += numbers.randbytes(numbers.randrange(500))
        media_type = numbers.choice(("image/jpeg", "multipart/form-data; boundary=b", "text/plain"))
        yield "/predict", media_type if index % 40 == 0 else "image/png", bytes(body)


def _small_images():
    import PIL.Image

    image = PIL.Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 50, 4), np.uint8))
    for form, mode in (
        ("PNG", "RGBA"),
        ("PNG", "P"),
        ("WEBP", "RGB"),
        ("BMP", "RGB"),
        ("GIF", "P"),
    ):
        stream = io.BytesIO()
        image.convert(mode).save(stream, form)
        yield stream.getvalue()


async def attack(server, requests):
    """Statuses of the answers."""
    statuses = Counter()
    requests = iter(requests)

    async def client():
        connection = Connection(server)
        for path, media_type, body in requests:
            status, _ = await connection.post(body, path, media_type)
            statuses[status] += 1
        connection.close()

    await asyncio.gather(*(client() for _ in range(8)))
    return statuses


async def end(server, encoded, seconds=2.0):
    """SIGTERM among 16 clients: what they met. A client that is refused leaves."""
    statuses = Counter()

    async def client():
        connection = Connection(server)
        with contextlib.suppress(ConnectionRefusedError):
            while True:
                try:
                    status, _ = await connection.post(encoded[0])
                except (asyncio.IncompleteReadError, ConnectionResetError):
                    status = "broken off"
                statuses[status] += 1
                if status != 200:
                    break
        connection.close()

    work = asyncio.gather(*(client() for _ in range(16)))
    await asyncio.sleep(seconds)
    before = statuses[200]
    server.process.terminate()
    told = time.perf_counter()
    await work
    await asyncio.get_running_loop().run_in_executor(None, server.process.wait)
    return {
        "before": before,
        "after": statuses[200] - before,
        "refused": statuses[503],
        "broken": statuses["broken off"],
        "status": server.process.returncode,
        "seconds": time.perf_counter() - told,
    }


def measure_side(side, arguments):
    kind, _, number = side.partition(":")
    if kind == "bare":
        return bare(arguments)
    encoded = images(arguments.images)
    with Server(arguments.model) as server:
        if kind == "clients":
            wanted = arguments.answers.read_text().split()
            asyncio.run(check_answers(server, encoded, wanted))
            rate, work, latencies = asyncio.run(
                throughput(server, encoded, int(number), arguments.seconds)
            )
            p50, p99 = np.percentile(latencies, (50, 99))
            return {"rate": rate, "work": work, "p50": p50, "p99": p99}
        if kind == "overload":
            asyncio.run(throughput(server, encoded, 4, 2))
            before = server.memory()
            rate = OVERLOAD * float(number)
            statuses, latencies = asyncio.run(overload(server, encoded, rate, arguments.seconds))
            p50, p99 = np.percentile(latencies, (50, 99))
            memory = before, server.memory("VmHWM"), server.memory()
            return {"statuses": statuses, "p50": p50, "p99": p99, "memory": memory}
        if kind == "malformed":
            hostile = list(malformed(int(number), encoded))
            asyncio.run(attack(server, hostile[:400]))
            before = server.memory()
            statuses = asyncio.run(attack(server, hostile))
            asyncio.run(check_answers(server, encoded, arguments.answers.read_text().split()))
            return {"statuses": statuses, "memory": (before, server.memory())}
        return asyncio.run(end(server, encoded))


def main():
    arguments = _parser().parse_args()
    if arguments.side:
        print(json.dumps(measure_side(arguments.side, arguments)))
        return
    with tempfile.TemporaryDirectory() as folder:
        answers = Path(folder, "answers")

        def run(side):
            return measure(side, {}, "--answers", str(answers))

        rounds = []
        for _ in range(arguments.rounds):
            found = run("bare")
            answers.write_text("\n".join(found.pop("answers")))
            for clients in arguments.clients:
                found[clients] = run(f"clients:{clients}")
            rounds.append(found)

        def median(side, quantity):
            return statistics.median(found[side][quantity] for found in rounds)

        def row(name, side):
            ratio = statistics.median(
                found[side]["rate"] / found["bare"]["rate"] for found in rounds
            )
            latencies = (
                f"{1e3 * median(side, quantity):.0f}" if isinstance(side, int) else None
                for quantity in ("p50", "p99")
            )
            rate, work = median(side, "rate"), 1e3 * median(side, "work")
            return name, f"{rate:.1f}", f"{ratio:.2f}×", f"{work:.1f}", *latencies

        print(f"{arguments.model}, medians of {arguments.rounds} rounds:")
        clients = [
            row(f"server, {number} client{'s' if number > 1 else ''}", number)
            for number in arguments.clients
        ]
        print_table(
            ("", "images/s", "of the bare loop", "processors, ms", "p50, ms", "p99, ms"),
            [row("bare loop", "bare"), row("model alone", "model"), *clients],
        )

        _print_attacks(arguments, run, median("bare", "rate"))


def _print_attacks(arguments, run, rate):
    """Measure and print how the server bears overload, malformed requests and SIGTERM."""
    found = run(f"overload:{rate}")
    before, peak, after = found["memory"]
    print(
        f"\nAt {OVERLOAD} times the bare loop's rate for {arguments.seconds:g} s: "
        f"{_counted(found['statuses'])}. Of the accepted ones, p50 {1e3 * found['p50']:.0f} "
        f"ms, p99 {1e3 * found['p99']:.0f} ms, of {LIMIT:g} s allowed. Memory "
        f"{before:.0f} MiB before, {peak:.0f} at most, {after:.0f} after."
    )
    found = run(f"malformed:{arguments.malformed}")
    before, after = found["memory"]
    print(
        f"\n{arguments.malformed} malformed requests: {_counted(found['statuses'])}. Memory "
        f"{before:.0f} MiB before, {after:.0f} after. The maps after it are right."
    )
    found = run("end")
    print(
        f"\nSIGTERM among 16 clients: {found['before']} answered before it, "
        f"{found['after']} that had been taken answered after it, {found['refused']} "
        f"refused with 503, {found['broken']} broken off. Ended with status "
        f"{found['status']} after {found['seconds']:.1f} s."
    )


def _counted(statuses):
    return ", ".join(f"{count} × {status}" for status, count in sorted(statuses.items()))


def _parser():
    parser = benchmark_parser(__doc__)
    add = parser.add_argument
    add("--model", default="fast", help="as `keras-salnet serve` takes it")
    add("--images", help="folder of .jpg files, 32 of which are sent (default: drawn ones)")
    add("--clients", type=int, nargs="+", default=CLIENTS, help="at the same time")
    add("--rounds", type=int, default=3, help="fresh processes of each side")
    add("--seconds", type=float, default=20, help="of each measurement")
    add("--malformed", type=int, default=10_000, help="malformed requests")
    add("--answers", type=Path, help=argparse.SUPPRESS)
    return parser


if __name__ == "__main__":
    main()
