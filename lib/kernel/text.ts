// Texts as UTF-8 bytes and back, for everything that a plugin loads. Assumes nothing; pure. One encoder and one decoder a
// process, made with their first use: another pair takes bun 0.03 ms, and Buffer in their place 0.2 ms.

const encoder = new TextEncoder();
let decoder: TextDecoder | undefined;

export const encodeText = (text: string): Uint8Array => encoder.encode(text);

/** A byte order mark is kept, as Buffer keeps it: what follows it is then no JSON. */
export function decodeText(bytes: Uint8Array): string {
  decoder ??= new TextDecoder('utf-8', { ignoreBOM: true });
  return decoder.decode(bytes);
}
