import type { JupyterFrontEndPlugin } from '@jupyterlab/application';

import { about } from './about';
import { cells } from './cells/plugin';
import { engine } from './engine/plugin';
import { launcher } from './launcher/plugin';
import { recall } from './notebook/recall';
import { engineStatus } from './notebook/status';
import { stop } from './notebook/stop';
import { profile } from './profile/plugin';
import { settings } from './settings';
import { sidebar } from './sidebar/plugin';
import { snippetCommands } from './snippets/plugin';

const plugins: JupyterFrontEndPlugin<unknown>[] = [
  settings,
  about,
  cells,
  engine,
  sidebar,
  engineStatus,
  stop,
  recall,
  snippetCommands,
  launcher,
  profile,
];

export default plugins;
