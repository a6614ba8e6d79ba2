import type { JupyterFrontEndPlugin } from '@jupyterlab/application';

import { about } from './about';

const plugins: JupyterFrontEndPlugin<void>[] = [about];

export default plugins;
