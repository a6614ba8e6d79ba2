import type {
  JupyterFrontEnd,
  JupyterFrontEndPlugin,
} from '@jupyterlab/application';
import type { ICodeCellModel } from '@jupyterlab/cells';
import {
  EditorExtensionRegistry,
  IEditorExtensionRegistry,
} from '@jupyterlab/codemirror';
import { ITranslator, nullTranslator } from '@jupyterlab/translation';

import { errorLine } from './errorLine';
import { luaCell } from './luaCell';

function isCodeCell(model: object): model is ICodeCellModel {
  return 'type' in model && model.type === 'code' && 'outputs' in model;
}

export const cells: JupyterFrontEndPlugin<void> = {
  id: 'llmspell-jupyter:cells',
  description:
    'Lua in cells of notebooks and consoles that begin with %%lua: colours, indentation, comments, and the line of an error.',
  autoStart: true,
  requires: [IEditorExtensionRegistry],
  optional: [ITranslator],
  activate: (
    _app: JupyterFrontEnd,
    editors: IEditorExtensionRegistry,
    translator: ITranslator | null,
  ) => {
    const trans = (translator ?? nullTranslator).load('llmspell_jupyter');
    editors.addExtension({
      name: 'llmspell-jupyter:cells',
      factory: ({ model }) =>
        isCodeCell(model)
          ? EditorExtensionRegistry.createImmutableExtension([
              luaCell(model.sharedModel.getSource()),
              errorLine(model, trans),
            ])
          : null,
    });
  },
};
