import type {
  JupyterFrontEnd,
  JupyterFrontEndPlugin,
} from '@jupyterlab/application';
import {
  INotebookTracker,
  NotebookActions,
  type NotebookPanel,
} from '@jupyterlab/notebook';

import { Recall } from './recallNotebook';

export const recall: JupyterFrontEndPlugin<void> = {
  id: 'llmspell-jupyter:recall',
  description:
    'Answers that run while the page is reloaded or closed are complete when it is back.',
  autoStart: true,
  requires: [INotebookTracker],
  activate: (app: JupyterFrontEnd, tracker: INotebookTracker) => {
    // Several views of a notebook share its context, and its cells.
    const recalls = new Map<NotebookPanel['context'], Recall>();

    const watch = ({ context }: NotebookPanel): void => {
      if (recalls.has(context)) {
        return;
      }
      const made = new Recall(context, app.serviceManager.serverSettings);
      recalls.set(context, made);
      context.disposed.connect(() => {
        made.dispose();
        recalls.delete(context);
      });
    };

    tracker.forEach(watch);
    tracker.widgetAdded.connect((_, panel) => {
      watch(panel);
    });
    NotebookActions.outputCleared.connect((_, { notebook, cell }) => {
      for (const [context, each] of recalls) {
        if (context.model === notebook.model) {
          each.cleared(cell.model);
        }
      }
    });
  },
};
