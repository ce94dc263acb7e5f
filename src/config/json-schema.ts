import { z } from 'zod';
import { fileSchema } from './schema.ts';

/** The JSON Schema of a configuration file, for editors: what may be written, before variables are replaced. */
export function configJsonSchema(): object {
  // Draft 7 is what the language server for YAML knows best. Values are read by our own code, which draft 7 cannot tell;
  // what may be written for each is in the metadata of its schema.
  const schema = z.toJSONSchema(fileSchema, { target: 'draft-07', io: 'input', unrepresentable: 'any' });
  return { $schema: schema.$schema, title: 'Configuration of Rivulet', ...schema };
}

/** The same as the text of a file. */
export function configJsonSchemaText(): string {
  return `${JSON.stringify(configJsonSchema(), undefined, 2)}\n`;
}
