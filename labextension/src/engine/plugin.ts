import type {
  JupyterFrontEnd,
  JupyterFrontEndPlugin,
} from '@jupyterlab/application';
import { ITranslator, nullTranslator } from '@jupyterlab/translation';
import { Token } from '@lumino/coreutils';

import { ILLMSpellSettings } from '../settings';
import { Actions } from './actions';
import { EngineClient } from './client';
import { Herald } from './herald';
import { Library } from './library';
import { StatusWatch } from './watch';

/** The engine as this page knows it; all parts of the page share one. */
export interface IEngine {
  readonly client: EngineClient;
  readonly watch: StatusWatch;
  readonly library: Library;
  readonly actions: Actions;
}

export const IEngine = new Token<IEngine>(
  'llmspell-jupyter:IEngine',
  "The user's engine: what it does, its models, and what can be done with them.",
);

export const engine: JupyterFrontEndPlugin<IEngine> = {
  id: 'llmspell-jupyter:engine',
  description: 'Looks at the engine; starts none.',
  autoStart: true,
  requires: [ILLMSpellSettings],
  optional: [ITranslator],
  provides: IEngine,
  activate: (
    app: JupyterFrontEnd,
    settings: ILLMSpellSettings,
    translator: ITranslator | null,
  ) => {
    const trans = (translator ?? nullTranslator).load('llmspell_jupyter');
    const client = new EngineClient(app.serviceManager.serverSettings);
    const watch = new StatusWatch(client);
    const library = new Library(client);
    const actions = new Actions(client, watch, library, trans);
    const apply = (): void => {
      watch.interval = settings.current.updateSeconds * 1000;
    };
    settings.changed.connect(apply);
    apply();
    new Herald(watch, library, actions, trans).start();
    void app.restored.then(() => {
      watch.start();
    });
    return { client, watch, library, actions };
  },
};
