import type { JupyterFrontEndPlugin } from '@jupyterlab/application';

import { about } from './about';
import { settings } from './settings';

const plugins: JupyterFrontEndPlugin<unknown>[] = [settings, about];

export default plugins;
