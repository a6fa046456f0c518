"""Pipelines that report the progress of sessions, by SQL and by HTTP, and repeat each report until it is acknowledged."""
import asyncio
import itertools
import json
import random

import psycopg

from web import Unanswered, request

# Seconds between two reports of a session.
PAUSE = (0.1, 0.3)
# What follows when the fault is over.
ENDING = [("preprocessing", 20), ("transcribing", 20), ("transcribing", 30), ("transcribing", 45), ("diarizing", 55),
          ("transcribed", 60), ("extracting_notes", 60), ("extracting_notes", 80), ("processed", 100)]


class Overtaken(Exception):
    """The session is in another status than the reporter thought: a failover has lost reports that were acknowledged."""


class Reporter:
    """Takes one session to and fro between pending and uploading while the fault lasts, and then to its end."""

    def __init__(self, installation, session, way):
        self.installation, self.session, self.way = installation, session, way
        self.connection, self.is_ending = None, asyncio.Event()
        # Each acknowledged report: version and status. Reports that had to be repeated.
        self.acknowledged, self.repeats = [], 0

    async def run(self):
        try:
            for number in itertools.count():
                if self.is_ending.is_set():
                    break
                progress = min(number // 4, 20)
                await self.step("uploading", progress)
                await self.step("uploading", min(progress + 1, 20))
                await self.step("pending", progress)
            for status, progress in ENDING:
                await self.step(status, progress)
        finally:
            await self.disconnect()

    async def step(self, status, progress):
        try:
            await self.report(status, progress)
        except Overtaken:
            # From "uploading", nothing but "pending" is allowed; from "pending", both ways of this reporter are.
            if status not in ("uploading", "pending"):
                await self.report("pending", progress)
                await self.report(status, progress)
        await asyncio.sleep(random.uniform(*PAUSE))

    async def report(self, status, progress):
        send = {"sql": self.by_sql, "route": self.by_route, "batch": self.by_batch}[self.way]
        while True:
            version = await send(status, progress)
            if version is not None:
                self.acknowledged.append((version, status))
                return
            self.repeats += 1
            await asyncio.sleep(0.2)

    async def by_sql(self, status, progress):
        try:
            async with asyncio.timeout(20):
                if self.connection is None:
                    ports = ",".join(str(cluster.port) for cluster in self.installation.slots)
                    self.connection = await psycopg.AsyncConnection.connect(
                        f"host=127.0.0.1,127.0.0.1 port={ports} dbname=therapybridge user=therapybridge_pipeline "
                        "target_session_attrs=read-write connect_timeout=5", autocommit=True)
                cursor = await self.connection.execute(
                    "SELECT app.report_progress(%s, %s, %s, 'run')", (self.session, status, progress))
                return (await cursor.fetchone())[0]
        except psycopg.errors.CheckViolation as error:
            raise Overtaken from error
        except (psycopg.OperationalError, psycopg.InterfaceError, TimeoutError, OSError):
            await self.disconnect()

    async def disconnect(self):
        connection, self.connection = self.connection, None
        if connection:
            await connection.close()

    async def by_route(self, status, progress):
        body = {"status": status, "progress": progress, "message": "run"}
        return self.read(await self.post(f"/api/sessions/{self.session}/progress", body))

    async def by_batch(self, status, progress):
        report = {"session_id": self.session, "status": status, "progress": progress, "message": "run"}
        answer = await self.post("/api/progress", {"reports": [report]})
        if answer is None:
            return None
        result = answer[1]["results"][0] if answer[0] == 200 else {}
        return self.read((result["error"]["status"], {}) if "error" in result else (answer[0], result))

    async def post(self, path, body):
        try:
            status, _, data = await request(
                self.installation.port, "POST", path, self.installation.tokens["pipeline"], body, limit=8)
            return status, json.loads(data) if status == 200 else {}
        except (Unanswered, ValueError):
            return None

    @staticmethod
    def read(answer):
        if answer is None or answer[0] >= 500:
            return None
        if answer[0] == 409:
            raise Overtaken
        if answer[0] != 200:
            raise SystemExit(f"a report got {answer}")
        return answer[1]["version"]
