import type { Text } from '@codemirror/state';

const HEADER = /^%%lua(?:\s|$)/;

/** Whether a line, the first of a cell, makes it a Lua cell. */
export function isHeader(line: string): boolean {
  return HEADER.test(line);
}

/** Whether this is the text of a Lua cell. */
export function isLua(text: Text): boolean {
  return isHeader(text.line(1).text);
}
