/* The language of a cell follows its first line, within the change that alters it. */

import { LanguageSupport, StreamLanguage } from '@codemirror/language';
import {
  Compartment,
  EditorState,
  type Extension,
  Prec,
  type StateEffect,
  type Transaction,
} from '@codemirror/state';
import { type EditorView, keymap } from '@codemirror/view';

import { isHeader, isLua } from './header';
import { luaMode } from './luaMode';

/** Where `%%lua` stands there is no way to comment a line out. */
const comments = EditorState.languageData.of((state, position) =>
  state.doc.lineAt(position).number === 1
    ? []
    : [{ commentTokens: { line: '--' } }],
);

/** Before the usual key toggles comments: leave `%%lua` out of what is selected. */
function keepHeader(view: EditorView): false {
  const { doc, selection } = view.state;
  const { from, to } = selection.main;
  const header = doc.line(1);
  if (from <= header.to && to > header.to) {
    view.dispatch({ selection: { anchor: header.to + 1, head: to } });
  }
  return false;
}

const support = new LanguageSupport(StreamLanguage.define(luaMode), [
  comments,
  keymap.of([{ key: 'Mod-/', run: keepHeader }]),
]);

const compartment = new Compartment();

function follow(transaction: Transaction): {
  effects: StateEffect<unknown>;
} | null {
  if (!transaction.docChanged) {
    return null;
  }
  const lua = isLua(transaction.newDoc);
  return lua === isLua(transaction.startState.doc)
    ? null
    : { effects: compartment.reconfigure(lua ? support : []) };
}

/**
 * Makes an editor one of Lua while its first line says so.
 *
 * @param source - What the editor begins with.
 */
export function luaCell(source: string): Extension {
  const lua = isHeader(source.split('\n', 1)[0] ?? '');
  return [
    // Of several languages the first counts; the editor's own is Python.
    Prec.highest(compartment.of(lua ? support : [])),
    EditorState.transactionExtender.of(follow),
  ];
}
