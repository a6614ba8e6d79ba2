import { type NotebookPanel, NotebookActions } from '@jupyterlab/notebook';

/** The line that brings the magics into a notebook. */
export const EXTENSION = '%load_ext llmspell_jupyter';

/**
 * Put a cell below the active one; the extension's line, where it is missing, stands above it and
 * is run.
 */
export function insertCell(panel: NotebookPanel, source: string): void {
  const { content: notebook, sessionContext } = panel;
  const loads = notebook.widgets.some((cell) =>
    cell.model.sharedModel.getSource().includes(EXTENSION),
  );
  if (loads) {
    // The inserted cell runs at once, whether or not that line has been run.
    sessionContext.session?.kernel?.requestExecute({
      code: EXTENSION,
      silent: true,
      store_history: false,
      stop_on_error: false,
    });
  } else {
    add(panel, EXTENSION);
    const added = notebook.activeCell;
    if (added) {
      void NotebookActions.runCells(notebook, [added], sessionContext);
    }
  }
  add(panel, source);
}

function add(panel: NotebookPanel, source: string): void {
  const notebook = panel.content;
  const active = notebook.activeCell?.model;
  const isEmpty =
    active?.type === 'code' && !active.sharedModel.getSource().trim();
  if (!isEmpty) {
    NotebookActions.insertBelow(notebook);
  }
  notebook.activeCell?.model.sharedModel.setSource(source);
}
