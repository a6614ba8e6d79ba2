import {
  ILayoutRestorer,
  type JupyterFrontEnd,
  type JupyterFrontEndPlugin,
} from '@jupyterlab/application';
import { Dialog, ICommandPalette, showDialog } from '@jupyterlab/apputils';
import { PathExt } from '@jupyterlab/coreutils';
import { INotebookTracker } from '@jupyterlab/notebook';
import type { Session } from '@jupyterlab/services';
import {
  ITranslator,
  nullTranslator,
  type TranslationBundle,
} from '@jupyterlab/translation';

import { spellIcon } from '../engine/icon';
import { IEngine } from '../engine/plugin';
import { shown } from '../engine/text';
import type { IModel } from '../engine/wire';
import { ILLMSpellSettings } from '../settings';
import type { IDesk } from './desk';
import { insertInto } from './insert';
import { SpellPanel } from './panel';

/** Opens the sidebar. */
export const OPEN_SIDEBAR = 'llmspell:open-sidebar';

export const sidebar: JupyterFrontEndPlugin<void> = {
  id: 'llmspell-jupyter:sidebar',
  description: 'Shows engine, jobs and models beside the notebooks.',
  autoStart: true,
  requires: [IEngine, ILLMSpellSettings],
  optional: [INotebookTracker, ICommandPalette, ILayoutRestorer, ITranslator],
  activate: (
    app: JupyterFrontEnd,
    engine: IEngine,
    settings: ILLMSpellSettings,
    notebooks: INotebookTracker | null,
    palette: ICommandPalette | null,
    restorer: ILayoutRestorer | null,
    translator: ITranslator | null,
  ) => {
    const trans = (translator ?? nullTranslator).load('llmspell_jupyter');
    const ask = asking(trans);
    const names = new KernelNames(app.serviceManager.sessions);
    const desk: IDesk = {
      ...engine,
      trans,
      insert: (model: IModel) => {
        const panel = notebooks?.currentWidget;
        if (panel) {
          insertInto(panel, model);
          app.shell.activateById(panel.id);
        } else {
          engine.actions.say({
            text: trans.__('No notebook is open.'),
            hint: trans.__('Open one, then press Insert again.'),
            isError: true,
          });
        }
      },
      placeOf: ({ kernel }) => (kernel ? names.of(kernel) : ''),
      confirmRemove: (model) =>
        ask(
          settings.current.confirmRemove,
          trans.__('Remove %1?', shown(model)),
          trans.__('Its files are deleted; it can be pulled again.'),
          trans.__('Remove'),
        ),
      confirmUnload: (model) =>
        ask(
          settings.current.confirmUnload,
          trans.__('Eject %1?', shown(model)),
          trans.__('It leaves the memory; the next request loads it again.'),
          trans.__('Eject'),
        ),
      confirmDiscard: (model) =>
        ask(
          settings.current.confirmRemove,
          trans.__('Cancel the download of %1?', shown(model)),
          trans.__(
            'What has come of it is deleted. To keep it and go on later, use Pause.',
          ),
          trans.__('Delete'),
        ),
    };
    const panel = new SpellPanel(desk);
    app.shell.add(panel, 'left', { rank: 600, type: 'LLMSpell' });
    restorer?.add(panel, panel.id);
    app.commands.addCommand(OPEN_SIDEBAR, {
      label: trans.__('Show models and engine'),
      icon: spellIcon,
      execute: () => {
        app.shell.activateById(panel.id);
      },
    });
    palette?.addItem({ command: OPEN_SIDEBAR, category: trans.__('LLMSpell') });
  },
};

type Ask = (
  isWanted: boolean,
  title: string,
  body: string,
  action: string,
) => Promise<boolean>;

function asking(trans: TranslationBundle): Ask {
  return async (isWanted, title, body, action) => {
    if (!isWanted) {
      return true;
    }
    const { button } = await showDialog({
      title,
      body,
      buttons: [
        Dialog.cancelButton({ label: trans.__('Keep') }),
        Dialog.warnButton({ label: action }),
      ],
      defaultButton: 0,
    });
    return button.accept;
  };
}

/** The notebooks of kernels. */
class KernelNames {
  private readonly _asked = new Set<string>();

  constructor(private readonly sessions: Session.IManager) {}

  /** Name of a kernel's notebook; empty while it is unknown. */
  of(kernel: string): string {
    for (const session of this.sessions.running()) {
      if (session.kernel?.id === kernel) {
        return PathExt.basename(session.path);
      }
    }
    // Of another page, which has begun it a moment ago.
    if (!this._asked.has(kernel)) {
      this._asked.add(kernel);
      this.sessions.refreshRunning().catch(() => undefined);
    }
    return '';
  }
}
