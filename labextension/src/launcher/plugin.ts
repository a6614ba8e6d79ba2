import type {
  JupyterFrontEnd,
  JupyterFrontEndPlugin,
} from '@jupyterlab/application';
import { ICommandPalette, showErrorMessage } from '@jupyterlab/apputils';
import { ILauncher } from '@jupyterlab/launcher';
import { ITranslator, nullTranslator } from '@jupyterlab/translation';

import { spellIcon } from '../engine/icon';
import { ILLMSpellSettings } from '../settings';
import { content, pythonKernel } from './content';

const NEW = 'llmspell:new-notebook';

export const launcher: JupyterFrontEndPlugin<void> = {
  id: 'llmspell-jupyter:launcher',
  description: 'Makes a notebook that asks a local model.',
  autoStart: true,
  requires: [ILLMSpellSettings],
  optional: [ILauncher, ICommandPalette, ITranslator],
  activate: (
    app: JupyterFrontEnd,
    settings: ILLMSpellSettings,
    card: ILauncher | null,
    palette: ICommandPalette | null,
    translator: ITranslator | null,
  ) => {
    const words = translator ?? nullTranslator;
    const trans = words.load('llmspell_jupyter');
    app.commands.addCommand(NEW, {
      label: (args) =>
        args.isPalette
          ? trans.__('New LLMSpell notebook')
          : trans.__('LLMSpell notebook'),
      caption: () => {
        const profile = settings.current.defaultProfile;
        return profile
          ? trans.__('Make a notebook that asks a model; profile %1', profile)
          : trans.__('Make a notebook that asks a model');
      },
      icon: spellIcon,
      execute: async (args) => {
        try {
          return await create(
            app,
            typeof args.cwd === 'string' ? args.cwd : '',
            settings.current.defaultProfile,
          );
        } catch (error) {
          const title = trans.__('The notebook could not be made');
          await showErrorMessage(title, error as Error);
          return null;
        }
      },
    });
    settings.changed.connect(() => {
      app.commands.notifyCommandChanged(NEW);
    });
    card?.add({
      command: NEW,
      // The heading under which Lab lists its own notebooks.
      category: words.load('jupyterlab').__('Notebook'),
      rank: 20,
      // Under that heading a picture's address counts, not the command's icon.
      kernelIconUrl: picture(),
    });
    palette?.addItem({
      command: NEW,
      category: trans.__('LLMSpell'),
      args: { isPalette: true },
    });
  },
};

/** The icon in a colour that can be seen on light and dark. */
function picture(): string {
  const svg = spellIcon.svgstr.replace('#616161', '#f37726');
  return `data:image/svg+xml,${encodeURIComponent(svg)}`;
}

async function create(
  { commands, serviceManager }: JupyterFrontEnd,
  path: string,
  profile: string,
): Promise<unknown> {
  const { contents, kernelspecs } = serviceManager;
  await kernelspecs.ready;
  const kernel = pythonKernel(kernelspecs.specs);
  const file = await contents.newUntitled({ path, type: 'notebook' });
  await contents.save(file.path, {
    type: 'notebook',
    format: 'json',
    content: content(profile, kernel),
  });
  return commands.execute('docmanager:open', {
    path: file.path,
    factory: 'Notebook',
    ...(kernel ? { kernel: { name: kernel.name } } : {}),
  });
}
