// Writes docs/rivulet.schema.json from the schema in the code. A test tells when it is due; `npx biome check --write docs`
// formats it.
import { writeFileSync } from 'node:fs';
import { configJsonSchemaText } from '../src/config/json-schema.ts';

writeFileSync(new URL('../docs/rivulet.schema.json', import.meta.url), configJsonSchemaText());
