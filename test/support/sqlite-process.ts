import { fork } from 'node:child_process';
import { once } from 'node:events';
import type { TestContext } from 'node:test';
import { fileURLToPath } from 'node:url';

type Row = Record<string, unknown>;

/** A connection to a database in a process of its own. */
export interface SqliteProcess {
  /** Runs statements; returns the rows of all of them. Throws SQLite's error. */
  run(sql: string): Promise<Row[]>;
  /** Closes the connection and opens another. */
  reopen(): Promise<void>;
  close(): Promise<void>;
  /** Ends the process at once: nothing is closed, and the WAL stays. */
  kill(): Promise<void>;
}

type Answer = { readonly rows: Row[] } | { readonly error: string };

export async function sqliteProcess(t: TestContext, path: string): Promise<SqliteProcess> {
  const child = fork(fileURLToPath(new URL('./sqlite-child.ts', import.meta.url)), [path]);
  t.after(() => child.kill('SIGKILL'));
  const ask = async (message: object): Promise<Row[]> => {
    child.send(message);
    const [answer] = (await once(child, 'message')) as [Answer]; // the child sends nothing else
    if ('error' in answer) throw new Error(answer.error);
    return answer.rows;
  };
  await once(child, 'message');
  return {
    run: (sql) => ask({ sql }),
    reopen: async () => void (await ask({ reopen: true })),
    kill: async () => {
      child.kill('SIGKILL');
      await once(child, 'exit');
    },
    close: async () => {
      await ask({ close: true });
      child.disconnect();
      await once(child, 'exit');
    },
  };
}
