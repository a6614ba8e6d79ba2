/* Underlines the line at which the last run of a Lua cell failed. */

import { type Extension, StateEffect, StateField } from '@codemirror/state';
import {
  Decoration,
  type DecorationSet,
  EditorView,
  ViewPlugin,
} from '@codemirror/view';
import type { ICodeCellModel } from '@jupyterlab/cells';
import type { TranslationBundle } from '@jupyterlab/translation';

import { headerOf } from './header';
import { type FailedLine, lastError } from './lastError';

const mark = StateEffect.define<FailedLine | null>();

/** The line that is marked; its first edit, or that of any other, takes the mark away. */
const marked = StateField.define<FailedLine | null>({
  create: () => null,
  update: (value, transaction) => {
    const told = transaction.effects.find((effect) => effect.is(mark));
    if (told) {
      return told.value;
    }
    return transaction.docChanged ? null : value;
  },
});

function decorations(
  view: EditorView,
  trans: TranslationBundle,
): DecorationSet {
  const failed = view.state.field(marked);
  const { doc } = view.state;
  // Blank lines above `%%lua` are not there for the kernel.
  const number = (failed?.line ?? 0) + (headerOf(doc)?.number ?? 1) - 1;
  if (!failed || number > doc.lines) {
    return Decoration.none;
  }
  const { from, to, text } = doc.line(number);
  // A cell that was edited after it ran, and saved so, has another line there.
  const begin = from + text.length - text.trimStart().length;
  if (text.trimEnd() !== failed.text.trimEnd() || begin === to) {
    return Decoration.none;
  }
  const label = trans.__('Line %1 failed: %2', String(number), failed.message);
  return Decoration.set(
    Decoration.mark({
      class: 'llmspell-errorLine',
      attributes: { role: 'mark', title: label, 'aria-description': label },
    }).range(begin, to),
  );
}

/**
 * Keeps an editor's mark as the outputs of its cell say.
 *
 * @param model - The cell that the editor shows.
 * @param trans - Speaks the user's language.
 */
export function errorLine(
  model: ICodeCellModel,
  trans: TranslationBundle,
): Extension {
  class Follower {
    private shown = '';

    constructor(private readonly view: EditorView) {
      model.outputs.changed.connect(this.look);
      model.stateChanged.connect(this.look);
      // A view that is being made takes no changes yet.
      queueMicrotask(this.look);
    }

    destroy(): void {
      model.outputs.changed.disconnect(this.look);
      model.stateChanged.disconnect(this.look);
    }

    private readonly look = (): void => {
      const failed = lastError(model);
      const told = JSON.stringify(failed);
      if (told !== this.shown) {
        this.shown = told;
        this.view.dispatch({ effects: mark.of(failed) });
      }
    };
  }

  return [
    marked,
    EditorView.decorations.of((view) => decorations(view, trans)),
    ViewPlugin.define((view) => new Follower(view)),
  ];
}
