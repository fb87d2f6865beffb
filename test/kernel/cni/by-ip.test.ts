// The same suites once more with PODWIRE_NET=ip: what rtnetlink does, `ip` does as well, down to codes and messages.
process.env.PODWIRE_NET = 'ip';
await import('./plugins.test.ts');
await import('./failures.test.ts');
await import('./concurrency.test.ts');
