function words(list: string): ReadonlySet<string> {
  return new Set(list.split(' '));
}

/** Words of the language itself. */
export const KEYWORDS = words(
  'and break do else elseif end for function goto if in local not or repeat return then until while',
);

export const ATOMS = words('false nil true');

/** What a script finds without asking: Lua's own, then the globals of LLMSpell. */
export const GLOBALS = words(
  'assert error getmetatable ipairs next pairs pcall print rawequal rawget rawlen rawset select setmetatable tonumber tostring type xpcall ' +
    '_G _VERSION coroutine io math os string table utf8 ' +
    'Agent Config Debug JSON LocalLLM Provider',
);

/** Words and brackets that begin a block, and those that end one. */
export const OPENERS = words('do function if repeat ( { [');
export const CLOSERS = words('end until ) } ]');

/** The beginning of a line that stands one step further left than its block. */
export const LEFT = /^(?:(?:end|until|elseif|else)\b|[)}\]])/;

/**
 * The same as it is being typed: the line moves when the word is complete, and back when it turns
 * out to be the beginning of another.
 */
export const LEFT_AS_TYPED = /^\s*(?:(?:end|until|elseif|else)\w?|[)}\]])$/;
