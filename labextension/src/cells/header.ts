import type { Line, Text } from '@codemirror/state';

const HEADER = /^%%lua(?:\s|$)/;

/** Whether this line makes a cell one of Lua, when there are at most blank lines above it. */
export function isHeader(line: string): boolean {
  return HEADER.test(line);
}

/** The line that makes this text one of a Lua cell; null when none does. */
export function headerOf(text: Text): Line | null {
  for (let number = 1; number <= text.lines; number++) {
    const line = text.line(number);
    if (line.text.trim()) {
      return isHeader(line.text) ? line : null;
    }
  }
  return null;
}
