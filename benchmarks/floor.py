"""The floor: a program that does the wire work of labelling a picture and nothing else. live.py runs it too.

    python benchmarks/floor.py ENDPOINT ACCESS_KEY SECRET_KEY NATS_URL STREAM CONSUMER INDEX_URL

For each upload it reads the object by one GET, lets the sidecar's own worker decode and classify it, looks by a HEAD
whether the object changed, writes eight entries of metadata by a PUT with If-Match, and indexes a document; it
acknowledges the four messages of an upload and of its own write, each on two lanes. It keeps no promise: it checks no
signature, retries nothing, and loses what fails. What the sidecar costs beyond it is the price of its promises.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import os
import socket
import sys
import time
from base64 import b64encode
from datetime import UTC, datetime
from urllib.parse import quote, unquote_plus

import aiohttp
import nats

from imgtag.models.spec import ModelSpec
from imgtag.workers import frames
from imgtag.workers.process import start_process
from imgtag.workers.worker import WorkerTerms

WORKERS = 2
AT_ONCE = 16
LIMITS = {"limits": {"pixels": 100_000_000, "frames": 1_000, "memory": 768 << 20, "seconds": 30}}
MARK = "imgtag-floor"
BATCH_WAIT = 0.05


class S3:
    """Signature version 4 with the key of the day kept, and payloads that are not signed."""

    def __init__(self, endpoint: str, access_key: str, secret_key: str, session: aiohttp.ClientSession) -> None:
        self.endpoint, self.access_key, self.secret_key, self.session = endpoint, access_key, secret_key, session
        self.host = endpoint.partition("://")[2]
        self._day, self._key = "", b""

    def request(self, method: str, path: str, headers: dict[str, str], body: bytes | None = None):
        moment = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
        scope = f"{moment[:8]}/us-east-1/s3/aws4_request"
        if self._day != moment[:8]:
            key = f"AWS4{self.secret_key}".encode()
            for part in (moment[:8], "us-east-1", "s3", "aws4_request"):
                key = hmac.digest(key, part.encode(), "sha256")
            self._day, self._key = moment[:8], key
        signed = {"host": self.host, "x-amz-content-sha256": "UNSIGNED-PAYLOAD", "x-amz-date": moment, **headers}
        names = ";".join(sorted(signed))
        canonical = "".join(f"{name}:{signed[name]}\n" for name in sorted(signed))
        request = f"{method}\n{path}\n\n{canonical}\n{names}\nUNSIGNED-PAYLOAD"
        digest = hashlib.sha256(request.encode()).hexdigest()
        text = f"AWS4-HMAC-SHA256\n{moment}\n{scope}\n{digest}"
        signature = hmac.new(self._key, text.encode(), "sha256").hexdigest()
        credential = f"Credential={self.access_key}/{scope}, SignedHeaders={names}, Signature={signature}"
        signed["authorization"] = f"AWS4-HMAC-SHA256 {credential}"
        return self.session.request(method, f"{self.endpoint}{path}", headers=signed, data=body)


class Worker:
    """The sidecar's own worker over its socket."""

    @classmethod
    async def start(cls) -> Worker:
        self, spec = cls(), ModelSpec(entry="imgtag_tflite:SPEC")
        loop = asyncio.get_running_loop()
        self.process, connection = start_process()
        os.setpriority(os.PRIO_PROCESS, self.process.pid, os.getpriority(os.PRIO_PROCESS, 0) + WorkerTerms().nice)
        self.reader, self.writer = await asyncio.open_connection(sock=connection)
        await self.ask({"readable": spec.readable}, b"")
        await self.ask({"drop": [], "load": spec.key, "entry": spec.entry, "settings": spec.settings}, b"")
        self.key, self.loop = spec.key, loop
        return self

    async def ask(self, header: dict, body: bytes) -> dict:
        self.writer.write(frames.encode(header, len(body)))
        self.writer.write(body)
        return await self._receive()

    async def _receive(self) -> dict:
        length, _ = frames.PREFIX.unpack(await self.reader.readexactly(frames.PREFIX.size))
        return json.loads(await self.reader.readexactly(length))


class Index:
    """Documents in batches; each waits until its task has succeeded."""

    def __init__(self, url: str, session: aiohttp.ClientSession) -> None:
        self.url, self.session = url, session
        self.waiting: list[tuple[dict, asyncio.Future]] = []
        self.wake = asyncio.Event()

    async def add(self, document: dict) -> None:
        done = asyncio.get_running_loop().create_future()
        self.waiting.append((document, done))
        self.wake.set()
        await done

    async def run(self) -> None:
        while True:
            await self.wake.wait()
            await asyncio.sleep(BATCH_WAIT)
            batch, self.waiting = self.waiting, []
            self.wake.clear()
            body = "\n".join(json.dumps(document) for document, _ in batch).encode()
            headers = {"content-type": "application/x-ndjson"}
            async with self.session.post(f"{self.url}/indexes/images/documents", data=body, headers=headers) as answer:
                task = (await answer.json())["taskUid"]
            while True:
                async with self.session.get(f"{self.url}/tasks?uids={task}") as answer:
                    if (await answer.json())["results"][0]["status"] == "succeeded":
                        break
                await asyncio.sleep(0.01)
            for _, done in batch:
                done.set_result(None)


async def label(record: dict, s3: S3, workers: asyncio.Queue[Worker], index: Index) -> None:
    bucket, key = record["s3"]["bucket"]["name"], unquote_plus(record["s3"]["object"]["key"])
    path = f"/{bucket}/{quote(key)}"
    async with s3.request("GET", path, {}) as answer:
        etag, content_type = answer.headers["etag"], answer.content_type
        body = await answer.read()
    worker = await workers.get()
    try:
        answer = await worker.ask({"model": worker.key, **LIMITS}, body)
    finally:
        workers.put_nowait(worker)
    async with s3.request("HEAD", path, {}) as head:
        if head.headers["etag"] != etag:
            return
    labels = {f"x-amz-meta-imgtag_label+{place}": "0.50" for place in range(4)}
    entries = {"x-amz-meta-imgtag-facts": answer["facts"], "x-amz-meta-imgtag-raw": answer["raw"], **labels}
    entries |= {"x-amz-meta-imgtag-vec": answer["vec"], f"x-amz-meta-{MARK}": "1"}
    digest = b64encode(bytes.fromhex(etag.strip('"'))).decode()
    headers = {"if-match": etag, "content-md5": digest, "content-type": content_type, **entries}
    async with s3.request("PUT", path, headers, body) as written:
        written.raise_for_status()
    document = {"id": hashlib.sha256(path.encode()).hexdigest(), "bucket": bucket, "key": key, "status": "labelled"}
    document |= {"labels": ["a", "b"], "scores": {"a": 0.5, "b": 0.5}, "modified": int(time.time())}
    await index.add({**document, "_vectors": {"img": [1] * 128}})


async def main(endpoint: str, access: str, secret: str, nats_url: str, stream: str, consumer: str, index: str) -> None:
    connection = await nats.connect(nats_url)
    events = await connection.jetstream().pull_subscribe_bind(consumer, stream)
    workers: asyncio.Queue[Worker] = asyncio.Queue()
    for worker in await asyncio.gather(*(Worker.start() for _ in range(WORKERS))):
        workers.put_nowait(worker)
    done: dict[str, str] = {}
    room = asyncio.Semaphore(AT_ONCE)
    async with aiohttp.ClientSession(auto_decompress=False, skip_auto_headers=["content-type"]) as session:
        s3, documents = S3(endpoint, access, secret, session), Index(index, session)
        keeping = asyncio.create_task(documents.run())

        async def handle(message, record: dict) -> None:
            try:
                await label(record, s3, workers, documents)
                await message.ack()
            finally:
                room.release()

        tasks: set[asyncio.Task] = set()
        while not keeping.done():
            try:
                batch = await events.fetch(AT_ONCE, timeout=5)
            except TimeoutError:
                continue
            for message in batch:
                record = json.loads(message.data)["Records"][0]
                thing = record["s3"]["object"]
                own = f"X-Amz-Meta-{MARK.title()}" in thing.get("userMetadata", {})
                if own or done.get(thing["key"]) == thing["sequencer"]:
                    await message.ack()
                    continue
                done[thing["key"]] = thing["sequencer"]
                await room.acquire()
                tasks.add(task := asyncio.create_task(handle(message, record)))
                task.add_done_callback(tasks.discard)


if __name__ == "__main__":
    socket.setdefaulttimeout(None)
    asyncio.run(main(*sys.argv[1:]))
