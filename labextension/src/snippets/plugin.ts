import type {
  JupyterFrontEnd,
  JupyterFrontEndPlugin,
} from '@jupyterlab/application';
import { ICommandPalette } from '@jupyterlab/apputils';
import { INotebookTracker } from '@jupyterlab/notebook';
import { ITranslator, nullTranslator } from '@jupyterlab/translation';

import { insertCell } from '../notebook/insertCell';
import { snippets } from './texts';

export const snippetCommands: JupyterFrontEndPlugin<void> = {
  id: 'llmspell-jupyter:snippets',
  description: 'Commands that put Lua cells to begin with into a notebook.',
  autoStart: true,
  requires: [INotebookTracker],
  optional: [ICommandPalette, ITranslator],
  activate: (
    { commands, shell }: JupyterFrontEnd,
    notebooks: INotebookTracker,
    palette: ICommandPalette | null,
    translator: ITranslator | null,
  ) => {
    const trans = (translator ?? nullTranslator).load('llmspell_jupyter');
    const category = trans.__('LLMSpell');
    for (const { name, label, source } of snippets(trans)) {
      const command = `llmspell:insert-${name}`;
      commands.addCommand(command, {
        label,
        isEnabled: () => notebooks.currentWidget !== null,
        execute: () => {
          const panel = notebooks.currentWidget;
          if (panel) {
            insertCell(panel, source);
            shell.activateById(panel.id);
          }
        },
      });
      palette?.addItem({ command, category });
    }
    notebooks.currentChanged.connect(() => {
      commands.notifyCommandChanged();
    });
  },
};
