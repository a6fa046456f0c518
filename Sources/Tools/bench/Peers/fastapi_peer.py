"""Two designs of a Python server, measured for comparison. Both authorize no one and keep the progress in memory.

/poll/ID is the design of the service that this one replaces: a generator for each client reads the progress every 2 seconds
and sends it. /push/ID waits for changes, with sse-starlette. POST /progress/ID sets the progress that both send.
"""

import asyncio
import json
from collections import defaultdict

from fastapi import FastAPI, Request
from fastapi.responses import StreamingResponse
from sse_starlette import EventSourceResponse

app = FastAPI()
progress: dict[str, dict] = {}
lock = asyncio.Lock()
watchers: defaultdict[str, set[asyncio.Queue]] = defaultdict(set)


@app.post("/progress/{session_id}")
async def report(session_id: str, request: Request):
    state = await request.json()
    async with lock:
        progress[session_id] = state
    for queue in watchers[session_id]:
        queue.put_nowait(state)
    return {}


@app.get("/poll/{session_id}")
async def poll(session_id: str):
    async def events():
        clock = asyncio.get_running_loop().time
        last_sent = clock()
        while True:
            async with lock:
                state = progress.get(session_id)
            if state:
                yield f"event: progress\ndata: {json.dumps(state)}\n\n"
                last_sent = clock()
            elif clock() - last_sent >= 15:
                yield ": heartbeat\n\n"
                last_sent = clock()
            await asyncio.sleep(2)

    return StreamingResponse(
        events(), media_type="text/event-stream", headers={"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
    )


@app.get("/push/{session_id}")
async def push(session_id: str):
    async def events():
        queue: asyncio.Queue = asyncio.Queue()
        watchers[session_id].add(queue)
        try:
            while True:
                yield {"event": "progress", "data": json.dumps(await queue.get())}
        finally:
            watchers[session_id].discard(queue)

    return EventSourceResponse(events(), ping=15)
