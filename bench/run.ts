// Measures Rivulet beside real Litestream and beside plain copies: npm run bench [-- FLAGS], see USAGE.
import '../scripts/quickstart/without-experimental-warnings.ts';

const { bench } = await import('./bench.ts');
process.exitCode = await bench(process.argv.slice(2));
