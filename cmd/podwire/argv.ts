// Makes kubectl's ways of writing flags fit a plain option parser: -o=json, --wait=false, --dry-run with no value.
// Assumes flags end at `--`. Pure; linear in the number of arguments.

/** Boolean flags that may be written --flag=true or --flag=false; the value is what a bare or absent flag means. */
const defaultsOfBooleans: Readonly<Record<string, boolean>> = {
  wait: true,
  'all-namespaces': false,
  all: false,
  'all-containers': false,
  follow: false,
  force: false,
  now: false,
  'no-headers': false,
  pods: false,
  prefix: false,
  previous: false,
  recursive: false,
  'show-labels': false,
  stdin: false,
  timestamps: false,
  tty: false,
  watch: false,
};

/** argv (without program) with every flag in the one form that the parser knows. */
export function normalizeArgv(argv: readonly string[]): string[] {
  const end = argv.indexOf('--');
  const flags = end < 0 ? argv : argv.slice(0, end);
  const rest = end < 0 ? [] : argv.slice(end);
  return [...flags.flatMap(normalizeOne), ...rest];
}

function normalizeOne(arg: string): string[] {
  const short = /^(-[A-Za-z])=(.*)$/s.exec(arg);
  if (short) return [short[1]!, short[2]!];
  if (arg === '--dry-run') return ['--dry-run=client'];
  const long = /^--([a-z-]+)(?:=(true|false))?$/.exec(arg);
  const standard = long ? defaultsOfBooleans[long[1]!] : undefined;
  if (!long || standard === undefined) return [arg];
  const wanted = long[2] !== 'false';
  if (wanted === standard) return [];
  return [standard ? `--no-${long[1]}` : `--${long[1]}`];
}
