"""The recipe that Inkpot grew out of, in one process: a task per file is its only writer; it takes 100 records (or 1 MiB)
or what came within 100 ms, writes them through aiofiles under a semaphore, and syncs them if it is told to.

    recipe.py FOLDER RECORD_SIZE BATCH FILES PRODUCERS IN_FLIGHT WARM_UP SECONDS durable|written

Prints records per second, counted when they are written (and synced)."""

import asyncio
import os
import resource
import sys
import time
from collections import deque

import aiofiles

FLUSH_RECORDS = 100
FLUSH_BYTES = 1 << 20
FLUSH_AFTER = 0.1
AT_ONCE = 100


class Writer:
    """The only writer of a file."""

    def __init__(self, path, semaphore, durable):
        self.path, self.semaphore, self.durable = path, semaphore, durable
        self.queue = asyncio.Queue()
        self.task = asyncio.create_task(self.run())

    def write(self, records):
        done = asyncio.get_running_loop().create_future()
        self.queue.put_nowait((records, done))
        return done

    async def gather(self):
        """What one flush takes."""
        records, done = await self.queue.get()
        records, acks, size = list(records), [done], sum(map(len, records))
        deadline = time.monotonic() + FLUSH_AFTER
        while len(records) < FLUSH_RECORDS and size < FLUSH_BYTES:
            try:
                more, done = await asyncio.wait_for(self.queue.get(), deadline - time.monotonic())
            except asyncio.TimeoutError:
                break
            records += more
            acks.append(done)
            size += sum(map(len, more))
        return records, acks

    async def run(self):
        async with aiofiles.open(self.path, "ab") as file:
            while True:
                records, acks = await self.gather()
                async with self.semaphore:
                    await file.write(b"".join(records))
                    await file.flush()
                    if self.durable:
                        await asyncio.to_thread(os.fsync, file.fileno())
                for ack in acks:
                    ack.set_result(None)


class Work:
    def __init__(self, folder, files, durable):
        self.folder, self.files, self.durable = folder, files, durable
        self.semaphore = asyncio.Semaphore(AT_ONCE)
        self.writers = {}
        self.records = 0

    def writer(self, file):
        if file not in self.writers:
            self.writers[file] = Writer(f"{self.folder}/{file}.log", self.semaphore, self.durable)
        return self.writers[file]

    async def produce(self, first, step, batch, in_flight):
        file, waiting = first, deque()
        while True:
            if len(waiting) >= in_flight:
                await waiting.popleft()
                self.records += len(batch)
            waiting.append(self.writer(file % self.files).write(batch))
            file += step


async def main():
    folder, *numbers, warm_up, seconds, durability = sys.argv[1:]
    size, batch, files, producers, in_flight = map(int, numbers)
    line = (b"abcdefghijklmnopqrstuvwxyz 0123456789 " * (size // 38 + 1))[: size - 1] + b"\n"
    work = Work(folder, files, durability == "durable")
    tasks = [asyncio.create_task(work.produce(n, producers, [line] * batch, in_flight)) for n in range(producers)]
    await asyncio.wait(tasks, timeout=float(warm_up))
    started, before = time.monotonic(), work.records
    await asyncio.wait(tasks, timeout=float(seconds))
    rate = (work.records - before) / (time.monotonic() - started)
    for task in tasks + [writer.task for writer in work.writers.values()]:
        if task.done():
            task.result()
    print(rate, flush=True)
    # Thousands of open files are not closed one by one.
    os._exit(0)


hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
asyncio.run(main())
