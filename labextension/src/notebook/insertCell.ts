import { type NotebookPanel, NotebookActions } from '@jupyterlab/notebook';

/** The line that brings the magics into a notebook. */
export const EXTENSION = '%load_ext llmspell_jupyter';

/** Put a cell below the active one, and the extension's line above it where it is missing. */
export function insertCell(panel: NotebookPanel, source: string): void {
  const notebook = panel.content;
  const loads = notebook.widgets.some((cell) =>
    cell.model.sharedModel.getSource().includes(EXTENSION),
  );
  if (!loads) {
    add(panel, EXTENSION);
  }
  add(panel, source);
  // The inserted cell runs at once, whether or not the line above it is run before.
  panel.sessionContext.session?.kernel?.requestExecute({
    code: EXTENSION,
    silent: true,
    store_history: false,
    stop_on_error: false,
  });
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
