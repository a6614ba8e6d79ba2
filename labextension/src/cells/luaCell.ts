/* The language of a cell follows its first line that is not blank, within each change. */

import { LanguageSupport, StreamLanguage } from '@codemirror/language';
import {
  Compartment,
  EditorState,
  type Extension,
  Prec,
  type StateEffect,
  Text,
  type Transaction,
} from '@codemirror/state';
import { type EditorView, keymap } from '@codemirror/view';

import { headerOf } from './header';
import { luaMode } from './luaMode';

/** Where `%%lua` stands there is no way to comment a line out. */
const comments = EditorState.languageData.of((state, position) =>
  position <= (headerOf(state.doc)?.to ?? -1)
    ? []
    : [{ commentTokens: { line: '--' } }],
);

/** Before the usual key toggles comments: leave `%%lua` out of what is selected. */
function keepHeader(view: EditorView): false {
  const { doc, selection } = view.state;
  const { from, to } = selection.main;
  const header = headerOf(doc);
  if (header && from <= header.to && to > header.to) {
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
  const lua = headerOf(transaction.newDoc) !== null;
  return lua === (headerOf(transaction.startState.doc) !== null)
    ? null
    : { effects: compartment.reconfigure(lua ? support : []) };
}

/**
 * Makes an editor one of Lua while its text says so.
 *
 * @param source - What the editor begins with.
 */
export function luaCell(source: string): Extension {
  const lua = headerOf(Text.of(source.split('\n'))) !== null;
  return [
    // Of several languages the first counts; the editor's own is Python.
    Prec.highest(compartment.of(lua ? support : [])),
    EditorState.transactionExtender.of(follow),
  ];
}
