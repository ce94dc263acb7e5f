// Tasks in four quadrants (important or not, urgent or not), kept in SQLite. The API of ../app/main.py, with nothing to
// install. Usage: node server.mjs [--host 127.0.0.1] [--port 8000]
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { DatabaseSync } from 'node:sqlite';
import { text } from 'node:stream/consumers';
import { parseArgs } from 'node:util';

const { values: options } = parseArgs({
  options: { host: { type: 'string', default: '127.0.0.1' }, port: { type: 'string', default: '8000' } },
});
const page = readFileSync(new URL('../page.html', import.meta.url));
const QUADRANTS = ['do', 'schedule', 'delegate', 'drop'];

const db = new DatabaseSync(process.env.QUADTASK_DB ?? '/app/data/quadtask.db', { timeout: 5000 }); // busy_timeout
db.exec(`
  PRAGMA journal_mode=WAL;
  CREATE TABLE IF NOT EXISTS task (
    id INTEGER PRIMARY KEY,
    title TEXT NOT NULL,
    quadrant TEXT NOT NULL,
    done INTEGER NOT NULL DEFAULT 0,
    created_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%SZ'))
  )`);
const all = db.prepare('SELECT * FROM task ORDER BY id');
const insert = db.prepare('INSERT INTO task (title, quadrant) VALUES (?, ?) RETURNING *');
const update = db.prepare(`UPDATE task
  SET title = coalesce(?, title), quadrant = coalesce(?, quadrant), done = coalesce(?, done)
  WHERE id = ? RETURNING *`);
const remove = db.prepare('DELETE FROM task WHERE id = ? RETURNING *');

class Refusal extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

function asTask(row) {
  if (row === undefined) throw new Refusal(404, 'there is no such task');
  return { ...row, done: row.done === 1 };
}

/** The fields of a request that may be given, checked; absent ones are null. */
async function fieldsOf(request) {
  let fields;
  try {
    fields = Object(JSON.parse(await text(request)));
  } catch {
    throw new Refusal(422, 'the body is not JSON');
  }
  const { title = null, quadrant = null, done = null } = fields;
  const isTitle = typeof title === 'string' && title.length >= 1 && title.length <= 500;
  if (title !== null && !isTitle) throw new Refusal(422, 'title: a text of 1 to 500 characters');
  if (quadrant !== null && !QUADRANTS.includes(quadrant)) throw new Refusal(422, `quadrant: ${QUADRANTS.join(', ')}`);
  if (done !== null && typeof done !== 'boolean') throw new Refusal(422, 'done: true or false');
  return { title, quadrant, done: done === null ? null : Number(done) };
}

/** Gives the status and the answer. */
async function answer(request) {
  const path = request.url?.split('?')[0] ?? '/';
  const id = /^\/tasks\/(\d+)$/.exec(path)?.[1];
  switch (`${request.method} ${id === undefined ? path : '/tasks/ID'}`) {
    case 'GET /':
      return [200, page];
    case 'GET /health':
      db.exec('SELECT 1 FROM task LIMIT 1');
      return [200, { status: 'ok' }];
    case 'GET /tasks':
      return [200, all.all().map(asTask)];
    case 'POST /tasks': {
      const { title, quadrant } = await fieldsOf(request);
      if (title === null) throw new Refusal(422, 'title: is missing');
      return [201, asTask(insert.get(title, quadrant ?? 'do'))];
    }
    case 'PATCH /tasks/ID': {
      const { title, quadrant, done } = await fieldsOf(request);
      return [200, asTask(update.get(title, quadrant, done, id))];
    }
    case 'DELETE /tasks/ID':
      asTask(remove.get(id));
      return [204, undefined];
    default:
      throw new Refusal(404, 'Not Found');
  }
}

const server = createServer(async (request, response) => {
  let status;
  let body;
  try {
    [status, body] = await answer(request);
  } catch (error) {
    if (!(error instanceof Refusal)) console.error(error);
    [status, body] = error instanceof Refusal ? [error.status, { detail: error.message }] : [500, { detail: 'failed' }];
  }
  const type = body === page ? 'text/html; charset=utf-8' : 'application/json';
  response.writeHead(status, body === undefined ? {} : { 'content-type': type });
  response.end(body === undefined || body === page ? body : JSON.stringify(body));
});

server.listen(Number(options.port), options.host, () => console.log(`on http://${options.host}:${options.port}`));

for (const signal of ['SIGINT', 'SIGTERM']) {
  process.once(signal, () => {
    server.close(() => db.close());
    server.closeIdleConnections();
  });
}
