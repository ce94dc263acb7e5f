#!/bin/bash
set -euo pipefail
if [ -f /app/data/quadtask.db ]; then
 echo "Database already exists, skipping restore"
else
 echo "No database found, restoring from replica"
 ENVIRONMENT="prod" litestream restore -v /app/data/quadtask.db
fi
exec litestream replicate -exec "uvicorn app.main:app --host 0.0.0.0 --port 8000 --reload --log-level debug"
