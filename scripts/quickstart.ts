// A live database is streamed, lost and restored, in about 15 seconds: npm run quickstart [-- --keep] [-- --seconds N].
import './quickstart/without-experimental-warnings.ts';

const { quickstart } = await import('./quickstart/quickstart.ts');
process.exitCode = await quickstart(process.argv.slice(2));
