// `podwire completion SHELL` and the hidden `podwire complete -- WORDS` that the shells' functions call.
// Assumes the words up to the cursor, the last one unfinished. At most one request to podwired, given up after 1 s.
import type { Command, Option } from 'commander';
import { resources } from '../../../lib/api/resources.ts';
import type { Resource } from '../../../lib/api/types.ts';
import { type Context, makeContext } from '../context.ts';
import { UsageError } from '../errors.ts';
import { resourceInfo } from '../resources.ts';

/** One choice; the description is shown by zsh and fish. */
export type Choice = readonly [value: string, description: string];

/** What may stand at the cursor. `names` and `containers` have to be asked of podwired. */
export type Wanted =
  | { readonly type: 'choices'; readonly choices: readonly Choice[] }
  | { readonly type: 'files' }
  | { readonly type: 'names'; readonly resource: Resource; readonly prefix: string }
  | { readonly type: 'containers'; readonly pod: string };

interface Typed {
  readonly command: Command;
  readonly positionals: readonly string[];
  /** Values of flags typed before, by their long name. */
  readonly flags: Readonly<Record<string, string>>;
  /** The flag whose value is being typed. */
  readonly pending: Option | undefined;
}

/** Decides what to offer for the last word. Pure. */
export function wantedAt(
  program: Command,
  words: readonly string[],
): Wanted & { readonly flags: Typed['flags'] } {
  const joined = joinEquals(words);
  const current = joined.at(-1) ?? '';
  const typed = readWords(program, joined.slice(0, -1));
  const inline = /^(--[a-z-]+)=/.exec(current);
  const pending = inline ? findOption(typed.command, inline[1]!) : typed.pending;
  if (pending) return { ...flagValues(pending, typed), flags: typed.flags };
  if (current.startsWith('-'))
    return { type: 'choices', choices: flagChoices(typed.command), flags: typed.flags };
  const verbs = typed.command
    .createHelp()
    .visibleCommands(typed.command)
    .filter((each) => each.name() !== 'help');
  if (typed.command.commands.length > 0)
    return {
      type: 'choices',
      choices: verbs.map((each) => [each.name(), each.description()]),
      flags: typed.flags,
    };
  return { ...argumentValues(typed, current), flags: typed.flags };
}

/** bash splits at `=`: `--output`, `=`, `js` are one word again here. */
function joinEquals(words: readonly string[]): string[] {
  const joined: string[] = [];
  for (const word of words) {
    const before = joined.at(-1);
    if (before?.startsWith('--') && (word === '=' || before.endsWith('=')))
      joined[joined.length - 1] = before + word;
    else joined.push(word);
  }
  return joined;
}

function readWords(program: Command, words: readonly string[]): Typed {
  let command = program;
  let pending: Option | undefined;
  const positionals: string[] = [];
  const flags: Record<string, string> = {};
  for (const word of words) {
    if (pending) {
      flags[pending.name()] = word;
      pending = undefined;
    } else if (word.startsWith('-') && word.length > 1) {
      const [name = '', value] = word.split('=');
      const option = findOption(command, name);
      if (option && takesValue(option) && value === undefined) pending = option;
      else if (option && value !== undefined) flags[option.name()] = value;
    } else {
      const sub =
        positionals.length === 0
          ? command.commands.find((each) => [each.name(), ...each.aliases()].includes(word))
          : undefined;
      if (sub) command = sub;
      else positionals.push(word);
    }
  }
  return { command, positionals, flags, pending };
}

const takesValue = (option: Option): boolean => option.required || option.optional;

function findOption(command: Command, word: string): Option | undefined {
  for (let at: Command | null = command; at; at = at.parent) {
    const found = at.options.find((option) => option.long === word || option.short === word);
    if (found) return found;
  }
  return undefined;
}

function flagChoices(command: Command): Choice[] {
  const help = command.createHelp();
  const options = [...help.visibleOptions(command), ...help.visibleGlobalOptions(command)];
  return options.flatMap((option) => (option.long ? [[option.long, option.description] as const] : []));
}

const plain = (...values: string[]): Wanted => ({
  type: 'choices',
  choices: values.map((value) => [value, '']),
});

function flagValues(option: Option, typed: Typed): Wanted {
  if (option.argChoices) return plain(...option.argChoices);
  const name = option.name();
  if (name === 'filename' || name === 'root' || name === 'socket') return { type: 'files' };
  if (name === 'namespace') return { type: 'names', resource: 'namespaces', prefix: '' };
  if (name === 'output') return plain(...option.description.replace('TEMPLATE', '').split('|'));
  if (name === 'for') return plain('condition=Ready', 'delete', 'create');
  if (name === 'container' && typed.positionals[0]) return { type: 'containers', pod: typed.positionals[0] };
  return plain();
}

function argumentValues(typed: Typed, current: string): Wanted {
  const verb = typed.command.name();
  const [first] = typed.positionals;
  if (verb === 'completion') return plain('bash', 'zsh', 'fish');
  if (verb === 'import') return { type: 'files' };
  if (verb === 'explain') return first ? plain() : { type: 'names', resource: 'pods', prefix: 'pod/' };
  if (verb === 'exec') return first ? plain() : { type: 'names', resource: 'pods', prefix: '' };
  if (verb === 'logs')
    return first ? { type: 'containers', pod: first } : { type: 'names', resource: 'pods', prefix: '' };
  if (['cordon', 'uncordon', 'drain', 'remove'].includes(verb)) return namesOf('nodes', '');
  if (!['get', 'describe', 'delete', 'patch', 'wait'].includes(verb)) return plain();
  const [type, slash] = current.split('/');
  if (slash !== undefined) return namesOf(type!, `${type}/`);
  if (first === undefined)
    return { type: 'choices', choices: Object.values(resources).map((info) => [info.resource, info.kind]) };
  return first.includes('/') ? plain() : namesOf(first, '');
}

function namesOf(type: string, prefix: string): Wanted {
  try {
    return { type: 'names', resource: resourceInfo(type).resource, prefix };
  } catch {
    return plain();
  }
}

/** Prints `value<TAB>description` lines for what fits the last word, or `:files`. */
export async function runComplete(
  _context: Context,
  program: Command,
  words: readonly string[],
): Promise<void> {
  const wanted = wantedAt(program, words);
  if (wanted.type === 'files') return void process.stdout.write(':files\n');
  const context = makeContext({ ...wanted.flags });
  const choices = await Promise.race([
    choicesFor(context, wanted),
    new Promise<Choice[]>((done) => setTimeout(done, 1000, []).unref()),
  ]);
  const current = (words.at(-1) ?? '').replace(/^--[a-z-]+=/, '').replace(/^=$/, '');
  const fitting = choices.filter(([value]) => value.startsWith(current));
  process.stdout.write(
    fitting.map(([value, text]) => (text ? `${value}\t${text}\n` : `${value}\n`)).join(''),
  );
}

async function choicesFor(
  context: Context,
  wanted: Exclude<Wanted, { type: 'files' }>,
): Promise<readonly Choice[]> {
  if (wanted.type === 'choices') return wanted.choices;
  try {
    const client = await context.client();
    if (wanted.type === 'containers') {
      const pod = await client.get('pods', {
        namespace: context.namespace,
        name: wanted.pod.replace(/^pods?\//, ''),
      });
      return [...pod.spec.containers, ...(pod.spec.initContainers ?? [])].map((each) => [
        each.name,
        each.image ?? '',
      ]);
    }
    const namespace = resources[wanted.resource].namespaced ? context.namespace : undefined;
    const { items } = await client.list(wanted.resource, { namespace });
    return items.map((item) => [`${wanted.prefix}${item.metadata.name}`, '']);
  } catch {
    return []; // A shell's completion has nowhere to show an error.
  }
}

export function runCompletion(context: Context, shell: string): void {
  const script = scripts[shell];
  if (!script) throw new UsageError(`unsupported shell "${shell}": expected bash, zsh or fish`);
  context.out(script);
}

const scripts: Readonly<Record<string, string>> = {
  bash: `# bash completion for podwire: source <(podwire completion bash)
_podwire() {
  local cur=\${COMP_WORDS[COMP_CWORD]} line out
  [[ $cur == "=" ]] && cur=
  out=$(podwire complete -- "\${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
  COMPREPLY=()
  if [[ $out == :files ]]; then
    compopt -o filenames 2>/dev/null
    while IFS= read -r line; do COMPREPLY+=("$line"); done < <(compgen -f -- "$cur")
    return
  fi
  while IFS= read -r line; do
    [[ -n $line ]] && COMPREPLY+=("\${line%%$'\\t'*}")
  done <<< "$out"
  [[ \${#COMPREPLY[@]} -eq 1 && \${COMPREPLY[0]} == *= ]] && compopt -o nospace 2>/dev/null
}
complete -F _podwire podwire
`,
  zsh: `#compdef podwire
# zsh completion for podwire: podwire completion zsh > a folder of $fpath, as _podwire; or source <(podwire completion zsh)
_podwire() {
  local out line
  local -a choices
  out=$(podwire complete -- "\${(@)words[2,CURRENT]}" 2>/dev/null)
  if [[ $out == ":files" ]]; then
    _files
    return
  fi
  for line in "\${(@f)out}"; do
    [[ -n $line ]] || continue
    choices+=("\${\${line%%$'\\t'*}//:/\\\\:}:\${\${line#*$'\\t'}:#$line}")
  done
  compset -P '--*='
  _describe -V podwire choices
}
if [[ \${funcstack[1]} == _podwire ]]; then _podwire; else compdef _podwire podwire; fi
`,
  fish: `# fish completion for podwire: podwire completion fish > ~/.config/fish/completions/podwire.fish
function __podwire_complete
  set -l words (commandline -opc) (commandline -ct)
  set -l out (podwire complete -- $words[2..] 2>/dev/null)
  if test "$out" = ":files"
    __fish_complete_path (commandline -ct)
  else
    printf '%s\\n' $out
  end
end
complete -c podwire -f -a '(__podwire_complete)'
`,
};
