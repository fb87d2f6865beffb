// What the bench is doing, on standard error: one line rewritten on a terminal, one line a phase elsewhere.
// Assumes one phase at a time. One write a call.

export interface Progress {
  /** A new phase: always shown. */
  phase(text: string): void;
  /** Where in the phase we are: shown on a terminal only. */
  tick(text: string): void;
  /** Something to keep, e.g. why a peer is left out. */
  note(text: string): void;
}

export function createProgress(out: { write(text: string): unknown }, onTerminal: boolean): Progress {
  let phase = '';
  const clear = onTerminal ? '\r\x1b[K' : '';
  const end = onTerminal ? '' : '\n';
  return {
    phase(text) {
      phase = text;
      out.write(`${clear}${text}${end}`);
    },
    tick(text) {
      if (onTerminal) out.write(`${clear}${phase}: ${text}`);
    },
    note(text) {
      out.write(`${clear}${text}\n`);
      if (onTerminal && phase !== '') out.write(phase);
    },
  };
}
