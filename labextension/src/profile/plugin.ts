import type {
  JupyterFrontEnd,
  JupyterFrontEndPlugin,
} from '@jupyterlab/application';
import { ICommandPalette, showErrorMessage } from '@jupyterlab/apputils';
import { INotebookTracker } from '@jupyterlab/notebook';
import { IStatusBar } from '@jupyterlab/statusbar';
import { ITranslator, nullTranslator } from '@jupyterlab/translation';
import { MenuSvg } from '@jupyterlab/ui-components';

import { shown } from '../engine/text';
import { ProfileItem } from './item';
import { ProfileLinks } from './links';

const USE = 'llmspell:use-profile';
const CHOOSE = 'llmspell:choose-profile';

export const profile: JupyterFrontEndPlugin<void> = {
  id: 'llmspell-jupyter:profile',
  description: "Shows a notebook's profile in the status bar, and changes it.",
  autoStart: true,
  requires: [INotebookTracker],
  optional: [IStatusBar, ICommandPalette, ITranslator],
  activate: (
    { commands, shell }: JupyterFrontEnd,
    notebooks: INotebookTracker,
    bar: IStatusBar | null,
    palette: ICommandPalette | null,
    translator: ITranslator | null,
  ) => {
    const trans = (translator ?? nullTranslator).load('llmspell_jupyter');
    const links = new ProfileLinks(notebooks, shell);
    const item = new ProfileItem(links, trans, () => {
      void commands.execute(CHOOSE);
    });

    const isThere = (): boolean => Boolean(links.current?.state);
    const menu = new MenuSvg({ commands });
    menu.aboutToClose.connect(() => {
      item.node.querySelector('button')?.focus();
    });

    commands.addCommand(USE, {
      label: ({ name, about }) => `${name as string} · ${about as string}`,
      isToggleable: true,
      isToggled: ({ name }) => links.current?.state?.profile === name,
      execute: ({ name }) => links.current?.use(name as string),
    });
    commands.addCommand(CHOOSE, {
      label: trans.__('Choose the profile of this notebook'),
      isEnabled: isThere,
      execute: () => {
        menu.clearItems();
        for (const { name, about } of links.current?.profiles ?? []) {
          const args = { name, about: shown(firstClause(about), 100) };
          menu.addItem({ command: USE, args });
        }
        const { left, top } = item.node.getBoundingClientRect();
        menu.open(left, top);
      },
    });
    palette?.addItem({ command: CHOOSE, category: trans.__('LLMSpell') });

    links.changed.connect(() => {
      commands.notifyCommandChanged(CHOOSE);
      commands.notifyCommandChanged(USE);
    });
    links.refused.connect((_, { message, hint }) => {
      const title = trans.__('The profile stays as it was');
      void showErrorMessage(title, hint ? `${message}\n${hint}` : message);
    });
    bar?.registerStatusItem('llmspell-jupyter:profile', {
      align: 'left',
      rank: 91,
      item,
      isActive: isThere,
      activeStateChanged: links.changed,
    });
  },
};

function firstClause(text: string): string {
  return text.split(/[.:](?:\s|$)/, 1)[0] ?? '';
}
