"""Tasks in four quadrants (important or not, urgent or not), kept in SQLite."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from fastapi import FastAPI, HTTPException, Response
from fastapi.responses import FileResponse
from pydantic import BaseModel, Field

DATABASE = Path(os.environ.get("QUADTASK_DB", "/app/data/quadtask.db"))
PAGE = Path(__file__).parent.parent / "page.html"

Quadrant = Literal["do", "schedule", "delegate", "drop"]


class NewTask(BaseModel):
    title: str = Field(min_length=1, max_length=500)
    quadrant: Quadrant = "do"


class Changes(BaseModel):
    title: str | None = Field(default=None, min_length=1, max_length=500)
    quadrant: Quadrant | None = None
    done: bool | None = None


@contextmanager
def database() -> Iterator[sqlite3.Connection]:
    """A connection whose changes are committed when all went well."""
    connection = sqlite3.connect(DATABASE, timeout=5)  # busy_timeout, 5000 ms
    connection.row_factory = sqlite3.Row
    try:
        with connection:
            yield connection
    finally:
        connection.close()


def create_tables() -> None:
    with database() as db:
        db.execute("PRAGMA journal_mode=WAL")
        db.execute(
            """CREATE TABLE IF NOT EXISTS task (
                 id INTEGER PRIMARY KEY,
                 title TEXT NOT NULL,
                 quadrant TEXT NOT NULL,
                 done INTEGER NOT NULL DEFAULT 0,
                 created_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%SZ'))
               )"""
        )


def as_task(row: sqlite3.Row | None) -> dict:
    if row is None:
        raise HTTPException(404, "there is no such task")
    return {**row, "done": bool(row["done"])}


create_tables()
app = FastAPI(title="Quadtask")


@app.get("/")
def page() -> FileResponse:
    return FileResponse(PAGE)


@app.get("/health")
def health() -> dict:
    with database() as db:
        db.execute("SELECT 1 FROM task LIMIT 1")
    return {"status": "ok"}


@app.get("/tasks")
def list_tasks() -> list[dict]:
    with database() as db:
        return [as_task(row) for row in db.execute("SELECT * FROM task ORDER BY id")]


@app.post("/tasks", status_code=201)
def add_task(task: NewTask) -> dict:
    with database() as db:
        insert = "INSERT INTO task (title, quadrant) VALUES (?, ?) RETURNING *"
        return as_task(db.execute(insert, (task.title, task.quadrant)).fetchone())


@app.patch("/tasks/{task_id}")
def change_task(task_id: int, changes: Changes) -> dict:
    with database() as db:
        update = """UPDATE task
            SET title = coalesce(?, title), quadrant = coalesce(?, quadrant), done = coalesce(?, done)
            WHERE id = ? RETURNING *"""
        return as_task(db.execute(update, (changes.title, changes.quadrant, changes.done, task_id)).fetchone())


@app.delete("/tasks/{task_id}", status_code=204)
def remove_task(task_id: int) -> Response:
    with database() as db:
        as_task(db.execute("DELETE FROM task WHERE id = ? RETURNING *", (task_id,)).fetchone())
    return Response(status_code=204)
