import type {
  JupyterFrontEnd,
  JupyterFrontEndPlugin,
} from '@jupyterlab/application';
import { Dialog, ICommandPalette, showDialog } from '@jupyterlab/apputils';
import { ITranslator, nullTranslator } from '@jupyterlab/translation';

import manifest from '../package.json';

const COMMAND = 'llmspell:about';

export const about: JupyterFrontEndPlugin<void> = {
  id: 'llmspell-jupyter:about',
  description: 'Says which version is installed and how to start.',
  autoStart: true,
  optional: [ICommandPalette, ITranslator],
  activate: (
    app: JupyterFrontEnd,
    palette: ICommandPalette | null,
    translator: ITranslator | null,
  ) => {
    const trans = (translator ?? nullTranslator).load('llmspell_jupyter');
    const label = trans.__('About LLMSpell %1', manifest.version);

    app.commands.addCommand(COMMAND, {
      label,
      execute: async () => {
        await showDialog({
          title: label,
          body: trans.__(
            'LLMSpell runs local language models, scripted in Lua or Python, inside a notebook; to start, run %1 in a cell.',
            '%load_ext llmspell_jupyter',
          ),
          buttons: [Dialog.okButton({ label: trans.__('Close') })],
        });
      },
    });
    palette?.addItem({ command: COMMAND, category: trans.__('LLMSpell') });
  },
};
