/* Lua 5.4 below a first line that says `%%lua`, token by token. */

import type { StreamParser, StringStream } from '@codemirror/language';

import { isHeader } from './header';
import {
  ATOMS,
  CLOSERS,
  GLOBALS,
  KEYWORDS,
  LEFT,
  LEFT_AS_TYPED,
  OPENERS,
} from './luaWords';

/** A block that is open: columns before the line that began it. */
interface Block {
  readonly column: number;
  readonly outer: Block | null;
}

/** A string or comment that goes on: what ends it, and how it looks. */
interface Rest {
  readonly style: 'string' | 'comment';
  readonly end: string;
}

interface State {
  first: boolean;
  block: Block | null;
  rest: Rest | null;
  /** What was before: after a dot or a colon, a word is a field's name. */
  field: boolean;
}

const LONG = /^\[(=*)\[/;
const NUMBER =
  /^(?:0[xX][\da-fA-F]*\.?[\da-fA-F]*(?:[pP][+-]?\d+)?|(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)/;
const WORD = /^[A-Za-z_]\w*/;
const SIGN = /^(?:\.{3}|\.\.|::|\/\/|<<|>>|[=~<>]=|[+\-*/%^#&~|<>=])/;

/** A long bracket at this place, after what has been read: how it would end. */
function longEnd(stream: StringStream): string | null {
  const found = stream.match(LONG) as RegExpMatchArray | null;
  return found && `]${found[1] ?? ''}]`;
}

function goOn(stream: StringStream, state: State, rest: Rest): string {
  state.rest = rest;
  if (rest.end.length > 1) {
    if (stream.skipTo(rest.end)) {
      stream.match(rest.end);
      state.rest = null;
    } else {
      stream.skipToEnd();
    }
    return rest.style;
  }
  let escaped = false;
  for (let char = stream.next(); char !== undefined; char = stream.next()) {
    if (char === rest.end && !escaped) {
      state.rest = null;
      return rest.style;
    }
    escaped = char === '\\' && !escaped;
  }
  // Only a backslash at its very end takes a short string to the next line.
  if (!escaped) {
    state.rest = null;
  }
  return rest.style;
}

function bracket(stream: StringStream, state: State, text: string): void {
  if (OPENERS.has(text)) {
    state.block = { column: stream.indentation(), outer: state.block };
  } else if (CLOSERS.has(text)) {
    state.block = state.block?.outer ?? null;
  }
}

function word(stream: StringStream, state: State, field: boolean): string {
  const text = stream.current();
  if (field) {
    return 'propertyName';
  }
  if (KEYWORDS.has(text)) {
    bracket(stream, state, text);
    return 'keyword';
  }
  if (ATOMS.has(text)) {
    return 'atom';
  }
  // In a table, or where it is given a value, such a word is the script's own.
  return GLOBALS.has(text) && !stream.match(/^\s*=(?!=)/, false)
    ? 'variableName.standard'
    : 'variableName';
}

function token(stream: StringStream, state: State): string | null {
  if (state.first) {
    if (!stream.string.trim()) {
      stream.skipToEnd();
      return null;
    }
    state.first = false;
    if (isHeader(stream.string)) {
      stream.skipToEnd();
      return 'meta';
    }
  }
  if (state.rest) {
    return goOn(stream, state, state.rest);
  }
  if (stream.eatSpace()) {
    return null;
  }
  const field = state.field;
  state.field = false;
  if (stream.match('--')) {
    const end = longEnd(stream);
    if (end !== null) {
      return goOn(stream, state, { style: 'comment', end });
    }
    stream.skipToEnd();
    return 'comment';
  }
  const end = longEnd(stream);
  if (end !== null) {
    return goOn(stream, state, { style: 'string', end });
  }
  if (stream.match(NUMBER)) {
    return 'number';
  }
  if (stream.match(WORD)) {
    return word(stream, state, field);
  }
  if (stream.match(SIGN)) {
    return 'operator';
  }
  const char = stream.next() ?? '';
  if (char === '"' || char === "'") {
    return goOn(stream, state, { style: 'string', end: char });
  }
  state.field = char === '.' || char === ':';
  bracket(stream, state, char);
  return null;
}

export const luaMode: StreamParser<State> = {
  name: 'llmspell-lua',
  startState: () => ({ first: true, block: null, rest: null, field: false }),
  token,
  indent: (state, after, context) => {
    if (state.rest || !state.block) {
      return state.rest ? null : 0;
    }
    const { column } = state.block;
    return LEFT.test(after) ? column : column + context.unit;
  },
  languageData: { indentOnInput: LEFT_AS_TYPED },
};
