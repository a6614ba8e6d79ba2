import type { JupyterFrontEndPlugin } from '@jupyterlab/application';

import { about } from './about';
import { cells } from './cells/plugin';
import { engine } from './engine/plugin';
import { engineStatus } from './notebook/status';
import { stop } from './notebook/stop';
import { settings } from './settings';
import { sidebar } from './sidebar/plugin';

const plugins: JupyterFrontEndPlugin<unknown>[] = [
  settings,
  about,
  cells,
  engine,
  sidebar,
  engineStatus,
  stop,
];

export default plugins;
